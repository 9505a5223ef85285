//! Some tensors of a file, read again and again without the others.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, ensure};
use candle_core::{DType, Device, Tensor};
use safetensors::SafeTensors;

use super::{MAX_BYTES, Notes, of_bytes};

/// A file that was checked whole, and where its tensors lie.
///
/// They are read, not mapped: a mapped file that another program cuts short ends this one by a signal.
pub(crate) struct Parts {
    file: PathBuf,
    /// As it was when it was checked.
    then: State,
    by_name: BTreeMap<String, Part>,
}

/// What tells that a file was changed.
#[derive(PartialEq, Eq)]
struct State {
    bytes: u64,
    modified: Option<SystemTime>,
}

impl State {
    fn of(metadata: &Metadata) -> Self {
        Self { bytes: metadata.len(), modified: metadata.modified().ok() }
    }
}

/// A tensor within a file.
struct Part {
    dtype: DType,
    shape: Vec<usize>,
    start: u64,
    bytes: usize,
}

impl Parts {
    /// Checks a file of [`super::write`] whole.
    ///
    /// # Errors
    ///
    /// As of [`super::read`].
    pub(crate) fn checked(file: &Path) -> anyhow::Result<(Self, Notes)> {
        let context = || file.display().to_string();
        let then = State::of(&whole_files::open(file)?.metadata().with_context(context)?);
        let bytes = whole_files::read(file, MAX_BYTES)?;
        let (_, notes) = of_bytes(&bytes).with_context(context)?;
        let (header, metadata) = SafeTensors::read_metadata(&bytes).with_context(context)?;
        // The header comes after its length.
        let data = (size_of::<u64>() + header) as u64;
        let mut by_name = BTreeMap::new();
        for name in metadata.offset_keys() {
            let info = metadata.info(&name).with_context(context)?;
            let (start, end) = info.data_offsets;
            let dtype = DType::try_from(info.dtype).with_context(context)?;
            let (shape, bytes) = (info.shape.clone(), end - start);
            by_name.insert(name, Part { dtype, shape, start: data + start as u64, bytes });
        }
        Ok((Self { file: file.to_owned(), then, by_name }, notes))
    }

    /// How many tensors there are.
    pub(crate) fn len(&self) -> usize {
        self.by_name.len()
    }

    /// The size of the file.
    pub(crate) fn bytes(&self) -> u64 {
        self.then.bytes
    }

    /// Reads the tensors of these names.
    ///
    /// # Errors
    ///
    /// A name that is not there, and a file that was changed, cut short or removed since it was
    /// checked.
    pub(crate) fn read(&self, names: &[String]) -> anyhow::Result<Vec<Tensor>> {
        let context = || self.file.display().to_string();
        let mut file = whole_files::open(&self.file)?;
        ensure!(
            State::of(&file.metadata().with_context(context)?) == self.then,
            "{}: changed while the program ran: start again, and it is made anew",
            self.file.display()
        );
        let mut tensors = Vec::with_capacity(names.len());
        for name in names {
            let part = self.by_name.get(name);
            let part = part.with_context(|| format!("{}: no {name}", self.file.display()))?;
            let mut bytes = vec![0; part.bytes];
            file.seek(SeekFrom::Start(part.start))
                .and_then(|_| file.read_exact(&mut bytes))
                .with_context(context)?;
            tensors.push(Tensor::from_raw_buffer(&bytes, part.dtype, &part.shape, &Device::Cpu)?);
        }
        Ok(tensors)
    }
}
