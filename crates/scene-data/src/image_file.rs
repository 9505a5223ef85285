//! Reading photographs.

use std::io::{BufReader, Cursor};
use std::path::Path;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage};

use crate::{Error, MAX_PIXELS, jpeg_scan};

/// The most bytes a file may have: ten times an uncompressed Cityscapes image.
pub const MAX_FILE_BYTES: u64 = 64 << 20;

/// A photograph as its file stores it, and what viewers do before they show it.
pub(crate) struct Photograph {
    pub(crate) image: RgbImage,
    /// What its EXIF data say; nothing of most.
    pub(crate) orientation: Orientation,
}

impl Photograph {
    /// Reads a JPEG or PNG.
    pub(crate) fn read(file: &Path) -> Result<Self, Error> {
        let mut bytes = read_file(file)?;
        let stored = bytes.len();
        let is_jpeg = image::guess_format(&bytes).is_ok_and(|format| format == ImageFormat::Jpeg);
        if is_jpeg {
            // Where only the end mark is cut off, the decoder would leave out the last rows.
            bytes.extend([0xff, 0xd9]);
        }
        let image_error = |source| Error::Image { file: file.to_path_buf(), source };
        let reader = ImageReader::new(Cursor::new(&bytes)).with_guessed_format();
        let mut reader = reader.map_err(Error::io(file))?;
        reader.limits(besides_pixels());
        let mut decoder = reader.into_decoder().map_err(image_error)?;
        let (width, height) = decoder.dimensions();
        if u64::from(width) * u64::from(height) > MAX_PIXELS {
            return Err(Error::TooLarge { file: file.to_path_buf(), width, height });
        }
        if is_jpeg {
            let damaged = |message| Error::Damaged { file: file.to_path_buf(), message };
            jpeg_scan::check(&bytes[..stored]).map_err(damaged)?;
        }
        decoder.set_limits(Limits::default()).map_err(image_error)?;
        // Data that cannot be read turn nothing.
        let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
        let image = DynamicImage::from_decoder(decoder).map_err(image_error)?.into_rgb8();
        Ok(Self { image, orientation })
    }

    /// Whether viewers turn or mirror it.
    pub(crate) fn is_turned(&self) -> bool {
        self.orientation != Orientation::NoTransforms
    }

    /// Width and height of its pixels.
    pub(crate) fn size(&self) -> [usize; 2] {
        [self.image.width() as usize, self.image.height() as usize]
    }

    /// Width and height as viewers show it.
    pub(crate) fn upright_size(&self) -> [usize; 2] {
        use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
        let [width, height] = self.size();
        match self.orientation {
            Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH => [height, width],
            _ => [width, height],
        }
    }

    /// As viewers show it.
    pub(crate) fn upright(self) -> RgbImage {
        let mut image = DynamicImage::ImageRgb8(self.image);
        image.apply_orientation(self.orientation);
        image.into_rgb8()
    }
}

/// Reads a JPEG or PNG photograph as RGB8: gray, CMYK and 16-bit files are converted.
///
/// The format is told by the content, not by the file name's ending. EXIF orientation is left
/// alone: the pixels are those of the file. [`read_upright`] turns them.
///
/// # Errors
///
/// A file that cannot be read or decoded, that is damaged or cut off, or is larger than
/// [`MAX_PIXELS`].
pub fn read_image(file: &Path) -> Result<RgbImage, Error> {
    Ok(Photograph::read(file)?.image)
}

/// Reads a photograph as viewers show it: turned and mirrored as its EXIF orientation says.
///
/// # Errors
///
/// As of [`read_image`].
pub fn read_upright(file: &Path) -> Result<RgbImage, Error> {
    Ok(Photograph::read(file)?.upright())
}

/// Columns and rows of a picture, from its head.
pub(crate) fn image_size(file: &Path) -> Result<[usize; 2], Error> {
    let head = BufReader::new(whole_files::open(file)?);
    let mut reader = ImageReader::new(head).with_guessed_format().map_err(Error::io(file))?;
    reader.limits(besides_pixels());
    let size = reader.into_dimensions();
    let (width, height) =
        size.map_err(|source| Error::Image { file: file.to_path_buf(), source })?;
    Ok([width as usize, height as usize])
}

/// Reads a file whole, if it is not absurdly large.
pub(crate) fn read_file(file: &Path) -> Result<Vec<u8>, Error> {
    whole_files::read(file, MAX_FILE_BYTES).map_err(Error::File)
}

/// What a decoder may take besides the pixels: a colour profile of a few bytes may unpack to
/// gigabytes.
fn besides_pixels() -> Limits {
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(16 << 20);
    limits
}
