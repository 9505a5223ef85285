//! Hidden units that are trained to vanish, and layers without those that did.
//!
//! Source: Wen et al., *Learning intrinsic sparse structures within long short-term memory*, ICLR
//! 2018: a hidden unit is one group across every matrix that produces or reads it.

use std::collections::BTreeMap;

use candle_core::{D, Tensor};

use crate::{Cell, DenseRnnConfig, Error, Join, RecurrentWeight, Result};

/// `Σ_k √(Σ_{w ∈ G_k} w² + 1e-8)`: the group lasso of groups that are spread over tensors.
///
/// # Shapes
///
/// - `members`: `[g, _]` each: row `k` of each is a part of group `k`; an entry in two members counts
///   twice
/// - returns: a scalar
///
/// Differentiable.
///
/// # Errors
///
/// [`Error::Shape`] for no members or other shapes.
pub fn group_lasso(members: &[Tensor]) -> Result<Tensor> {
    let (op, expected) = ("group_lasso", "members: at least one, [g, _] each");
    let groups = members.first().and_then(|first| first.dims().first().copied());
    let mut squares: Option<Tensor> = None;
    for member in members {
        if !matches!(*member.dims(), [g, _] if Some(g) == groups) {
            return Err(Error::Shape { op, expected, got: member.dims().to_vec() });
        }
        let own = member.sqr()?.sum(D::Minus1)?;
        squares = Some(match squares {
            Some(squares) => (squares + own)?,
            None => own,
        });
    }
    let squares = squares.ok_or(Error::Shape { op, expected, got: Vec::new() })?;
    Ok((squares + 1e-8)?.sqrt()?.sum_all()?)
}

/// A layer without the units that nothing reads.
#[derive(Debug, Clone)]
pub struct Compressed {
    /// The smaller layer's.
    pub config: DenseRnnConfig,
    /// By name, as given.
    pub weights: BTreeMap<String, Tensor>,
    /// Which hidden channels of each direction are left, ascending.
    pub kept: [Vec<usize>; 4],
}

/// Parameters of a [`DenseRnn`](crate::DenseRnn) by name, without the prefix it was built under, are
/// what these work on. Only scans have units that can go.
///
/// Unit `k` of a direction is the group of `U[k,:]`, `W[k,:]`, `W[:,k]`, `V[:,k]` and, where the scan
/// attends, `Wa[:,k]`. Its bias stays out: nothing reads a unit of which the rest is zero.
impl DenseRnnConfig {
    /// The group lasso of all hidden units, to be added to a loss with some weight. Differentiable.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for a layer whose units cannot vanish: of another cell than a scan, with an
    /// orthogonal recurrent weight or with directions that are weighed by all units;
    /// [`Error::Candle`] for missing weights.
    pub fn unit_lasso(&self, weights: &BTreeMap<String, Tensor>) -> Result<Tensor> {
        self.check_units_can_vanish()?;
        let d = self.hidden_channels;
        let recurrent = find(weights, RECURRENT)?; //           [4, d + a, d]
        let input = by_direction(find(weights, INPUT)?)?; //    [4, d + q, c]
        let rows = |all: &Tensor| -> Result<Tensor> {
            Ok(all.narrow(1, 0, d)?.contiguous()?.flatten(0, 1)?)
        };
        let columns = recurrent.transpose(1, 2)?.contiguous()?.flatten(0, 1)?;
        let readers = find(weights, OUTPUT)?.t()?.contiguous()?; // [4·d, k]
        group_lasso(&[rows(&input)?, rows(recurrent)?, columns, readers])
    }

    /// What the groups' weights become where those nearer to zero than `threshold` are zero: to be
    /// put in their place after each step of training.
    ///
    /// # Errors
    ///
    /// As [`unit_lasso`](Self::unit_lasso).
    pub fn thresholded(
        &self,
        weights: &BTreeMap<String, Tensor>,
        threshold: f64,
    ) -> Result<BTreeMap<String, Tensor>> {
        self.check_units_can_vanish()?;
        let cut = |all: &Tensor| -> Result<Tensor> {
            Ok((all * all.abs()?.ge(threshold)?.to_dtype(all.dtype())?)?)
        };
        let whole = |name: &str| Ok((name.to_owned(), cut(&find(weights, name)?.detach())?));
        // Queries are in no group.
        let input = find(weights, INPUT)?.detach();
        let parts = by_direction(&input)?;
        let (d, rows) = (self.hidden_channels, parts.dim(1)?);
        let units = cut(&parts.narrow(1, 0, d)?)?;
        let queries = parts.narrow(1, d, rows - d)?;
        let joined = if rows > d { Tensor::cat(&[units, queries], 1)? } else { units };
        let input = (INPUT.to_owned(), joined.reshape(input.shape())?);
        [Ok(input), whole(RECURRENT), whole(OUTPUT)].into_iter().collect()
    }

