//! The scans of `dense-rnn`, and the matrix products that no scan can do without.

use dense_rnn::{Activation, Aggregation, Graph, Legs, Scan, Score};
use grid_ops::{MatMut, MatRef, matmul};
use rayon::prelude::*;

use crate::{Case, Pass, Task, Work, task, var};

/// Sizes and mode of a scan; `c` channels of the features.
#[derive(Debug, Clone, Copy, serde::Serialize, serde::Deserialize)]
#[allow(missing_docs, reason = "the sizes speak for themselves")]
pub struct ScanSizes {
    pub n: usize,
    pub c: usize,
    pub d: usize,
    pub a: usize,
    pub h: usize,
    pub w: usize,
    pub graph: Graph,
    pub aggregation: Aggregate,
    pub peer: Peer,
}

/// How the other side is written.
#[derive(Debug, Clone, Copy, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Peer {
    /// Four directions batched and running sums; over pairs, memory allocated once and a backward
    /// pass by hand.
    Careful,
    /// As one would first write it.
    Plain,
}

/// [`Aggregation`] in one word.
#[derive(Debug, Clone, Copy, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "as there")]
pub enum Aggregate {
    Sum,
    Mean,
    TanhAdditive,
    ScaledDot,
    LinearAdditive,
}

impl From<Aggregate> for Aggregation {
    fn from(aggregate: Aggregate) -> Self {
        match aggregate {
            Aggregate::Sum => Self::Sum,
            Aggregate::Mean => Self::Mean,
            Aggregate::TanhAdditive => Self::Attention(Score::TanhAdditive),
            Aggregate::ScaledDot => Self::Attention(Score::ScaledDot),
            Aggregate::LinearAdditive => Self::Attention(Score::LinearAdditive),
        }
    }
}

/// C = 256, D = 128, A = 64 at 45×60 units, batches of 1 and 4.
pub(crate) fn cases() -> Vec<Case> {
    let modes = [
        ("dag4 mean", Graph::Dag4, Aggregate::Mean, Peer::Careful),
        ("dag8 mean", Graph::Dag8, Aggregate::Mean, Peer::Careful),
        ("dense sum", Graph::Dense, Aggregate::Sum, Peer::Careful),
        ("dense mean", Graph::Dense, Aggregate::Mean, Peer::Careful),
        ("dense linear-additive", Graph::Dense, Aggregate::LinearAdditive, Peer::Careful),
        ("dense scaled-dot", Graph::Dense, Aggregate::ScaledDot, Peer::Careful),
        ("dense scaled-dot, plain peer,", Graph::Dense, Aggregate::ScaledDot, Peer::Plain),
        ("dense tanh-additive", Graph::Dense, Aggregate::TanhAdditive, Peer::Careful),
    ];
    let (c, d, a, h, w) = (256, 128, 64, 45, 60);
    let of_batch = |n: usize| {
        let products = Case {
            name: format!("products of a scan {n}×{c}→{d} {h}×{w}"),
            passes: Pass::ALL.to_vec(),
            work: Work::ScanProducts { n, c, d, h, w },
        };
        let scans = modes.into_iter().map(move |(name, graph, aggregation, peer)| Case {
            name: format!("scan {name} {n}×{c}→{d} {h}×{w}"),
            passes: Pass::ALL.to_vec(),
            work: Work::Scan(ScanSizes { n, c, d, a, h, w, graph, aggregation, peer }),
        });
        std::iter::once(products).chain(scans)
    };
    [1, 4].into_iter().flat_map(of_batch).collect()
}

