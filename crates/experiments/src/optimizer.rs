//! AdamW and SGD with a global gradient norm, under poly and cosine schedules with warm-up.

mod composed;
mod in_place;
mod moments;

use std::collections::BTreeMap;
use std::sync::Mutex;

use anyhow::{Context, ensure};
use candle_core::backprop::GradStore;
use candle_core::{Tensor, Var};
use moments::Moments;
use rayon::prelude::*;

use crate::config::{OptimizerKind, Schedule, TrainingConfig};
use crate::tensor_file::Tensors;

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
    gradient: Option<Tensor>,
    moments: Moments,
}

impl Optimizer {
    /// An optimizer over `vars`, which it walks in the order of their names.
    ///
    /// Names that begin with `backbone.` learn at `backbone_lr_factor`; vectors and scalars
    /// (biases and norms) do not decay.
    ///
    /// # Errors
    ///
    /// A device without room for what it remembers.
    pub fn new(vars: BTreeMap<String, Var>, config: &TrainingConfig) -> anyhow::Result<Self> {
        let slots = vars
            .into_iter()
            .map(|(name, var)| {
                let moments = Moments::of(&var, config.optimizer)?;
                let in_backbone = name.starts_with("backbone.");
                let lr_factor = if in_backbone { config.backbone_lr_factor } else { 1.0 };
                let weight_decay = if var.rank() > 1 { config.weight_decay } else { 0.0 };
                Ok(Slot { name, var, lr_factor, weight_decay, gradient: None, moments })
            })
            .collect::<anyhow::Result<_>>()?;
        Ok(Self { slots, step: 0, waiting: 0, config: config.clone() })
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
            slot.gradient = Some(match slot.gradient.take() {
                Some(sum) => (sum + grad)?,
                None => grad.contiguous()?,
            });
        }
        self.waiting += 1;
        Ok(())
    }

    /// Batches that were added since the last step.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Moves every variable against the mean of the gradients that were added; returns its norm
    /// before clipping.
    ///
    /// # Errors
    ///
    /// A gradient that is not finite.
    pub fn step(&mut self, learning_rate: f64) -> anyhow::Result<f64> {
        let batches = self.waiting.max(1) as f64;
        // Side by side, for small variables would leave threads idle; but other devices take their
        // work from one thread.
        let side_by_side = self.slots.iter().all(Slot::is_in_place);
        let squares: Vec<f64> = if side_by_side {
            self.slots.par_iter().map(Slot::sum_of_squares).collect::<anyhow::Result<_>>()?
        } else {
            self.slots.iter().map(Slot::sum_of_squares).collect::<anyhow::Result<_>>()?
        };
        // In the slots' order: the bits must not depend on the number of threads.
        let norm = squares.iter().sum::<f64>().sqrt() / batches;
        ensure!(norm.is_finite(), "the gradient is not finite (norm {norm})");
        let scale = ((self.config.clip_norm / norm).min(1.0) / batches) as f32;
        self.step += 1;
        self.waiting = 0;
        let (config, step) = (&self.config, self.step);
        let move_slot = |slot: &mut Slot| {
            let (rate, decay) = (learning_rate * slot.lr_factor, slot.weight_decay);
            slot.step(match config.optimizer {
                OptimizerKind::AdamW => Rule::adam(rate, scale, decay, step),
                OptimizerKind::Sgd => Rule::sgd(rate, scale, decay, config.momentum),
            })
        };
        // Backwards: the gradients that were read last are still in cache.
        if side_by_side {
            self.slots.par_iter_mut().rev().try_for_each(move_slot)?;
        } else {
            self.slots.iter_mut().try_for_each(move_slot)?;
        }
        Ok(norm)
    }

    /// What it remembers of earlier steps, as tensors of the variables' shapes named
    /// `first.<variable>` and `second.<variable>`; steps are counted by whoever takes them.
    ///
    /// # Errors
    ///
    /// None that a user can cause.
    pub fn state(&self) -> anyhow::Result<Tensors> {
        let mut state = Tensors::new();
        for Slot { name, var, moments, .. } in &self.slots {
            for (key, tensor) in KEYS.iter().zip(moments.tensors(var)?) {
                state.insert(format!("{key}{name}"), tensor);
            }
        }
        Ok(state)
    }

    /// Goes on from [`Self::state`] as it was after `step` steps.
    ///
    /// # Errors
    ///
    /// The state of other variables.
    pub fn resume(&mut self, step: usize, state: &Tensors) -> anyhow::Result<()> {
        for Slot { name, var, moments, .. } in &mut self.slots {
            for (place, key) in KEYS.iter().enumerate().take(moments.count()) {
                let tensor = state.get(&format!("{key}{name}"));
                let tensor = tensor.with_context(|| format!("{key}{name} is missing"))?;
                ensure!(tensor.shape() == var.shape(), "{key}{name} is {:?}", tensor.shape());
                moments.set(place, tensor, var)?;
            }
        }
        self.step = i32::try_from(step)?;
        Ok(())
    }
}

