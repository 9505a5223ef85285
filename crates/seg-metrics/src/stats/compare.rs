//! Two arms of an ablation, held against each other.

use crate::{AbsentClass, Error, Result};

use super::difference::Difference;
use super::resample::{Differences, spreads};
use super::table::Table;
use super::{Bootstrap, Run, runs};

/// A class labelled in fewer images is not compared: resampling so few shows too little of how
/// images vary, and of a single one nothing at all.
pub const FEWEST_IMAGES: usize = 5;

/// Probability that an interval, or any of the classes' intervals, fails.
const ALPHA: f64 = 0.05;

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
    /// Resamples of the images.
    pub resamples: u32,
}

/// How two arms differ in one class.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClassDifference {
    /// Images in which it is labelled.
    pub images: usize,
    /// Of its IoU; `None` if it is labelled in fewer than [`FEWEST_IMAGES`].
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
        if self.seeds == 1 { Scope::TheseTwoNetworks } else { Scope::Arms }
    }
}

/// Compares the runs of two arms; see the [module](super) for how.
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
    let (first, second) = runs::paired(first, second)?;
    let table = Table::new(classes, &first, &second)?;
    let images = table.images();
    if table.images_of_class.iter().all(|images| *images == 0) {
        return Err(Error::NothingLabelled { images });
    }
    let all_images = Differences::of_all_images(&table, absent);
    let spreads = spreads(&table, absent, &all_images, bootstrap)?;
    let miou = spreads[classes].ok_or(Error::NothingLabelled { images })?;
    let is_compared = |images: &usize| *images >= FEWEST_IMAGES;
    let compared = table.images_of_class.iter().filter(|images| is_compared(images)).count();
    let class = |(class, &images): (usize, &usize)| {
        let spread = spreads[class].filter(|_| is_compared(&images));
        let of_seeds = all_images.of(class);
        let alpha = ALPHA / compared as f64;
        let difference = spread.map(|spread| Difference::new(of_seeds, spread, images, alpha));
        ClassDifference { images, difference }
    };
    Ok(Comparison {
        miou: Difference::new(all_images.of(classes), miou, images, ALPHA),
        classes: table.images_of_class.iter().enumerate().map(class).collect(),
        seeds: table.seeds,
        images,
        resamples: bootstrap.resamples,
    })
}
