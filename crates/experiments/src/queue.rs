//! Cells one after the other: those that no other process is at, then those that one was at.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use run_record::{Cell, Provenance, Record};

use crate::config::CellConfig;
use crate::interrupt::{self, Interrupted};
use crate::loaded::Loaded;
use crate::plan::{Plan, Stale};
use crate::progress::Progress;
use crate::states::States;
use crate::{cell, device, provenance, train};

/// Names of cells that have no record in the end, by the reason.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Failed(BTreeMap<String, Vec<String>>);

impl Failed {
    /// Cells that share a reason.
    pub fn because(reason: &str, names: Vec<String>) -> Self {
        let mut failed = Self::default();
        if !names.is_empty() {
            failed.0.insert(reason.to_owned(), names);
        }
        failed
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let of =
            |(reason, names): (&String, &Vec<String>)| format!("{}: {reason}", names.join(", "));
        f.write_str(&self.0.iter().map(of).collect::<Vec<_>>().join("\n"))
    }
}

/// Runs every cell of `missing`, cells of `plan`, that no other process is at, then waits for those;
/// records are added to `finished`.
///
/// # Errors
///
/// A mistake in the request, found before training, a device that is not there, a folder that cannot be written, or an
/// interrupt.
pub fn run(
    plan: &Plan,
    missing: &[&(Cell, CellConfig)],
    finished: &mut BTreeMap<String, Record>,
) -> anyhow::Result<Failed> {
    let Plan { settings, out_dir, .. } = plan;
    let folder = plan.records();
    let state_every = Duration::from_secs(settings.state_every_s);
    let device = device::open(settings.device)?;
    let mut failed = Failed::default();
    let mut loaded: Option<(String, Result<Loaded, String>)> = None;
    let mut progress: Option<Progress> = None;
    let mut queue: VecDeque<_> = missing.iter().copied().collect();
    // Cells in a row that other processes are at.
    let mut taken = 0;
    while let Some(item) = queue.pop_front() {
        interrupt::check()?;
        let (cell, config) = item;
        let stem = cell.file_stem();
        let states = States::open(out_dir, cell, state_every)?;
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
            // By another process, since this one began; it may have ended before it cleared up.
            states.clear()?;
            finished.insert(stem, Record::read(&file)?);
            continue;
        }
        let key = Loaded::key(config);
        if loaded.as_ref().is_none_or(|(of, _)| *of != key) {
            // Given back before the next is read.
            drop(loaded.take());
            let data = match Loaded::load(settings, config, &device) {
                Err(error) if error.is::<Interrupted>() => return Err(error),
                // A mistake in the request is better said before hours of training than after.
                Err(error) if progress.is_none() => return Err(error),
                other => other.map_err(|error| format!("{error:#}")),
            };
            loaded = Some((key, data));
        }
        if settings.stale == Stale::Rerun {
            forget_stale(&states)?;
        }
        let name = cell.name();
        let Some((_, data)) = &loaded else { continue };
        let record = match data {
            Ok(data) => {
                if progress.is_none() {
                    let batches =
                        |(_, c): &&(Cell, CellConfig)| train::batches(&c.training, &data.train);
                    let batches = missing.iter().map(batches).sum::<anyhow::Result<usize>>()?;
                    progress = Some(Progress::new(batches as u64));
                }
                let progress = progress.get_or_insert_with(|| Progress::new(0));
                cell::run(out_dir, &mut states, cell, config, data, progress)
            }
            Err(message) => Err(anyhow::anyhow!("{message}")),
        };
        match record {
            Ok(record) => {
                record.write_atomically(&folder)?;
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
                if !failed.0.contains_key(&message) {
                    standard_streams::message(format_args!("{name} failed: {message}"));
                }
                failed.0.entry(message).or_default().push(name);
            }
        }
    }
    progress.iter().for_each(Progress::finish);
    Ok(failed)
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

/// Whether a program of another revision or with other dependencies took part.
pub(crate) fn is_stale(record: &Record, now: &Provenance) -> bool {
    is_other(&record.provenance, now) || record.earlier.iter().any(|then| is_other(then, now))
}

fn is_other(then: &Provenance, now: &Provenance) -> bool {
    then.revision != now.revision || then.lock_sha256 != now.lock_sha256
}
