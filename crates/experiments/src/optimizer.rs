//! AdamW and SGD with a global gradient norm, under poly and cosine schedules with warm-up.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, ensure};
use candle_core::backprop::GradStore;
use candle_core::{CpuStorage, InplaceOp2, Layout, Tensor, Var};
use grid_ops::simd;
use rayon::prelude::*;

use crate::config::{OptimizerKind, Schedule, TrainingConfig};
use crate::tensor_file::Tensors;

const BETAS: [f64; 2] = [0.9, 0.999];
const EPSILON: f64 = 1e-8;

/// Values that one thread takes at a time; sums over them do not depend on the number of threads.
const CHUNK: usize = 1 << 14;

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
    /// Running means of the gradient and of its square; of SGD the first is the momentum, and the
    /// second is empty.
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
                let zeros = vec![0.0; var.elem_count()];
                let moments = match config.optimizer {
                    OptimizerKind::AdamW => [zeros.clone(), zeros],
                    OptimizerKind::Sgd => [zeros, Vec::new()],
                };
                let in_backbone = name.starts_with("backbone.");
                let lr_factor = if in_backbone { config.backbone_lr_factor } else { 1.0 };
                let weight_decay = if var.rank() > 1 { config.weight_decay } else { 0.0 };
                Slot { name, var, lr_factor, weight_decay, gradient: None, moments }
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
        let mut squares = 0.0;
        for gradient in self.slots.iter().filter_map(|slot| slot.gradient.as_ref()) {
            squares += sum_of_squares(gradient)?;
        }
        let norm = squares.sqrt() / batches;
        ensure!(norm.is_finite(), "the gradient is not finite (norm {norm})");
        let scale = ((self.config.clip_norm / norm).min(1.0) / batches) as f32;
        self.step += 1;
        self.waiting = 0;
        for slot in &mut self.slots {
            let Some(gradient) = slot.gradient.take() else { continue };
            let rate = learning_rate * slot.lr_factor;
            let rule = match self.config.optimizer {
                OptimizerKind::AdamW => Rule::adam(rate, scale, slot.weight_decay, self.step),
                OptimizerKind::Sgd => {
                    Rule::sgd(rate, scale, slot.weight_decay, self.config.momentum)
                }
            };
            let op = Move { rule, moments: Mutex::new(&mut slot.moments) };
            slot.var.inplace_op2(&gradient, &op)?;
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
            for (key, moment) in KEYS.iter().zip(moments).filter(|(_, moment)| !moment.is_empty()) {
                let tensor = Tensor::from_slice(moment, var.shape(), var.device())?;
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
        for Slot { name, moments, .. } in &mut self.slots {
            for (key, moment) in KEYS.iter().zip(moments).filter(|(_, moment)| !moment.is_empty()) {
                let tensor = state.get(&format!("{key}{name}"));
                let tensor = tensor.with_context(|| format!("{key}{name} is missing"))?;
                let values = tensor.flatten_all()?.to_vec1::<f32>()?;
                ensure!(values.len() == moment.len(), "{key}{name} is {:?}", tensor.shape());
                *moment = values;
            }
        }
        self.step = i32::try_from(step)?;
        Ok(())
    }
}

const KEYS: [&str; 2] = ["first.", "second."];

/// In `f64` and chunk by chunk, so that the bits do not depend on threads.
fn sum_of_squares(gradient: &Tensor) -> anyhow::Result<f64> {
    let (storage, layout) = gradient.storage_and_layout();
    let candle_core::Storage::Cpu(CpuStorage::F32(values)) = &*storage else {
        anyhow::bail!("a gradient that is not f32 on the CPU");
    };
    let (from, to) = layout.contiguous_offsets().context("a gradient with gaps")?;
    let of_chunk = |chunk: &[f32]| simd(|| squares_in_lanes(chunk)).iter().sum::<f64>();
    let chunks: Vec<f64> = values[from..to].par_chunks(CHUNK).map(of_chunk).collect();
    Ok(chunks.iter().sum())
}

