//! Convolution against a naive twin, its gradients, its bits and its errors.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use candle_core::{DType, Device, Tensor, Var};
use grid_ops::{Activation, Conv2d, conv2d};
use proptest::prelude::*;
use testkit::{assert_close, check_gradients, tensor, var};

fn flat(t: &Tensor) -> Vec<f64> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}

/// The definition, one output at a time.
fn twin(x: &Tensor, weight: &Tensor, bias: &[f64], config: &Conv2d) -> Vec<f64> {
    let (n, c, h, w) = x.dims4().unwrap();
    let (k, of_group, kh, kw) = weight.dims4().unwrap();
    let Conv2d { stride, padding, dilation, groups, activation } = *config;
    let (x, weight) = (flat(x), flat(weight));
    let oh = (h + 2 * padding - dilation * (kh - 1) - 1) / stride + 1;
    let ow = (w + 2 * padding - dilation * (kw - 1) - 1) / stride + 1;
    let mut y = Vec::new();
    for image in 0..n {
        for out in 0..k {
            for i in 0..oh {
                for j in 0..ow {
                    let mut sum = bias[out];
                    for within in 0..of_group {
                        let channel = out / (k / groups) * of_group + within;
                        for p in 0..kh {
                            for q in 0..kw {
                                let row = i * stride + p * dilation;
                                let column = j * stride + q * dilation;
                                let inside = row >= padding
                                    && column >= padding
                                    && row - padding < h
                                    && column - padding < w;
                                if inside {
                                    let (row, column) = (row - padding, column - padding);
                                    sum += weight[((out * of_group + within) * kh + p) * kw + q]
                                        * x[((image * c + channel) * h + row) * w + column];
                                }
                            }
                        }
                    }
                    y.push(match activation {
                        Activation::Identity => sum,
                        Activation::Relu => sum.max(0.0),
                        Activation::Relu6 => sum.clamp(0.0, 6.0),
                    });
                }
            }
        }
    }
    y
}

