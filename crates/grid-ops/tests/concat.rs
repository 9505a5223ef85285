//! Channels side by side, against candle's own operation.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use candle_core::{DType, Tensor};
use grid_ops::{composing, concat};
use testkit::{check_gradients, tensor, var};

fn flat(t: &Tensor) -> Vec<f64> {
    t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn channels_are_where_candle_puts_them() {
    for (n, a, b) in [(1, 1, 1), (1, 3, 2), (3, 2, 5)] {
        let x = tensor(1, &[n, a, 4, 5]);
        // Stored the other way round.
        let y = tensor(2, &[n, b, 5, 4]).transpose(2, 3).unwrap();
        for dtype in [DType::F32, DType::F64] {
            let (x, y) = (x.to_dtype(dtype).unwrap(), y.to_dtype(dtype).unwrap());
            let got = concat(&x, &y).unwrap();
            let expected = Tensor::cat(&[&x, &y], 1).unwrap();
            assert_eq!(got.dims(), expected.dims());
            assert_eq!(flat(&got), flat(&expected));
            assert_eq!(flat(&composing(|| concat(&x, &y)).unwrap()), flat(&expected));
        }
    }
}

#[test]
fn gradients_are_right() {
    let (x, y) = (var(3, &[2, 3, 2, 3]), var(4, &[2, 2, 2, 3]));
    check_gradients(&[&x, &y], || Ok(concat(&x, &y)?.sqr()?)).unwrap();
    // Of the second alone.
    check_gradients(&[&y], || Ok(concat(&x.detach(), &y)?.sqr()?)).unwrap();
}

#[test]
fn other_shapes_and_numbers_are_refused() {
    let x = tensor(1, &[1, 2, 3, 4]);
    let message = |y: &Tensor| concat(&x, y).unwrap_err().to_string();
    assert_eq!(
        message(&tensor(1, &[1, 2, 4, 3])),
        "concat: expected y: [n, b, h, w] with n, h and w as in x, got [1, 2, 4, 3]"
    );
    let single = x.to_dtype(DType::F32).unwrap();
    assert!(message(&single).starts_with("concat: expected y: the numbers of x, got F32"));
}
