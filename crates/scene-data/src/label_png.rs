//! Reading label PNGs as the values that are stored in them.
//!
//! General image libraries turn a palette into colours and stretch 2- and 4-bit gray to 0–255,
//! and the class indices are lost without an error. Here every transformation is off.

use std::io::BufReader;
use std::path::Path;

use png::{BitDepth, ColorType, DecodingError, Transformations};

use crate::{Error, LabelMap};

/// The most pixels an image may claim to have: 64 million, thirty times a Cityscapes image.
pub const MAX_PIXELS: u64 = 64_000_000;

/// A 16-bit value per pixel, such as Cityscapes' instance ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct U16Map {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// `width · height` values, row-major.
    pub data: Vec<u16>,
}

/// Reads a gray or palette PNG of up to 8 bits as the values stored in it, whatever their meaning.
///
/// # Errors
///
/// A file that is missing, damaged, truncated, too large, coloured or of 16 bits.
pub fn read_label_png(file: &Path) -> Result<LabelMap, Error> {
    let raw = read_raw(file)?;
    if raw.depth == BitDepth::Sixteen {
        return Err(Error::LabelFormat {
            file: file.to_path_buf(),
            found: "a 16-bit PNG".to_owned(),
            expected: "class labels have 8 bits or fewer",
            hint: "an instance map (such as Cityscapes' instanceIds) in place of the class labels?",
        });
    }
    let (width, height) = (raw.width, raw.height);
    Ok(LabelMap { width, height, data: unpack(raw) })
}

/// Reads a 16-bit gray PNG; 8-bit gray is widened.
///
/// # Errors
///
/// A file that is missing, damaged, truncated, too large, coloured or of fewer than 8 bits.
pub fn read_png_u16(file: &Path) -> Result<U16Map, Error> {
    let raw = read_raw(file)?;
    let data = match (raw.color, raw.depth) {
        (ColorType::Grayscale, BitDepth::Sixteen) => {
            raw.bytes.chunks_exact(2).map(|two| u16::from_be_bytes([two[0], two[1]])).collect()
        }
        (ColorType::Grayscale, BitDepth::Eight) => raw.bytes.into_iter().map(u16::from).collect(),
        (color, depth) => {
            return Err(Error::LabelFormat {
                file: file.to_path_buf(),
                found: format!("a {}-bit PNG of type {color:?}", depth as u8),
                expected: "16-bit gray is needed",
                hint: "a class or colour map in place of the instance ids?",
            });
        }
    };
    Ok(U16Map { width: raw.width, height: raw.height, data })
}

/// A decoded gray or palette PNG whose samples are still packed.
struct Raw {
    width: usize,
    height: usize,
    color: ColorType,
    depth: BitDepth,
    bytes: Vec<u8>,
    /// Bytes per row: rows start at whole bytes.
    row_bytes: usize,
}

fn read_raw(file: &Path) -> Result<Raw, Error> {
    let png_error = |error: DecodingError| match error {
        DecodingError::IoError(source) if source.kind() != std::io::ErrorKind::UnexpectedEof => {
            Error::Io { file: file.to_path_buf(), source }
        }
        other => Error::Png { file: file.to_path_buf(), message: other.to_string() },
    };
    let input = BufReader::new(whole_files::open(file).map_err(Error::File)?);
    let mut decoder = png::Decoder::new(input);
    decoder.set_transformations(Transformations::IDENTITY);
    // A profile or a text of a few bytes may unpack to gigabytes, and no label depends on them.
    decoder.set_ignore_iccp_chunk(true);
    decoder.set_ignore_text_chunk(true);
    let header = decoder.read_header_info().map_err(png_error)?;
    let (width, height) = (header.width, header.height);
    let (color, depth) = (header.color_type, header.bit_depth);
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(Error::TooLarge { file: file.to_path_buf(), width, height });
    }
    if !matches!(color, ColorType::Grayscale | ColorType::Indexed) {
        return Err(Error::LabelFormat {
            file: file.to_path_buf(),
            found: format!("a colour PNG ({color:?})"),
            expected: "labels are gray or palette PNGs of class indices",
            hint: "the full ADE20K (_seg.png), CamVid's original colour labels, \
                   or Cityscapes' gtFine_color?",
        });
    }
    let mut reader = decoder.read_info().map_err(png_error)?;
    let too_large = || Error::TooLarge { file: file.to_path_buf(), width, height };
    let mut bytes = vec![0; reader.output_buffer_size().ok_or_else(too_large)?];
    let frame = reader.next_frame(&mut bytes).map_err(png_error)?;
    // The rest of the file holds no pixels, but where it is missing the file was cut off.
    reader.finish().map_err(png_error)?;
    Ok(Raw {
        width: width as usize,
        height: height as usize,
        color,
        depth,
        bytes,
        row_bytes: frame.line_size,
    })
}

/// One byte per pixel from 1, 2, 4 or 8 bits, the leftmost pixel in the highest bits.
fn unpack(raw: Raw) -> Vec<u8> {
    let bits = raw.depth as usize;
    if bits == 8 {
        return raw.bytes;
    }
    let mask = (1u8 << bits) - 1;
    let mut data = Vec::with_capacity(raw.width * raw.height);
    for row in raw.bytes.chunks_exact(raw.row_bytes) {
        data.extend((0..raw.width).map(|x| {
            let bit = x * bits;
            (row[bit / 8] >> (8 - bits - bit % 8)) & mask
        }));
    }
    data
}
