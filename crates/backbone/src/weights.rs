//! Pretrained weights: reading a file, finding it, checking that it holds the right network.

mod check;
mod find;
mod foreign;
mod guess;
mod pth;
mod values;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use candle_core::Tensor;
use foreign::foreign;
use safetensors::{Dtype, SafeTensors};
use sha2::{Digest, Sha256};
use values::{Number, is_counter, weight};

pub use check::checked;
pub use find::find_weights;

use crate::error::{Error, Result};

/// Larger files are refused: the largest network read here has 0.6 GB.
const MAX_BYTES: u64 = 4 << 30;

/// The content of a weights file.
#[derive(Debug, Clone)]
pub struct Weights {
    /// Where it came from.
    pub path: PathBuf,
    /// All tensors but the counters of batch norms, as `f32`, by their names in the file.
    pub tensors: BTreeMap<String, Tensor>,
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: String,
}

/// Reads a weights file, `.safetensors` or either form of `.pth`, by what is in it.
///
/// # Errors
///
/// As [`load_safetensors`] and [`load_pth`].
pub fn load_weights(path: &Path) -> Result<Weights> {
    let bytes = read(path)?;
    let names_pickle = path.extension().is_some_and(|e| e == "pth" || e == "pt");
    if names_pickle || pth::is_one(&bytes) {
        from_pth(path, &bytes)
    } else {
        from_safetensors(path, &bytes)
    }
}

/// Reads a `.safetensors` file. Half precisions and `f64` become `f32`; counters
/// (`num_batches_tracked`) are left out.
///
/// # Errors
///
/// [`Error::File`]; [`Error::Foreign`] for a Git LFS pointer or a web page; and
/// [`Error::Malformed`] for a file that is cut off or otherwise not what its header says (checked
/// before anything is made of it), for other integers than counters, and for values that are not
/// finite.
pub fn load_safetensors(path: &Path) -> Result<Weights> {
    from_safetensors(path, &read(path)?)
}

/// Reads a `.pth` file with a state dict as `torch.save` writes it, in its present form, a zip
/// archive, or the earlier one, a stream of pickles. The state dict may be an entry of a dictionary,
/// as in `{"state_dict": …, "epoch": 3}`. Numbers become what they do in [`load_safetensors`].
/// Nothing in the file is executed.
///
/// # Errors
///
/// [`Error::File`], [`Error::Foreign`], and [`Error::Malformed`] for a file that is cut off or
/// foreign, a pickle that asks for anything but tensors, which is named, and what
/// [`load_safetensors`] refuses.
pub fn load_pth(path: &Path) -> Result<Weights> {
    from_pth(path, &read(path)?)
}

fn from_pth(path: &Path, bytes: &[u8]) -> Result<Weights> {
    let malformed =
        |reason: String| Error::Malformed { path: path.to_owned(), format: "PyTorch", reason };
    let tensors = pth::tensors(bytes).map_err(malformed)?;
    Ok(Weights { path: path.to_owned(), tensors, sha256: sha256(bytes) })
}

fn from_safetensors(path: &Path, bytes: &[u8]) -> Result<Weights> {
    let malformed =
        |reason: String| Error::Malformed { path: path.to_owned(), format: "safetensors", reason };
    // This compares all sizes in the header with each other and with the file's length.
    let file = SafeTensors::deserialize(bytes).map_err(|error| {
        malformed(format!("{error}; it has {} bytes and may be cut off", bytes.len()))
    })?;
    let mut tensors = BTreeMap::new();
    for (name, view) in file.iter() {
        if is_counter(name) {
            continue;
        }
        let number = match view.dtype() {
            Dtype::F32 => Number::F32,
            Dtype::F64 => Number::F64,
            Dtype::BF16 => Number::Bf16,
            Dtype::F16 => Number::F16,
            other => {
                let reason = format!("{name} holds {other:?}; weights are F32, F16, BF16 or F64");
                return Err(malformed(reason));
            }
        };
        let values = number.widened(view.data());
        tensors.insert(name.to_owned(), weight(name, values, view.shape()).map_err(malformed)?);
    }
    Ok(Weights { path: path.to_owned(), tensors, sha256: sha256(bytes) })
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let bytes = whole_files::read(path, MAX_BYTES)?;
    match foreign(&bytes) {
        Some((found, advice)) => Err(Error::Foreign { path: path.to_owned(), found, advice }),
        None => Ok(bytes),
    }
}

fn sha256(bytes: &[u8]) -> String {
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(bytes) {
        write!(hex, "{byte:02x}").expect("a string takes any text");
    }
    hex
}
