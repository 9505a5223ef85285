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
    /// Pixels that are no whole rows.
    #[error("{pixels} pixels are no image of width {width}; expected whole rows")]
    Width {
        /// Number of pixels.
        pixels: usize,
        /// Width of the image.
        width: usize,
    },
    /// A distance that is no share of an image's diagonal.
    #[error("a boundary of {value} of the image's diagonal; expected a share above 0, at most 1")]
    BoundaryShare {
        /// The share.
        value: f64,
    },
    /// Two boundaries of different widths.
    #[error(
        "boundaries of {right} of the image's diagonal cannot be added to boundaries of {left}"
    )]
    BoundaryShares {
        /// Share of the counts added to.
        left: f64,
        /// Share of the others.
        right: f64,
    },
    /// Widths of bands that do not rise.
    #[error("bands of the widths {found:?}; expected one at least, rising from 1 pixel or more")]
    BandWidths {
        /// The widths.
        found: Vec<u32>,
    },
    /// Two trimaps of different widths.
    #[error("bands of the widths {right:?} cannot be added to bands of {left:?}")]
    Bands {
        /// Widths of the counts added to.
        left: Vec<u32>,
        /// Widths of the others.
        right: Vec<u32>,
    },
    /// A number of bins that is none.
    #[error("{found} bins; expected 1 to 1000")]
    Bins {
        /// Number of bins.
        found: usize,
    },
    /// Two counts have not as many bins.
    #[error("counts in {right} bins cannot be added to counts in {left}")]
    BinNumbers {
        /// Bins of the counts added to.
        left: usize,
        /// Bins of the others.
        right: usize,
    },
    /// A value that is no probability.
    #[error("probability {value} at position {position}; expected 0 to 1")]
    Probability {
        /// The value.
        value: f32,
        /// Its index in the slice.
        position: usize,
    },
    /// Probabilities that are not one of each class for every label.
    #[error("{found} probabilities; expected {classes} planes of {pixels}, one for each class")]
    Planes {
        /// Number of probabilities.
        found: usize,
        /// Number of classes.
        classes: usize,
        /// Number of labels.
        pixels: usize,
    },
    /// Probabilities of a pixel that are not of all classes.
    #[error(
        "the probabilities of the pixel at position {position} sum to {value}; expected 1: are \
         they scores before softmax, or of some classes only?"
    )]
    ProbabilitySum {
        /// Their sum.
        value: f32,
        /// Index of the pixel.
        position: usize,
    },
    /// Two counts are not of the same classes.
    #[error("counts of {right} classes cannot be added to counts of {left}")]
    Classes {
        /// Classes of the counts added to.
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
    /// A count lies outside those there are.
    #[error("count {index}, but there are counts 0 to {}", .counts.saturating_sub(1))]
    Count {
        /// Index of the count.
        index: u32,
        /// How many counts there are.
        counts: usize,
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
    /// Two arms were not trained with the same seeds.
    #[error(
        "the first arm has the seeds {first:?}, the second {second:?}; expected the same, at least \
         one"
    )]
    Seeds {
        /// Seeds of the first arm.
        first: Vec<u64>,
        /// Seeds of the second.
        second: Vec<u64>,
    },
    /// An arm has two runs of one seed.
    #[error("the {arm} arm has two runs of seed {seed}; expected one")]
    SeedTwice {
        /// `first` or `second`.
        arm: &'static str,
        /// The seed.
        seed: u64,
    },
    /// A run has more or fewer images than the others.
    #[error(
        "seed {seed} of the {arm} arm has {found} images; expected {expected} as seed {by} of the \
         first arm has"
    )]
    RunImages {
        /// `first` or `second`.
        arm: &'static str,
        /// The run's seed.
        seed: u64,
        /// Its images.
        found: usize,
        /// Images of the run it is held against.
        expected: usize,
        /// Seed of the run it is held against.
        by: u64,
    },
    /// Too few images to say how images vary.
    #[error("{found} images; expected two at least, to say how images vary")]
    FewImages {
        /// Number of images.
        found: usize,
    },
    /// The drives do not make up the images.
    #[error(
        "drives of {drives:?} stills for {images} images; expected as many, each drive with one"
    )]
    Drives {
        /// Stills of each drive.
        drives: Vec<usize>,
        /// Number of images.
        images: usize,
    },
    /// Drives of a still each, which say nothing of either drives or stills.
    #[error(
        "{drives} drives of one still each; expected two stills of one of them at least, or ten \
         drives, to say how they vary"
    )]
    SingleStills {
        /// Number of drives.
        drives: usize,
    },
    /// The labels of an image differ between runs.
    #[error(
        "image {image} has {found} pixels labelled {class} in seed {seed} of the {arm} arm, but \
         {expected} in the first run; expected the same images in the same order"
    )]
    OtherImage {
        /// `first` or `second`.
        arm: &'static str,
        /// The run's seed.
        seed: u64,
        /// Index of the image.
        image: usize,
        /// The class.
        class: usize,
        /// Pixels labelled so in this run.
        found: u64,
        /// Pixels labelled so in the first run.
        expected: u64,
    },
    /// Too few resamples for a variance.
    #[error("{found} resamples; expected 100 at least")]
    Resamples {
        /// Number of resamples.
        found: u32,
    },
    /// There is nothing to score.
    #[error("no pixel of {images} images is labelled with a class")]
    NothingLabelled {
        /// Number of images.
        images: usize,
    },
    /// There is no score of all images.
    #[error("{images} images leave nothing to score")]
    NothingScored {
        /// Number of images.
        images: usize,
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
