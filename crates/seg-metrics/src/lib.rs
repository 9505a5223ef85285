//! Confusion matrices, segmentation metrics and paired statistics.
//!
//! Labels and predictions are slices of class indices, a byte a pixel; [`IGNORE`] among the labels
//! is not counted. Counts are `u64` over a whole split, and every score is computed from the counts
//! in `f64`, summed in class order.
//!
//! [`ConfusionMatrix`] counts and scores; [`Protocol`] says what a dataset counts and how;
//! [`cityscapes`] has that dataset's own four scores, instances among them; [`BoundaryIou`] and
//! [`Trimap`] look at the edges of regions alone, [`Calibration`] at how sure predictions are;
//! [`in_order`] counts images on all cores; [`stats`] says whether two arms of an ablation differ.
//!
//! ```
//! use seg_metrics::{AbsentClass, ConfusionMatrix, IGNORE, Protocol};
//!
//! let mut matrix = ConfusionMatrix::new(3);
//! matrix.add(&[0, 0, 1, 1, IGNORE], &[0, 1, 1, 1, 0])?;
//! assert_eq!(matrix.pixel_accuracy(), Some(0.75));
//! // Class 2 is absent: two official answers to the same matrix.
//! let (zero, skip) = (matrix.miou(AbsentClass::Zero), matrix.miou(AbsentClass::Skip));
//! assert_eq!(zero, Some((1.0 / 2.0 + 2.0 / 3.0 + 0.0) / 3.0));
//! assert_eq!(skip, Some((1.0 / 2.0 + 2.0 / 3.0) / 2.0));
//! assert_eq!(Protocol::Camvid.headline_miou(&matrix), skip);
//! # Ok::<(), seg_metrics::Error>(())
//! ```
//!
//! Not here: tensors, and files of any kind.

mod boundary;
mod calibration;
pub mod cityscapes;
mod confusion;
mod error;
mod image;
mod in_order;
mod pairs;
mod protocol;
mod scores;
pub mod stats;
mod trimap;

pub use boundary::{BoundaryCounts, BoundaryIou};
pub use calibration::{Bin, Calibration, ClassCalibration};
pub use confusion::{ConfusionMatrix, IGNORE};
pub use error::{Error, Result};
pub use in_order::in_order;
pub use protocol::Protocol;
pub use scores::AbsentClass;
pub use trimap::{Trimap, border_distance};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
