//! Means over seeds, and whether two arms really differ.

use statrs::distribution::{ContinuousCDF, StudentsT};

use crate::{Error, Result};

/// The mean; `None` of nothing.
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The sample standard deviation (divided by n - 1); `None` of fewer than two values.
pub fn sample_sd(values: &[f64]) -> Option<f64> {
    if values.len() < 2 {
        return None;
    }
    let mean = mean(values)?;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    Some((squares / (values.len() - 1) as f64).sqrt())
}

/// A 95 % confidence interval of the mean difference of two arms, run with the same seeds.
///
/// Pairing by seed takes out what the seed does to both arms alike.
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
        let half_width = t_975(seeds - 1).ok_or(pairs)? * sd / (seeds as f64).sqrt();
        Ok(Self { mean, half_width, seeds })
    }

    /// Whether 0 lies outside the interval.
    pub fn excludes_zero(&self) -> bool {
        self.mean.abs() > self.half_width
    }
}

/// The 97.5 % quantile of Student's t; `None` for no degrees of freedom.
fn t_975(degrees_of_freedom: usize) -> Option<f64> {
    let t = StudentsT::new(0.0, 1.0, degrees_of_freedom as f64).ok()?;
    Some(t.inverse_cdf(0.975))
}
