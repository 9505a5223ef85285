//! One image with its labels, and the classes the labels stand for.

use image::RgbImage;

/// The label of pixels that neither a loss nor a score counts.
pub const IGNORE: u8 = 255;

/// The beacon distance of pixels that have none.
pub const UNDEFINED_DISTANCE_PX: u16 = u16::MAX;

/// A class of scene, as tables and pictures show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Class {
    /// The dataset's own name of the class.
    pub name: String,
    /// Its colour in pictures, RGB.
    pub color: [u8; 3],
}

/// One class index per pixel, row by row; [`IGNORE`] where there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelMap {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// `width · height` class indices, row-major.
    pub data: Vec<u8>,
}

/// A photograph and its ground truth, of one size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// The dataset's name of the image, without folder or ending.
    pub id: String,
    /// The photograph.
    pub image: RgbImage,
    /// Its labels.
    pub labels: LabelMap,
    /// For each pixel (row-major) the distance in pixels, rounded down, to the beacon that tells
    /// its class; [`UNDEFINED_DISTANCE_PX`] on the beacons themselves. Only the synthetic set knows
    /// it.
    pub beacon_distance_px: Option<Vec<u16>>,
}
