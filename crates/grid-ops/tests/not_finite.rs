//! Where NaN and infinities go: one of them at every place of small grids, against definitions in
//! which only what has a share counts; kernels and compositions alike.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use candle_core::{DType, Device, Tensor, Var};
use grid_ops::{
    Activation, BatchNorm, Conv2d, ConvTranspose2d, Corners, IGNORE, Pool, Rounding, composing,
};
use testkit::{tensor, values};

/// What is planted.
const ALIENS: [f64; 3] = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY];

fn flat(t: &Tensor) -> Vec<f64> {
    t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// A grid of one plane.
fn grid(x: &[f64], (h, w): (usize, usize), dtype: DType) -> Tensor {
    Tensor::from_slice(x, (1, 1, h, w), &Device::Cpu).unwrap().to_dtype(dtype).unwrap()
}

/// Every plane of `h × w` small numbers in which one of [`ALIENS`] is planted, or two of them.
fn planted((h, w): (usize, usize)) -> Vec<Vec<f64>> {
    let plain = values(7, h * w);
    let mut all = Vec::new();
    for at in 0..h * w {
        for (nth, alien) in ALIENS.into_iter().enumerate() {
            let mut x = plain.clone();
            x[at] = alien;
            all.push(x.clone());
            x[(at + 1) % (h * w)] = ALIENS[(nth + 1) % 3];
            all.push(x);
        }
    }
    all
}

/// Equal where finite to within rounding, and otherwise the same.
#[track_caller]
fn assert_same(what: &str, got: &[f64], expected: &[f64]) {
    assert_eq!(got.len(), expected.len(), "{what}: lengths");
    for (at, (&got, &expected)) in got.iter().zip(expected).enumerate() {
        let same = match expected.is_finite() {
            true => (got - expected).abs() <= 1e-5,
            false => got == expected || (got.is_nan() && expected.is_nan()),
        };
        assert!(same, "{what}: [{at}] is {got}, expected {expected}");
    }
}

/// Runs `f` on every planted plane as kernels and as compositions, in both number types.
fn check(
    what: &str,
    size: (usize, usize),
    f: impl Fn(&Tensor) -> grid_ops::Result<Tensor>,
    twin: impl Fn(&[f64]) -> Vec<f64>,
) {
    for x in planted(size) {
        for dtype in [DType::F32, DType::F64] {
            let input = grid(&x, size, dtype);
            let expected = twin(&x);
            let kernel = flat(&f(&input).unwrap());
            assert_same(&format!("{what}, kernel, {dtype:?} of {x:?}"), &kernel, &expected);
            let composed = composing(|| flat(&f(&input).unwrap()));
            assert_same(&format!("{what}, composed, {dtype:?} of {x:?}"), &composed, &expected);
        }
    }
}

/// The sum of what has a share.
fn weighted(shares: impl Iterator<Item = (f64, f64)>) -> f64 {
    shares.filter(|(share, _)| *share != 0.0).map(|(share, x)| share * x).sum()
}

/// What each output of a resizing counts along one axis.
fn shares(inputs: usize, outputs: usize, corners: Corners) -> Vec<Vec<f64>> {
    let source = |at: usize| match corners {
        Corners::Centers => ((at as f64 + 0.5) * inputs as f64 / outputs as f64 - 0.5)
            .clamp(0.0, inputs as f64 - 1.0),
        Corners::Aligned if outputs == 1 => 0.0,
        Corners::Aligned => at as f64 * (inputs as f64 - 1.0) / (outputs as f64 - 1.0),
    };
    let tent = |distance: f64| (1.0 - distance.abs()).max(0.0);
    // A share of rounding errors is none.
    let clean = |share: f64| if share < 1e-6 { 0.0 } else { share };
    let of = |at: usize| (0..inputs).map(|p| clean(tent(source(at) - p as f64))).collect();
    (0..outputs).map(of).collect()
}

#[test]
fn resizing() {
    let sizes = [(1, 1), (1, 4), (4, 1), (2, 3), (3, 4)];
    for (h, w) in sizes {
        for (height, width) in [(1, 1), (3, 4), (2, 6), (5, 7), (6, 3)] {
            for corners in [Corners::Centers, Corners::Aligned] {
                let (rows, columns) = (shares(h, height, corners), shares(w, width, corners));
                let twin = |x: &[f64]| -> Vec<f64> {
                    let at = |i: usize, j: usize| {
                        let pairs = (0..h * w)
                            .map(|cell| (rows[i][cell / w] * columns[j][cell % w], x[cell]));
                        weighted(pairs)
                    };
                    (0..height * width).map(|cell| at(cell / width, cell % width)).collect()
                };
                let what = format!("{h}×{w} to {height}×{width}, {corners:?}");
                let f = |x: &Tensor| grid_ops::resize_bilinear(x, height, width, corners);
                check(&what, (h, w), f, twin);
            }
        }
    }
}

/// Differences of finite numbers may be too large for the type where the blend is not.
#[test]
fn resizing_of_large_numbers() {
    let largest = f64::from(f32::MAX);
    let x = grid(&[largest, -largest], (1, 2), DType::F32);
    let run = || flat(&grid_ops::resize_bilinear(&x, 1, 3, Corners::Aligned).unwrap());
    assert_eq!(run(), [largest, 0.0, -largest]);
    assert_eq!(composing(run), [largest, 0.0, -largest]);
}

#[test]
fn nearest_cells() {
    let f = |x: &Tensor| grid_ops::upsample_nearest(x, 3, 7);
    let twin = |x: &[f64]| (0..21).map(|cell| x[cell / 7 * 2 / 3 * 3 + cell % 7 * 3 / 7]).collect();
    check("nearest", (2, 3), f, twin);
}

#[test]
fn pooling() {
    let (h, w) = (4, 3);
    for (kernel, stride, padding) in [(1, 1, 0), (2, 1, 0), (2, 2, 1), (3, 2, 1), (3, 1, 1)] {
        for rounding in [Rounding::Floor, Rounding::Ceil] {
            let pool = Pool { kernel, stride, padding, rounding };
            let some = grid(&values(1, h * w), (h, w), DType::F64);
            let (_, _, oh, ow) = grid_ops::max_pool2d(&some, &pool).unwrap().dims4().unwrap();
            let cells = move |out: usize| -> Vec<usize> {
                let within = |start: usize, at: usize, size: usize| {
                    (start..start + kernel).contains(&(at + padding)) && at < size
                };
                let (i, j) = (out / ow * stride, out % ow * stride);
                (0..h * w).filter(|cell| within(i, cell / w, h) && within(j, cell % w, w)).collect()
            };
            let of = move |x: &[f64], f: fn(&[f64]) -> f64| -> Vec<f64> {
                let window = |out| cells(out).into_iter().map(|cell| x[cell]).collect::<Vec<f64>>();
                (0..oh * ow).map(|out| f(&window(out))).collect()
            };
            let largest = |x: &[f64]| match x.iter().any(|x| x.is_nan()) {
                true => f64::NAN,
                false => x.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            };
            let what = format!("{pool:?}");
            check(&what, (h, w), |x| grid_ops::max_pool2d(x, &pool), |x| of(x, largest));
            let rectified = |x: &[f64]| match x.iter().any(|x| x.is_nan()) {
                true => f64::NAN,
                false => x.iter().copied().fold(0.0, f64::max),
            };
            check(&what, (h, w), |x| grid_ops::relu_max_pool2d(x, &pool), |x| of(x, rectified));
            let mean = |x: &[f64]| x.iter().sum::<f64>() / x.len() as f64;
            check(&what, (h, w), |x| grid_ops::avg_pool2d(x, &pool), |x| of(x, mean));
        }
    }
    let mean = |x: &[f64]| vec![x.iter().sum::<f64>() / x.len() as f64];
    check("global mean", (h, w), grid_ops::global_avg_pool, mean);
}

fn rectified(activation: Activation) -> fn(f64) -> f64 {
    match activation {
        Activation::Identity => |x| x,
        Activation::Relu => |x| if x < 0.0 { 0.0 } else { x },
        Activation::Relu6 => |x| {
            let x = if x < 0.0 { 0.0 } else { x };
            if x > 6.0 { 6.0 } else { x }
        },
    }
}

#[test]
fn activations() {
    for activation in [Activation::Identity, Activation::Relu, Activation::Relu6] {
        let of = rectified(activation);
        let f = |x: &Tensor| grid_ops::add(x, &(x * 0.25)?, activation);
        let twin = |x: &[f64]| x.iter().map(|x| of(x + 0.25 * x)).collect();
        check(&format!("{activation:?}"), (3, 4), f, twin);
    }
    let of = rectified(Activation::Relu);
    check("relu", (3, 4), grid_ops::relu, |x| x.iter().map(|&x| of(x)).collect());
}

/// Direct sums, one channel: each output has what its window has.
#[test]
fn convolutions() {
    let (h, w) = (4, 5);
    let weight = tensor(3, &[1, 1, 3, 3]);
    let taps = flat(&weight);
    for (stride, padding, dilation) in [(1, 1, 1), (2, 1, 1), (1, 0, 1), (1, 2, 2), (3, 1, 1)] {
        for activation in [Activation::Identity, Activation::Relu, Activation::Relu6] {
            let config = Conv2d { stride, padding, dilation, activation, ..Conv2d::default() };
            let f = |x: &Tensor| grid_ops::conv2d(x, &weight.to_dtype(x.dtype())?, None, &config);
            let out = |size: usize| (size + 2 * padding - 2 * dilation - 1) / stride + 1;
            let twin = |x: &[f64]| -> Vec<f64> {
                let at = |i: usize, j: usize| {
                    let mut sum = 0.0;
                    for (tap, weight) in taps.iter().enumerate() {
                        let row = (i * stride + tap / 3 * dilation).checked_sub(padding);
                        let column = (j * stride + tap % 3 * dilation).checked_sub(padding);
                        let cell = row.zip(column).filter(|(row, column)| *row < h && *column < w);
                        if let Some((row, column)) = cell {
                            sum += weight * x[row * w + column];
                        }
                    }
                    rectified(activation)(sum)
                };
                let (rows, columns) = (out(h), out(w));
                (0..rows * columns).map(|cell| at(cell / columns, cell % columns)).collect()
            };
            check(&format!("{config:?}"), (h, w), f, twin);
        }
    }
}

/// Kernels of other ways to convolve, against the compositions: by matrix products, by channel,
/// transposed. Winograd's transforms are not among them; see the next test.
#[test]
fn other_convolutions_are_like_their_compositions() {
    for (c, k, size, groups, padding) in
        [(20, 24, 1, 1, 0), (4, 4, 3, 4, 1), (18, 20, 5, 1, 2), (6, 6, 3, 2, 1)]
    {
        let weight = tensor(1, &[k, c / groups, size, size]).to_dtype(DType::F32).unwrap();
        let config = Conv2d { padding, groups, activation: Activation::Relu, ..Conv2d::default() };
        let back = ConvTranspose2d { padding, groups, stride: 2, ..ConvTranspose2d::default() };
        for at in 0..c * 30 {
            let mut x = values(2, c * 30);
            x[at] = ALIENS[at % 3];
            let x = Tensor::from_vec(x, (1, c, 5, 6), &Device::Cpu).unwrap();
            let x = x.to_dtype(DType::F32).unwrap();
            let run = || flat(&grid_ops::conv2d(&x, &weight, None, &config).unwrap());
            assert_same(&format!("{config:?}, {at}"), &run(), &composing(run));
            if c == k {
                let run = || flat(&grid_ops::conv_transpose2d(&x, &weight, None, &back).unwrap());
                assert_same(&format!("{back:?}, {at}"), &run(), &composing(run));
            }
        }
    }
}

/// One number that is not finite takes its whole channel with it, the variance too.
#[test]
fn batch_statistics() {
    let (gamma, beta) = (tensor(2, &[2]), tensor(3, &[2]));
    for at in 0..12 {
        for alien in ALIENS {
            let mut x = values(1, 24);
            x[at] = alien;
            let x = Tensor::from_vec(x, (1, 2, 3, 4), &Device::Cpu).unwrap();
            let run = || grid_ops::batch_norm(&x, &gamma, &beta, 1e-5, Activation::Relu).unwrap();
            for BatchNorm { y, var, .. } in [run(), composing(run)] {
                let (y, var) = (flat(&y), flat(&var));
                assert!(y[..12].iter().all(|y| y.is_nan()), "{alien}: {y:?}");
                assert!(y[12..].iter().all(|y| y.is_finite()), "{alien}: {y:?}");
                assert!(var[0].is_nan() && var[1].is_finite(), "{alien}: {var:?}");
            }
        }
    }
}

/// The loss as PyTorch's: a logit of −∞ has probability 0, and NaN is in the loss unless its pixel is
/// ignored; then its gradient is 0.
#[test]
fn losses() {
    let (k, h, w) = (3, 2, 3);
    let labels = [0, 2, IGNORE, 1, 1, 0];
    let of_labels = Tensor::from_slice(&labels, (1, h, w), &Device::Cpu).unwrap();
    for at in 0..k * h * w {
        for alien in ALIENS {
            let mut z = values(5, k * h * w);
            z[at] = alien;
            let mut expected = 0.0;
            for (pixel, &label) in labels.iter().enumerate().filter(|(_, l)| **l != IGNORE) {
                let own: Vec<f64> = (0..k).map(|class| z[class * h * w + pixel]).collect();
                // Of +∞ the largest is subtracted, which leaves NaN.
                let top = own.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let sum: f64 = own.iter().map(|z| (z - top).exp()).sum();
                expected += (sum.ln() - (own[usize::from(label)] - top)) / 5.0;
            }
            let logits = Tensor::from_vec(z, (1, k, h, w), &Device::Cpu).unwrap();
            let logits = Var::from_tensor(&logits).unwrap();
            let run = || {
                let loss = grid_ops::cross_entropy(&logits, &of_labels, None).unwrap();
                let grads = loss.backward().unwrap();
                (flat(&loss), flat(grads.get(&logits).unwrap()))
            };
            for (loss, gradient) in [run(), composing(run)] {
                assert_same(&format!("{alien} at {at}"), &loss, &[expected]);
                if labels[at % (h * w)] == IGNORE {
                    assert!(gradient.iter().all(|g| g.is_finite()), "{alien}: {gradient:?}");
                    assert_eq!(gradient[at], 0.0);
                }
            }
        }
    }
}

/// Logits of a lower resolution, with as many classes as run by pixels and fewer: the loss and the
/// classes are those of the logits resized.
#[test]
fn upsampled_losses_and_classes() {
    for k in [3, 70] {
        let (h, w, height, width) = (2, 3, 3, 5);
        let labels: Vec<u8> = (0..height * width).map(|pixel| (pixel % 3) as u8).collect();
        let labels = Tensor::from_vec(labels, (1, height, width), &Device::Cpu).unwrap();
        for at in 0..2 * h * w {
            for alien in ALIENS {
                let mut z = values(5, k * h * w);
                z[at] = alien;
                let z = Tensor::from_vec(z, (1, k, h, w), &Device::Cpu).unwrap();
                let z = z.to_dtype(DType::F32).unwrap();
                let resized =
                    grid_ops::resize_bilinear(&z, height, width, Corners::Centers).unwrap();
                let expected = flat(&grid_ops::cross_entropy(&resized, &labels, None).unwrap());
                let run = || flat(&grid_ops::upsampled_cross_entropy(&z, &labels, None).unwrap());
                assert_same(&format!("{k} classes, {alien} at {at}"), &run(), &expected);
                assert_same(&format!("{k} classes, {alien} at {at}"), &composing(run), &expected);
                let classes = grid_ops::argmax_upsampled(&z, height, width).unwrap();
                let of_resized = grid_ops::argmax_upsampled(&resized, height, width).unwrap();
                assert_eq!(classes, of_resized, "{k} classes, {alien} at {at}");
            }
        }
    }
}
