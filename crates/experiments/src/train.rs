//! Fits one cell; the best epoch on val is what remains.

use std::time::Instant;

use anyhow::{Context, bail, ensure};
use run_record::{EpochPoint, Provenance};
use seg_metrics::Protocol;

use crate::batching::Batching;
use crate::checkpoint::Snapshot;
use crate::clock::{Clock, Part};
use crate::config::{EvaluationConfig, TrainingConfig};
use crate::data::{Epoch, Examples, epoch_order};
use crate::evaluate::evaluate;
use crate::interrupt::{self, Interrupted};
use crate::memory::{self, VALUE};
use crate::optimizer::Optimizer;
use crate::parameters::Parameters;
use crate::parser::Parser;
use crate::progress::Progress;
use crate::states::{Best, Cost, Position, State, States};
use crate::step::Objective;
use crate::tensor_file::Tensors;
use crate::tiles::Cutting;
use crate::vanishing::VanishingUnits;
use crate::{device, provenance};

/// What training leaves besides the parameters themselves.
#[derive(Debug, Clone, PartialEq)]
pub struct Fit {
    /// One point an epoch.
    pub curve: Vec<EpochPoint>,
    /// The epoch, from 1, whose parameters were kept, and its mIoU on val.
    pub best: Best,
    /// What it took.
    pub cost: Cost,
    /// The processes that took part, this one last.
    pub processes: Vec<Provenance>,
}

/// What is fitted, to what and how.
pub struct Training<'a> {
    /// The network.
    pub parser: &'a Parser,
    /// Its parameters.
    pub parameters: &'a Parameters,
    /// Those of its units that are to vanish, if any are.
    pub units: Option<&'a VanishingUnits>,
    /// How it is fitted.
    pub config: &'a TrainingConfig,
    /// Seed of every draw.
    pub seed: u64,
    /// What it is fitted to.
    pub train: &'a Examples,
    /// What chooses the epoch.
    pub val: &'a Examples,
    /// How val is scored.
    pub protocol: Protocol,
    /// Where it is told how far training is.
    pub progress: &'a Progress,
    /// What it is called there.
    pub name: &'a str,
}

/// The batches that [`Training::run`] will report to its progress; one of tiles is as many as it has.
///
/// # Errors
///
/// An image whose size cannot be told.
pub fn batches(config: &TrainingConfig, train: &Examples) -> anyhow::Result<usize> {
    Ok(config.epochs * Batching::of(train, config)?.per_epoch() * config.parts())
}

/// Refuses what cannot fit the memory whatever else is done: parameters, gradients, the optimizer's
/// state and the best epoch's copy; of a step the images and the maps that gradients come from.
///
/// # Errors
///
/// As of [`memory::check`].
pub(crate) fn check_memory(
    parser: &Parser,
    parameters: &Parameters,
    config: &TrainingConfig,
    train: &Examples,
) -> anyhow::Result<()> {
    if !parser.device().is_cpu() {
        return Ok(());
    }
    let trainable = parameters.trainable();
    let values: u64 = trainable.values().map(|var| var.elem_count() as u64).sum();
    memory::check(4 * values * VALUE, || {
        format!("training the {:.0} M parameters of this network takes", values as f64 / 1e6)
    })?;
    let [width, height] = match config.augment.crop_px {
        [0, 0] => {
            let sample = train.sample(0)?;
            [sample.labels.width, sample.labels.height]
        }
        crop => crop,
    };
    let images = config.batch_size.min(train.len());
    let smallest = if config.augment.crop_px == [0, 0] { config.augment.scale[0] } else { 1.0 };
    let pixels = (images * width * height) as f64 * smallest.powi(2);
    let maps = match config.recompute {
        true => 0.0,
        false => parser.values_per_pixel() / config.parts() as f64,
    };
    memory::check((pixels * (3.0 + maps)) as u64 * VALUE, || {
        format!(
            "training.batch_size = {}: a step of {images} images of {width}×{height} pixels takes",
            config.batch_size
        )
    })
}

