//! Scene-parsing datasets as they are on disk, and a synthetic one.
//!
//! A [`SceneDataset`] hands out [`Sample`]s: a photograph as RGB8 and its [`LabelMap`] of `u8`
//! class indices, where [`IGNORE`] (255) marks pixels that no loss and no score counts. Every
//! on-disk encoding is mapped at the door; a value outside it is an error that names the file and
//! the value. [`DatasetConfig`] is how a configuration names a dataset.
//!
//! ```
//! use scene_data::{DatasetConfig, Split};
//! use scene_data::beacons::BeaconsConfig;
//!
//! let config = DatasetConfig::Beacons(BeaconsConfig { train_images: 4, ..Default::default() });
//! let set = config.open(None, Split::Train)?;
//! let sample = set.sample(0)?;
//! assert_eq!(sample.labels.data.len(), 96 * 96);
//! # Ok::<(), scene_data::Error>(())
//! ```
//!
//! Not here: tensors and models (this crate hands out plain slices), scores (see `seg-metrics`).

mod error;
mod sample;

mod config;
mod dataset;

mod ade20k;
pub mod beacons;
mod camvid;
mod cityscapes;
mod pascal_context;

mod own_folder;

mod alignment;
mod class_table;
mod encoding;
mod fingerprint;
mod fingerprint_cache;
mod image_file;
mod jpeg_bits;
mod jpeg_scan;
mod label_files;
mod label_png;
mod label_values;
mod layout;
mod litter;
mod mat_file;
mod on_disk;
mod scan;
mod stamp;

mod transform;

pub mod loader;
mod store;

mod class_weights;
mod closed;
mod convert;
pub mod preview;
mod statistics;
pub mod synth;
mod text;
pub mod verify;
mod writing;

pub use class_weights::ClassWeights;
pub use closed::protect_datasets;
pub use config::{
    CamVidConfig, CamVidForm, ClassOrder, ContextLabels, DatasetConfig, PascalContextConfig,
};
pub use convert::{Converted, convert_pascal_context};
pub use dataset::{SceneDataset, Split};
pub use error::Error;
pub use fingerprint_cache::FingerprintCache;
use image_file::read_file;
pub use image_file::{MAX_FILE_BYTES, read_image, read_upright};
pub use label_files::LabelFiles;
pub use label_png::{MAX_PIXELS, U16Map, read_label_png, read_png_u16};
pub use label_values::{LabelValues, ValueKind};
pub use layout::Layout;
pub use litter::is_litter;
pub use sample::{Class, IGNORE, LabelMap, Sample, UNDEFINED_DISTANCE_PX};
pub use statistics::Statistics;
pub use store::SampleStore;
pub use transform::{
    AugmentConfig, Example, IMAGENET_MEAN, IMAGENET_STD, JitterConfig, View, flip_horizontal,
    normalised_planes, resized, sample_rng,
};
pub use writing::{png_of_classes, png_of_image};
