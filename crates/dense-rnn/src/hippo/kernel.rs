//! The cell along one direction of one image, forward and backward, on plain slices.
//!
//! Units are in raster order as the direction sees them; those of an anti-diagonal do not depend on
//! each other, and all take the same step of the memory.

use attention::diagonals_of;
use grid_ops::{MatMut, MatRef, Product, Real, Start, matmul, turned, unwritten};
use pulp::{Simd, WithSimd};

use super::step::Step;

/// The sizes of a cell.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cell {
    /// Channels of hidden state and memory.
    pub(crate) d: usize,
    /// Channels of what is remembered.
    pub(crate) m: usize,
    pub(crate) directions: usize,
}

/// The parameters of one direction.
#[derive(Clone, Copy)]
pub(super) struct Weights<'a, T> {
    /// `[m, d]`.
    to_memory: &'a [T],
    /// `[2 d, d]`.
    from_memory: &'a [T],
}

/// The input rows of one direction of an image, where they lie among those of all.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a, T> {
    /// Of the image, `[h·w, k, m + 2 d]`.
    pub(super) image: &'a [T],
    pub(super) direction: usize,
    pub(super) cell: Cell,
    /// Where each unit of the direction lies in the image.
    pub(super) places: &'a [usize],
}

impl<'a, T> Rows<'a, T> {
    #[inline(always)]
    fn row(&self, unit: usize) -> &'a [T] {
        let at = self.places[unit] * self.cell.directions + self.direction;
        &self.image[at * self.cell.width()..][..self.cell.width()]
    }
}

/// What a forward pass makes: hidden states, and what the way back needs beside them.
pub(super) struct Passed<T> {
    /// `[h·w, d]`.
    memory: Vec<T>,
    /// Candidate and gate, `[h·w, 2 d]`.
    gates: Vec<T>,
}

/// The gradients of one direction.
pub(super) struct Gradients<T> {
    /// `[h·w, m + 2 d]`.
    pub(super) input: Vec<T>,
    /// `[m, d]`.
    to_memory: Vec<T>,
    /// `[2 d, d]`.
    from_memory: Vec<T>,
}

impl Cell {
    /// Channels of an input row.
    pub(super) fn width(self) -> usize {
        self.m + 2 * self.d
    }

    /// The parameters of the `k`-th direction in those of all, `[k, m, d]` and `[k, 2 d, d]`.
    pub(super) fn weights<T>(self, k: usize, params: &[T]) -> Weights<'_, T> {
        let (to, from) = (self.m * self.d, 2 * self.d * self.d);
        let (to_memory, from_memory) = params.split_at(self.directions * to);
        Weights {
            to_memory: &to_memory[k * to..][..to],
            from_memory: &from_memory[k * from..][..from],
        }
    }

    /// Adds the gradients of the `k`-th direction's parameters to those of all.
    pub(super) fn add_to<T: Real>(self, sums: &mut [T], k: usize, part: &Gradients<T>) {
        let (to, from) = sums.split_at_mut(self.directions * self.m * self.d);
        for (sums, part) in [(to, &part.to_memory), (from, &part.from_memory)] {
            let sums = &mut sums[k * part.len()..][..part.len()];
            sums.iter_mut().zip(part).for_each(|(sum, &x)| *sum = *sum + x);
        }
    }
}

/// Hidden states `[h·w, d]` from input rows; `steps` by anti-diagonal.
pub(super) fn forward<T: Real>(
    cell: Cell,
    size: (usize, usize),
    steps: &[Step<T>],
    input: Rows<'_, T>,
    weights: Weights<'_, T>,
) -> (Vec<T>, Passed<T>) {
    pulp::Arch::new().dispatch(Forward { cell, size, steps, input, weights })
}

struct Forward<'a, T> {
    cell: Cell,
    size: (usize, usize),
    steps: &'a [Step<T>],
    input: Rows<'a, T>,
    weights: Weights<'a, T>,
}

