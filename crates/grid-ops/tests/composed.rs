//! The compositions that run off the CPU, forced on it and held against the kernels: values and
//! the gradients of every input.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use candle_core::{Device, Tensor, Var};
use grid_ops::{Activation, Conv2d, ConvTranspose2d, Corners, IGNORE, Pool, Rounding, composed};
use proptest::prelude::*;
use testkit::{assert_close, tensor, var};

fn flat(t: &Tensor) -> Vec<f64> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}

/// Compares two functions of the same variables, in value and gradients.
fn assert_same(
    vars: &[&Var],
    fast: impl Fn() -> grid_ops::Result<Tensor>,
    slow: impl Fn() -> grid_ops::Result<Tensor>,
) {
    let (fast, slow) = (fast().unwrap(), slow().unwrap());
    assert_eq!(fast.dims(), slow.dims());
    assert_close(&flat(&fast), &flat(&slow), 1e-11);
    let grads = |y: &Tensor| {
        let direction = tensor(99, y.dims());
        (y * direction).unwrap().sum_all().unwrap().backward().unwrap()
    };
    let (fast, slow) = (grads(&fast), grads(&slow));
    for var in vars {
        assert_close(&flat(fast.get(var).unwrap()), &flat(slow.get(var).unwrap()), 1e-10);
    }
}

proptest! {
    #[test]
    fn convolutions_are_the_same(
        (h, w) in (3usize..9, 3usize..9),
        (kh, kw) in (1usize..4, 1usize..4),
        (stride, padding, dilation) in (1usize..4, 0usize..3, 1usize..3),
        groups in 1usize..3,
        seed in 0u64..1 << 32,
    ) {
        let fits = |size, kernel| size + 2 * padding > dilation * (kernel - 1);
        prop_assume!(fits(h, kh) && fits(w, kw));
        let activation =
            [Activation::Identity, Activation::Relu, Activation::Relu6][seed as usize % 3];
        let config = Conv2d { stride, padding, dilation, groups, activation };
        let x = var(seed, &[2, 2 * groups, h, w]);
        let weight = var(seed + 1, &[3 * groups, 2, kh, kw]);
        let bias = var(seed + 2, &[3 * groups]);
        assert_same(
            &[&x, &weight, &bias],
            || grid_ops::conv2d(&x, &weight, Some(&bias), &config),
            || composed::conv2d(&x, &weight, Some(&bias), &config),
        );
    }

    #[test]
    fn transposed_convolutions_are_the_same(
        (h, w) in (1usize..6, 1usize..6),
        (kh, kw) in (1usize..5, 1usize..5),
        (stride, padding, dilation) in (1usize..4, 0usize..3, 1usize..3),
        output_padding in 0usize..3,
        groups in 1usize..3,
        seed in 0u64..1 << 32,
    ) {
        prop_assume!(output_padding < stride.max(dilation));
        let whole = |size: usize, kernel: usize| {
            (size - 1) * stride + dilation * (kernel - 1) + output_padding + 1
        };
        prop_assume!(whole(h, kh) > 2 * padding && whole(w, kw) > 2 * padding);
        let config = ConvTranspose2d { stride, padding, output_padding, dilation, groups };
        let x = var(seed, &[2, 2 * groups, h, w]);
        let weight = var(seed + 1, &[2 * groups, 3, kh, kw]);
        let bias = var(seed + 2, &[3 * groups]);
        assert_same(
            &[&x, &weight, &bias],
            || grid_ops::conv_transpose2d(&x, &weight, Some(&bias), &config),
            || composed::conv_transpose2d(&x, &weight, Some(&bias), &config),
        );
    }

    #[test]
    fn pools_are_the_same(
        (h, w) in (1usize..9, 1usize..9),
        (kernel, stride, padding) in (1usize..4, 1usize..4, 0usize..2),
        up in any::<bool>(),
        seed in 0u64..1 << 32,
    ) {
        prop_assume!(padding <= kernel / 2);
        prop_assume!(h + 2 * padding >= kernel && w + 2 * padding >= kernel);
        let rounding = if up { Rounding::Ceil } else { Rounding::Floor };
        let pool = Pool { kernel, stride, padding, rounding };
        let x = var(seed, &[2, 2, h, w]);
        assert_same(
            &[&x],
            || grid_ops::max_pool2d(&x, &pool),
            || composed::max_pool2d(&x, &pool),
        );
        assert_same(
            &[&x],
            || grid_ops::relu_max_pool2d(&x, &pool),
            || composed::relu_max_pool2d(&x, &pool),
        );
        assert_same(
            &[&x],
            || grid_ops::avg_pool2d(&x, &pool),
            || composed::avg_pool2d(&x, &pool),
        );
        assert_same(
            &[&x],
            || grid_ops::global_avg_pool(&x),
            || composed::global_avg_pool(&x),
        );
    }

    #[test]
    fn resizings_are_the_same(
        (h, w) in (1usize..8, 1usize..8),
        (height, width) in (1usize..20, 1usize..20),
        seed in 0u64..1 << 32,
    ) {
        let x = var(seed, &[2, 3, h, w]);
        assert_same(
            &[&x],
            || grid_ops::adaptive_avg_pool2d(&x, height, width),
            || composed::adaptive_avg_pool2d(&x, height, width),
        );
        for corners in [Corners::Centers, Corners::Aligned] {
            assert_same(
                &[&x],
                || Ok((grid_ops::resize_bilinear(&x, height, width, corners)? * 1.0)?),
                || composed::resize_bilinear(&x, height, width, corners),
            );
        }
        assert_same(
            &[&x],
            || grid_ops::upsample_nearest(&x, height, width),
            || composed::upsample_nearest(&x, height, width),
        );
    }
}

