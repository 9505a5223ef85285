//! Where the training of one cell stands, on disk: a kill costs a minute of it, never more.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use run_record::{Cell, EpochPoint, Provenance};

use crate::tensor_file::{self, Notes, Tensors};
use crate::{leftovers, lock};

/// Where the states of all cells are, in the output folder.
const RUNNING: &str = "running";

/// States kept of a cell: one more than needed, for the case that the last cannot be read.
const KEPT: usize = 2;

/// Keys of a file's notes. The cell's hash is one of its inputs as well; the cell itself is there to
/// say what differs.
const HASH: &str = "cell_hash";
const CELL: &str = "cell";
pub(crate) const POSITION: &str = "position";

/// How far training has come. Every random draw is one of seed, epoch and image alone, so this is
/// the state of all generators as well.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// Steps of the optimizer that were taken.
    pub step: usize,
    /// The epoch under way, from 0.
    pub epoch: usize,
    /// Its batches that were seen.
    pub batches: usize,
    /// The sum of their losses.
    pub loss_sum: f64,
    /// The learning rate of the last step.
    pub learning_rate: f64,
    /// The epochs before.
    pub curve: Vec<EpochPoint>,
    /// The best of them on val.
    pub best: Option<Best>,
    /// What it took so far, over all processes.
    pub cost: Cost,
    /// The processes that took part, in order.
    pub processes: Vec<Provenance>,
}

/// The epoch with the highest mIoU on val.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Best {
    /// The epoch, from 1.
    pub epoch: usize,
    /// Its mIoU on val, in percent.
    pub miou_percent: f64,
}

/// Time and memory of training.
#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cost {
    /// Seconds, validation included.
    pub seconds: f64,
    /// Seconds of all cores together.
    pub cpu_seconds: f64,
    /// The largest resident memory of a process.
    pub peak_memory_mib: f64,
}

/// What one file holds.
pub struct State {
    /// How far training had come.
    pub position: Position,
    /// Everything that it moves.
    pub tensors: Tensors,
}

/// The states of one cell; whoever holds this holds the cell.
pub struct States {
    folder: PathBuf,
    cell: Cell,
    every: Duration,
    written: Instant,
    _lock: File,
}

impl States {
    /// Takes the cell, unless another process holds it: `None`. A state is due `every` so often.
    ///
    /// # Errors
    ///
    /// A folder that cannot be written.
    pub fn open(out_dir: &Path, cell: &Cell, every: Duration) -> anyhow::Result<Option<Self>> {
        let stem = cell.file_stem();
        let (folder, locks) = (out_dir.join(RUNNING).join(&stem), out_dir.join("locks"));
        for folder in [&folder, &locks] {
            fs::create_dir_all(folder)
                .with_context(|| format!("the folder {} cannot be made", folder.display()))?;
        }
        let Some(lock) = lock::take(&locks.join(&stem))? else { return Ok(None) };
        leftovers::clear_parts(&folder)?;
        whole_files::clear_leftovers(&folder)?;
        let (cell, written) = (cell.clone(), Instant::now());
        Ok(Some(Self { folder, cell, every, written, _lock: lock }))
    }

    /// The last whole state; those that are damaged are passed over and `say` is told which.
    ///
    /// # Errors
    ///
    /// A folder that cannot be read.
    pub fn latest(&self, say: &dyn Fn(&str)) -> anyhow::Result<Option<State>> {
        for file in self.files()?.iter().rev() {
            match self.read(file) {
                Ok(state) => return Ok(Some(state)),
                Err(error) => say(&format!("a state of training is passed over: {error:#}")),
            }
        }
        Ok(None)
    }

    /// Whether it is time to write another.
    pub fn is_due(&self) -> bool {
        self.written.elapsed() >= self.every
    }

    /// Writes one, and takes away those that are no longer needed.
    ///
    /// # Errors
    ///
    /// A full disk or a folder that cannot be written; the states before are kept.
    pub fn write(&mut self, position: &Position, tensors: &Tensors) -> anyhow::Result<()> {
        let file = self.folder.join(format!("step-{:09}.safetensors", position.step));
        let notes = Notes::from([
            (HASH.to_owned(), self.cell.hash()),
            (CELL.to_owned(), serde_json::to_string(&self.cell)?),
            (POSITION.to_owned(), serde_json::to_string(position)?),
        ]);
        tensor_file::write(&file, tensors, &notes).context(
            "the state of training cannot be kept, so it stops; what was written before is whole, \
             and the same command goes on from there once there is room",
        )?;
        let files = self.files()?;
        for old in &files[..files.len().saturating_sub(KEPT)] {
            fs::remove_file(old).with_context(|| old.display().to_string())?;
        }
        self.written = Instant::now();
        Ok(())
    }

    /// Takes all states away: the cell is finished, or begins anew.
    ///
    /// # Errors
    ///
    /// A folder that cannot be written.
    pub fn clear(&self) -> anyhow::Result<()> {
        for file in self.files()? {
            fs::remove_file(&file).with_context(|| file.display().to_string())?;
        }
        Ok(())
    }

    /// The last file that was written, if any is left.
    pub fn last_file(&self) -> Option<PathBuf> {
        self.files().ok()?.pop()
    }

    /// Where the states are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The files of states, in the order of their steps.
    fn files(&self) -> anyhow::Result<Vec<PathBuf>> {
        with_ending(&self.folder, "safetensors")
    }

