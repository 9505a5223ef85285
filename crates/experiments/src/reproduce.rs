//! Runs every cell of a sweep that has no record yet, then reports.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::Write;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use run_record::{Cell, Provenance, Record, Sweep};

use crate::config::{BackboneMode, CellConfig};
use crate::feature_files::FeatureFolder;
use crate::interrupt::{self, Interrupted};
use crate::loaded::Loaded;
use crate::parser::Stages;
use crate::progress::Progress;
use crate::report::Photographs;
use crate::results::Results;
use crate::states::States;
use crate::{cell, jobs, provenance, report, train};

/// How often the state of training is written, if nothing else is said.
pub const STATE_EVERY: Duration = Duration::from_secs(60);

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
    /// Where a frozen backbone's features are kept; in memory if absent.
    pub features: Option<FeatureFolder>,
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
    /// How often the state of training is written; results do not depend on it.
    pub state_every: Duration,
    /// Cells that are run at once, each by a process of its own; `None` for one of several.
    pub jobs: Option<NonZeroUsize>,
    /// Whether the report may show photographs.
    pub photographs: Photographs,
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
            features: None,
            arms: Vec::new(),
            seeds: Vec::new(),
            set: Vec::new(),
            command: String::new(),
            stale: Stale::Used,
            state_every: STATE_EVERY,
            jobs: Some(NonZeroUsize::MIN),
            photographs: Photographs::Shown,
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

    let mut finished = finished_of(&cells, &folder)?;
    if request.stale == Stale::Rerun {
        set_stale_aside(request, &folder, &mut finished)?;
    }
    if !finished.is_empty() && request.jobs.is_some() {
        eprintln!(
            "{} of {} cells are already finished in {} and are used again",
            finished.len(),
            cells.len(),
            folder.display()
        );
    }
    let outcome = match run_all(request, &folder, &cells, &mut finished) {
        Err(error) if error.is::<Interrupted>() => bail!(
            "interrupted: {} of {} cells are finished and kept in {}, with the state of the one \
             under way; the same command goes on from there",
            finished_of(&cells, &folder)?.len(),
            cells.len(),
            folder.display()
        ),
        other => other?,
    };
    if request.jobs.is_none() {
        ensure!(outcome.failed.is_empty(), outcome.text());
        return Ok(());
    }
    // Without a single record there is no table, only what went wrong.
    ensure!(!finished.is_empty() || outcome.failed.is_empty(), outcome.text());
    let records: Vec<Record> =
        cells.iter().filter_map(|(cell, _)| finished.get(&cell.file_stem()).cloned()).collect();
    let results = Results::of(&sweep, &records);
    report::write(&request.out_dir, &results, &request.command, request.photographs)?;
    writeln!(out, "{}", report::tables(&results))?;
    let now = provenance::provenance();
    let stale: Vec<&Record> = records.iter().filter(|record| is_stale(record, &now)).collect();
    if !stale.is_empty() {
        let names = stale.iter().map(|record| record.cell.name());
        writeln!(
            out,
            "stale, made by another revision or other dependencies: {}; --refresh runs them again\n",
            names.collect::<Vec<_>>().join(", ")
        )?;
    }
    writeln!(out, "report: {}", request.out_dir.join("report.html").display())?;
    ensure!(outcome.failed.is_empty(), outcome.text());
    judge(&results, out)
}

/// The records of `cells` that are in `folder`, by the stem of their file.
fn finished_of(
    cells: &[(Cell, CellConfig)],
    folder: &Path,
) -> anyhow::Result<BTreeMap<String, Record>> {
    let wanted: BTreeSet<String> = cells.iter().map(|(cell, _)| cell.file_stem()).collect();
    let records = Record::read_dir(folder)?.into_iter();
    let by_stem = records.map(|record| (record.cell.file_stem(), record));
    Ok(by_stem.filter(|(stem, _)| wanted.contains(stem)).collect())
}

/// Whether a program of another revision or with other dependencies took part.
fn is_stale(record: &Record, now: &Provenance) -> bool {
    is_other(&record.provenance, now) || record.earlier.iter().any(|then| is_other(then, now))
}

fn is_other(then: &Provenance, now: &Provenance) -> bool {
    then.revision != now.revision || then.lock_sha256 != now.lock_sha256
}

/// Moves stale records away, so that their cells are run again.
fn set_stale_aside(
    request: &Request,
    folder: &Path,
    finished: &mut BTreeMap<String, Record>,
) -> anyhow::Result<()> {
    let now = provenance::provenance();
    let kept = request.out_dir.join("stale");
    for (stem, record) in finished.iter().filter(|(_, record)| is_stale(record, &now)) {
        let revision: String = record.provenance.revision.chars().take(8).collect();
        let (from, to) = (format!("{stem}.json"), format!("{stem}-{revision}.json"));
        std::fs::create_dir_all(&kept)
            .and_then(|()| std::fs::rename(folder.join(&from), kept.join(&to)))
            .with_context(|| format!("moving {from} to {}", kept.display()))?;
    }
    finished.retain(|_, record| !is_stale(record, &now));
    Ok(())
}

