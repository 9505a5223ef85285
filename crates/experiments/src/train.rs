//! Fits one cell; the best epoch on val is what remains.

use std::time::Instant;

use anyhow::{Context, bail};
use run_record::EpochPoint;
use seg_metrics::Protocol;

use crate::checkpoint::Snapshot;
use crate::clock::{Clock, Part};
use crate::config::{EvaluationConfig, TrainingConfig};
use crate::data::{Epoch, Examples, epoch_order};
use crate::evaluate::evaluate;
use crate::interrupt;
use crate::optimizer::Optimizer;
use crate::parameters::Parameters;
use crate::parser::{Parser, Phase};
use crate::progress::Progress;

/// What training leaves besides the parameters themselves.
#[derive(Debug, Clone, PartialEq)]
pub struct Fit {
    /// One point an epoch.
    pub curve: Vec<EpochPoint>,
    /// The epoch, from 1, whose parameters were kept.
    pub best_epoch: usize,
    /// Its mIoU on val, in percent.
    pub val_miou_percent: f64,
    /// Seconds spent in training steps and validation.
    pub seconds: f64,
}

/// The batches that [`train`] will report to its progress.
pub fn batches(config: &TrainingConfig, images: usize) -> usize {
    config.epochs * images.div_ceil(config.batch_size)
}

fn steps_per_epoch(config: &TrainingConfig, images: usize) -> usize {
    images.div_ceil(config.batch_size).div_ceil(config.accumulate)
}

/// Trains `parser` on `train` and leaves it with the parameters of the best epoch on `val`.
///
/// # Errors
///
/// A loss or gradient that is not finite (with the step and what to try), or an interrupt.
pub fn train(
    parser: &Parser,
    parameters: &Parameters,
    config: &TrainingConfig,
    seed: u64,
    (train, val): (&Examples, &Examples),
    protocol: Protocol,
    progress: &Progress,
    name: &str,
) -> anyhow::Result<Fit> {
    let start = Instant::now();
    let mut clock = Clock::start();
    let mut optimizer = Optimizer::new(parameters.trainable(), config);
    let weights = train.class_weights(config.class_weights)?;
    let total = config.epochs * steps_per_epoch(config, train.len());
    let plain = EvaluationConfig::default();
    let (mut step, mut curve) = (0, Vec::new());
    let mut best: Option<(f64, usize, Snapshot)> = None;
    for epoch in 0..config.epochs {
        let (mut loss_sum, mut batches, mut rate) = (0.0, 0, 0.0);
        let in_epoch = train.len().div_ceil(config.batch_size);
        let order = epoch_order(seed, epoch, train.len(), config.flip);
        let (augment, batch_size) = (&config.augment, config.batch_size);
        let mut shown = train.batches(Epoch { augment, seed, epoch, order, batch_size });
        loop {
            interrupt::check()?;
            let Some(batch) = shown.next() else { break };
            let batch = batch?;
            clock.ran(Part::Data);
            let logits = parser.logits(&batch.inputs, Phase::Train)?;
            clock.ran(Part::Forward);
            let loss =
                grid_ops::upsampled_cross_entropy(&logits, &batch.labels, weights.as_deref())?;
            let value = f64::from(loss.to_scalar::<f32>()?);
            clock.ran(Part::Loss);
            if !value.is_finite() {
                bail!(diverged(step, &format!("the loss is {value}")));
            }
            let grads = loss.backward()?;
            clock.ran(Part::Backward);
            optimizer.add(&grads)?;
            batches += 1;
            loss_sum += value;
            if batches % config.accumulate == 0 || batches == in_epoch {
                rate = optimizer.learning_rate(step, total);
                optimizer.step(rate).with_context(|| diverged(step, "no step was taken"))?;
                step += 1;
            }
            // Gradients and the graph are given back here.
            drop((grads, loss, logits));
            clock.ran(Part::Optimiser);
            progress.advance(1);
        }
        let last = epoch + 1 == config.epochs;
        let validate = last || (epoch + 1) % config.epochs_per_validation == 0;
        let val_miou_percent = if validate {
            let miou = evaluate(parser, val, protocol, &plain)?.miou_percent();
            if best.as_ref().is_none_or(|(before, ..)| miou > *before) {
                best = Some((miou, epoch + 1, Snapshot::take(parser, parameters)?));
            }
            Some(miou)
        } else {
            None
        };
        clock.ran(Part::Validation);
        let train_loss = loss_sum / batches as f64;
        let scored = val_miou_percent.map_or(String::new(), |m| format!("  val mIoU {m:.1} %"));
        progress.line(&format!(
            "{name}: epoch {}/{}  loss {train_loss:.4}{scored}  {:.0} s",
            epoch + 1,
            config.epochs,
            start.elapsed().as_secs_f64()
        ));
        let epoch = epoch as u64 + 1;
        curve.push(EpochPoint { epoch, train_loss, lr: rate, val_miou_percent });
    }
    progress.line(&format!("{name}: time of training: {}", clock.shares()));
    let (val_miou_percent, best_epoch, snapshot) = best.context("no epoch was validated")?;
    snapshot.restore(parser, parameters)?;
    Ok(Fit { curve, best_epoch, val_miou_percent, seconds: start.elapsed().as_secs_f64() })
}

fn diverged(step: usize, what: &str) -> String {
    format!("training diverged at step {step}: {what}; try a lower training.learning_rate")
}
