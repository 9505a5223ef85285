//! One step of the memory and its way back, on slices.
//!
//! A memory is `[order, m]`: the same coefficient of all `m` channels side by side.

use grid_ops::Real;
use nalgebra::DMatrix;

use super::{Discretisation, Legs};

/// Channels that are stepped together: a vector of single precision.
const LANES: usize = 8;

/// `√(2n + 1)`.
fn root(n: usize) -> f64 {
    (2.0 * n as f64 + 1.0).sqrt()
}

/// The step from one time to the next.
#[derive(Debug, Clone)]
pub(crate) enum Step<T> {
    /// The first input: `c = (f, 0, …, 0)`.
    First,
    /// `c' = (I − implicit A)⁻¹ ((I + explicit A) c + rate B f)`.
    ///
    /// The rows of `A` beside the diagonal are multiples of one another, so the product and the
    /// solution are running sums over `√(2k+1) c[k]`.
    Fractions {
        explicit: T,
        implicit: T,
        rate: T,
        /// `√(2n+1)`, `n + 1` and `1/(1 + (n+1) implicit)`, by order.
        rows: Vec<[T; 3]>,
    },
    /// `c' = E c + (I − E) e0 f`.
    Exact {
        /// `E`, `[order, order]`, zero above the diagonal.
        matrix: Vec<T>,
    },
}

impl<T: Real> Step<T> {
    /// The step that takes in the input number `t`, counted from 0.
    pub(crate) fn new(legs: &Legs, t: usize) -> Self {
        if t == 0 {
            return Self::First;
        }
        let rate = 1.0 / t as f64;
        let [explicit, implicit] = match legs.discretisation {
            Discretisation::Forward => [rate, 0.0],
            Discretisation::Backward => [0.0, rate],
            Discretisation::Bilinear => [rate / 2.0, rate / 2.0],
            Discretisation::ZeroOrderHold => return Self::exact(legs.order, t),
        };
        let row = |n: usize| {
            let place = n as f64 + 1.0;
            [root(n), place, 1.0 / (1.0 + place * implicit)].map(T::of)
        };
        let rows = (0..legs.order).map(row).collect();
        let [explicit, implicit, rate] = [explicit, implicit, rate].map(T::of);
        Self::Fractions { explicit, implicit, rate, rows }
    }

    fn exact(order: usize, t: usize) -> Self {
        let duration = ((t + 1) as f64 / t as f64).ln();
        let a = DMatrix::from_fn(order, order, |n, k| match n.cmp(&k) {
            std::cmp::Ordering::Greater => -root(n) * root(k),
            std::cmp::Ordering::Equal => -(n as f64 + 1.0),
            std::cmp::Ordering::Less => 0.0,
        });
        let e = (a * duration).exp();
        // By columns, of the transposed: by rows.
        Self::Exact { matrix: e.transpose().iter().map(|&x| T::of(x)).collect() }
    }

    /// `memory` becomes the memory after `input`, `[m]`.
    #[inline(always)]
    pub(crate) fn run(&self, memory: &mut [T], input: &[T]) {
        let m = input.len();
        match self {
            Self::First => {
                memory[..m].copy_from_slice(input);
                memory[m..].fill(T::zero());
            }
            Self::Fractions { .. } => {
                for at in (0..m - m % LANES).step_by(LANES) {
                    self.run_lanes::<LANES>(at, memory, input);
                }
                (m - m % LANES..m).for_each(|at| self.run_lanes::<1>(at, memory, input));
            }
            Self::Exact { matrix } => {
                let order = memory.len() / m;
                // From the last row on: a row needs those before it as they were.
                for n in (0..order).rev() {
                    let (row, of_input) = (&matrix[n * order..=n * order + n], matrix[n * order]);
                    let first = if n == 0 { T::one() - of_input } else { -of_input };
                    for ch in 0..m {
                        let sum = |sum: T, k: usize| row[k].mul_add(memory[k * m + ch], sum);
                        memory[n * m + ch] = (0..=n).fold(first * input[ch], sum);
                    }
                }
            }
        }
    }

    /// The way back: `grad`, of the memory after the step, becomes that of the memory before;
    /// `of_input`, `[m]`, is written.
    #[inline(always)]
    pub(crate) fn back(&self, grad: &mut [T], of_input: &mut [T]) {
        let m = of_input.len();
        match self {
            Self::First => {
                of_input.copy_from_slice(&grad[..m]);
                grad.fill(T::zero());
            }
            Self::Fractions { .. } => {
                for at in (0..m - m % LANES).step_by(LANES) {
                    self.back_lanes::<LANES>(at, grad, of_input);
                }
                (m - m % LANES..m).for_each(|at| self.back_lanes::<1>(at, grad, of_input));
            }
            Self::Exact { matrix } => {
                let order = grad.len() / m;
                for ch in 0..m {
                    let of_constant = |sum: T, n: usize| sum - matrix[n * order] * grad[n * m + ch];
                    of_input[ch] = (0..order).fold(grad[ch], of_constant);
                }
                for k in 0..order {
                    for ch in 0..m {
                        let sum =
                            |sum: T, n: usize| matrix[n * order + k].mul_add(grad[n * m + ch], sum);
                        grad[k * m + ch] = (k..order).fold(T::zero(), sum);
                    }
                }
            }
        }
    }

    /// The fractions' step for `L` channels from `at` on: their sums stay in registers.
    #[inline(always)]
    fn run_lanes<const L: usize>(&self, at: usize, memory: &mut [T], input: &[T]) {
        let Self::Fractions { explicit, implicit, rate, rows } = self else { return };
        let m = input.len();
        let input = &input[at..at + L];
        let (mut before, mut after) = ([T::zero(); L], [T::zero(); L]);
        for (row, &[root, place, pivot]) in memory.chunks_exact_mut(m).zip(rows) {
            let row = &mut row[at..at + L];
            let [of_before, of_after] = [*explicit * root, *implicit * root];
            let (stay, of_input) = (T::one() - *explicit * place, *rate * root);
            for lane in 0..L {
                let c = row[lane];
                let sum = stay * c - of_before * before[lane] + of_input * input[lane];
                let next = (sum - of_after * after[lane]) * pivot;
                before[lane] = root.mul_add(c, before[lane]);
                after[lane] = root.mul_add(next, after[lane]);
                row[lane] = next;
            }
        }
    }

    /// Its way back. Both matrices need the same sum over later rows.
    #[inline(always)]
    fn back_lanes<const L: usize>(&self, at: usize, grad: &mut [T], of_input: &mut [T]) {
        let Self::Fractions { explicit, implicit, rate, rows } = self else { return };
        let mut later = [T::zero(); L];
        for (row, &[root, place, pivot]) in grad.chunks_exact_mut(of_input.len()).zip(rows).rev() {
            let row = &mut row[at..at + L];
            let [of_before, of_after] = [*explicit * root, *implicit * root];
            let stay = T::one() - *explicit * place;
            for lane in 0..L {
                let solved = (row[lane] - of_after * later[lane]) * pivot;
                row[lane] = stay * solved - of_before * later[lane];
                later[lane] = root.mul_add(solved, later[lane]);
            }
        }
        let to = of_input[at..at + L].iter_mut();
        to.zip(later).for_each(|(to, sum)| *to = *rate * sum);
    }
}
