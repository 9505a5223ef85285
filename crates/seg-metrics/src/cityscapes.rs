//! Cityscapes' official scores, from files as the dataset holds them.
//!
//! Class IoU, class iIoU, category IoU and category iIoU as `evalPixelLevelSemanticLabeling.py` of
//! the dataset's scripts computes them (release 2.3.0; Cordts et al., *The Cityscapes dataset for
//! semantic urban scene understanding*, CVPR 2016, section 4): labels and predictions are
//! *labelIds*, instances *instanceIds*.
//!
//! - Pixels whose label is ignored are not counted: [`LABELS`] without a train id, and the licence
//!   plate, -1, which a byte holds as 255.
//! - An ignored id predicted on a counted pixel is a miss of the label and nobody's false alarm.
//! - A class or category neither labelled nor predicted on counted pixels has no score, and means
//!   leave it out.
//! - iIoU weighs what is found and missed of each instance with the class's mean size over the
//!   instance's own; false alarms are not weighted. Groups, whose instance id is the bare label id,
//!   are no instances. Only classes with instances have an iIoU, and only categories all of whose
//!   labels have instances, the ignored caravan and trailer among them: found of an instance of a
//!   vehicle is then any pixel predicted as any vehicle, those two included.
//!
//! ```
//! use seg_metrics::cityscapes::Counts;
//!
//! let (road, car, group) = (7, 26, 26);
//! let labels = [road, road, car, car, car];
//! let instances = [7, 7, 26_001, 26_001, group];
//! let mut counts = Counts::new();
//! counts.add(&labels, &instances, &[road, car, car, road, car])?;
//! let scores = counts.scores();
//! assert_eq!(scores.class("car").unwrap().iou, Some(2.0 / 4.0));
//! // The instance is found by half; its two pixels weigh as much as a car's on average.
//! let weight = 12794.0202738185 / 2.0;
//! assert_eq!(scores.class("car").unwrap().iiou, Some(weight / (weight + 1.0 + weight)));
//! # Ok::<(), seg_metrics::Error>(())
//! ```

mod counts;
mod labels;
mod scores;

pub use counts::{Counts, Instance, look_like_train_ids};
pub use labels::{CATEGORIES, LABELS, Label};
pub use scores::{Score, Scores};
