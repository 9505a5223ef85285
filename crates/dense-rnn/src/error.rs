//! Why a recurrence could not be built or run.

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a recurrence could not be built or run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A tensor did not have the shape the operation is defined for.
    #[error("{op}: expected {expected}, got {got:?}")]
    Shape {
        /// The public function that was called.
        op: &'static str,
        /// The expected shape, in the letters of the crate's docs.
        expected: &'static str,
        /// The shape that was passed.
        got: Vec<usize>,
    },
    /// A configuration that cannot be built.
    #[error("{field} = {value}: {reason}")]
    Config {
        /// The field of the configuration.
        field: &'static str,
        /// Its value.
        value: String,
        /// What is wrong with it and what to do.
        reason: &'static str,
    },
    /// A recurrent weight that cannot be normalised.
    #[error("recurrent weight of direction {index}: {reason}")]
    Spectrum {
        /// Which of the matrices.
        index: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Weights of an earlier version that mean something else now.
    #[error("the weights hold {name}, {reason}")]
    Outdated {
        /// The parameter.
        name: String,
        /// What it meant, what is meant now, and what to do.
        reason: &'static str,
    },
    /// Attention failed underneath.
    #[error(transparent)]
    Attention(#[from] attention::Error),
    /// A grid operation failed underneath.
    #[error(transparent)]
    Grid(#[from] grid_ops::Error),
    /// The tensor library failed underneath.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}
