//! Runs every cell of a sweep that has no record yet, then reports.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail, ensure};
use run_record::{Cell, DatasetFacts, Record, Sweep, Timing};
use scene_data::{Class, DatasetConfig, SceneDataset, Split};
use seg_metrics::Protocol;

use crate::checkpoint::{self, Snapshot};
use crate::config::{BackboneMode, CellConfig, Flip};
use crate::data::{Examples, View};
use crate::datasets::with_flag;
use crate::evaluate::{evaluate_with, predict, seconds_per_image};
use crate::interrupt::{self, Interrupted};
use crate::parameters::Parameters;
use crate::parser::{Parser, Pretrained};
use crate::progress::Progress;
use crate::{pictures, provenance, report, table, train};

/// What the user asked for.
#[derive(Debug, Clone)]
pub struct Request {
    /// What is to be run.
    pub sweep: Sweep,
    /// The file it comes from, for messages.
    pub origin: PathBuf,
    /// Where records, report and pictures go.
    pub out_dir: PathBuf,
    /// The root of the dataset, for datasets that are on disk.
    pub data_root: Option<PathBuf>,
    /// A weights file, or a folder of them.
    pub weights: Option<PathBuf>,
    /// Only these arms; all if empty.
    pub arms: Vec<String>,
    /// These seeds instead of the sweep's own, if any.
    pub seeds: Vec<u64>,
    /// `key=value` changes of the configuration.
    pub set: Vec<String>,
    /// The command as the user typed it, for the report.
    pub command: String,
    /// What happens to finished cells that other code made.
    pub stale: Stale,
}

impl Request {
    /// Every cell of a sweep, with nothing changed.
    pub fn of(sweep: Sweep, origin: PathBuf, out_dir: PathBuf) -> Self {
        Self {
            sweep,
            origin,
            out_dir,
            data_root: None,
            weights: None,
            arms: Vec::new(),
            seeds: Vec::new(),
            set: Vec::new(),
            command: String::new(),
            stale: Stale::Used,
        }
    }
}

/// What happens to finished cells that another revision or other dependencies made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stale {
    /// They are used, and named under the table.
    Used,
    /// They are run again; their records go to the output folder's `stale`.
    Rerun,
}

/// Runs the sweep and writes its table to `out`.
///
/// # Errors
///
/// Anything wrong with the request (before any training), a failed cell, an interrupt (finished
/// cells are kept), or an arm outside the sweep's expectation.
pub fn reproduce(request: &Request, out: &mut dyn Write) -> anyhow::Result<()> {
    let sweep = narrowed(request)?;
    let cells = checked_cells(&sweep, request)?;
    let folder = request.out_dir.join("cells");
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("the output folder {} cannot be made", folder.display()))?;

    let mut finished: BTreeMap<String, Record> = BTreeMap::new();
    for record in Record::read_dir(&folder)? {
        finished.insert(record.cell.file_stem(), record);
    }
    let wanted: BTreeSet<String> = cells.iter().map(|(cell, _)| cell.file_stem()).collect();
    finished.retain(|stem, _| wanted.contains(stem));
    let now = provenance::provenance();
    let is_stale = |record: &Record| {
        let then = &record.provenance;
        then.revision != now.revision || then.lock_sha256 != now.lock_sha256
    };
    if request.stale == Stale::Rerun {
        let kept = request.out_dir.join("stale");
        for (stem, record) in finished.iter().filter(|(_, record)| is_stale(record)) {
            let revision: String = record.provenance.revision.chars().take(8).collect();
            let (from, to) = (format!("{stem}.json"), format!("{stem}-{revision}.json"));
            std::fs::create_dir_all(&kept)
                .and_then(|()| std::fs::rename(folder.join(&from), kept.join(&to)))
                .with_context(|| format!("moving {from} to {}", kept.display()))?;
        }
        finished.retain(|_, record| !is_stale(record));
    }
    if !finished.is_empty() {
        eprintln!(
            "{} of {} cells are already finished in {} and are used again",
            finished.len(),
            cells.len(),
            folder.display()
        );
    }
    let missing: Vec<&(Cell, CellConfig)> =
        cells.iter().filter(|(cell, _)| !finished.contains_key(&cell.file_stem())).collect();
    if let Err(error) = run_cells(request, &folder, &missing, &mut finished) {
        if error.is::<Interrupted>() {
            bail!(
                "interrupted: {} of {} cells are finished and kept in {}; \
                 the same command goes on from there",
                finished.len(),
                cells.len(),
                folder.display()
            );
        }
        return Err(error);
    }
    let records: Vec<Record> =
        cells.iter().filter_map(|(cell, _)| finished.get(&cell.file_stem()).cloned()).collect();
    report::write(&request.out_dir, &sweep, &records, &request.command)?;
    writeln!(out, "{}\n{}", table::markdown(&sweep, &records), table::caption(&sweep, &records))?;
    let stale: Vec<&Record> = records.iter().filter(|record| is_stale(record)).collect();
    if !stale.is_empty() {
        let names = stale.iter().map(|r| format!("{} seed {}", r.cell.arm, r.cell.seed));
        writeln!(
            out,
            "stale, made by another revision or other dependencies: {}; --refresh runs them again\n",
            names.collect::<Vec<_>>().join(", ")
        )?;
    }
    writeln!(out, "report: {}", request.out_dir.join("report.md").display())?;
    judge(&sweep, &records, out)
}

