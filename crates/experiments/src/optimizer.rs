//! AdamW and SGD with a global gradient norm, under poly and cosine schedules with warm-up.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use candle_core::backprop::GradStore;
use candle_core::{Tensor, Var};
use rayon::prelude::*;

use crate::config::{OptimizerKind, Schedule, TrainingConfig};

const BETAS: [f64; 2] = [0.9, 0.999];
const EPSILON: f64 = 1e-8;

/// Gradient descent over named variables: AdamW (Loshchilov & Hutter, *Decoupled weight decay
/// regularization*, ICLR 2019), or SGD with momentum and weight decay in the gradient, as PyTorch's.
pub struct Optimizer {
    slots: Vec<Slot>,
    step: i32,
    /// Batches whose gradients wait in the slots.
    waiting: usize,
    config: TrainingConfig,
}

struct Slot {
    name: String,
    var: Var,
    lr_factor: f64,
    weight_decay: f64,
    /// Sum of the gradients since the last step.
    gradient: Vec<f32>,
    /// Running means of the gradient and of its square; of SGD the first is the momentum.
    moments: [Vec<f32>; 2],
}

impl Optimizer {
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
                let (gradient, moments) = (Vec::new(), [zeros(), zeros()]);
                Slot { name, var, lr_factor, weight_decay, gradient, moments }
            })
            .collect();
        Self { slots, step: 0, waiting: 0, config: config.clone() }
    }

    /// The learning rate of step `step` out of `steps`, before factors.
    pub fn learning_rate(&self, step: usize, steps: usize) -> f64 {
        let c = &self.config;
        if step < c.warmup_steps.min(steps / 2) {
            return c.learning_rate * (step + 1) as f64 / c.warmup_steps.min(steps / 2) as f64;
        }
        let done = step as f64 / steps as f64;
        c.learning_rate
            * match c.schedule {
                Schedule::Poly => (1.0 - done).powf(c.poly_power),
                Schedule::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * done).cos()),
            }
    }

    /// Adds the gradients of one batch to those that the next step takes.
    ///
    /// # Errors
    ///
    /// A variable without a gradient: a cut graph.
    pub fn add(&mut self, grads: &GradStore) -> anyhow::Result<()> {
        for slot in &mut self.slots {
            let grad = grads.get(&slot.var);
            let grad = grad.with_context(|| format!("{} has no gradient", slot.name))?;
            let grad = grad.flatten_all()?.to_vec1::<f32>()?;
            if self.waiting == 0 {
                slot.gradient = grad;
            } else {
                slot.gradient.iter_mut().zip(grad).for_each(|(sum, g)| *sum += g);
            }
        }
        self.waiting += 1;
        Ok(())
    }

    /// Moves every variable against the mean of the gradients that were added; returns its norm
    /// before clipping.
    ///
    /// # Errors
    ///
    /// A gradient that is not finite.
    pub fn step(&mut self, learning_rate: f64) -> anyhow::Result<f64> {
        let batches = self.waiting.max(1) as f64;
        // Summed in f64 in the order of the names, so that the bits do not depend on threads.
        let squares: f64 = self
            .slots
            .iter()
            .map(|slot| slot.gradient.iter().map(|&g| f64::from(g) * f64::from(g)).sum::<f64>())
            .sum();
        let norm = squares.sqrt() / batches;
        ensure!(norm.is_finite(), "the gradient is not finite (norm {norm})");
        let scale = ((self.config.clip_norm / norm).min(1.0) / batches) as f32;
        self.step += 1;
        self.waiting = 0;
        let (step, config) = (self.step, &self.config);
        self.slots.par_iter_mut().try_for_each(|slot| {
            let rate = learning_rate * slot.lr_factor;
            let mut values = slot.var.flatten_all()?.to_vec1::<f32>()?;
            match config.optimizer {
                OptimizerKind::AdamW => slot.adam(&mut values, scale, rate, step),
                OptimizerKind::Sgd => slot.sgd(&mut values, scale, rate, config.momentum),
            }
            slot.var.set(&Tensor::from_vec(values, slot.var.shape(), slot.var.device())?)?;
            anyhow::Ok(())
        })?;
        Ok(norm)
    }
}

impl Slot {
    fn adam(&mut self, values: &mut [f32], clip: f32, rate: f64, step: i32) {
        let corrections = BETAS.map(|beta| 1.0 - beta.powi(step));
        let [beta1, beta2] = BETAS.map(|beta| beta as f32);
        let step = (rate / corrections[0]) as f32;
        let scale = (1.0 / corrections[1].sqrt()) as f32;
        let keep = (1.0 - rate * self.weight_decay) as f32;
        let [first, second] = &mut self.moments;
        let gradient = &self.gradient;
        for (((value, &grad), m), v) in values.iter_mut().zip(gradient).zip(first).zip(second) {
            let g = clip * grad;
            *m = beta1 * *m + (1.0 - beta1) * g;
            *v = beta2 * *v + (1.0 - beta2) * g * g;
            *value = keep * *value - step * *m / (scale * v.sqrt() + EPSILON as f32);
        }
    }

