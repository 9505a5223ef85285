//! The same scans composed of candle's own operations, an anti-diagonal at a time: slower, O(units²)
//! memory, for every device candle has.
//!
//! What runs where the tensors are not on the CPU, and what the kernels are held against.

mod hippo;

use attention::composed::{masked_softmax, scores, turned, weighted_sum};
use attention::{Direction, diagonals_of};
use candle_core::Tensor;
use grid_ops::composed;
pub use hippo::{hippo_scan, legs_memory};

use crate::scan::checked;
use crate::{Activation, Aggregation, Graph, Result, Scan};

/// See [`scan`](crate::scan()).
///
/// # Errors
///
/// As there.
pub fn scan(
    input: &Tensor,
    weights: &Tensor,
    vector: Option<&Tensor>,
    scan: &Scan,
) -> Result<Tensor> {
    in_grid(input, weights, vector, scan, &[(0, 0); 4])
}

/// The same of a part of a grid, whose first unit each direction sees at one of `corners`.
pub(crate) fn in_grid(
    input: &Tensor,
    weights: &Tensor,
    vector: Option<&Tensor>,
    scan: &Scan,
    corners: &[(usize, usize); 4],
) -> Result<Tensor> {
    checked(input.dims(), weights, vector, scan)?;
    let mut out = Vec::new();
    for direction in Direction::ALL {
        let k = direction as usize;
        let units = turned(&input.narrow(3, k, 1)?.squeeze(3)?, direction)?;
        let vector = match vector {
            Some(vector) => Some(vector.get(k)?),
            None => None,
        };
        let parameters = (&weights.get(k)?, vector.as_ref());
        let hidden = one_direction(&units, parameters, scan, corners[k])?;
        out.push(turned(&hidden, direction)?);
    }
    Ok(Tensor::stack(&out, 3)?)
}

/// `units` `[n, h, w, d + q]`, `weights` `[d + a, d]`; returns `[n, h, w, d]`.
fn one_direction(
    units: &Tensor,
    (weights, vector): (&Tensor, Option<&Tensor>),
    scan: &Scan,
    corner: (usize, usize),
) -> Result<Tensor> {
    let (n, h, w, width) = units.dims4()?;
    let (rows, d) = weights.dims2()?;
    let units = units.reshape((n, h * w, width))?;
    // Units in the order of anti-diagonals.
    let order: Vec<u32> = diagonals_of((h, w))
        .flat_map(|(first, count)| (0..count).map(move |m| (first + m * (w - 1)) as u32))
        .collect();
    let mut memory: Vec<Tensor> = Vec::new(); // [n, count, d + a] a step
    let mut hidden: Vec<Tensor> = Vec::new(); // [n, count, d] a step
    let mut known = 0;
    for (_, count) in diagonals_of((h, w)) {
        let here = &order[known..known + count];
        let index = Tensor::new(here, units.device())?;
        let input = units.index_select(&index, 1)?; //                  [n, count, d + q]
        let own = input.narrow(2, 0, d)?;
        let pre = if memory.is_empty() {
            own
        } else {
            let memory = Tensor::cat(&memory, 1)?; //                   [n, known, d + a]
            let values = memory.narrow(2, 0, d)?.contiguous()?;
            let mask = mask(scan.graph, here, &order[..known], w, &units)?;
            let shares = match scan.aggregation {
                Aggregation::Sum => mask.broadcast_as((n, count, known))?.contiguous()?,
                Aggregation::Mean => {
                    let behind = |&unit: &u32| {
                        let (i, j) = (unit as usize / w, unit as usize % w);
                        scan.graph.count((corner.0 + i, corner.1 + j)).max(1) as f64
                    };
                    let counts: Vec<f64> = here.iter().map(behind).collect();
                    let counts = Tensor::from_vec(counts, (count, 1), units.device())?;
                    mask.broadcast_div(&counts.to_dtype(mask.dtype())?)?
                        .broadcast_as((n, count, known))?
                        .contiguous()?
                }
                Aggregation::Attention(score) => {
                    let keys = memory.narrow(2, d, rows - d)?.contiguous()?;
                    let query = (width > d).then(|| input.narrow(2, d, width - d)).transpose()?;
                    let query = query.map(|query| query.contiguous()).transpose()?;
                    masked_softmax(&scores(score, query.as_ref(), &keys, vector)?, &mask)?
                }
            };
            (own + weighted_sum(&shares, &values)?)?
        };
        let h = match scan.activation {
            Activation::Relu => composed::relu(&pre)?,
            Activation::Tanh => pre.tanh()?,
        };
        memory.push(h.broadcast_matmul(&weights.t()?)?);
        hidden.push(h);
        known += count;
    }
    let mut back = vec![0u32; h * w];
    for (place, &unit) in order.iter().enumerate() {
        back[unit as usize] = place as u32;
    }
    let back = Tensor::new(back, units.device())?;
    let hidden = Tensor::cat(&hidden, 1)?.contiguous()?.index_select(&back, 1)?; //   [n, units, d]
    Ok(hidden.reshape((n, h, w, d))?)
}

/// 1 where a unit of `from` precedes one of `here`, `[here, from]`.
fn mask(
    graph: Graph,
    here: &[u32],
    from: &[u32],
    w: usize,
    like: &Tensor,
) -> candle_core::Result<Tensor> {
    let mut mask = vec![0f32; here.len() * from.len()];
    for (row, &v) in mask.chunks_exact_mut(from.len()).zip(here) {
        let before = graph.predecessors((v as usize / w, v as usize % w), w);
        let before: Vec<usize> = before.flatten().collect();
        for (to, &u) in row.iter_mut().zip(from) {
            *to = f32::from(before.contains(&(u as usize)));
        }
    }
    Tensor::from_vec(mask, (here.len(), from.len()), like.device())?.to_dtype(like.dtype())
}