/// A convolution without bias, and its gradients, against the sum over its taps of `of_tap`: what a
/// tap sees of the padded image, every stride-th unit from the tap on, with the tap's weights.
fn equals_its_taps(
    (x, weight): (&Var, &Var),
    config: &Conv2d,
    seed: u64,
    of_tap: impl Fn(&Tensor, &Tensor) -> Tensor,
) {
    let Conv2d { stride, padding, dilation, .. } = *config;
    let y = conv2d(x, weight, None, config).unwrap();
    let (_, _, oh, ow) = y.dims4().unwrap();
    let (_, _, kh, kw) = weight.dims4().unwrap();
    let pad = |t: &Tensor, axis| t.pad_with_zeros(axis, padding, padding).unwrap();
    let padded = pad(&pad(x, 2), 3);
    let every = |t: &Tensor, axis: usize, from: usize, count: usize| {
        let at: Vec<u32> = (0..count).map(|i| (from + i * stride) as u32).collect();
        t.index_select(&Tensor::new(at, &Device::Cpu).unwrap(), axis).unwrap()
    };
    let tap = |at: usize| {
        let (p, q) = (at / kw, at % kw);
        let seen = every(&every(&padded, 2, p * dilation, oh), 3, q * dilation, ow);
        of_tap(&seen, &weight.narrow(2, p, 1).unwrap().narrow(3, q, 1).unwrap())
    };
    let sum = (1..kh * kw).fold(tap(0), |sum, at| (sum + tap(at)).unwrap());
    assert_close(&flat(&y), &flat(&sum), 1e-11);
    let direction = tensor(seed, y.dims());
    let gradients = |y: &Tensor| {
        let grads = (y * &direction).unwrap().sum_all().unwrap().backward().unwrap();
        [x, weight].map(|var| flat(grads.get(var).unwrap()))
    };
    let (fast, slow) = (gradients(&y), gradients(&sum));
    assert_close(&fast[0], &slow[0], 1e-10);
    assert_close(&fast[1], &slow[1], 1e-9);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn equals_the_twin(
        (n, h, w) in (1usize..4, 1usize..12, 1usize..12),
        (c, k) in (1usize..4, 1usize..4),
        (kh, kw) in (1usize..5, 1usize..5),
        (stride, padding, dilation) in (1usize..4, 0usize..4, 1usize..4),
        grouping in 0usize..3,
        seed in 0u64..1 << 32,
    ) {
        // Dense, two groups, depthwise.
        let (c, k, groups) = match grouping {
            0 => (c, k, 1),
            1 => (2 * c, 2 * k, 2),
            _ => (c, c, c),
        };
        let fits = |size, kernel| size + 2 * padding > dilation * (kernel - 1);
        prop_assume!(fits(h, kh) && fits(w, kw));
        let activations = [Activation::Identity, Activation::Relu, Activation::Relu6];
        let activation = activations[seed as usize % 3];
        let config = Conv2d { stride, padding, dilation, groups, activation };
        // Stored channels last, so that the operation meets a layout with gaps.
        let x = tensor(seed, &[n, h, w, c]).permute((0, 3, 1, 2)).unwrap();
        let weight = (tensor(seed + 1, &[k, c / groups, kh, kw]) * 3.0).unwrap();
        let bias = tensor(seed + 2, &[k]);
        let y = conv2d(&x, &weight, Some(&bias), &config).unwrap();
        assert_close(&flat(&y), &twin(&x, &weight, &flat(&bias), &config), 1e-10);
        let y = conv2d(&x, &weight, None, &config).unwrap();
        assert_close(&flat(&y), &twin(&x, &weight, &vec![0.0; k], &config), 1e-10);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// Channels enough for Winograd's algorithm, on sizes that its tiles do not divide.
    #[test]
    fn wide_convolutions_equal_the_twin(
        // Few images, whose work is cut by channels, and many, cut by lines of tiles.
        (n, h, w) in (1usize..12, 1usize..24, 1usize..24),
        (c, k) in (16usize..35, 16usize..35),
        (padding, dilation) in (0usize..6, 1usize..4),
        seed in 0u64..1 << 32,
    ) {
        prop_assume!(h + 2 * padding > 2 * dilation && w + 2 * padding > 2 * dilation);
        let activations = [Activation::Identity, Activation::Relu, Activation::Relu6];
        let activation = activations[seed as usize % 3];
        let config = Conv2d { padding, dilation, activation, ..Conv2d::default() };
        let x = tensor(seed, &[n, h, w, c]).permute((0, 3, 1, 2)).unwrap();
        let weight = tensor(seed + 1, &[k, c, 3, 3]);
        let bias = tensor(seed + 2, &[k]);
        let y = conv2d(&x, &weight, Some(&bias), &config).unwrap();
        assert_close(&flat(&y), &twin(&x, &weight, &flat(&bias), &config), 1e-11);
    }

    /// Channels enough to sum them by taps, with strides, groups and tiles of several rows; the
    /// gradients are those of a sum of 1×1 convolutions of what each tap sees.
    #[test]
    fn strided_convolutions_and_gradients_equal_those_of_single_taps(
        (n, h, w) in (1usize..3, 5usize..40, 5usize..40),
        (of_group, k, groups) in (30usize..36, 1usize..36, 1usize..3),
        (kernel, stride, dilation, padding) in (2usize..5, 1usize..4, 1usize..3, 0usize..4),
        seed in 0u64..1 << 32,
    ) {
        prop_assume!(h.min(w) + 2 * padding > dilation * (kernel - 1) + stride);
        let config = Conv2d { stride, padding, dilation, groups, ..Conv2d::default() };
        let x = var(seed, &[n, of_group * groups, h, w]);
        let weight = var(seed + 1, &[k * groups, of_group, kernel, kernel]);
        let pointwise = Conv2d { groups, ..Conv2d::default() };
        equals_its_taps((&x, &weight), &config, seed + 3, |seen, weight| {
            conv2d(seen, weight, None, &pointwise).unwrap()
        });
    }

    /// Kernels of 1×1, also those that skip inputs, are matrix products; of few units, whose work is
    /// cut by channels, and of many.
    #[test]
    fn pointwise_convolutions_and_gradients_equal_matrix_products(
        (n, h, w) in (1usize..4, 1usize..40, 1usize..40),
        (c, k, groups) in (1usize..40, 1usize..40, 1usize..3),
        stride in 1usize..4,
        seed in 0u64..1 << 32,
    ) {
        let config = Conv2d { stride, groups, ..Conv2d::default() };
        let x = var(seed, &[n, c * groups, h, w]);
        let weight = var(seed + 1, &[k * groups, c, 1, 1]);
        equals_its_taps((&x, &weight), &config, seed + 3, |seen, weight| {
            let (_, _, oh, ow) = seen.dims4().unwrap();
            let of_group = |group: usize| {
                let seen = seen.narrow(1, group * c, c).unwrap().flatten_from(2).unwrap();
                let weight = weight.narrow(0, group * k, k).unwrap().reshape((k, c)).unwrap();
                let product = weight.broadcast_matmul(&seen.contiguous().unwrap()).unwrap();
                product.reshape((n, k, oh, ow)).unwrap()
            };
            Tensor::cat(&(0..groups).map(of_group).collect::<Vec<_>>(), 1).unwrap()
        });
    }

    /// Depthwise kernels of 3×3 have both gradients from one pass, which central differences are
    /// too slow to try on many shapes: a kernel of one tap after the other is a product with what
    /// that tap sees.
    #[test]
    fn depthwise_gradients_equal_those_of_single_taps(
        (n, h, w) in (1usize..3, 1usize..40, 1usize..40),
        c in 1usize..4,
        (stride, dilation, padding) in (1usize..3, 1usize..4, 0usize..5),
        seed in 0u64..1 << 32,
    ) {
        prop_assume!(h.min(w) + 2 * padding > 2 * dilation);
        let config = Conv2d { stride, padding, dilation, groups: c, ..Conv2d::default() };
        let (x, weight) = (var(seed, &[n, c, h, w]), var(seed + 1, &[c, 1, 3, 3]));
        equals_its_taps((&x, &weight), &config, seed + 3, |seen, weight| {
            seen.broadcast_mul(&weight.reshape((1, c, 1, 1)).unwrap()).unwrap()
        });
    }

    /// The gradients of Winograd's algorithm are those of a sum of 1×1 convolutions, one a tap.
    #[test]
    fn wide_gradients_equal_those_of_single_taps(
        (n, h, w) in (1usize..12, 5usize..24, 5usize..24),
        (c, k) in (16usize..20, 16usize..20),
        (padding, dilation) in (0usize..6, 1usize..3),
        seed in 0u64..1 << 32,
    ) {
        let config = Conv2d { padding, dilation, ..Conv2d::default() };
        let (x, weight) = (var(seed, &[n, c, h, w]), var(seed + 1, &[k, c, 3, 3]));
        equals_its_taps((&x, &weight), &config, seed + 3, |seen, weight| {
            conv2d(seen, weight, None, &Conv2d::default()).unwrap()
        });
    }
}

#[test]
fn large_shapes_that_span_tiles_equal_the_twin() {
    for (c, k, groups, size, kernel, stride) in [
        (3, 5, 1, (41, 37), 3, 1),
        (4, 6, 2, (45, 53), 5, 2),
        (3, 3, 3, (40, 31), 3, 2),
        // Rows of several runs of whole lanes of tiles, and a part of one.
        (16, 17, 1, (9, 150), 3, 1),
        // So many channels, at so many places, are packed.
        (66, 65, 1, (41, 37), 1, 1),
    ] {
        let config = Conv2d { stride, padding: kernel / 2, groups, ..Conv2d::default() };
        let x = tensor(1, &[2, c, size.0, size.1]);
        let weight = tensor(2, &[k, c / groups, kernel, kernel]);
        let y = conv2d(&x, &weight, None, &config).unwrap();
        assert_close(&flat(&y), &twin(&x, &weight, &vec![0.0; k], &config), 1e-10);
    }
}

#[test]
fn gradients_match_central_differences() {
    let cases = [
        // c, k, groups, h, w, kernel, stride, padding, dilation
        (2, 3, 1, 5, 4, (3, 3), 1, 1, 1),
        (2, 3, 1, 5, 7, (3, 3), 2, 1, 1),
        (3, 2, 1, 5, 3, (1, 1), 1, 0, 1),
        (3, 2, 1, 5, 4, (1, 1), 2, 0, 1),
        (2, 2, 1, 6, 7, (3, 3), 1, 2, 2),
        (4, 2, 2, 4, 5, (3, 2), 2, 1, 1),
        (3, 3, 3, 5, 6, (3, 3), 1, 1, 1),
        (3, 3, 3, 6, 5, (3, 3), 2, 1, 1),
        (2, 2, 2, 7, 7, (3, 3), 1, 2, 2),
        (2, 2, 2, 7, 7, (3, 3), 2, 1, 2),
        (2, 2, 2, 6, 5, (5, 3), 2, 2, 1),
        (2, 2, 2, 6, 5, (4, 5), 1, 2, 1),
        (1, 2, 1, 9, 8, (7, 7), 2, 3, 1),
    ];
    for (c, k, groups, h, w, (kh, kw), stride, padding, dilation) in cases {
        for activation in [Activation::Identity, Activation::Relu6] {
            let config = Conv2d { stride, padding, dilation, groups, activation };
            let x = var(5, &[2, c, h, w]);
            let weight = var(6, &[k, c / groups, kh, kw]);
            let bias = var(7, &[k]);
            check_gradients(&[&x, &weight, &bias], || {
                Ok(conv2d(&x, &weight, Some(&bias), &config)?)
            })
            .unwrap_or_else(|error| panic!("{config:?}: {error:#}"));
        }
    }
}

#[test]
fn what_tracks_no_gradient_gets_none() {
    let (x, weight) = (tensor(1, &[1, 2, 3, 3]), var(2, &[2, 2, 1, 1]));
    let y = conv2d(&x, &weight, None, &Conv2d::default()).unwrap();
    let grads = y.sum_all().unwrap().backward().unwrap();
    assert!(grads.get(&weight).is_some());
    assert!(grads.get(&x).is_none());
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    for (images, groups, kernel, stride) in [
        (1, 1, 3, 1),
        (4, 1, 3, 1),
        (3, 1, 1, 1),
        (1, 2, 1, 1),
        (3, 1, 1, 2),
        (3, 2, 3, 1),
        (3, 32, 3, 1),
        (3, 32, 3, 2),
        (3, 1, 3, 2),
        (3, 1, 4, 1),
    ] {
        let single = |t: Tensor| Var::from_tensor(&t.to_dtype(DType::F32).unwrap()).unwrap();
        let x = single(tensor(1, &[images, 32, 29, 31]));
        let weight = single(tensor(2, &[32, 32 / groups, kernel, kernel]));
        let bias = single(tensor(3, &[32]));
        let config = Conv2d { stride, padding: kernel / 2, groups, ..Conv2d::default() };
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let y = conv2d(&x, &weight, Some(&bias), &config).unwrap();
                let grads = y.sqr().unwrap().sum_all().unwrap().backward().unwrap();
                let bits = |t: &Tensor| -> Vec<u32> {
                    let values: Vec<f32> = t.flatten_all().unwrap().to_vec1().unwrap();
                    values.iter().map(|x| x.to_bits()).collect()
                };
                let of = |var: &Var| bits(grads.get(var).unwrap());
                (bits(&y), of(&x), of(&weight), of(&bias))
            })
        };
        let one = run(1);
        for threads in [2, 3, 8] {
            assert!(run(threads) == one, "groups {groups}: {threads} threads differ");
        }
    }
}

