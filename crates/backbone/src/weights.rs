//! Pretrained weights: reading a file, finding it, checking that it holds the right network.

mod check;
mod find;
mod guess;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use sha2::{Digest, Sha256};

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

/// Reads a `.safetensors` file. Half precisions and `f64` become `f32`; counters
/// (`num_batches_tracked`) are left out.
///
/// # Errors
///
/// [`Error::Unreadable`], and [`Error::Malformed`] for a file that is cut off or otherwise not
/// what its header says (checked before anything is made of it), for other integers than counters,
/// and for values that are not finite.
pub fn load_safetensors(path: &Path) -> Result<Weights> {
    let bytes = read(path)?;
    let malformed = |reason: String| Error::Malformed { path: path.to_owned(), reason };
    // This compares all sizes in the header with each other and with the file's length.
    let file = SafeTensors::deserialize(&bytes).map_err(|error| {
        malformed(format!("{error}; it has {} bytes and may be cut off", bytes.len()))
    })?;
    let mut tensors = BTreeMap::new();
    for (name, view) in file.iter() {
        let last = name.rsplit('.').next().unwrap_or(name);
        if last == "num_batches_tracked" {
            continue;
        }
        let values = floats(&view).ok_or_else(|| {
            malformed(format!("{name} holds {:?}; weights are F32, F16, BF16 or F64", view.dtype()))
        })?;
        if let Some(bad) = values.iter().find(|x| !x.is_finite()) {
            return Err(malformed(format!("{name} holds the value {bad}")));
        }
        if last == "running_var" && values.iter().any(|&x| x < 0.0) {
            return Err(malformed(format!("{name} holds a negative variance")));
        }
        let tensor = Tensor::from_vec(values, view.shape(), &Device::Cpu)?;
        tensors.insert(name.to_owned(), tensor.to_dtype(DType::F32)?);
    }
    Ok(Weights { path: path.to_owned(), tensors, sha256: sha256(&bytes) })
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let unreadable = |reason: String| Error::Unreadable { path: path.to_owned(), reason };
    let failed = |error: std::io::Error| unreadable(format!("cannot read the weights: {error}"));
    let metadata = fs::metadata(path).map_err(failed)?;
    if !metadata.is_file() {
        return Err(unreadable("expected a weights file, found something else".to_owned()));
    }
    if metadata.len() > MAX_BYTES {
        let found = metadata.len();
        return Err(unreadable(format!("has {found} bytes; weights have at most {MAX_BYTES}")));
    }
    let mut bytes = Vec::with_capacity(metadata.len() as usize);
    // The limit holds even if the file grows meanwhile.
    File::open(path).and_then(|f| f.take(MAX_BYTES).read_to_end(&mut bytes)).map_err(failed)?;
    Ok(bytes)
}

/// The values of a tensor of floats; `None` for other types.
fn floats(view: &TensorView) -> Option<Vec<f32>> {
    let bytes = view.data();
    Some(match view.dtype() {
        Dtype::F32 => words(bytes).map(f32::from_le_bytes).collect(),
        Dtype::F64 => words(bytes).map(|word| f64::from_le_bytes(word) as f32).collect(),
        Dtype::BF16 => words(bytes).map(|word| bf16(u16::from_le_bytes(word))).collect(),
        Dtype::F16 => words(bytes).map(|word| f16(u16::from_le_bytes(word))).collect(),
        _ => return None,
    })
}

fn words<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> + '_ {
    bytes.as_chunks::<N>().0.iter().copied()
}

/// A `bfloat16` is the upper half of an `f32`.
fn bf16(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// IEEE 754 half precision: 1 sign bit, 5 of exponent, 10 of fraction.
fn f16(bits: u16) -> f32 {
    let sign = if bits >> 15 == 0 { 1.0 } else { -1.0 };
    let exponent = i32::from(bits >> 10 & 0x1f);
    let fraction = f32::from(bits & 0x3ff);
    sign * match exponent {
        0 => fraction * 2f32.powi(-24),
        31 if fraction == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        _ => (1024.0 + fraction) * 2f32.powi(exponent - 25),
    }
}

fn sha256(bytes: &[u8]) -> String {
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(bytes) {
        write!(hex, "{byte:02x}").expect("a string takes any text");
    }
    hex
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_precisions_are_widened_exactly() {
        // 1, -2, 65504 (the largest), 2⁻¹⁴ (the smallest normal), 2⁻²⁴ (the smallest), -0.
        let bits = [0x3c00, 0xc000, 0x7bff, 0x0400, 0x0001, 0x8000];
        let expected = [1.0, -2.0, 65504.0, 2f32.powi(-14), 2f32.powi(-24), -0.0];
        assert_eq!(bits.map(f16), expected);
        assert!(f16(0x7c00).is_infinite() && f16(0xfe00).is_nan());
        assert_eq!([0x3f80, 0xc000, 0x4049].map(bf16), [1.0, -2.0, 3.140625]);
    }
}
