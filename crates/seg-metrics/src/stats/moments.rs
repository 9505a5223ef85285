//! How differences vary from resample to resample.

use super::difference::Spread;
use super::resample::{Differences, Lanes};

/// Sums of deviations from the difference over all images, and of their squares.
pub(super) struct Moments {
    seeds: usize,
    /// Of every item: resamples in which there is a score.
    counted: Vec<u64>,
    /// Of every item: a sum and a sum of squares for each seed and for the mean over seeds.
    sums: Vec<[f64; 2]>,
}

impl Moments {
    /// Of no resample.
    pub(super) fn new(items: usize, seeds: usize) -> Self {
        let sums = vec![[0.0; 2]; items * (seeds + 1)];
        Self { seeds, counted: vec![0; items], sums }
    }

    /// Adds the first `lanes` resamples.
    pub(super) fn add(&mut self, differences: &[Lanes], lanes: usize, all_images: &Differences) {
        let seeds = self.seeds;
        for (item, differences) in differences.chunks_exact(seeds).enumerate() {
            let center = all_images.of(item);
            let sums = &mut self.sums[item * (seeds + 1)..][..seeds + 1];
            // All seeds have numbers or none has.
            for lane in (0..lanes).filter(|lane| !differences[0][*lane].is_nan()) {
                self.counted[item] += 1;
                let mut mean = 0.0;
                for seed in 0..seeds {
                    let deviation = differences[seed][lane] - center[seed];
                    mean += deviation / seeds as f64;
                    sums[seed][0] += deviation;
                    sums[seed][1] += deviation * deviation;
                }
                sums[seeds][0] += mean;
                sums[seeds][1] += mean * mean;
            }
        }
    }

    /// Adds other resamples.
    pub(super) fn merge(&mut self, other: &Self) {
        for (count, more) in self.counted.iter_mut().zip(&other.counted) {
            *count += more;
        }
        for (sum, more) in self.sums.iter_mut().flatten().zip(other.sums.iter().flatten()) {
            *sum += more;
        }
    }

    /// How an item varied; `None` if fewer than two resamples had a score.
    pub(super) fn spread(&self, item: usize) -> Option<Spread> {
        let n = self.counted[item] as f64;
        let variance = |[sum, squares]: [f64; 2]| ((squares - sum * sum / n) / (n - 1.0)).max(0.0);
        let sums = &self.sums[item * (self.seeds + 1)..][..self.seeds + 1];
        let of_seeds: f64 = sums[..self.seeds].iter().map(|sums| variance(*sums)).sum();
        let (of_mean, mean_of_seeds) = (variance(sums[self.seeds]), of_seeds / self.seeds as f64);
        (n > 1.0).then_some(Spread { of_mean, mean_of_seeds })
    }
}