fn judge(sweep: &Sweep, records: &[Record], out: &mut dyn Write) -> anyhow::Result<()> {
    let verdicts = report::verdicts(sweep, records);
    for verdict in &verdicts {
        writeln!(out, "{}", verdict.line)?;
    }
    let outside = verdicts.iter().filter(|verdict| !verdict.within).count();
    ensure!(
        outside == 0,
        "{outside} of {} arms lie outside the sweep's expectation on this CPU ({})",
        verdicts.len(),
        provenance::cpu()
    );
    Ok(())
}

fn narrowed(request: &Request) -> anyhow::Result<Sweep> {
    let mut sweep = request.sweep.clone();
    if !request.arms.is_empty() {
        sweep.keep_arms(&request.arms)?;
    }
    if !request.seeds.is_empty() {
        sweep.keep_seeds(&request.seeds)?;
    }
    for change in &request.set {
        sweep.set(change)?;
        if change.starts_with("dataset.") {
            // Another dataset than the one whose hash the sweep froze.
            sweep.config.remove("fingerprints");
        }
    }
    Ok(sweep)
}

fn checked_cells(sweep: &Sweep, request: &Request) -> anyhow::Result<Vec<(Cell, CellConfig)>> {
    let read = |mut cell: Cell| {
        let config = CellConfig::from_value(&cell.config)
            .with_context(|| format!("arm {} of {}", cell.arm, request.origin.display()))?;
        // With every default spelled out: a changed default makes another cell.
        cell.config = serde_json::to_value(&config)?;
        Ok((cell, config))
    };
    let cells = sweep.cells().into_iter().map(read).collect::<anyhow::Result<Vec<_>>>()?;
    for (_, config) in &cells {
        ensure!(
            config.model.backbone_mode != BackboneMode::Frozen || request.weights.is_some(),
            "model.backbone_mode = \"frozen\" needs pretrained weights: give --weights PATH, \
             a file or a folder that holds it"
        );
    }
    Ok(cells)
}

