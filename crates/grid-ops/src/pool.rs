//! Maximum pooling.

use std::ops::Range;
use std::sync::OnceLock;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, DType, Layout, Shape, Tensor, WithDType, bail};
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use crate::error::checked_grid;
use crate::padded::Padded;
use crate::shared::Shared;
use crate::{Elements, Error, Reads, Real, Result, apply1, composed, is_composed, unwritten, view};

/// How an output size that is not whole is rounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rounding {
    /// Down.
    #[default]
    Floor,
    /// Up, but no window starts beyond the input and its leading padding (torchvision's
    /// `ceil_mode`).
    Ceil,
}

/// The options of a pooling, the same along both axes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool {
    /// Rows and columns of a window.
    pub kernel: usize,
    /// Distance of two windows.
    pub stride: usize,
    /// Cells on every side that no window counts; at most half the kernel.
    pub padding: usize,
    /// How the output size is rounded.
    pub rounding: Rounding,
}

impl Pool {
    /// The output size for an input of `size`; `None` if no window fits.
    fn out(&self, size: usize) -> Option<usize> {
        let rest = (size + 2 * self.padding).checked_sub(self.kernel)?;
        Some(match self.rounding {
            Rounding::Floor => rest / self.stride + 1,
            Rounding::Ceil => {
                let out = rest.div_ceil(self.stride) + 1;
                if (out - 1) * self.stride >= size + self.padding { out - 1 } else { out }
            }
        })
    }

    /// The output sizes for an input of `h × w`, or why there are none.
    pub(crate) fn checked(&self, op: &'static str, x: &Tensor) -> Result<(usize, usize)> {
        let (_, _, h, w) = checked_grid(op, x)?;
        for (field, value) in [("kernel", self.kernel), ("stride", self.stride)] {
            if value == 0 {
                return Err(Error::Config { op, field, value, reason: "expected at least 1" });
            }
        }
        if self.padding > self.kernel / 2 {
            let reason = "expected at most half the kernel";
            return Err(Error::Config { op, field: "padding", value: self.padding, reason });
        }
        let (Some(oh), Some(ow)) = (self.out(h), self.out(w)) else {
            let expected = "x: [n, c, h, w] that, padded, is at least as large as the kernel";
            return Err(Error::Shape { op, expected, got: x.dims().to_vec() });
        };
        Ok((oh, ow))
    }

    /// The inputs that window `at` counts, of `size` along an axis.
    pub(crate) fn window(&self, at: usize, size: usize) -> Range<usize> {
        let start = at * self.stride;
        start.saturating_sub(self.padding)
            ..(start + self.kernel).saturating_sub(self.padding).min(size)
    }
}

/// The maximum of every window of `x`; the first one gets the gradient where several are equal.
///
/// # Shapes
///
/// - `x`: `[n, c, h, w]`, `f32` or `f64`
/// - returns: `[n, c, oh, ow]`, `oh = (h + 2·padding − kernel) / stride + 1`, rounded as asked
///
/// Differentiable. NaN in a window comes out as NaN.
///
/// # Errors
///
/// [`Error::Shape`] where no window fits, [`Error::Config`] for a zero kernel or stride or a
/// padding of more than half the kernel, [`Error::DType`] for other number types.
pub fn max_pool2d(x: &Tensor, pool: &Pool) -> Result<Tensor> {
    let (oh, ow) = pool.checked("max_pool2d", x)?;
    if is_composed(x) {
        return composed::max_pool2d(x, pool);
    }
    run(x, pool, (oh, ow), f64::NEG_INFINITY)
}

/// The maximum of every window of `ReLU(x)`, which is the ReLU of the maximum: where a ReLU stands
/// before a pooling, neither its result nor the gradient of it has to be made at full size.
///
/// # Shapes
///
/// As [`max_pool2d`].
///
/// Differentiable. NaN in a window comes out as NaN.
///
/// # Errors
///
/// As [`max_pool2d`].
pub fn relu_max_pool2d(x: &Tensor, pool: &Pool) -> Result<Tensor> {
    let (oh, ow) = pool.checked("relu_max_pool2d", x)?;
    if is_composed(x) {
        return composed::relu_max_pool2d(x, pool);
    }
    run(x, pool, (oh, ow), 0.0)
}

fn run(x: &Tensor, pool: &Pool, to: (usize, usize), least: f64) -> Result<Tensor> {
    let (_, _, h, w) = x.dims4()?;
    let tracked = x.track_op();
    let op = MaxPool { pool: *pool, from: (h, w), to, least, tracked, winners: OnceLock::new() };
    Ok(apply1(&x.contiguous()?, op, Reads::NOTHING)?)
}

struct MaxPool {
    pool: Pool,
    from: (usize, usize),
    to: (usize, usize),
    /// What a window without a larger input has.
    least: f64,
    /// Whether a gradient is wanted: who won is kept for nothing else.
    tracked: bool,
    /// For each output one more than the index in the window of the input that it is; 0 where none
    /// is larger than the least.
    winners: OnceLock<Vec<u32>>,
}

