//! Scores of pairs: every tile of units looks at the tiles of its quadrant.

use grid_ops::{Real, inlined, simd};
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::{Gradients, Passed, QuadrantAttention};
use crate::Tiling;
use crate::tile::{
    Attention, Known, QueryGradients, Scratch, SourceGradients, Sources, TILE, Targets, sights,
};

/// Workers whose sums of query gradients are kept apart, whatever the number of threads.
const WORKERS: usize = 4;

pub(super) fn tiling(size: (usize, usize)) -> Tiling {
    Tiling::new(size, TILE)
}

/// One direction of one image, cut into tiles.
struct Grid<'a, T> {
    tiling: Tiling,
    attention: Attention<'a, T>,
    /// Channels of a row.
    width: usize,
    /// `[units, a + d + a]`.
    rows: &'a [T],
    sources: Vec<Sources<T>>,
}

impl<'a, T: Real> Grid<'a, T> {
    fn new(op: &QuadrantAttention, rows: &'a [T], vector: &'a [T]) -> Self {
        let attention = Attention::new(op.score, op.shape, vector);
        let (tiling, width) = (tiling(op.size), op.width());
        let sources = (0..tiling.count()).into_par_iter().map(|index| {
            let rows = tiling.tile(index).of(rows, width);
            let mut memory = Vec::with_capacity(rows.len() / width * op.shape.len());
            for row in rows.chunks_exact(width) {
                memory.extend_from_slice(&row[op.shape.key..]);
            }
            simd(
                #[inline(always)]
                || Sources::of_rows(&attention, &memory),
            )
        });
        Self { tiling, attention, width, rows, sources: sources.collect() }
    }

    /// The queries of a tile.
    #[inline(always)]
    fn queries(&self, index: usize) -> crate::tile::Queries<T> {
        let a = self.attention.shape.key;
        let rows = self.tiling.tile(index).of(self.rows, self.width);
        let mut queries = Vec::with_capacity(rows.len() / self.width * a);
        for row in rows.chunks_exact(self.width) {
            queries.extend_from_slice(&row[..a]);
        }
        self.attention.queries(&queries, a)
    }
}

pub(super) fn forward<T: Real>(op: &QuadrantAttention, rows: &[T], vector: &[T]) -> Passed<T> {
    let grid = Grid::new(op, rows, vector);
    let looks = (0..grid.tiling.count())
        .into_par_iter()
        .map(|index| pulp::Arch::new().dispatch(Look { grid: &grid, index }));
    let looks: Vec<(Vec<T>, Vec<T>)> = looks.collect();
    let (attended, log_sums): (Vec<_>, Vec<_>) = looks.into_iter().unzip();
    Passed { attended: attended.concat(), log_sums: log_sums.concat() }
}

/// All that the units of one tile attend to, and their log-sums.
struct Look<'a, T> {
    grid: &'a Grid<'a, T>,
    index: usize,
}

impl<T: Real> WithSimd for Look<'_, T> {
    type Output = (Vec<T>, Vec<T>);

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Self::Output {
        let Self { grid, index } = self;
        let attention = &grid.attention;
        let here = grid.tiling.tile(index);
        let mut scratch = Scratch::new(attention.shape);
        let mut targets = Targets::new(attention, grid.queries(index), here.units());
        for p in 0..=here.place.0 {
            for q in 0..=here.place.1 {
                let source = grid.tiling.index((p, q));
                for sight in sights(&here, &grid.tiling.tile(source)) {
                    let sources = &grid.sources[source];
                    targets.look(simd, attention, sources, &sight, &mut scratch);
                }
            }
        }
        let log_sums = (0..here.units()).map(|unit| targets.finish(unit)).collect();
        (targets.attended, log_sums)
    }
}

pub(super) fn backward<T: Real>(
    op: &QuadrantAttention,
    rows: &[T],
    vector: &[T],
    passed: &Passed<T>,
    grad: Vec<T>,
) -> Gradients<T> {
    let grid = Grid::new(op, rows, vector);
    let (d, units) = (op.shape.value, op.units());
    let known_of = inlined(
        #[inline(always)]
        |index: usize| {
            let at = grid.tiling.tile(index).positions();
            let grad = &grad[at.start * d..at.end * d];
            let attended = &passed.attended[at.start * d..at.end * d];
            let pairs = grad.chunks_exact(d).zip(attended.chunks_exact(d));
            Known {
                queries: grid.queries(index),
                grad: grad.to_vec(),
                delta: pairs.map(|(g, x)| crate::kernel::dot(g, x)).collect(),
                log_sums: passed.log_sums[at].to_vec(),
            }
        },
    );
    let known: Vec<Known<T>> = (0..grid.tiling.count())
        .into_par_iter()
        .map(|index| {
            simd(
                #[inline(always)]
                || known_of(index),
            )
        })
        .collect();
    let run = |worker: usize| {
        let mut of_queries = QueryGradients::new(op.shape, units);
        let mut of_sources = Vec::new();
        for index in (worker..grid.tiling.count()).step_by(WORKERS) {
            let task = Back { grid: &grid, index, known: &known, of_queries: &mut of_queries };
            of_sources.push((index, pulp::Arch::new().dispatch(task)));
        }
        (of_queries, of_sources)
    };
    let parts: Vec<_> = (0..WORKERS).into_par_iter().map(run).collect();
    let mut of_queries = QueryGradients::new(op.shape, units);
    let mut d_rows = vec![T::zero(); rows.len()];
    let (a, width) = (op.shape.key, op.width());
    for (of_worker, of_sources) in &parts {
        of_queries.add(of_worker);
        for (index, of_source) in of_sources {
            let to = d_rows[grid.tiling.tile(*index).first * width..].chunks_exact_mut(width);
            for (unit, to) in to.take(grid.tiling.tile(*index).units()).enumerate() {
                of_source.take(&grid.attention, unit, &mut to[a..]);
            }
        }
    }
    grid.attention.finish_queries(&mut of_queries.queries);
    for (row, query) in d_rows.chunks_exact_mut(width).zip(of_queries.queries.chunks_exact(a)) {
        row[..a].copy_from_slice(query);
    }
    Gradients { rows: d_rows, vector: grid.attention.finish_vector(&of_queries) }
}

/// The gradients of the sources of one tile.
struct Back<'a, T> {
    grid: &'a Grid<'a, T>,
    index: usize,
    known: &'a [Known<T>],
    of_queries: &'a mut QueryGradients<T>,
}

impl<T: Real> WithSimd for Back<'_, T> {
    type Output = SourceGradients<T>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Self::Output {
        let Self { grid, index, known, of_queries } = self;
        let attention = &grid.attention;
        let (here, sources) = (grid.tiling.tile(index), &grid.sources[index]);
        let mut scratch = Scratch::new(attention.shape);
        let mut into = SourceGradients::new(attention, sources);
        let (rows, columns) = grid.tiling.shape();
        for p in here.place.0..rows {
            for q in here.place.1..columns {
                let target = grid.tiling.index((p, q));
                let there = grid.tiling.tile(target);
                for sight in sights(&there, &here) {
                    let known = (&known[target], there.first);
                    attention.back(
                        simd,
                        sources,
                        known,
                        &sight,
                        &mut into,
                        of_queries,
                        &mut scratch,
                    );
                }
            }
        }
        into
    }
}
