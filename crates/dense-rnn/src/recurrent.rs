//! Recurrent weights that are bounded by the way they are made.
//!
//! Source: Helfrich & Ye, *Eigenvalue normalized recurrent neural networks for short term memory*,
//! AAAI 2020 (normalisation, the two states); Helfrich, Willmott & Ye, *Orthogonal recurrent neural
//! networks with scaled Cayley transform*, ICML 2018.

mod cayley;
mod spectrum;

use candle_core::Tensor;
use candle_nn::VarBuilder;
pub use cayley::cayley;
pub use spectrum::{eigenvalue_normalised, spectral_radii};

use crate::{Aggregation, Error, Graph, Result, layer::normal};

/// How the recurrent weight `W` of each direction is made from parameters.
///
/// All but [`Free`](Self::Free) have a target radius `r`, by default the largest spectral radius at
/// which the aggregate cannot grow along the grid, see [`default_radius`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RecurrentWeight {
    /// `W` is the parameter itself.
    #[default]
    Free,
    /// `W = r·M/σ(M)`, see [`eigenvalue_normalised`]: what is remembered fades.
    ///
    /// Departure: always, where the source divides only once `σ` exceeds 1, which bounds a chain
    /// but not a grid.
    EigenvalueNormalised,
    /// `W = r·W_L` with `W_L` orthogonal, see [`cayley`]: what is remembered stays. The last
    /// `⌊d/2⌋` signs of `D` are negative.
    Orthogonal,
    /// Two states side by side: `W = r·[[W_L, C], [0, M/σ(M)]]`. The first `⌈d/2⌉` channels remember
    /// for long, and see the others, which forget, by way of the coupling `C`, as in the authors'
    /// code. The coupling is free: it does not change the spectral radius.
    Both,
}

/// Why a parameter that earlier versions had is no longer read, by its name; `None` for others.
///
/// Where both states are of one size, the coupling's shape does not tell which of them reads the
/// other, so its name does.
pub fn outdated_parameter(name: &str) -> Option<&'static str> {
    let last = name.rsplit('.').next();
    (last == Some(OLD_COUPLING)).then_some(OLD_COUPLING_REASON)
}

const COUPLING: &str = "long_from_short";

/// The coupling of the versions in which the short-term state read the long-term one.
const OLD_COUPLING: &str = "coupling";
const OLD_COUPLING_REASON: &str = "of an earlier version, in which the short-term state reads the \
     long-term one (recurrent_weight = both), where now the long-term state reads the short-term \
     one: train it anew";

/// The target radius of a scan over a grid of `(h, w)` units where none is configured.
///
/// 1 for means and attention, which are averages; 1/2 and 1/3 for sums over two and three
/// neighbours; `1/(h·w)` for the dense sum. The latter is that of the grid at hand in each forward
/// pass, so that a network trained on crops does not overflow on whole images; a configured radius
/// is the same for all sizes.
pub fn default_radius(graph: Graph, aggregation: Aggregation, (h, w): (usize, usize)) -> f64 {
    match (aggregation, graph) {
        (Aggregation::Mean | Aggregation::Attention(_), _) => 1.0,
        (Aggregation::Sum, Graph::Dag4) => 1.0 / 2.0,
        (Aggregation::Sum, Graph::Dag8) => 1.0 / 3.0,
        (Aggregation::Sum, Graph::Dense) => 1.0 / (h * w) as f64,
    }
}

/// The parameters that `[W; Wa]` of four directions are made from.
#[derive(Debug)]
pub(crate) enum Recurrent {
    /// `[4, d + a, d]`, as they are.
    Free(Tensor),
    /// `[4, d + a, d]`: `M` stacked on `Wa`.
    Normalised(Tensor),
    Orthogonal {
        /// `[4, d, d]`.
        skew: Tensor,
        /// `[4, a, d]`.
        keys: Option<Tensor>,
    },
    Both {
        /// `[4, l, l]`, `l` the channels of the long-term state.
        skew: Tensor,
        /// `C`, `[4, l, d − l]`.
        coupling: Tensor,
        /// `M`, `[4, d − l, d − l]`.
        short: Tensor,
        /// `[4, a, d]`.
        keys: Option<Tensor>,
    },
}

