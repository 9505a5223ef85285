//! What mIoU needs of every image, sparse: pixels labelled, hit and predicted, by class.

use crate::{Error, Result};

use super::Run;

/// Columns of numbers, one row an image, of which most are 0.
///
/// The columns: `classes` of labelled pixels; then for each network, the first arm's and the
/// second's of each seed in turn, `classes` of hits and `classes` of predicted pixels.
pub(super) struct Table {
    pub(super) classes: usize,
    pub(super) seeds: usize,
    /// Images in which a class is labelled.
    pub(super) images_of_class: Vec<usize>,
    /// Column and pixels, image by image.
    entries: Vec<(u32, f64)>,
    /// Where each image's entries start, and the end of the last's.
    starts: Vec<usize>,
}

impl Table {
    /// The table of runs as [`paired`](super::runs::paired) gives them.
    pub(super) fn new(classes: usize, first: &[Run<'_>], second: &[Run<'_>]) -> Result<Self> {
        let seeds = first.len();
        let mut table = Self {
            classes,
            seeds,
            images_of_class: vec![0; classes],
            entries: Vec::new(),
            starts: vec![0],
        };
        let networks: Vec<_> =
            first.iter().zip(second).flat_map(|(a, b)| [(a, 1), (b, 2)]).collect();
        let mut row = vec![0; table.columns()];
        for image in 0..first[0].images.len() {
            row.fill(0);
            for (k, &(run, arm)) in networks.iter().enumerate() {
                let mut labelled = vec![0; classes];
                let (hits, predicted) = row[table.hits(k)..][..2 * classes].split_at_mut(classes);
                for &(cell, pixels) in &run.images[image] {
                    let (label, prediction) = split(cell, classes)?;
                    labelled[label] += pixels;
                    if let Some(count) = predicted.get_mut(prediction) {
                        *count += pixels;
                    }
                    if label == prediction {
                        hits[label] += pixels;
                    }
                }
                let expected = &mut row[..classes];
                if k == 0 {
                    expected.copy_from_slice(&labelled);
                } else if let Some(class) = (0..classes).find(|c| labelled[*c] != expected[*c]) {
                    let arm = if arm == 1 { "first" } else { "second" };
                    let (found, expected) = (labelled[class], expected[class]);
                    let seed = run.seed;
                    return Err(Error::OtherImage { arm, seed, image, class, found, expected });
                }
            }
            table.push(&row);
        }
        Ok(table)
    }

    /// Number of columns.
    pub(super) fn columns(&self) -> usize {
        self.classes * (1 + 4 * self.seeds)
    }

    /// First column of a network's hits; its predicted pixels follow.
    pub(super) fn hits(&self, network: usize) -> usize {
        self.classes * (1 + 2 * network)
    }

    /// Number of images.
    pub(super) fn images(&self) -> usize {
        self.starts.len() - 1
    }

    /// Column and pixels of an image, those that are not 0.
    pub(super) fn image(&self, index: usize) -> &[(u32, f64)] {
        &self.entries[self.starts[index]..self.starts[index + 1]]
    }

    fn push(&mut self, row: &[u64]) {
        for (images, labelled) in self.images_of_class.iter_mut().zip(row) {
            *images += usize::from(*labelled > 0);
        }
        let filled = (0..).zip(row).filter(|(_, pixels)| **pixels > 0);
        self.entries.extend(filled.map(|(column, pixels)| (column, *pixels as f64)));
        self.starts.push(self.entries.len());
    }
}

/// Label and prediction of a cell of a sparse matrix.
fn split(index: u32, classes: usize) -> Result<(usize, usize)> {
    let (width, at) = (classes + 1, index as usize);
    if at < classes * width {
        Ok((at / width, at % width))
    } else {
        Err(Error::Cell { index, classes, cells: classes * width })
    }
}