#[test]
fn norms_are_the_same() {
    let x = var(1, &[3, 4, 5, 3]);
    let (gamma, beta) = (var(2, &[4]), var(3, &[4]));
    for activation in [Activation::Identity, Activation::Relu, Activation::Relu6] {
        assert_same(
            &[&x, &gamma, &beta],
            || Ok(grid_ops::batch_norm(&x, &gamma, &beta, 1e-5, activation)?.y),
            || Ok(composed::batch_norm(&x, &gamma, &beta, 1e-5, activation)?.y),
        );
    }
    let fast = grid_ops::batch_norm(&x, &gamma, &beta, 1e-5, Activation::Identity).unwrap();
    let slow = composed::batch_norm(&x, &gamma, &beta, 1e-5, Activation::Identity).unwrap();
    assert_close(&flat(&fast.mean), &flat(&slow.mean), 1e-12);
    assert_close(&flat(&fast.var), &flat(&slow.var), 1e-12);
}

#[test]
fn losses_are_the_same() {
    let logits = var(1, &[2, 3, 4, 5]);
    let class_weights = [0.5, 2.0, 1.0];
    for weights in [None, Some(&class_weights[..])] {
        let labels = |h: usize, w: usize| {
            let label = |at: usize| [0, 2, IGNORE, 1, 1, 0, 2][at % 7];
            let all: Vec<u8> = (0..2 * h * w).map(label).collect();
            Tensor::from_vec(all, (2, h, w), &Device::Cpu).unwrap()
        };
        let same = labels(4, 5);
        assert_same(
            &[&logits],
            || grid_ops::cross_entropy(&logits, &same, weights),
            || composed::cross_entropy(&logits, &same, weights),
        );
        let larger = labels(11, 17);
        assert_same(
            &[&logits],
            || grid_ops::upsampled_cross_entropy(&logits, &larger, weights),
            || composed::upsampled_cross_entropy(&logits, &larger, weights),
        );
    }
    let ignored = Tensor::full(IGNORE, (2, 4, 5), &Device::Cpu).unwrap();
    assert_same(
        &[&logits],
        || grid_ops::cross_entropy(&logits, &ignored, None),
        || composed::cross_entropy(&logits, &ignored, None),
    );
}
