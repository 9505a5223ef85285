//! What cannot be counted or compared.

/// Why labels could not be counted or samples not be compared.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Labels and predictions are not of the same image.
    #[error("{truth} labels but {prediction} predictions; expected one prediction a label")]
    Length {
        /// Number of labels.
        truth: usize,
        /// Number of predictions.
        prediction: usize,
    },
    /// A label is no class.
    #[error(
        "label {value} at position {position}, but the classes are 0 to {}; 255 is ignored",
        classes.saturating_sub(1)
    )]
    TruthValue {
        /// The label's value.
        value: u8,
        /// Its index in the slice.
        position: usize,
        /// Number of classes.
        classes: usize,
    },
    /// Labels and instances are not of the same image.
    #[error("{labels} labels but {instances} instance ids; expected one instance id a label")]
    Instances {
        /// Number of labels.
        labels: usize,
        /// Number of instance ids.
        instances: usize,
    },
    /// A value is none of Cityscapes' labelIds.
    #[error(
        "{of} {value} at position {position} is no labelId; expected 0 to 33{}",
        if *of == "label" { ", or 255 for a licence plate" } else { "; are these train ids?" }
    )]
    LabelId {
        /// `label` or `prediction`.
        of: &'static str,
        /// The value.
        value: u8,
        /// Its index in the slice.
        position: usize,
    },
    /// A value is none of Cityscapes' instanceIds.
    #[error(
        "instance id {value} at position {position}; expected a labelId, or 1000 times that of a \
         label with instances plus the instance's number"
    )]
    InstanceId {
        /// The value.
        value: u16,
        /// Its index in the slice.
        position: usize,
    },
    /// Two matrices are not of the same classes.
    #[error("a matrix of {right} classes cannot be added to one of {left}")]
    Classes {
        /// Classes of the matrix added to.
        left: usize,
        /// Classes of the other.
        right: usize,
    },
    /// A sparse cell lies outside the matrix.
    #[error("cell {index}, but a matrix of {classes} classes has cells 0 to {}", .cells.saturating_sub(1))]
    Cell {
        /// Index of the cell.
        index: u32,
        /// Number of classes.
        classes: usize,
        /// Number of cells.
        cells: usize,
    },
    /// A name of no protocol.
    #[error("no protocol is called `{name}`; known are {known}")]
    UnknownProtocol {
        /// The name that was given.
        name: String,
        /// All names.
        known: String,
    },
    /// Paired samples that cannot be compared.
    #[error("{left} values against {right}; expected the same number, at least two")]
    Pairs {
        /// Values of the first sample.
        left: usize,
        /// Values of the second.
        right: usize,
    },
    /// A value that is no number.
    #[error("value {value} at position {position}; expected finite numbers")]
    NotFinite {
        /// The value.
        value: f64,
        /// Its index.
        position: usize,
    },
}

/// The result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;
