//! The sum of two grids and an activation in one operation.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, DType, Layout, Shape, Tensor, WithDType, bail};
use rayon::prelude::*;

use crate::conv2d::Activation;
use crate::error::checked_grid;
use crate::{
    Elements, Error, Reads, Real, Result, apply2, composed, inlined, is_composed, simd, unwritten,
    view,
};

/// Elements that one task works on: a few of them fit a core's cache.
const CHUNK: usize = 1 << 14;

/// `φ(x + y)`, the end of a residual block.
///
/// # Shapes
///
/// - `x`, `y`: `[n, c, h, w]`, `f32` or `f64`
/// - returns: the same
///
/// Differentiable in both.
///
/// # Errors
///
/// [`Error::Shape`] where shapes differ, [`Error::DType`] for other number types.
pub fn add(x: &Tensor, y: &Tensor, activation: Activation) -> Result<Tensor> {
    checked(x, y)?;
    if is_composed(x) {
        return composed::add(x, y, activation);
    }
    let reads = Reads { output: activation != Activation::Identity, ..Reads::NOTHING };
    Ok(apply2(&x.contiguous()?, &y.contiguous()?, Add { activation }, reads)?)
}

/// The sum of two gradients of one shape.
pub(crate) fn sum(x: &Tensor, y: &Tensor) -> candle_core::Result<Tensor> {
    if is_composed(x) {
        return x.detach() + y.detach();
    }
    let add = Add { activation: Activation::Identity };
    x.detach().contiguous()?.apply_op2_no_bwd(&y.detach().contiguous()?, &add)
}

/// Whether [`add`] can run.
pub(crate) fn checked(x: &Tensor, y: &Tensor) -> Result<()> {
    let op = "add";
    checked_grid(op, x)?;
    if x.dims() != y.dims() {
        return Err(Error::Shape { op, expected: "y: [n, c, h, w] as x", got: y.dims().to_vec() });
    }
    if x.dtype() != y.dtype() {
        return Err(Error::DType { op, expected: "y: the numbers of x", got: y.dtype() });
    }
    Ok(())
}

struct Add {
    activation: Activation,
}

impl Add {
    fn forward<T: Real>(&self, x: &[T], y: &[T]) -> Vec<T> {
        let gate = self.activation.gate::<T>();
        each(x, y, move |x, y| gate.apply(x + y))
    }

    fn backward<T: Real + WithDType>(
        &self,
        sum: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<Tensor> {
        let (sum, grad) = (sum.contiguous()?, grad.contiguous()?);
        let (held, flowing) = (Elements::of(&sum), Elements::of(&grad));
        let gate = self.activation.gate::<T>();
        let d_x = each(flowing.slice::<T>()?, held.slice::<T>()?, move |g, y| gate.held(g, y));
        Tensor::from_vec(d_x, grad.shape(), grad.device())
    }
}

/// `f` of every pair.
pub(crate) fn each<T: Real>(x: &[T], y: &[T], f: impl Fn(T, T) -> T + Copy + Sync) -> Vec<T> {
    // SAFETY: every element is written below.
    #[allow(unsafe_code, reason = "results are not zeroed first")]
    let mut z = unsafe { unwritten(x.len()) };
    let run = inlined(
        #[inline(always)]
        |z: &mut [T], x: &[T], y: &[T]| {
            z.iter_mut().zip(x).zip(y).for_each(|((z, &x), &y)| *z = f(x, y));
        },
    );
    let pairs = x.par_chunks(CHUNK).zip(y.par_chunks(CHUNK));
    z.par_chunks_mut(CHUNK).zip(pairs).for_each(|(z, (x, y))| {
        simd(
            #[inline(always)]
            || run(z, x, y),
        );
    });
    z
}

impl CustomOp2 for Add {
    fn name(&self) -> &'static str {
        "add"
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
            other => bail!("add: expected f32 or f64, got {other:?}"),
        };
        Ok((z, x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        _x: &Tensor,
        _y: &Tensor,
        sum: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        // Both get the same, and share it.
        let d = match (self.activation, sum.dtype()) {
            (Activation::Identity, _) => grad.clone(),
            (_, DType::F32) => self.backward::<f32>(sum, grad)?,
            _ => self.backward::<f64>(sum, grad)?,
        };
        Ok((Some(d.clone()), Some(d)))
    }
}
