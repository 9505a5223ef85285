//! The same steps composed of candle's own operations: slower, for every device candle has.

use candle_core::{DType, Tensor, Var};

use super::{BETAS, EPSILON, Rule};

/// The sum of a gradient's squares, in `f64`.
pub(super) fn sum_of_squares(gradient: &Tensor) -> candle_core::Result<f64> {
    gradient.to_dtype(DType::F64)?.sqr()?.sum_all()?.to_scalar::<f64>()
}

/// Moves a variable and its moments, as many as the rule has.
pub(super) fn step(
    rule: Rule,
    var: &Var,
    gradient: &Tensor,
    moments: &mut [Tensor],
) -> candle_core::Result<()> {
    let (value, gradient) = (var.detach(), gradient.detach());
    let moved = match (rule, moments) {
        (Rule::Adam { clip, keep, step, scale }, [first, second]) => {
            let mean =
                |old: &Tensor, new: &Tensor, beta: f64| (old * beta)? + (new * (1.0 - beta))?;
            let gradient = (gradient * f64::from(clip))?;
            *first = mean(first, &gradient, BETAS[0])?;
            *second = mean(second, &gradient.sqr()?, BETAS[1])?;
            let root = ((second.sqrt()? * f64::from(scale))? + EPSILON)?;
            let change = ((&*first * f64::from(step))? / root)?;
            ((value * f64::from(keep))? - change)?
        }
        (Rule::Sgd { clip, rate, momentum, decay }, [first]) => {
            let pull = ((gradient * f64::from(clip))? + (&value * f64::from(decay))?)?;
            *first = ((&*first * f64::from(momentum))? + pull)?;
            (value - (&*first * f64::from(rate))?)?
        }
        _ => candle_core::bail!("an optimizer of another number of moments"),
    };
    var.set(&moved)
}
