//! The scan as a `CustomOp`: dtypes, layouts and the split into images × directions.

use std::sync::OnceLock;

use attention::{Direction, places, planes_of_rows, rows_of_planes};
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp3, DType, Layout, Shape, Tensor, WithDType, bail};
use grid_ops::{Elements, Real};
use rayon::prelude::*;

use super::kernel::{Passed, Plan, Weights};

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

    /// Where the unit of each row lies in a plane, for each direction.
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
        let units = self.plan.units();
        let places = self.places();
        let mut hidden = vec![T::zero(); n * 4 * shape.value * units];
        let run = |(task, hidden): (usize, &mut [T])| {
            let (len, places) = (self.plan.width() * units, &places[task % 4]);
            let rows = rows_of_planes(&input[task * len..][..len], places);
            let passed = self.plan.forward(&rows, weights_of(task, matrix, vector));
            planes_of_rows(&passed.hidden, places, hidden);
            passed
        };
        let parts = hidden.par_chunks_mut(shape.value * units);
        let passed: Vec<Passed<T>> = parts.enumerate().map(run).collect();
        // The same instance runs forward once only; a second run would find the same values.
        let _ = kept.set(passed);
        Ok((T::to_cpu_storage_owned(hidden), Shape::from((n, 4 * shape.value, size.0, size.1))))
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
        let units = self.plan.units();
        let places = self.places();
        let mut d_input = vec![T::zero(); inputs.len()];
        let run = |((task, passed), d_input): ((usize, &Passed<T>), &mut [T])| {
            let (len, places) = (self.plan.width() * units, &places[task % 4]);
            let rows = rows_of_planes(&inputs[task * len..][..len], places);
            let len = self.plan.shape.value * units;
            let grad = rows_of_planes(&grads[task * len..][..len], places);
            let weights = weights_of(task, matrices, vectors);
            let gradients = self.plan.backward(&rows, weights, passed, grad);
            planes_of_rows(&gradients.input, places, d_input);
            (gradients.matrix, gradients.vector)
        };
        let parts = d_input.par_chunks_mut(self.plan.width() * units);
        let parameters: Vec<(Vec<T>, Vec<T>)> =
            passed.par_iter().enumerate().zip(parts).map(run).collect();
        // Serial on purpose: the order of a float sum must not depend on the thread count.
        let mut d_matrix = vec![T::zero(); matrices.len()];
        let mut d_vector = vec![T::zero(); vectors.len()];
        for (task, (matrix, vector)) in parameters.iter().enumerate() {
            add_at(&mut d_matrix, task % 4, matrix);
            add_at(&mut d_vector, task % 4, vector);
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
