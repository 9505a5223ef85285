//! Photographs that two splits share: a score on them says nothing.

use std::collections::BTreeMap;

use crate::Split;
use crate::on_disk::Listing;

use super::pixels::Seen;
use super::{Problem, Verification};

/// Finds photographs of a split whose pixels are also those of one in an earlier split.
///
/// Copies in train are problems, unless the split is whole: then the release itself has them.
pub(super) fn find_copies(
    listings: &[(Split, Listing)],
    seen: &[Vec<(usize, Seen)>],
    out: &mut Verification,
) {
    for (later, (split, listing)) in listings.iter().enumerate() {
        for (earlier, (other, of_other)) in listings.iter().enumerate().take(later) {
            let known: BTreeMap<[u8; 32], usize> =
                seen[earlier].iter().map(|(index, seen)| (seen.hash, *index)).collect();
            let copies: Vec<(usize, usize)> = seen[later]
                .iter()
                .filter_map(|(index, seen)| Some((*index, *known.get(&seen.hash)?)))
                // The same file in both is found by its name.
                .filter(|(a, b)| listing.pairs[*a].image != of_other.pairs[*b].image)
                .collect();
            let Some(&(first, of)) = copies.first() else { continue };
            let found = format!(
                "{split}: {} of its {} photographs are those of {other}, pixel by pixel; the first \
                 is {}, the same as {}",
                copies.len(),
                listing.pairs.len(),
                listing.pairs[first].image.display(),
                of_other.pairs[of].image.display()
            );
            let official = listing.layout.official_counts().iter().find(|(s, _)| s == split);
            let is_release = official.is_some_and(|(_, n)| *n == listing.pairs.len());
            match *other == Split::Train && !is_release {
                true => out.problems.push(Problem {
                    found,
                    remedy: "take them out of one of the two: scores on images that were learned \
                             say nothing"
                        .to_owned(),
                }),
                false => out.notes.push(found),
            }
        }
    }
}