impl Training<'_> {
    /// Trains, from where `states` says, and leaves the network with the parameters of the best
    /// epoch on val.
    ///
    /// # Errors
    ///
    /// A loss or gradient that is not finite (with the step and what to try), a state that cannot
    /// be written, or an interrupt, before which the state is written.
    pub fn run(&self, states: &mut States) -> anyhow::Result<Fit> {
        let Self { parser, parameters, config, seed, train, progress, name, .. } = *self;
        check_memory(parser, parameters, config, train)?;
        let mut clock = Clock::start();
        let mut optimizer = Optimizer::new(parameters.trainable(), config)?;
        let batching = Batching::of(train, config)?;
        let mut cutting = Cutting::new(config.tiles.as_ref(), train.len(), batching.sizes());
        cutting.check(parser)?;
        let (mut at, mut best) = self.begin(states, &mut optimizer, &mut cutting, &batching)?;
        let meter = Meter::start(at.cost);
        let weights = train.class_weights(config.class_weights)?;
        let in_epoch = batching.per_epoch() * config.parts();
        let total = config.epochs * in_epoch.div_ceil(config.accumulate);
        let units = self.units;
        let objective =
            Objective { class_weights: weights.as_deref(), units, phase: config.phase() };
        while at.epoch < config.epochs {
            let order = epoch_order(seed, at.epoch, train.len(), config.flip);
            let mut batches = batching.batches(&order);
            batches.drain(..(at.batches / config.parts()).min(batches.len()));
            let (augment, epoch) = (&config.augment, at.epoch);
            let mut shown = train.batches(Epoch { augment, seed, epoch, batches });
            loop {
                if optimizer.waiting() == 0 {
                    let stop = interrupt::check();
                    if stop.is_err() || states.is_due() {
                        at.cost = meter.read();
                        self.write(states, &at, &optimizer, &cutting, best.as_ref())?;
                    }
                    stop?;
                }
                let Some(batch) = shown.next() else { break };
                let batch = batch?;
                clock.ran(Part::Data);
                for part in cutting.parts(seed, at.epoch, at.batches / config.parts()) {
                    let made = cutting.gradients(parser, &batch, part, &objective, &mut clock)?;
                    let Some(grads) = &made.of else {
                        bail!(diverged(&at, &format!("the loss is {}", made.loss), states));
                    };
                    optimizer.add(grads)?;
                    at.batches += 1;
                    at.loss_sum += made.loss;
                    if at.batches % config.accumulate == 0 || at.batches == in_epoch {
                        at.learning_rate = optimizer.learning_rate(at.step, total);
                        let stepped = optimizer.step(at.learning_rate);
                        stepped.with_context(|| diverged(&at, "no step was taken", states))?;
                        units.map_or(Ok(()), VanishingUnits::cut)?;
                        at.step += 1;
                    }
                    drop(made);
                    clock.ran(Part::Optimiser);
                    progress.advance(1);
                }
            }
            cutting.end_epoch();
            let validated = self.validate(&mut at, &mut best);
            if validated.as_ref().is_err_and(anyhow::Error::is::<Interrupted>) {
                at.cost = meter.read();
                self.write(states, &at, &optimizer, &cutting, best.as_ref())?;
            }
            let val_miou_percent = validated?;
            clock.ran(Part::Validation);
            let epoch = at.epoch + 1;
            let train_loss = at.loss_sum / at.batches as f64;
            let scored = val_miou_percent.map_or(String::new(), |m| format!("  val mIoU {m:.1} %"));
            progress.line(&format!(
                "{name}: epoch {epoch}/{}  loss {train_loss:.4}{scored}  {:.0} s",
                config.epochs,
                meter.read().seconds
            ));
            let (lr, point) = (at.learning_rate, epoch as u64);
            at.curve.push(EpochPoint { epoch: point, train_loss, lr, val_miou_percent });
            (at.epoch, at.batches, at.loss_sum) = (epoch, 0, 0.0);
        }
        progress.line(&format!("{name}: time of training: {}", clock.shares()));
        at.cost = meter.read();
        self.write(states, &at, &optimizer, &cutting, best.as_ref())?;
        best.context("no epoch was validated")?.restore(parser, parameters)?;
        let best = at.best.context("no epoch was validated")?;
        Ok(Fit { curve: at.curve, best, cost: at.cost, processes: at.processes })
    }

    /// Where training begins: at the start, or where it was left.
    fn begin(
        &self,
        states: &States,
        optimizer: &mut Optimizer,
        cutting: &mut Cutting,
        batching: &Batching,
    ) -> anyhow::Result<(Position, Option<Snapshot>)> {
        let say = |line: &str| self.progress.line(&format!("{}: {line}", self.name));
        let device = device::name(self.parser.device());
        let here = Provenance { device, ..provenance::provenance() };
        let Some(State { position: mut at, tensors }) = states.latest(&say)? else {
            let at = Position { processes: vec![here], ..Position::default() };
            return Ok((at, None));
        };
        let [now, best, moments, borders] = parts(tensors);
        let (parser, parameters) = (self.parser, self.parameters);
        let context = || format!("the state in {}", states.folder().display());
        Snapshot(now).restore(parser, parameters).with_context(context)?;
        optimizer.resume(at.step, &moments).with_context(context)?;
        cutting.resume(&borders).with_context(context)?;
        let in_epoch = batching.per_epoch() * self.config.parts();
        let done = at.epoch * in_epoch + at.batches;
        let epochs = self.config.epochs;
        let steps = epochs * in_epoch.div_ceil(self.config.accumulate);
        ensure!(
            at.epoch <= epochs && at.batches <= in_epoch && at.step <= steps,
            "{}: it is beyond the end of this training: epoch {} of {epochs}, step {} of {steps}",
            context(),
            at.epoch + 1,
            at.step
        );
        let epoch = (at.epoch + 1).min(epochs);
        say(&format!("goes on after step {}, in epoch {epoch}/{epochs}", at.step));
        self.progress.skip(done as u64);
        at.processes.push(here);
        let best = at.best.map(|_| Snapshot(best));
        Ok((at, best))
    }

    fn write(
        &self,
        states: &mut States,
        at: &Position,
        optimizer: &Optimizer,
        cutting: &Cutting,
        best: Option<&Snapshot>,
    ) -> anyhow::Result<()> {
        let now = Snapshot::take(self.parser, self.parameters)?;
        let mut all = now.0;
        let best = best.into_iter().flat_map(|best| best.0.iter());
        all.extend(best.map(|(name, tensor)| (format!("{BEST}{name}"), tensor.clone())));
        let moments = optimizer.state()?.into_iter();
        all.extend(moments.map(|(name, tensor)| (format!("{OPTIMIZER}{name}"), tensor)));
        let borders = cutting.state()?.into_iter();
        all.extend(borders.map(|(name, tensor)| (format!("{BORDERS}{name}"), tensor)));
        states.write(at, &all)
    }

    /// The mIoU on val after the epoch under way, where it is one to be scored.
    fn validate(
        &self,
        at: &mut Position,
        best: &mut Option<Snapshot>,
    ) -> anyhow::Result<Option<f64>> {
        let epoch = at.epoch + 1;
        if epoch != self.config.epochs && !epoch.is_multiple_of(self.config.epochs_per_validation) {
            return Ok(None);
        }
        let plain = EvaluationConfig::default();
        let scores = evaluate(self.parser, self.val, self.protocol, &plain)?;
        let miou_percent =
            scores.miou_percent().context("val: no pixel is labelled, so no epoch is the best")?;
        if at.best.is_none_or(|best| miou_percent > best.miou_percent) {
            at.best = Some(Best { epoch, miou_percent });
            *best = Some(Snapshot::take(self.parser, self.parameters)?);
        }
        Ok(Some(miou_percent))
    }
}

