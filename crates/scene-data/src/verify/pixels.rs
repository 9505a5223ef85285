//! What the decoded pixels of a whole set tell: splits and classes without any, and the way turned
//! photographs lie.

use crate::alignment::Alignment;
use crate::encoding::Encoding;
use crate::on_disk::Listing;
use crate::{IGNORE, Layout, Sample, Split};

use super::{Extent, Problem, Verification};

/// What is kept of a sample that was read.
pub(super) struct Seen {
    /// Pixels by label.
    pub(super) pixels: Box<[u64; 256]>,
    pub(super) alignment: Alignment,
    /// Of the photograph's size and pixels.
    pub(super) hash: [u8; 32],
}

impl Seen {
    pub(super) fn of(sample: &Sample, alignment: Alignment) -> Self {
        use sha2::{Digest, Sha256};
        let mut pixels = Box::new([0; 256]);
        for &label in &sample.labels.data {
            pixels[usize::from(label)] += 1;
        }
        let mut hash = Sha256::new();
        hash.update(sample.image.width().to_le_bytes());
        hash.update(sample.image.as_raw());
        Self { pixels, alignment, hash: hash.finalize().into() }
    }
}

/// Splits in which nothing is labelled, and classes that are nowhere.
pub(super) fn find_unlabelled(
    listings: &[(Split, Listing)],
    seen: &[Vec<(usize, Seen)>],
    extent: Extent,
    out: &mut Verification,
) {
    let Some((_, listing)) = listings.first() else { return };
    let classes = listing.encoding.classes();
    let (mut all, mut are_all_read) = ([0u64; 256], true);
    for ((split, listing), seen) in listings.iter().zip(seen) {
        let mut of_split = [0u64; 256];
        for (_, seen) in seen {
            of_split.iter_mut().zip(&*seen.pixels).for_each(|(sum, n)| *sum += n);
        }
        let labelled: u64 = of_split[..classes.len()].iter().sum();
        if labelled == 0 && !seen.is_empty() {
            out.problems.push(Problem {
                found: format!(
                    "{}: {split} has no labelled pixel: all {} of its {} label files are of \
                     ignored values",
                    listing.root.display(),
                    of_split[usize::from(IGNORE)],
                    seen.len()
                ),
                remedy: "nothing can be learned from it and nothing scored on it: take the labels \
                         that belong to it"
                    .to_owned(),
            });
        }
        are_all_read &= seen.len() == listing.pairs.len();
        all.iter_mut().zip(of_split).for_each(|(sum, n)| *sum += n);
    }
    let absent: Vec<&str> = classes
        .iter()
        .zip(all)
        .filter(|(_, pixels)| *pixels == 0)
        .map(|(class, _)| class.name.as_str())
        .collect();
    // What could not be read may hold them, and where nothing is labelled that is said already.
    if absent.is_empty() || !are_all_read || absent.len() == classes.len() {
        return;
    }
    let found = format!(
        "{}: {} of {} classes have no pixel in any split: {}",
        listing.root.display(),
        absent.len(),
        classes.len(),
        shortened(&absent)
    );
    match extent {
        Extent::Partial => out.notes.push(found),
        Extent::Whole => out.problems.push(Problem { found, remedy: cause(listing, &all) }),
    }
}

/// The likely reason why classes have no pixels.
fn cause(listing: &Listing, pixels: &[u64; 256]) -> String {
    const WHITE: usize = 255;
    if listing.layout == Layout::Folder
        && pixels[usize::from(IGNORE)] > 0
        && let Encoding::Indices(table) = &listing.encoding
        && table.class_of(WHITE) == Some(IGNORE)
    {
        return format!(
            "are the masks stored as 0 and {WHITE}? Then give the class value = {WHITE} in \
             dataset.toml and take {WHITE} out of ignore; else take the class out"
        );
    }
    "take them out of the description, or add images that show them".to_owned()
}

/// The first of some names.
fn shortened(names: &[&str]) -> String {
    const NAMED: usize = 8;
    let more = if names.len() > NAMED { ", …" } else { "" };
    format!("{}{more}", names[..names.len().min(NAMED)].join(", "))
}

/// Says how the photographs lie whose EXIF data turn them.
pub(super) fn note_alignments(
    listings: &[(Split, Listing)],
    seen: &[Vec<(usize, Seen)>],
    out: &mut Verification,
) {
    for ((split, listing), seen) in listings.iter().zip(seen) {
        for (alignment, what) in [
            (Alignment::Stored, "their labels are of the stored size, so they are not turned"),
            (Alignment::Turned, "their labels are of the turned size, so they are turned"),
            (
                Alignment::Either,
                "their labels' size fits both ways; they are taken as stored, without turning: see \
                 with `data preview` whether their labels lie so",
            ),
        ] {
            let mut of = seen.iter().filter(|(_, seen)| seen.alignment == alignment);
            let Some(&(first, _)) = of.next() else { continue };
            out.notes.push(format!(
                "{split}: {} photographs have an EXIF orientation, and {what} (the first is {})",
                1 + of.count(),
                listing.pairs[first].image.display()
            ));
        }
    }
}
