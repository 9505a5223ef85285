//! Pictures and label maps as the bytes of files, and files with the folders they need.

use std::io::Cursor;
use std::path::Path;

use image::codecs::jpeg::JpegEncoder;
use image::{ImageFormat, RgbImage};

use crate::{Class, Error, LabelMap};

/// Bits of a label PNG.
#[derive(Clone, Copy)]
pub(crate) enum Depth {
    Eight,
    Sixteen,
}

/// A picture as a PNG's bytes.
///
/// # Errors
///
/// A picture without pixels.
pub fn png_of_image(image: &RgbImage) -> Result<Vec<u8>, Error> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, ImageFormat::Png).map_err(|error| not_encoded(&error))?;
    Ok(bytes.into_inner())
}

/// Class indices as a PNG's bytes: a palette of the classes' colours, so that viewers show classes
/// and programs read indices. Indices beyond the classes, such as [`IGNORE`](crate::IGNORE), are
/// white, as in [previews](crate::preview::colored).
///
/// # Errors
///
/// A map without pixels.
pub fn png_of_classes(labels: &LabelMap, classes: &[Class]) -> Result<Vec<u8>, Error> {
    let white = std::iter::repeat([255; 3]);
    let colors = classes.iter().map(|class| class.color).chain(white).take(256);
    let palette: Vec<u8> = colors.flatten().collect();
    encoded(labels, png::ColorType::Indexed, png::BitDepth::Eight, &labels.data, Some(palette))
}

/// Values as a gray PNG's bytes.
pub(crate) fn png_of_values(labels: &LabelMap, depth: Depth) -> Result<Vec<u8>, Error> {
    let (bits, bytes) = match depth {
        Depth::Eight => (png::BitDepth::Eight, labels.data.clone()),
        Depth::Sixteen => {
            let wide = labels.data.iter().flat_map(|&v| u16::from(v).to_be_bytes());
            (png::BitDepth::Sixteen, wide.collect())
        }
    };
    encoded(labels, png::ColorType::Grayscale, bits, &bytes, None)
}

fn encoded(
    labels: &LabelMap,
    color: png::ColorType,
    bits: png::BitDepth,
    bytes: &[u8],
    palette: Option<Vec<u8>>,
) -> Result<Vec<u8>, Error> {
    let mut encoded = Vec::new();
    let mut encoder = png::Encoder::new(&mut encoded, labels.width as u32, labels.height as u32);
    encoder.set_color(color);
    encoder.set_depth(bits);
    if let Some(palette) = palette {
        encoder.set_palette(palette);
    }
    let written = encoder.write_header().and_then(|mut writer| {
        writer.write_image_data(bytes)?;
        writer.finish()
    });
    written.map_err(|error| not_encoded(&error))?;
    Ok(encoded)
}

fn not_encoded(error: &dyn std::error::Error) -> Error {
    Error::Encode { file: "a picture".into(), message: error.to_string() }
}

pub(crate) fn write_png(file: &Path, labels: &LabelMap, depth: Depth) -> Result<(), Error> {
    write_file(file, &png_of_values(labels, depth)?)
}

/// Writes a PNG or a JPEG, as the ending says.
pub(crate) fn write_image(file: &Path, image: &RgbImage) -> Result<(), Error> {
    if file.extension().is_none_or(|ending| ending != "jpg") {
        return write_file(file, &png_of_image(image)?);
    }
    let mut encoded = Vec::new();
    image
        .write_with_encoder(JpegEncoder::new_with_quality(&mut encoded, 95))
        .map_err(|error| not_encoded(&error))?;
    write_file(file, &encoded)
}

/// Writes a file whole, in a folder that is made if it is not there.
pub(crate) fn write_file(file: &Path, bytes: &[u8]) -> Result<(), Error> {
    file.parent().map_or(Ok(()), make_folder)?;
    Ok(whole_files::write(file, bytes)?)
}

pub(crate) fn make_folder(folder: &Path) -> Result<(), Error> {
    std::fs::create_dir_all(folder).map_err(Error::io(folder))
}
