//! Attention of every unit over its four quadrants, without a recurrence.

use std::sync::OnceLock;

use candle_core::{CpuStorage, CustomOp2, Layout, Shape, Tensor, WithDType, bail};
use grid_ops::{Real, inlined, simd};
use rayon::prelude::*;

use crate::kernel::{Attender, RowShape, Upstream};
use crate::{Direction, Error, Result, Score, join_directions, predecessors_dense, take_direction};

/// What each unit of a grid attends to in the quadrant behind it, for all four directions.
///
/// `out(v) = Σ a(v, u) value(u)` over the units `u` of `v`'s quadrant without `v`, where
/// `a(v, ·) = softmax z(query(v), key(·))`; zero at the corner that has no predecessor. This is the
/// control without recurrence: nothing that one unit finds is handed on to the next.
///
/// # Shapes
///
/// - `input`: `[n, h, w, 4, a + d + a]`: query, value and key of every unit and direction
/// - `vector`: `[4, a]`, the scoring vectors of [`Score::TanhAdditive`]; `None` for
///   [`Score::ScaledDot`]
/// - returns: `[n, h, w, 4, d]`
///
/// Differentiable in both. O(n·(h·w)²·(a + d)) time, O(n·h·w·(a + d)) memory.
///
/// # Errors
///
/// [`Error::Shape`] where the shapes differ from the above, [`Error::Candle`] for integer tensors.
pub fn quadrant_attention(
    input: &Tensor,
    vector: Option<&Tensor>,
    keys: usize,
    score: Score,
) -> Result<Tensor> {
    let op = "quadrant_attention";
    let &[_, h, w, 4, width] = input.dims() else {
        let expected = "input: [n, h, w, 4, a + d + a]";
        return Err(Error::Shape { op, expected, got: input.dims().to_vec() });
    };
    if keys == 0 || width <= 2 * keys || input.elem_count() == 0 {
        let expected = "input: [n, h, w, 4, a + d + a] with n, h, w, a and d all positive";
        return Err(Error::Shape { op, expected, got: input.dims().to_vec() });
    }
    let vector = match vector {
        Some(vector) if vector.dims() == [4, keys] => vector.contiguous()?,
        Some(vector) => {
            let expected = "vector: [4, a]";
            return Err(Error::Shape { op, expected, got: vector.dims().to_vec() });
        }
        None => Tensor::zeros((4, keys), input.dtype(), input.device())?,
    };
    let shape = RowShape { value: width - 2 * keys, key: keys };
    let op = QuadrantAttention { size: (h, w), shape, score, kept: Kept::default() };
    Ok(input.contiguous()?.apply_op2(&vector, op)?)
}

/// Attended values and log-sums per image and direction, kept from forward to backward.
#[derive(Default)]
struct Kept {
    f32: OnceLock<Vec<Passed<f32>>>,
    f64: OnceLock<Vec<Passed<f64>>>,
}

struct QuadrantAttention {
    size: (usize, usize),
    shape: RowShape,
    score: Score,
    kept: Kept,
}

/// One direction of one image after the forward pass.
struct Passed<T> {
    attended: Vec<T>,
    log_sums: Vec<T>,
}

impl QuadrantAttention {
    fn width(&self) -> usize {
        self.shape.key + self.shape.len()
    }

