//! Resizing a window of an image, and the same window of its labels.

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::RgbImage;

use crate::LabelMap;

/// A window of a resized image, in the resized image's pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    /// Size of the whole resized image, columns and rows.
    pub(crate) full: [usize; 2],
    /// First column and row.
    pub(crate) from: [usize; 2],
    /// Columns and rows.
    pub(crate) size: [usize; 2],
}

/// The image at `width × height`, bilinearly: each pixel is an average over the source pixels
/// around it, over as many of them as it covers where the image shrinks (a triangle filter, as
/// Pillow's `BILINEAR`).
///
/// An empty image, or an empty size, gives an empty image.
pub fn resized(image: &RgbImage, width: usize, height: usize) -> RgbImage {
    let size = [width, height];
    window_of_image(image, Window { full: size, from: [0, 0], size })
}

/// The window of the resized image. Only the part of the source that it covers is looked at.
pub(crate) fn window_of_image(image: &RgbImage, window: Window) -> RgbImage {
    let [width, height] = window.size.map(|pixels| pixels as u32);
    let source = [image.width() as usize, image.height() as usize];
    let mut pixels = vec![0; window.size[0] * window.size[1] * 3];
    if pixels.is_empty() || source.contains(&0) {
        return RgbImage::new(width, height);
    }
    if window.full == source {
        copy_window(image.as_raw(), source[0], window, 3, &mut pixels);
    } else {
        let factor: [f64; 2] =
            std::array::from_fn(|axis| source[axis] as f64 / window.full[axis] as f64);
        let [left, top] = std::array::from_fn(|axis| window.from[axis] as f64 * factor[axis]);
        let [wide, high] = std::array::from_fn(|axis| window.size[axis] as f64 * factor[axis]);
        let options = ResizeOptions::new()
            .resize_alg(ResizeAlg::Convolution(FilterType::Bilinear))
            .crop(left, top, wide.min(source[0] as f64 - left), high.min(source[1] as f64 - top));
        let (w, h) = (image.width(), image.height());
        let from = ImageRef::new(w, h, image.as_raw(), PixelType::U8x3);
        let to = Image::from_slice_u8(width, height, &mut pixels, PixelType::U8x3);
        let done = match (from, to) {
            (Ok(from), Ok(mut to)) => Resizer::new().resize(&from, &mut to, &options).is_ok(),
            _ => false,
        };
        assert!(done, "the buffers have the sizes they are said to have");
    }
    RgbImage::from_raw(width, height, pixels).expect("three bytes a pixel")
}

/// The window of the resized labels: of each pixel's middle the nearest source pixel.
pub(crate) fn window_of_labels(labels: &LabelMap, window: Window) -> LabelMap {
    let [width, height] = window.size;
    let mut data = vec![0; width * height];
    if window.full == [labels.width, labels.height] {
        copy_window(&labels.data, labels.width, window, 1, &mut data);
    } else {
        let source = [labels.width, labels.height];
        let nearest = |axis: usize, at: usize| {
            // (from + at + ½) · source / full, rounded down, in whole numbers.
            let middle = 2 * (window.from[axis] + at) + 1;
            (middle * source[axis] / (2 * window.full[axis])).min(source[axis] - 1)
        };
        let columns: Vec<usize> = (0..width).map(|x| nearest(0, x)).collect();
        for (y, row) in data.chunks_exact_mut(width.max(1)).enumerate() {
            let source = &labels.data[nearest(1, y) * labels.width..][..labels.width];
            for (label, &column) in row.iter_mut().zip(&columns) {
                *label = source[column];
            }
        }
    }
    LabelMap { width, height, data }
}

/// Copies the rows of a window out of an image that is not resized.
fn copy_window(from: &[u8], width: usize, window: Window, channels: usize, to: &mut [u8]) {
    let [columns, _] = window.size;
    for (y, row) in to.chunks_exact_mut((columns * channels).max(1)).enumerate() {
        let start = ((window.from[1] + y) * width + window.from[0]) * channels;
        row.copy_from_slice(&from[start..start + columns * channels]);
    }
}
