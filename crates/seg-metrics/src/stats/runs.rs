//! The networks that are compared, in pairs of one seed.

use crate::{Error, Result};

/// A trained network's counts, image by image.
#[derive(Debug, Clone, Copy)]
pub struct Run<'a> {
    /// The seed it was trained with.
    pub seed: u64,
    /// [`ConfusionMatrix::to_sparse`](crate::ConfusionMatrix::to_sparse) of each image, the images
    /// in the same order for all runs.
    pub images: &'a [Vec<(u32, u64)>],
}

/// The runs of the first arm and of the second, at the same index those of one seed, seeds rising.
pub(super) fn paired<'a>(
    first: &[Run<'a>],
    second: &[Run<'a>],
) -> Result<(Vec<Run<'a>>, Vec<Run<'a>>)> {
    let (first, second) = (sorted("first", first)?, sorted("second", second)?);
    let seeds = |runs: &[Run<'_>]| -> Vec<u64> { runs.iter().map(|run| run.seed).collect() };
    if first.is_empty() || seeds(&first) != seeds(&second) {
        return Err(Error::Seeds { first: seeds(&first), second: seeds(&second) });
    }
    let expected = first[0].images.len();
    for (arm, runs) in [("first", &first), ("second", &second)] {
        if let Some(run) = runs.iter().find(|run| run.images.len() != expected) {
            let (seed, found) = (run.seed, run.images.len());
            return Err(Error::RunImages { arm, seed, found, expected, by: first[0].seed });
        }
    }
    if expected < 2 {
        return Err(Error::FewImages { found: expected });
    }
    Ok((first, second))
}

fn sorted<'a>(arm: &'static str, runs: &[Run<'a>]) -> Result<Vec<Run<'a>>> {
    let mut runs = runs.to_vec();
    runs.sort_by_key(|run| run.seed);
    match runs.windows(2).find(|pair| pair[0].seed == pair[1].seed) {
        Some(pair) => Err(Error::SeedTwice { arm, seed: pair[0].seed }),
        None => Ok(runs),
    }
}
