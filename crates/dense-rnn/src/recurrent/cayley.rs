//! Orthogonal matrices from any matrices.

use candle_core::Tensor;
use nalgebra::DMatrix;
use rayon::prelude::*;

use super::spectrum::{read, tensor_of};
use crate::{Error, Result};

/// `(I + A)⁻¹ (I − A) D` of each matrix `P`, with `A = (P − Pᵀ)/2` its antisymmetric half and `D`
/// diagonal, −1 in the last `negatives` places and 1 before: an orthogonal matrix, whatever `P` is.
///
/// Every orthogonal matrix can be had this way with some signs in `D`.
///
/// # Shapes
///
/// - `matrices`: `[m, d, d]`
/// - returns: the same
///
/// Differentiable. O(m·d³) time, in double precision where it matters.
///
/// # Errors
///
/// [`Error::Shape`], also for more than `d` signs, and [`Error::Spectrum`] for a matrix that is not
/// finite.
pub fn cayley(matrices: &Tensor, negatives: usize) -> Result<Tensor> {
    let (op, expected) = ("cayley", "matrices: [m, d, d] with d no less than negatives");
    let d = read(matrices, op)?[0].nrows();
    if negatives > d {
        return Err(Error::Shape { op, expected, got: matrices.dims().to_vec() });
    }
    let skew = ((matrices - matrices.transpose(1, 2)?)? / 2.0)?;
    let device = matrices.device();
    let identity = Tensor::eye(d, matrices.dtype(), device)?;
    let signs: Vec<f64> = (0..d).map(|k| if k < d - negatives { 1.0 } else { -1.0 }).collect();
    let signs = Tensor::from_vec(signs, d, device)?.to_dtype(matrices.dtype())?;
    let inverse = inverse(&skew.broadcast_add(&identity)?)?;
    let right = skew.neg()?.broadcast_add(&identity)?.broadcast_mul(&signs)?;
    Ok(inverse.matmul(&right)?)
}

/// `X⁻¹` of each of `[m, d, d]`, differentiable.
///
/// With `N = X⁻¹` held constant, `N (2 I − X N)`, a step of Newton's iteration, has the right value
/// and the right gradient: its differential is `−N dX N`.
fn inverse(matrices: &Tensor) -> Result<Tensor> {
    let of = |(index, matrix): (usize, DMatrix<f64>)| {
        let finite = matrix.iter().all(|x| x.is_finite());
        let found = if finite { matrix.try_inverse() } else { None };
        found.ok_or(Error::Spectrum { index, reason: "it cannot be inverted" })
    };
    let all = read(matrices, "inverse")?;
    let constant: Vec<_> = all.into_par_iter().enumerate().map(of).collect::<Result<_>>()?;
    let constant = tensor_of(&constant, matrices)?;
    let identity = Tensor::eye(matrices.dim(2)?, matrices.dtype(), matrices.device())?;
    let twice = (identity * 2.0)?;
    let residual = matrices.matmul(&constant)?.neg()?.broadcast_add(&twice)?;
    Ok(constant.matmul(&residual)?)
}
