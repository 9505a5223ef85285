//! Matrices divided by their spectral radius, with the exact gradient.

use candle_core::{DType, Device, Tensor};
use nalgebra::{Complex, DMatrix, DVector, Schur};
use rayon::prelude::*;

use crate::{Error, Result};

/// Eigenvalues are taken to be equal in modulus where they differ by less, relative to the larger.
const SAME_MODULUS: f64 = 1e-10;

/// `W = radius · M/σ(M)` of each matrix, `σ` its spectral radius (the largest modulus of its
/// eigenvalues).
///
/// With `s = ∂σ/∂M` held constant, `W = radius · M/Σ(s ⊙ M)` has the right value and the right
/// gradient, since `σ` is homogeneous of degree 1. For the dominant eigenvalue `λ = α + iβ` with
/// `M u = λ u` and `yᵀ M = λ yᵀ`, `S = y uᵀ/(yᵀ u)` and `s = (α Re S + β Im S)/σ`.
///
/// `σ` has no gradient where eigenvalues that are not conjugates are equal in modulus. There it is
/// that of the eigenvalue of largest real part among them: of `λ` and `−λ` the positive one. An
/// eigenvalue without a full set of eigenvectors (`yᵀ u = 0`) has no finite `S`; there `s` is taken
/// along `M` itself, as for a norm.
///
/// The eigenvalues are those of a full decomposition in double precision, each time: `W` and its
/// gradient depend on `M` alone, down to the bit, whatever came before. A matrix of 128×128 takes
/// some 10 ms, matrices are shared out over threads.
///
/// The dominant pair is not followed from step to step. Along drifting matrices
/// (`benches/peers/eigenpairs.py`) a subspace of two dimensions takes hundreds of multiplications a
/// step and misses the dominant pair in 3 to 9 % of the steps, one of eight takes 50 to 80 and
/// misses up to 3 %, and inverse iteration takes three solves and stays with pairs that others have
/// overtaken; what they follow would have to be kept in checkpoints.
///
/// # Shapes
///
/// - `matrices`: `[m, d, d]`
/// - returns: the same
///
/// Differentiable. O(m·d³) time.
///
/// # Errors
///
/// [`Error::Shape`], and [`Error::Spectrum`] for a matrix whose eigenvalues are all zero or which is
/// not finite.
pub fn eigenvalue_normalised(matrices: &Tensor, radius: f64) -> Result<Tensor> {
    let all = read(matrices, "eigenvalue_normalised")?;
    let slopes: Vec<DMatrix<f64>> = all
        .par_iter()
        .enumerate()
        .map(|(index, matrix)| slope(matrix).map_err(|reason| Error::Spectrum { index, reason }))
        .collect::<Result<_>>()?;
    let slopes = tensor_of(&slopes, matrices)?;
    let sigma = (matrices * slopes)?.sum_keepdim((1, 2))?; //   [m, 1, 1]
    Ok((matrices.broadcast_div(&sigma)? * radius)?)
}

/// The largest modulus of the eigenvalues of each matrix, `[m, d, d]`. Not differentiable.
///
/// # Errors
///
/// As [`eigenvalue_normalised`], but that eigenvalues may be zero.
pub fn spectral_radii(matrices: &Tensor) -> Result<Vec<f64>> {
    let radius = |(index, matrix): (usize, &DMatrix<f64>)| {
        let values = eigenvalues(matrix).map_err(|reason| Error::Spectrum { index, reason })?;
        Ok(values.iter().map(|value| value.norm()).fold(0.0, f64::max))
    };
    read(matrices, "spectral_radii")?.iter().enumerate().map(radius).collect()
}

/// `[m, d, d]` in double precision.
pub(super) fn read(matrices: &Tensor, op: &'static str) -> Result<Vec<DMatrix<f64>>> {
    let d = match *matrices.dims() {
        [m, rows, columns] if m > 0 && rows == columns && rows > 0 => rows,
        ref got => return Err(Error::Shape { op, expected: "[m, d, d]", got: got.to_vec() }),
    };
    let values = matrices.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
    Ok(values.chunks(d * d).map(|rows| DMatrix::from_row_slice(d, d, rows)).collect())
}

/// The inverse of [`read`], cut from any graph.
pub(super) fn tensor_of(matrices: &[DMatrix<f64>], like: &Tensor) -> Result<Tensor> {
    // By columns, as matrices hold them, of the transposed.
    let values: Vec<f64> =
        matrices.iter().flat_map(|matrix| matrix.transpose().as_slice().to_vec()).collect();
    let tensor = Tensor::from_vec(values, like.shape(), &Device::Cpu)?;
    Ok(tensor.to_dtype(like.dtype())?.to_device(like.device())?)
}

fn eigenvalues(matrix: &DMatrix<f64>) -> std::result::Result<Vec<Complex<f64>>, &'static str> {
    if matrix.iter().any(|x| !x.is_finite()) {
        return Err("it is not finite");
    }
    // Some tens of steps an eigenvalue are usual.
    let limit = 1000 * matrix.nrows();
    let schur = Schur::try_new(matrix.clone(), f64::EPSILON, limit);
    let schur = schur.ok_or("its decomposition did not converge")?;
    Ok(schur.complex_eigenvalues().iter().copied().collect())
}

/// `∂σ/∂M`.
fn slope(matrix: &DMatrix<f64>) -> std::result::Result<DMatrix<f64>, &'static str> {
    let values = eigenvalues(matrix)?;
    let sigma = values.iter().map(|value| value.norm()).fold(0.0, f64::max);
    let size = matrix.norm();
    if sigma <= size * f64::MIN_POSITIVE.sqrt() {
        return Err("all its eigenvalues are zero");
    }
    let dominant = values
        .into_iter()
        .filter(|value| value.norm() >= sigma * (1.0 - SAME_MODULUS))
        .max_by(|a, b| a.re.total_cmp(&b.re).then(a.im.total_cmp(&b.im)))
        .ok_or("it has no eigenvalues")?;
    let along = || matrix * (sigma / (size * size));
    let (Some(u), Some(y)) =
        (eigenvector(matrix, dominant), eigenvector(&matrix.transpose(), dominant))
    else {
        return Ok(along());
    };
    let product = y.dot(&u);
    // Unit vectors: what is left is the cosine between them.
    if product.norm() < 1e-12 {
        return Ok(along());
    }
    let factor = dominant.conj() / (product * sigma);
    Ok(DMatrix::from_fn(matrix.nrows(), matrix.ncols(), |i, j| (y[i] * u[j] * factor).re))
}

/// The eigenvector of a known eigenvalue, of length 1, by inverse iteration; `None` if the shifted
/// matrix is singular to the last bit.
fn eigenvector(matrix: &DMatrix<f64>, value: Complex<f64>) -> Option<DVector<Complex<f64>>> {
    let d = matrix.nrows();
    // Beside the eigenvalue by a little: exactly there the matrix cannot be solved with.
    let shift = value * (1.0 + 1e-13);
    let mut shifted = matrix.map(|x| Complex::new(x, 0.0));
    (0..d).for_each(|k| shifted[(k, k)] -= shift);
    let lu = shifted.lu();
    // No entries in common with any eigenvector of a matrix that one would write down.
    let start = |k: usize| Complex::new(1.0 + (k as f64 + 1.0).sin() / 2.0, 0.0);
    let mut vector = DVector::from_fn(d, |k, _| start(k)).normalize();
    for _ in 0..3 {
        vector = lu.solve(&vector)?;
        let length = vector.norm();
        if !length.is_finite() || length == 0.0 {
            return None;
        }
        vector.unscale_mut(length);
    }
    Some(vector)
}