impl MaxPool {
    fn forward<T: Real>(&self, x: &[T]) -> Vec<T> {
        let ((h, w), (oh, ow)) = (self.from, self.to);
        let planes = x.len() / (h * w);
        // SAFETY: every plane is written below.
        #[allow(unsafe_code, reason = "results are not zeroed first")]
        let mut y = unsafe { unwritten(planes * oh * ow) };
        let mut winners = vec![0u32; if self.tracked { y.len() } else { 0 }];
        let Pool { kernel, stride, padding, .. } = self.pool;
        let padded = Padded {
            from: (h, w),
            before: (padding as isize, padding as isize),
            rows: (oh - 1) * stride + kernel,
            columns: ow + kernel.div_ceil(stride) + SLACK,
            stride,
        };
        let of_winners = if self.tracked { oh * ow } else { 0 };
        let shared = Shared::new(&mut winners);
        y.par_chunks_mut(oh * ow).zip(x.par_chunks(h * w)).enumerate().for_each_init(
            || (vec![T::neg_infinity(); padded.len()], vec![T::zero(); ow]),
            |(laid_out, tags), (at, (y, x))| {
                // SAFETY: every plane has winners of its own.
                #[allow(unsafe_code, reason = "planes of one output are written side by side")]
                let winners = unsafe { shared.slice(at * of_winners, of_winners) };
                let least = T::of(self.least);
                let plane = Plane { padded, kernel, least, laid_out, tags, x, y, winners };
                pulp::Arch::new().dispatch(plane);
            },
        );
        // The same instance runs forward once only.
        let _ = self.winners.set(winners);
        y
    }

    fn backward_tensor<T: Real + WithDType>(
        &self,
        x: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<Option<Tensor>> {
        let Some(winners) = self.winners.get() else { bail!("max-pool: backward before forward") };
        let ((h, w), (oh, ow)) = (self.from, self.to);
        let Pool { kernel, stride, padding, .. } = self.pool;
        let grad = grad.contiguous()?;
        let grad = Elements::of(&grad);
        let grad = grad.slice::<T>()?;
        // SAFETY: every plane is filled before it is added to.
        #[allow(unsafe_code, reason = "results are not zeroed first")]
        let mut d_x = unsafe { unwritten(x.elem_count()) };
        // Where each tap lies in the padded plane, from the window's first.
        let taps: Vec<usize> =
            (0..kernel).flat_map(|p| (0..kernel).map(move |q| p * w + q)).collect();
        let outputs = grad.par_chunks(oh * ow).zip(winners.par_chunks(oh * ow));
        d_x.par_chunks_mut(h * w).zip(outputs).for_each(|(d_x, (grad, winners))| {
            d_x.fill(T::zero());
            let rows = grad.chunks_exact(ow).zip(winners.chunks_exact(ow));
            for (i, (grad, winners)) in rows.enumerate() {
                for (j, (&g, &winner)) in grad.iter().zip(winners).enumerate() {
                    let index = match winner.checked_sub(1) {
                        None if self.least.is_finite() => continue,
                        // Where all inputs are -∞, the first gets the gradient.
                        None => self.pool.window(i, h).start * w + self.pool.window(j, w).start,
                        Some(tap) => {
                            let padded = i * stride * w + j * stride + taps[tap as usize];
                            padded - padding * (w + 1)
                        }
                    };
                    d_x[index] = g + d_x[index];
                }
            }
        });
        Ok(Some(Tensor::from_vec(d_x, x.shape(), x.device())?))
    }
}

/// Columns beyond the last that may be read: the widest vector.
const SLACK: usize = 16;

/// The forward pass of one plane.
struct Plane<'a, T> {
    padded: Padded,
    kernel: usize,
    least: T,
    /// Holds -∞ wherever there is padding.
    laid_out: &'a mut [T],
    /// One row of winners.
    tags: &'a mut [T],
    x: &'a [T],
    y: &'a mut [T],
    /// Empty where nobody asks.
    winners: &'a mut [u32],
}

impl<T: Real> WithSimd for Plane<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { padded, kernel, least, laid_out, tags, x, y, winners } = self;
        let ow = tags.len();
        padded.lay_out(x, laid_out);
        let mut winners = winners.chunks_exact_mut(ow);
        for (i, y) in y.chunks_exact_mut(ow).enumerate() {
            for first in (0..ow).step_by(T::lanes::<S>()) {
                let mut top = (T::splat(simd, least), T::splat(simd, T::zero()));
                let mut tag = T::zero();
                for p in 0..kernel {
                    for q in 0..kernel {
                        let run = padded.at(i * padded.stride + p, q) + first;
                        tag = tag + T::one();
                        let value = T::load(simd, &laid_out[run..][..T::lanes::<S>()]);
                        top = T::take_larger(simd, (value, T::splat(simd, tag)), top);
                    }
                }
                T::store(simd, &mut y[first..], top.0);
                T::store(simd, &mut tags[first..], top.1);
            }
            if let Some(winners) = winners.next() {
                for (winner, tag) in winners.iter_mut().zip(tags.iter()) {
                    *winner = tag.to_u32().unwrap_or(0);
                }
            }
        }
    }
}

impl CustomOp1 for MaxPool {
    fn name(&self) -> &'static str {
        "max-pool2d"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let y = match x.dtype() {
            DType::F32 => f32::to_cpu_storage_owned(self.forward(view::<f32>((x, layout))?)),
            DType::F64 => f64::to_cpu_storage_owned(self.forward(view::<f64>((x, layout))?)),
            other => bail!("max-pool2d: expected f32 or f64, got {other:?}"),
        };
        let dims = layout.dims();
        Ok((y, Shape::from((dims[0], dims[1], self.to.0, self.to.1))))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, grad: &Tensor) -> candle_core::Result<Option<Tensor>> {
        match x.dtype() {
            DType::F32 => self.backward_tensor::<f32>(x, grad),
            _ => self.backward_tensor::<f64>(x, grad),
        }
    }
}