#[test]
fn errors_name_what_was_expected_and_found() {
    let zeros = |dims: &[usize]| Tensor::zeros(dims, DType::F32, &Device::Cpu).unwrap();
    let message = |x: &[usize], weight: &[usize], config: Conv2d| {
        conv2d(&zeros(x), &zeros(weight), None, &config).unwrap_err().to_string()
    };
    let plain = Conv2d::default();
    assert_eq!(
        message(&[1, 2, 4, 4], &[3, 4, 1, 1], plain),
        "conv2d: expected weight: [k, c/groups, kh, kw] with c as in x, got [3, 4, 1, 1]"
    );
    assert!(message(&[1, 2, 2, 4], &[3, 2, 3, 3], plain).contains("dilated kernel, got [1, 2, 2"));
    assert!(message(&[1, 2, 0, 4], &[3, 2, 1, 1], plain).contains("none of them zero"));
    assert!(message(&[2, 4, 4], &[3, 2, 1, 1], plain).contains("[n, c, h, w]"));
    let config = Conv2d { stride: 0, ..plain };
    assert!(message(&[1, 2, 4, 4], &[3, 2, 1, 1], config).contains("stride = 0"));
    let config = Conv2d { groups: 2, ..plain };
    assert!(message(&[1, 3, 4, 4], &[2, 1, 1, 1], config).contains("does not divide"));
    let integers = zeros(&[1, 2, 4, 4]).to_dtype(DType::U8).unwrap();
    let error = conv2d(&integers, &zeros(&[3, 2, 1, 1]), None, &plain).unwrap_err();
    assert_eq!(error.to_string(), "conv2d: expected f32 or f64, got U8");
}
