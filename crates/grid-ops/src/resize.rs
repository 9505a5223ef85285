//! Bilinear resizing of feature grids.

use candle_core::Tensor;
use rayon::prelude::*;

use crate::error::checked_grid;
use crate::linear_map::{self, LinearMap};
use crate::{Error, Real, Result, composed, inlined, is_composed, simd, unwritten};

/// Where the corners of two grids lie on each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Corners {
    /// The corners of the corner cells (`align_corners = false`): sizes scale as images do.
    Centers,
    /// The centres of the corner cells (`align_corners = true`).
    Aligned,
}

/// One output's share in two neighbouring inputs: `(1 - share) · first + share · second`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Blend<T> {
    pub(crate) first: usize,
    pub(crate) second: usize,
    pub(crate) share: T,
}

impl<T: Real> Blend<T> {
    /// The output from its two inputs, of which one without a share does not count, whatever it is.
    #[inline(always)]
    pub(crate) fn of(self, first: T, second: T) -> T {
        let blended = first + self.share * (second - first);
        if blended.is_finite() { blended } else { self.of_any(first, second) }
    }

    /// The same where an input, or their difference, is not finite.
    #[cold]
    fn of_any(self, first: T, second: T) -> T {
        match self.share {
            share if share == T::zero() => first,
            share if share == T::one() => second,
            share => (T::one() - share) * first + share * second,
        }
    }

    /// The outputs from two rows of inputs.
    #[inline(always)]
    pub(crate) fn of_rows(self, first: &[T], second: &[T], to: &mut [T]) {
        for ((to, &a), &b) in to.iter_mut().zip(first).zip(second) {
            *to = a + self.share * (b - a);
        }
        if !all_finite(to) {
            for ((to, &a), &b) in to.iter_mut().zip(first).zip(second) {
                *to = self.of(a, b);
            }
        }
    }
}

/// The outputs of a row, one a blend, from a row of inputs.
#[inline(always)]
pub(crate) fn along_row<T: Real>(columns: &[Blend<T>], from: &[T], to: &mut [T]) {
    for (to, column) in to.iter_mut().zip(columns) {
        let (a, b) = (from[column.first], from[column.second]);
        *to = a + column.share * (b - a);
    }
    if !all_finite(to) {
        for (to, column) in to.iter_mut().zip(columns) {
            *to = column.of(from[column.first], from[column.second]);
        }
    }
}

#[inline(always)]
fn all_finite<T: Real>(x: &[T]) -> bool {
    x.iter().fold(true, |all, x| all & x.is_finite())
}

/// The blends of `outputs` cells over `inputs` cells, as PyTorch's `interpolate` has them.
pub(crate) fn blends<T: Real>(inputs: usize, outputs: usize, corners: Corners) -> Vec<Blend<T>> {
    let at = |output: usize| match corners {
        Corners::Centers => {
            let scale = inputs as f64 / outputs as f64;
            ((output as f64 + 0.5) * scale - 0.5).max(0.0)
        }
        Corners::Aligned if outputs == 1 => 0.0,
        Corners::Aligned => output as f64 * (inputs - 1) as f64 / (outputs - 1) as f64,
    };
    let blend = |output| {
        let first = (at(output).floor() as usize).min(inputs - 1);
        let share = T::of((at(output) - first as f64).min(1.0));
        Blend { first, second: (first + 1).min(inputs - 1), share }
    };
    (0..outputs).map(blend).collect()
}

/// Resizes every channel of `x` bilinearly to `height × width`, up or down.
///
/// The values and the two conventions of [`Corners`] are those of PyTorch's
/// `interpolate(mode="bilinear")` without antialiasing. NaN and infinities reach the outputs that
/// have a share in them and no others. Departure: in PyTorch, 0 times them is NaN.
///
/// # Shapes
///
/// - `x`: `[n, c, h, w]`, `f32` or `f64`
/// - returns: `[n, c, height, width]`
///
/// Differentiable.
///
/// # Errors
///
/// [`Error::Shape`] or [`Error::Config`] for an empty grid, [`Error::DType`] for other numbers.
pub fn resize_bilinear(
    x: &Tensor,
    height: usize,
    width: usize,
    corners: Corners,
) -> Result<Tensor> {
    let (h, w) = checked_size("resize_bilinear", x, height, width)?;
    if (h, w) == (height, width) {
        return Ok(x.clone());
    }
    if is_composed(x) {
        return composed::resize_bilinear(x, height, width, corners);
    }
    linear_map::apply(Resize { from: (h, w), to: (height, width), corners }, x)
}

