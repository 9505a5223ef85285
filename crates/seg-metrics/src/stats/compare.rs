//! Two arms of an ablation, held against each other.

use crate::{AbsentClass, Error, Result};

use super::difference::Difference;
use super::ious::Ious;
use super::resample::{Differences, spreads};
use super::sampling::{LEAST_FREEDOM, Pieces};
use super::table::Table;
use super::{Bootstrap, Run, Sampling, runs};

/// A class labelled in fewer images, blocks of stills, or drives, whichever are drawn, is not
/// compared: resampling so few shows too little of how images vary, and of a single one nothing at
/// all.
pub const FEWEST_IMAGES: usize = 5;

/// Probability that an interval, or any of the classes' intervals, fails.
pub(super) const ALPHA: f64 = 0.05;

/// How two arms differ, first minus second.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// Of mIoU, with its 95 % interval.
    pub miou: Difference,
    /// Of every class's IoU, with intervals all of which hold at once with 95 % probability.
    pub classes: Vec<ClassDifference>,
    /// Pairs of seeds.
    pub seeds: usize,
    /// Images.
    pub images: usize,
    /// How they were drawn.
    pub sampling: Sampling,
    /// Resamples of the images.
    pub resamples: u32,
}

/// How two arms differ in one class.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClassDifference {
    /// Images in which it is labelled.
    pub images: usize,
    /// Of its IoU; `None` if it is labelled in too few, see [`FEWEST_IMAGES`].
    pub difference: Option<Difference>,
}

/// Of what an interval speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Of the two networks at hand, on other images: there was one seed.
    TheseTwoNetworks,
    /// Of the two arms, trained with other seeds, on other images.
    Arms,
}

impl Comparison {
    /// Of what the intervals speak.
    pub fn scope(&self) -> Scope {
        Scope::of(self.seeds)
    }
}

/// Compares the runs of two arms on images that are independent of each other; see the
/// [module](super) for how.
///
/// The runs of both arms are paired by their seeds, in any order. 10,000 resamples of 2,000 images
/// of 150 classes take about a second where an image has a dozen of them.
///
/// # Errors
///
/// [`Error::Seeds`] or [`Error::SeedTwice`] unless both arms have the same seeds,
/// [`Error::RunImages`] or [`Error::FewImages`] unless all runs have the same number of images, two
/// at least, [`Error::OtherImage`] if the labels of an image are not the same for all runs,
/// [`Error::Cell`] for a cell outside the classes, [`Error::Resamples`] for fewer than 100, and
/// [`Error::NothingLabelled`] if no pixel is.
pub fn compare(
    classes: usize,
    absent: AbsentClass,
    first: &[Run<'_>],
    second: &[Run<'_>],
    bootstrap: &Bootstrap,
) -> Result<Comparison> {
    compare_drawn(classes, absent, first, second, None, bootstrap)
}

/// Compares the runs of two arms on stills of drives, which are not independent; see the
/// [module](super) for how.
///
/// `drives` are the numbers of stills of each drive, the images being those of the first drive in
/// the order they were taken, then those of the second, and so on.
///
/// # Errors
///
/// Those of [`compare`], [`Error::Drives`] unless the drives have as many stills as there are
/// images, each one at least, and [`Error::SingleStills`] if none of fewer than
/// [`MANY_DRIVES`](super::MANY_DRIVES) has two.
pub fn compare_stills(
    classes: usize,
    absent: AbsentClass,
    first: &[Run<'_>],
    second: &[Run<'_>],
    drives: &[usize],
    bootstrap: &Bootstrap,
) -> Result<Comparison> {
    compare_drawn(classes, absent, first, second, Some(drives), bootstrap)
}

fn compare_drawn(
    classes: usize,
    absent: AbsentClass,
    first: &[Run<'_>],
    second: &[Run<'_>],
    drives: Option<&[usize]>,
    bootstrap: &Bootstrap,
) -> Result<Comparison> {
    let (first, second) = runs::paired(first, second)?;
    let table = Table::of_matrices(classes, &first, &second)?;
    let images = table.images();
    let ious = Ious { classes, absent };
    let all_images = Differences::of_all_images(&table, &ious);
    if all_images.of(classes)[0].is_nan() {
        return Err(Error::NothingLabelled { images });
    }
    let sampling = Sampling::new(drives, images, || all_images.of_images(&table, &ious))?;
    let spreads = spreads(&table, &ious, &all_images, &sampling, bootstrap)?;
    let miou = spreads[classes].ok_or(Error::NothingLabelled { images })?;
    let images_of_classes = table.images_with(classes, &sampling.runs(images));
    let is_compared =
        |of: &Pieces| of.number >= FEWEST_IMAGES as f64 && of.freedom() >= LEAST_FREEDOM;
    let pieces: Vec<Option<Pieces>> = images_of_classes
        .iter()
        .map(|images| Some(sampling.pieces(images)).filter(is_compared))
        .collect();
    let alpha = ALPHA / pieces.iter().flatten().count() as f64;
    let class = |class: usize| {
        let of_seeds = all_images.of(class);
        let difference = spreads[class]
            .zip(pieces[class])
            .map(|(spread, pieces)| Difference::new(of_seeds, spread, pieces, alpha));
        ClassDifference { images: images_of_classes[class].iter().sum(), difference }
    };
    let of_all = sampling.pieces(&sampling.runs(images));
    Ok(Comparison {
        miou: Difference::new(all_images.of(classes), miou, of_all, ALPHA),
        classes: (0..classes).map(class).collect(),
        seeds: table.seeds,
        images,
        sampling,
        resamples: bootstrap.resamples,
    })
}
