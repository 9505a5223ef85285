//! Transposed convolution, mean pooling and nearest resizing against naive twins, their gradients,
//! bits and errors.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use candle_core::{DType, Tensor, Var};
use grid_ops::{
    ConvTranspose2d, Pool, Rounding, adaptive_avg_pool2d, avg_pool2d, conv_transpose2d,
    global_avg_pool, upsample_nearest,
};
use proptest::prelude::*;
use testkit::{assert_close, check_gradients, tensor, var};

fn flat(t: &Tensor) -> Vec<f64> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}

/// The definition: every input adds its kernel to the output, which is then cut.
fn twin(x: &Tensor, weight: &Tensor, bias: &[f64], config: &ConvTranspose2d) -> Vec<f64> {
    let (n, c, h, w) = x.dims4().unwrap();
    let (_, of_group, kh, kw) = weight.dims4().unwrap();
    let ConvTranspose2d { stride, padding, output_padding, dilation, groups } = *config;
    let (x, weight) = (flat(x), flat(weight));
    let whole = |size: usize, kernel: usize| {
        (size - 1) * stride + dilation * (kernel - 1) + output_padding + 1
    };
    let (oh, ow) = (whole(h, kh) - 2 * padding, whole(w, kw) - 2 * padding);
    let mut y = vec![0.0; n * of_group * groups * oh * ow];
    for (at, plane) in y.chunks_mut(oh * ow).enumerate() {
        plane.fill(bias[at % bias.len()]);
    }
    for image in 0..n {
        for channel in 0..c {
            for within in 0..of_group {
                let out = channel / (c / groups) * of_group + within;
                for (i, j) in (0..h).flat_map(|i| (0..w).map(move |j| (i, j))) {
                    for (p, q) in (0..kh).flat_map(|p| (0..kw).map(move |q| (p, q))) {
                        let row = (i * stride + p * dilation).checked_sub(padding);
                        let column = (j * stride + q * dilation).checked_sub(padding);
                        let (Some(row), Some(column)) = (row, column) else { continue };
                        if row < oh && column < ow {
                            y[((image * of_group * groups + out) * oh + row) * ow + column] +=
                                weight[((channel * of_group + within) * kh + p) * kw + q]
                                    * x[((image * c + channel) * h + i) * w + j];
                        }
                    }
                }
            }
        }
    }
    y
}

