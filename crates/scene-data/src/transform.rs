//! From a sample to what a network takes.

use image::RgbImage;

use crate::{LabelMap, Sample};

/// Mean of ImageNet's photographs per channel, on a scale of 0 to 1.
pub const IMAGENET_MEAN: [f32; 3] = [0.485, 0.456, 0.406];

/// Standard deviation of ImageNet's photographs per channel, on a scale of 0 to 1.
pub const IMAGENET_STD: [f32; 3] = [0.229, 0.224, 0.225];

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
    let mut planes = Vec::with_capacity(image.as_raw().len());
    for channel in 0..3 {
        // A byte has 256 values: compute each once.
        let table: [f32; 256] =
            std::array::from_fn(|v| (v as f32 / 255.0 - mean[channel]) / std[channel]);
        planes.extend(image.as_raw().chunks_exact(3).map(|rgb| table[usize::from(rgb[channel])]));
    }
    planes
}

fn flip_rows<T: Copy>(data: &[T], width: usize) -> Vec<T> {
    // An empty map has no rows to mirror.
    data.chunks_exact(width.max(1)).flat_map(|row| row.iter().rev().copied()).collect()
}
