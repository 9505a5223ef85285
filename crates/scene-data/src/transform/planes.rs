//! Pixels as normalised planes, and mirrored.

use image::RgbImage;

use crate::transform::color::ColorShift;
use crate::{LabelMap, Sample};

/// Mean of ImageNet's photographs per channel, on a scale of 0 to 1.
pub const IMAGENET_MEAN: [f32; 3] = [0.485, 0.456, 0.406];

/// Standard deviation of ImageNet's photographs per channel, on a scale of 0 to 1.
pub const IMAGENET_STD: [f32; 3] = [0.229, 0.224, 0.225];

/// Which way round an image is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// As it is.
    Plain,
    /// Left and right exchanged.
    Mirrored,
}

/// Mirrors image, labels and beacon distances left to right.
pub fn flip_horizontal(sample: &Sample) -> Sample {
    let LabelMap { width, height, .. } = sample.labels;
    let labels = LabelMap { width, height, data: flip_rows(&sample.labels.data, width) };
    Sample {
        id: sample.id.clone(),
        image: image::imageops::flip_horizontal(&sample.image),
        labels,
        beacon_distance_px: sample.beacon_distance_px.as_ref().map(|d| flip_rows(d, width)),
    }
}

/// Turns an image into three planes of `(value / 255 - mean) / std`.
///
/// # Shapes
///
/// - returns: `[3, h, w]`, row-major
pub fn normalised_planes(image: &RgbImage, mean: [f32; 3], std: [f32; 3]) -> Vec<f32> {
    let canvas = Canvas { width: image.width() as usize, height: image.height() as usize };
    let mut planes = vec![0.0; 3 * canvas.width * canvas.height];
    write_planes(image, View::Plain, None, (mean, std), canvas, &mut planes);
    planes
}

/// The size of planes that may be larger than the image in them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Canvas {
    pub(crate) width: usize,
    pub(crate) height: usize,
}

/// Writes an image's normalised planes into the upper left of `planes`, `[3, height, width]` of the
/// canvas; what lies outside the image is left as it is.
pub(crate) fn write_planes(
    image: &RgbImage,
    view: View,
    shift: Option<ColorShift>,
    (mean, std): ([f32; 3], [f32; 3]),
    Canvas { width, height }: Canvas,
    planes: &mut [f32],
) {
    let columns = image.width() as usize;
    if columns == 0 || planes.is_empty() {
        return;
    }
    let (red, rest) = planes.split_at_mut(width * height);
    let (green, blue) = rest.split_at_mut(width * height);
    // A byte has 256 values: each is normalised once.
    let tables: [[f32; 256]; 3] = std::array::from_fn(|channel| {
        std::array::from_fn(|v| (v as f32 / 255.0 - mean[channel]) / std[channel])
    });
    for (y, row) in image.as_raw().chunks_exact(3 * columns).enumerate() {
        let at = y * width..y * width + columns;
        let (red, green, blue) = (&mut red[at.clone()], &mut green[at.clone()], &mut blue[at]);
        let targets = red.iter_mut().zip(green.iter_mut()).zip(blue.iter_mut());
        let targets = targets.zip(row.chunks_exact(3));
        match shift {
            None => {
                for (((r, g), b), rgb) in targets {
                    *r = tables[0][usize::from(rgb[0])];
                    *g = tables[1][usize::from(rgb[1])];
                    *b = tables[2][usize::from(rgb[2])];
                }
            }
            Some(shift) => {
                for (((r, g), b), rgb) in targets {
                    let shifted = shift.apply([rgb[0], rgb[1], rgb[2]]);
                    *r = (shifted[0] / 255.0 - mean[0]) / std[0];
                    *g = (shifted[1] / 255.0 - mean[1]) / std[1];
                    *b = (shifted[2] / 255.0 - mean[2]) / std[2];
                }
            }
        }
        if view == View::Mirrored {
            red.reverse();
            green.reverse();
            blue.reverse();
        }
    }
}

fn flip_rows<T: Copy>(data: &[T], width: usize) -> Vec<T> {
    // An empty map has no rows to mirror.
    data.chunks_exact(width.max(1)).flat_map(|row| row.iter().rev().copied()).collect()
}