proptest! {
    #[test]
    fn transposed_convolution_equals_the_twin(
        (h, w) in (1usize..8, 1usize..8),
        (c, k) in (1usize..4, 1usize..4),
        (kh, kw) in (1usize..5, 1usize..5),
        (stride, padding, dilation) in (1usize..4, 0usize..3, 1usize..3),
        output_padding in 0usize..3,
        grouping in 0usize..3,
        seed in 0u64..1 << 32,
    ) {
        // Dense, two groups, depthwise.
        let (c, k, groups) = match grouping {
            0 => (c, k, 1),
            1 => (2 * c, 2 * k, 2),
            _ => (c, c, c),
        };
        prop_assume!(output_padding < stride.max(dilation));
        let whole = |size: usize, kernel: usize| {
            (size - 1) * stride + dilation * (kernel - 1) + output_padding + 1
        };
        prop_assume!(whole(h, kh) > 2 * padding && whole(w, kw) > 2 * padding);
        let config = ConvTranspose2d { stride, padding, output_padding, dilation, groups };
        // Stored channels last, so that the operation meets a layout with gaps.
        let x = tensor(seed, &[2, h, w, c]).permute((0, 3, 1, 2)).unwrap();
        let weight = tensor(seed + 1, &[c, k / groups, kh, kw]);
        let bias = tensor(seed + 2, &[k]);
        let y = conv_transpose2d(&x, &weight, Some(&bias), &config).unwrap();
        let (oh, ow) = (whole(h, kh) - 2 * padding, whole(w, kw) - 2 * padding);
        prop_assert_eq!(y.dims(), &[2, k, oh, ow]);
        assert_close(&flat(&y), &twin(&x, &weight, &flat(&bias), &config), 1e-11);
    }

    #[test]
    fn mean_pooling_equals_the_twin(
        (h, w) in (1usize..9, 1usize..9),
        (kernel, stride, padding) in (1usize..4, 1usize..4, 0usize..2),
        up in any::<bool>(),
        seed in 0u64..1 << 32,
    ) {
        prop_assume!(padding <= kernel / 2);
        prop_assume!(h + 2 * padding >= kernel && w + 2 * padding >= kernel);
        let rounding = if up { Rounding::Ceil } else { Rounding::Floor };
        let x = tensor(seed, &[2, 2, h, w]);
        let y = avg_pool2d(&x, &Pool { kernel, stride, padding, rounding }).unwrap();
        let (_, _, oh, ow) = y.dims4().unwrap();
        let mut expected = Vec::new();
        for plane in flat(&x).chunks(h * w) {
            for (row, column) in (0..oh).flat_map(|i| (0..ow).map(move |j| (i, j))) {
                let inside = |cell: usize, window: usize| {
                    let from = window as i64 * stride as i64 - padding as i64;
                    (from..from + kernel as i64).contains(&(cell as i64))
                };
                let cells = (0..h * w).filter(|at| inside(at / w, row) && inside(at % w, column));
                let cells: Vec<f64> = cells.map(|at| plane[at]).collect();
                expected.push(cells.iter().sum::<f64>() / cells.len() as f64);
            }
        }
        assert_close(&flat(&y), &expected, 1e-12);
    }

    #[test]
    fn pooling_to_bins_equals_the_twin(
        (h, w) in (1usize..8, 1usize..14),
        (height, width) in (1usize..10, 1usize..10),
        seed in 0u64..1 << 32,
    ) {
        let x = tensor(seed, &[2, w, h, 3]).permute((0, 3, 2, 1)).unwrap();
        let mut expected = Vec::new();
        for plane in flat(&x).chunks(h * w) {
            for (row, column) in (0..height).flat_map(|i| (0..width).map(move |j| (i, j))) {
                // A cell [at, at + 1) meets the bin [bin, bin + 1) · size / bins.
                let inside = |at: usize, size: usize, bin: usize, bins: usize| {
                    at * bins < (bin + 1) * size && (at + 1) * bins > bin * size
                };
                let cells = (0..h * w)
                    .filter(|at| inside(at / w, h, row, height) && inside(at % w, w, column, width));
                let cells: Vec<f64> = cells.map(|at| plane[at]).collect();
                expected.push(cells.iter().sum::<f64>() / cells.len() as f64);
            }
        }
        let y = adaptive_avg_pool2d(&x, height, width).unwrap();
        prop_assert_eq!(y.dims(), &[2, 3, height, width]);
        assert_close(&flat(&y), &expected, 1e-12);
    }

    #[test]
    fn nearest_resizing_equals_the_twin(
        (h, w) in (1usize..8, 1usize..8),
        (height, width) in (1usize..20, 1usize..20),
        seed in 0u64..1 << 32,
    ) {
        let x = tensor(seed, &[2, w, h, 3]).permute((0, 3, 2, 1)).unwrap();
        let values = flat(&x);
        let mut expected = Vec::new();
        for plane in values.chunks(h * w) {
            for (i, j) in (0..height).flat_map(|i| (0..width).map(move |j| (i, j))) {
                let source = |at: usize, from: usize, to: usize| {
                    (at as f64 * from as f64 / to as f64 + 1e-9).floor() as usize
                };
                expected.push(plane[source(i, h, height) * w + source(j, w, width)]);
            }
        }
        assert_close(&flat(&upsample_nearest(&x, height, width).unwrap()), &expected, 0.0);
    }
}

/// A stride as large as the kernel lays the inputs' kernels side by side.
#[test]
fn cases_small_enough_to_do_by_hand() {
    let x = Tensor::new(&[[[[1.0, 2.0]]]], &candle_core::Device::Cpu).unwrap();
    let weight = Tensor::new(&[[[[1.0, 10.0], [100.0, 1000.0]]]], &candle_core::Device::Cpu);
    let config = ConvTranspose2d { stride: 2, ..ConvTranspose2d::default() };
    let y = conv_transpose2d(&x, &weight.unwrap(), None, &config).unwrap();
    assert_eq!(flat(&y), [1.0, 10.0, 2.0, 20.0, 100.0, 1000.0, 200.0, 2000.0]);
    let y = global_avg_pool(&x).unwrap();
    assert_eq!((y.dims(), flat(&y)), (&[1, 1, 1, 1][..], vec![1.5]));
}

/// With a dilation, even a 1×1 kernel of stride 1 may add a row and a column: they hold the bias.
#[test]
fn a_single_tap_leaves_the_added_outputs_to_the_bias() {
    let x = Tensor::new(&[[[[1.0, 2.0]]]], &candle_core::Device::Cpu).unwrap();
    let weight = Tensor::new(&[[[[10.0]]]], &candle_core::Device::Cpu).unwrap();
    let bias = Tensor::new(&[0.5], &candle_core::Device::Cpu).unwrap();
    let config = ConvTranspose2d { output_padding: 1, dilation: 2, ..ConvTranspose2d::default() };
    let y = conv_transpose2d(&x, &weight, Some(&bias), &config).unwrap();
    assert_eq!(y.dims(), [1, 1, 2, 3]);
    assert_eq!(flat(&y), [10.5, 20.5, 0.5, 0.5, 0.5, 0.5]);
}

