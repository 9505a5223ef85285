//! The cell along the directions of a grid.

use candle_core::Tensor;
use grid_ops::{count_macs, is_composed, rows_of_grid};

use super::kernel::Cell;
use super::{Legs, op::HippoKernel};
use crate::rows_op::{checked_rows, of_features, of_rows, one_after_another};
use crate::{Error, Result, composed};

/// Runs the gated cell with a LegS memory over a grid in one or all four directions.
///
/// With `ĥ` and `M̂` the means of hidden states and memories over a unit's predecessors above and
/// before it ([`Graph::Dag4`](crate::Graph::Dag4); zero where there are none), and `t = i + j` its
/// anti-diagonal as the direction sees it:
///
/// ```text
/// u(v) = input_u(v) + W_u ĥ(v)                  m = d / order numbers
/// M(v) = LegS step at t from M̂(v) with u(v)     the first sets M = (u, 0, …, 0)
/// c(v) = tanh(input_c(v) + W vec M(v))
/// g(v) = σ(input_g(v) + W_g vec M(v))
/// h(v) = (1 − g(v)) ĥ(v) + g(v) c(v)
/// ```
///
/// A sequence is a grid of one row in one direction: there `ĥ` and `M̂` are the step's before.
///
/// # Shapes
///
/// - `input`: `[n, h, w, k, m + 2 d]`: what the features add to `u`, to the candidate and to the
///   gate, for `k` = 4 directions or 1 (south-east)
/// - `to_memory`: `[k, m, d]`, `W_u`
/// - `from_memory`: `[k, 2 d, d]`, `W` stacked on `W_g`; column `n·m + channel` is that of the
///   memory's `n`-th coefficient
/// - returns: `[n, h, w, k, d]`, the hidden states, in the image's own orientation
///
/// Differentiable in all three. `h + w − 1` dependent steps, O(d²) time a unit, O(n·h·w·d) memory.
/// Parallel over images × directions; the result does not depend on the number of threads. Off the
/// CPU it runs as [`composed::hippo_scan`].
///
/// # Errors
///
/// [`Error::Config`] for an order that there is not, [`Error::Shape`] where shapes differ from the
/// above, [`Error::Candle`] for integer tensors.
pub fn hippo_scan(
    input: &Tensor,
    to_memory: &Tensor,
    from_memory: &Tensor,
    legs: &Legs,
) -> Result<Tensor> {
    let cell = checked(input.dims(), to_memory, from_memory, legs)?;
    let (n, h, w, _, _) = input.dims5()?;
    count_macs(n * h * w * (to_memory.elem_count() + from_memory.elem_count()));
    if is_composed(input) {
        return composed::hippo_scan(input, to_memory, from_memory, legs);
    }
    let params = one_after_another(to_memory, Some(from_memory))?;
    of_rows(HippoKernel { cell, size: (h, w), legs: *legs }, input, &params)
}

/// [`hippo_scan`] of `input(v) = weight · x(v) + bias` in four directions: what is passed to and fro
/// in between stays within one operation.
///
/// # Shapes
///
/// - `features`: `[n, c, h, w]`
/// - `product`: `weight` `[4·(m + 2·d), c]` and `bias` `[4·(m + 2·d)]`
/// - the others and what it returns: as for [`hippo_scan`] with `k` = 4
///
/// Differentiable in all.
///
/// # Errors
///
/// As [`hippo_scan`].
pub fn hippo_scan_features(
    features: &Tensor,
    (weight, bias): (&Tensor, &Tensor),
    to_memory: &Tensor,
    from_memory: &Tensor,
    legs: &Legs,
) -> Result<Tensor> {
    let expected =
        ["weight: [4·(m + 2·d), c] with c as in features", "bias: [4·(m + 2·d)] as in weight"];
    let input = checked_rows("hippo_scan_features", features, (weight, bias), expected)?;
    let cell = checked(&input, to_memory, from_memory, legs)?;
    if is_composed(features) {
        let rows = rows_of_grid(features, weight, bias)?.reshape(&input)?;
        return hippo_scan(&rows, to_memory, from_memory, legs);
    }
    let each = weight.elem_count() + to_memory.elem_count() + from_memory.elem_count();
    count_macs(each * input[..3].iter().product::<usize>());
    let kernel = HippoKernel { cell, size: (input[1], input[2]), legs: *legs };
    let params = one_after_another(to_memory, Some(from_memory))?;
    of_features(kernel, features, (weight, bias), &params)
}

/// The sizes, or why it cannot run.
pub(crate) fn checked(
    input: &[usize],
    to_memory: &Tensor,
    from_memory: &Tensor,
    legs: &Legs,
) -> Result<Cell> {
    legs.check()?;
    let op = "hippo_scan";
    let shape = |expected, got: &[usize]| Error::Shape { op, expected, got: got.into() };
    let &[k, m, d] = to_memory.dims() else {
        return Err(shape("to_memory: [k, m, d]", to_memory.dims()));
    };
    if m == 0 || m * legs.order != d {
        return Err(shape("to_memory: [k, m, d] with d = m · order", to_memory.dims()));
    }
    if from_memory.dims() != [k, 2 * d, d] {
        return Err(shape("from_memory: [k, 2·d, d] with d as in to_memory", from_memory.dims()));
    }
    let expected =
        "input: [n, h, w, k, m + 2·d] with k = 1 or 4, m and d as in to_memory, none zero";
    match *input {
        [_, _, _, of_input, width]
            if of_input == k && matches!(k, 1 | 4) && width == m + 2 * d && !input.contains(&0) => {
        }
        _ => return Err(shape(expected, input)),
    }
    Ok(Cell { d, m, directions: k })
}