/// Prefixes of what a state holds besides the network as it is.
const BEST: &str = "best.";
const OPTIMIZER: &str = "optimizer.";
const BORDERS: &str = "borders.";

/// The network as it is, as it was at its best, the optimizer's state, and the borders of tiles.
fn parts(tensors: Tensors) -> [Tensors; 4] {
    let mut parts: [Tensors; 4] = Default::default();
    for (name, tensor) in tensors {
        let prefixes = [BEST, OPTIMIZER, BORDERS].iter().enumerate();
        let mut parted = prefixes.filter_map(|(k, part)| Some((k + 1, name.strip_prefix(part)?)));
        let (part, name) = parted.next().unwrap_or((0, &name));
        parts[part].insert(name.to_owned(), tensor);
    }
    parts
}

/// What training costs, that of earlier processes included.
struct Meter {
    before: Cost,
    start: Instant,
    cpu_seconds: f64,
}

impl Meter {
    fn start(before: Cost) -> Self {
        let cpu_seconds = provenance::cpu_seconds().unwrap_or(0.0);
        Self { before, start: Instant::now(), cpu_seconds }
    }

    fn read(&self) -> Cost {
        let cpu = provenance::cpu_seconds().unwrap_or(0.0) - self.cpu_seconds;
        let peak = provenance::peak_memory_mib().unwrap_or(0.0);
        Cost {
            seconds: self.before.seconds + self.start.elapsed().as_secs_f64(),
            cpu_seconds: self.before.cpu_seconds + cpu,
            peak_memory_mib: self.before.peak_memory_mib.max(peak),
        }
    }
}

