//! The sum of two grids with its activation, against candle's own operations.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use candle_core::{DType, Device, Tensor};
use grid_ops::{Activation, add, composed};
use testkit::{assert_close, check_gradients, tensor, var};

const ALL: [Activation; 3] = [Activation::Identity, Activation::Relu, Activation::Relu6];

fn flat(t: &Tensor) -> Vec<f64> {
    t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn sums_are_candles() {
    // More elements than one task takes, and not a multiple of them.
    let [x, y] = [1, 2].map(|seed| (tensor(seed, &[2, 5, 61, 83]) * 9.0).unwrap());
    for dtype in [DType::F32, DType::F64] {
        let (x, y) = (x.to_dtype(dtype).unwrap(), y.to_dtype(dtype).unwrap());
        for activation in ALL {
            let got = add(&x, &y, activation).unwrap();
            assert_eq!(got.dims(), x.dims());
            // One rounding on either side, but candle's ReLU6 is a difference of two.
            let slow = composed::add(&x, &y, activation).unwrap();
            assert_close(&flat(&got), &flat(&slow), 1e-5);
        }
    }
    // A transposed argument.
    let turned = tensor(3, &[2, 5, 83, 61]).transpose(2, 3).unwrap();
    let got = add(&x, &turned, Activation::Identity).unwrap();
    assert_eq!(flat(&got), flat(&(x + turned).unwrap()));
}

#[test]
fn gradients_are_right() {
    for activation in ALL {
        let (x, y) = (var(4, &[2, 3, 3, 5]), var(5, &[2, 3, 3, 5]));
        // The first argument also by another way.
        check_gradients(&[&x, &y], || {
            let sum = add(&(x.as_tensor() * 4.0)?, &(y.as_tensor() * 5.0)?, activation)?;
            Ok((sum * x.as_tensor())?)
        })
        .unwrap();
    }
}

#[test]
fn nan_stays_nan() {
    let nan = Tensor::full(f32::NAN, (1, 1, 1, 2), &Device::Cpu).unwrap();
    let sum = add(&nan, &nan.ones_like().unwrap(), Activation::Relu).unwrap();
    assert!(flat(&sum).iter().all(|x| x.is_nan()));
}

#[test]
fn other_shapes_and_numbers_are_refused() {
    let x = tensor(1, &[1, 2, 3, 4]);
    let message = |x: &Tensor, y: &Tensor| add(x, y, Activation::Relu).unwrap_err().to_string();
    let other = tensor(1, &[1, 2, 4, 3]);
    assert_eq!(message(&x, &other), "add: expected y: [n, c, h, w] as x, got [1, 2, 4, 3]");
    let single = x.to_dtype(DType::F32).unwrap();
    assert_eq!(message(&x, &single), "add: expected y: the numbers of x, got F32");
    assert!(message(&x.flatten_all().unwrap(), &x).starts_with("add: expected"));
}