fn run_cells(
    request: &Request,
    folder: &Path,
    missing: &[&(Cell, CellConfig)],
    finished: &mut BTreeMap<String, Record>,
) -> anyhow::Result<()> {
    let mut loaded: Option<Loaded> = None;
    let mut progress: Option<Progress> = None;
    for (cell, config) in missing {
        let key = Loaded::key(config);
        if loaded.as_ref().is_none_or(|loaded| loaded.key != key) {
            loaded = Some(Loaded::load(request, config, key)?);
        }
        let Some(data) = &loaded else { continue };
        let progress = progress.get_or_insert_with(|| {
            let images = data.train.len();
            let steps: usize =
                missing.iter().map(|(_, c)| train::batches(&c.training, images)).sum();
            Progress::new(steps as u64)
        });
        let record = run_cell(request, cell, config, data, progress)
            .with_context(|| format!("{} seed {}", cell.arm, cell.seed));
        let record = match record {
            // Without context, so that the caller recognises it.
            Err(error) if error.is::<Interrupted>() => return Err(Interrupted.into()),
            other => other?,
        };
        record.write_atomically(folder)?;
        progress.line(&format!(
            "{} seed {}: test mIoU {:.1} %  ({} of {} cells to do)",
            cell.arm,
            cell.seed,
            record.metrics.miou_percent,
            missing.len() - missing.iter().position(|m| m.0 == *cell).unwrap_or(0) - 1,
            missing.len()
        ));
        finished.insert(cell.file_stem(), record);
    }
    if let Some(progress) = progress {
        progress.finish();
    }
    Ok(())
}

/// A dataset in memory, with the frozen backbone's features if the cell wants them.
struct Loaded {
    key: String,
    facts: DatasetFacts,
    classes: Vec<Class>,
    train: Examples,
    val: Examples,
    test: Examples,
    pretrained: Option<Pretrained>,
    protocol: Protocol,
}

impl Loaded {
    /// What two cells must have in common to share images, weights and features.
    fn key(config: &CellConfig) -> String {
        let mut shared = config.model.clone();
        shared.context = dense_rnn::DenseRnnConfig::default();
        let frozen = config.model.backbone_mode == BackboneMode::Frozen;
        let features = frozen.then_some((shared, config.training.flip));
        let backbone = &config.model.backbone;
        format!("{:?} {:?} {backbone:?} {features:?}", config.dataset, config.fingerprints)
    }

    fn load(request: &Request, config: &CellConfig, key: String) -> anyhow::Result<Self> {
        let root = request.data_root.as_deref();
        let splits = [Split::Train, Split::Val, Split::Test];
        let mut facts = DatasetFacts { name: config.dataset.name().into(), ..Default::default() };
        let mut classes = Vec::new();
        let mut examples = Vec::new();
        for split in splits {
            interrupt::check()?;
            let dataset: Box<dyn SceneDataset> =
                config.dataset.open(root, split).map_err(with_flag)?;
            let fingerprint = dataset.fingerprint()?;
            if let Some(expected) = config.fingerprints.get(&split.to_string()) {
                ensure!(
                    *expected == fingerprint,
                    "{} {split}: the images are not those of the sweep: SHA-256 {fingerprint}, \
                     expected {expected}",
                    dataset.name()
                );
            }
            facts.fingerprints.insert(split.to_string(), fingerprint);
            facts.images.insert(split.to_string(), dataset.len() as u64);
            classes = dataset.classes().to_vec();
            examples.push(Examples::new(dataset)?);
        }
        facts.classes = classes.iter().map(|class| class.name.to_string()).collect();
        let [train, val, test] = <[Examples; 3]>::try_from(examples)
            .map_err(|_| anyhow::anyhow!("three splits were opened"))?;
        let pretrained = match &request.weights {
            Some(path) => Pretrained::find(path, &config.model.backbone)?,
            None => None,
        };
        let protocol = protocol_of(config)?;
        let mut loaded = Self { key, facts, classes, train, val, test, pretrained, protocol };
        if config.model.backbone_mode == BackboneMode::Frozen {
            loaded.cache_features(config)?;
        }
        Ok(loaded)
    }

