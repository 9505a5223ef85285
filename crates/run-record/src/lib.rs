//! Sweeps, cells and records: the types that separate processes share.
//!
//! A [`Sweep`] is a TOML file: a base configuration, the arms of an ablation as overrides of it,
//! and seeds. Each arm with each seed is a [`Cell`]; running a cell makes one [`Record`], a JSON
//! line in a file of its own that is written once, whole, and never edited. Tables and reports are
//! derived from records.
//!
//! ```
//! use run_record::Sweep;
//!
//! let text = r#"
//!     name = "depth"
//!     seeds = [0, 1]
//!     config.training.epochs = 12
//!     [[arm]]
//!     name = "shallow"
//!     [[arm]]
//!     name = "deep"
//!     config.model.depth = 8
//! "#;
//! let mut sweep = Sweep::parse(text, "depth.toml")?;
//! sweep.keep_arms(&["deep"])?;
//! sweep.set("training.epochs=3")?;
//! let cells = sweep.cells();
//! assert_eq!(cells.len(), 2);
//! assert_eq!(cells[0].config["model"]["depth"], 8);
//! assert_eq!(cells[0].config["training"]["epochs"], 3);
//! # Ok::<(), run_record::Error>(())
//! ```
//!
//! Not here: what a configuration means. It is a plain table until `experiments` reads it, so that
//! a process that only lists or compares cells needs no tensors.

mod cell;
mod check;
mod class_table;
mod device;
mod error;
mod inputs;
mod names;
mod record;
mod store;
mod sweep;
mod tables;

pub use cell::Cell;
pub use class_table::{ClassFacts, ClassTable, LabelForm, Normalisation, name_differences};
pub use device::DeviceChoice;
pub use error::{Error, Result};
pub use inputs::{FINGERPRINTS, INPUTS, input_differences};
pub use names::{nearest, with_nearest};
pub use record::{
    DatasetFacts, DistanceBin, EpochPoint, ImageCounts, Metrics, Provenance, RECORD_VERSION,
    Record, Timing,
};
pub use sweep::{Arm, Expected, FILE_BYTES, Sweep};
pub use tables::{from_toml, merge, remove_path, set_path};
