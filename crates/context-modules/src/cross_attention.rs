//! Attention of every unit over its row and its column.

use candle_core::Tensor;
use grid_ops::{Real, count_macs, inlined, is_composed, simd, turned};
use rayon::prelude::*;

use crate::lines::{Back, Line, Look, Looked, Upstream};
use crate::planes_op::{self, Attended, PlanesKernel, PlanesShape, UnitShape, deltas};
use crate::{Result, composed};

/// What each unit of a grid attends to in its row and its column.
///
/// `out(v) = Σ_u softmax_u(query(v) · key(u)) value(u)` over the units `u` of `v`'s row, itself
/// included, and those of its column without itself: the criss-cross attention of Huang et al.,
/// *CCNet*, ICCV 2019.
///
/// # Shapes
///
/// - `input`: `[n, 2·a + d, h, w]`, `f32` or `f64`: `a` channels of queries, `a` = `keys` of keys,
///   `d` of values
/// - returns: `[n, d, h, w]`
///
/// Differentiable. O(n·h·w·(h + w)·(a + d)) time, O(n·h·w·(a + d)) memory: scores are made tile by
/// tile, forward and once more backward. Off the CPU it runs as [`composed::cross_attention`], which
/// holds all scores.
///
/// # Errors
///
/// [`crate::Error::Shape`] where the shape differs from the above, [`crate::Error::Candle`] for other number types.
pub fn cross_attention(input: &Tensor, keys: usize) -> Result<Tensor> {
    let shape = PlanesShape::checked("cross_attention", input, keys)?;
    count_macs(shape.n * shape.units() * (shape.h + shape.w - 1) * shape.of_pair());
    if is_composed(input) {
        return composed::cross_attention(input, keys);
    }
    planes_op::apply(CrossAttention(shape), input)
}

struct CrossAttention(PlanesShape);

/// The rows of a grid, or its columns where the planes are turned: as many lines as units long.
#[derive(Clone, Copy)]
struct Lines {
    count: usize,
    len: usize,
    of_unit: UnitShape,
    /// Whether a unit attends to itself.
    to_itself: bool,
}

/// Planes `[rows, columns]`, one after another, each turned.
fn planes_turned<T: Real>(planes: &[T], rows: usize, columns: usize) -> Vec<T> {
    let mut all = vec![T::zero(); planes.len()];
    let pairs = all.par_chunks_mut(rows * columns).zip(planes.par_chunks(rows * columns));
    pairs.for_each(|(to, plane)| to.copy_from_slice(&turned(plane, (rows, columns), columns)));
    all
}

impl Lines {
    fn plane(self) -> usize {
        self.count * self.len
    }

    fn line<T: Real>(self, planes: &[T], nth: usize) -> Line<T> {
        let Self { len, of_unit, to_itself, .. } = self;
        Line::new(&planes[nth * len..], self.plane(), len, of_unit, to_itself)
    }

    /// What the units of all lines attend to in their own, and the log-sum-exps, from and to planes.
    fn forward<T: Real>(self, planes: &[T], attended: &mut [T], log_sums: &mut [T]) {
        let look = |nth: usize| {
            let line = self.line(planes, nth);
            let looked = Look { line: &line, tiles: 0..line.cut.tiles() }.run();
            (line.cut, looked)
        };
        let looked: Vec<_> = (0..self.count).into_par_iter().map(look).collect();
        let (plane, d) = (self.plane(), self.of_unit.value);
        for (nth, (cut, Looked { attended: of_line, log_sums: sums })) in looked.iter().enumerate()
        {
            let first = nth * self.len;
            cut.put_back((0, of_line), d, &mut attended[first..], plane);
            cut.put_back((0, sums), 1, &mut log_sums[first..], plane);
        }
    }

    /// Writes the gradient of the planes, from that of what is attended; `log_sums` and `deltas` are
    /// those of all that a unit attends to, in this line or another.
    fn backward<T: Real>(
        self,
        planes: &[T],
        grad: &[T],
        (log_sums, deltas): (&[T], &[T]),
        d_planes: &mut [T],
    ) {
        let (plane, UnitShape { key: a, value: d }) = (self.plane(), self.of_unit);
        let back = |nth: usize| {
            let (line, first) = (self.line(planes, nth), nth * self.len);
            let (log_sums, deltas) = (&log_sums[first..], &deltas[first..]);
            let upstream = Upstream::new(&line, &grad[first..], plane, log_sums, deltas);
            let mut queries = vec![T::zero(); line.cut.numbers(a)];
            let tiles = 0..line.cut.tiles();
            let back = Back { line: &line, upstream: &upstream, tiles, of_queries: &mut queries };
            let [keys, values] = back.run();
            let (keys, values) = (line.cut.by_channels(&keys, a), line.cut.by_channels(&values, d));
            (line.cut, [queries, keys, values])
        };
        let done: Vec<_> = (0..self.count).into_par_iter().map(back).collect();
        for (nth, (cut, parts)) in done.iter().enumerate() {
            for (first, (part, channels)) in
                [0, a, 2 * a].into_iter().zip(parts.iter().zip([a, a, d]))
            {
                let to = &mut d_planes[first * plane + nth * self.len..];
                cut.put_back((0, part), channels, to, plane);
            }
        }
    }
}

