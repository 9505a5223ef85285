//! From a sample to what a network takes: variation for training, views for testing.
//!
//! Images are resampled bilinearly, labels by the nearest pixel, never otherwise.

mod augment;
mod color;
mod planes;
mod resample;

pub use augment::{AugmentConfig, Example, sample_rng};
pub use color::JitterConfig;
pub use planes::{IMAGENET_MEAN, IMAGENET_STD, View, flip_horizontal, normalised_planes};
pub use resample::resized;
