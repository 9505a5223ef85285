//! Reading photographs.

use std::fs::File;
use std::io::{BufReader, Cursor, Read};
use std::path::Path;

use image::{ImageFormat, ImageReader, RgbImage};

use crate::{Error, MAX_PIXELS};

/// The most bytes a file may have: ten times an uncompressed Cityscapes image.
pub const MAX_FILE_BYTES: u64 = 64 << 20;

/// Reads a JPEG or PNG photograph as RGB8: gray, CMYK and 16-bit files are converted.
///
/// The format is told by the content, not by the file name's ending. EXIF orientation is left
/// alone, since label maps are aligned with the pixels as stored.
///
/// # Errors
///
/// A file that cannot be read or decoded, that is cut off, or is larger than [`MAX_PIXELS`].
pub fn read_image(file: &Path) -> Result<RgbImage, Error> {
    let bytes = read_file(file)?;
    let image_error = |source| Error::Image { file: file.to_path_buf(), source };
    let guessed =
        || ImageReader::new(Cursor::new(&bytes)).with_guessed_format().map_err(Error::io(file));
    let (width, height) = guessed()?.into_dimensions().map_err(image_error)?;
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(Error::TooLarge { file: file.to_path_buf(), width, height });
    }
    let reader = guessed()?;
    if reader.format() == Some(ImageFormat::Jpeg) && !jpeg_is_whole(&bytes) {
        return Err(Error::Truncated { file: file.to_path_buf(), bytes: bytes.len() });
    }
    Ok(reader.decode().map_err(image_error)?.into_rgb8())
}

/// Columns and rows of a picture, from its head.
pub(crate) fn image_size(file: &Path) -> Result<[usize; 2], Error> {
    let head = BufReader::new(whole_files::open(file)?);
    let reader = ImageReader::new(head).with_guessed_format().map_err(Error::io(file))?;
    let size = reader.into_dimensions();
    let (width, height) =
        size.map_err(|source| Error::Image { file: file.to_path_buf(), source })?;
    Ok([width as usize, height as usize])
}

/// Reads a file whole, if it is not absurdly large.
pub(crate) fn read_file(file: &Path) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let input = File::open(file).map_err(Error::io(file))?;
    input.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(Error::io(file))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(Error::FileTooLarge { file: file.to_path_buf() });
    }
    Ok(bytes)
}

/// Whether the last scan of a JPEG ends.
///
/// Decoders fill the rest of a file that was cut off with gray and say nothing. Within a scan the
/// two marks cannot occur, and a thumbnail's lie before the photograph's.
fn jpeg_is_whole(bytes: &[u8]) -> bool {
    let last = |mark: [u8; 2]| bytes.windows(2).rposition(|two| two == mark);
    const START_OF_SCAN: [u8; 2] = [0xff, 0xda];
    const END_OF_IMAGE: [u8; 2] = [0xff, 0xd9];
    // A file without a scan is the decoder's to refuse.
    last(START_OF_SCAN).is_none_or(|scan| last(END_OF_IMAGE).is_some_and(|end| end > scan))
}
