//! The inner loop: how often each pair of bytes occurs in two slices.

/// Pixels in a block that is looked at at once.
const BLOCK: usize = 16;

/// How often each pair of byte values occurs at the same position of two slices.
///
/// Three things make it fast. Counters are 16 bits wide, so that those of 150 by 150 classes stay in
/// the first-level cache. A block whose pixels all fall into one cell is counted at once: regions
/// are what segmentation makes, and a counter that every pixel of a region must read back after the
/// last wrote it would be the bottleneck. And an index is the pair's two bytes side by side, made
/// for a block at a time, and never out of bounds.
pub(crate) struct PairCounts {
    /// Counts modulo 2^16, at `truth · 256 + prediction`.
    low: Box<[u16; 1 << 16]>,
    /// Every cell once for each time that it passed 2^16.
    carries: Vec<u16>,
}

impl PairCounts {
    /// Counts slices of the same length.
    pub(crate) fn new(truth: &[u8], prediction: &[u8]) -> Self {
        debug_assert_eq!(truth.len(), prediction.len());
        let mut low = Box::new([0; 1 << 16]);
        let mut carries = Vec::new();
        count(truth, prediction, &mut low, &mut carries);
        Self { low, carries }
    }

    /// Counts of one label, by prediction.
    pub(crate) fn row(&self, truth: u8) -> [u64; 256] {
        let mut row = [0; 256];
        for (count, low) in row.iter_mut().zip(self.low_row(truth)) {
            *count = u64::from(*low);
        }
        for [of, prediction] in self.carries.iter().map(|cell| cell.to_be_bytes()) {
            if of == truth {
                row[usize::from(prediction)] += 1 << 16;
            }
        }
        row
    }

    /// Whether the label occurs.
    pub(crate) fn has_truth(&self, truth: u8) -> bool {
        self.low_row(truth).iter().any(|low| *low != 0)
            || self.carries.iter().any(|cell| cell.to_be_bytes()[0] == truth)
    }

    fn low_row(&self, truth: u8) -> &[u16] {
        let start = usize::from(truth) << 8;
        &self.low[start..start + 256]
    }
}

// Inlined, its loop loses registers to the caller's and takes twice as long.
#[inline(never)]
fn count(truth: &[u8], prediction: &[u8], low: &mut [u16; 1 << 16], carries: &mut Vec<u16>) {
    let mut count = |cell: u16, pixels: u16| {
        let low = &mut low[usize::from(cell)];
        let (sum, carried) = low.overflowing_add(pixels);
        *low = sum;
        if carried {
            carry(carries, cell);
        }
    };
    let (truths, truth_rest) = truth.as_chunks::<BLOCK>();
    let (predictions, prediction_rest) = prediction.as_chunks::<BLOCK>();
    for (truth, prediction) in truths.iter().zip(predictions) {
        let mut cells = [0; BLOCK];
        for (cell, (&t, &p)) in cells.iter_mut().zip(truth.iter().zip(prediction)) {
            *cell = cell_of(t, p);
        }
        // Without an early exit the block is compared in a few instructions.
        let mut differing = 0;
        for cell in cells {
            differing |= cell ^ cells[0];
        }
        if differing == 0 {
            count(cells[0], BLOCK as u16);
        } else {
            for cell in cells {
                count(cell, 1);
            }
        }
    }
    for (&t, &p) in truth_rest.iter().zip(prediction_rest) {
        count(cell_of(t, p), 1);
    }
}

/// Apart for the same reason; it is rare.
#[cold]
#[inline(never)]
fn carry(carries: &mut Vec<u16>, cell: u16) {
    carries.push(cell);
}

fn cell_of(truth: u8, prediction: u8) -> u16 {
    u16::from(truth) << 8 | u16::from(prediction)
}
