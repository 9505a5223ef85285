//! Winograd's algorithm: what it costs in single precision, and where what is not finite goes.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use candle_core::{DType, Device, Tensor, Var};
use grid_ops::{Activation, Conv2d, composing, conv2d};
use testkit::{tensor, values};

fn flat(t: &Tensor) -> Vec<f64> {
    t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// The bounds that the algorithm's documentation states, on layers of networks.
#[test]
fn wide_convolutions_in_single_precision_are_within_the_stated_error() {
    for (c, k, (h, w), dilation) in
        [(64, 64, (45, 60), 1), (256, 32, (23, 30), 2), (16, 16, (90, 120), 1)]
    {
        let config = Conv2d { padding: dilation, dilation, ..Conv2d::default() };
        let of = |x: Tensor, weight: Tensor, direction: Tensor| {
            let (x, weight) = (Var::from_tensor(&x).unwrap(), Var::from_tensor(&weight).unwrap());
            let y = conv2d(&x, &weight, None, &config).unwrap();
            let grads = (&y * direction).unwrap().sum_all().unwrap().backward().unwrap();
            let wide = |t: &Tensor| flat(&t.to_dtype(DType::F64).unwrap());
            [wide(&y), wide(grads.get(&x).unwrap()), wide(grads.get(&weight).unwrap())]
        };
        let inputs = [tensor(1, &[2, c, h, w]), tensor(2, &[k, c, 3, 3]), tensor(3, &[2, k, h, w])];
        let single = inputs.clone().map(|t| t.to_dtype(DType::F32).unwrap());
        // What single precision holds of the inputs is exact for both.
        let double = single.clone().map(|t| t.to_dtype(DType::F64).unwrap());
        let sizes = double.clone().map(|t| t.abs().unwrap());
        let ([a, b, d], [e, f, g], [p, q, r]) = (single, double, sizes);
        let (got, exact, sizes) = (of(a, b, d), of(e, f, g), of(p, q, r));
        for (what, bound) in [(0, 3e-6), (1, 3e-6), (2, 2e-6)] {
            let errors = got[what].iter().zip(&exact[what]).zip(&sizes[what]);
            let worst = errors.map(|((got, exact), size)| (got - exact).abs() / size);
            let worst = worst.fold(0.0, f64::max);
            println!("{c} to {k}, dilation {dilation}, {what}: {worst:.1e}");
            assert!(worst <= bound, "{c} to {k}, {what}: {worst:e} of the absolute products");
        }
    }
}

/// The price of the transforms in `f32`, as the algorithm's documentation states it: errors of
/// outputs and gradients relative to the largest of them, beside those of direct sums.
#[test]
fn winograd_in_single_precision_costs_the_stated_digits() {
    let shapes = [
        (64, 64, (45, 60), 1),
        (256, 32, (23, 30), 2),
        (16, 16, (90, 120), 1),
        (512, 64, (23, 30), 1),
    ];
    let (mut worst, mut direct) = ([0.0f64; 3], [0.0f64; 3]);
    for (c, k, (h, w), dilation) in shapes {
        let config = Conv2d { padding: dilation, dilation, ..Conv2d::default() };
        let of = |[x, weight, direction]: &[Tensor; 3]| {
            let (x, weight) = (Var::from_tensor(x).unwrap(), Var::from_tensor(weight).unwrap());
            let y = conv2d(&x, &weight, None, &config).unwrap();
            let grads = (&y * direction).unwrap().sum_all().unwrap().backward().unwrap();
            let wide = |t: &Tensor| flat(&t.to_dtype(DType::F64).unwrap());
            [wide(&y), wide(grads.get(&x).unwrap()), wide(grads.get(&weight).unwrap())]
        };
        let inputs = [tensor(1, &[1, c, h, w]), tensor(2, &[k, c, 3, 3]), tensor(3, &[1, k, h, w])];
        let single = inputs.map(|t| t.to_dtype(DType::F32).unwrap());
        let double = single.each_ref().map(|t| t.to_dtype(DType::F64).unwrap());
        let exact = of(&double);
        for (errors, found) in [(&mut worst, of(&single)), (&mut direct, composing(|| of(&single)))]
        {
            for (what, error) in errors.iter_mut().enumerate() {
                let largest = exact[what].iter().fold(0.0, |top: f64, x| top.max(x.abs()));
                let far = found[what].iter().zip(&exact[what]).map(|(a, b)| (a - b).abs());
                *error = error.max(far.fold(0.0, f64::max) / largest);
            }
        }
        println!("{c} to {k}, dilation {dilation}: {worst:.9?}, direct {direct:.9?}");
    }
    assert!(worst.iter().all(|&error| error <= 1e-5), "{worst:?}");
    assert!(direct.iter().all(|&error| error <= 1e-6), "{direct:?}");
}

/// In a tile of Winograd's transforms, what is not finite may reach outputs beside those whose
/// windows hold it, as NaN; it never reaches fewer, nor other tiles.
#[test]
fn winograd_hides_nothing() {
    let (c, k, h, w) = (16, 16, 9, 10);
    let weight = tensor(1, &[k, c, 3, 3]).to_dtype(DType::F32).unwrap();
    let config = Conv2d { padding: 1, activation: Activation::Relu, ..Conv2d::default() };
    for at in 0..h * w {
        for alien in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let mut x = values(2, c * h * w);
            x[at] = alien;
            let x = Tensor::from_vec(x, (1, c, h, w), &Device::Cpu).unwrap();
            let x = x.to_dtype(DType::F32).unwrap();
            let run = || flat(&conv2d(&x, &weight, None, &config).unwrap());
            let (kernel, composed) = (run(), composing(run));
            for (out, (kernel, composed)) in kernel.iter().zip(&composed).enumerate() {
                let (i, j) = (out / w % h, out % w);
                let far = |at: usize, tile: usize| at + 1 < tile * 4 || at > tile * 4 + 4;
                if far(at / w, i / 4) || far(at % w, j / 4) {
                    assert!(kernel.is_finite(), "{alien} at {at}: [{out}] is {kernel}");
                } else if alien.is_nan() && composed.is_nan() {
                    assert!(kernel.is_nan(), "{alien} at {at}: [{out}] is {kernel}");
                } else if !composed.is_finite() {
                    assert!(!kernel.is_finite(), "{alien} at {at}: [{out}] is {kernel}");
                }
            }
        }
    }
}
