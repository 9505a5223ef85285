//! The same attention composed of candle's own operations: slower, memory for all scores, for every
//! device candle has.
//!
//! What runs where the tensors are not on the CPU, and what the kernels are held against.

use candle_core::{D, Tensor};

use crate::Result;
use crate::planes_op::PlanesShape;

/// See [`pair_attention`](crate::pair_attention()).
///
/// # Errors
///
/// As there.
pub fn pair_attention(input: &Tensor, keys: usize) -> Result<Tensor> {
    let PlanesShape { n, h, w, of_unit } = PlanesShape::checked("pair_attention", input, keys)?;
    let [query, key, value] = parts(&input.flatten_from(2)?, keys)?; // [n, a or d, units]
    let z = query.transpose(1, 2)?.contiguous()?.matmul(&key.contiguous()?)?;
    let weights = candle_nn::ops::softmax(&z, D::Minus1)?; //           [n, units, units]
    let attended = value.contiguous()?.matmul(&weights.transpose(1, 2)?.contiguous()?)?;
    Ok(attended.reshape((n, of_unit.value, h, w))?)
}

/// See [`cross_attention`](crate::cross_attention()).
///
/// # Errors
///
/// As there.
pub fn cross_attention(input: &Tensor, keys: usize) -> Result<Tensor> {
    let PlanesShape { h, w, .. } = PlanesShape::checked("cross_attention", input, keys)?;
    // Units as matrices of rows and of columns, [n, h, w, ·] and [n, w, h, ·].
    let [query, key, value] = parts(input, keys)?;
    let rows = |x: &Tensor| x.permute((0, 2, 3, 1))?.contiguous();
    let columns = |x: &Tensor| x.permute((0, 3, 2, 1))?.contiguous();
    let of_row = rows(&query)?.matmul(&rows(&key)?.transpose(2, 3)?)?; //         [n, h, w, w]
    let of_column = columns(&query)?.matmul(&columns(&key)?.transpose(2, 3)?)?; // [n, w, h, h]
    let z = Tensor::cat(&[of_row, of_column.transpose(1, 2)?.contiguous()?], 3)?;
    let own = |pair: usize| if pair / h == pair % h { f64::NEG_INFINITY } else { 0.0 };
    let own = Tensor::from_iter((0..h * h).map(own), z.device())?.to_dtype(z.dtype())?;
    let own = own.reshape((h, 1, h))?.pad_with_zeros(2, w, 0)?; //               [h, 1, w + h]
    let weights = candle_nn::ops::softmax(&z.broadcast_add(&own)?, D::Minus1)?;
    let by_rows = weights.narrow(3, 0, w)?.contiguous()?.matmul(&rows(&value)?)?;
    let to_columns = weights.narrow(3, w, h)?.transpose(1, 2)?.contiguous()?;
    let by_columns = to_columns.matmul(&columns(&value)?)?.transpose(1, 2)?; //    [n, h, w, d]
    Ok((by_rows + by_columns)?.permute((0, 3, 1, 2))?.contiguous()?)
}

/// Queries, keys and values.
fn parts(input: &Tensor, keys: usize) -> candle_core::Result<[Tensor; 3]> {
    let values = input.dim(1)? - 2 * keys;
    Ok([
        input.narrow(1, 0, keys)?,
        input.narrow(1, keys, keys)?,
        input.narrow(1, 2 * keys, values)?,
    ])
}