impl Recurrent {
    /// Takes `recurrent.*` from `vb`: `d` channels of the hidden state, `a` of keys; a free weight
    /// starts with the spectral radius `radius`.
    pub(crate) fn new(
        kind: RecurrentWeight,
        (d, a): (usize, usize),
        radius: f64,
        vb: &VarBuilder<'_>,
    ) -> Result<Self> {
        let vb = vb.pp("recurrent");
        let root = |channels: usize| (channels as f64).sqrt().recip();
        // Half of it is antisymmetric, of which the entries have √(1/2) of its deviation.
        let skew = |l: usize| vb.get_with_hints((4, l, l), "skew", normal(root(l) * 2f64.sqrt()));
        let keys = || match a {
            0 => Ok(None),
            a => vb.get_with_hints((4, a, d), "keys", normal(root(d))).map(Some),
        };
        Ok(match kind {
            RecurrentWeight::Free => {
                let hint = normal(radius * root(d));
                Self::Free(vb.get_with_hints((4, d + a, d), "weight", hint)?)
            }
            RecurrentWeight::EigenvalueNormalised => {
                Self::Normalised(vb.get_with_hints((4, d + a, d), "weight", normal(root(d)))?)
            }
            RecurrentWeight::Orthogonal => Self::Orthogonal { skew: skew(d)?, keys: keys()? },
            RecurrentWeight::Both => {
                // Where values are made and not read, every name is there.
                if vb.contains_tensor(OLD_COUPLING) && !vb.contains_tensor(COUPLING) {
                    let name = format!("{}.{OLD_COUPLING}", vb.prefix());
                    return Err(Error::Outdated { name, reason: OLD_COUPLING_REASON });
                }
                let l = d.div_ceil(2);
                let of = |rows: usize, name: &str| {
                    vb.get_with_hints((4, rows, d - l), name, normal(root(d)))
                };
                let (coupling, short) = (of(l, COUPLING)?, of(d - l, "weight")?);
                Self::Both { skew: skew(l)?, coupling, short, keys: keys()? }
            }
        })
    }

    /// `[W; Wa]`, `[4, d + a, d]`, with the spectral radius `radius` unless it is free.
    pub(crate) fn weights(&self, radius: f64) -> Result<Tensor> {
        let stacked = |w: Tensor, keys: Option<&Tensor>| -> Result<Tensor> {
            Ok(match keys {
                Some(keys) => Tensor::cat(&[&w, keys], 1)?,
                None => w,
            })
        };
        match self {
            Self::Free(weights) => Ok(weights.clone()),
            Self::Normalised(weights) => {
                let (_, rows, d) = weights.dims3()?;
                let w = eigenvalue_normalised(&weights.narrow(1, 0, d)?.contiguous()?, radius)?;
                let keys = if rows > d { Some(weights.narrow(1, d, rows - d)?) } else { None };
                stacked(w, keys.as_ref())
            }
            Self::Orthogonal { skew, keys } => {
                let w = (cayley(skew, skew.dim(2)? / 2)? * radius)?;
                stacked(w, keys.as_ref())
            }
            Self::Both { skew, coupling, short, keys } => {
                let l = skew.dim(2)?;
                let long = (cayley(skew, l / 2)? * radius)?;
                let long = Tensor::cat(&[&long, &(coupling * radius)?], 2)?; // [4, l, d]
                let short = eigenvalue_normalised(short, radius)?;
                let short = short.pad_with_zeros(2, l, 0)?; //                 [4, d − l, d]
                stacked(Tensor::cat(&[&long, &short], 1)?, keys.as_ref())
            }
        }
    }
}