#[test]
fn gradients_match_central_differences() {
    let cases = [
        // c, k, groups, kernel, stride, padding, output padding, dilation
        (2, 3, 1, (2, 2), 2, 0, 0, 1),
        (2, 3, 1, (4, 4), 2, 1, 0, 1),
        (4, 2, 2, (3, 2), 2, 1, 1, 1),
        (3, 3, 3, (3, 3), 2, 1, 1, 1),
        (2, 2, 1, (3, 3), 1, 2, 0, 2),
        (2, 2, 1, (1, 1), 1, 0, 1, 2),
    ];
    for (c, k, groups, (kh, kw), stride, padding, output_padding, dilation) in cases {
        let config = ConvTranspose2d { stride, padding, output_padding, dilation, groups };
        let x = var(5, &[2, c, 3, 4]);
        let weight = var(6, &[c, k / groups, kh, kw]);
        let bias = var(7, &[k]);
        check_gradients(&[&x, &weight, &bias], || {
            Ok(conv_transpose2d(&x, &weight, Some(&bias), &config)?)
        })
        .unwrap_or_else(|error| panic!("{config:?}: {error:#}"));
    }
    let x = var(1, &[2, 2, 7, 5]);
    for (kernel, stride, padding) in [(2, 2, 0), (3, 2, 1), (3, 1, 1)] {
        for rounding in [Rounding::Floor, Rounding::Ceil] {
            let pool = Pool { kernel, stride, padding, rounding };
            check_gradients(&[&x], || Ok(avg_pool2d(&x, &pool)?)).unwrap();
        }
    }
    check_gradients(&[&x], || Ok(global_avg_pool(&x)?)).unwrap();
    for (height, width) in [(1, 1), (3, 2), (6, 6), (9, 4)] {
        check_gradients(&[&x], || Ok(adaptive_avg_pool2d(&x, height, width)?)).unwrap();
    }
    for (height, width) in [(14, 10), (9, 11), (3, 2)] {
        check_gradients(&[&x], || Ok(upsample_nearest(&x, height, width)?)).unwrap();
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let single = |t: Tensor| Var::from_tensor(&t.to_dtype(DType::F32).unwrap()).unwrap();
    for groups in [1, 2, 32] {
        let x = single(tensor(1, &[3, 32, 19, 17]));
        let weight = single(tensor(2, &[32, 32 / groups, 4, 4]));
        let config =
            ConvTranspose2d { stride: 2, padding: 1, groups, ..ConvTranspose2d::default() };
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let y = conv_transpose2d(&x, &weight, None, &config).unwrap();
                let window = Pool { kernel: 3, stride: 2, padding: 1, rounding: Rounding::Floor };
                let y = avg_pool2d(&y, &window).unwrap();
                let y = adaptive_avg_pool2d(&y, 13, 17).unwrap();
                let y = upsample_nearest(&y, 31, 33).unwrap();
                let grads = y.sqr().unwrap().sum_all().unwrap().backward().unwrap();
                let bits = |t: &Tensor| -> Vec<u32> {
                    let values: Vec<f32> = t.flatten_all().unwrap().to_vec1().unwrap();
                    values.iter().map(|x| x.to_bits()).collect()
                };
                (bits(&y), bits(grads.get(&x).unwrap()), bits(grads.get(&weight).unwrap()))
            })
        };
        let one = run(1);
        for threads in 2..=8 {
            assert!(run(threads) == one, "groups {groups}: {threads} threads differ");
        }
    }
}

#[test]
fn errors_name_what_was_expected_and_found() {
    let x = tensor(1, &[1, 2, 2, 3]);
    let message = |weight: &[usize], config: ConvTranspose2d| {
        conv_transpose2d(&x, &tensor(2, weight), None, &config).unwrap_err().to_string()
    };
    let plain = ConvTranspose2d::default();
    assert_eq!(
        message(&[3, 2, 2, 2], plain),
        "conv_transpose2d: expected weight: [c, k/groups, kh, kw] with c as in x, got [3, 2, 2, 2]"
    );
    let config = ConvTranspose2d { output_padding: 1, ..plain };
    assert!(message(&[2, 2, 2, 2], config).contains("output_padding = 1, expected less than"));
    let config = ConvTranspose2d { groups: 3, ..plain };
    assert!(message(&[2, 2, 2, 2], config).contains("groups = 3"));
    let config = ConvTranspose2d { padding: 2, ..plain };
    assert!(message(&[2, 2, 2, 2], config).contains("leaves an output, got [1, 2, 2, 3]"));
    let config = ConvTranspose2d { stride: 0, ..plain };
    assert!(message(&[2, 2, 2, 2], config).contains("stride = 0"));
    let pool = Pool { kernel: 3, stride: 1, padding: 0, rounding: Rounding::Floor };
    let error = avg_pool2d(&x, &pool).unwrap_err().to_string();
    assert!(error.starts_with("avg_pool2d: expected x: [n, c, h, w] that, padded"), "{error}");
    let error = adaptive_avg_pool2d(&x, 0, 2).unwrap_err().to_string();
    assert_eq!(error, "adaptive_avg_pool2d: height = 0, expected at least 1");
    let error = upsample_nearest(&x, 2, 0).unwrap_err().to_string();
    assert_eq!(error, "upsample_nearest: width = 0, expected at least 1");
    let integers = x.to_dtype(DType::U8).unwrap();
    let error = global_avg_pool(&integers).unwrap_err().to_string();
    assert_eq!(error, "global_avg_pool: expected f32 or f64, got U8");
}
