//! A few steps of training before hours of it: does it run here, how fast, in how much memory?

use std::io::Write;
use std::path::Path;
use std::time::Instant;

use anyhow::Context;
use scene_data::Split;

use crate::clock::Clock;
use crate::config::CellConfig;
use crate::data::{Epoch, Examples, epoch_order};
use crate::datasets::with_flag;
use crate::optimizer::Optimizer;
use crate::parser::{Parser, Pretrained};
use crate::provenance;
use crate::step::gradients;

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
    steps: usize,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let dataset = config.dataset.open(data_root, Split::Train).map_err(with_flag)?;
    let classes = dataset.classes().len();
    let train = Examples::new(dataset)?;
    let pretrained = match weights {
        Some(path) => Pretrained::find(path, &config.model.backbone)?,
        None => None,
    };
    let (parser, parameters) = Parser::build(&config.model, classes, seed, pretrained.as_ref())?;
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
    let mut optimizer = Optimizer::new(trainable, training);
    let (mut taken, mut epoch, mut clock) = (0, 0, Clock::start());
    while taken < steps {
        let order = epoch_order(seed, epoch, train.len(), training.flip);
        let (augment, batch_size) = (&training.augment, training.batch_size);
        let shown = train.batches(Epoch { augment, seed, epoch, order, batch_size });
        for batch in shown.take(steps - taken) {
            let (batch, start) = (batch?, Instant::now());
            let made = gradients(&parser, &batch, None, training.phase(), &mut clock)?;
            taken += 1;
            let grads = made.of.with_context(|| format!("step {taken}: the loss is {}", made.loss));
            optimizer.add(&grads?)?;
            optimizer.step(optimizer.learning_rate(taken - 1, steps))?;
            writeln!(
                out,
                "step {taken}: loss {:.4}, {:.2} s, peak memory {:.0} MiB",
                made.loss,
                start.elapsed().as_secs_f64(),
                provenance::peak_memory_mib().unwrap_or(f64::NAN)
            )?;
        }
        epoch += 1;
    }
    Ok(())
}
