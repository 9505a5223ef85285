//! The rows that a tile of outputs sees, laid out so that every tap reads contiguous runs.

use crate::Real;
use crate::strided::gather;

/// How the rows that a tile reads are laid out: `[channel, row phase, column phase, row, column]`.
#[derive(Clone, Copy)]
pub(super) struct Window {
    /// Rows and columns of the planes, and distance of two that belong to one phase.
    pub(super) from: (usize, usize),
    pub(super) stride: usize,
    /// Rows and columns of each phase.
    pub(super) rows: usize,
    pub(super) columns: usize,
    /// Columns before the first that exists.
    pub(super) left: isize,
}

impl Window {
    pub(super) fn of_channel(&self) -> usize {
        self.stride * self.stride * self.rows * self.columns
    }

    /// Where the run begins that starts at this row and column of the padded plane.
    pub(super) fn at(&self, row: usize, column: usize) -> usize {
        let s = self.stride;
        let phase = row % s * s + column % s;
        (phase * self.rows + row / s) * self.columns + column / s
    }

    /// Lays out the rows from `first` on of every plane.
    #[inline(always)]
    pub(super) fn lay_out<T: Real>(&self, planes: &[T], first: isize, to: &mut [T]) {
        let ((h, w), s) = (self.from, self.stride);
        for (plane, to) in planes.chunks_exact(h * w).zip(to.chunks_exact_mut(self.of_channel())) {
            for (nth, to) in to.chunks_exact_mut(self.columns).enumerate() {
                let (phase, row) = (nth / self.rows, nth % self.rows);
                let source = first + (row * s + phase / s) as isize;
                if !(0..h as isize).contains(&source) {
                    to.fill(T::zero());
                    continue;
                }
                let from = &plane[source as usize * w..][..w];
                // Column m of the phase is column m·stride + shift of the plane.
                let shift = (phase % s) as isize - self.left;
                let begin = (-shift).max(0).unsigned_abs().div_ceil(s).min(to.len());
                let end = (w as isize - shift).max(0).unsigned_abs().div_ceil(s);
                let end = end.clamp(begin, to.len());
                to[..begin].fill(T::zero());
                to[end..].fill(T::zero());
                if begin < end {
                    let start = (begin * s) as isize + shift;
                    gather(&mut to[begin..end], &from[start as usize..], s);
                }
            }
        }
    }
}
