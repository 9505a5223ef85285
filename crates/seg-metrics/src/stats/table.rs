//! What scores need of every image, sparse: for mIoU pixels labelled, hit and predicted, by class.

use crate::{Error, Result};

use super::Run;

/// Columns of numbers, one row an image, of which most are 0.
pub(super) struct Table {
    pub(super) seeds: usize,
    /// Number of columns.
    pub(super) columns: usize,
    /// Column and pixels, image by image.
    entries: Vec<(u32, f64)>,
    /// Where each image's entries start, and the end of the last's.
    starts: Vec<usize>,
}

/// First column of a network's hits; its predicted pixels follow.
pub(super) fn hits(classes: usize, network: usize) -> usize {
    classes * (1 + 2 * network)
}

impl Table {
    fn empty(seeds: usize, columns: usize) -> Self {
        Self { seeds, columns, entries: Vec::new(), starts: vec![0] }
    }

    /// The table of runs as [`paired`](super::runs::paired) gives them, cells being those of
    /// confusion matrices.
    ///
    /// Its columns: `classes` of labelled pixels; then for each network, the first arm's and the
    /// second's of each seed in turn, `classes` of hits and `classes` of predicted pixels.
    pub(super) fn of_matrices(
        classes: usize,
        first: &[Run<'_>],
        second: &[Run<'_>],
    ) -> Result<Self> {
        let seeds = first.len();
        let mut table = Self::empty(seeds, classes * (1 + 4 * seeds));
        let networks: Vec<_> =
            first.iter().zip(second).flat_map(|(a, b)| [(a, 1), (b, 2)]).collect();
        let mut row = vec![0; table.columns];
        for image in 0..first[0].images.len() {
            row.fill(0);
            for (k, &(run, arm)) in networks.iter().enumerate() {
                let mut labelled = vec![0; classes];
                let (hits, predicted) =
                    row[self::hits(classes, k)..][..2 * classes].split_at_mut(classes);
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

    /// The table of runs whose cells are the given number of counts each, whatever they mean.
    ///
    /// Its columns: the counts of each network, the first arm's and the second's of each seed in
    /// turn.
    pub(super) fn of_counts(counts: usize, first: &[Run<'_>], second: &[Run<'_>]) -> Result<Self> {
        let mut table = Self::empty(first.len(), counts * 2 * first.len());
        let mut row = vec![0; table.columns];
        for image in 0..first[0].images.len() {
            row.fill(0);
            let networks = first.iter().zip(second).flat_map(|(first, second)| [first, second]);
            for (run, row) in networks.zip(row.chunks_exact_mut(counts.max(1))) {
                for &(index, count) in &run.images[image] {
                    *row.get_mut(index as usize).ok_or(Error::Count { index, counts })? += count;
                }
            }
            table.push(&row);
        }
        Ok(table)
    }

    /// Number of images.
    pub(super) fn images(&self) -> usize {
        self.starts.len() - 1
    }

    /// Of each of the first columns, in how many images of each run of consecutive ones it is not 0.
    pub(super) fn images_with(&self, columns: usize, runs: &[usize]) -> Vec<Vec<usize>> {
        let mut counts = vec![vec![0; runs.len()]; columns];
        let run_of_image =
            (0..).zip(runs).flat_map(|(run, images)| std::iter::repeat_n(run, *images));
        for (image, run) in run_of_image.enumerate() {
            for &(column, _) in self.image(image) {
                if let Some(counts) = counts.get_mut(column as usize) {
                    counts[run] += 1;
                }
            }
        }
        counts
    }

    /// Column and pixels of an image, those that are not 0.
    pub(super) fn image(&self, index: usize) -> &[(u32, f64)] {
        &self.entries[self.starts[index]..self.starts[index + 1]]
    }

    fn push(&mut self, row: &[u64]) {
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