    fn sgd(&mut self, values: &mut [f32], clip: f32, rate: f64, momentum: f64) {
        let (rate, momentum, decay) = (rate as f32, momentum as f32, self.weight_decay as f32);
        let [buffer, _] = &mut self.moments;
        for ((value, &grad), m) in values.iter_mut().zip(&self.gradient).zip(buffer) {
            *m = momentum * *m + clip * grad + decay * *value;
            *value -= rate * *m;
        }
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
        let mut optimizer = Optimizer::new([("w".to_owned(), var.clone())].into(), &config);
        let (mut w, mut m, mut v) = ([1.0f64, -2.0], [0.0; 2], [0.0; 2]);
        for t in 1..=2 {
            // Loss Σ w², gradient 2 w.
            let grads = var.sqr().unwrap().sum_all().unwrap().backward().unwrap();
            optimizer.add(&grads).unwrap();
            optimizer.step(0.01).unwrap();
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
        let mut optimizer = Optimizer::new([("w".to_owned(), var.clone())].into(), &config);
        optimizer.add(&grads).unwrap();
        assert!((optimizer.step(0.0).unwrap() - 500.0).abs() < 1e-3);
        assert!((optimizer.slots[0].moments[0][0] - 0.1 * 0.6).abs() < 1e-6);
        let mut optimizer = Optimizer::new([("u".to_owned(), other)].into(), &config);
        assert_eq!(optimizer.add(&grads).unwrap_err().to_string(), "u has no gradient");
    }

    #[test]
    fn sgd_steps_are_those_computed_by_hand() {
        let var = Var::new(&[[1.0f32, -2.0]], &Device::Cpu).unwrap();
        let config = TrainingConfig {
            optimizer: OptimizerKind::Sgd,
            momentum: 0.9,
            weight_decay: 0.1,
            clip_norm: 1e9,
            ..TrainingConfig::default()
        };
        let mut optimizer = Optimizer::new([("w".to_owned(), var.clone())].into(), &config);
        let (mut w, mut m) = ([1.0f64, -2.0], [0.0; 2]);
        for _ in 0..3 {
            let grads = var.sqr().unwrap().sum_all().unwrap().backward().unwrap();
            optimizer.add(&grads).unwrap();
            optimizer.step(0.01).unwrap();
            for i in 0..2 {
                m[i] = 0.9 * m[i] + 2.0 * w[i] + 0.1 * w[i];
                w[i] -= 0.01 * m[i];
            }
        }
        let got = var.to_vec2::<f32>().unwrap();
        assert!((0..2).all(|i| (f64::from(got[0][i]) - w[i]).abs() < 1e-6), "{got:?} {w:?}");
    }

    #[test]
    fn accumulated_batches_step_along_their_mean() {
        let of = |factors: &[f64]| {
            let var = Var::new(&[3.0f32, 4.0], &Device::Cpu).unwrap();
            let config = TrainingConfig { clip_norm: 1e9, ..TrainingConfig::default() };
            let mut optimizer = Optimizer::new([("w".to_owned(), var.clone())].into(), &config);
            for factor in factors {
                let loss = (var.sqr().unwrap().sum_all().unwrap() * *factor).unwrap();
                optimizer.add(&loss.backward().unwrap()).unwrap();
            }
            let norm = optimizer.step(0.1).unwrap();
            (norm, var.to_vec1::<f32>().unwrap())
        };
        assert_eq!(of(&[1.0, 3.0]), of(&[2.0]));
        assert!((of(&[2.0]).0 - 20.0).abs() < 1e-5);
    }

    #[test]
    fn the_rate_rises_then_falls_to_almost_zero() {
        let config = TrainingConfig { warmup_steps: 10, ..TrainingConfig::default() };
        let optimizer = Optimizer::new(BTreeMap::new(), &config);
        let rate = |step| optimizer.learning_rate(step, 100) / config.learning_rate;
        assert!((rate(0) - 0.1).abs() < 1e-12 && rate(9) <= 1.0);
        assert!((rate(50) - 0.5f64.powf(0.9)).abs() < 1e-12);
        assert!(rate(99) < 0.02);
        let config = TrainingConfig { schedule: Schedule::Cosine, ..config };
        let optimizer = Optimizer::new(BTreeMap::new(), &config);
        let rate = |step| optimizer.learning_rate(step, 100) / config.learning_rate;
        assert!((rate(50) - 0.5).abs() < 1e-12 && rate(99) < 0.001 && rate(4) == 0.5);
    }
}
