//! Planes laid out with their padding, columns a stride apart side by side.

use crate::Real;
use crate::strided::gather;

/// How the rows of a plane are laid out.
#[derive(Clone, Copy)]
pub(crate) struct Padded {
    /// Rows and columns of the plane, rows and columns before it (cropped if negative).
    pub(crate) from: (usize, usize),
    pub(crate) before: (isize, isize),
    /// Rows of the layout, columns of each phase.
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    /// Columns `phase, phase + stride, …` lie side by side.
    pub(crate) stride: usize,
}

impl Padded {
    /// Elements of the layout.
    pub(crate) fn len(&self) -> usize {
        self.rows * self.stride * self.columns
    }

    /// Where the run of row `row` begins whose first column is `column`.
    #[inline(always)]
    pub(crate) fn at(&self, row: usize, column: usize) -> usize {
        (row * self.stride + column % self.stride) * self.columns + column / self.stride
    }

    /// Lays `plane` out; what `to` holds elsewhere stays.
    #[inline(always)]
    pub(crate) fn lay_out<T: Real>(&self, plane: &[T], to: &mut [T]) {
        let (h, w) = self.from;
        let (above, left) = self.before;
        for row in 0..self.rows {
            let source = row as isize - above;
            if !(0..h as isize).contains(&source) {
                continue;
            }
            let from = &plane[source as usize * w..][..w];
            for phase in 0..self.stride {
                let to = &mut to[(row * self.stride + phase) * self.columns..][..self.columns];
                // Column m of the phase is column m·stride + phase - left of the plane.
                let shift = phase as isize - left;
                let first = (-shift).max(0).unsigned_abs().div_ceil(self.stride);
                let start = (first * self.stride).cast_signed() + shift;
                let (Some(to), Some(from)) = (to.get_mut(first..), from.get(start as usize..))
                else {
                    continue;
                };
                gather(to, from, self.stride);
            }
        }
    }
}
