//! A few steps of training before hours of it: does it run here, how fast, in how much memory?

use std::io::Write;
use std::path::Path;
use std::time::Instant;

use anyhow::Context;
use candle_core::Device;
use scene_data::Split;
use standard_streams::message;

use crate::batching::Batching;
use crate::clock::Clock;
use crate::config::CellConfig;
use crate::data::{Epoch, Examples, epoch_order};
use crate::optimizer::Optimizer;
use crate::parser::Parser;
use crate::pretrained::Pretrained;
use crate::step::Objective;
use crate::tiles::Cutting;
use crate::train::check_memory;
use crate::vanishing::VanishingUnits;
use crate::{datasets, provenance};

/// Takes `steps` steps on the training split, which need not be whole, and writes what each took.
/// Nothing is kept. Weights that are not given are drawn, and all classes weigh alike in the loss,
/// since their frequencies are those of the whole split.
///
/// # Errors
///
/// What training would report.
pub fn run(
    config: &CellConfig,
    seed: u64,
    data_root: Option<&Path>,
    weights: Option<&Path>,
    device: &Device,
    steps: usize,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let dataset = datasets::open(&config.dataset, data_root, Split::Train)?;
    let classes = dataset.classes().len();
    let train = Examples::new(dataset)?;
    train.check_labelled(Split::Train)?;
    let pretrained = match weights {
        Some(path) => Pretrained::find(path, &config.model.backbone)?,
        None => None,
    };
    let pretrained = pretrained.as_ref();
    message(Pretrained::line(pretrained, weights, &config.model, device));
    let (parser, parameters) = Parser::build(&config.model, classes, seed, pretrained, device)?;
    check_memory(&parser, &parameters, &config.training, &train)?;
    let trainable = parameters.trainable();
    let count: usize = trainable.values().map(|var| var.elem_count()).sum();
    writeln!(
        out,
        "{} with {classes} classes, {} of its training images here; {:.1} M parameters to train",
        config.dataset.name(),
        train.len(),
        count as f64 / 1e6,
    )?;
    let training = &config.training;
    let mut optimizer = Optimizer::new(trainable, training)?;
    let batching = Batching::of(&train, training)?;
    let mut cutting = Cutting::new(training.tiles.as_ref(), train.len(), batching.sizes());
    cutting.check(&parser)?;
    let units = VanishingUnits::of(config, &parameters);
    let objective =
        Objective { class_weights: None, units: units.as_ref(), phase: training.phase() };
    let (mut taken, mut epoch, mut clock) = (0, 0, Clock::start());
    while taken < steps {
        let order = epoch_order(seed, epoch, train.len(), training.flip);
        let (augment, batches) = (&training.augment, batching.batches(&order));
        let shown = train.batches(Epoch { augment, seed, epoch, batches });
        for batch in shown {
            let batch = batch?;
            for part in 0..training.parts() {
                if taken == steps {
                    return Ok(());
                }
                let start = Instant::now();
                let made = cutting.gradients(&parser, &batch, part, &objective, &mut clock)?;
                taken += 1;
                let diverged = || format!("step {taken}: the loss is {}", made.loss);
                optimizer.add(made.of.as_ref().with_context(diverged)?)?;
                optimizer.step(optimizer.learning_rate(taken - 1, steps))?;
                objective.units.map_or(Ok(()), VanishingUnits::cut)?;
                writeln!(
                    out,
                    "step {taken}: loss {:.4}, {:.2} s, peak memory {:.0} MiB",
                    made.loss,
                    start.elapsed().as_secs_f64(),
                    provenance::peak_memory_mib().unwrap_or(f64::NAN)
                )?;
            }
        }
        epoch += 1;
    }
    Ok(())
}
