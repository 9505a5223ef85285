//! What a finished cell leaves behind.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Cell, ClassTable, Normalisation};

/// The version of [`Record`]'s layout. Version 1 is read as well: it has no checksum, and its cells
/// do not hold their inputs. A file of any other version is an error, never a guess.
pub const RECORD_VERSION: u32 = 2;

/// Everything known about one finished cell.
///
/// All but [`provenance`](Self::provenance), [`earlier`](Self::earlier), [`timing`](Self::timing)
/// and [`formerly`](Self::formerly) is a function of the cell and the dataset; [`Record::same_results`]
/// compares that part. Records from before a field was added have its default.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// [`RECORD_VERSION`] when it was written.
    pub version: u32,
    /// What was run.
    pub cell: Cell,
    /// [`Cell::hash`] when it was run.
    pub cell_hash: String,
    /// That hash before the fingerprints of its inputs were added to a cell of version 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub formerly: Option<String>,
    /// What it was run on.
    pub dataset: DatasetFacts,
    /// How the network's input is made from pixels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub normalisation: Option<Normalisation>,
    /// SHA-256 of the pretrained weights' file, if there was one.
    pub weights_sha256: Option<String>,
    /// Name of the protocol behind the headline mIoU.
    pub protocol: String,
    /// Parameters that were trained.
    pub parameters: u64,
    /// All parameters, frozen ones included.
    pub total_parameters: u64,
    /// Multiplications with an addition from the pixels of the first test image to its logits.
    #[serde(default)]
    pub macs: Option<u64>,
    /// SHA-256 of the checkpoint's file.
    #[serde(default)]
    pub checkpoint_sha256: Option<String>,
    /// Scores on the test split.
    pub metrics: Metrics,
    /// The epoch, from 1, whose parameters were scored.
    pub best_epoch: u64,
    /// mIoU on val at that epoch, in percent.
    pub val_miou_percent: f64,
    /// How training went, an epoch a point.
    pub curve: Vec<EpochPoint>,
    /// Accuracy by distance to what decides a pixel's class; empty where that is not known.
    pub distance: Vec<DistanceBin>,
    /// The confusion matrix of every test image.
    pub images: Vec<ImageCounts>,
    /// Which program ran where; the last one, if several took part.
    pub provenance: Provenance,
    /// Those that were stopped before it and from whose state it went on, in order.
    #[serde(default)]
    pub earlier: Vec<Provenance>,
    /// How long it took.
    pub timing: Timing,
}

/// The dataset of a record, as it was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatasetFacts {
    /// Its name.
    pub name: String,
    /// SHA-256 of the images and labels of each split.
    pub fingerprints: BTreeMap<String, String>,
    /// Class names in the order of their indices.
    pub classes: Vec<String>,
    /// The same with the values of label files and colours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class_table: Option<ClassTable>,
    /// Images in each split.
    pub images: BTreeMap<String, u64>,
}

/// Scores over a whole split, in percent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    /// The protocol's headline mIoU.
    pub miou_percent: f64,
    /// Correct among labelled pixels.
    pub pixel_accuracy_percent: f64,
    /// Mean over the classes present of the share found.
    pub mean_class_accuracy_percent: f64,
    /// IoU weighted with how often a class occurs.
    pub fw_iou_percent: f64,
    /// IoU of each class; `None` for one that is neither labelled nor predicted.
    pub class_iou_percent: Vec<Option<f64>>,
}

/// One epoch of training.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EpochPoint {
    /// The epoch, from 1.
    pub epoch: u64,
    /// Mean loss over its steps.
    pub train_loss: f64,
    /// Learning rate at its end.
    pub lr: f64,
    /// mIoU on val after it, in percent, if it was measured.
    pub val_miou_percent: Option<f64>,
}

/// Pixels whose deciding evidence lies between two distances.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DistanceBin {
    /// Smallest distance in pixels, included.
    pub from_px: u64,
    /// Largest distance in pixels, excluded.
    pub to_px: u64,
    /// Labelled pixels at such a distance.
    pub pixels: u64,
    /// Those predicted rightly.
    pub correct: u64,
}

/// The confusion matrix of one image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageCounts {
    /// The image's id in its dataset.
    pub id: String,
    /// Non-zero cells of the matrix, flat: index, count, index, count, …
    pub counts: Vec<u64>,
}

/// Which program ran on which machine; does not change results beyond rounding.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// Commit the program was built from.
    pub revision: String,
    /// Whether files differed from that commit.
    pub dirty: bool,
    /// SHA-256 of `Cargo.lock`.
    pub lock_sha256: String,
    /// The processor's model name.
    pub cpu: String,
    /// The device that the network was on, if that was another than the processor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Worker threads.
    pub threads: u64,
    /// The operating system.
    pub os: String,
    /// The compiler's version.
    pub rustc: String,
}

/// How long a cell took and how much it needed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timing {
    /// When it was finished, in seconds since 1970.
    pub finished_unix_s: u64,
    /// Seconds of training, validation included, in all processes that took part.
    pub training_s: f64,
    /// The same in seconds of all cores together.
    #[serde(default)]
    pub training_cpu_s: f64,
    /// Seconds of scoring the test split.
    pub evaluation_s: f64,
    /// Median seconds from pixels to classes, one image at a time.
    pub seconds_per_image: f64,
    /// Largest resident memory of a process that took part, so far.
    pub peak_memory_mib: f64,
}

impl Record {
    /// Whether two records say the same, machine, program and time aside.
    pub fn same_results(&self, other: &Self) -> bool {
        // Named one by one, so that a new field cannot be forgotten here.
        let Self {
            version,
            cell,
            cell_hash,
            formerly: _,
            dataset,
            normalisation,
            weights_sha256,
            protocol,
            parameters,
            total_parameters,
            macs,
            checkpoint_sha256,
            metrics,
            best_epoch,
            val_miou_percent,
            curve,
            distance,
            images,
            provenance: _,
            earlier: _,
            timing: _,
        } = self;
        *version == other.version
            && *cell == other.cell
            && *cell_hash == other.cell_hash
            && *dataset == other.dataset
            && *normalisation == other.normalisation
            && *weights_sha256 == other.weights_sha256
            && *protocol == other.protocol
            && *parameters == other.parameters
            && *total_parameters == other.total_parameters
            && *macs == other.macs
            && *checkpoint_sha256 == other.checkpoint_sha256
            && *metrics == other.metrics
            && *best_epoch == other.best_epoch
            && *val_miou_percent == other.val_miou_percent
            && *curve == other.curve
            && *distance == other.distance
            && *images == other.images
    }
}
