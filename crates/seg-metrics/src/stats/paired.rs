//! Student's interval of differences pair by pair, of scores alone.

use crate::{Error, Result};

use super::difference::t_quantile;
use super::{mean, sample_sd};

/// A 95 % confidence interval of the mean difference of two arms, run with the same seeds.
///
/// Pairing by seed takes out what the seed does to both arms alike. The images count as given: an
/// interval that holds for other images as well is [`compare`](super::compare)'s.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PairedInterval {
    /// Mean of the differences, first minus second.
    pub mean: f64,
    /// Half the interval's width: it reaches from `mean - half_width` to `mean + half_width`.
    pub half_width: f64,
    /// Number of pairs.
    pub seeds: usize,
}

impl PairedInterval {
    /// Student's interval of `first[i] - second[i]`, values of the same seed at the same index.
    ///
    /// # Errors
    ///
    /// [`Error::Pairs`] for fewer than two pairs or unequal numbers, [`Error::NotFinite`] for a
    /// value that is NaN or infinite.
    pub fn new(first: &[f64], second: &[f64]) -> Result<Self> {
        let seeds = first.len();
        if seeds != second.len() || seeds < 2 {
            return Err(Error::Pairs { left: seeds, right: second.len() });
        }
        for values in [first, second] {
            if let Some(position) = values.iter().position(|value| !value.is_finite()) {
                return Err(Error::NotFinite { value: values[position], position });
            }
        }
        let differences: Vec<f64> = first.iter().zip(second).map(|(a, b)| a - b).collect();
        let pairs = Error::Pairs { left: seeds, right: seeds };
        let (Some(mean), Some(sd)) = (mean(&differences), sample_sd(&differences)) else {
            return Err(pairs);
        };
        let half_width = t_quantile(0.05, (seeds - 1) as f64) * sd / (seeds as f64).sqrt();
        Ok(Self { mean, half_width, seeds })
    }

    /// Whether 0 lies outside the interval.
    pub fn excludes_zero(&self) -> bool {
        self.mean.abs() > self.half_width
    }
}
