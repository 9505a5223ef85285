//! Attention over the dense graph: every tile looks at the tiles behind it, all pairs of two tiles
//! at a time; only the units within a tile wait for each other.

use attention::tile::{
    Attention, Known, QueryGradients, Scratch, SourceGradients, Sources, Targets, own_sight, sights,
};
use attention::{Tiling, Units, diagonals_of, kernel::dot};
use grid_ops::Real;
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::kernel::{Gradients, Passed, Plan, Weights};

/// Workers whose sums of query gradients are kept apart, whatever the number of threads.
const WORKERS: usize = 4;

/// What all tiles of a scan share.
struct Shared<'a, T> {
    plan: &'a Plan,
    tiling: Tiling,
    attention: Attention<'a, T>,
}

impl<'a, T: Real> Shared<'a, T> {
    fn new(plan: &'a Plan, weights: Weights<'a, T>) -> Self {
        let score = plan.scan.aggregation.score().unwrap_or_default();
        let attention = Attention::new(score, plan.shape, weights.vector);
        Self { plan, tiling: plan.tiling(), attention }
    }
}

pub(super) fn forward<T: Real>(
    plan: &Plan,
    input: &[T],
    weights: Weights<'_, T>,
) -> (Vec<T>, Passed<T>) {
    let shared = Shared::new(plan, weights);
    let turned = plan.turned(weights.matrix);
    let mut done: Vec<Option<DoneTile<T>>> = (0..shared.tiling.count()).map(|_| None).collect();
    for diagonal in shared.tiling.diagonals() {
        let run = |index: usize| {
            let task = ForwardTile { shared: &shared, input, turned: &turned, done: &done, index };
            (index, pulp::Arch::new().dispatch(task))
        };
        let tiles: Vec<_> = diagonal.into_par_iter().map(run).collect();
        for (index, tile) in tiles {
            done[index] = Some(tile);
        }
    }
    let mut hidden = Vec::with_capacity(plan.units() * plan.shape.value);
    let mut passed = Passed { attended: Vec::new(), log_sums: Vec::new() };
    for tile in done.into_iter().flatten() {
        hidden.extend_from_slice(&tile.hidden);
        passed.attended.extend_from_slice(&tile.attended);
        passed.log_sums.extend_from_slice(&tile.log_sums);
    }
    (hidden, passed)
}

/// A tile whose units all have their hidden state.
struct DoneTile<T> {
    sources: Sources<T>,
    hidden: Vec<T>,
    attended: Vec<T>,
    log_sums: Vec<T>,
}

struct ForwardTile<'a, T> {
    shared: &'a Shared<'a, T>,
    /// Of all tiles, `[h·w, d + a]`.
    input: &'a [T],
    /// `[W; Wa]`, `[d, d + a]`.
    turned: &'a [T],
    done: &'a [Option<DoneTile<T>>],
    index: usize,
}

impl<T: Real> WithSimd for ForwardTile<'_, T> {
    type Output = DoneTile<T>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Self::Output {
        let Self { shared, input, turned, done, index } = self;
        let Shared { plan, tiling, attention } = shared;
        let (d, width) = (plan.shape.value, plan.shape.len());
        let here = tiling.tile(index);
        let ((h, w), input) = (here.size, here.of(input, width));
        let mut scratch = Scratch::new(plan.shape);
        let queries = attention.queries(input, width);
        let mut targets = Targets::new(attention, queries, here.units());
        for (source, tile) in done.iter().enumerate() {
            let there = tiling.tile(source);
            let (Some(tile), true) =
                (tile, there.place.0 <= here.place.0 && there.place.1 <= here.place.1)
            else {
                continue;
            };
            for sight in sights(&here, &there) {
                targets.look(simd, attention, &tile.sources, &sight, &mut scratch);
            }
        }
        let mut sources = Sources::new(plan.shape, here.units());
        let mut hidden = vec![T::zero(); here.units() * d];
        let mut log_sums = vec![T::zero(); here.units()];
        let mut rows = vec![T::zero(); h.min(w) * width];
        for (first, count) in diagonals_of((h, w)) {
            let units = (0..count).map(|m| first + m * (w - 1));
            let sight = own_sight((first, count), w);
            targets.look(simd, attention, &sources, &sight, &mut scratch);
            for unit in units.clone() {
                log_sums[unit] = targets.finish(unit);
                let (attended, own) = (&targets.attended[unit * d..], &input[unit * width..]);
                let to = &mut hidden[unit * d..][..d];
                plan.scan.activation.join(T::one(), attended, own, to);
            }
            plan.remember(simd, ((first, count), w), &hidden, turned, &mut rows);
            for (unit, row) in units.zip(rows.chunks_exact(width)) {
                sources.put(attention, unit, row);
            }
        }
        DoneTile { sources, hidden, attended: targets.attended, log_sums }
    }
}

