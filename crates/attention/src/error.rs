//! Why attention could not be computed.

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;

/// Why attention could not be computed.
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
    /// A grid operation failed underneath.
    #[error(transparent)]
    Grid(#[from] grid_ops::Error),
    /// The tensor library failed underneath.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}
