//! How images are drawn: one by one, in blocks of consecutive stills, or drive by drive.

use crate::{Error, Result};

use super::blocks::block_length;

/// Sets of so many drives have whole drives drawn.
pub const MANY_DRIVES: usize = 10;

/// Blocks are so many times as long as gives the variance with the least squared error: one that is
/// too small harms an interval more than one that is too large, and long blocks cost few degrees of
/// freedom.
const BLOCK_LENGTHS: usize = 2;

/// How images are drawn, and so which other images an interval speaks of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sampling {
    /// One by one: other images, drawn as independently as these.
    Images,
    /// Blocks of consecutive stills of each drive: other stills of drives like these, in the same
    /// proportions. Nothing is known of other drives.
    Blocks {
        /// Stills in a block; in a drive of fewer than twice as many, half its stills.
        length: usize,
        /// Stills of each drive.
        drives: Vec<usize>,
    },
    /// Whole drives: other drives.
    Drives {
        /// Stills of each drive.
        drives: Vec<usize>,
    },
}

/// Stills in a block of a drive: two blocks at least are in it.
fn length_in(stills: usize, length: usize) -> usize {
    length.min(stills / 2).max(1)
}

/// Fewer degrees of freedom show nothing; one that a sum's rounding made less is one.
pub(super) const LEAST_FREEDOM: f64 = 1.0 - 1e-9;

/// As how many independent ones images count.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Pieces {
    pub(super) number: f64,
    /// Means that are taken of them apart.
    strata: usize,
}

impl Pieces {
    /// Degrees of freedom of their variance.
    pub(super) fn freedom(self) -> f64 {
        self.number - self.strata as f64
    }
}

impl Sampling {
    /// One by one without drives; else whole drives if there are many, or blocks.
    ///
    /// # Errors
    ///
    /// [`Error::Drives`] unless they make up the images, [`Error::SingleStills`] if few drives have
    /// one each.
    pub(super) fn new(
        drives: Option<&[usize]>,
        images: usize,
        differences: impl FnOnce() -> Vec<f64>,
    ) -> Result<Self> {
        let Some(drives) = drives else { return Ok(Self::Images) };
        let sum = drives.iter().try_fold(0usize, |sum, stills| sum.checked_add(*stills));
        if sum != Some(images) || drives.contains(&0) {
            return Err(Error::Drives { drives: drives.to_vec(), images });
        }
        let drives = drives.to_vec();
        if drives.len() >= MANY_DRIVES {
            return Ok(Self::Drives { drives });
        }
        if drives.iter().all(|stills| *stills == 1) {
            return Err(Error::SingleStills { drives: drives.len() });
        }
        let length = match block_length(&differences(), &drives) {
            1 => 1,
            length => BLOCK_LENGTHS * length,
        };
        Ok(Self::Blocks { length, drives })
    }

    /// Numbers of images that are drawn apart from others, or together.
    pub(super) fn runs(&self, images: usize) -> Vec<usize> {
        match self {
            Self::Images => vec![images],
            Self::Blocks { drives, .. } | Self::Drives { drives } => drives.clone(),
        }
    }

    /// As how many independent ones the given numbers of images of each run count.
    pub(super) fn pieces(&self, images_of_runs: &[usize]) -> Pieces {
        let runs = || images_of_runs.iter().filter(|images| **images > 0);
        match self {
            Self::Images => {
                Pieces { number: images_of_runs.iter().sum::<usize>() as f64, strata: 1 }
            }
            Self::Blocks { length, drives } => {
                let blocks = |(images, stills): (&usize, &usize)| {
                    let blocks = *images as f64 / length_in(*stills, *length) as f64;
                    if *images > 0 { blocks.max(1.0) } else { 0.0 }
                };
                let number = images_of_runs.iter().zip(drives).map(blocks).sum();
                Pieces { number, strata: runs().count() }
            }
            Self::Drives { .. } => Pieces { number: runs().count() as f64, strata: 1 },
        }
    }

    /// Draws images with replacement; `below` gives a random number below another.
    pub(super) fn draw(
        &self,
        images: usize,
        mut below: impl FnMut(usize) -> usize,
        mut to: impl FnMut(usize),
    ) {
        match self {
            Self::Images => (0..images).for_each(|_| to(below(images))),
            Self::Blocks { length, drives } => {
                let mut first = 0;
                for &stills in drives {
                    let length = length_in(stills, *length);
                    let mut left = stills;
                    while left > 0 {
                        let start = below(stills);
                        let drawn = left.min(length);
                        (start..start + drawn).for_each(|still| to(first + still % stills));
                        left -= drawn;
                    }
                    first += stills;
                }
            }
            Self::Drives { drives } => {
                let ends: Vec<usize> = drives
                    .iter()
                    .scan(0, |end, stills| {
                        *end += stills;
                        Some(*end)
                    })
                    .collect();
                for _ in drives {
                    let drive = below(drives.len());
                    (ends[drive] - drives[drive]..ends[drive]).for_each(&mut to);
                }
            }
        }
    }
}
