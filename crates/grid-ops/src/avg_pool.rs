//! Mean pooling over windows, over bins and over whole grids.

use std::ops::Range;

use candle_core::Tensor;
use rayon::prelude::*;

use crate::error::checked_grid;
use crate::linear_map::{self, LinearMap};
use crate::resize::checked_size;
use crate::{Pool, Real, Result, composed, inlined, is_composed, simd};

/// The mean of every window of `x` over the cells that lie within it; padding is not counted
/// (PyTorch's `count_include_pad=False`).
///
/// # Shapes
///
/// - `x`: `[n, c, h, w]`, `f32` or `f64`
/// - returns: `[n, c, oh, ow]`, `oh = (h + 2·padding − kernel) / stride + 1`, rounded as asked
///
/// Differentiable.
///
/// # Errors
///
/// As [`max_pool2d`](crate::max_pool2d).
pub fn avg_pool2d(x: &Tensor, pool: &Pool) -> Result<Tensor> {
    let (oh, ow) = pool.checked("avg_pool2d", x)?;
    if is_composed(x) {
        return composed::avg_pool2d(x, pool);
    }
    let (_, _, h, w) = x.dims4()?;
    let windows = |out: usize, size: usize| (0..out).map(|at| pool.window(at, size)).collect();
    let op = AvgPool { from: (h, w), rows: windows(oh, h), columns: windows(ow, w) };
    linear_map::apply(op, x)
}

/// The mean of every channel over the whole grid.
///
/// # Shapes
///
/// - `x`: `[n, c, h, w]`, `f32` or `f64`
/// - returns: `[n, c, 1, 1]`
///
/// Differentiable.
///
/// # Errors
///
/// [`Error::Shape`](crate::Error::Shape) for an empty grid,
/// [`Error::DType`](crate::Error::DType) for other number types.
pub fn global_avg_pool(x: &Tensor) -> Result<Tensor> {
    let (_, _, h, w) = checked_grid("global_avg_pool", x)?;
    if is_composed(x) {
        return composed::global_avg_pool(x);
    }
    let op = AvgPool {
        from: (h, w),
        rows: std::iter::once(0..h).collect(),
        columns: std::iter::once(0..w).collect(),
    };
    linear_map::apply(op, x)
}

/// The mean of every bin of `x`, of `height × width` bins that cover the grid (PyTorch's
/// `adaptive_avg_pool2d`).
///
/// Bin `i` of `b` over `s` cells covers those from `⌊i·s/b⌋` to before `⌈(i + 1)·s/b⌉`: bins overlap
/// by a cell where `b` does not divide `s`, and share cells where there are more bins than those.
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
/// As [`resize_bilinear`](crate::resize_bilinear()).
pub fn adaptive_avg_pool2d(x: &Tensor, height: usize, width: usize) -> Result<Tensor> {
    let (h, w) = checked_size("adaptive_avg_pool2d", x, height, width)?;
    if is_composed(x) {
        return composed::adaptive_avg_pool2d(x, height, width);
    }
    let op = AvgPool { from: (h, w), rows: bins(height, h), columns: bins(width, w) };
    linear_map::apply(op, x)
}

/// The cells of each of `count` bins over `size` cells; none is empty.
pub(crate) fn bins(count: usize, size: usize) -> Vec<Range<usize>> {
    (0..count).map(|bin| bin * size / count..((bin + 1) * size).div_ceil(count)).collect()
}

struct AvgPool {
    from: (usize, usize),
    /// The inputs of each row and column of the output; none is empty.
    rows: Vec<Range<usize>>,
    columns: Vec<Range<usize>>,
}

impl LinearMap for AvgPool {
    const NAME: &'static str = "avg-pool2d";

    fn to(&self) -> (usize, usize) {
        (self.rows.len(), self.columns.len())
    }

    fn forward<T: Real>(&self, x: &[T]) -> Vec<T> {
        let (h, w) = self.from;
        let plane = self.rows.len() * self.columns.len();
        let mut y = vec![T::zero(); x.len() / (h * w) * plane];
        let run = inlined(
            #[inline(always)]
            |line: &mut [f64], x: &[T], y: &mut [T]| {
                for (rows, y) in self.rows.iter().zip(y.chunks_exact_mut(self.columns.len())) {
                    // In double precision: a whole grid may be one window.
                    line.fill(0.0);
                    for x in x[rows.start * w..rows.end * w].chunks_exact(w) {
                        for (sum, &x) in line.iter_mut().zip(x) {
                            *sum += x.to_f64().unwrap_or(f64::NAN);
                        }
                    }
                    for (y, columns) in y.iter_mut().zip(&self.columns) {
                        let sum: f64 = line[columns.clone()].iter().sum();
                        *y = T::of(sum / (rows.len() * columns.len()) as f64);
                    }
                }
            },
        );
        y.par_chunks_mut(plane).zip(x.par_chunks(h * w)).for_each_init(
            || vec![0.0; w],
            |line, (y, x)| {
                simd(
                    #[inline(always)]
                    || run(line, x, y),
                );
            },
        );
        y
    }

    fn backward<T: Real>(&self, grad: &[T]) -> Vec<T> {
        let (h, w) = self.from;
        let plane = self.rows.len() * self.columns.len();
        let mut d_x = vec![T::zero(); grad.len() / plane * h * w];
        let run = inlined(
            #[inline(always)]
            |line: &mut [T], grad: &[T], d_x: &mut [T]| {
                for (rows, grad) in self.rows.iter().zip(grad.chunks_exact(self.columns.len())) {
                    line.fill(T::zero());
                    for (&g, columns) in grad.iter().zip(&self.columns) {
                        let share = g / T::of((rows.len() * columns.len()) as f64);
                        line[columns.clone()].iter_mut().for_each(|d| *d = *d + share);
                    }
                    for d_x in d_x[rows.start * w..rows.end * w].chunks_exact_mut(w) {
                        d_x.iter_mut().zip(line.iter()).for_each(|(d, &share)| *d = *d + share);
                    }
                }
            },
        );
        d_x.par_chunks_mut(h * w).zip(grad.par_chunks(plane)).for_each_init(
            || vec![T::zero(); w],
            |line, (d_x, grad)| {
                simd(
                    #[inline(always)]
                    || run(line, grad, d_x),
                );
            },
        );
        d_x
    }
}