pub(super) fn backward<T: Real>(
    plan: &Plan,
    weights: Weights<'_, T>,
    passed: &Passed<T>,
    (hidden, grad): (Units<'_, T>, Units<'_, T>),
    rows: &mut [&mut [T]],
) -> Gradients<T> {
    let hidden = hidden.rows(0..plan.units());
    let shared = Shared::new(plan, weights);
    let tiling = shared.tiling;
    let (d, width) = (plan.shape.value, plan.shape.len());
    let mut known: Vec<Option<Known<T>>> = (0..tiling.count()).map(|_| None).collect();
    let mut of_memory = vec![T::zero(); plan.units() * width];
    let mut workers: Vec<QueryGradients<T>> =
        (0..WORKERS).map(|_| QueryGradients::new(plan.shape, plan.units())).collect();
    for diagonal in tiling.diagonals().rev() {
        let run = |(worker, of_queries): (usize, &mut QueryGradients<T>)| {
            let tiles = diagonal.iter().skip(worker).step_by(WORKERS);
            let run = |&index: &usize| {
                let here = tiling.tile(index);
                let task = BackwardTile {
                    shared: &shared,
                    matrix: weights.matrix,
                    input: rows[here.positions()].concat(),
                    passed,
                    hidden: here.of(&hidden, d),
                    grad: grad.rows(here.positions()),
                    known: &known,
                    of_queries: &mut *of_queries,
                    index,
                };
                (index, pulp::Arch::new().dispatch(task))
            };
            tiles.map(run).collect::<Vec<_>>()
        };
        let tiles: Vec<Vec<_>> = workers.par_iter_mut().enumerate().map(run).collect();
        for (index, (tile, rows)) in tiles.into_iter().flatten() {
            known[index] = Some(tile);
            of_memory[tiling.tile(index).first * width..][..rows.len()].copy_from_slice(&rows);
        }
    }
    // In a fixed order: the bits must not depend on the number of threads.
    let mut of_queries = QueryGradients::new(plan.shape, plan.units());
    workers.iter().for_each(|worker| of_queries.add(worker));
    shared.attention.finish_queries(&mut of_queries.queries);
    let grads = known.iter().flatten().flat_map(|tile| tile.grad.chunks_exact(d));
    let of_units = grads.zip(of_queries.queries.chunks_exact(plan.shape.key));
    for (to, (grad, query)) in rows.iter_mut().zip(of_units) {
        let (to_grad, to_query) = to.split_at_mut(d);
        to_grad.copy_from_slice(grad);
        to_query.copy_from_slice(query);
    }
    let matrix = plan.matrix_gradient(&of_memory, &hidden);
    Gradients { matrix, vector: shared.attention.finish_vector(&of_queries) }
}

struct BackwardTile<'a, T> {
    shared: &'a Shared<'a, T>,
    matrix: &'a [T],
    /// The tile's input.
    input: Vec<T>,
    /// Of the whole grid.
    passed: &'a Passed<T>,
    /// The tile's hidden states and their gradient.
    hidden: &'a [T],
    grad: Vec<T>,
    known: &'a [Option<Known<T>>],
    of_queries: &'a mut QueryGradients<T>,
    index: usize,
}

impl<T: Real> WithSimd for BackwardTile<'_, T> {
    /// What earlier tiles need to know, and the gradient of values and keys.
    type Output = (Known<T>, Vec<T>);

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Self::Output {
        let Self { shared, matrix, input, passed, hidden, grad, known, of_queries, index } = self;
        let Shared { plan, tiling, attention } = shared;
        let (d, width) = (plan.shape.value, plan.shape.len());
        let here = tiling.tile(index);
        let (h, w) = here.size;
        let memory = plan.memory(hidden, matrix);
        let sources = Sources::of_rows(attention, &memory);
        let mut into = SourceGradients::new(attention, &sources);
        let mut scratch = Scratch::new(plan.shape);
        for (target, tile) in known.iter().enumerate() {
            let there = tiling.tile(target);
            let (Some(tile), true) =
                (tile, there.place.0 >= here.place.0 && there.place.1 >= here.place.1)
            else {
                continue;
            };
            for sight in sights(&there, &here) {
                let known = (tile, there.first);
                attention.back(simd, &sources, known, &sight, &mut into, of_queries, &mut scratch);
            }
        }
        let attended = here.of(&passed.attended, d);
        let mut own = Known {
            queries: attention.queries(&input, width),
            grad,
            delta: vec![T::zero(); here.units()],
            log_sums: passed.log_sums[here.positions()].to_vec(),
        };
        let mut of_memory = vec![T::zero(); memory.len()];
        let mut rows = vec![T::zero(); h.min(w) * width];
        for (first, count) in diagonals_of((h, w)).rev() {
            let units = (0..count).map(|m| first + m * (w - 1));
            for (unit, row) in units.clone().zip(rows.chunks_exact_mut(width)) {
                into.take(attention, unit, row);
                of_memory[unit * width..][..width].copy_from_slice(row);
            }
            plan.recall(simd, ((first, count), w), &rows, matrix, &mut own.grad);
            for unit in units {
                let grad = &mut own.grad[unit * d..][..d];
                plan.scan.activation.back(grad, &hidden[unit * d..]);
                own.delta[unit] = dot(grad, &attended[unit * d..][..d]);
            }
            let (sight, known) = (own_sight((first, count), w), (&own, here.first));
            attention.back(simd, &sources, known, &sight, &mut into, of_queries, &mut scratch);
        }
        (own, of_memory)
    }
}