impl CrossAttention {
    /// Rows and columns.
    fn lines(&self) -> [Lines; 2] {
        let PlanesShape { h, w, of_unit, .. } = self.0;
        [
            Lines { count: h, len: w, of_unit, to_itself: true },
            Lines { count: w, len: h, of_unit, to_itself: false },
        ]
    }

    fn forward_image<T: Real>(&self, image: &[T], attended: &mut [T], log_sums: &mut [T]) {
        let PlanesShape { h, w, .. } = self.0;
        let [rows, columns] = self.lines();
        rows.forward(image, attended, log_sums);
        let zeros = |len| vec![T::zero(); len];
        let (mut others, mut other_sums) = (zeros(attended.len()), zeros(log_sums.len()));
        columns.forward(&planes_turned(image, h, w), &mut others, &mut other_sums);
        let [others, other_sums] = [others, other_sums].map(|planes| planes_turned(&planes, w, h));
        join((attended, log_sums), (&others, &other_sums));
    }

    fn backward_image<T: Real>(
        &self,
        image: &[T],
        (attended, log_sums): (&[T], &[T]),
        grad: &[T],
        d_image: &mut [T],
    ) {
        let PlanesShape { h, w, .. } = self.0;
        let [rows, columns] = self.lines();
        let deltas = deltas(attended, grad, h * w);
        rows.backward(image, grad, (log_sums, &deltas), d_image);
        let [image, grad, log_sums, deltas] =
            [image, grad, log_sums, deltas.as_slice()].map(|planes| planes_turned(planes, h, w));
        let mut of_columns = vec![T::zero(); d_image.len()];
        columns.backward(&image, &grad, (&log_sums, &deltas), &mut of_columns);
        let of_columns = planes_turned(&of_columns, w, h);
        d_image.iter_mut().zip(of_columns).for_each(|(sum, x)| *sum = *sum + x);
    }
}

/// Joins what units attended to in two places: of each unit the mean over both and the log-sum-exp
/// of both.
fn join<T: Real>((attended, log_sums): (&mut [T], &mut [T]), (others, other_sums): (&[T], &[T])) {
    let units = log_sums.len();
    let zeros = || vec![T::zero(); units];
    let (mut of_these, mut of_others) = (zeros(), zeros());
    let run = inlined(
        #[inline(always)]
        |of_these: &mut [T], of_others: &mut [T], attended: &mut [T], log_sums: &mut [T]| {
            let shares = of_these.iter_mut().zip(of_others.iter_mut());
            for ((sum, &other), (this, that)) in log_sums.iter_mut().zip(other_sums).zip(shares) {
                // Every unit is in its own row, so that the maximum is a number.
                let top = (*sum).max(other);
                (*this, *that) = ((*sum - top).exp_inline(), (other - top).exp_inline());
                let both = *this + *that;
                (*this, *that) = (*this / both, *that / both);
                *sum = top + both.ln();
            }
            for (xs, others) in attended.chunks_exact_mut(units).zip(others.chunks_exact(units)) {
                let shares = of_these.iter().zip(of_others.iter());
                for ((x, &other), (&this, &that)) in xs.iter_mut().zip(others).zip(shares) {
                    *x = this.mul_add(*x, that * other);
                }
            }
        },
    );
    simd(
        #[inline(always)]
        || run(&mut of_these, &mut of_others, attended, log_sums),
    );
}

impl PlanesKernel for CrossAttention {
    const NAME: &'static str = "cross-attention";

    fn shape(&self) -> PlanesShape {
        self.0
    }

    fn forward<T: Real>(&self, input: &[T]) -> Attended<T> {
        let (units, of_output) = (self.0.units(), self.0.of_output());
        let mut attended = vec![T::zero(); self.0.n * of_output];
        let mut log_sums = vec![T::zero(); self.0.n * units];
        let outputs = attended.par_chunks_mut(of_output).zip(log_sums.par_chunks_mut(units));
        outputs.zip(input.par_chunks(self.0.of_image())).for_each(
            |((attended, log_sums), image)| {
                self.forward_image(image, attended, log_sums);
            },
        );
        (attended, log_sums)
    }

    fn backward<T: Real>(
        &self,
        input: &[T],
        (attended, log_sums): (&[T], &[T]),
        grad: &[T],
    ) -> Vec<T> {
        let (units, of_output) = (self.0.units(), self.0.of_output());
        let mut d_input = vec![T::zero(); input.len()];
        let outputs = attended.par_chunks(of_output).zip(grad.par_chunks(of_output));
        let known =
            input.par_chunks(self.0.of_image()).zip(log_sums.par_chunks(units)).zip(outputs);
        let images = d_input.par_chunks_mut(self.0.of_image()).zip(known);
        images.for_each(|(d_image, ((image, log_sums), (attended, grad)))| {
            self.backward_image(image, (attended, log_sums), grad, d_image);
        });
        d_input
    }
}
