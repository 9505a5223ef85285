//! Attention over neighbours: up to three units before each.

use attention::kernel::{Attender, Upstream};
use attention::{Units, diagonals_of};
use grid_ops::{MatMut, MatRef, Real, inlined, matmul, simd};

use super::kernel::{Gradients, Passed, Plan, Weights};

pub(super) fn forward<T: Real>(
    plan: &Plan,
    input: &[T],
    weights: Weights<'_, T>,
) -> (Vec<T>, Passed<T>) {
    let run = inlined(
        #[inline(always)]
        || forward_here(plan, input, weights),
    );
    simd(run)
}

/// The channels of a query of an input row of `width`.
fn query<T>(input: &[T], unit: usize, (d, width): (usize, usize)) -> &[T] {
    &input[unit * width + d..(unit + 1) * width]
}

#[inline(always)]
fn forward_here<T: Real>(plan: &Plan, input: &[T], weights: Weights<'_, T>) -> (Vec<T>, Passed<T>) {
    let (_, w) = plan.size;
    let (d, width) = (plan.shape.value, plan.shape.len());
    let score = plan.scan.aggregation.score().unwrap_or_default();
    let mut attender = Attender::new(score, plan.shape, weights.vector, plan.units());
    let mut hidden = vec![T::zero(); plan.units() * d];
    let mut rows = vec![T::zero(); plan.units() * width];
    let mut attended = vec![T::zero(); hidden.len()];
    let mut log_sums = vec![T::zero(); plan.units()];
    let mut weights_of_unit = Vec::new();
    for (first, count) in diagonals_of(plan.size) {
        let units = (0..count).map(|m| first + m * (w - 1));
        for unit in units.clone() {
            let runs = plan.scan.graph.predecessors((unit / w, unit % w), w);
            let query = query(input, unit, (d, plan.width()));
            let out = &mut attended[unit * d..][..d];
            log_sums[unit] = attender.attend(query, runs, &rows, &mut weights_of_unit, out);
            let own = &input[unit * plan.width()..][..d];
            plan.scan.activation.join(T::one(), out, own, &mut hidden[unit * d..][..d]);
        }
        matmul(
            MatMut::new(&mut rows[first * width..], count, width, (w - 1) * width, 1),
            T::zero(),
            MatRef::new(&hidden[first * d..], count, d, (w - 1) * d, 1),
            MatRef::new(weights.matrix, d, width, 1, d),
        );
        for unit in units {
            attender.absorb(unit, plan.shape.split(&rows, unit).1);
        }
    }
    (hidden, Passed { attended, log_sums })
}

pub(super) fn backward<T: Real>(
    plan: &Plan,
    weights: Weights<'_, T>,
    passed: &Passed<T>,
    (hidden, grad): (Units<'_, T>, Units<'_, T>),
    rows: &mut [&mut [T]],
) -> Gradients<T> {
    let (hidden, mut grad) = (hidden.rows(0..plan.units()), grad.rows(0..plan.units()));
    let run = inlined(
        #[inline(always)]
        || backward_here(plan, weights, passed, (&hidden, &mut grad), rows),
    );
    simd(run)
}

#[inline(always)]
fn backward_here<T: Real>(
    plan: &Plan,
    weights: Weights<'_, T>,
    passed: &Passed<T>,
    (hidden, grad_hidden): (&[T], &mut [T]),
    inputs: &mut [&mut [T]],
) -> Gradients<T> {
    let (_, w) = plan.size;
    let (d, width) = (plan.shape.value, plan.shape.len());
    let score = plan.scan.aggregation.score().unwrap_or_default();
    let mut attender = Attender::new(score, plan.shape, weights.vector, plan.units());
    let rows = plan.memory(hidden, weights.matrix);
    for unit in 0..plan.units() {
        attender.absorb(unit, plan.shape.split(&rows, unit).1);
    }
    let mut of_memory = vec![T::zero(); rows.len()];
    let mut vector = vec![T::zero(); weights.vector.len()];
    for (first, count) in diagonals_of(plan.size).rev() {
        matmul(
            MatMut::new(&mut grad_hidden[first * d..], count, d, (w - 1) * d, 1),
            T::one(),
            MatRef::new(&of_memory[first * width..], count, width, (w - 1) * width, 1),
            MatRef::new(weights.matrix, width, d, d, 1),
        );
        for unit in (0..count).map(|m| first + m * (w - 1)) {
            let (grad, of_query) = inputs[unit].split_at_mut(d);
            let query = of_query.to_vec();
            of_query.fill(T::zero());
            grad.copy_from_slice(&grad_hidden[unit * d..][..d]);
            plan.scan.activation.back(grad, &hidden[unit * d..]);
            attender.attend_backward(
                &query,
                plan.scan.graph.predecessors((unit / w, unit % w), w),
                &rows,
                Upstream {
                    grad,
                    attended: &passed.attended[unit * d..][..d],
                    log_sum: passed.log_sums[unit],
                },
                &mut of_memory,
                of_query,
                &mut vector,
            );
        }
    }
    let matrix = plan.matrix_gradient(&of_memory, hidden);
    Gradients { matrix, vector }
}
