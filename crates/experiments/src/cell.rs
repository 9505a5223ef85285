//! One cell from its configuration to its record.

use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use run_record::{Cell, Record, Timing};

use crate::checkpoint::{self, Snapshot};
use crate::config::CellConfig;
use crate::evaluate::{evaluate_with, forward_macs, seconds_per_image};
use crate::loaded::Loaded;
use crate::progress::Progress;
use crate::states::States;
use crate::train::Training;
use crate::vanishing::VanishingUnits;
use crate::{inputs, pictures, provenance};

/// Trains and scores a cell, from where its states say; its checkpoint and pictures go to `out_dir`.
///
/// # Errors
///
/// What training and scoring report, and a folder that cannot be written.
pub(crate) fn run(
    out_dir: &Path,
    states: &mut States,
    cell: &Cell,
    config: &CellConfig,
    data: &Loaded,
    progress: &Progress,
) -> anyhow::Result<Record> {
    let name = cell.name();
    progress.doing(&name);
    let (parser, parameters) = data.parser(config, cell.seed)?;
    let units = VanishingUnits::of(config, &parameters);
    let training = Training {
        parser: &parser,
        parameters: &parameters,
        units: units.as_ref(),
        config: &config.training,
        seed: cell.seed,
        train: &data.train,
        val: &data.val,
        protocol: data.protocol,
        progress,
        name: &name,
    };
    let fit = training.run(states)?;
    let file = checkpoint::file(out_dir, &cell.file_stem());
    Snapshot::take(&parser, &parameters)?.write(&file, &cell.hash())?;
    let checkpoint_sha256 = provenance::file_sha256(&file)?;
    let start = Instant::now();
    let (mut done, images) = (0, data.test.len());
    let (test, protocol) = (&data.test, data.protocol);
    let scores = evaluate_with(&parser, test, protocol, &config.evaluation, &mut |_| {
        done += 1;
        progress.doing(format!("{name}: test image {done} of {images}"));
        Ok(())
    })?;
    let evaluation_s = start.elapsed().as_secs_f64();
    if cell.seed == 0 {
        let (stem, test, classes) = (&cell.file_stem(), &data.test, &data.classes);
        let finished = pictures::Finished { stem, parser: &parser, config, test, classes };
        pictures::draw(&out_dir.join(pictures::folder(&data.facts)), &finished)?;
    }
    let trainable: usize = parameters.trainable().values().map(|var| var.elem_count()).sum();
    let mut processes = fit.processes;
    let peak_memory_mib = provenance::peak_memory_mib().unwrap_or(0.0);
    Ok(Record {
        version: run_record::RECORD_VERSION,
        cell: cell.clone(),
        cell_hash: cell.hash(),
        formerly: None,
        dataset: data.facts.clone(),
        normalisation: Some(inputs::normalisation()),
        weights_sha256: data.pretrained.as_ref().map(|weights| weights.sha256.clone()),
        protocol: data.protocol.to_string(),
        parameters: trainable as u64,
        total_parameters: (trainable + parser.frozen_parameters()) as u64,
        macs: Some(forward_macs(&parser, &data.test)?),
        checkpoint_sha256: Some(checkpoint_sha256),
        metrics: scores.metrics()?,
        best_epoch: fit.best.epoch as u64,
        val_miou_percent: fit.best.miou_percent,
        curve: fit.curve,
        distance: scores.distance,
        images: scores.images,
        provenance: processes.pop().context("the process that ended training")?,
        earlier: processes,
        timing: Timing {
            finished_unix_s: SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs(),
            training_s: fit.cost.seconds,
            training_cpu_s: fit.cost.cpu_seconds,
            evaluation_s,
            seconds_per_image: seconds_per_image(&parser, &data.test)?,
            peak_memory_mib: fit.cost.peak_memory_mib.max(peak_memory_mib),
        },
    })
}
