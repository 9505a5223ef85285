//! Scans that keep sums up while passing: O(1) additions a unit, and O(h + w) state at the border
//! of a tile.

use attention::running::Border;
use attention::{Tile, Tiling, Units, diagonals_of};
use grid_ops::{Product, Real, Start, unwritten};
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::kernel::{Gradients, Passed, Plan, Weights};
use super::state::State;

/// Units of a tile: products of up to 32 rows, and tiles enough for several threads on large grids.
pub(super) const TILE: (usize, usize) = (32, 32);

/// The borders between the tiles of a grid while a scan passes.
pub(super) struct Borders<T> {
    empty: Vec<T>,
    /// What lies before the first row and the first column of tiles, by tile.
    columns: Vec<Vec<T>>,
    rows: Vec<Vec<T>>,
    /// Before the first row, by tile column; before the first column, by tile row.
    corners: (Vec<Vec<T>>, Vec<Vec<T>>),
    done: Vec<Option<Border<T>>>,
}

/// Borders of a grid behind which there is nothing.
pub(super) fn outside<T: Real>(plan: &Plan) -> Borders<T> {
    Borders::new(plan, &Border::outside(plan.size, &State::empty(plan)))
}

impl<T: Real> Borders<T> {
    /// Borders of a grid behind which there is `border`.
    pub(super) fn new(plan: &Plan, border: &Border<T>) -> Self {
        let empty = State::empty(plan);
        let s = empty.len();
        let parts = |all: &[T], units: usize| all.chunks(units * s).map(<[T]>::to_vec).collect();
        let (columns, rows): (Vec<Vec<T>>, Vec<Vec<T>>) =
            (parts(&border.columns, TILE.1), parts(&border.rows, TILE.0));
        // The corner of a tile at the border is the last unit of the part before its own.
        let corners = |parts: &[Vec<T>]| -> Vec<Vec<T>> {
            let last = parts.iter().map(|part| part[part.len() - s..].to_vec());
            std::iter::once(border.corner.clone()).chain(last).collect()
        };
        let corners = (corners(&columns), corners(&rows));
        Self { empty, columns, rows, corners, done: vec![None; plan.tiling().count()] }
    }

    /// What is behind a tile.
    fn behind(&self, tiling: &Tiling, (p, q): (usize, usize)) -> Border<T> {
        let done = |place| self.done[tiling.index(place)].as_ref();
        let (above, before) = (p.checked_sub(1), q.checked_sub(1));
        let columns = above.and_then(|p| done((p, q))).map(|border| border.columns.clone());
        let rows = before.and_then(|q| done((p, q))).map(|border| border.rows.clone());
        let corner = match (above, before) {
            (Some(p), Some(q)) => done((p, q)).map(|border| border.corner.clone()),
            (None, _) => Some(self.corners.0[q].clone()),
            (_, None) => Some(self.corners.1[p].clone()),
        };
        Border {
            columns: columns.unwrap_or_else(|| self.columns[q].clone()),
            rows: rows.unwrap_or_else(|| self.rows[p].clone()),
            corner: corner.unwrap_or_else(|| self.empty.clone()),
        }
    }

    /// What the whole grid hands on.
    pub(super) fn into_border(self, tiling: &Tiling) -> Border<T> {
        let (rows, columns) = tiling.shape();
        let of = |place| self.done[tiling.index(place)].as_ref();
        Border {
            columns: (0..columns)
                .filter_map(|q| of((rows - 1, q)))
                .flat_map(|border| border.columns.iter().copied())
                .collect(),
            rows: (0..rows)
                .filter_map(|p| of((p, columns - 1)))
                .flat_map(|border| border.rows.iter().copied())
                .collect(),
            corner: of((rows - 1, columns - 1)).map_or_else(Vec::new, |last| last.corner.clone()),
        }
    }
}

