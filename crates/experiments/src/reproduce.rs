//! Runs every cell of a sweep that has no record yet, here or under Slurm, then reports.

mod args;

use std::collections::BTreeMap;
use std::io::Write;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail, ensure};
use run_record::{Cell, FINGERPRINTS, Record, Sweep};
use standard_streams::message;
use whole_files::{InTheWay, Outputs};

use crate::config::CellConfig;
use crate::interrupt::Interrupted;
use crate::outputs::check_open;
use crate::plan::{Plan, Settings, Stale};
use crate::queue::{self, Failed, is_stale};
use crate::results::Results;
use crate::{device, jobs, leftovers, other_inputs, pretrained, provenance, report, slurm};

pub use args::{Args, Published};

/// What the user asked for.
#[derive(Debug, Clone)]
pub struct Request {
    /// What is to be run.
    pub sweep: Sweep,
    /// The file it comes from, for messages.
    pub origin: PathBuf,
    /// Where records, report and pictures go.
    pub out_dir: PathBuf,
    /// Only these arms; all if empty.
    pub arms: Vec<String>,
    /// These seeds instead of the sweep's own, if any.
    pub seeds: Vec<u64>,
    /// `key=value` changes of the configuration.
    pub set: Vec<String>,
    /// How cells are run and reported.
    pub settings: Settings,
    /// What becomes of files in the way that are no report of this sweep.
    pub in_the_way: InTheWay,
    /// Who runs them.
    pub launcher: Launcher,
    /// The command as the user typed it, for the report.
    pub command: String,
}

/// Who runs the cells of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Launcher {
    /// This machine: so many cells at once, each by a process of its own.
    Local(NonZeroUsize),
    /// A job array.
    Slurm(slurm::Jobs),
}

impl Request {
    /// Every cell of a sweep, here, one after the other, with nothing changed.
    pub fn of(sweep: Sweep, origin: PathBuf, out_dir: PathBuf) -> Self {
        Self {
            sweep,
            origin,
            out_dir,
            arms: Vec::new(),
            seeds: Vec::new(),
            set: Vec::new(),
            settings: Settings::default(),
            in_the_way: InTheWay::Refused,
            launcher: Launcher::Local(NonZeroUsize::MIN),
            command: String::new(),
        }
    }

    /// The plan of what is asked for.
    fn plan(&self) -> anyhow::Result<Plan> {
        device::check(self.settings.device)?;
        self.settings.weights.as_deref().map_or(Ok(()), pretrained::check)?;
        let mut sweep = self.sweep.clone();
        if !self.arms.is_empty() {
            sweep.keep_arms(&self.arms)?;
        }
        if !self.seeds.is_empty() {
            sweep.keep_seeds(&self.seeds)?;
        }
        for change in &self.set {
            sweep.set(change)?;
            if change.starts_with("dataset") {
                // Another dataset than the one whose hash the sweep froze.
                let arms = sweep.arms.iter_mut().map(|arm| &mut arm.config);
                for config in arms.chain([&mut sweep.config]) {
                    config.remove(FINGERPRINTS);
                }
            }
        }
        Plan::of(sweep, &self.origin, self.settings.clone(), self.out_dir.clone())
    }
}

