//! The paired bootstrap over images.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use crate::{AbsentClass, Error, Result, in_order};

use super::difference::Spread;
use super::moments::Moments;
use super::table::Table;

/// How images are resampled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bootstrap {
    /// Number of resamples, 100 at least. Default: 10,000, which pins a standard error to 0.7 %.
    pub resamples: u32,
    /// Seed of the draws. The same seed gives the same bits on any number of threads.
    pub seed: u64,
}

impl Default for Bootstrap {
    fn default() -> Self {
        Self { resamples: 10_000, seed: 0 }
    }
}

/// Resamples summed at a time: an image's number is read once and added to all of them, in vectors.
const LANES: usize = 32;

/// Resamples a thread sums before it hands over.
const TASK: u32 = 64;

/// A number of each.
pub(super) type Lanes = [f64; LANES];

/// Differences of the arms: seed by seed of every class, and then of mIoU.
pub(super) struct Differences {
    seeds: usize,
    values: Vec<f64>,
}

impl Differences {
    /// Over all images, each once; NaN for a class that is not labelled.
    pub(super) fn of_all_images(table: &Table, absent: AbsentClass) -> Self {
        let mut scratch = Scratch::new(table);
        scratch.weights.fill([1.0; LANES]);
        scratch.sum(table);
        scratch.subtract(table, absent);
        let values = scratch.differences.iter().map(|lanes| lanes[0]).collect();
        Self { seeds: table.seeds, values }
    }

    /// Those of a class, or, for the number of classes, those of mIoU.
    pub(super) fn of(&self, item: usize) -> &[f64] {
        &self.values[item * self.seeds..][..self.seeds]
    }
}

/// How the differences vary over resamples: of every class, and then of mIoU; `None` of what is
/// hardly ever labelled.
///
/// # Errors
///
/// [`Error::Resamples`] for too few.
pub(super) fn spreads(
    table: &Table,
    absent: AbsentClass,
    all_images: &Differences,
    bootstrap: &Bootstrap,
) -> Result<Vec<Option<Spread>>> {
    if bootstrap.resamples < 100 {
        return Err(Error::Resamples { found: bootstrap.resamples });
    }
    let mut total = Moments::new(table);
    let task = |nth: usize| {
        let (mut scratch, mut moments) = (Scratch::new(table), Moments::new(table));
        let start = nth as u32 * TASK;
        let end = bootstrap.resamples.min(start + TASK);
        for from in (start..end).step_by(LANES) {
            let resamples = from..end.min(from + LANES as u32);
            scratch.draw(bootstrap.seed, resamples.clone());
            scratch.sum(table);
            scratch.subtract(table, absent);
            moments.add(&scratch.differences, resamples.len(), all_images);
        }
        Ok(moments)
    };
    in_order(bootstrap.resamples.div_ceil(TASK) as usize, task, |moments| {
        total.merge(&moments);
        Ok::<_, Error>(())
    })?;
    Ok((0..=table.classes).map(|item| total.spread(item)).collect())
}

/// What a thread needs to sum [`LANES`] resamples.
struct Scratch {
    /// How often each image was drawn.
    weights: Vec<Lanes>,
    /// The table's columns, summed over images.
    sums: Vec<Lanes>,
    /// As [`Differences`]; NaN where a class is not labelled.
    differences: Vec<Lanes>,
}

impl Scratch {
    fn new(table: &Table) -> Self {
        let zeros = |n| vec![[0.0; LANES]; n];
        Self {
            weights: zeros(table.images()),
            sums: zeros(table.columns()),
            differences: zeros((table.classes + 1) * table.seeds),
        }
    }

    /// Draws as many images as there are, with replacement; every resample has its own stream.
    fn draw(&mut self, seed: u64, resamples: std::ops::Range<u32>) {
        self.weights.fill([0.0; LANES]);
        let images = self.weights.len() as u64;
        for (lane, resample) in resamples.enumerate() {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream(resample.into());
            for _ in 0..images {
                // Of 2^32 numbers as evenly as it goes: some images have one number more.
                let image = (u64::from(rng.next_u32()) * images) >> 32;
                self.weights[image as usize][lane] += 1.0;
            }
        }
    }