/// `rows`, a unit each in the order of tiles, hold `U x + b` before and the hidden states after.
pub(super) fn forward<T: Real>(
    plan: &Plan,
    rows: &mut [&mut [T]],
    weights: Weights<'_, T>,
    borders: &mut Borders<T>,
) -> Passed<T> {
    let (tiling, turned) = (plan.tiling(), plan.turned(weights.matrix));
    let (d, units) = (plan.shape.value, plan.units());
    // A linear score keeps what was attended; sums and means need no such thing.
    let kept = usize::from(plan.scan.aggregation.score().is_some());
    // SAFETY: every unit of every tile is written below.
    #[allow(unsafe_code, reason = "results are not zeroed first")]
    let mut passed = unsafe {
        Passed { attended: unwritten(units * d * kept), log_sums: unwritten(units * kept) }
    };
    let mut rows = tiling.split(rows, 1);
    let mut attended = tiling.split(&mut passed.attended, d * kept);
    let mut log_sums = tiling.split(&mut passed.log_sums, kept);
    for diagonal in tiling.diagonals() {
        let task = |index: usize| {
            let tile = tiling.tile(index);
            let task = ForwardTile {
                plan,
                tile,
                turned: &turned,
                border: borders.behind(&tiling, tile.place),
                rows: rows[index].take().unwrap_or_default(),
                attended: attended[index].take().unwrap_or_default(),
                log_sums: log_sums[index].take().unwrap_or_default(),
            };
            (index, task)
        };
        let tasks: Vec<_> = diagonal.into_iter().map(task).collect();
        let run =
            |(index, task)| (index, pulp::Arch::new().dispatch::<ForwardTile<'_, '_, T>>(task));
        let done: Vec<_> = tasks.into_par_iter().map(run).collect();
        for (index, border) in done {
            borders.done[index] = Some(border);
        }
    }
    passed
}

struct ForwardTile<'a, 'r, T> {
    plan: &'a Plan,
    tile: Tile,
    /// `[d, d + a]`.
    turned: &'a [T],
    /// What is behind the tile.
    border: Border<T>,
    /// `U x + b` before, hidden states after.
    rows: &'a mut [&'r mut [T]],
    attended: &'a mut [T],
    log_sums: &'a mut [T],
}

impl<T: Real> WithSimd for ForwardTile<'_, '_, T> {
    /// What the tile hands on.
    type Output = Border<T>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Self::Output {
        let Self { plan, tile, turned, border, rows, attended, log_sums } = self;
        let (h, w) = tile.size;
        let (d, width) = (plan.shape.value, plan.shape.len());
        let mut state = State::new(plan, (h, w), border);
        let weighted = matches!(state, State::Weighted(..));
        let mut found = vec![T::zero(); width];
        // Hidden states, and values and keys, of one anti-diagonal.
        let mut hidden = vec![T::zero(); h.min(w) * d];
        let mut handed = vec![T::zero(); h.min(w) * width];
        for (first, count) in diagonals_of((h, w)) {
            let units = (0..count).map(|m| first + m * (w - 1));
            for (unit, hidden) in units.clone().zip(hidden.chunks_exact_mut(d)) {
                let at = (unit / w, unit % w);
                let log_sum = state.before(at, &mut found);
                if weighted {
                    log_sums[unit] = log_sum;
                    attended[unit * d..][..d].copy_from_slice(&found[..d]);
                }
                plan.scan.activation.join(plan.scale(&tile, at), &found, rows[unit], hidden);
                rows[unit].copy_from_slice(hidden);
            }
            let product = Product {
                size: (count, d, width),
                a_strides: (d, 1),
                b_stride: width,
                c_stride: width,
            };
            product.run(simd, &hidden, turned, Start::Zero, &mut handed);
            for (unit, row) in units.zip(handed.chunks_exact(width)) {
                state.pass((unit / w, unit % w), row);
            }
        }
        state.into_border()
    }
}

/// `hidden` and `grad` are the hidden states and their gradient, to which what reaches them by way of
/// later units is added here; `rows`, a unit each in the order of tiles, become the gradient of
/// `U x + b`.
pub(super) fn backward<T: Real>(
    plan: &Plan,
    weights: Weights<'_, T>,
    passed: &Passed<T>,
    (hidden, grad): (Units<'_, T>, Units<'_, T>),
    rows: &mut [&mut [T]],
) -> Gradients<T> {
    let tiling = plan.tiling();
    let mut done: Vec<Option<Border<T>>> = vec![None; tiling.count()];
    let mut of_matrix: Vec<Vec<T>> = vec![Vec::new(); tiling.count()];
    let mut rows = tiling.split(rows, 1);
    for diagonal in tiling.diagonals().rev() {
        let task = |index: usize| {
            let tile = tiling.tile(index);
            // The same scan from the opposite corner.
            let outside = Border::outside(tile.size, &State::empty(plan));
            let behind = |dp: usize, dq: usize| {
                let place = (tile.place.0 + dp, tile.place.1 + dq);
                let (rows, columns) = tiling.shape();
                let inside = place.0 < rows && place.1 < columns;
                inside.then(|| done[tiling.index(place)].as_ref()).flatten().unwrap_or(&outside)
            };
            let border = Border {
                columns: behind(1, 0).columns.clone(),
                rows: behind(0, 1).rows.clone(),
                corner: behind(1, 1).corner.clone(),
            };
            let task = BackwardTile {
                plan,
                tile,
                matrix: weights.matrix,
                passed,
                border,
                hidden,
                grad,
                rows: rows[index].take().unwrap_or_default(),
            };
            (index, task)
        };
        let tasks: Vec<_> = diagonal.into_iter().map(task).collect();
        let run =
            |(index, task)| (index, pulp::Arch::new().dispatch::<BackwardTile<'_, '_, T>>(task));
        let tiles: Vec<_> = tasks.into_par_iter().map(run).collect();
        for (index, (border, matrix)) in tiles {
            done[index] = Some(border);
            of_matrix[index] = matrix;
        }
    }
    // In a fixed order: the bits must not depend on the number of threads.
    let mut sum = vec![T::zero(); weights.matrix.len()];
    for part in &of_matrix {
        sum.iter_mut().zip(part).for_each(|(sum, &x)| *sum = *sum + x);
    }
    Gradients { matrix: sum, vector: Vec::new() }
}

