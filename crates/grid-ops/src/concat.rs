//! The channels of two grids side by side.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, DType, Layout, Shape, Tensor, WithDType, bail};
use rayon::prelude::*;

use crate::error::checked_grid;
use crate::{Elements, Error, Reads, Real, Result, apply2, is_composed, unwritten, view};

/// The channels of `x`, then those of `y`.
///
/// # Shapes
///
/// - `x`: `[n, a, h, w]`, `f32` or `f64`
/// - `y`: `[n, b, h, w]`
/// - returns: `[n, a + b, h, w]`
///
/// Differentiable in both.
///
/// # Errors
///
/// [`Error::Shape`] where other sizes than the channels differ, [`Error::DType`] for other number
/// types.
pub fn concat(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    let op = "concat";
    let (n, a, h, w) = checked_grid(op, x)?;
    let (n_y, b, h_y, w_y) = checked_grid(op, y)?;
    if (n, h, w) != (n_y, h_y, w_y) {
        let expected = "y: [n, b, h, w] with n, h and w as in x";
        return Err(Error::Shape { op, expected, got: y.dims().to_vec() });
    }
    if x.dtype() != y.dtype() {
        return Err(Error::DType { op, expected: "y: the numbers of x", got: y.dtype() });
    }
    if is_composed(x) {
        return Ok(Tensor::cat(&[x, y], 1)?);
    }
    let wanted = [x, y].map(Tensor::track_op);
    let op = Concat { channels: [a, b], plane: h * w, wanted };
    Ok(apply2(&x.contiguous()?, &y.contiguous()?, op, Reads::NOTHING)?)
}

struct Concat {
    channels: [usize; 2],
    plane: usize,
    /// The inputs whose gradients are wanted.
    wanted: [bool; 2],
}

impl Concat {
    fn forward<T: Real>(&self, x: &[T], y: &[T]) -> Vec<T> {
        let ([a, b], plane) = (self.channels, self.plane);
        // SAFETY: every plane is written below.
        #[allow(unsafe_code, reason = "results are not zeroed first")]
        let mut z = unsafe { unwritten(x.len() + y.len()) };
        z.par_chunks_mut(plane).enumerate().for_each(|(at, to)| {
            let (image, channel) = (at / (a + b), at % (a + b));
            let (from, at) = match channel.checked_sub(a) {
                None => (x, image * a + channel),
                Some(channel) => (y, image * b + channel),
            };
            to.copy_from_slice(&from[at * plane..][..plane]);
        });
        z
    }

    /// The part of the gradient that belongs to one input, if it is wanted.
    fn part<T: Real + WithDType>(
        &self,
        nth: usize,
        like: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<Option<Tensor>> {
        if !self.wanted[nth] {
            return Ok(None);
        }
        let ([a, b], plane) = (self.channels, self.plane);
        let (count, first) = ([a, b][nth], [0, a][nth]);
        let grad = grad.contiguous()?;
        let grad = Elements::of(&grad);
        let grad = grad.slice::<T>()?;
        // SAFETY: every plane is written below.
        #[allow(unsafe_code, reason = "results are not zeroed first")]
        let mut part = unsafe { unwritten(like.elem_count()) };
        part.par_chunks_mut(plane).enumerate().for_each(|(at, to)| {
            let at = at / count * (a + b) + first + at % count;
            to.copy_from_slice(&grad[at * plane..][..plane]);
        });
        Tensor::from_vec(part, like.shape(), like.device()).map(Some)
    }
}

impl CustomOp2 for Concat {
    fn name(&self) -> &'static str {
        "concat"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        y: &CpuStorage,
        y_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let args = [(x, x_layout), (y, y_layout)];
        let z = match x.dtype() {
            DType::F32 => {
                let [x, y] = args.map(view::<f32>);
                f32::to_cpu_storage_owned(self.forward(x?, y?))
            }
            DType::F64 => {
                let [x, y] = args.map(view::<f64>);
                f64::to_cpu_storage_owned(self.forward(x?, y?))
            }
            other => bail!("concat: expected f32 or f64, got {other:?}"),
        };
        let (n, a, h, w) = x_layout.shape().dims4()?;
        Ok((z, Shape::from((n, a + self.channels[1], h, w))))
    }

    fn bwd(
        &self,
        x: &Tensor,
        y: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        match x.dtype() {
            DType::F32 => Ok((self.part::<f32>(0, x, grad)?, self.part::<f32>(1, y, grad)?)),
            _ => Ok((self.part::<f64>(0, x, grad)?, self.part::<f64>(1, y, grad)?)),
        }
    }
}
