//! A difference and its confidence interval, from the variance of seeds and of images.

use statrs::distribution::{ContinuousCDF, StudentsT};

use super::sampling::Pieces;

/// A difference, first arm minus second, and its confidence interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Difference {
    /// The mean over seeds of the differences over all images.
    pub estimate: f64,
    /// Half the interval's width.
    pub half_width: f64,
    /// The estimate's variance from what seeds do; `None` with one seed.
    pub seed_variance: Option<f64>,
    /// The estimate's variance from what images do for all seeds alike, or, with one seed, from all
    /// that images do.
    pub image_variance: f64,
    /// Degrees of freedom of the sum of both variances, by Satterthwaite.
    pub degrees_of_freedom: f64,
}

/// What an interval says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The whole interval is above 0.
    FirstHigher,
    /// The whole interval is below 0.
    SecondHigher,
    /// The interval holds 0.
    NoDifferenceShown,
}

impl Difference {
    /// The interval's lower end.
    pub fn low(&self) -> f64 {
        self.estimate - self.half_width
    }

    /// The interval's upper end.
    pub fn high(&self) -> f64 {
        self.estimate + self.half_width
    }

    /// What the interval says.
    pub fn verdict(&self) -> Verdict {
        if self.low() > 0.0 {
            Verdict::FirstHigher
        } else if self.high() < 0.0 {
            Verdict::SecondHigher
        } else {
            Verdict::NoDifferenceShown
        }
    }

    /// The difference whose interval fails with probability `alpha`.
    ///
    /// `of_seeds` are the differences of the seeds, `pieces` the images that have a say.
    pub(super) fn new(of_seeds: &[f64], spread: Spread, pieces: Pieces, alpha: f64) -> Self {
        let seeds = of_seeds.len() as f64;
        let estimate = of_seeds.iter().sum::<f64>() / seeds;
        let image_freedom = pieces.freedom();
        // A bootstrap's variance is that of a population of n images, not of a sample.
        let unbiased = pieces.number / image_freedom;
        let Some(sd) = super::sample_sd(of_seeds) else {
            let variance = unbiased * spread.of_mean;
            return Self {
                estimate,
                half_width: t_quantile(alpha, image_freedom) * variance.sqrt(),
                seed_variance: None,
                image_variance: variance,
                degrees_of_freedom: image_freedom,
            };
        };
        let (seed_variance, seed_freedom) = (sd * sd / seeds, seeds - 1.0);
        let shared = (seeds * spread.of_mean - spread.mean_of_seeds) / seed_freedom;
        let image_variance = unbiased * shared.max(0.0);
        let variance = seed_variance + image_variance;
        let squares = seed_variance.powi(2) / seed_freedom + image_variance.powi(2) / image_freedom;
        // Nothing varies: any number of degrees of freedom gives a width of 0.
        let freedom = if squares > 0.0 { variance.powi(2) / squares } else { image_freedom };
        let half_width = t_quantile(alpha, freedom) * variance.sqrt();
        let of_seeds_alone = t_quantile(alpha, seed_freedom) * seed_variance.sqrt();
        Self {
            estimate,
            half_width: half_width.max(of_seeds_alone),
            seed_variance: Some(seed_variance),
            image_variance,
            degrees_of_freedom: freedom,
        }
    }
}

/// How a difference varies over resamples of the images.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Spread {
    /// Variance of the mean over seeds.
    pub(super) of_mean: f64,
    /// Mean over seeds of the variance of each.
    pub(super) mean_of_seeds: f64,
}

/// What Student's t exceeds in absolute value with probability `alpha`.
pub(super) fn t_quantile(alpha: f64, degrees_of_freedom: f64) -> f64 {
    let t = StudentsT::new(0.0, 1.0, degrees_of_freedom);
    // There are at least two values whenever a variance is asked for.
    t.unwrap_or_else(|_| unreachable!("{degrees_of_freedom} degrees of freedom"))
        .inverse_cdf(1.0 - alpha / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_at_fractional_degrees_of_freedom_and_far_out() {
        // scipy.stats.t.isf(alpha / 2, df).
        for (alpha, freedom, want) in GOLDEN {
            let got = t_quantile(alpha, freedom);
            assert!((got / want - 1.0).abs() < 1e-9, "t({alpha}, {freedom}) = {got}, want {want}");
        }
    }

    const GOLDEN: [(f64, f64, f64); 11] = [
        (0.05, 1.0, 12.706204736174705),
        (0.05, 2.0, 4.302652729749464),
        (0.05, 2.37, 3.718920839797457),
        (0.05, 17.6, 2.104349842943036),
        (0.05, 99.0, 1.9842169515864176),
        (0.05, 1999.0, 1.9611514201705618),
        (0.05, 123456.7, 1.9599832001362325),
        (0.0003333333333333334, 2.0, 54.758561735560804),
        (0.0003333333333333334, 4.4, 10.074682866398925),
        (0.0003333333333333334, 1999.0, 3.594149451983322),
        (0.002631578947368421, 1.0, 241.91413560659657),
    ];
}
