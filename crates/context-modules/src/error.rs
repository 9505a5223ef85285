//! Why a context module could not be built or run.

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a context module could not be built or run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A tensor did not have the shape the operation is defined for.
    #[error("{op}: expected {expected}, got {got:?}")]
    Shape {
        /// The public function that was called.
        op: &'static str,
        /// The expected shape, in the letters of that function's docs.
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
    /// A block of convolution and norm failed: among others, in training, a norm over one value.
    #[error(transparent)]
    Block(#[from] backbone::Error),
    /// A grid operation failed underneath.
    #[error(transparent)]
    Grid(#[from] grid_ops::Error),
    /// The tensor library failed underneath.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

/// For candle's traits, whose methods return its own errors.
impl From<Error> for candle_core::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Candle(error) => error,
            other => Self::wrap(other),
        }
    }
}

/// Refuses numbers of channels that make no layer; `None` is what follows from the map's.
pub(crate) fn checked_channels(field: &'static str, channels: Option<usize>) -> Result<()> {
    match channels {
        Some(channels) if !(1..=4096).contains(&channels) => {
            let reason = "must be between 1 and 4096";
            Err(Error::Config { field, value: channels.to_string(), reason })
        }
        _ => Ok(()),
    }
}
