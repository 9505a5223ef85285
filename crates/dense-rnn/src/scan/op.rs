//! The scan as a `CustomOp`: dtypes, layouts and the split into images × directions.

use std::sync::OnceLock;

use attention::{Direction, join_directions, places, take_direction};
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp3, DType, Layout, Shape, Tensor, WithDType, bail};
use grid_ops::{Elements, Real};
use rayon::prelude::*;

use super::kernel::{Gradients, Passed, Plan, Weights};

/// A scan of one call; holds what the backward pass needs of the forward pass.
pub(super) struct ScanOp {
    plan: Plan,
    f32: OnceLock<Vec<Passed<f32>>>,
    f64: OnceLock<Vec<Passed<f64>>>,
}

type Arg<'a> = (&'a CpuStorage, &'a Layout);

impl ScanOp {
    pub(super) fn new(plan: Plan) -> Self {
        Self { plan, f32: OnceLock::new(), f64: OnceLock::new() }
    }

    /// Where the unit of each row lies in the image, for each direction.
    fn places(&self) -> [Vec<usize>; 4] {
        let order = self.plan.tiling().order();
        Direction::ALL.map(|direction| places(&order, direction, self.plan.size))
    }

    fn forward<T: Real + WithDType>(
        &self,
        [input, matrix, vector]: [Arg<'_>; 3],
        kept: &OnceLock<Vec<Passed<T>>>,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let Plan { size, shape, .. } = self.plan;
        let n = input.1.dims()[0];
        let (input, matrix, vector) = (
            grid_ops::view::<T>(input)?,
            grid_ops::view::<T>(matrix)?,
            grid_ops::view::<T>(vector)?,
        );
        let places = self.places();
        let run = |task: usize| {
            let (direction, places) = (Direction::ALL[task % 4], &places[task % 4]);
            let rows = take_direction(input, task / 4, direction, places, self.plan.width());
            self.plan.forward(&rows, weights_of(task, matrix, vector))
        };
        let passed: Vec<Passed<T>> = (0..n * 4).into_par_iter().map(run).collect();
        let parts: Vec<&[T]> = passed.iter().map(|part| part.hidden.as_slice()).collect();
        let hidden = join_directions(&parts, &places, shape.value);
        // The same instance runs forward once only; a second run would find the same values.
        let _ = kept.set(passed);
        Ok((T::to_cpu_storage_owned(hidden), Shape::from((n, size.0, size.1, 4, shape.value))))
    }

    fn backward<T: Real + WithDType>(
        &self,
        [input, matrix, vector]: [&Tensor; 3],
        grad: &Tensor,
        kept: &OnceLock<Vec<Passed<T>>>,
    ) -> candle_core::Result<[Option<Tensor>; 3]> {
        let Some(passed) = kept.get() else { bail!("scan: backward before forward") };
        let grad = grad.contiguous()?;
        let [inputs, matrices, vectors, grads] = [input, matrix, vector, &grad].map(Elements::of);
        let (inputs, grads) = (inputs.slice::<T>()?, grads.slice::<T>()?);
        let (matrices, vectors) = (matrices.slice::<T>()?, vectors.slice::<T>()?);
        let places = self.places();
        let run = |(task, passed): (usize, &Passed<T>)| {
            let (direction, places) = (Direction::ALL[task % 4], &places[task % 4]);
            let take = |all, width| take_direction(all, task / 4, direction, places, width);
            let grad = take(grads, self.plan.shape.value);
            let rows =
                if self.plan.needs_input() { take(inputs, self.plan.width()) } else { Vec::new() };
            self.plan.backward(&rows, weights_of(task, matrices, vectors), passed, grad)
        };
        let gradients: Vec<Gradients<T>> = passed.par_iter().enumerate().map(run).collect();
        let parts: Vec<&[T]> = gradients.iter().map(|part| part.input.as_slice()).collect();
        let d_input = join_directions(&parts, &places, self.plan.width());
        // Serial on purpose: the order of a float sum must not depend on the thread count.
        let mut d_matrix = vec![T::zero(); matrices.len()];
        let mut d_vector = vec![T::zero(); vectors.len()];
        for (task, part) in gradients.iter().enumerate() {
            add_at(&mut d_matrix, task % 4, &part.matrix);
            add_at(&mut d_vector, task % 4, &part.vector);
        }
        let on = input.device();
        Ok([
            Some(Tensor::from_vec(d_input, input.shape(), on)?),
            Some(Tensor::from_vec(d_matrix, matrix.shape(), on)?),
            Some(Tensor::from_vec(d_vector, vector.shape(), on)?),
        ])
    }
}

/// The parameters of a task's direction, the fourth part of each that is the direction's.
pub(super) fn weights_of<'a, T>(task: usize, matrix: &'a [T], vector: &'a [T]) -> Weights<'a, T> {
    let part = |all: &'a [T]| &all[task % 4 * (all.len() / 4)..][..all.len() / 4];
    Weights { matrix: part(matrix), vector: part(vector) }
}

/// Adds `part` to the `slot`-th of the equal parts of `sums`.
fn add_at<T: Real>(sums: &mut [T], slot: usize, part: &[T]) {
    for (sum, &x) in sums[slot * part.len()..].iter_mut().zip(part) {
        *sum = *sum + x;
    }
}

impl CustomOp3 for ScanOp {
    fn name(&self) -> &'static str {
        "scan"
    }

    fn cpu_fwd(
        &self,
        input: &CpuStorage,
        input_layout: &Layout,
        matrix: &CpuStorage,
        matrix_layout: &Layout,
        vector: &CpuStorage,
        vector_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let args = [(input, input_layout), (matrix, matrix_layout), (vector, vector_layout)];
        match input.dtype() {
            DType::F32 => self.forward(args, &self.f32),
            DType::F64 => self.forward(args, &self.f64),
            other => bail!("scan: expected f32 or f64, got {other:?}"),
        }
    }

    fn bwd(
        &self,
        input: &Tensor,
        matrix: &Tensor,
        vector: &Tensor,
        _hidden: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let args = [input, matrix, vector];
        let [d_input, d_matrix, d_vector] = match input.dtype() {
            DType::F32 => self.backward(args, grad, &self.f32)?,
            _ => self.backward(args, grad, &self.f64)?,
        };
        Ok((d_input, d_matrix, d_vector))
    }
}