/// The companions of the scans, beside the one that they are measured by.
pub(crate) fn alone() -> Vec<Case> {
    let (n, c, d, h, w) = (1, 256, 128, 45, 60);
    let of_order = |order: usize| Case {
        name: format!("scan hippo order {order} {n}×{c}→{d} {h}×{w}"),
        passes: Pass::ALL.to_vec(),
        work: Work::Hippo { n, c, d, h, w, order },
    };
    let weights = Case {
        name: format!("recurrent weights 4×{d}×{d} by eigenvalues"),
        passes: Pass::ALL.to_vec(),
        work: Work::EigenvalueNormalised { d },
    };
    [1, 16, 64].into_iter().map(of_order).chain([weights]).collect()
}

/// The same scans on larger and larger grids, to see time and memory grow.
pub fn growth() -> Vec<Case> {
    let modes = [
        ("dag8 mean", Graph::Dag8, Aggregate::Mean),
        ("dense sum", Graph::Dense, Aggregate::Sum),
        ("dense mean", Graph::Dense, Aggregate::Mean),
        ("dense linear-additive", Graph::Dense, Aggregate::LinearAdditive),
        ("dense scaled-dot", Graph::Dense, Aggregate::ScaledDot),
        ("dense tanh-additive", Graph::Dense, Aggregate::TanhAdditive),
    ];
    let of_mode = |(name, graph, aggregation)| {
        let sizes = [(15, 20), (30, 40), (60, 80), (120, 160)];
        sizes.map(|(h, w)| Case {
            name: format!("{name} {h}×{w}"),
            passes: Pass::ALL.to_vec(),
            work: Work::Scan(ScanSizes {
                n: 1,
                c: 256,
                d: 128,
                a: 64,
                h,
                w,
                graph,
                aggregation,
                peer: Peer::Careful,
            }),
        })
    };
    modes.into_iter().flat_map(of_mode).collect()
}

/// [`dense_rnn::hippo_scan_features`].
pub(crate) fn hippo_task(
    [n, c, d, h, w]: [usize; 5],
    order: usize,
    pass: Pass,
) -> anyhow::Result<Task> {
    let legs = Legs { order, ..Legs::default() };
    let width = d / order + 2 * d;
    let scaled = |seed, shape: &[usize], channels: usize| -> anyhow::Result<_> {
        let values = (var(seed, shape)?.as_tensor() * (channels as f64).sqrt().recip())?;
        Ok(candle_core::Var::from_tensor(&values)?)
    };
    let inputs = [
        var(1, &[n, c, h, w])?,
        scaled(2, &[4 * width, c], c)?,
        var(3, &[4 * width])?,
        scaled(4, &[4, d / order, d], d)?,
        scaled(5, &[4, 2 * d, d], d)?,
    ];
    let run = move |[x, u, b, to_memory, from_memory]: &[_; 5]| {
        Ok(dense_rnn::hippo_scan_features(x, (u, b), to_memory, from_memory, &legs)?)
    };
    Ok(task(inputs, pass, run))
}

/// [`dense_rnn::eigenvalue_normalised`] of the weights of four directions.
pub(crate) fn weights_task(d: usize, pass: Pass) -> anyhow::Result<Task> {
    let run = |[m]: &[_; 1]| Ok(dense_rnn::eigenvalue_normalised(m, 1.0)?);
    Ok(task([var(1, &[4, d, d])?], pass, run))
}

pub(crate) fn scan_task(sizes: ScanSizes, pass: Pass) -> anyhow::Result<Task> {
    let ScanSizes { n, c, d, a, h, w, graph, aggregation, .. } = sizes;
    let aggregation = Aggregation::from(aggregation);
    let score = aggregation.score();
    let keys = score.map_or(0, |score| score.key_channels(a));
    let width = d + score.map_or(0, |score| score.query_channels(keys));
    let scaled = |seed, shape: &[usize], scale: f64| -> anyhow::Result<_> {
        let values = (var(seed, shape)?.as_tensor() * scale)?;
        Ok(candle_core::Var::from_tensor(&values)?)
    };
    let stdev = |channels: usize| (channels as f64).sqrt().recip();
    // A sum of 2,700 states stays finite only under a weight of about their reciprocal.
    let radius = if matches!(aggregation, Aggregation::Sum) { 1e-3 } else { 1.0 };
    let inputs = [
        var(1, &[n, c, h, w])?,
        scaled(2, &[4 * width, c], stdev(c))?,
        var(3, &[4 * width])?,
        scaled(4, &[4, d + keys, d], radius * stdev(d))?,
        var(5, &[4, keys.max(1)])?,
    ];
    let mode = Scan { graph, aggregation, activation: Activation::Relu };
    let run = move |[x, u, b, weights, vector]: &[_; 5]| {
        let vector = (score == Some(Score::TanhAdditive)).then_some(vector);
        Ok(dense_rnn::scan_features(x, (u, b), weights, vector, &mode)?)
    };
    Ok(task(inputs, pass, run))
}