/// Sums that do not wait for each other.
#[inline(always)]
fn squares_in_lanes(values: &[f32]) -> [f64; 16] {
    let mut sums = [0.0; 16];
    for part in values.chunks(sums.len()) {
        for (sum, &value) in sums.iter_mut().zip(part) {
            *sum += f64::from(value) * f64::from(value);
        }
    }
    sums
}

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

    #[inline(always)]
    fn apply(self, values: &mut [f32], gradient: &[f32], first: &mut [f32], second: &mut [f32]) {
        match self {
            Self::Adam { clip, keep, step, scale } => {
                let [beta1, beta2] = BETAS.map(|beta| beta as f32);
                let epsilon = EPSILON as f32;
                for (((value, &g), m), v) in values.iter_mut().zip(gradient).zip(first).zip(second)
                {
                    let g = clip * g;
                    *m = beta1 * *m + (1.0 - beta1) * g;
                    *v = beta2 * *v + (1.0 - beta2) * g * g;
                    *value = keep * *value - step * *m / (scale * v.sqrt() + epsilon);
                }
            }
            Self::Sgd { clip, rate, momentum, decay } => {
                for ((value, &g), m) in values.iter_mut().zip(gradient).zip(first) {
                    *m = momentum * *m + clip * g + decay * *value;
                    *value -= rate * *m;
                }
            }
        }
    }
}

/// Moves a variable where it is.
struct Move<'a> {
    rule: Rule,
    /// Locked once, by the one thread that runs the operation.
    moments: Mutex<&'a mut [Vec<f32>; 2]>,
}

impl InplaceOp2 for Move<'_> {
    fn name(&self) -> &'static str {
        "optimizer step"
    }

    fn cpu_fwd(
        &self,
        values: &mut CpuStorage,
        layout: &Layout,
        gradient: &CpuStorage,
        gradient_layout: &Layout,
    ) -> candle_core::Result<()> {
        let at = layout.contiguous_offsets().zip(gradient_layout.contiguous_offsets());
        let (CpuStorage::F32(values), CpuStorage::F32(gradient), Some(((v0, v1), (g0, g1)))) =
            (values, gradient, at)
        else {
            candle_core::bail!("a variable or gradient that is not f32 or has gaps");
        };
        let mut moments = self.moments.lock().unwrap_or_else(PoisonError::into_inner);
        let [first, second] = &mut **moments;
        let (values, gradient) = (&mut values[v0..v1], &gradient[g0..g1]);
        let each = values.par_chunks_mut(CHUNK).zip(gradient.par_chunks(CHUNK));
        let each = each.zip(first.par_chunks_mut(CHUNK));
        if second.is_empty() {
            each.for_each(|((values, g), first)| {
                simd(|| self.rule.apply(values, g, first, &mut []));
            });
        } else {
            each.zip(second.par_chunks_mut(CHUNK)).for_each(|(((values, g), first), second)| {
                simd(|| self.rule.apply(values, g, first, second));
            });
        }
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
    fn an_optimizer_goes_on_from_its_state_to_the_bit() {
        for kind in [OptimizerKind::AdamW, OptimizerKind::Sgd] {
            let config = TrainingConfig { optimizer: kind, ..TrainingConfig::default() };
            let run = |pause: Option<usize>| {
                let var = Var::new(&[[1.0f32, -2.0], [0.3, 7.0]], &Device::Cpu).unwrap();
                let vars = || [("w".to_owned(), var.clone())].into();
                let mut optimizer = Optimizer::new(vars(), &config);
                for step in 0..5 {
                    if pause == Some(step) {
                        let state = optimizer.state().unwrap();
                        optimizer = Optimizer::new(vars(), &config);
                        optimizer.resume(step, &state).unwrap();
                    }
                    let loss = var.sqr().unwrap().sum_all().unwrap();
                    optimizer.add(&loss.backward().unwrap()).unwrap();
                    optimizer.step(0.01).unwrap();
                }
                var.flatten_all().unwrap().to_vec1::<f32>().unwrap()
            };
            let whole = run(None);
            assert!((0..5).all(|step| run(Some(step)) == whole), "{kind:?}");
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