fn diverged(at: &Position, what: &str, states: &States) -> String {
    let kept = states.last_file().map_or(String::new(), |file| {
        format!("; the last good state is kept in {}", file.display())
    });
    format!(
        "training diverged at step {}: {what}; try a lower training.learning_rate or more \
         training.warmup_steps{kept}",
        at.step
    )
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use scene_data::Split;

    use super::*;
    use crate::config::CellConfig;

    fn config(epochs: usize) -> CellConfig {
        let value = serde_json::json!({
            "dataset": {
                "kind": "beacons", "size_px": 32, "textures": 1, "beacon_px": 7,
                "train_images": 2, "val_images": 1, "test_images": 0,
            },
            "model": { "skip_stride": 4, "context": {
                "hidden_channels": 4,
                "cell": { "kind": "scan", "graph": "dense", "aggregation": "mean" },
            } },
            "training": {
                "epochs": epochs, "batch_size": 2, "flip": "off",
                "tiles": { "grid": [2, 2], "border": "stale" },
            },
        });
        CellConfig::from_value(&value).unwrap()
    }

    /// The numbers of findings at all borders after so many epochs of one each, and whether anything
    /// was passed on to what is remembered.
    fn borders_after(epochs: usize) -> (Vec<u32>, bool) {
        let config = config(epochs);
        let examples = |split| Examples::new(config.dataset.open(None, split).unwrap()).unwrap();
        let (parser, parameters) = Parser::build(&config.model, 2, 0, None, &Device::Cpu).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let never = std::time::Duration::MAX;
        let (sweep, arm) = ("sweep".to_owned(), "arm".to_owned());
        let cell = run_record::Cell { sweep, arm, seed: 0, config: serde_json::json!({}) };
        let mut states = States::open(dir.path(), &cell, never).unwrap().unwrap();
        let training = Training {
            parser: &parser,
            parameters: &parameters,
            units: None,
            config: &config.training,
            seed: 0,
            train: &examples(Split::Train),
            val: &examples(Split::Val),
            protocol: Protocol::Beacons,
            progress: &Progress::new(0),
            name: "cell",
        };
        training.run(&mut states).unwrap();
        let state = states.latest(&|line| panic!("{line}")).unwrap().unwrap();
        let [_, _, _, borders] = parts(state.tensors);
        let of = |part: &'static str| {
            borders.iter().filter(move |(name, _)| name.ends_with(part)).map(|(_, tensor)| tensor)
        };
        // Every other view is a mirrored one, which is not shown.
        let counts = of(".count").flat_map(|t| t.to_vec1::<u32>().unwrap().into_iter().step_by(2));
        let kept = of(".kept").flat_map(|t| t.flatten_all().unwrap().to_vec1::<f32>().unwrap());
        (counts.collect(), kept.into_iter().any(|x| x != 0.0))
    }

    #[test]
    fn an_epoch_ends_with_what_was_found_twice_being_remembered() {
        for (epochs, count, passed) in [(1, 1, false), (2, 0, true), (3, 1, true)] {
            let (counts, kept) = borders_after(epochs);
            assert!(!counts.is_empty());
            assert!(counts.iter().all(|&n| n == count), "{epochs}: {counts:?}");
            assert_eq!(kept, passed, "{epochs}");
        }
    }
}