/// `U x` and `W h` of four directions, and with gradients the four products of theirs.
pub(crate) fn products_task((units, c, d): (usize, usize, usize), pass: Pass) -> Task {
    let values = |seed, len: usize| -> Vec<f32> {
        testkit::values(seed, len).into_iter().map(|x| x as f32).collect()
    };
    let (x, u) = (values(1, units * c), values(2, 4 * d * c));
    let (hidden, weights) = (values(3, 4 * units * d), values(4, 4 * d * d));
    let (mut rows, mut memory) = (vec![0.0; 4 * units * d], vec![0.0; 4 * units * d]);
    let (mut d_x, mut d_u) = (vec![0.0; units * c], vec![0.0; 4 * d * c]);
    let mut d_weights = vec![0.0; 4 * d * d];
    // Rows are shared out in halves, as two threads would; directions are independent.
    let part = units.div_ceil(2);
    Box::new(move || {
        let by_rows =
            |to: &mut [f32], from: &[f32], k: usize, n: usize, matrix: &[f32], t: bool| {
                let parts = to.par_chunks_mut(part * n).zip(from.par_chunks(part * k));
                parts.for_each(|(to, from)| {
                    let m = from.len() / k;
                    let strides = if t { (1, k) } else { (n, 1) };
                    let matrix = MatRef::new(matrix, k, n, strides.0, strides.1);
                    let from = MatRef::new(from, m, k, k, 1);
                    matmul(MatMut::new(to, m, n, n, 1), 0.0, from, matrix);
                });
            };
        let of_directions = |to: &mut [f32], t: bool| {
            let parts = to.par_chunks_mut(units * d).zip(hidden.par_chunks(units * d));
            parts.zip(weights.par_chunks(d * d)).for_each(|((to, from), matrix)| {
                let strides = if t { (1, d) } else { (d, 1) };
                let matrix = MatRef::new(matrix, d, d, strides.0, strides.1);
                let from = MatRef::new(from, units, d, d, 1);
                matmul(MatMut::new(to, units, d, d, 1), 0.0, from, matrix);
            });
        };
        by_rows(&mut rows, &x, c, 4 * d, &u, true);
        of_directions(&mut memory, true);
        if pass == Pass::ForwardBackward {
            of_directions(&mut memory, false);
            let parts = d_weights.par_chunks_mut(d * d).zip(hidden.par_chunks(units * d));
            parts.for_each(|(to, from)| {
                let (left, right) =
                    (MatRef::new(from, d, units, 1, d), MatRef::new(from, units, d, d, 1));
                matmul(MatMut::new(to, d, d, d, 1), 0.0, left, right);
            });
            by_rows(&mut d_x, &rows, 4 * d, c, &u, false);
            d_u.par_chunks_mut(2 * d * c).enumerate().for_each(|(half, to)| {
                let left = MatRef::new(&rows[half * 2 * d..], 2 * d, units, 1, 4 * d);
                let right = MatRef::new(&x, units, c, c, 1);
                matmul(MatMut::new(to, 2 * d, c, c, 1), 0.0, left, right);
            });
        }
        Ok(())
    })
}