    fn sum(&mut self, table: &Table) {
        pulp::Arch::new().dispatch(Sum { table, weights: &self.weights, sums: &mut self.sums });
    }

    /// IoU and mIoU of the summed images, first arm minus second.
    fn subtract(&mut self, table: &Table, absent: AbsentClass) {
        let Table { classes, seeds, .. } = *table;
        let (of_classes, of_miou) = self.differences.split_at_mut(classes * seeds);
        let labelled = &self.sums[..classes];
        let mut something = [0.0; LANES];
        for of_class in labelled {
            each(&mut something, |lane, sum| sum + of_class[lane]);
        }
        for seed in 0..seeds {
            let [mut first, mut second] = [2 * seed, 2 * seed + 1]
                .map(|network| Arm::new(&self.sums[table.hits(network)..][..2 * classes], absent));
            for (class, labelled) in labelled.iter().enumerate() {
                let (first, second) = (first.iou(class, labelled), second.iou(class, labelled));
                each(&mut of_classes[class * seeds + seed], |lane, _| {
                    if labelled[lane] > 0.0 { first[lane] - second[lane] } else { f64::NAN }
                });
            }
            each(&mut of_miou[seed], |lane, _| {
                let difference = first.miou(lane) - second.miou(lane);
                if something[lane] > 0.0 { difference } else { f64::NAN }
            });
        }
    }
}

/// Every column summed over images, each as often as it was drawn.
///
/// Whole numbers below 2^53 add without rounding, so neither the order nor the width of the
/// processor's vectors matters.
struct Sum<'a> {
    table: &'a Table,
    weights: &'a [Lanes],
    sums: &'a mut [Lanes],
}

impl pulp::WithSimd for Sum<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        self.sums.fill([0.0; LANES]);
        for (image, weights) in self.weights.iter().enumerate() {
            for &(column, pixels) in self.table.image(image) {
                let sum = &mut self.sums[column as usize];
                for lane in 0..LANES {
                    sum[lane] += pixels * weights[lane];
                }
            }
        }
    }
}

/// One network's mIoU, class by class.
struct Arm<'a> {
    hits: &'a [Lanes],
    predicted: &'a [Lanes],
    /// Sum of the classes' IoU.
    sum: Lanes,
    /// Classes that have a say in the mean.
    classes: Lanes,
    absent: AbsentClass,
}

impl<'a> Arm<'a> {
    fn new(columns: &'a [Lanes], absent: AbsentClass) -> Self {
        let (hits, predicted) = columns.split_at(columns.len() / 2);
        Self { hits, predicted, sum: [0.0; LANES], classes: [0.0; LANES], absent }
    }

    /// IoU of a class, 0 where it is absent; also takes it into the mean.
    fn iou(&mut self, class: usize, labelled: &Lanes) -> Lanes {
        let (hits, predicted) = (&self.hits[class], &self.predicted[class]);
        let counts_absent = match self.absent {
            AbsentClass::Skip => 0.0,
            AbsentClass::Zero => 1.0,
        };
        let mut iou = [0.0; LANES];
        for lane in 0..LANES {
            let union = labelled[lane] + predicted[lane] - hits[lane];
            // Without a branch, so that lanes stay vectors; hits of an absent class are 0.
            iou[lane] = hits[lane] / union.max(1.0);
            self.sum[lane] += iou[lane];
            self.classes[lane] += if union > 0.0 { 1.0 } else { counts_absent };
        }
        iou
    }

    fn miou(&self, lane: usize) -> f64 {
        self.sum[lane] / self.classes[lane]
    }
}

/// Replaces every lane by a function of its index and value.
fn each(lanes: &mut Lanes, of: impl Fn(usize, f64) -> f64) {
    for (lane, value) in lanes.iter_mut().enumerate() {
        *value = of(lane, *value);
    }
}
