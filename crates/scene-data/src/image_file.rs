//! Reading photographs.

use std::path::Path;

use image::{ImageReader, RgbImage};

use crate::{Error, MAX_PIXELS};

/// Reads a JPEG or PNG photograph as RGB8: gray, CMYK and 16-bit files are converted.
///
/// The format is told by the content, not by the file name's ending. EXIF orientation is left
/// alone, since label maps are aligned with the pixels as stored.
///
/// # Errors
///
/// A file that cannot be read or decoded, or is larger than [`MAX_PIXELS`].
pub fn read_image(file: &Path) -> Result<RgbImage, Error> {
    let reader = || -> Result<_, Error> {
        let reader = ImageReader::open(file).map_err(Error::io(file))?;
        reader.with_guessed_format().map_err(Error::io(file))
    };
    let image_error = |source| Error::Image { file: file.to_path_buf(), source };
    let (width, height) = reader()?.into_dimensions().map_err(image_error)?;
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(Error::TooLarge { file: file.to_path_buf(), width, height });
    }
    Ok(reader()?.decode().map_err(image_error)?.into_rgb8())
}
