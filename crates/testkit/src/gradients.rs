//! Gradients against central differences.

use anyhow::{Context, ensure};
use candle_core::{Device, Tensor, Var};

use crate::values;

/// Half the distance of two evaluations.
const STEP: f64 = 1e-5;

/// How far a gradient may be from the central difference, relative to the larger of it and 1.
const TOLERANCE: f64 = 1e-6;

/// A variable of `f64` values in (-1, 1).
pub fn var(seed: u64, dims: &[usize]) -> Var {
    Var::from_tensor(&tensor(seed, dims)).expect("a tensor on the CPU")
}

/// A tensor of `f64` values in (-1, 1).
pub fn tensor(seed: u64, dims: &[usize]) -> Tensor {
    let len = dims.iter().product();
    Tensor::from_vec(values(seed, len), dims, &Device::Cpu).expect("a tensor on the CPU")
}

/// Compares the gradients of `f` with central differences, in `f64`.
///
/// The output of `f` is projected on a fixed random vector rather than summed, so that every
/// output element has its own upstream gradient and a transposed or shifted gradient is caught.
///
/// # Errors
///
/// A failing `f`, a missing gradient (some operations of candle detach silently), or the first
/// element that differs.
pub fn check_gradients(
    inputs: &[&Var],
    f: impl Fn() -> anyhow::Result<Tensor>,
) -> anyhow::Result<()> {
    let loss = || -> anyhow::Result<Tensor> {
        let y = f()?;
        let direction = tensor(0x5eed, y.dims());
        Ok((y * direction)?.sum_all()?)
    };
    let grads = loss()?.backward()?;
    for (k, var) in inputs.iter().enumerate() {
        let analytic = grads.get(var).with_context(|| format!("input {k} has no gradient"))?;
        ensure!(analytic.dims() == var.dims(), "input {k}: gradient of shape {analytic:?}");
        let analytic = analytic.flatten_all()?.to_vec1::<f64>()?;
        let original = var.flatten_all()?.to_vec1::<f64>()?;
        for (i, &analytic) in analytic.iter().enumerate() {
            let moved = |by: f64| -> anyhow::Result<f64> {
                let mut values = original.clone();
                values[i] += by;
                var.set(&Tensor::from_vec(values, var.dims(), &Device::Cpu)?)?;
                Ok(loss()?.to_scalar::<f64>()?)
            };
            let numeric = (moved(STEP)? - moved(-STEP)?) / (2.0 * STEP);
            let scale = numeric.abs().max(analytic.abs()).max(1.0);
            let near = (numeric - analytic).abs() <= TOLERANCE * scale;
            ensure!(near, "input {k}[{i}]: gradient {analytic}, central difference {numeric}");
        }
        var.set(&Tensor::from_vec(original, var.dims(), &Device::Cpu)?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn right_gradients_pass_and_missing_ones_fail() {
        let x = var(1, &[2, 3]);
        check_gradients(&[&x], || Ok(x.sqr()?)).expect("x² has the gradient 2 x");
        let message = check_gradients(&[&x], || Ok(x.detach().sqr()?)).unwrap_err().to_string();
        assert_eq!(message, "input 0 has no gradient");
    }

    #[test]
    fn a_wrong_gradient_fails() {
        let x = var(2, &[4]);
        // Twice the value, half of it cut from the graph: the gradient is 1 instead of 2.
        let error = check_gradients(&[&x], || Ok((x.as_tensor() + x.detach())?)).unwrap_err();
        assert!(error.to_string().starts_with("input 0[0]: gradient"), "{error}");
    }
}