impl<T: Real> WithSimd for Forward<'_, T> {
    type Output = (Vec<T>, Passed<T>);

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Self::Output {
        let Self { cell, size: (h, w), steps, input, weights } = self;
        let Cell { d, m, .. } = cell;
        let to_memory = turned(weights.to_memory, (m, d), d); //        [d, m]
        let from_memory = turned(weights.from_memory, (2 * d, d), d); // [d, 2 d]
        // SAFETY: every unit is written when its anti-diagonal is reached, before it is read.
        #[allow(unsafe_code, reason = "results are not zeroed first")]
        let (mut hidden, mut memory, mut gates): (Vec<T>, Vec<T>, Vec<T>) =
            unsafe { (unwritten(h * w * d), unwritten(h * w * d), unwritten(h * w * 2 * d)) };
        let longest = h.min(w);
        let mut before = vec![T::zero(); longest * d];
        let mut taken = vec![T::zero(); longest * m];
        let mut made = vec![T::zero(); longest * 2 * d];
        for ((first, count), step) in diagonals_of((h, w)).zip(steps) {
            let units = (0..count).map(|k| first + k * (w - 1));
            for (k, unit) in units.clone().enumerate() {
                mean_before(&mut before[k * d..][..d], &hidden, unit, w);
                let row = input.row(unit);
                taken[k * m..][..m].copy_from_slice(&row[..m]);
                made[k * 2 * d..][..2 * d].copy_from_slice(&row[m..]);
            }
            let product =
                Product { size: (count, d, m), a_strides: (d, 1), b_stride: m, c_stride: m };
            product.run(simd, &before, &to_memory, Start::Kept, &mut taken);
            for (k, unit) in units.clone().enumerate() {
                // A unit's predecessors are before it in raster order.
                let (earlier, here) = memory.split_at_mut(unit * d);
                mean_before(&mut here[..d], earlier, unit, w);
                step.run(&mut here[..d], &taken[k * m..][..m]);
            }
            let product = Product {
                size: (count, d, 2 * d),
                a_strides: ((w - 1) * d, 1),
                b_stride: 2 * d,
                c_stride: 2 * d,
            };
            product.run(simd, &memory[first * d..], &from_memory, Start::Kept, &mut made);
            for (k, unit) in units.enumerate() {
                // A loop for each of what is written: they vectorise.
                let made = &mut made[k * 2 * d..][..2 * d];
                made[..d].iter_mut().for_each(|x| *x = tanh(*x));
                made[d..].iter_mut().for_each(|x| *x = sigmoid(*x));
                gates[unit * 2 * d..][..2 * d].copy_from_slice(made);
                let (candidate, gate) = made.split_at(d);
                let all = candidate.iter().zip(gate).zip(&before[k * d..][..d]);
                let to = hidden[unit * d..][..d].iter_mut();
                to.zip(all).for_each(|(h, ((&c, &g), &b))| *h = g.mul_add(c - b, b));
            }
        }
        (hidden, Passed { memory, gates })
    }
}

/// The way back, from `grad`, the gradient of `hidden`.
pub(super) fn backward<T: Real>(
    cell: Cell,
    size: (usize, usize),
    steps: &[Step<T>],
    weights: Weights<'_, T>,
    (hidden, passed): (&[T], &Passed<T>),
    grad: Vec<T>,
) -> Gradients<T> {
    pulp::Arch::new().dispatch(Backward { cell, size, steps, weights, hidden, passed, grad })
}

struct Backward<'a, T> {
    cell: Cell,
    size: (usize, usize),
    steps: &'a [Step<T>],
    weights: Weights<'a, T>,
    hidden: &'a [T],
    passed: &'a Passed<T>,
    /// What reaches the hidden states by way of later units is added here.
    grad: Vec<T>,
}