struct BackwardTile<'a, 'r, T> {
    plan: &'a Plan,
    tile: Tile,
    matrix: &'a [T],
    /// Of the whole grid, as are `hidden` and `grad`.
    passed: &'a Passed<T>,
    /// What is behind the tile, seen from the opposite corner.
    border: Border<T>,
    hidden: Units<'a, T>,
    grad: Units<'a, T>,
    /// The gradient of the tile's input when done.
    rows: &'a mut [&'r mut [T]],
}

impl<T: Real> WithSimd for BackwardTile<'_, '_, T> {
    /// What the tile hands on, and its part of the gradient of `[W; Wa]`.
    type Output = (Border<T>, Vec<T>);

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Self::Output {
        let Self { plan, tile, matrix, passed, border, hidden: all, grad: grads, rows } = self;
        let (h, w) = tile.size;
        let (d, width) = (plan.shape.value, plan.shape.len());
        // A tile's states fit the cache, where the product with them finds them again.
        let mut hidden = Vec::with_capacity(tile.units() * d);
        tile.positions().for_each(|unit| hidden.extend_from_slice(all.row(unit)));
        let mut state = State::new(plan, (h, w), border);
        let weighted = matches!(state, State::Weighted(..));
        let memory = if weighted { plan.memory(&hidden, matrix) } else { Vec::new() };
        // SAFETY: every unit is written when its anti-diagonal is reached, before it is read.
        #[allow(unsafe_code, reason = "results are not zeroed first")]
        let mut of_memory: Vec<T> = unsafe { unwritten(tile.units() * width) };
        let mut pre = vec![T::zero(); h.min(w) * d];
        for (first, count) in diagonals_of((h, w)).rev() {
            let units = (0..count).map(|m| first + m * (w - 1));
            for (unit, pre) in units.clone().zip(pre.chunks_exact_mut(d)) {
                let opposite = (h - 1 - unit / w, w - 1 - unit % w);
                let of_unit = if weighted { &memory[unit * width..][..width] } else { &[] };
                state.gradient_before(opposite, of_unit, &mut of_memory[unit * width..][..width]);
                pre.copy_from_slice(grads.row(tile.first + unit));
            }
            let product = Product {
                size: (count, width, d),
                a_strides: ((w - 1) * width, 1),
                b_stride: d,
                c_stride: d,
            };
            product.run(simd, &of_memory[first * width..], matrix, Start::Kept, &mut pre);
            for (unit, pre) in units.zip(pre.chunks_exact_mut(d)) {
                let at = (unit / w, unit % w);
                plan.scan.activation.back(pre, &hidden[unit * d..]);
                rows[unit].copy_from_slice(pre);
                let kept = if weighted {
                    let at = tile.first + unit;
                    // A unit without predecessors has no weights to take a gradient of.
                    if at == 0 && plan.corner == (0, 0) {
                        continue;
                    }
                    (&passed.attended[at * d..][..d], passed.log_sums[at])
                } else {
                    (&[][..], T::zero())
                };
                let scale: T = plan.scale(&tile, at);
                let opposite = (h - 1 - at.0, w - 1 - at.1);
                state.pass_gradient(opposite, scale, pre, kept);
            }
        }
        (state.into_border(), plan.matrix_gradient(&of_memory, &hidden))
    }
}
