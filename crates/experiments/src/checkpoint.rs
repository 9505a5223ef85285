//! What a network has learnt, in memory and as a file.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use dense_rnn::outdated_parameter;
use run_record::Record;

use crate::parameters::{Parameters, is_statistic};
use crate::parser::Parser;
use crate::states;
use crate::tensor_file::{self, Notes, Tensors};

/// Key of the file's notes that names the cell.
const CELL: &str = "cell_hash";

/// A copy of every trained parameter and running statistic, by name; not of a frozen backbone.
#[derive(Clone)]
pub struct Snapshot(pub(crate) Tensors);

impl Snapshot {
    /// Copies what the network holds now.
    ///
    /// # Errors
    ///
    /// None that a user can cause.
    pub fn take(parser: &Parser, parameters: &Parameters) -> anyhow::Result<Self> {
        let mut tensors = parser.running_statistics();
        for (name, var) in parameters.trainable() {
            tensors.insert(name, var.as_tensor().copy()?);
        }
        Ok(Self(tensors))
    }

    /// Puts the copy into a network of the same kind.
    ///
    /// # Errors
    ///
    /// A network of another kind: every name and shape that differs is listed. A copy made by a
    /// version in which a parameter meant something else.
    pub fn restore(&self, parser: &Parser, parameters: &Parameters) -> anyhow::Result<()> {
        for name in self.0.keys() {
            if let Some(reason) = outdated_parameter(name) {
                bail!("the checkpoint holds {name}, {reason}");
            }
        }
        let vars = parameters.trainable();
        let mut wanted: Vec<(String, Vec<usize>)> =
            vars.iter().map(|(name, var)| (name.clone(), var.dims().to_vec())).collect();
        let statistics = parser.running_statistics();
        wanted.extend(statistics.into_iter().map(|(name, t)| (name, t.dims().to_vec())));
        let mut differences = Vec::new();
        for (name, shape) in &wanted {
            match self.0.get(name).map(|tensor| tensor.dims()) {
                None => differences.push(format!("{name} {shape:?} is missing")),
                Some(other) if other != shape => {
                    differences.push(format!("{name} is {other:?}, the network has {shape:?}"));
                }
                Some(_) => {}
            }
        }
        let left = self.0.keys().filter(|name| !wanted.iter().any(|(other, _)| other == *name));
        differences.extend(left.map(|name| format!("{name} is not in the network")));
        ensure!(
            differences.is_empty(),
            "a checkpoint of another network:\n  {}",
            differences.join("\n  ")
        );
        for (name, var) in &vars {
            var.set(&self.0[name].to_device(var.device())?)?;
        }
        let is_statistic = |(name, _): &(&String, _)| is_statistic(name);
        let statistics = self.0.iter().filter(is_statistic).map(|(n, t)| (n.clone(), t.clone()));
        parser.load_running_statistics(&statistics.collect())
    }

    /// Writes the copy as safetensors: whole, or not at all.
    ///
    /// # Errors
    ///
    /// If the folder cannot be written.
    pub fn write(&self, file: &Path, cell_hash: &str) -> anyhow::Result<()> {
        let folder = file.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        tensor_file::write(file, &self.0, &of_cell(cell_hash))
    }

    /// The bytes of the file that [`write`](Self::write) writes.
    ///
    /// # Errors
    ///
    /// None that a user can cause.
    pub fn bytes(&self, cell_hash: &str) -> anyhow::Result<Vec<u8>> {
        tensor_file::bytes(&self.0, &of_cell(cell_hash))
    }

    /// Reads a file of [`Self::write`], made for the record's cell.
    ///
    /// # Errors
    ///
    /// A file that is missing, damaged or another cell's.
    pub fn read(file: &Path, record: &Record) -> anyhow::Result<Self> {
        let (tensors, notes) = tensor_file::read(file).context("reading the checkpoint")?;
        let hashes = [Some(&record.cell_hash), record.formerly.as_ref()];
        ensure!(
            hashes.into_iter().flatten().any(|hash| notes == of_cell(hash)),
            "the checkpoint {}: of cell {}, not of {}",
            file.display(),
            notes.get(CELL).map_or("unknown", String::as_str),
            record.cell_hash
        );
        Ok(Self(tensors))
    }

    /// Reads a file of [`Self::write`], of whatever cell.
    ///
    /// # Errors
    ///
    /// A file that is missing, damaged or no checkpoint.
    pub fn read_any(file: &Path) -> anyhow::Result<Self> {
        let (tensors, notes) = tensor_file::read(file).context("reading the checkpoint")?;
        ensure!(
            notes.contains_key(CELL) && !notes.contains_key(states::POSITION),
            "{}: no checkpoint but something else that this program keeps; those are in the folder \
             checkpoints of an output folder",
            file.display()
        );
        Ok(Self(tensors))
    }
}

fn of_cell(hash: &str) -> Notes {
    Notes::from([(CELL.to_owned(), hash.to_owned())])
}

/// Where the checkpoint of a cell is, in a sweep's output folder.
pub fn file(out_dir: &Path, stem: &str) -> PathBuf {
    out_dir.join("checkpoints").join(format!("{stem}.safetensors"))
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use serde_json::json;

    use super::*;
    use crate::config::ModelConfig;

    /// Both states have the same number of channels, so the old coupling has the new one's shape.
    #[test]
    fn a_checkpoint_whose_coupling_goes_the_other_way_is_refused_in_one_line() {
        let model: ModelConfig = serde_json::from_value(json!({
            "context": {
                "cell": { "kind": "scan", "graph": "dense", "aggregation": "mean" },
                "recurrent_weight": "both",
                "hidden_channels": 8,
            },
        }))
        .unwrap();
        let (parser, parameters) = Parser::build(&model, 3, 1, None, &Device::Cpu).unwrap();
        let mut snapshot = Snapshot::take(&parser, &parameters).unwrap();
        snapshot.restore(&parser, &parameters).unwrap();
        let (new, old) = ("context.recurrent.long_from_short", "context.recurrent.coupling");
        let coupling = snapshot.0.remove(new).unwrap();
        assert_eq!(coupling.dims(), [4, 4, 4]);
        snapshot.0.insert(old.to_owned(), coupling);
        let error = format!("{:#}", snapshot.restore(&parser, &parameters).unwrap_err());
        assert!(error.starts_with(&format!("the checkpoint holds {old}, of an earlier version")));
        assert!(error.ends_with("train it anew") && !error.contains('\n'), "{error}");
    }
}
