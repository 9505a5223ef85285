//! Differentiable operations on feature grids.

mod real;

pub use real::{MatMut, MatRef, Real, matmul, view};

/// Placeholder error.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The tensor library failed underneath.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}
