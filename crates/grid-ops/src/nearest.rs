//! Resizing to the nearest cell.

use candle_core::Tensor;
use rayon::prelude::*;

use crate::linear_map::{self, LinearMap};
use crate::resize::checked_size;
use crate::{Real, Result, composed, is_composed, unwritten};

/// Resizes every channel of `x` to `height × width`, up or down and by any factor: output `i` of
/// `H` is input `⌊i·h/H⌋`, as in PyTorch's `interpolate(mode="nearest")`.
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
/// [`Error::Shape`](crate::Error::Shape) or [`Error::Config`](crate::Error::Config) for an empty
/// grid, [`Error::DType`](crate::Error::DType) for other numbers.
pub fn upsample_nearest(x: &Tensor, height: usize, width: usize) -> Result<Tensor> {
    let from = checked_size("upsample_nearest", x, height, width)?;
    if is_composed(x) {
        return composed::upsample_nearest(x, height, width);
    }
    linear_map::apply(Nearest { from, to: (height, width) }, x)
}

/// The input that each output shows.
pub(crate) fn sources(inputs: usize, outputs: usize) -> Vec<usize> {
    (0..outputs).map(|output| output * inputs / outputs).collect()
}

struct Nearest {
    from: (usize, usize),
    to: (usize, usize),
}

impl LinearMap for Nearest {
    const NAME: &'static str = "upsample-nearest";

    fn to(&self) -> (usize, usize) {
        self.to
    }

    fn forward<T: Real>(&self, x: &[T]) -> Vec<T> {
        let ((h, w), (height, width)) = (self.from, self.to);
        let (rows, columns) = (sources(h, height), sources(w, width));
        // SAFETY: every plane is written below.
        #[allow(unsafe_code, reason = "results are not zeroed first")]
        let mut y = unsafe { unwritten(x.len() / (h * w) * height * width) };
        y.par_chunks_mut(height * width).zip(x.par_chunks(h * w)).for_each(|(y, x)| {
            for (y, &row) in y.chunks_exact_mut(width).zip(&rows) {
                let line = &x[row * w..][..w];
                y.iter_mut().zip(&columns).for_each(|(y, &column)| *y = line[column]);
            }
        });
        y
    }

    fn backward<T: Real>(&self, grad: &[T]) -> Vec<T> {
        let ((h, w), (height, width)) = (self.from, self.to);
        let (rows, columns) = (sources(h, height), sources(w, width));
        let mut d_x = vec![T::zero(); grad.len() / (height * width) * h * w];
        d_x.par_chunks_mut(h * w).zip(grad.par_chunks(height * width)).for_each(|(d_x, grad)| {
            for (grad, &row) in grad.chunks_exact(width).zip(&rows) {
                let line = &mut d_x[row * w..][..w];
                grad.iter().zip(&columns).for_each(|(&g, &c)| line[c] = line[c] + g);
            }
        });
        d_x
    }
}
