//! Why a backbone could not be built or run, or its weights not be read.

use std::path::PathBuf;

/// The result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a backbone could not be built or run, or its weights not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A tensor did not have the shape the operation is defined for.
    #[error("{op}: expected {expected}, got {got:?}")]
    Shape {
        /// What was asked for.
        op: &'static str,
        /// The expected shape.
        expected: &'static str,
        /// The shape that was passed.
        got: Vec<usize>,
    },
    /// An image of which a network's strides would leave nothing.
    #[error("{network}: expected an image of at least {least}×{least} pixels, got {}×{}", got[0], got[1])]
    TooSmall {
        /// The network.
        network: &'static str,
        /// The least height and width.
        least: usize,
        /// Height and width of the image.
        got: [usize; 2],
    },
    /// A scale of residual branches that failed.
    #[error("{branch}: the scale of the branch failed")]
    BranchScale {
        /// The block's name.
        branch: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A configuration that cannot be built.
    #[error("{field} = {value}: {reason}")]
    Config {
        /// The field of the configuration.
        field: &'static str,
        /// Its value.
        value: String,
        /// What is wrong with it and what to do.
        reason: String,
    },
    /// Batch statistics of a single value: its variance says nothing.
    #[error(
        "{layer}: a batch of {got:?} has one value a channel, and training normalises over at \
         least two; use larger images or more of them, or a frozen backbone"
    )]
    SingleValue {
        /// The layer's name.
        layer: String,
        /// The shape of what was to be normalised.
        got: Vec<usize>,
    },
    /// Running statistics that do not belong to this network.
    #[error("running statistics {name}: {reason}")]
    Statistics {
        /// Their full name.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// A file that could not be read, is larger than any weights, or no file.
    #[error(transparent)]
    File(#[from] whole_files::Error),
    /// A folder that could not be listed.
    #[error("{}: {reason}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// The system's reason.
        reason: String,
    },
    /// Something else that was saved under a weights file's name.
    #[error("{}: {found}, not the weights: {advice}", path.display())]
    Foreign {
        /// Which file.
        path: PathBuf,
        /// What it is.
        found: &'static str,
        /// How to get the weights.
        advice: &'static str,
    },
    /// Content that is not what a weights file holds.
    #[error("{}: not a usable {format} file: {reason}", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// As what it was read.
        format: &'static str,
        /// What is wrong, and where.
        reason: String,
    },
    /// Weights of another network.
    #[error("{}: weights of another architecture: expected {expected}, found {found}", path.display())]
    OtherArchitecture {
        /// Which file.
        path: PathBuf,
        /// The network that was to be built.
        expected: String,
        /// The network to which the names in the file belong.
        found: String,
    },
    /// Weights of the right network, but not all of them, others besides, or of other sizes.
    #[error("{}: weights that do not fit {network}: {differences}", path.display())]
    Mismatch {
        /// Which file.
        path: PathBuf,
        /// The network that was to be built.
        network: String,
        /// Names that are missing, left over or of another shape, with the shapes.
        differences: String,
    },
    /// No weights file where one was looked for.
    #[error("{}: no weights for {network}: expected {expected}; found {found}", path.display())]
    NoWeights {
        /// Where.
        path: PathBuf,
        /// The network.
        network: String,
        /// The file names that would do.
        expected: String,
        /// What is there instead.
        found: String,
    },
    /// A grid operation failed underneath.
    #[error(transparent)]
    Grid(#[from] grid_ops::Error),
    /// The tensor library failed underneath.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}