    fn read(&self, file: &Path) -> anyhow::Result<State> {
        let (tensors, notes) = tensor_file::read(file)?;
        let of =
            |key: &str| notes.get(key).with_context(|| format!("{}: no {key}", file.display()));
        let (found, own) = (of(HASH)?, self.cell.hash());
        ensure!(
            *found == own,
            "{}: of cell {found}, of another configuration or other inputs than {own}",
            file.display()
        );
        let position = serde_json::from_str(of(POSITION)?)
            .with_context(|| format!("{}: of another version of the program", file.display()))?;
        Ok(State { position, tensors })
    }
}

/// The cells of that arm and seed whose training was stopped, other than `cell` itself.
///
/// # Errors
///
/// A folder that cannot be read; a state that cannot be read is passed over.
pub(crate) fn of_others(out_dir: &Path, cell: &Cell) -> anyhow::Result<Vec<Cell>> {
    let running = out_dir.join(RUNNING);
    if !running.is_dir() {
        return Ok(Vec::new());
    }
    let (own, start) = (cell.file_stem(), format!("{}-seed{}-", cell.arm, cell.seed));
    let mut found = Vec::new();
    for entry in fs::read_dir(&running).with_context(|| running.display().to_string())? {
        let folder = entry?.path();
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        if name == own || !name.starts_with(&start) || !folder.is_dir() {
            continue;
        }
        let last = with_ending(&folder, "safetensors")?.pop();
        let notes = last.and_then(|file| tensor_file::read(&file).ok()).map(|(_, notes)| notes);
        let of_cell = notes.and_then(|notes| serde_json::from_str(notes.get(CELL)?).ok());
        found.extend(of_cell);
    }
    Ok(found)
}

/// What a folder holds of that ending, sorted.
pub(crate) fn with_ending(folder: &Path, ending: &str) -> anyhow::Result<Vec<PathBuf>> {
    let context = || folder.display().to_string();
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(context)? {
        let path = entry.with_context(context)?.path();
        if path.extension().is_some_and(|extension| extension == ending) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::*;

    fn cell(train: &str) -> Cell {
        let config = serde_json::json!({ "fingerprints": { "train": train } });
        Cell { sweep: "s".into(), arm: "a".into(), seed: 0, config }
    }

    fn states(dir: &Path) -> States {
        States::open(dir, &cell("00"), Duration::ZERO).unwrap().unwrap()
    }

    fn state(step: usize) -> (Position, Tensors) {
        let position = Position { step, loss_sum: 0.1 + step as f64 / 3.0, ..Position::default() };
        let tensor = Tensor::new(&[step as f32], &Device::Cpu).unwrap();
        (position, [("w".to_owned(), tensor)].into())
    }

    #[test]
    fn the_last_state_is_read_and_two_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let mut states = states(dir.path());
        let silent = |line: &str| panic!("{line}");
        assert!(states.latest(&silent).unwrap().is_none() && states.is_due());
        for step in [3, 20, 100] {
            let (position, tensors) = state(step);
            states.write(&position, &tensors).unwrap();
        }
        let latest = states.latest(&silent).unwrap().unwrap();
        assert_eq!(latest.position, state(100).0);
        assert_eq!(latest.tensors["w"].to_vec1::<f32>().unwrap(), [100.0]);
        assert_eq!(states.files().unwrap().len(), 2);
        states.clear().unwrap();
        assert!(states.latest(&silent).unwrap().is_none());
    }

    #[test]
    fn a_state_cut_off_is_named_and_the_one_before_is_used() {
        let dir = tempfile::tempdir().unwrap();
        let mut states = states(dir.path());
        for step in [1, 2] {
            let (position, tensors) = state(step);
            states.write(&position, &tensors).unwrap();
        }
        let last = states.files().unwrap().pop().unwrap();
        let bytes = fs::read(&last).unwrap();
        fs::write(&last, &bytes[..bytes.len() - 1]).unwrap();
        let said = std::cell::RefCell::new(Vec::new());
        let latest = states.latest(&|line| said.borrow_mut().push(line.to_owned())).unwrap();
        assert_eq!(latest.unwrap().position.step, 1);
        let said = said.into_inner();
        assert!(said.len() == 1 && said[0].contains("step-000000002.safetensors"), "{said:?}");
    }

    #[test]
    fn a_state_of_other_inputs_is_told_and_never_gone_on_from() {
        let dir = tempfile::tempdir().unwrap();
        let mut before = states(dir.path());
        let (position, tensors) = state(7);
        before.write(&position, &tensors).unwrap();
        let now = cell("11");
        let states = States::open(dir.path(), &now, Duration::ZERO).unwrap().unwrap();
        assert!(states.latest(&|line| panic!("{line}")).unwrap().is_none());
        assert_eq!(of_others(dir.path(), &now).unwrap(), [cell("00")]);
        assert_eq!(of_others(dir.path(), &cell("00")).unwrap(), []);
        // Nor where it was put among the cell's own.
        fs::copy(before.last_file().unwrap(), states.folder().join("step-000000007.safetensors"))
            .unwrap();
        let said = std::cell::RefCell::new(String::new());
        assert!(states.latest(&|line| said.borrow_mut().push_str(line)).unwrap().is_none());
        assert!(said.borrow().contains("other inputs than"), "{}", said.borrow());
    }

    #[test]
    fn only_one_holds_a_cell() {
        let dir = tempfile::tempdir().unwrap();
        let first = states(dir.path());
        let again = || States::open(dir.path(), &cell("00"), Duration::ZERO).unwrap();
        assert!(again().is_none());
        drop(first);
        assert!(again().is_some());
    }
}
