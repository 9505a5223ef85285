//! Batch norm and cross-entropy against naive twins, their gradients and errors.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use candle_core::{DType, Device, Tensor};
use grid_ops::{
    Activation, Corners, IGNORE, argmax_upsampled, batch_norm, batch_norm_frozen, cross_entropy,
    resize_bilinear, upsampled_cross_entropy,
};
use proptest::prelude::*;
use testkit::{assert_close, check_gradients, tensor, var};

fn flat(t: &Tensor) -> Vec<f64> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}

fn labels(seed: u64, dims: (usize, usize, usize), classes: usize) -> Tensor {
    let (n, h, w) = dims;
    let draw = |x: f64| match ((x + 1.0) / 2.0 * (classes + 1) as f64) as usize {
        class if class < classes => class as u8,
        _ => IGNORE,
    };
    let labels: Vec<u8> = testkit::values(seed, n * h * w).into_iter().map(draw).collect();
    Tensor::from_vec(labels, dims, &Device::Cpu).unwrap()
}

/// The weighted mean over counted pixels, one pixel at a time.
fn loss_twin(logits: &Tensor, labels: &Tensor, weights: &[f64]) -> f64 {
    let (n, k, h, w) = logits.dims4().unwrap();
    let (z, labels) = (flat(logits), labels.flatten_all().unwrap().to_vec1::<u8>().unwrap());
    let (mut sum, mut total) = (0.0, 0.0);
    for image in 0..n {
        for pixel in 0..h * w {
            let label = labels[image * h * w + pixel];
            if label == IGNORE {
                continue;
            }
            let of = |class: usize| z[(image * k + class) * h * w + pixel];
            let all: f64 = (0..k).map(|class| of(class).exp()).sum();
            let weight = weights[usize::from(label)];
            sum += weight * (all.ln() - of(usize::from(label)));
            total += weight;
        }
    }
    if total == 0.0 { 0.0 } else { sum / total }
}

proptest! {
    #[test]
    fn losses_equal_the_twin(
        (n, k, h, w) in (1usize..3, 2usize..6, 1usize..6, 1usize..6),
        (height, width) in (1usize..150, 1usize..9),
        many in any::<bool>(),
        seed in 0u64..1 << 32,
    ) {
        // As many as ADE20K's take another path.
        let k = if many { k + 148 } else { k };
        let logits = (tensor(seed, &[n, k, h, w]) * 4.0).unwrap();
        let weights: Vec<f64> = (0..k).map(|class| 0.5 + class as f64).collect();
        let same = labels(seed + 1, (n, h, w), k);
        let got = cross_entropy(&logits, &same, Some(&weights)).unwrap();
        assert_close(&flat(&got), &[loss_twin(&logits, &same, &weights)], 1e-10);
        let larger = labels(seed + 2, (n, height, width), k);
        let got = upsampled_cross_entropy(&logits, &larger, None).unwrap();
        let resized = resize_bilinear(&logits, height, width, Corners::Centers).unwrap();
        assert_close(&flat(&got), &[loss_twin(&resized, &larger, &vec![1.0; k])], 1e-10);
        // The class of a pixel is the largest of the resized logits.
        let single = logits.to_dtype(DType::F32).unwrap();
        let classes = argmax_upsampled(&single, height, width).unwrap();
        let resized = resize_bilinear(&single, height, width, Corners::Centers).unwrap();
        let largest = resized.max(1).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let z = resized.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let plane = height * width;
        for (at, class) in classes.iter().enumerate() {
            let (image, pixel) = (at / plane, at % plane);
            let value = z[(image * k + usize::from(*class)) * plane + pixel];
            prop_assert!((value - largest[at]).abs() <= 1e-5);
        }
    }

    #[test]
    fn batch_norm_equals_the_twin(
        (n, c, h, w) in (1usize..4, 1usize..5, 1usize..20, 1usize..20),
        seed in 0u64..1 << 32,
    ) {
        let x = ((tensor(seed, &[n, c, h, w]) * 3.0).unwrap() + 5.0).unwrap();
        let (gamma, beta) = (tensor(seed + 1, &[c]), tensor(seed + 2, &[c]));
        let got = batch_norm(&x, &gamma, &beta, 1e-5, Activation::Identity).unwrap();
        let (values, gammas, betas) = (flat(&x), flat(&gamma), flat(&beta));
        let at = |i: usize, k: usize, p: usize| values[(i * c + k) * h * w + p];
        let mut y = values.clone();
        for k in 0..c {
            let all: Vec<f64> =
                (0..n).flat_map(|i| (0..h * w).map(move |p| at(i, k, p))).collect();
            let mean = all.iter().sum::<f64>() / all.len() as f64;
            let var = all.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / all.len() as f64;
            assert_close(&[flat(&got.mean)[k], flat(&got.var)[k]], &[mean, var], 1e-10);
            for i in 0..n {
                for p in 0..h * w {
                    y[(i * c + k) * h * w + p] =
                        gammas[k] * (at(i, k, p) - mean) / (var + 1e-5).sqrt() + betas[k];
                }
            }
        }
        assert_close(&flat(&got.y), &y, 1e-8);
        let frozen = batch_norm_frozen(&x, &gamma, &beta, &got.mean, &got.var, 1e-5).unwrap();
        assert_close(&flat(&frozen), &y, 1e-8);
    }
}

