//! Attention of every unit over its four quadrants, without a recurrence.

mod by_tiles;
mod linear;

use std::sync::OnceLock;

use candle_core::{CpuStorage, CustomOp2, Layout, Shape, Tensor, WithDType, bail};
use grid_ops::{Elements, Reads, Real, count_macs, is_composed};
use rayon::prelude::*;

use crate::kernel::RowShape;
use crate::{Direction, Error, Result, Score, composed, join_directions, places, take_direction};

/// What each unit of a grid attends to in the quadrant behind it, for all four directions.
///
/// `out(v) = Σ a(v, u) value(u)` over the units `u` of `v`'s quadrant without `v`, where
/// `a(v, ·) = softmax z(query(v), key(·))`; zero at the corner that has no predecessor. This is the
/// control without recurrence: nothing that one unit finds is handed on to the next.
///
/// # Shapes
///
/// - `input`: `[n, h, w, 4, q + d + a]`: query, value and key of every unit and direction;
///   `q` is `a`, or 0 for [`Score::LinearAdditive`], whose `a` is 1
/// - `vector`: `[4, a]`, the scoring vectors of [`Score::TanhAdditive`]; `None` otherwise
/// - returns: `[n, h, w, 4, d]`
///
/// Differentiable in both. O(n·(h·w)²·(a + d)) time, O(n·h·w·d) for the linear score, and
/// O(n·h·w·(a + d)) memory. Off the CPU it runs as [`composed::quadrant_attention`].
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
    let shape = checked(input, vector, keys, score)?;
    let (n, h, w, _, _) = input.dims5()?;
    let pairs = match score {
        Score::LinearAdditive => h * w,
        _ => h * (h + 1) / 2 * (w * (w + 1) / 2),
    };
    count_macs(4 * n * pairs * (shape.key + shape.value));
    if is_composed(input) {
        return composed::quadrant_attention(input, vector, keys, score);
    }
    let vector = match vector {
        Some(vector) => vector.contiguous()?,
        None => Tensor::zeros((4, keys), input.dtype(), input.device())?,
    };
    let op = QuadrantAttention { size: (h, w), shape, score, kept: Kept::default() };
    Ok(grid_ops::apply2(&input.contiguous()?, &vector, op, Reads { output: false, ..Reads::ALL })?)
}