impl Slot {
    fn is_in_place(&self) -> bool {
        matches!(self.moments, Moments::InPlace(_))
    }

    /// Of the gradient that waits; zero where none does.
    fn sum_of_squares(&self) -> anyhow::Result<f64> {
        match (&self.gradient, &self.moments) {
            (None, _) => Ok(0.0),
            (Some(gradient), Moments::InPlace(_)) => in_place::sum_of_squares(gradient),
            (Some(gradient), Moments::Tensors(_)) => Ok(composed::sum_of_squares(gradient)?),
        }
    }

    /// Moves the variable by the gradient that waits, if one does.
    fn step(&mut self, rule: Rule) -> candle_core::Result<()> {
        let Some(gradient) = self.gradient.take() else { return Ok(()) };
        match &mut self.moments {
            Moments::InPlace(moments) => {
                let op = in_place::Move { rule, moments: Mutex::new(moments) };
                self.var.inplace_op2(&gradient, &op)
            }
            Moments::Tensors(moments) => composed::step(rule, &self.var, &gradient, moments),
        }
    }
}

const KEYS: [&str; 2] = ["first.", "second."];

/// How one value moves.
#[derive(Clone, Copy)]
enum Rule {
    Adam { clip: f32, keep: f32, step: f32, scale: f32 },
    Sgd { clip: f32, rate: f32, momentum: f32, decay: f32 },
}

impl Rule {
    fn adam(rate: f64, clip: f32, weight_decay: f64, step: i32) -> Self {
        let corrections = BETAS.map(|beta| 1.0 - beta.powi(step));
        let step = (rate / corrections[0]) as f32;
        let scale = (1.0 / corrections[1].sqrt()) as f32;
        let keep = (1.0 - rate * weight_decay) as f32;
        Self::Adam { clip, keep, step, scale }
    }

