//! The recurrence written straight from its definition: one unit after another, every pair scored,
//! `W` applied to the aggregate.

use dense_rnn::{Activation, Aggregation, Direction, Graph, Scan, Score};

/// Sizes of a problem.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    pub(crate) h: usize,
    pub(crate) w: usize,
    pub(crate) d: usize,
    pub(crate) a: usize,
}

/// One direction of one image: `input` `[h·w, d + q]` in raster order, `weights` `[d + a, d]`.
///
/// Returns the hidden states `[h·w, d]` in raster order, and for each unit the attention weights
/// over the raster indices of its predecessors (empty unless it attends).
pub(crate) fn scan(
    sizes: Sizes,
    direction: Direction,
    mode: &Scan,
    input: &[f64],
    weights: &[f64],
    vector: &[f64],
) -> (Vec<f64>, Vec<Vec<f64>>) {
    let Sizes { h, w, d, a } = sizes;
    let mut hidden = vec![0.0; h * w * d];
    let mut all_weights = vec![Vec::new(); h * w];
    for i in 0..h {
        for j in 0..w {
            let v = direction.raster((i, j), (h, w));
            let before: Vec<usize> = predecessors(mode.graph, i, j)
                .into_iter()
                .map(|at| direction.raster(at, (h, w)))
                .collect();
            let width = input.len() / (h * w);
            assert!(
                width == d || width == d + a,
                "a row is U x + b, and the query if there is one"
            );
            let query = &input[v * width + d..(v + 1) * width];
            let shares: Vec<f64> = match mode.aggregation {
                Aggregation::Sum => vec![1.0; before.len()],
                Aggregation::Mean => vec![1.0 / before.len() as f64; before.len()],
                Aggregation::Attention(score) => {
                    let z: Vec<f64> = before
                        .iter()
                        .map(|&u| {
                            let key = product(&weights[d * d..], &hidden[u * d..][..d]);
                            score_of(score, query, &key, vector)
                        })
                        .collect();
                    softmax(&z)
                }
            };
            let mut aggregate = vec![0.0; d];
            for (&u, share) in before.iter().zip(&shares) {
                for k in 0..d {
                    aggregate[k] += share * hidden[u * d + k];
                }
            }
            let recurrent = product(&weights[..d * d], &aggregate);
            for k in 0..d {
                let pre = input[v * width + k] + recurrent[k];
                hidden[v * d + k] = match mode.activation {
                    Activation::Relu => pre.max(0.0),
                    Activation::Tanh => pre.tanh(),
                };
            }
            if matches!(mode.aggregation, Aggregation::Attention(_)) {
                all_weights[v] = shares;
            }
        }
    }
    (hidden, all_weights)
}

fn predecessors(graph: Graph, i: usize, j: usize) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    for p in 0..=i {
        for q in 0..=j {
            let steps = (i - p) + (j - q);
            let precedes = match graph {
                Graph::Dag4 => steps == 1,
                Graph::Dag8 => steps > 0 && i - p <= 1 && j - q <= 1,
                Graph::Dense => steps > 0,
            };
            if precedes {
                found.push((p, q));
            }
        }
    }
    found
}

pub(crate) fn score_of(score: Score, query: &[f64], key: &[f64], vector: &[f64]) -> f64 {
    let pairs = query.iter().zip(key);
    match score {
        Score::TanhAdditive => pairs.zip(vector).map(|((q, k), v)| v * (q + k).tanh()).sum(),
        Score::LinearAdditive => key[0],
        Score::ScaledDot => pairs.map(|(q, k)| q * k).sum::<f64>() / (query.len() as f64).sqrt(),
    }
}

pub(crate) fn softmax(z: &[f64]) -> Vec<f64> {
    let sum: f64 = z.iter().map(|z| z.exp()).sum();
    z.iter().map(|z| z.exp() / sum).collect()
}

/// `matrix · x`, the matrix by rows as long as `x`.
pub(crate) fn product(matrix: &[f64], x: &[f64]) -> Vec<f64> {
    matrix.chunks(x.len()).map(|row| row.iter().zip(x).map(|(m, x)| m * x).sum()).collect()
}