/// The channels of values and keys, or why the attention cannot run.
pub(crate) fn checked(
    input: &Tensor,
    vector: Option<&Tensor>,
    keys: usize,
    score: Score,
) -> Result<RowShape> {
    let op = "quadrant_attention";
    let got = input.dims().to_vec();
    let &[_, _, _, 4, width] = input.dims() else {
        return Err(Error::Shape { op, expected: "input: [n, h, w, 4, q + d + a]", got });
    };
    let others = keys + score.query_channels(keys);
    if keys == 0 || width <= others || input.elem_count() == 0 {
        let expected = "input: [n, h, w, 4, q + d + a] with n, h, w, a and d all positive";
        return Err(Error::Shape { op, expected, got });
    }
    if score == Score::LinearAdditive && keys != 1 {
        return Err(Error::Shape { op, expected: "keys of 1 channel", got: vec![keys] });
    }
    match vector {
        Some(vector) if score == Score::TanhAdditive && vector.dims() != [4, keys] => {
            Err(Error::Shape { op, expected: "vector: [4, a]", got: vector.dims().to_vec() })
        }
        Some(vector) if score != Score::TanhAdditive => {
            let expected = "no vector: only the tanh-additive score has one";
            Err(Error::Shape { op, expected, got: vector.dims().to_vec() })
        }
        None if score == Score::TanhAdditive => {
            Err(Error::Shape { op, expected: "vector: [4, a] for tanh-additive", got: Vec::new() })
        }
        _ => Ok(RowShape { value: width - others, key: keys }),
    }
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

/// One direction of one image after the forward pass, units in the pass's own order.
struct Passed<T> {
    attended: Vec<T>,
    log_sums: Vec<T>,
}

/// The gradients of one direction of one image: of the rows and of the scoring vector.
struct Gradients<T> {
    rows: Vec<T>,
    vector: Vec<T>,
}

impl QuadrantAttention {
    fn width(&self) -> usize {
        self.score.query_channels(self.shape.key) + self.shape.len()
    }

    fn units(&self) -> usize {
        self.size.0 * self.size.1
    }

    /// Where the unit of each row lies in the image, for each direction.
    fn places(&self) -> [Vec<usize>; 4] {
        let order: Vec<usize> = match self.score {
            Score::LinearAdditive => (0..self.units()).collect(),
            _ => by_tiles::tiling(self.size).order(),
        };
        Direction::ALL.map(|direction| places(&order, direction, self.size))
    }

    fn vector_of<'a, T>(&self, vector: &'a [T], task: usize) -> &'a [T] {
        &vector[task % 4 * self.shape.key..][..self.shape.key]
    }

    fn forward<T: Real + WithDType>(
        &self,
        input: (&CpuStorage, &Layout),
        vector: (&CpuStorage, &Layout),
        kept: &OnceLock<Vec<Passed<T>>>,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let n = input.1.dims()[0];
        let (input, vector) = (grid_ops::view::<T>(input)?, grid_ops::view::<T>(vector)?);
        let places = self.places();
        let run = |task: usize| {
            let (direction, places) = (Direction::ALL[task % 4], &places[task % 4]);
            let rows = take_direction(input, task / 4, direction, places, self.width());
            match self.score {
                Score::LinearAdditive => linear::forward(self.size, self.shape, &rows),
                _ => by_tiles::forward(self, &rows, self.vector_of(vector, task)),
            }
        };
        let passed: Vec<Passed<T>> = (0..n * 4).into_par_iter().map(run).collect();
        let parts: Vec<&[T]> = passed.iter().map(|part| part.attended.as_slice()).collect();
        let out = join_directions(&parts, &places, self.shape.value);
        // The same instance runs forward once only; a second run would find the same values.
        let _ = kept.set(passed);
        let shape = Shape::from((n, self.size.0, self.size.1, 4, self.shape.value));
        Ok((T::to_cpu_storage_owned(out), shape))
    }

    fn backward<T: Real + WithDType>(
        &self,
        [input, vector]: [&Tensor; 2],
        grad: &Tensor,
        kept: &OnceLock<Vec<Passed<T>>>,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let Some(passed) = kept.get() else { bail!("quadrant-attention: backward before forward") };
        let grad = grad.contiguous()?;
        let [inputs, vectors, grads] = [input, vector, &grad].map(Elements::of);
        let (inputs, vectors, grads) =
            (inputs.slice::<T>()?, vectors.slice::<T>()?, grads.slice::<T>()?);
        let places = self.places();
        let run = |(task, passed): (usize, &Passed<T>)| {
            let (direction, places) = (Direction::ALL[task % 4], &places[task % 4]);
            let take = |all, width| take_direction(all, task / 4, direction, places, width);
            let rows = take(inputs, self.width());
            let grad = take(grads, self.shape.value);
            match self.score {
                Score::LinearAdditive => {
                    linear::backward(self.size, self.shape, &rows, passed, &grad)
                }
                _ => {
                    let vector = self.vector_of(vectors, task);
                    by_tiles::backward(self, &rows, vector, passed, grad)
                }
            }
        };
        let gradients: Vec<Gradients<T>> = passed.par_iter().enumerate().map(run).collect();
        let parts: Vec<&[T]> = gradients.iter().map(|part| part.rows.as_slice()).collect();
        let d_input = join_directions(&parts, &places, self.width());
        // Serial on purpose: the order of a float sum must not depend on the thread count.
        let mut d_vector = vec![T::zero(); vector.elem_count()];
        for (task, part) in gradients.iter().enumerate() {
            for (sum, &g) in d_vector[task % 4 * self.shape.key..].iter_mut().zip(&part.vector) {
                *sum += g;
            }
        }
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
            (CpuStorage::F32(_), CpuStorage::F32(_)) => self.forward(args, vectors, &self.kept.f32),
            (CpuStorage::F64(_), CpuStorage::F64(_)) => self.forward(args, vectors, &self.kept.f64),
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
            candle_core::DType::F32 => self.backward([input, vector], grad, &self.kept.f32),
            _ => self.backward([input, vector], grad, &self.kept.f64),
        }
    }
}