    fn sgd(rate: f64, clip: f32, weight_decay: f64, momentum: f64) -> Self {
        let (rate, momentum, decay) = (rate as f32, momentum as f32, weight_decay as f32);
        Self::Sgd { clip, rate, momentum, decay }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use grid_ops::composing;

    use super::*;

    #[test]
    fn two_steps_are_those_computed_by_hand() {
        let var = Var::new(&[[1.0f32, -2.0]], &Device::Cpu).unwrap();
        let config =
            TrainingConfig { weight_decay: 0.1, clip_norm: 1e9, ..TrainingConfig::default() };
        let mut optimizer =
            Optimizer::new([("w".to_owned(), var.clone())].into(), &config).unwrap();
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
        let mut optimizer =
            Optimizer::new([("w".to_owned(), var.clone())].into(), &config).unwrap();
        optimizer.add(&grads).unwrap();
        assert!((optimizer.step(0.0).unwrap() - 500.0).abs() < 1e-3);
        let first = optimizer.state().unwrap()["first.w"].to_vec1::<f32>().unwrap();
        assert!((first[0] - 0.1 * 0.6).abs() < 1e-6);
        let mut optimizer = Optimizer::new([("u".to_owned(), other)].into(), &config).unwrap();
        assert_eq!(optimizer.add(&grads).unwrap_err().to_string(), "u has no gradient");
    }

    #[test]
    fn the_norm_is_over_all_values_however_many() {
        for len in [1, 15, 16, 17, 1000, (1 << 14) + 33] {
            let values: Vec<f32> = (0..len).map(|i| (i % 13) as f32 - 4.5).collect();
            let var = Var::from_vec(values.clone(), len, &Device::Cpu).unwrap();
            let mut optimizer =
                Optimizer::new([("w".to_owned(), var.clone())].into(), &TrainingConfig::default())
                    .unwrap();
            // Gradient 2 w.
            let grads = var.sqr().unwrap().sum_all().unwrap().backward().unwrap();
            optimizer.add(&grads).unwrap();
            let exact = values.iter().map(|x| 4.0 * f64::from(x * x)).sum::<f64>().sqrt();
            let norm = optimizer.step(0.0).unwrap();
            assert!((norm - exact).abs() <= 1e-12 * exact, "{len}: {norm} and {exact}");
        }
    }

    /// The weights after some steps; the process that takes step `pause` begins with the state that
    /// the one before left, composed or not.
    fn weights(kind: OptimizerKind, pause: Option<usize>, composed: [bool; 2]) -> Vec<f32> {
        let config = TrainingConfig {
            optimizer: kind,
            weight_decay: 0.1,
            clip_norm: 3.0,
            ..TrainingConfig::default()
        };
        let var = Var::new(&[[1.0f32, -2.0], [0.3, 7.0]], &Device::Cpu).unwrap();
        let new = |composed| {
            let new = || Optimizer::new([("w".to_owned(), var.clone())].into(), &config).unwrap();
            if composed { composing(new) } else { new() }
        };
        let mut optimizer = new(composed[0]);
        for step in 0..5 {
            if pause == Some(step) {
                let state = optimizer.state().unwrap();
                optimizer = new(composed[1]);
                optimizer.resume(step, &state).unwrap();
            }
            let loss = var.sqr().unwrap().sum_all().unwrap();
            optimizer.add(&loss.backward().unwrap()).unwrap();
            optimizer.step(0.01).unwrap();
        }
        var.flatten_all().unwrap().to_vec1::<f32>().unwrap()
    }

    #[test]
    fn an_optimizer_goes_on_from_its_state_to_the_bit() {
        for kind in [OptimizerKind::AdamW, OptimizerKind::Sgd] {
            for composed in [[false; 2], [true; 2]] {
                let whole = weights(kind, None, composed);
                let resumed = |step| weights(kind, Some(step), composed);
                assert!((0..5).all(|step| resumed(step) == whole), "{kind:?}");
            }
        }
    }

    #[test]
    fn composed_steps_are_the_same_and_go_on_from_others() {
        for kind in [OptimizerKind::AdamW, OptimizerKind::Sgd] {
            let whole = weights(kind, None, [false; 2]);
            for composed in [[true, true], [true, false], [false, true]] {
                let found = weights(kind, Some(3), composed);
                // Five steps of some eight roundings.
                let near = |(a, b): (&f32, &f32)| (a - b).abs() <= 40.0 * f32::EPSILON * b.abs();
                assert!(found.iter().zip(&whole).all(near), "{kind:?}: {found:?} {whole:?}");
            }
        }
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
        let mut optimizer =
            Optimizer::new([("w".to_owned(), var.clone())].into(), &config).unwrap();
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
            let mut optimizer =
                Optimizer::new([("w".to_owned(), var.clone())].into(), &config).unwrap();
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
        let optimizer = Optimizer::new(BTreeMap::new(), &config).unwrap();
        let rate = |step| optimizer.learning_rate(step, 100) / config.learning_rate;
        assert!((rate(0) - 0.1).abs() < 1e-12 && rate(9) <= 1.0);
        assert!((rate(50) - 0.5f64.powf(0.9)).abs() < 1e-12);
        assert!(rate(99) < 0.02);
        let config = TrainingConfig { schedule: Schedule::Cosine, ..config };
        let optimizer = Optimizer::new(BTreeMap::new(), &config).unwrap();
        let rate = |step| optimizer.learning_rate(step, 100) / config.learning_rate;
        assert!((rate(50) - 0.5).abs() < 1e-12 && rate(99) < 0.001 && rate(4) == 0.5);
    }
}
