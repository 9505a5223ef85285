//! The cell's scan as a `CustomOp`: dtypes, layouts and the split into images × directions.

use std::sync::OnceLock;

use attention::{Direction, places};
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, DType, Layout, Shape, Tensor, WithDType, bail};
use grid_ops::{Elements, Real, unwritten, view};
use rayon::prelude::*;

use super::kernel::{self, Cell, Gradients, Passed};
use super::{Legs, step::Step};

/// A scan of one call; holds what the backward pass needs of the forward pass.
pub(super) struct HippoOp {
    cell: Cell,
    size: (usize, usize),
    legs: Legs,
    /// By image and direction.
    f32: OnceLock<Vec<Passed<f32>>>,
    f64: OnceLock<Vec<Passed<f64>>>,
}

type Arg<'a> = (&'a CpuStorage, &'a Layout);

impl HippoOp {
    pub(super) fn new(cell: Cell, size: (usize, usize), legs: &Legs) -> Self {
        Self { cell, size, legs: *legs, f32: OnceLock::new(), f64: OnceLock::new() }
    }

    /// One an anti-diagonal.
    fn steps<T: Real>(&self) -> Vec<Step<T>> {
        (0..self.size.0 + self.size.1 - 1).map(|t| Step::new(&self.legs, t)).collect()
    }

    /// Where the unit of each row lies in the image, for each direction.
    fn places(&self) -> Vec<Vec<usize>> {
        let order: Vec<usize> = (0..self.size.0 * self.size.1).collect();
        let of = |&direction: &Direction| places(&order, direction, self.size);
        Direction::ALL[..self.cell.directions].iter().map(of).collect()
    }

    /// The rows of one image and direction in those of all, `[n, h, w, k, width]`.
    fn take<T: Copy>(&self, all: &[T], width: usize, task: usize, places: &[usize]) -> Vec<T> {
        let k = self.cell.directions;
        let image = &all[task / k * places.len() * k * width..];
        let row = |place: &usize| &image[(place * k + task % k) * width..][..width];
        places.iter().flat_map(row).copied().collect()
    }

    /// The inverse of [`Self::take`] for all images and directions.
    fn join<T: Real>(&self, parts: &[Vec<T>], width: usize, places: &[Vec<usize>]) -> Vec<T> {
        let (k, units) = (self.cell.directions, places[0].len());
        // SAFETY: every unit of every direction of every image is written below.
        #[allow(unsafe_code, reason = "results are not zeroed first")]
        let mut all: Vec<T> = unsafe { unwritten(parts.len() * units * width) };
        let images = all.par_chunks_mut(units * k * width).zip(parts.par_chunks(k));
        images.for_each(|(all, parts)| {
            for (direction, (part, places)) in parts.iter().zip(places).enumerate() {
                for (row, place) in part.chunks_exact(width).zip(places) {
                    all[(place * k + direction) * width..][..width].copy_from_slice(row);
                }
            }
        });
        all
    }

    fn forward<T: Real + WithDType>(
        &self,
        input: Arg<'_>,
        params: Arg<'_>,
        kept: &OnceLock<Vec<Passed<T>>>,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let (cell, (h, w), n) = (self.cell, self.size, input.1.dims()[0]);
        let (input, params) = (view::<T>(input)?, view::<T>(params)?);
        let (places, steps) = (self.places(), self.steps());
        let run = |task: usize| {
            let k = task % cell.directions;
            let rows = self.take(input, cell.width(), task, &places[k]);
            kernel::forward(cell, self.size, &steps, &rows, cell.weights(k, params))
        };
        let tasks = (0..n * cell.directions).into_par_iter();
        let (hidden, passed): (Vec<Vec<T>>, Vec<Passed<T>>) = tasks.map(run).unzip();
        // The same instance runs forward once only; a second run would find the same values.
        let _ = kept.set(passed);
        let hidden = self.join(&hidden, cell.d, &places);
        Ok((T::to_cpu_storage_owned(hidden), Shape::from((n, h, w, cell.directions, cell.d))))
    }

    fn backward<T: Real + WithDType>(
        &self,
        (input, params): (&Tensor, &Tensor),
        (hidden, grad): (&Tensor, &Tensor),
        kept: &OnceLock<Vec<Passed<T>>>,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let Some(passed) = kept.get() else { bail!("hippo-scan: backward before forward") };
        let (cell, grad) = (self.cell, grad.contiguous()?);
        let [hidden, grads, all_params] = [hidden, &grad, params].map(Elements::of);
        let (hidden, grads) = (hidden.slice::<T>()?, grads.slice::<T>()?);
        let all_params = all_params.slice::<T>()?;
        let (places, steps) = (self.places(), self.steps());
        let run = |(task, passed): (usize, &Passed<T>)| {
            let k = task % cell.directions;
            let take = |all| self.take(all, cell.d, task, &places[k]);
            let (weights, hidden) = (cell.weights(k, all_params), take(hidden));
            kernel::backward(cell, self.size, &steps, weights, (&hidden, passed), take(grads))
        };
        let parts: Vec<Gradients<T>> = passed.par_iter().enumerate().map(run).collect();
        // Serial on purpose: the order of a float sum must not depend on the thread count.
        let mut d_params = vec![T::zero(); all_params.len()];
        for (task, part) in parts.iter().enumerate() {
            cell.add_to(&mut d_params, task % cell.directions, part);
        }
        let rows: Vec<Vec<T>> = parts.into_iter().map(|part| part.input).collect();
        let d_input = self.join(&rows, cell.width(), &places);
        let on = input.device();
        let d_input = Tensor::from_vec(d_input, input.shape(), on)?;
        Ok((Some(d_input), Some(Tensor::from_vec(d_params, params.shape(), on)?)))
    }
}

impl CustomOp2 for HippoOp {
    fn name(&self) -> &'static str {
        "hippo-scan"
    }

    fn cpu_fwd(
        &self,
        input: &CpuStorage,
        input_layout: &Layout,
        params: &CpuStorage,
        params_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let (dtype, input, params) =
            (input.dtype(), (input, input_layout), (params, params_layout));
        match dtype {
            DType::F32 => self.forward(input, params, &self.f32),
            DType::F64 => self.forward(input, params, &self.f64),
            other => bail!("hippo-scan: expected f32 or f64, got {other:?}"),
        }
    }

    fn bwd(
        &self,
        input: &Tensor,
        params: &Tensor,
        hidden: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let (inputs, seen) = ((input, params), (hidden, grad));
        match input.dtype() {
            DType::F32 => self.backward(inputs, seen, &self.f32),
            _ => self.backward(inputs, seen, &self.f64),
        }
    }
}