/// Runs the sweep and writes its table to `out`; under Slurm, the ids of the jobs that will.
///
/// # Errors
///
/// Anything wrong with the request (before any training), a failed cell, an interrupt (finished
/// cells are kept), an arm outside the sweep's expectation, or Slurm, if it is not there or refuses.
pub fn reproduce(request: &Request, out: &mut dyn Write) -> anyhow::Result<()> {
    let plan = request.plan()?;
    let folder = plan.records();
    check_folders(&plan)?;
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("the output folder {} cannot be made", folder.display()))?;
    let outputs = report::claim(&plan.out_dir, &plan.sweep.name, request.in_the_way)?;
    leftovers::clear(&plan.out_dir)?;
    let file = plan.write()?;
    let mut finished = plan.finished()?;
    if plan.settings.stale == Stale::Rerun {
        set_stale_aside(&plan, &mut finished)?;
    }
    if !finished.is_empty() {
        message(format_args!(
            "{} of {} cells are already finished in {} and are used again",
            finished.len(),
            plan.cells.len(),
            folder.display()
        ));
    }
    let is_missing = |cell: &Cell| !finished.contains_key(&cell.file_stem());
    let indices = plan.cells.iter().enumerate().filter(|(_, (cell, _))| is_missing(cell));
    let indices: Vec<usize> = indices.map(|(index, _)| index).collect();
    let missing: Vec<&Cell> = indices.iter().map(|&at| &plan.cells[at].0).collect();
    for line in other_inputs::lines(&plan, &missing)? {
        message(line);
    }
    let failed = match &request.launcher {
        _ if indices.is_empty() => Failed::default(),
        Launcher::Local(jobs) => run_here(&plan, &file, &indices, *jobs, &mut finished)?,
        Launcher::Slurm(jobs) => {
            let way = request.in_the_way;
            return slurm::submit(&plan, &file, &indices, &request.command, jobs, way, out);
        }
    };
    finish(&plan, outputs, &request.command, &finished, &failed, out)
}

/// No dataset's folder is a sweep's.
fn check_folders(plan: &Plan) -> anyhow::Result<()> {
    let Settings { data_root, features, .. } = &plan.settings;
    let folders = features.iter().map(|features| &features.path).chain([&plan.out_dir]);
    folders.into_iter().try_for_each(|folder| check_open(folder, data_root.as_deref()))
}

/// Runs one cell of the plan in `file`, or all that no other process is at; nothing is reported.
///
/// # Errors
///
/// A plan that cannot be read, inputs that are no longer those of the plan, an index it does not
/// have, a failed cell, or an interrupt.
pub fn run_plan(file: &Path, index: Option<usize>) -> anyhow::Result<()> {
    let plan = Plan::read(file)?;
    plan.check_inputs().with_context(|| format!("{}: the inputs changed", file.display()))?;
    check_folders(&plan)?;
    std::fs::create_dir_all(plan.records())
        .with_context(|| plan.records().display().to_string())?;
    leftovers::clear(&plan.out_dir)?;
    let mut finished = plan.finished()?;
    let asked = match index {
        Some(index) => vec![plan.cell(index)?],
        None => plan.cells.iter().collect(),
    };
    let is_missing = |cell: &Cell| !finished.contains_key(&cell.file_stem());
    let missing: Vec<_> = asked.into_iter().filter(|(cell, _)| is_missing(cell)).collect();
    let failed = explained(&plan, queue::run(&plan, &missing, &mut finished))?;
    ensure!(failed.is_empty(), "{failed}");
    Ok(())
}

/// Reports the records that the plan in `file` has so far; `command` is what the report says made
/// them.
///
/// # Errors
///
/// A plan or record that cannot be read, files in the way, a cell without a record, or an arm outside
/// the sweep's expectation.
pub fn report_plan(
    file: &Path,
    command: &str,
    in_the_way: InTheWay,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let plan = Plan::read(file)?;
    let outputs = report::claim(&plan.out_dir, &plan.sweep.name, in_the_way)?;
    let finished = plan.finished()?;
    let missing = plan.cells.iter().filter(|(cell, _)| !finished.contains_key(&cell.file_stem()));
    let missing = missing.map(|(cell, _)| cell.name()).collect();
    finish(&plan, outputs, command, &finished, &Failed::because("no record yet", missing), out)
}