    /// Query rows and value–key rows of one direction of one image, and an attender that has
    /// absorbed every key.
    #[inline(always)]
    fn prepare<'p, T: Real>(
        &self,
        input: &[T],
        vector: &'p [T],
        task: usize,
    ) -> (Vec<T>, Vec<T>, Attender<'p, T>) {
        let direction = Direction::ALL[task % 4];
        let all = take_direction(input, task / 4, direction, self.size, self.width());
        let a = self.shape.key;
        let (mut queries, mut rows) = (Vec::new(), Vec::new());
        for unit in all.chunks_exact(self.width()) {
            queries.extend_from_slice(&unit[..a]);
            rows.extend_from_slice(&unit[a..]);
        }
        let vector = &vector[direction as usize * a..][..a];
        let units = self.size.0 * self.size.1;
        let mut attender = Attender::new(self.score, self.shape, vector, units);
        for unit in 0..units {
            attender.absorb(unit, self.shape.split(&rows, unit).1);
        }
        (queries, rows, attender)
    }

    fn forward<T: Real>(&self, input: &[T], vector: &[T]) -> Vec<Passed<T>> {
        let (_, w) = self.size;
        let units = self.size.0 * w;
        let tasks = input.len() / (units * self.width());
        let (a, d) = (self.shape.key, self.shape.value);
        let run = inlined(
            #[inline(always)]
            |task: usize| {
                let (queries, rows, mut attender) = self.prepare(input, vector, task);
                let mut weights = Vec::new();
                let mut attended = vec![T::zero(); units * d];
                let mut log_sums = Vec::with_capacity(units);
                for (unit, out) in attended.chunks_exact_mut(d).enumerate() {
                    let runs = predecessors_dense((unit / w, unit % w), w);
                    let query = &queries[unit * a..][..a];
                    log_sums.push(attender.attend(query, runs, &rows, &mut weights, out));
                }
                Passed { attended, log_sums }
            },
        );
        (0..tasks)
            .into_par_iter()
            .map(|task| {
                simd(
                    #[inline(always)]
                    || run(task),
                )
            })
            .collect()
    }

    /// Gradients of `input` and `vector`.
    fn backward<T: Real>(
        &self,
        input: &[T],
        vector: &[T],
        passed: &[Passed<T>],
        grad: &[T],
    ) -> (Vec<T>, Vec<T>) {
        let (_, w) = self.size;
        let (a, d) = (self.shape.key, self.shape.value);
        let run = inlined(
            #[inline(always)]
            |(task, passed): (usize, &Passed<T>)| {
                let (queries, rows, mut attender) = self.prepare(input, vector, task);
                let direction = Direction::ALL[task % 4];
                let grad = take_direction(grad, task / 4, direction, self.size, d);
                let mut grad_rows = vec![T::zero(); rows.len()];
                let mut grad_queries = vec![T::zero(); queries.len()];
                let mut grad_vector = vec![T::zero(); a];
                for (unit, grad) in grad.chunks_exact(d).enumerate() {
                    attender.attend_backward(
                        &queries[unit * a..][..a],
                        predecessors_dense((unit / w, unit % w), w),
                        &rows,
                        Upstream {
                            grad,
                            attended: &passed.attended[unit * d..][..d],
                            log_sum: passed.log_sums[unit],
                        },
                        &mut grad_rows,
                        &mut grad_queries[unit * a..][..a],
                        &mut grad_vector,
                    );
                }
                let mut grad_input = Vec::with_capacity(grad_rows.len() + grad_queries.len());
                for (query, row) in
                    grad_queries.chunks_exact(a).zip(grad_rows.chunks_exact(self.shape.len()))
                {
                    grad_input.extend_from_slice(query);
                    grad_input.extend_from_slice(row);
                }
                (grad_input, grad_vector)
            },
        );
        let (parts, vectors): (Vec<_>, Vec<_>) = passed
            .par_iter()
            .enumerate()
            .map(|task| {
                simd(
                    #[inline(always)]
                    || run(task),
                )
            })
            .unzip();
        // Serial on purpose: the order of a float sum must not depend on the thread count.
        let mut grad_vector = vec![T::zero(); vector.len()];
        for (task, part) in vectors.iter().enumerate() {
            for (sum, &g) in grad_vector[task % 4 * a..].iter_mut().zip(part) {
                *sum = *sum + g;
            }
        }
        let parts: Vec<&[T]> = parts.iter().map(Vec::as_slice).collect();
        (join_directions(&parts, self.size, self.width()), grad_vector)
    }

    fn forward_storage<T: Real + WithDType>(
        &self,
        input: (&CpuStorage, &Layout),
        vector: (&CpuStorage, &Layout),
        kept: &OnceLock<Vec<Passed<T>>>,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let dims = input.1.dims();
        let shape = Shape::from((dims[0], dims[1], dims[2], dims[3], self.shape.value));
        let passed = self.forward(grid_ops::view::<T>(input)?, grid_ops::view::<T>(vector)?);
        let parts: Vec<&[T]> = passed.iter().map(|part| part.attended.as_slice()).collect();
        let joined = join_directions(&parts, self.size, self.shape.value);
        // The same instance may run forward once only; a second run would find the same values.
        let _ = kept.set(passed);
        Ok((T::to_cpu_storage_owned(joined), shape))
    }

    fn backward_tensors<T: Real + WithDType>(
        &self,
        input: &Tensor,
        vector: &Tensor,
        grad: &Tensor,
        kept: &OnceLock<Vec<Passed<T>>>,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let Some(passed) = kept.get() else { bail!("quadrant-attention: backward before forward") };
        let flat = |t: &Tensor| t.flatten_all()?.to_vec1::<T>();
        let (d_input, d_vector) =
            self.backward(&flat(input)?, &flat(vector)?, passed, &flat(grad)?);
        let on = input.device();
        let d_input = Tensor::from_vec(d_input, input.shape(), on)?;
        Ok((Some(d_input), Some(Tensor::from_vec(d_vector, vector.shape(), on)?)))
    }
}

impl CustomOp2 for QuadrantAttention {
    fn name(&self) -> &'static str {
        "quadrant-attention"
    }

    fn cpu_fwd(
        &self,
        input: &CpuStorage,
        input_layout: &Layout,
        vector: &CpuStorage,
        vector_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let (args, vectors) = ((input, input_layout), (vector, vector_layout));
        match (input, vector) {
            (CpuStorage::F32(_), CpuStorage::F32(_)) => {
                self.forward_storage(args, vectors, &self.kept.f32)
            }
            (CpuStorage::F64(_), CpuStorage::F64(_)) => {
                self.forward_storage(args, vectors, &self.kept.f64)
            }
            _ => bail!("quadrant-attention: input and vector must both be f32 or both f64"),
        }
    }

    fn bwd(
        &self,
        input: &Tensor,
        vector: &Tensor,
        _result: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        match input.dtype() {
            candle_core::DType::F32 => self.backward_tensors(input, vector, grad, &self.kept.f32),
            _ => self.backward_tensors(input, vector, grad, &self.kept.f64),
        }
    }
}
