//! Scores a parser on a split: matrices, never predictions, are kept.

pub(crate) mod parts;
pub(crate) mod views;

use std::time::Instant;

use anyhow::Context;
use run_record::{DistanceBin, ImageCounts, Metrics};
use scene_data::{IGNORE, Sample};
use seg_metrics::{ConfusionMatrix, Protocol};

use crate::config::EvaluationConfig;
use crate::data::{Examples, Inputs, View, pixels};
use crate::interrupt;
use crate::memory;
use crate::parser::{Parser, Phase};

/// Width of a bin of distances to the beacon, in pixels.
const BIN_PX: u64 = 8;

/// The scores of one split.
pub struct Scores {
    protocol: Protocol,
    total: ConfusionMatrix,
    /// One matrix an image, in the order of the split.
    pub images: Vec<ImageCounts>,
    /// Accuracy by distance; empty where the set knows no distances.
    pub distance: Vec<DistanceBin>,
}

impl Scores {
    /// The protocol's headline mIoU, in percent; `None` where nothing was labelled.
    pub fn miou_percent(&self) -> Option<f64> {
        self.protocol.headline_miou(&self.total).map(|miou| 100.0 * miou)
    }

    /// The matrix of the split.
    pub fn total(&self) -> &ConfusionMatrix {
        &self.total
    }

    /// All scores over the split.
    ///
    /// # Errors
    ///
    /// A split without a labelled pixel: it has no scores.
    pub fn metrics(&self) -> anyhow::Result<Metrics> {
        let percent = |share: Option<f64>| {
            let share = share.context("no pixel is labelled: there is nothing to score")?;
            anyhow::Ok(100.0 * share)
        };
        Ok(Metrics {
            miou_percent: percent(self.protocol.headline_miou(&self.total))?,
            pixel_accuracy_percent: percent(self.total.pixel_accuracy())?,
            mean_class_accuracy_percent: percent(self.total.mean_class_accuracy())?,
            fw_iou_percent: percent(self.total.frequency_weighted_iou())?,
            class_iou_percent: self
                .total
                .class_iou()
                .into_iter()
                .map(|iou| iou.map(|iou| 100.0 * iou))
                .collect(),
        })
    }
}

/// Evaluates `parser` on every image, seen as `config` says, logits resized to the label's own
/// size. Matrices are kept, never predictions.
///
/// # Errors
///
/// An image the parser cannot take, a label outside the classes, or an interrupt.
pub fn evaluate(
    parser: &Parser,
    examples: &Examples,
    protocol: Protocol,
    config: &EvaluationConfig,
) -> anyhow::Result<Scores> {
    evaluate_with(parser, examples, protocol, config, &mut |_| Ok(()))
}

/// An image and what was predicted for it.
pub struct Seen<'a> {
    /// The image.
    pub sample: &'a Sample,
    /// One class index a pixel, row-major at the label's size.
    pub prediction: &'a [u8],
}

/// As [`evaluate`], and hands every image to `seen` with its prediction, in order.
///
/// # Errors
///
/// As there, and those of `seen`.
pub fn evaluate_with(
    parser: &Parser,
    examples: &Examples,
    protocol: Protocol,
    config: &EvaluationConfig,
    seen: &mut dyn FnMut(Seen<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<Scores> {
    let classes = parser.classes();
    let mut total = ConfusionMatrix::new(classes);
    let (mut images, mut distance) = (Vec::new(), Vec::new());
    for index in 0..examples.len() {
        interrupt::check()?;
        let sample = examples.sample(index)?;
        let prediction = predict(parser, examples, index, config)?;
        let mut matrix = ConfusionMatrix::new(classes);
        matrix.add(&sample.labels.data, &prediction).with_context(|| sample.id.clone())?;
        total.merge(&matrix)?;
        let counts = matrix.to_sparse().into_iter().flat_map(|(at, n)| [u64::from(at), n]);
        images.push(ImageCounts { id: sample.id.clone(), counts: counts.collect() });
        count_by_distance(&sample, &prediction, &mut distance);
        seen(Seen { sample: &sample, prediction: &prediction })?;
    }
    Ok(Scores { protocol, total, images, distance })
}

/// The predicted class of every pixel of one image, row-major at the label's own size.
///
/// # Errors
///
/// An image the parser cannot take.
pub fn predict(
    parser: &Parser,
    examples: &Examples,
    index: usize,
    config: &EvaluationConfig,
) -> anyhow::Result<Vec<u8>> {
    let sample = examples.sample(index)?;
    let size = [sample.labels.width, sample.labels.height];
    if parser.device().is_cpu() {
        memory::check(parts::least_bytes(parser, config, size), || {
            format!("{}: to see an image of {}×{} pixels takes", sample.id, size[0], size[1])
        })?;
    }
    if !views::is_plain(config) {
        return views::predict_views(parser, &sample.image, config);
    }
    let logits = parser.logits(&examples.inputs(index)?, Phase::Eval)?;
    Ok(grid_ops::argmax_upsampled(&logits, sample.labels.height, sample.labels.width)?)
}

/// Median seconds from pixels to classes over a few images, backbone included, one at a time.
///
/// # Errors
///
/// An image the parser cannot take.
pub fn seconds_per_image(parser: &Parser, examples: &Examples) -> anyhow::Result<f64> {
    let mut times = Vec::new();
    for index in 0..examples.len().min(7) {
        let pixels = pixels(&*examples.sample(index)?, View::Plain)?;
        let (_, _, h, w) = pixels.dims4()?;
        let start = Instant::now();
        let logits = parser.logits(&Inputs::Pixels(pixels), Phase::Eval)?;
        grid_ops::argmax_upsampled(&logits, h, w)?;
        times.push(start.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}

/// Multiplications with an addition from the pixels of the first image to its logits.
///
/// # Errors
///
/// An image the parser cannot take.
pub fn forward_macs(parser: &Parser, examples: &Examples) -> anyhow::Result<u64> {
    let inputs = Inputs::Pixels(pixels(&*examples.sample(0)?, View::Plain)?);
    let (logits, macs) = grid_ops::counted_macs(|| parser.logits(&inputs, Phase::Eval));
    logits?;
    Ok(macs)
}

fn count_by_distance(sample: &Sample, prediction: &[u8], bins: &mut Vec<DistanceBin>) {
    let Some(distances) = &sample.beacon_distance_px else { return };
    let pixels = distances.iter().zip(&sample.labels.data).zip(prediction);
    for ((&distance, &truth), &predicted) in pixels {
        if truth == IGNORE || distance == u16::MAX {
            continue;
        }
        let at = (u64::from(distance) / BIN_PX) as usize;
        while bins.len() <= at {
            let from_px = bins.len() as u64 * BIN_PX;
            let to_px = from_px + BIN_PX;
            bins.push(DistanceBin { from_px, to_px, pixels: 0, correct: 0 });
        }
        bins[at].pixels += 1;
        bins[at].correct += u64::from(predicted == truth);
    }
}