    fn cache_features(&mut self, config: &CellConfig) -> anyhow::Result<()> {
        let (parser, _) = self.parser(config, 0)?;
        let images = self.train.len() + self.val.len() + self.test.len();
        eprintln!("computing the frozen backbone's features of {images} images once");
        let progress = Progress::new(images as u64);
        let views: &[View] = match config.training.flip {
            Flip::Off => &[View::Plain],
            Flip::Random => &[View::Plain, View::Mirrored],
        };
        self.train.cache_features(&parser, views, &progress)?;
        self.val.cache_features(&parser, &[View::Plain], &progress)?;
        self.test.cache_features(&parser, &[View::Plain], &progress)?;
        progress.finish();
        Ok(())
    }

    fn parser(&self, config: &CellConfig, seed: u64) -> anyhow::Result<(Parser, Parameters)> {
        Parser::build(&config.model, self.classes.len(), seed, self.pretrained.as_ref())
    }
}

fn protocol_of(config: &CellConfig) -> anyhow::Result<Protocol> {
    Ok(match &config.dataset {
        DatasetConfig::PascalContext(options) => {
            format!("pascal-context-{}", options.classes).parse()?
        }
        other => other.name().parse()?,
    })
}

fn run_cell(
    request: &Request,
    cell: &Cell,
    config: &CellConfig,
    data: &Loaded,
    progress: &Progress,
) -> anyhow::Result<Record> {
    let name = format!("{} seed {}", cell.arm, cell.seed);
    progress.doing(&name);
    let (parser, parameters) = data.parser(config, cell.seed)?;
    let fit = train::train(
        &parser,
        &parameters,
        &config.training,
        cell.seed,
        (&data.train, &data.val),
        data.protocol,
        progress,
        &name,
    )?;
    let file = checkpoint::file(&request.out_dir, &cell.file_stem());
    Snapshot::take(&parser, &parameters)?.write(&file, &cell.hash())?;
    let start = std::time::Instant::now();
    let (mut done, images) = (0, data.test.len());
    let (test, protocol) = (&data.test, data.protocol);
    let scores = evaluate_with(&parser, test, protocol, &config.evaluation, &mut |_| {
        done += 1;
        progress.doing(format!("{name}: test image {done} of {images}"));
        Ok(())
    })?;
    let evaluation_s = start.elapsed().as_secs_f64();
    for nth in 0..data.test.len().min(pictures::SHOWN) {
        let sample = data.test.sample(nth)?;
        pictures::write_sample(&request.out_dir, nth, &sample, &data.classes)?;
        if cell.seed == 0 {
            let size = (sample.labels.width, sample.labels.height);
            let prediction = predict(&parser, &data.test, nth, &config.evaluation)?;
            let (out, classes) = (&request.out_dir, &data.classes);
            pictures::write_prediction(out, nth, &cell.arm, &prediction, size, classes)?;
        }
    }
    let trainable: usize = parameters.trainable().values().map(|var| var.elem_count()).sum();
    Ok(Record {
        version: run_record::RECORD_VERSION,
        cell: cell.clone(),
        cell_hash: cell.hash(),
        dataset: data.facts.clone(),
        weights_sha256: data.pretrained.as_ref().map(|weights| weights.sha256.clone()),
        protocol: data.protocol.to_string(),
        parameters: trainable as u64,
        total_parameters: (trainable + parser.frozen_parameters()) as u64,
        metrics: scores.metrics(),
        best_epoch: fit.best_epoch as u64,
        val_miou_percent: fit.val_miou_percent,
        curve: fit.curve,
        distance: scores.distance,
        images: scores.images,
        provenance: provenance::provenance(),
        timing: Timing {
            finished_unix_s: SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs(),
            training_s: fit.seconds,
            evaluation_s,
            seconds_per_image: seconds_per_image(&parser, &data.test)?,
            peak_memory_mib: provenance::peak_memory_mib().unwrap_or(0.0),
        },
    })
}
