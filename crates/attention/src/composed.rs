//! The same attention composed of candle's own operations: slower, O(units²) memory, for every
//! device candle has.
//!
//! What runs where the tensors are not on the CPU, and what the kernels are held against.

use candle_core::{D, Tensor};

use crate::quadrant_attention::checked;
use crate::{Direction, Result, Score};

/// See [`quadrant_attention`](crate::quadrant_attention()).
///
/// # Errors
///
/// As there.
pub fn quadrant_attention(
    input: &Tensor,
    vector: Option<&Tensor>,
    keys: usize,
    score: Score,
) -> Result<Tensor> {
    let shape = checked(input, vector, keys, score)?;
    let (n, h, w, _, width) = input.dims5()?;
    let units = h * w;
    let queries = score.query_channels(keys);
    let sees = |v: usize, u: usize| u != v && u / w <= v / w && u % w <= v % w;
    let pairs = (0..units * units).map(|pair| f32::from(sees(pair / units, pair % units)));
    let mask = Tensor::from_iter(pairs, input.device())?.reshape((units, units))?;
    let mask = mask.to_dtype(input.dtype())?;
    let mut out = Vec::new();
    for direction in Direction::ALL {
        let k = direction as usize;
        let rows = turned(&input.narrow(3, k, 1)?.squeeze(3)?, direction)?;
        let rows = rows.reshape((n, units, width))?;
        let part = |from, len| rows.narrow(2, from, len)?.contiguous();
        let query = if queries > 0 { Some(part(0, queries)?) } else { None };
        let (value, key) = (part(queries, shape.value)?, part(queries + shape.value, keys)?);
        let vector = match vector {
            Some(vector) => Some(vector.get(k)?),
            None => None,
        };
        let z = scores(score, query.as_ref(), &key, vector.as_ref())?; //    [n, units, units]
        let attended = weighted_sum(&masked_softmax(&z, &mask)?, &value)?; //      [n, units, d]
        out.push(turned(&attended.reshape((n, h, w, shape.value))?, direction)?);
    }
    Ok(Tensor::stack(&out, 3)?)
}

/// `[n, h, w, c]` as `direction` sees it, or back.
///
/// # Errors
///
/// What candle reports.
pub fn turned(units: &Tensor, direction: Direction) -> candle_core::Result<Tensor> {
    let k = direction as usize;
    let units = units.contiguous()?;
    let units = if k & 1 == 0 { units } else { units.flip(&[2])? };
    if k & 2 == 0 { Ok(units) } else { units.flip(&[1]) }
}

/// Scores of all pairs: `query` `[n, targets, a]` (none for the linear score), `key`
/// `[n, sources, a]`, `vector` `[a]`; returns `[n, targets or 1, sources]`.
///
/// # Errors
///
/// What candle reports.
pub fn scores(
    score: Score,
    query: Option<&Tensor>,
    key: &Tensor,
    vector: Option<&Tensor>,
) -> candle_core::Result<Tensor> {
    let a = key.dim(2)?;
    match (score, query, vector) {
        (Score::ScaledDot, Some(query), _) => query.matmul(&key.t()?)? * (a as f64).sqrt().recip(),
        (Score::TanhAdditive, Some(query), Some(vector)) => {
            let sums = query.unsqueeze(2)?.broadcast_add(&key.unsqueeze(1)?)?;
            sums.tanh()?.broadcast_mul(vector)?.sum(D::Minus1)
        }
        _ => key.transpose(1, 2)?.contiguous(),
    }
}

/// The softmax over the last dimension where `mask` is 1; all zeros where it is 1 nowhere.
///
/// What is hidden does not matter, not even if it is NaN.
///
/// # Errors
///
/// What candle reports.
pub fn masked_softmax(z: &Tensor, mask: &Tensor) -> candle_core::Result<Tensor> {
    let mask = mask.broadcast_as((z.dim(0)?, mask.dim(0)?, mask.dim(1)?))?.contiguous()?;
    let z = z.broadcast_as(mask.shape())?.contiguous()?;
    let hidden = (mask.ones_like()? * -1e30)?;
    let z = mask.ne(0.0)?.where_cond(&z, &hidden)?;
    let top = z.max_keepdim(D::Minus1)?.detach();
    // Where all is hidden, every exponential is 1 before the mask.
    let weights = (z.broadcast_sub(&top)?.exp()? * &mask)?;
    let sum = weights.sum_keepdim(D::Minus1)?;
    let empty = (1.0 - mask.max_keepdim(D::Minus1)?)?;
    weights.broadcast_div(&(sum + empty)?)
}

/// `shares · values`, `[n, t, s]` by `[n, s, d]`, where values without a share do not count: one
/// that is not finite makes NaN of the results that have a share in it, and of no others.
///
/// # Errors
///
/// What candle reports.
pub fn weighted_sum(shares: &Tensor, values: &Tensor) -> candle_core::Result<Tensor> {
    let (seen, found) = (shares.detach(), values.detach());
    // x − x is 0 or NaN.
    #[expect(clippy::eq_op, reason = "what is not finite differs from itself")]
    let is_finite = (&found - &found)?.eq(0.0)?;
    let finite = is_finite.where_cond(values, &values.zeros_like()?)?;
    let others = (1.0 - is_finite.to_dtype(values.dtype())?)?;
    let count = seen.ne(0.0)?.to_dtype(values.dtype())?.matmul(&others)?;
    let zeros = count.zeros_like()?;
    let spoilt = count.ne(0.0)?.where_cond(&(&zeros + f64::NAN)?, &zeros)?;
    shares.matmul(&finite)? + spoilt
}
