//! Bilinear resizing and maximum pooling against naive twins, their gradients and errors.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use candle_core::{Device, Tensor};
use grid_ops::{
    Corners, Pool, Rounding, backward_from, max_pool2d, relu, relu_max_pool2d, resize_bilinear,
};
use proptest::prelude::*;
use testkit::{assert_close, check_gradients, tensor, var};

fn flat(t: &Tensor) -> Vec<f64> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}

/// Bilinear interpolation from the definition: a tent of width one around every sample.
fn resize_twin(
    x: &[f64],
    (h, w): (usize, usize),
    (height, width): (usize, usize),
    corners: Corners,
) -> Vec<f64> {
    let source = |at: usize, inputs: usize, outputs: usize| -> f64 {
        match corners {
            Corners::Centers => ((at as f64 + 0.5) * inputs as f64 / outputs as f64 - 0.5)
                .clamp(0.0, inputs as f64 - 1.0),
            Corners::Aligned if outputs == 1 => 0.0,
            Corners::Aligned => at as f64 * (inputs as f64 - 1.0) / (outputs as f64 - 1.0),
        }
    };
    let tent = |distance: f64| (1.0 - distance.abs()).max(0.0);
    let mut y = Vec::new();
    for plane in x.chunks(h * w) {
        for i in 0..height {
            for j in 0..width {
                let (si, sj) = (source(i, h, height), source(j, w, width));
                let mut sum = 0.0;
                for p in 0..h {
                    for q in 0..w {
                        sum += tent(si - p as f64) * tent(sj - q as f64) * plane[p * w + q];
                    }
                }
                y.push(sum);
            }
        }
    }
    y
}

proptest! {
    #[test]
    fn resizing_equals_the_twin(
        (h, w) in (1usize..8, 1usize..8),
        (height, width) in (1usize..20, 1usize..20),
        aligned in any::<bool>(),
        seed in 0u64..1 << 32,
    ) {
        let corners = if aligned { Corners::Aligned } else { Corners::Centers };
        let x = tensor(seed, &[2, w, h, 3]).permute((0, 3, 2, 1)).unwrap();
        let y = resize_bilinear(&x, height, width, corners).unwrap();
        prop_assert_eq!(y.dims(), &[2, 3, height, width]);
        assert_close(&flat(&y), &resize_twin(&flat(&x), (h, w), (height, width), corners), 1e-12);
    }

    #[test]
    fn pooling_equals_the_twin(
        (h, w) in (1usize..9, 1usize..9),
        (kernel, stride, padding) in (1usize..4, 1usize..4, 0usize..2),
        up in any::<bool>(),
        seed in 0u64..1 << 32,
    ) {
        prop_assume!(padding <= kernel / 2);
        prop_assume!(h + 2 * padding >= kernel && w + 2 * padding >= kernel);
        let rounding = if up { Rounding::Ceil } else { Rounding::Floor };
        let x = tensor(seed, &[2, 2, h, w]);
        let y = max_pool2d(&x, &Pool { kernel, stride, padding, rounding }).unwrap();
        // Windows by their starts, as torchvision counts them.
        let starts = |size: usize| -> Vec<i64> {
            let (size, k, s, p) = (size as i64, kernel as i64, stride as i64, padding as i64);
            (0..).map(|at| at * s - p).take_while(|&start| {
                if up { start < size && start + k - s < size + p } else { start + k <= size + p }
            }).collect()
        };
        let (rows, columns) = (starts(h), starts(w));
        prop_assert_eq!(y.dims(), &[2, 2, rows.len(), columns.len()]);
        let mut expected = Vec::new();
        for plane in flat(&x).chunks(h * w) {
            for &row in &rows {
                for &column in &columns {
                    let mut best = f64::NEG_INFINITY;
                    for i in row.max(0)..(row + kernel as i64).min(h as i64) {
                        for j in column.max(0)..(column + kernel as i64).min(w as i64) {
                            best = best.max(plane[i as usize * w + j as usize]);
                        }
                    }
                    expected.push(best);
                }
            }
        }
        assert_close(&flat(&y), &expected, 0.0);
    }
}

/// The ReLU of the maximum is the maximum of the ReLU, gradients and windows without a positive
/// value included.
#[test]
fn a_relu_goes_through_a_pooling() {
    for (kernel, stride, padding) in [(2, 2, 0), (3, 2, 1), (3, 1, 1), (1, 1, 0)] {
        let pool = Pool { kernel, stride, padding, rounding: Rounding::Floor };
        let x = var(1, &[2, 3, 7, 8]);
        let behind = relu_max_pool2d(&x, &pool).unwrap();
        let before = max_pool2d(&relu(&x).unwrap(), &pool).unwrap();
        assert!(flat(&behind).contains(&0.0) || kernel == 3);
        assert_close(&flat(&behind), &flat(&before), 0.0);
        let grad = tensor(2, behind.dims());
        let [behind, before] =
            [&behind, &before].map(|y| flat(backward_from(y, &grad).unwrap().get(&x).unwrap()));
        assert_close(&behind, &before, 0.0);
    }
    let x = Tensor::new(&[[[[1.0, f64::NAN], [2.0, -3.0]]]], &Device::Cpu).unwrap();
    let pool = Pool { kernel: 2, stride: 1, padding: 0, rounding: Rounding::Floor };
    assert!(flat(&relu_max_pool2d(&x, &pool).unwrap())[0].is_nan());
    let error = relu_max_pool2d(&x, &Pool { stride: 0, ..pool }).unwrap_err().to_string();
    assert!(error.contains("relu_max_pool2d: stride = 0"), "{error}");
}

#[test]
fn gradients_match_central_differences() {
    for corners in [Corners::Centers, Corners::Aligned] {
        for (height, width) in [(7, 9), (2, 3), (1, 1), (3, 11)] {
            let x = var(1, &[2, 2, 3, 5]);
            check_gradients(&[&x], || Ok(resize_bilinear(&x, height, width, corners)?)).unwrap();
        }
    }
    for (kernel, stride, padding) in [(2, 2, 0), (3, 2, 1), (3, 1, 1)] {
        for rounding in [Rounding::Floor, Rounding::Ceil] {
            let x = var(2, &[2, 2, 7, 5]);
            let pool = Pool { kernel, stride, padding, rounding };
            check_gradients(&[&x], || Ok(max_pool2d(&x, &pool)?)).unwrap();
        }
    }
}

#[test]
fn nan_is_not_pooled_away() {
    let x = Tensor::new(&[[[[1.0, f64::NAN], [3.0, 2.0]]]], &Device::Cpu).unwrap();
    let pool = Pool { kernel: 2, stride: 2, padding: 0, rounding: Rounding::Floor };
    assert!(flat(&max_pool2d(&x, &pool).unwrap())[0].is_nan());
}

#[test]
fn errors_name_what_was_expected_and_found() {
    let x = tensor(1, &[1, 1, 2, 3]);
    let message = |kernel, stride, padding| {
        let pool = Pool { kernel, stride, padding, rounding: Rounding::Floor };
        max_pool2d(&x, &pool).unwrap_err().to_string()
    };
    assert!(message(3, 1, 0).contains("at least as large as the kernel, got [1, 1, 2, 3]"));
    assert!(message(2, 0, 0).contains("stride = 0"));
    assert!(message(2, 2, 2).contains("padding = 2"));
    let error = resize_bilinear(&x, 0, 3, Corners::Centers).unwrap_err().to_string();
    assert_eq!(error, "resize_bilinear: height = 0, expected at least 1");
}