fn judge(results: &Results<'_>, out: &mut dyn Write) -> anyhow::Result<()> {
    let verdicts = report::verdicts(results);
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
    for (cell, config) in &cells {
        let context = || format!("arm {} of {}", cell.arm, request.origin.display());
        Stages::of(&config.model, &config.model.backbone.stages()?).with_context(context)?;
        ensure!(
            config.model.backbone_mode != BackboneMode::Frozen || request.weights.is_some(),
            "model.backbone_mode = \"frozen\" needs pretrained weights: give --weights PATH, \
             a file or a folder that holds it"
        );
    }
    Ok(cells)
}

/// Begins a cell anew that another program began.
fn forget_stale(states: &States) -> anyhow::Result<()> {
    let now = provenance::provenance();
    let state = states.latest(&|_| ())?;
    if state.is_some_and(|s| s.position.processes.iter().any(|then| is_other(then, &now))) {
        states.clear()?;
    }
    Ok(())
}

/// What became of the cells that had no record.
#[derive(Default)]
struct Outcome {
    /// Names of cells that failed, by what they said.
    failed: BTreeMap<String, Vec<String>>,
}

impl Outcome {
    fn text(&self) -> String {
        let of =
            |(message, names): (&String, &Vec<String>)| format!("{}: {message}", names.join(", "));
        self.failed.iter().map(of).collect::<Vec<_>>().join("\n")
    }
}

/// Runs what is missing, here or in several processes.
fn run_all(
    request: &Request,
    folder: &Path,
    cells: &[(Cell, CellConfig)],
    finished: &mut BTreeMap<String, Record>,
) -> anyhow::Result<Outcome> {
    let missing: Vec<&(Cell, CellConfig)> =
        cells.iter().filter(|(cell, _)| !finished.contains_key(&cell.file_stem())).collect();
    let at_once = request.jobs.map_or(1, |jobs| jobs.get().min(missing.len()));
    let Some(jobs) = NonZeroUsize::new(at_once).filter(|jobs| jobs.get() > 1) else {
        return run_cells(request, folder, &missing, finished);
    };
    let all_well = jobs::run(jobs)?;
    *finished = finished_of(cells, folder)?;
    let left = missing.iter().filter(|(cell, _)| !finished.contains_key(&cell.file_stem()));
    let left: Vec<String> = left.map(|(cell, _)| cell.name()).collect();
    ensure!(all_well || !left.is_empty(), "a process of several failed, see above");
    let mut outcome = Outcome::default();
    if !left.is_empty() {
        outcome.failed.insert("failed, see above".to_owned(), left);
    }
    Ok(outcome)
}

/// Runs every cell of `missing` that no other process is at, then waits for those.
fn run_cells(
    request: &Request,
    folder: &Path,
    missing: &[&(Cell, CellConfig)],
    finished: &mut BTreeMap<String, Record>,
) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::default();
    let mut loaded: Option<(String, Result<Loaded, String>)> = None;
    let mut progress: Option<Progress> = None;
    let mut queue: VecDeque<_> = missing.iter().copied().collect();
    // Cells in a row that other processes are at.
    let mut taken = 0;
    while let Some(item) = queue.pop_front() {
        interrupt::check()?;
        let (cell, config) = item;
        let stem = cell.file_stem();
        let states = States::open(&request.out_dir, &stem, &cell.hash(), request.state_every)?;
        let Some(mut states) = states else {
            queue.push_back(item);
            taken += 1;
            if taken >= queue.len() {
                std::thread::sleep(Duration::from_millis(500));
            }
            continue;
        };
        taken = 0;
        let file = folder.join(format!("{stem}.json"));
        if file.exists() {
            // By another process, since this one began.
            finished.insert(stem, Record::read(&file)?);
            continue;
        }
        let key = Loaded::key(config);
        if loaded.as_ref().is_none_or(|(of, _)| *of != key) {
            // Given back before the next is read.
            drop(loaded.take());
            let data = match Loaded::load(request, config) {
                Err(error) if error.is::<Interrupted>() => return Err(error),
                // A mistake in the request is better said before hours of training than after.
                Err(error) if progress.is_none() => return Err(error),
                other => other.map_err(|error| format!("{error:#}")),
            };
            loaded = Some((key, data));
        }
        if request.stale == Stale::Rerun {
            forget_stale(&states)?;
        }
        let name = cell.name();
        let Some((_, data)) = &loaded else { continue };
        let record = match data {
            Ok(data) => {
                let progress = progress.get_or_insert_with(|| {
                    let images = data.train.len();
                    let steps: usize =
                        missing.iter().map(|(_, c)| train::batches(&c.training, images)).sum();
                    Progress::new(steps as u64)
                });
                cell::run(&request.out_dir, &mut states, cell, config, data, progress)
            }
            Err(message) => Err(anyhow::anyhow!("{message}")),
        };
        match record {
            Ok(record) => {
                record.write_atomically(folder)?;
                states.clear()?;
                let line = format!(
                    "{name}: test mIoU {:.1} %  ({} of {} cells to do)",
                    record.metrics.miou_percent,
                    queue.len(),
                    missing.len()
                );
                progress.iter().for_each(|progress| progress.line(&line));
                finished.insert(stem, record);
            }
            Err(error) if error.is::<Interrupted>() => return Err(error),
            Err(error) => {
                let message = format!("{error:#}");
                if !outcome.failed.contains_key(&message) {
                    eprintln!("{name} failed: {message}");
                }
                outcome.failed.entry(message).or_default().push(name);
            }
        }
    }
    progress.iter().for_each(Progress::finish);
    Ok(outcome)
}