impl<T: Real> WithSimd for Backward<'_, T> {
    type Output = Gradients<T>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Self::Output {
        let Self { cell, size: (h, w), steps, weights, hidden, passed, mut grad } = self;
        let Cell { d, m, .. } = cell;
        let (width, units) = (cell.width(), h * w);
        let mut of_memory = vec![T::zero(); units * d];
        // SAFETY: every unit is written when its anti-diagonal is reached, before it is read.
        #[allow(unsafe_code, reason = "results are not zeroed first")]
        let (mut rows, mut before): (Vec<T>, Vec<T>) =
            unsafe { (unwritten(units * width), unwritten(units * d)) };
        let mut of_before = vec![T::zero(); h.min(w) * d];
        let diagonals: Vec<_> = diagonals_of((h, w)).zip(steps).collect();
        for ((first, count), step) in diagonals.into_iter().rev() {
            let here = (0..count).map(|k| first + k * (w - 1));
            for (k, unit) in here.clone().enumerate() {
                let before = &mut before[unit * d..][..d];
                mean_before(before, hidden, unit, w);
                let (candidate, gate) = passed.gates[unit * 2 * d..][..2 * d].split_at(d);
                let (of_candidate, of_gate) = rows[unit * width + m..][..2 * d].split_at_mut(d);
                let grad = &grad[unit * d..][..d];
                // A loop for each of what is written: they vectorise.
                let all = grad.iter().zip(gate).zip(candidate);
                of_candidate
                    .iter_mut()
                    .zip(all.clone())
                    .for_each(|(to, ((&x, &g), &c))| *to = x * g * (T::one() - c * c));
                of_gate.iter_mut().zip(all.zip(&*before)).for_each(|(to, (((&x, &g), &c), &b))| {
                    *to = x * (c - b) * g * (T::one() - g);
                });
                let to = of_before[k * d..][..d].iter_mut();
                to.zip(grad.iter().zip(gate)).for_each(|(to, (&x, &g))| *to = x * (T::one() - g));
            }
            let product = Product {
                size: (count, 2 * d, d),
                a_strides: ((w - 1) * width, 1),
                b_stride: d,
                c_stride: (w - 1) * d,
            };
            let gates = &rows[first * width + m..];
            product.run(simd, gates, weights.from_memory, Start::Kept, &mut of_memory[first * d..]);
            for unit in here.clone() {
                step.back(&mut of_memory[unit * d..][..d], &mut rows[unit * width..][..m]);
            }
            let product = Product {
                size: (count, m, d),
                a_strides: ((w - 1) * width, 1),
                b_stride: d,
                c_stride: d,
            };
            let taken = &rows[first * width..];
            product.run(simd, taken, weights.to_memory, Start::Kept, &mut of_before);
            for (k, unit) in here.enumerate() {
                add_before(&mut grad, &of_before[k * d..][..d], unit, w);
                let (earlier, of_unit) = of_memory.split_at_mut(unit * d);
                add_before(earlier, &of_unit[..d], unit, w);
            }
        }
        let gradient = |from: usize, count: usize, of: &[T]| {
            let mut sum = vec![T::zero(); count * d];
            let rows = MatRef::new(&rows[from..], count, units, 1, width);
            let to = MatMut::new(&mut sum, count, d, d, 1);
            matmul(to, T::zero(), rows, MatRef::new(of, units, d, d, 1));
            sum
        };
        let to_memory = gradient(0, m, &before);
        let from_memory = gradient(m, 2 * d, &passed.memory);
        Gradients { input: rows, to_memory, from_memory }
    }
}

/// The unit above and the one before, where they exist.
fn predecessors(unit: usize, w: usize) -> [Option<usize>; 2] {
    [unit.checked_sub(w), if unit.is_multiple_of(w) { None } else { Some(unit - 1) }]
}

/// The mean of the rows of `all` of a unit's predecessors, or zero.
#[inline(always)]
fn mean_before<T: Real>(to: &mut [T], all: &[T], unit: usize, w: usize) {
    let d = to.len();
    let row = |unit: usize| &all[unit * d..][..d];
    match predecessors(unit, w) {
        [Some(above), Some(left)] => {
            let half = T::of(0.5);
            let rows = row(above).iter().zip(row(left));
            to.iter_mut().zip(rows).for_each(|(to, (&a, &b))| *to = half * (a + b));
        }
        [Some(one), None] | [None, Some(one)] => to.copy_from_slice(row(one)),
        [None, None] => to.fill(T::zero()),
    }
}

/// The way back of [`mean_before`].
#[inline(always)]
fn add_before<T: Real>(all: &mut [T], grad: &[T], unit: usize, w: usize) {
    let found = predecessors(unit, w);
    let share = T::of(if found.iter().flatten().count() == 2 { 0.5 } else { 1.0 });
    for before in found.into_iter().flatten() {
        let row = &mut all[before * grad.len()..][..grad.len()];
        row.iter_mut().zip(grad).for_each(|(to, &x)| *to = share.mul_add(x, *to));
    }
}

/// `1/(1 + e^−x)`; NaN stays NaN.
#[inline(always)]
fn sigmoid<T: Real>(x: T) -> T {
    (T::one() + (-x).exp_inline()).recip()
}

/// The hyperbolic tangent, to a rounding of 1.
#[inline(always)]
fn tanh<T: Real>(x: T) -> T {
    let two = T::of(2.0);
    two * sigmoid(two * x) - T::one()
}