/// The size of the grid `x`; refuses to resize to nothing.
pub(crate) fn checked_size(
    op: &'static str,
    x: &Tensor,
    height: usize,
    width: usize,
) -> Result<(usize, usize)> {
    let (_, _, h, w) = checked_grid(op, x)?;
    for (field, value) in [("height", height), ("width", width)] {
        if value == 0 {
            return Err(Error::Config { op, field, value, reason: "expected at least 1" });
        }
    }
    Ok((h, w))
}

struct Resize {
    from: (usize, usize),
    to: (usize, usize),
    corners: Corners,
}

impl Resize {
    fn blends<T: Real>(&self) -> (Vec<Blend<T>>, Vec<Blend<T>>) {
        let rows = blends(self.from.0, self.to.0, self.corners);
        (rows, blends(self.from.1, self.to.1, self.corners))
    }
}

impl LinearMap for Resize {
    const NAME: &'static str = "resize-bilinear";

    fn to(&self) -> (usize, usize) {
        self.to
    }

    fn forward<T: Real>(&self, x: &[T]) -> Vec<T> {
        let ((h, w), (height, width)) = (self.from, self.to);
        let (rows, columns) = self.blends::<T>();
        let planes = x.len() / (h * w);
        // SAFETY: every row of every plane is written below.
        #[allow(unsafe_code, reason = "results are not zeroed first")]
        let mut y = unsafe { unwritten(planes * height * width) };
        let run = inlined(
            #[inline(always)]
            |x: &[T], y: &mut [T]| {
                let mut line = vec![T::zero(); w];
                for (row, y) in rows.iter().zip(y.chunks_exact_mut(width)) {
                    let (above, below) = (&x[row.first * w..][..w], &x[row.second * w..][..w]);
                    row.of_rows(above, below, &mut line);
                    along_row(&columns, &line, y);
                }
            },
        );
        y.par_chunks_mut(height * width).zip(x.par_chunks(h * w)).for_each(|(y, x)| {
            simd(
                #[inline(always)]
                || run(x, y),
            );
        });
        y
    }

    fn backward<T: Real>(&self, grad: &[T]) -> Vec<T> {
        let ((h, w), (height, width)) = (self.from, self.to);
        let (rows, columns) = self.blends::<T>();
        let planes = grad.len() / (height * width);
        // SAFETY: every plane is filled before it is added to.
        #[allow(unsafe_code, reason = "results are not zeroed first")]
        let mut d_x = unsafe { unwritten(planes * h * w) };
        let run = inlined(
            #[inline(always)]
            |d_x: &mut [T], grad: &[T]| {
                d_x.fill(T::zero());
                let mut line = vec![T::zero(); w];
                for (row, grad) in rows.iter().zip(grad.chunks_exact(width)) {
                    line.fill(T::zero());
                    for (&g, column) in grad.iter().zip(&columns) {
                        let second = column.share * g;
                        line[column.first] = line[column.first] + (g - second);
                        line[column.second] = line[column.second] + second;
                    }
                    for (to, &g) in d_x[row.first * w..][..w].iter_mut().zip(&line) {
                        *to = *to + (T::one() - row.share) * g;
                    }
                    for (to, &g) in d_x[row.second * w..][..w].iter_mut().zip(&line) {
                        *to = *to + row.share * g;
                    }
                }
            },
        );
        d_x.par_chunks_mut(h * w).zip(grad.par_chunks(height * width)).for_each(|(d_x, grad)| {
            simd(
                #[inline(always)]
                || run(d_x, grad),
            );
        });
        d_x
    }
}
