//! AdamW with a global gradient norm, under a poly schedule with warm-up.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use candle_core::backprop::GradStore;
use candle_core::{Tensor, Var};
use rayon::prelude::*;

use crate::config::TrainingConfig;

const BETAS: [f64; 2] = [0.9, 0.999];
const EPSILON: f64 = 1e-8;

/// AdamW over named variables (Loshchilov & Hutter, ICLR 2019).
pub struct AdamW {
    slots: Vec<Slot>,
    step: i32,
    config: TrainingConfig,
}

struct Slot {
    name: String,
    var: Var,
    lr_factor: f64,
    weight_decay: f64,
    /// Running means of the gradient and of its square.
    moments: [Vec<f32>; 2],
}

impl AdamW {
    /// An optimizer over `vars`, which it walks in the order of their names.
    ///
    /// Names that begin with `backbone.` learn at `backbone_lr_factor`; vectors and scalars
    /// (biases and norms) do not decay.
    pub fn new(vars: BTreeMap<String, Var>, config: &TrainingConfig) -> Self {
        let slots = vars
            .into_iter()
            .map(|(name, var)| {
                let zeros = || vec![0.0; var.elem_count()];
                let in_backbone = name.starts_with("backbone.");
                let lr_factor = if in_backbone { config.backbone_lr_factor } else { 1.0 };
                let weight_decay = if var.rank() > 1 { config.weight_decay } else { 0.0 };
                Slot { moments: [zeros(), zeros()], name, var, lr_factor, weight_decay }
            })
            .collect();
        Self { slots, step: 0, config: config.clone() }
    }

    /// The learning rate of step `step` out of `steps`, before factors.
    pub fn learning_rate(&self, step: usize, steps: usize) -> f64 {
        let c = &self.config;
        if step < c.warmup_steps.min(steps / 2) {
            return c.learning_rate * (step + 1) as f64 / c.warmup_steps.min(steps / 2) as f64;
        }
        c.learning_rate * (1.0 - step as f64 / steps as f64).powf(c.poly_power)
    }

    /// Moves every variable against its gradient; returns the gradient's norm before clipping.
    ///
    /// # Errors
    ///
    /// A variable without a gradient (a cut graph), or a gradient that is not finite.
    pub fn step(&mut self, grads: &GradStore, learning_rate: f64) -> anyhow::Result<f64> {
        let gradients = self
            .slots
            .iter()
            .map(|slot| {
                let grad = grads.get(&slot.var);
                let grad = grad.with_context(|| format!("{} has no gradient", slot.name))?;
                Ok(grad.flatten_all()?.to_vec1::<f32>()?)
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        // Summed in f64 in the order of the names, so that the bits do not depend on threads.
        let squares: f64 = gradients
            .iter()
            .map(|grad| grad.iter().map(|&g| f64::from(g) * f64::from(g)).sum::<f64>())
            .sum();
        let norm = squares.sqrt();
        ensure!(norm.is_finite(), "the gradient is not finite (norm {norm})");
        let clip = (self.config.clip_norm / norm).min(1.0);
        self.step += 1;
        let corrections = BETAS.map(|beta| 1.0 - beta.powi(self.step));
        self.slots.par_iter_mut().zip(gradients).try_for_each(|(slot, grad)| {
            let rate = learning_rate * slot.lr_factor;
            slot.update(&grad, clip as f32, rate, corrections)
        })?;
        Ok(norm)
    }
}

impl Slot {
    fn update(
        &mut self,
        grad: &[f32],
        clip: f32,
        rate: f64,
        corrections: [f64; 2],
    ) -> anyhow::Result<()> {
        let [beta1, beta2] = BETAS.map(|beta| beta as f32);
        let step = (rate / corrections[0]) as f32;
        let scale = (1.0 / corrections[1].sqrt()) as f32;
        let keep = (1.0 - rate * self.weight_decay) as f32;
        let mut values = self.var.flatten_all()?.to_vec1::<f32>()?;
        let [first, second] = &mut self.moments;
        for (((value, &grad), m), v) in values.iter_mut().zip(grad).zip(first).zip(second) {
            let g = clip * grad;
            *m = beta1 * *m + (1.0 - beta1) * g;
            *v = beta2 * *v + (1.0 - beta2) * g * g;
            *value = keep * *value - step * *m / (scale * v.sqrt() + EPSILON as f32);
        }
        self.var.set(&Tensor::from_vec(values, self.var.shape(), self.var.device())?)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn two_steps_are_those_computed_by_hand() {
        let var = Var::new(&[[1.0f32, -2.0]], &Device::Cpu).unwrap();
        let config =
            TrainingConfig { weight_decay: 0.1, clip_norm: 1e9, ..TrainingConfig::default() };
        let mut optimizer = AdamW::new([("w".to_owned(), var.clone())].into(), &config);
        let (mut w, mut m, mut v) = ([1.0f64, -2.0], [0.0; 2], [0.0; 2]);
        for t in 1..=2 {
            // Loss Σ w², gradient 2 w.
            let grads = var.sqr().unwrap().sum_all().unwrap().backward().unwrap();
            optimizer.step(&grads, 0.01).unwrap();
            for i in 0..2 {
                let g = 2.0 * w[i];
                m[i] = 0.9 * m[i] + 0.1 * g;
                v[i] = 0.999 * v[i] + 0.001 * g * g;
                let (mh, vh) = (m[i] / (1.0 - 0.9f64.powi(t)), v[i] / (1.0 - 0.999f64.powi(t)));
                w[i] = w[i] * (1.0 - 0.01 * 0.1) - 0.01 * mh / (vh.sqrt() + 1e-8);
            }
        }
        let got = var.to_vec2::<f32>().unwrap();
        for i in 0..2 {
            assert!((f64::from(got[0][i]) - w[i]).abs() < 1e-6, "{got:?} {w:?}");
        }
    }

    #[test]
    fn a_large_gradient_is_scaled_to_the_clip_norm_and_a_missing_one_is_an_error() {
        let var = Var::new(&[3.0f32, 4.0], &Device::Cpu).unwrap();
        let other = Var::new(&[1.0f32], &Device::Cpu).unwrap();
        let config = TrainingConfig { clip_norm: 1.0, ..TrainingConfig::default() };
        let grads = (var.sqr().unwrap().sum_all().unwrap() * 50.0).unwrap().backward().unwrap();
        let mut optimizer = AdamW::new([("w".to_owned(), var.clone())].into(), &config);
        assert!((optimizer.step(&grads, 0.0).unwrap() - 500.0).abs() < 1e-3);
        assert!((optimizer.slots[0].moments[0][0] - 0.1 * 0.6).abs() < 1e-6);
        let mut optimizer = AdamW::new([("u".to_owned(), other)].into(), &config);
        assert_eq!(optimizer.step(&grads, 0.1).unwrap_err().to_string(), "u has no gradient");
    }

    #[test]
    fn the_rate_rises_then_falls_to_almost_zero() {
        let config = TrainingConfig { warmup_steps: 10, ..TrainingConfig::default() };
        let optimizer = AdamW::new(BTreeMap::new(), &config);
        let rate = |step| optimizer.learning_rate(step, 100) / config.learning_rate;
        assert!((rate(0) - 0.1).abs() < 1e-12 && rate(9) <= 1.0);
        assert!((rate(50) - 0.5f64.powf(0.9)).abs() < 1e-12);
        assert!(rate(99) < 0.02);
    }
}
