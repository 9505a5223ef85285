//! Which images of an epoch make a batch: images of one size.

use std::collections::BTreeMap;

use scene_data::View;

use crate::config::TrainingConfig;
use crate::data::Examples;

/// An image of a split, and how it is seen.
pub(crate) type Pick = (usize, View);

/// How a split is divided into batches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Batching {
    batch_size: usize,
    /// For each image the number of its size; empty where all may be in one batch.
    size_of: Vec<usize>,
    /// Images of each size.
    counts: Vec<usize>,
    /// Columns and rows of each size, the smallest first; empty where nobody asked for them.
    sizes: Vec<[usize; 2]>,
}

impl Batching {
    /// Of the images that training sees. Sizes are read from the files' heads, and only where they
    /// matter.
    ///
    /// # Errors
    ///
    /// A file that cannot be read.
    pub(crate) fn of(train: &Examples, config: &TrainingConfig) -> anyhow::Result<Self> {
        let TrainingConfig { batch_size, augment, tiles, .. } = config;
        // Crops are of one size, and a single image is a batch of any.
        if tiles.is_none() && (augment.crop_px != [0, 0] || *batch_size == 1) {
            return Ok(Self::of_one_size(*batch_size, train.len()));
        }
        let seen = |source: &[usize; 2]| augment.full_size(*source, augment.scale[0]);
        Ok(Self::of_sizes(*batch_size, train.sizes()?.iter().map(seen).collect()))
    }

    fn of_one_size(batch_size: usize, images: usize) -> Self {
        Self { batch_size, size_of: Vec::new(), counts: vec![images], sizes: Vec::new() }
    }

    fn of_sizes(batch_size: usize, of_images: Vec<[usize; 2]>) -> Self {
        let mut counted = BTreeMap::new();
        of_images.iter().for_each(|size| *counted.entry(*size).or_insert(0) += 1);
        let sizes: Vec<[usize; 2]> = counted.keys().copied().collect();
        let nth = |size: &[usize; 2]| sizes.binary_search(size).unwrap_or_default();
        let size_of = match sizes.len() {
            1 => Vec::new(),
            _ => of_images.iter().map(nth).collect(),
        };
        Self { batch_size, size_of, counts: counted.into_values().collect(), sizes }
    }

    /// Columns and rows of the images, each size once; empty where they do not matter.
    pub(crate) fn sizes(&self) -> &[[usize; 2]] {
        &self.sizes
    }

    /// Batches of an epoch: they are as many in each.
    pub(crate) fn per_epoch(&self) -> usize {
        self.counts.iter().map(|count| count.div_ceil(self.batch_size)).sum()
    }

    /// The batches of an epoch that shows images in this order: each of one size and whole, but for
    /// the last of its size, and in the order of their first images. With one size these are parts
    /// of the order.
    pub(crate) fn batches(&self, order: &[Pick]) -> Vec<Vec<Pick>> {
        let mut batches: Vec<Vec<Pick>> = Vec::with_capacity(self.per_epoch());
        // The batch of each size that has room.
        let mut open: Vec<Option<usize>> = vec![None; self.counts.len()];
        for pick in order {
            let size = self.size_of.get(pick.0).copied().unwrap_or(0);
            let at = *open[size].get_or_insert_with(|| {
                batches.push(Vec::new());
                batches.len() - 1
            });
            batches[at].push(*pick);
            if batches[at].len() == self.batch_size {
                open[size] = None;
            }
        }
        batches
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(images: &[usize]) -> Vec<Pick> {
        images.iter().map(|&image| (image, View::Plain)).collect()
    }

    #[test]
    fn images_of_one_size_are_taken_as_they_come() {
        let shown = order(&[4, 0, 6, 2, 1, 5, 3]);
        for batching in [Batching::of_one_size(3, 7), Batching::of_sizes(3, vec![[8, 4]; 7])] {
            let expected: Vec<Vec<Pick>> = shown.chunks(3).map(<[Pick]>::to_vec).collect();
            assert_eq!(batching.batches(&shown), expected);
            assert_eq!(batching.per_epoch(), 3);
        }
        // Nor does one at a time ask for an order of its own.
        let sizes = vec![[8, 4], [4, 8], [8, 4], [4, 8], [8, 4], [4, 8], [5, 5]];
        let batches = Batching::of_sizes(1, sizes).batches(&shown);
        assert!(batches.iter().flatten().eq(&shown) && batches.len() == 7);
    }

    #[test]
    fn a_batch_is_of_one_size_and_the_rest_of_a_size_is_a_smaller_one() {
        let (wide, high, other) = ([8, 4], [4, 8], [5, 5]);
        let sizes = vec![wide, high, wide, high, wide, high, other, wide, wide];
        let batching = Batching::of_sizes(2, sizes);
        let batches = batching.batches(&order(&[0, 1, 6, 2, 4, 3, 7, 8, 5]));
        let expected = [&[0, 2][..], &[1, 3], &[6], &[4, 7], &[8], &[5]].map(order);
        assert_eq!(batches, expected);
        assert_eq!(batching.per_epoch(), 6);
        assert_eq!(batching.sizes(), [high, other, wide]);
    }
}
