//! Label maps in MATLAB's files, version 5, as PASCAL-Context publishes them.

use std::io::Read;
use std::path::Path;

use flate2::read::ZlibDecoder;
use matfile::{MatFile, NumericData};

use crate::class_table::ClassTable;
use crate::{Error, LabelMap, MAX_PIXELS, read_file};

/// The variable that holds the ids.
const VARIABLE: &str = "LabelMap";

/// The most bytes that the variables of one file may unpack to: eight for each of two million pixels,
/// eight times a PASCAL photograph. Parsed, a byte may become a number of eight.
const MAX_UNPACKED: u64 = 16 << 20;

/// Bytes before the first variable.
const HEADER: usize = 128;

/// The type of a variable.
const MATRIX: u32 = 14;

/// The type of one that is packed by zlib.
const PACKED: u32 = 15;

/// Reads `LabelMap` and maps its ids to classes.
pub(crate) fn read(file: &Path, table: &ClassTable) -> Result<LabelMap, Error> {
    let wrong = |message: String| Error::Mat { file: file.to_path_buf(), message };
    let bytes = unpacked(&read_file(file)?).map_err(wrong)?;
    let content = MatFile::parse(bytes.as_slice()).map_err(|error| wrong(error.to_string()))?;
    let map = content.find_by_name(VARIABLE).ok_or_else(|| {
        let names: Vec<&str> = content.arrays().iter().map(matfile::Array::name).collect();
        wrong(format!("no numeric variable {VARIABLE}; it holds {names:?}"))
    })?;
    let &[height, width] = map.size().as_slice() else {
        return Err(wrong(format!("{VARIABLE} is {:?}, not a matrix", map.size())));
    };
    let ids = map.data();
    let len = len_of(ids);
    if (height as u64).saturating_mul(width as u64) > MAX_PIXELS || height * width != len {
        return Err(wrong(format!("{VARIABLE} is {height}×{width}, but has {len} values")));
    }
    let mut data = Vec::with_capacity(len);
    for y in 0..height {
        for x in 0..width {
            // MATLAB stores columns; a negative or broken number is no id.
            let id = whole_number(ids, x * height + y).unwrap_or(usize::MAX);
            let class = table.class_of(id);
            data.push(class.ok_or_else(|| table.unknown_value(file, id, y * width + x, width))?);
        }
    }
    Ok(LabelMap { width, height, data })
}

/// The same file with its variables unpacked, no more than [`MAX_UNPACKED`] bytes of them, and nothing
/// else: the parser itself would unpack whatever a damaged or hostile file holds, however often it is
/// packed, and print what it does not know.
fn unpacked(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let not_five = "expected a MATLAB file of version 5";
    let Some((header, mut rest)) = bytes.split_at_checked(HEADER) else {
        return Err(format!("{} bytes; {not_five}", bytes.len()));
    };
    if header.starts_with(b"MATLAB 7.3") {
        return Err(format!("a MATLAB 7.3 (HDF5) file; {not_five} (save with -v7 or -v6)"));
    }
    let number: fn([u8; 4]) -> u32 = match &header[126..] {
        b"IM" => u32::from_le_bytes,
        b"MI" => u32::from_be_bytes,
        _ => return Err(format!("not a MATLAB file; {not_five}")),
    };
    let mut out = header.to_vec();
    while let Some((tag, behind)) = rest.split_at_checked(8) {
        let word = |of: &[u8], at: usize| number([of[at], of[at + 1], of[at + 2], of[at + 3]]);
        let Some((element, behind)) = behind.split_at_checked(word(tag, 4) as usize) else {
            return Err("the file ends within a variable (truncated?)".to_owned());
        };
        let start = out.len();
        match word(tag, 0) {
            MATRIX => {
                out.extend_from_slice(tag);
                out.extend_from_slice(element);
            }
            PACKED => {
                let left = (MAX_UNPACKED + 1).saturating_sub(out.len() as u64);
                let unpacked = ZlibDecoder::new(element).take(left).read_to_end(&mut out);
                unpacked.map_err(|error| format!("a variable does not unpack: {error}"))?;
                let unpacked = &out[start..];
                let kept = match unpacked.len() >= 8 && word(unpacked, 0) == MATRIX {
                    true => (8 + word(unpacked, 4) as usize).min(unpacked.len()),
                    false => 0,
                };
                let whole = out.len() as u64 <= MAX_UNPACKED;
                out.truncate(if whole { start + kept } else { out.len() });
            }
            _ => {}
        }
        out.resize(out.len().next_multiple_of(8), 0);
        if out.len() as u64 > MAX_UNPACKED {
            return Err(format!("its variables unpack to over {MAX_UNPACKED} bytes"));
        }
        rest = behind;
    }
    Ok(out)
}

/// The number of values.
fn len_of(data: &NumericData) -> usize {
    match data {
        NumericData::Int8 { real, .. } => real.len(),
        NumericData::UInt8 { real, .. } => real.len(),
        NumericData::Int16 { real, .. } => real.len(),
        NumericData::UInt16 { real, .. } => real.len(),
        NumericData::Int32 { real, .. } => real.len(),
        NumericData::UInt32 { real, .. } => real.len(),
        NumericData::Int64 { real, .. } => real.len(),
        NumericData::UInt64 { real, .. } => real.len(),
        NumericData::Single { real, .. } => real.len(),
        NumericData::Double { real, .. } => real.len(),
    }
}

/// The real part of a value; `None` where it is no whole number of at least 0.
fn whole_number(data: &NumericData, at: usize) -> Option<usize> {
    let float = |value: f64| {
        let is_whole = value >= 0.0 && value <= f64::from(u32::MAX) && value.fract() == 0.0;
        is_whole.then_some(value as usize)
    };
    match data {
        NumericData::Int8 { real, .. } => real[at].try_into().ok(),
        NumericData::UInt8 { real, .. } => Some(real[at].into()),
        NumericData::Int16 { real, .. } => real[at].try_into().ok(),
        NumericData::UInt16 { real, .. } => Some(real[at].into()),
        NumericData::Int32 { real, .. } => real[at].try_into().ok(),
        NumericData::UInt32 { real, .. } => real[at].try_into().ok(),
        NumericData::Int64 { real, .. } => real[at].try_into().ok(),
        NumericData::UInt64 { real, .. } => real[at].try_into().ok(),
        NumericData::Single { real, .. } => float(real[at].into()),
        NumericData::Double { real, .. } => float(real[at]),
    }
}
