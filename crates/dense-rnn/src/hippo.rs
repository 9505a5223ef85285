//! The whole past of a signal in a few numbers: HiPPO-LegS, and the cell that has it as its memory.
//!
//! Source: Gu, Dao, Ermon, Rudra & Ré, *HiPPO: recurrent memory with optimal polynomial
//! projections*, NeurIPS 2020.

mod kernel;
mod op;
mod recall;
mod scan;
mod sequence;
pub(crate) mod step;

pub(crate) use recall::checked_sequences;
pub use recall::{legs_memory, legs_reconstruction};
pub(crate) use scan::checked;
pub use scan::{hippo_scan, hippo_scan_features};
pub(crate) use sequence::memory_channels;
pub use sequence::{HippoRnn, HippoRnnConfig};

use crate::{Error, Result};

/// A memory of `order` numbers: the coefficients of the past's projection on the first Legendre
/// polynomials, all of the past weighed alike.
///
/// `dc/dt = (A c + B f)/t` with `A[n,k] = −√((2n+1)(2k+1))` for `n > k`, `−(n+1)` for `n = k` and 0
/// above, `B[n] = √(2n+1)`. The first input `f0` sets `c = (f0, 0, …, 0)`, the second is a step from
/// `t = 1`. A constant input of 1 gives `(1, 0, …, 0)` at every length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Legs {
    /// How many polynomials, 1 to 64. Default: 16.
    pub order: usize,
    /// How the equation is stepped. Default: bilinear.
    pub discretisation: Discretisation,
}

/// How a step from `t` to `t + 1` is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Discretisation {
    /// `c' = (I + A/t) c + (B/t) f`. Of orders beyond 1, early steps amplify: for short sequences
    /// and low orders only.
    Forward,
    /// `c' = (I − A/t)⁻¹ (c + (B/t) f)`. At order 1 the running mean.
    Backward,
    /// `c' = (I − A/2t)⁻¹ ((I + A/2t) c + (B/t) f)`.
    #[default]
    Bilinear,
    /// `c' = E c + (I − E) e0 f` with `E = ((t + 1)/t)^A`: exact for an input that stays as it is in
    /// between; at order 1 the running mean. O(order²) a step, where the others take O(order).
    ZeroOrderHold,
}

impl Default for Legs {
    fn default() -> Self {
        Self { order: 16, discretisation: Discretisation::Bilinear }
    }
}

impl Legs {
    /// Checks the order.
    ///
    /// # Errors
    ///
    /// [`Error::Config`].
    pub fn check(&self) -> Result<()> {
        if (1..=64).contains(&self.order) {
            return Ok(());
        }
        let (field, value) = ("order", self.order.to_string());
        Err(Error::Config { field, value, reason: "must be between 1 and 64" })
    }
}
