//! Attention of every unit over all units.

use std::ops::Range;

use candle_core::Tensor;
use grid_ops::{Real, count_macs, is_composed};
use rayon::prelude::*;

use crate::lines::{Back, Line, Look, Looked, Upstream};
use crate::planes_op::{self, Attended, PlanesKernel, PlanesShape, UnitShape, deltas};
use crate::{Result, composed};

/// Tiles that are worked on together.
const GROUP: usize = 4;

/// Tasks that the gradients of a batch are cut into at least, where its images have so many tiles.
/// Each has sums of query gradients of its own, which are added in order: the bits do not depend on
/// the number of threads.
const TASKS: usize = 16;

/// What each unit of a grid attends to in the whole grid, itself included.
///
/// `out(v) = Σ_u softmax_u(query(v) · key(u)) value(u)` over all units `u`, without a scale: the
/// embedded Gaussian of Wang et al., *Non-local neural networks*, CVPR 2018.
///
/// # Shapes
///
/// - `input`: `[n, 2·a + d, h, w]`, `f32` or `f64`: `a` channels of queries, `a` = `keys` of keys,
///   `d` of values
/// - returns: `[n, d, h, w]`
///
/// Differentiable. O(n·(h·w)²·(a + d)) time, O(n·h·w·(a + d)) memory: pairs are scored tile by tile,
/// forward and once more backward. Off the CPU it runs as [`composed::pair_attention`], which holds
/// all pairs.
///
/// # Errors
///
/// [`crate::Error::Shape`] where the shape differs from the above, [`crate::Error::Candle`] for other number types.
pub fn pair_attention(input: &Tensor, keys: usize) -> Result<Tensor> {
    let shape = PlanesShape::checked("pair_attention", input, keys)?;
    let units = shape.units();
    count_macs(shape.n * units * units * shape.of_pair());
    if is_composed(input) {
        return composed::pair_attention(input, keys);
    }
    planes_op::apply(PairAttention(shape), input)
}

struct PairAttention(PlanesShape);

impl PairAttention {
    /// Every image as one line.
    fn lines<T: Real>(&self, input: &[T]) -> Vec<Line<T>> {
        let (units, of_unit) = (self.0.units(), self.0.of_unit);
        let images = input.par_chunks(self.0.of_image());
        images.map(|image| Line::new(image, units, units, of_unit, true)).collect()
    }
}

/// `0..tiles` in groups.
fn groups(tiles: usize) -> impl Iterator<Item = Range<usize>> + Clone {
    (0..tiles).step_by(GROUP).map(move |first| first..(first + GROUP).min(tiles))
}

impl PlanesKernel for PairAttention {
    const NAME: &'static str = "pair-attention";

    fn shape(&self) -> PlanesShape {
        self.0
    }

    fn forward<T: Real>(&self, input: &[T]) -> Attended<T> {
        let (units, lines) = (self.0.units(), self.lines(input));
        let mut tasks = Vec::new();
        for line in &lines {
            tasks.extend(groups(line.cut.tiles()).map(|tiles| (line, tiles)));
        }
        let look = |(line, tiles)| Look { line, tiles }.run();
        let looked: Vec<Looked<T>> = tasks.into_par_iter().map(look).collect();
        let mut attended = vec![T::zero(); self.0.n * self.0.of_output()];
        let mut log_sums = vec![T::zero(); self.0.n * units];
        let images =
            attended.par_chunks_mut(self.0.of_output()).zip(log_sums.par_chunks_mut(units));
        let per_image: usize = looked.len() / self.0.n;
        let images = images.zip(looked.par_chunks(per_image)).zip(&lines);
        images.for_each(|(((attended, log_sums), looked), line)| {
            for (looked, tiles) in looked.iter().zip(groups(line.cut.tiles())) {
                let (cut, first) = (line.cut, tiles.start);
                cut.put_back((first, &looked.attended), self.0.of_unit.value, attended, units);
                cut.put_back((first, &looked.log_sums), 1, log_sums, units);
            }
        });
        (attended, log_sums)
    }

    fn backward<T: Real>(
        &self,
        input: &[T],
        (attended, log_sums): (&[T], &[T]),
        grad: &[T],
    ) -> Vec<T> {
        let (units, lines) = (self.0.units(), self.lines(input));
        let UnitShape { key: a, value: d } = self.0.of_unit;
        let of_output = self.0.of_output();
        let outputs = attended.par_chunks(of_output).zip(grad.par_chunks(of_output));
        let inputs = lines.par_iter().zip(log_sums.par_chunks(units)).zip(outputs);
        let upstreams: Vec<Upstream<T>> = inputs
            .map(|((line, log_sums), (attended, grad))| {
                Upstream::new(line, grad, units, log_sums, &deltas(attended, grad, units))
            })
            .collect();
        let parts = TASKS.div_ceil(self.0.n).min(groups(lines[0].cut.tiles()).count());
        let of_part = |task: usize| {
            let (image, part) = (task / parts, task % parts);
            let (line, upstream) = (&lines[image], &upstreams[image]);
            let mut of_queries = vec![T::zero(); line.cut.numbers(a)];
            let groups = groups(line.cut.tiles()).skip(part).step_by(parts);
            let back = |tiles: Range<usize>| {
                let of_queries = &mut of_queries;
                let back = Back { line, upstream, tiles: tiles.clone(), of_queries };
                (tiles.start, back.run())
            };
            let of_keys: Vec<_> = groups.map(back).collect();
            (of_queries, of_keys)
        };
        let done: Vec<_> = (0..self.0.n * parts).into_par_iter().map(of_part).collect();
        let mut d_input = vec![T::zero(); self.0.n * self.0.of_image()];
        let images = d_input.par_chunks_mut(self.0.of_image()).zip(done.par_chunks(parts));
        images.zip(&lines).for_each(|((d_input, done), line)| {
            let cut = line.cut;
            let mut of_queries = vec![T::zero(); done[0].0.len()];
            for (part, of_keys) in done {
                of_queries.iter_mut().zip(part).for_each(|(sum, &x)| *sum = *sum + x);
                for (first, [keys, values]) in of_keys {
                    let (keys, values) = (cut.by_channels(keys, a), cut.by_channels(values, d));
                    cut.put_back((*first, &keys), a, &mut d_input[a * units..], units);
                    cut.put_back((*first, &values), d, &mut d_input[2 * a * units..], units);
                }
            }
            cut.put_back((0, &of_queries), a, d_input, units);
        });
        d_input
    }
}
