//! Convolution by 1×1 whose stride skips inputs: of those that it reads, it is one of stride 1.

use rayon::prelude::*;

use super::{Conv2d, Sizes};
use crate::strided::{gather, scatter};
use crate::{Real, inlined, simd, unwritten};

impl Sizes {
    /// True where it only skips.
    pub(super) fn skips(&self) -> bool {
        let Conv2d { stride, padding, .. } = self.config;
        self.kh * self.kw == 1 && padding == 0 && stride > 1
    }

    /// The convolution of what is read.
    pub(super) fn of_read(&self) -> Self {
        let config = Conv2d { stride: 1, ..self.config };
        Self { h: self.oh, w: self.ow, config, ..*self }
    }

    /// What is read of `[n, c, h, w]`: `[n, c, oh, ow]`.
    pub(super) fn read<T: Real>(&self, x: &[T]) -> Vec<T> {
        let (plane, stride) = (self.oh * self.ow, self.config.stride);
        // SAFETY: every row is written below.
        #[allow(unsafe_code, reason = "results are not zeroed first")]
        let mut read = unsafe { unwritten(self.n * self.c * plane) };
        let of_plane = inlined(
            #[inline(always)]
            |to: &mut [T], x: &[T]| {
                let rows = x.chunks_exact(self.w).step_by(stride);
                for (to, row) in to.chunks_exact_mut(self.ow).zip(rows) {
                    gather(to, row, stride);
                }
            },
        );
        let planes = read.par_chunks_mut(plane).zip(x.par_chunks(self.h * self.w));
        planes.for_each(|(to, x)| {
            simd(
                #[inline(always)]
                || of_plane(to, x),
            );
        });
        read
    }

    /// The gradient of the inputs, zero where none is read, given that of [`Self::read`].
    pub(super) fn spread<T: Real>(&self, read: &[T]) -> Vec<T> {
        let (plane, stride) = (self.h * self.w, self.config.stride);
        let mut d_x = vec![T::zero(); self.n * self.c * plane];
        let of_plane = inlined(
            #[inline(always)]
            |to: &mut [T], read: &[T]| {
                let rows = to.chunks_exact_mut(self.w).step_by(stride);
                for (to, row) in rows.zip(read.chunks_exact(self.ow)) {
                    scatter(
                        to,
                        row,
                        stride,
                        #[inline(always)]
                        |_, x| x,
                    );
                }
            },
        );
        let planes = d_x.par_chunks_mut(plane).zip(read.par_chunks(self.oh * self.ow));
        planes.for_each(|(to, read)| {
            simd(
                #[inline(always)]
                || of_plane(to, read),
            );
        });
        d_x
    }
}