/// Runs the cells of these indices in this process or in several.
fn run_here(
    plan: &Plan,
    file: &Path,
    indices: &[usize],
    jobs: NonZeroUsize,
    finished: &mut BTreeMap<String, Record>,
) -> anyhow::Result<Failed> {
    let missing: Vec<&(Cell, CellConfig)> = indices.iter().map(|&at| &plan.cells[at]).collect();
    let at_once = jobs.get().min(missing.len());
    let Some(jobs) = NonZeroUsize::new(at_once).filter(|jobs| jobs.get() > 1) else {
        return explained(plan, queue::run(plan, &missing, finished));
    };
    let ended = explained(plan, jobs::run(file, jobs))?;
    *finished = plan.finished()?;
    let left = missing.iter().filter(|(cell, _)| !finished.contains_key(&cell.file_stem()));
    let left: Vec<String> = left.map(|(cell, _)| cell.name()).collect();
    // What a process that was killed had begun is finished by the others.
    let killed = ended.iter().filter(|status| status.code().is_none());
    let killed: Vec<String> = killed.map(ToString::to_string).collect();
    if killed.is_empty() {
        return Ok(Failed::because("failed, see above", left));
    }
    let said = format!("{} of {jobs} processes ended early ({})", killed.len(), killed.join(", "));
    message(&said);
    Ok(Failed::because(&format!("no record, since {said}; the same command goes on"), left))
}

/// The same, an interrupt with what it leaves.
fn explained<T>(plan: &Plan, result: anyhow::Result<T>) -> anyhow::Result<T> {
    match result {
        Err(error) if error.is::<Interrupted>() => bail!(
            "interrupted: {} of {} cells are finished and kept in {}, with the state of the one \
             under way; the same command goes on from there",
            plan.finished()?.len(),
            plan.cells.len(),
            plan.records().display()
        ),
        other => other,
    }
}

/// Writes report and table of what there is, says what is missing, and judges the rest.
fn finish(
    plan: &Plan,
    mut outputs: Outputs,
    command: &str,
    finished: &BTreeMap<String, Record>,
    failed: &Failed,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let Plan { sweep, cells, settings, out_dir } = plan;
    // Without a single record there is no table, only what went wrong.
    ensure!(!finished.is_empty() || failed.is_empty(), "{failed}");
    let records: Vec<Record> =
        cells.iter().filter_map(|(cell, _)| finished.get(&cell.file_stem()).cloned()).collect();
    let results = Results::of(sweep, &records);
    report::write(&mut outputs, out_dir, &results, command, settings.photographs)?;
    let mut text = format!("{}\n", report::tables(&results));
    let now = provenance::provenance();
    let stale: Vec<&Record> = records.iter().filter(|record| is_stale(record, &now)).collect();
    if !stale.is_empty() {
        let names = stale.iter().map(|record| record.cell.name());
        text += &format!(
            "stale, made by another revision or other dependencies: {}; --refresh runs them again\n\n",
            names.collect::<Vec<_>>().join(", ")
        );
    }
    text += &format!("report: {}\n", out_dir.join("report.html").display());
    let judged =
        if failed.is_empty() { judge(&results, &mut text) } else { Err(anyhow!("{failed}")) };
    // What went wrong is said whether or not anybody reads the table.
    let written = out.write_all(text.as_bytes());
    judged?;
    Ok(written?)
}

/// Moves stale records away, so that their cells are run again.
fn set_stale_aside(plan: &Plan, finished: &mut BTreeMap<String, Record>) -> anyhow::Result<()> {
    let now = provenance::provenance();
    let (folder, kept) = (plan.records(), plan.out_dir.join("stale"));
    for (stem, record) in finished.iter().filter(|(_, record)| is_stale(record, &now)) {
        let revision: String = record.provenance.revision.chars().take(8).collect();
        let from = format!("{stem}.json");
        // An earlier one of that revision, with other dependencies, stays.
        let mut names = (1..).map(|nth| match nth {
            1 => format!("{stem}-{revision}.json"),
            _ => format!("{stem}-{revision}-{nth}.json"),
        });
        let free = names.find(|name| !kept.join(name).exists());
        let to = free.context("a name that is not taken")?;
        std::fs::create_dir_all(&kept)
            .and_then(|()| std::fs::rename(folder.join(&from), kept.join(&to)))
            .with_context(|| format!("moving {from} to {}", kept.display()))?;
    }
    finished.retain(|_, record| !is_stale(record, &now));
    Ok(())
}

fn judge(results: &Results<'_>, text: &mut String) -> anyhow::Result<()> {
    let verdicts = report::verdicts(results);
    for verdict in &verdicts {
        *text += &format!("{}\n", verdict.line);
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
