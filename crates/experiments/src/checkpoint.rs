//! What a network has learnt, in memory and as a file.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use candle_core::{Device, Tensor, Var};

use crate::parameters::Parameters;
use crate::parser::Parser;

/// Key of the file's metadata that names the cell.
const CELL: &str = "cell_hash";

/// A copy of every trained parameter and running statistic, by name; not of a frozen backbone.
pub struct Snapshot {
    values: BTreeMap<String, Tensor>,
    statistics: BTreeMap<String, Tensor>,
}

impl Snapshot {
    /// Copies what the network holds now.
    ///
    /// # Errors
    ///
    /// None that a user can cause.
    pub fn take(parser: &Parser, parameters: &Parameters) -> anyhow::Result<Self> {
        let copy = |(name, var): (String, Var)| Ok((name, var.as_tensor().copy()?));
        let values = parameters.trainable().into_iter().map(copy);
        let values = values.collect::<candle_core::Result<_>>()?;
        let statistics = parser.running_statistics();
        Ok(Self { values, statistics })
    }

    /// Puts the copy into a network of the same kind.
    ///
    /// # Errors
    ///
    /// A network of another kind: every name and shape that differs is listed.
    pub fn restore(&self, parser: &Parser, parameters: &Parameters) -> anyhow::Result<()> {
        let vars = parameters.trainable();
        let shapes = |tensors: &BTreeMap<String, Tensor>| -> BTreeMap<String, Vec<usize>> {
            tensors.iter().map(|(name, t)| (name.clone(), t.dims().to_vec())).collect()
        };
        let mut wanted: BTreeMap<String, Vec<usize>> =
            vars.iter().map(|(name, var)| (name.clone(), var.dims().to_vec())).collect();
        wanted.extend(shapes(&parser.running_statistics()));
        let mut found = shapes(&self.values);
        found.extend(shapes(&self.statistics));
        let mut differences = Vec::new();
        for (name, shape) in &wanted {
            match found.get(name) {
                None => differences.push(format!("{name} {shape:?} is missing")),
                Some(other) if other != shape => {
                    differences.push(format!("{name} is {other:?}, the network has {shape:?}"));
                }
                Some(_) => {}
            }
        }
        let left = found.keys().filter(|name| !wanted.contains_key(*name));
        differences.extend(left.map(|name| format!("{name} is not in the network")));
        ensure!(
            differences.is_empty(),
            "a checkpoint of another network:\n  {}",
            differences.join("\n  ")
        );
        for (name, value) in &self.values {
            vars[name].set(value)?;
        }
        parser.load_running_statistics(&self.statistics)
    }

    /// Writes the copy as safetensors: whole, or not at all.
    ///
    /// # Errors
    ///
    /// If the folder cannot be written.
    pub fn write(&self, file: &Path, cell_hash: &str) -> anyhow::Result<()> {
        let context = || format!("writing the checkpoint {}", file.display());
        let folder = file.parent().with_context(context)?;
        std::fs::create_dir_all(folder).with_context(context)?;
        let tensors: BTreeMap<&String, &Tensor> =
            self.values.iter().chain(&self.statistics).collect();
        let metadata = HashMap::from([(CELL.to_owned(), cell_hash.to_owned())]);
        let bytes = safetensors::serialize(tensors, Some(metadata)).with_context(context)?;
        let part = file.with_extension("safetensors.part");
        let mut output = std::fs::File::create(&part).with_context(context)?;
        output.write_all(&bytes).with_context(context)?;
        output.sync_all().with_context(context)?;
        std::fs::rename(&part, file).with_context(context)
    }

    /// Reads a file of [`Self::write`], made for the cell of this hash.
    ///
    /// # Errors
    ///
    /// A file that is missing, damaged or another cell's.
    pub fn read(file: &Path, cell_hash: &str) -> anyhow::Result<Self> {
        let context = || format!("the checkpoint {}", file.display());
        let bytes = std::fs::read(file).with_context(context)?;
        let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).with_context(context)?;
        let cell = header.metadata().as_ref().and_then(|metadata| metadata.get(CELL));
        match cell {
            Some(cell) if cell == cell_hash => {}
            Some(cell) => bail!("{}: of cell {cell}, not of {cell_hash}", context()),
            None => bail!("{}: not a checkpoint of this program", context()),
        }
        let tensors =
            candle_core::safetensors::load_buffer(&bytes, &Device::Cpu).with_context(context)?;
        let is_statistic =
            |name: &str| name.ends_with("running_mean") || name.ends_with("running_var");
        let (statistics, values) = tensors.into_iter().partition(|(name, _)| is_statistic(name));
        Ok(Self { values, statistics })
    }
}

/// Where the checkpoint of a cell is, in a sweep's output folder.
pub fn file(out_dir: &Path, stem: &str) -> PathBuf {
    out_dir.join("checkpoints").join(format!("{stem}.safetensors"))
}