#[test]
fn gradients_match_central_differences() {
    let (x, gamma, beta) = (var(1, &[2, 3, 4, 5]), var(2, &[3]), var(3, &[3]));
    for activation in [Activation::Identity, Activation::Relu] {
        check_gradients(&[&x, &gamma, &beta], || {
            Ok(batch_norm(&x, &gamma, &beta, 1e-5, activation)?.y)
        })
        .unwrap();
    }
    let (mean, variance) = (var(4, &[3]), tensor(5, &[3]).sqr().unwrap());
    let variance = candle_core::Var::from_tensor(&(variance + 0.1).unwrap()).unwrap();
    check_gradients(&[&x, &gamma, &beta, &mean, &variance], || {
        Ok(batch_norm_frozen(&x, &gamma, &beta, &mean, &variance, 1e-5)?)
    })
    .unwrap();
    for (height, width) in [(3, 4), (7, 9), (130, 3), (2, 2)] {
        let logits = var(6, &[2, 4, 3, 4]);
        let labels = labels(7, (2, height, width), 4);
        let weights = [0.5, 1.0, 2.0, 1.5];
        check_gradients(&[&logits], || {
            Ok(upsampled_cross_entropy(&logits, &labels, Some(&weights))?)
        })
        .unwrap();
    }
}

#[test]
fn a_crop_without_labels_has_loss_and_gradient_zero() {
    let logits = var(1, &[1, 3, 2, 2]);
    let none = Tensor::full(IGNORE, (1, 5, 5), &Device::Cpu).unwrap();
    let loss = upsampled_cross_entropy(&logits, &none, None).unwrap();
    assert_eq!(loss.to_scalar::<f64>().unwrap(), 0.0);
    let grads = loss.backward().unwrap();
    assert!(flat(grads.get(&logits).unwrap()).iter().all(|&g| g == 0.0));
}

#[test]
fn errors_name_what_was_expected_and_found() {
    let logits = tensor(1, &[1, 3, 2, 2]);
    let label = |value: u8| Tensor::full(value, (1, 2, 2), &Device::Cpu).unwrap();
    let message = |labels: &Tensor| cross_entropy(&logits, labels, None).unwrap_err().to_string();
    assert_eq!(
        message(&label(3)),
        "cross_entropy: label 3 at flat index 0; expected a class below 3 or 255"
    );
    assert!(message(&tensor(2, &[1, 2, 2])).contains("expected u8 labels, got F64"));
    assert!(message(&labels(3, (1, 2, 3), 3)).contains("got [1, 2, 3]"));
    let error = cross_entropy(&logits, &label(0), Some(&[1.0])).unwrap_err().to_string();
    assert!(error.contains("class_weights"), "{error}");
    let error = batch_norm(&logits, &tensor(1, &[2]), &tensor(2, &[3]), 1e-5, Activation::Relu)
        .unwrap_err();
    assert!(error.to_string().contains("gamma, beta and statistics: [c]"), "{error}");
}
