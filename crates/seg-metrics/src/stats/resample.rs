//! The paired bootstrap over images.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use crate::{Error, Result, in_order};

use super::Sampling;
use super::difference::Spread;
use super::moments::Moments;
use super::table::Table;

/// How often images are resampled.
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
pub(super) const LANES: usize = 32;

/// Resamples a thread sums before it hands over.
const TASK: u32 = 64;

/// A number of each.
pub(super) type Lanes = [f64; LANES];

/// What is computed of summed counts.
pub(super) trait Scoring: Sync {
    /// How many scores; lengths of blocks go by the last.
    fn items(&self) -> usize;

    /// Of every score its differences seed by seed, first arm minus second, from the sums of the
    /// table's columns; NaN for all seeds where there is no score.
    fn subtract(&self, seeds: usize, sums: &[Lanes], differences: &mut [Lanes]);
}

/// Differences of the arms: seed by seed of every score.
pub(super) struct Differences {
    seeds: usize,
    values: Vec<f64>,
}

impl Differences {
    /// Over all images, each once; NaN where there is no score.
    pub(super) fn of_all_images(table: &Table, scoring: &impl Scoring) -> Self {
        let mut scratch = Scratch::new(table, scoring);
        scratch.weights.fill([1.0; LANES]);
        scratch.score(table, scoring);
        let values = scratch.differences.iter().map(|lanes| lanes[0]).collect();
        Self { seeds: table.seeds, values }
    }

    /// What each image adds to the difference of the last score, in the mean over seeds: the
    /// difference over all images less that over all others.
    pub(super) fn of_images(&self, table: &Table, scoring: &impl Scoring) -> Vec<f64> {
        let (mut scratch, last) = (Scratch::new(table, scoring), scoring.items() - 1);
        let mean = |of_seeds: &mut dyn Iterator<Item = f64>| -> f64 {
            of_seeds.sum::<f64>() / self.seeds as f64
        };
        let whole = mean(&mut self.of(last).iter().copied());
        let mut values = Vec::with_capacity(table.images());
        for from in (0..table.images()).step_by(LANES) {
            let images = from..table.images().min(from + LANES);
            scratch.weights.fill([1.0; LANES]);
            for (lane, image) in images.clone().enumerate() {
                scratch.weights[image][lane] = 0.0;
            }
            scratch.score(table, scoring);
            let of_last = &scratch.differences[last * self.seeds..];
            for lane in 0..images.len() {
                let others = mean(&mut of_last.iter().map(|lanes| lanes[lane]));
                // Where there is nothing else to score, there is nothing to tell it from.
                values.push(if others.is_nan() { 0.0 } else { whole - others });
            }
        }
        values
    }

    /// Those of a score.
    pub(super) fn of(&self, item: usize) -> &[f64] {
        &self.values[item * self.seeds..][..self.seeds]
    }
}

/// How the differences of every score vary over resamples; `None` where there hardly ever is one.
///
/// # Errors
///
/// [`Error::Resamples`] for too few.
pub(super) fn spreads(
    table: &Table,
    scoring: &impl Scoring,
    all_images: &Differences,
    sampling: &Sampling,
    bootstrap: &Bootstrap,
) -> Result<Vec<Option<Spread>>> {
    if bootstrap.resamples < 100 {
        return Err(Error::Resamples { found: bootstrap.resamples });
    }
    let (items, seeds) = (scoring.items(), table.seeds);
    let mut total = Moments::new(items, seeds);
    let task = |nth: usize| {
        let (mut scratch, mut moments) = (Scratch::new(table, scoring), Moments::new(items, seeds));
        let start = nth as u32 * TASK;
        let end = bootstrap.resamples.min(start + TASK);
        for from in (start..end).step_by(LANES) {
            let resamples = from..end.min(from + LANES as u32);
            scratch.draw(sampling, bootstrap.seed, resamples.clone());
            scratch.score(table, scoring);
            moments.add(&scratch.differences, resamples.len(), all_images);
        }
        Ok(moments)
    };
    in_order(bootstrap.resamples.div_ceil(TASK) as usize, task, |moments| {
        total.merge(&moments);
        Ok::<_, Error>(())
    })?;
    Ok((0..items).map(|item| total.spread(item)).collect())
}

/// What a thread needs to sum [`LANES`] resamples.
struct Scratch {
    /// How often each image was drawn.
    weights: Vec<Lanes>,
    /// The table's columns, summed over images.
    sums: Vec<Lanes>,
    /// As [`Differences`].
    differences: Vec<Lanes>,
}

impl Scratch {
    fn new(table: &Table, scoring: &impl Scoring) -> Self {
        let zeros = |n| vec![[0.0; LANES]; n];
        Self {
            weights: zeros(table.images()),
            sums: zeros(table.columns),
            differences: zeros(scoring.items() * table.seeds),
        }
    }

    /// Draws images with replacement; every resample has its own stream.
    fn draw(&mut self, sampling: &Sampling, seed: u64, resamples: std::ops::Range<u32>) {
        self.weights.fill([0.0; LANES]);
        let images = self.weights.len();
        for (lane, resample) in resamples.enumerate() {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream(resample.into());
            // Of 2^32 numbers as evenly as it goes: some have one number more.
            let below = |n: usize| ((u64::from(rng.next_u32()) * n as u64) >> 32) as usize;
            sampling.draw(images, below, |image| self.weights[image][lane] += 1.0);
        }
    }

    /// Sums the drawn images and scores the sums.
    fn score(&mut self, table: &Table, scoring: &impl Scoring) {
        pulp::Arch::new().dispatch(Sum { table, weights: &self.weights, sums: &mut self.sums });
        scoring.subtract(table.seeds, &self.sums, &mut self.differences);
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
