//! Whether the numbers of a record can be added up and drawn, whoever wrote it.

use crate::{DistanceBin, Record};

/// The most classes: labels are bytes, and one of them is ignored.
const CLASSES: usize = 255;

/// More pixels than any set has in a class; sums over sets and seeds stay far below 2⁶⁴.
const PIXELS: u64 = 1 << 44;

/// Longer than any image is wide.
const DISTANCE_PX: u64 = 1 << 20;

impl Record {
    /// What is wrong with it, if anything is: more classes than labels can have, counts outside the
    /// confusion matrix or larger than any set, distances longer than images.
    pub(crate) fn check(&self) -> Result<(), String> {
        let classes = self.dataset.classes.len();
        if classes > CLASSES {
            return Err(format!("{classes} classes; labels tell at most {CLASSES} apart"));
        }
        // A column more, for predictions that are no class.
        let cells = (classes * (classes + 1)) as u64;
        for image in &self.images {
            let pairs = image.counts.chunks(2);
            let fine = |pair: &[u64]| matches!(pair, &[at, n] if at < cells && n <= PIXELS);
            if let Some(pair) = pairs.into_iter().find(|pair| !fine(pair)) {
                return Err(format!(
                    "counts of image {:?} hold {pair:?}; expected pairs of one of {cells} cells and \
                     of pixels, at most {PIXELS}",
                    image.id
                ));
            }
        }
        let fine = |bin: &DistanceBin| {
            bin.from_px < bin.to_px
                && bin.to_px <= DISTANCE_PX
                && bin.correct <= bin.pixels
                && bin.pixels <= PIXELS
        };
        match self.distance.iter().find(|bin| !fine(bin)) {
            Some(bin) => Err(format!("{bin:?} is no bin of distances")),
            None => Ok(()),
        }
    }
}
