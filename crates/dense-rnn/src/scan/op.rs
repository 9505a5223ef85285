//! The scan as a `CustomOp`: dtypes, layouts and the split into images × directions.

use std::sync::OnceLock;

use attention::{Direction, join_directions, take_direction};
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp3, DType, Layout, Shape, Tensor, WithDType, bail};
use grid_ops::{Real, simd};
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

    /// The parameters of `direction` out of `[4, d + a, d]` and `[4, a]`.
    fn weights_of<'a, T>(
        &self,
        direction: Direction,
        matrix: &'a [T],
        vector: &'a [T],
    ) -> Weights<'a, T> {
        let shape = self.plan.shape;
        let (of_matrix, of_vector) = (shape.len() * shape.value, vector.len() / 4);
        Weights {
            matrix: &matrix[direction as usize * of_matrix..][..of_matrix],
            vector: &vector[direction as usize * of_vector..][..of_vector],
        }
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
        let run = |task: usize| {
            let direction = Direction::ALL[task % 4];
            let input = take_direction(input, task / 4, direction, size, shape.len());
            let weights = self.weights_of(direction, matrix, vector);
            simd(
                #[inline(always)]
                || self.plan.forward(&input, weights),
            )
        };
        let passed: Vec<Passed<T>> = (0..n * 4).into_par_iter().map(run).collect();
        let parts: Vec<&[T]> = passed.iter().map(|part| part.hidden.as_slice()).collect();
        let hidden = join_directions(&parts, size, shape.value);
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
        let Plan { size, shape, .. } = self.plan;
        let flat = |t: &Tensor| t.flatten_all()?.to_vec1::<T>();
        let (inputs, matrices, vectors, grads) =
            (flat(input)?, flat(matrix)?, flat(vector)?, flat(grad)?);
        let run = |(task, passed): (usize, &Passed<T>)| {
            let direction = Direction::ALL[task % 4];
            let input = take_direction(&inputs, task / 4, direction, size, shape.len());
            let weights = self.weights_of(direction, &matrices, &vectors);
            let mut grad = take_direction(&grads, task / 4, direction, size, shape.value);
            simd(
                #[inline(always)]
                || self.plan.backward(&input, weights, passed, &mut grad),
            )
        };
        let gradients: Vec<Gradients<T>> = passed.par_iter().enumerate().map(run).collect();

        let parts: Vec<&[T]> = gradients.iter().map(|part| part.input.as_slice()).collect();
        let d_input = join_directions(&parts, size, shape.len());
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
