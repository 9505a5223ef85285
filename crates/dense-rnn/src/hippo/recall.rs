//! The memory of sequences, and what can be read off it.

use candle_core::{CpuStorage, CustomOp1, DType, Layout, Shape, Tensor, WithDType, bail};
use grid_ops::{Elements, Reads, Real, apply1, is_composed, view};
use rayon::prelude::*;

use super::{Legs, step::Step};
use crate::{Error, Result, composed};

/// The memory of each channel of sequences after each of their steps.
///
/// # Shapes
///
/// - `input`: `[n, t, m]`
/// - returns: `[n, t, order, m]`
///
/// Differentiable. O(order) time for each number, O(order²) with
/// [`Discretisation::ZeroOrderHold`](super::Discretisation::ZeroOrderHold). Off the CPU it runs as
/// [`composed::legs_memory`].
///
/// # Errors
///
/// [`Error::Config`] for an order that there is not, [`Error::Shape`], and [`Error::Candle`] for
/// integer tensors.
pub fn legs_memory(input: &Tensor, legs: &Legs) -> Result<Tensor> {
    let m = checked_sequences(input, legs)?;
    if is_composed(input) {
        return composed::legs_memory(input, legs);
    }
    Ok(apply1(&input.contiguous()?, MemoryOp { legs: *legs, m }, Reads::NOTHING)?)
}

/// The channels, or why [`legs_memory`] cannot run.
pub(crate) fn checked_sequences(input: &Tensor, legs: &Legs) -> Result<usize> {
    legs.check()?;
    let &[_, _, m] = input.dims() else {
        return Err(shape("legs_memory", "input: [n, t, m]", input));
    };
    if input.elem_count() == 0 {
        return Err(shape("legs_memory", "input: [n, t, m], none of them zero", input));
    }
    Ok(m)
}

/// The past that memories stand for, at `points` equal distances from its beginning to now.
///
/// `f(s) = Σ_n c[n] √(2n+1) P_n(2 s − 1)`, `P_n` the Legendre polynomials, at
/// `s = (k + 1/2)/points`.
///
/// # Shapes
///
/// - `memory`: `[.., order, m]`
/// - returns: `[.., points, m]`
///
/// Differentiable.
///
/// # Errors
///
/// [`Error::Shape`], also for no points.
pub fn legs_reconstruction(memory: &Tensor, points: usize) -> Result<Tensor> {
    let op = "legs_reconstruction";
    let order = match *memory.dims() {
        [.., order, m] if order > 0 && m > 0 && points > 0 => order,
        _ => return Err(shape(op, "memory: [.., order, m] and at least one point", memory)),
    };
    let mut basis = Vec::with_capacity(points * order);
    for k in 0..points {
        let x = 2.0 * (k as f64 + 0.5) / points as f64 - 1.0;
        let (mut before, mut here) = (0.0, 1.0);
        for n in 0..order {
            let degree = n as f64;
            basis.push(here * (2.0 * degree + 1.0).sqrt());
            // (n + 1) P_{n+1} = (2n + 1) x P_n − n P_{n−1}.
            let next = ((2.0 * degree + 1.0) * x * here - degree * before) / (degree + 1.0);
            (before, here) = (here, next);
        }
    }
    let basis = Tensor::from_vec(basis, (points, order), memory.device())?;
    Ok(basis.to_dtype(memory.dtype())?.broadcast_matmul(memory)?)
}

fn shape(op: &'static str, expected: &'static str, got: &Tensor) -> Error {
    Error::Shape { op, expected, got: got.dims().to_vec() }
}

struct MemoryOp {
    legs: Legs,
    m: usize,
}

impl MemoryOp {
    fn steps<T: Real>(&self, count: usize) -> Vec<Step<T>> {
        (0..count).map(|t| Step::new(&self.legs, t)).collect()
    }

    fn forward<T: Real>(&self, input: &[T], count: usize) -> Vec<T> {
        let (m, width, steps) = (self.m, self.legs.order * self.m, self.steps(count));
        let mut all = vec![T::zero(); input.len() * self.legs.order];
        let sequences = all.par_chunks_mut(count * width).zip(input.par_chunks(count * m));
        sequences.for_each(|(all, input)| {
            let mut memory = vec![T::zero(); width];
            let inputs = input.chunks_exact(m).zip(&steps);
            for (to, (input, step)) in all.chunks_exact_mut(width).zip(inputs) {
                step.run(&mut memory, input);
                to.copy_from_slice(&memory);
            }
        });
        all
    }

    fn backward<T: Real>(&self, grad: &[T], count: usize) -> Vec<T> {
        let (m, width, steps) = (self.m, self.legs.order * self.m, self.steps(count));
        let mut all = vec![T::zero(); grad.len() / self.legs.order];
        let sequences = all.par_chunks_mut(count * m).zip(grad.par_chunks(count * width));
        sequences.for_each(|(all, grad)| {
            let mut later = vec![T::zero(); width];
            let grads = grad.chunks_exact(width).zip(&steps);
            for (to, (grad, step)) in all.chunks_exact_mut(m).zip(grads).rev() {
                later.iter_mut().zip(grad).for_each(|(later, &x)| *later = *later + x);
                step.back(&mut later, to);
            }
        });
        all
    }
}

impl CustomOp1 for MemoryOp {
    fn name(&self) -> &'static str {
        "legs-memory"
    }

    fn cpu_fwd(
        &self,
        input: &CpuStorage,
        layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let (n, count, m) = layout.shape().dims3()?;
        let run = match input {
            CpuStorage::F32(_) => {
                f32::to_cpu_storage_owned(self.forward(view::<f32>((input, layout))?, count))
            }
            CpuStorage::F64(_) => {
                f64::to_cpu_storage_owned(self.forward(view::<f64>((input, layout))?, count))
            }
            _ => bail!("legs-memory: expected f32 or f64"),
        };
        Ok((run, Shape::from((n, count, self.legs.order, m))))
    }

    fn bwd(
        &self,
        input: &Tensor,
        _memory: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<Option<Tensor>> {
        let (count, grad) = (input.dim(1)?, grad.contiguous()?);
        let grads = Elements::of(&grad);
        Ok(Some(match input.dtype() {
            DType::F32 => {
                let of_input = self.backward(grads.slice::<f32>()?, count);
                Tensor::from_vec(of_input, input.shape(), input.device())?
            }
            _ => {
                let of_input = self.backward(grads.slice::<f64>()?, count);
                Tensor::from_vec(of_input, input.shape(), input.device())?
            }
        }))
    }
}