    /// The layer without the units that nothing reads (`W[:,k]`, `Wa[:,k]` and `V[:,k]` are zero; so
    /// they are where the whole group is): the same outputs from smaller matrices.
    ///
    /// The four directions are as wide as each other: where fewer units are alive than in the widest,
    /// some dead ones stay. At least one unit stays.
    ///
    /// # Errors
    ///
    /// As [`unit_lasso`](Self::unit_lasso).
    pub fn compressed(&self, weights: &BTreeMap<String, Tensor>) -> Result<Compressed> {
        self.check_units_can_vanish()?;
        let d = self.hidden_channels;
        let [input, bias, recurrent, output] =
            [INPUT, BIAS, RECURRENT, OUTPUT].map(|name| find(weights, name).map(Tensor::detach));
        let (input, bias, recurrent, output) = (input?, bias?, recurrent?, output?);
        let readers = output.t()?.reshape((4, d, output.dim(0)?))?.abs()?.sum(2)?; // [4, d]
        let readers = (readers + recurrent.abs()?.sum(1)?)?;
        let read = readers.to_dtype(candle_core::DType::F64)?.to_vec2::<f64>()?;
        let dead = |&k: &usize, read: &[f64]| read[k] == 0.0;
        let alive = |read: &Vec<f64>| (0..d).filter(|k| !dead(k, read)).count();
        let width = read.iter().map(alive).max().unwrap_or(0).max(1);
        let kept = [0, 1, 2, 3].map(|direction: usize| {
            let read = &read[direction];
            let spare = (0..d).filter(|k| dead(k, read)).take(width - alive(read));
            let mut kept: Vec<usize> = (0..d).filter(|k| !dead(k, read)).chain(spare).collect();
            kept.sort_unstable();
            kept
        });
        let index = |of: Vec<usize>| -> Result<Tensor> {
            let of: Vec<u32> = of.into_iter().map(|k| k as u32).collect();
            Ok(Tensor::new(of, input.device())?)
        };
        let rows = input.dim(0)? / 4;
        let with_rest = |kept: &[usize], first: usize, rows: usize| -> Vec<usize> {
            kept.iter().copied().chain(d..rows).map(|row| first + row).collect()
        };
        let numbered = || kept.iter().enumerate();
        let of_input =
            index(numbered().flat_map(|(k, of)| with_rest(of, k * rows, rows)).collect())?;
        let of_output = index(
            numbered().flat_map(|(k, of)| of.iter().map(move |unit| k * d + unit)).collect(),
        )?;
        let mut matrices = Vec::new();
        for (k, of) in numbered() {
            let matrix = recurrent.get(k)?; //                  [d + a, d]
            let rows = index(with_rest(of, 0, matrix.dim(0)?))?;
            let columns = index(of.clone())?;
            matrices.push(matrix.index_select(&rows, 0)?.index_select(&columns, 1)?);
        }
        let mut smaller: BTreeMap<String, Tensor> =
            weights.iter().map(|(name, tensor)| (name.clone(), tensor.detach())).collect();
        for (name, tensor) in [
            (INPUT, input.index_select(&of_input, 0)?),
            (BIAS, bias.index_select(&of_input, 0)?),
            (RECURRENT, Tensor::stack(&matrices, 0)?),
            (OUTPUT, output.index_select(&of_output, 1)?),
        ] {
            smaller.insert(name.to_owned(), tensor);
        }
        let config = Self { hidden_channels: width, ..self.clone() };
        Ok(Compressed { config, weights: smaller, kept })
    }

    /// Whether the hidden units of such a layer can be taken out.
    ///
    /// # Errors
    ///
    /// As [`unit_lasso`](Self::unit_lasso).
    pub fn check_units_can_vanish(&self) -> Result<()> {
        let refuse = |field, value: String, reason| Err(Error::Config { field, value, reason });
        if !matches!(self.cell, Cell::Scan { .. }) {
            let reason = "only the hidden units of a scan can be taken out";
            return refuse("cell", format!("{:?}", self.cell), reason);
        }
        match self.recurrent_weight {
            RecurrentWeight::Free | RecurrentWeight::EigenvalueNormalised => {}
            kind @ (RecurrentWeight::Orthogonal | RecurrentWeight::Both) => {
                let reason = "the rows of an orthogonal weight cannot vanish";
                return refuse("recurrent_weight", format!("{kind:?}"), reason);
            }
        }
        if self.join == Join::Dia {
            let reason =
                "a gate over the directions reads every unit, so that none can be taken out";
            return refuse("join", format!("{:?}", self.join), reason);
        }
        Ok(())
    }
}

const INPUT: &str = "input.weight";
const BIAS: &str = "input.bias";
const RECURRENT: &str = "recurrent.weight";
const OUTPUT: &str = "output.weight";

fn find<'a>(weights: &'a BTreeMap<String, Tensor>, name: &str) -> Result<&'a Tensor> {
    let missing = || candle_core::Error::CannotFindTensor { path: name.to_owned() };
    Ok(weights.get(name).ok_or_else(missing)?)
}

/// `[4·rows, c]` to `[4, rows, c]`.
fn by_direction(all: &Tensor) -> Result<Tensor> {
    let (rows, columns) = all.dims2()?;
    Ok(all.reshape((4, rows / 4, columns))?)
}
