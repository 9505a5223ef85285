//! Two arms held against each other by any score of summed counts.

use crate::{Error, Result};

use super::compare::ALPHA;
use super::resample::{Differences, LANES, Lanes, Scoring, spreads};
use super::table::Table;
use super::{Bootstrap, Difference, Run, Sampling, Scope, runs};

/// How two arms differ in a score, first minus second.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoreComparison {
    /// Of the score, with its 95 % interval.
    pub difference: Difference,
    /// Pairs of seeds.
    pub seeds: usize,
    /// Images.
    pub images: usize,
    /// How they were drawn.
    pub sampling: Sampling,
    /// Resamples of the images.
    pub resamples: u32,
}

impl ScoreComparison {
    /// Of what the interval speaks.
    pub fn scope(&self) -> Scope {
        Scope::of(self.seeds)
    }
}

/// Compares two arms by a score that is computed from counts summed over images, as
/// [`compare`](super::compare) does by mIoU: boundary IoU and calibration, for instance.
///
/// Runs hold the counts of each image, sparse: indices below `counts` and what is counted there.
/// `score` is called with the sums of one network and gives `None` where there is nothing to score;
/// it is called for both arms, all seeds and all resamples. `drives` are as for
/// [`compare_stills`](super::compare_stills), and `None` if images are independent.
///
/// ```
/// use seg_metrics::stats::{Bootstrap, Run, compare_scores};
/// use seg_metrics::{AbsentClass, BoundaryIou};
///
/// let image = |predictions: &[u8]| {
///     let mut counts = BoundaryIou::new(2, BoundaryIou::OF_PHOTOGRAPHS)?;
///     counts.add(&[0, 0, 0, 1, 1, 1], predictions, 3)?;
///     Ok::<_, seg_metrics::Error>(counts.to_sparse())
/// };
/// let dense = [image(&[0, 0, 0, 1, 1, 1])?, image(&[0, 0, 0, 0, 1, 1])?];
/// let dag = [image(&[0, 0, 1, 1, 1, 1])?, image(&[0, 0, 0, 0, 0, 1])?];
/// let found = compare_scores(
///     BoundaryIou::counts_of(2),
///     |sums| BoundaryIou::miou_of_sums(sums, AbsentClass::Skip),
///     &[Run { seed: 0, images: &dense }],
///     &[Run { seed: 0, images: &dag }],
///     None,
///     &Bootstrap::default(),
/// )?;
/// assert_eq!(
///     found.sentence("boundary mIoU", "dense", "dag"),
///     "boundary mIoU of dense minus dag: +24.70 [-11.89, +61.29] points (1 pair of networks, 2 \
///      images): no difference shown, these two networks only."
/// );
/// # Ok::<(), seg_metrics::Error>(())
/// ```
///
/// # Errors
///
/// Those of [`compare_stills`](super::compare_stills) but for labels that differ; [`Error::Count`]
/// for an index that is none, [`Error::NothingScored`] if there is no score of all images.
pub fn compare_scores(
    counts: usize,
    score: impl Fn(&[f64]) -> Option<f64> + Sync,
    first: &[Run<'_>],
    second: &[Run<'_>],
    drives: Option<&[usize]>,
    bootstrap: &Bootstrap,
) -> Result<ScoreComparison> {
    let (first, second) = runs::paired(first, second)?;
    let table = Table::of_counts(counts, &first, &second)?;
    let images = table.images();
    let score = Score { counts, score };
    let all_images = Differences::of_all_images(&table, &score);
    if all_images.of(0)[0].is_nan() {
        return Err(Error::NothingScored { images });
    }
    let sampling = Sampling::new(drives, images, || all_images.of_images(&table, &score))?;
    let spreads = spreads(&table, &score, &all_images, &sampling, bootstrap)?;
    let spread = spreads[0].ok_or(Error::NothingScored { images })?;
    let pieces = sampling.pieces(&sampling.runs(images));
    Ok(ScoreComparison {
        difference: Difference::new(all_images.of(0), spread, pieces, ALPHA),
        seeds: table.seeds,
        images,
        sampling,
        resamples: bootstrap.resamples,
    })
}

/// One score of a network's counts.
struct Score<F> {
    counts: usize,
    score: F,
}

impl<F: Fn(&[f64]) -> Option<f64> + Sync> Scoring for Score<F> {
    fn items(&self) -> usize {
        1
    }

    fn subtract(&self, _: usize, sums: &[Lanes], differences: &mut [Lanes]) {
        let mut of_network = vec![0.0; self.counts];
        for lane in 0..LANES {
            let mut score = |network: usize| {
                let sums = &sums[network * self.counts..];
                of_network.iter_mut().zip(sums).for_each(|(sum, lanes)| *sum = lanes[lane]);
                (self.score)(&of_network)
            };
            for (seed, of_seed) in differences.iter_mut().enumerate() {
                let difference = score(2 * seed).zip(score(2 * seed + 1)).map(|(a, b)| a - b);
                of_seed[lane] = difference.unwrap_or(f64::NAN);
            }
            // What one seed has no score for, none has.
            if differences.iter().any(|of_seed| of_seed[lane].is_nan()) {
                differences.iter_mut().for_each(|of_seed| of_seed[lane] = f64::NAN);
            }
        }
    }
}
