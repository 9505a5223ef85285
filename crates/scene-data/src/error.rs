//! What can go wrong between a disk and a sample.

use std::path::PathBuf;

/// Why a dataset could not be opened or a sample could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read or written whole.
    #[error(transparent)]
    File(#[from] whole_files::Error),
    /// The operating system refused to read or write a file.
    #[error("{}: {source}", file.display())]
    Io {
        /// The file or folder.
        file: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A photograph could not be decoded.
    #[error("{}: not a readable photograph: {source}", file.display())]
    Image {
        /// The photograph.
        file: PathBuf,
        /// What the decoder said.
        source: image::ImageError,
    },
    /// A label file is damaged, truncated or not a PNG at all.
    #[error("{}: not a readable PNG (damaged or truncated?): {message}", file.display())]
    Png {
        /// The label file.
        file: PathBuf,
        /// What the decoder said.
        message: String,
    },
    /// A list that a conversion would write is there already and names other images.
    #[error("{}: a list of other images is there already; move it away", file.display())]
    ListInTheWay {
        /// The list.
        file: PathBuf,
    },
    /// A file could not be encoded.
    #[error("{}: cannot be encoded: {message}", file.display())]
    Encode {
        /// The file that was to be written.
        file: PathBuf,
        /// What the encoder said.
        message: String,
    },
    /// A label file is a sound PNG, but not of a kind that holds class indices.
    #[error("{}: {found}, but {expected}; {hint}", file.display())]
    LabelFormat {
        /// The label file.
        file: PathBuf,
        /// The pixel format that was found.
        found: String,
        /// The pixel format that was expected.
        expected: &'static str,
        /// The likely cause.
        hint: &'static str,
    },
    /// A label file holds a value that is no label of its dataset.
    #[error("{}: label value {value} at column {x}, row {y}, but {expected}", file.display())]
    LabelValue {
        /// The label file.
        file: PathBuf,
        /// The offending value.
        value: usize,
        /// Column of the first offending pixel.
        x: usize,
        /// Row of the first offending pixel.
        y: usize,
        /// The values the dataset has.
        expected: String,
    },
    /// A colour in a label picture stands for no class.
    #[error(
        "{}: colour {color:?} at column {x}, row {y}, but no class of the dataset has it; \
         was the file resized or saved as a JPEG in between?",
        file.display()
    )]
    LabelColor {
        /// The label file.
        file: PathBuf,
        /// The offending colour, RGB.
        color: [u8; 3],
        /// Column of the first offending pixel.
        x: usize,
        /// Row of the first offending pixel.
        y: usize,
    },
    /// A MATLAB file does not hold a label map.
    #[error("{}: {message}", file.display())]
    Mat {
        /// The file.
        file: PathBuf,
        /// What was found instead.
        message: String,
    },
    /// The description of a user's own folder cannot be used.
    #[error("{}: {message}", file.display())]
    Description {
        /// The `dataset.toml`.
        file: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// A photograph is damaged or cut off: a decoder would fill in gray, or blocks out of place.
    #[error("{}: the photograph is damaged or cut off: {message}", file.display())]
    Damaged {
        /// The photograph.
        file: PathBuf,
        /// What is missing or broken in it.
        message: String,
    },
    /// A list or a description is not text.
    #[error("{}: not text in UTF-8; is it UTF-16? Save it as UTF-8", file.display())]
    NotText {
        /// The file.
        file: PathBuf,
    },
    /// An image claims more pixels than this crate is ready to allocate.
    #[error(
        "{}: {width}×{height} pixels, more than the limit of {} million; is the file damaged?",
        file.display(), crate::MAX_PIXELS / 1_000_000
    )]
    TooLarge {
        /// The file.
        file: PathBuf,
        /// Its width in pixels.
        width: u32,
        /// Its height in pixels.
        height: u32,
    },
    /// A photograph and its label map differ in size.
    #[error(
        "{}: {image_width}×{image_height} pixels{}, but its labels {} are \
         {label_width}×{label_height}",
        image.display(), turned(*orientation), labels.display()
    )]
    SizeMismatch {
        /// The photograph.
        image: PathBuf,
        /// The label file.
        labels: PathBuf,
        /// Width of the photograph.
        image_width: usize,
        /// Height of the photograph.
        image_height: usize,
        /// Width of the label map.
        label_width: usize,
        /// Height of the label map.
        label_height: usize,
        /// The photograph's EXIF orientation, where it is not that of the pixels.
        orientation: Option<u8>,
    },
    /// The data root does not hold the dataset that was asked for.
    #[error("no {dataset} under {}: expected {expected}; found {found}", root.display())]
    NotTheDataset {
        /// The dataset that was asked for.
        dataset: &'static str,
        /// The folder that was searched.
        root: PathBuf,
        /// What the folder should hold.
        expected: String,
        /// What it holds instead.
        found: String,
    },
    /// A dataset that lives on disk was asked for without saying where it is.
    #[error(
        "{dataset} is read from disk, but no data root was given; expected a folder with {expected}"
    )]
    NoDataRoot {
        /// The dataset that was asked for.
        dataset: &'static str,
        /// What the folder should hold.
        expected: String,
    },
    /// Files that the dataset's lists or folders promise are not there.
    #[error(
        "{dataset} under {}: {missing} of {total} {what} are missing, the first is {}",
        root.display(), first.display()
    )]
    MissingFiles {
        /// The dataset.
        dataset: &'static str,
        /// Its folder.
        root: PathBuf,
        /// What kind of file is missing.
        what: &'static str,
        /// How many are missing.
        missing: usize,
        /// How many there should be.
        total: usize,
        /// The first missing file.
        first: PathBuf,
    },
    /// A line of a split list cannot be understood.
    #[error("{}, line {line}: expected {expected}, found {found:?}", file.display())]
    List {
        /// The list.
        file: PathBuf,
        /// Line number, from 1.
        line: usize,
        /// What a line holds.
        expected: &'static str,
        /// The line that was found.
        found: String,
    },
    /// A file is not the one whose fingerprint was taken.
    #[error(
        "{}: changed while the program ran, so that a result would be of other data than it says; \
         start again once the data stay as they are",
        file.display()
    )]
    Changed {
        /// The file.
        file: PathBuf,
    },
    /// A configuration value is outside its range.
    #[error("{config}: {field} = {value}, expected {expected}")]
    Config {
        /// The configuration.
        config: &'static str,
        /// The field.
        field: &'static str,
        /// Its value.
        value: String,
        /// The range it must be in.
        expected: String,
    },
    /// The description of a user's own folder has no such split.
    #[error("{}: it has no [split.{split}]", file.display())]
    NoSplit {
        /// The `dataset.toml`.
        file: PathBuf,
        /// The split.
        split: crate::Split,
    },
    /// Two files stand for one image.
    #[error("{} and {}: two files for one image", first.display(), second.display())]
    SameName {
        /// One of them.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// A name stands for no split.
    #[error("unknown split {0:?}: expected train, val or test")]
    UnknownSplit(String),
    /// A name stands for no dataset.
    #[error(
        "no dataset is called {name:?}; the datasets are {}",
        crate::DatasetConfig::NAMES.join(", ")
    )]
    UnknownDataset {
        /// The name.
        name: String,
    },
    /// A sample was asked for that the dataset does not have.
    #[error("{dataset} has {len} samples here, there is no number {index}")]
    Index {
        /// The dataset.
        dataset: String,
        /// The index that was asked for, from 0.
        index: usize,
        /// The number of samples.
        len: usize,
    },
    /// A folder to be written already holds something.
    #[error("{}: not empty; name a new or an empty folder, nothing is overwritten", root.display())]
    NotEmpty {
        /// The folder.
        root: PathBuf,
    },
}

impl Error {
    /// What the user can do about it, in one phrase; empty where the error itself says it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Image { .. } | Self::Png { .. } | Self::Damaged { .. } => {
                "take the file from the release again"
            }
            Self::LabelFormat { .. } | Self::LabelValue { .. } | Self::LabelColor { .. } => {
                "take the label file of this form from the release again, unconverted"
            }
            Self::SizeMismatch { .. } => "take both files from one release; never resize labels",
            Self::Mat { .. } => "take the file from the official annotation again",
            Self::TooLarge { .. } => "replace the file",
            Self::File(error) if error.kind().is_none() => "replace the file",
            Self::Io { .. } | Self::File(_) => "check that the file is there and may be read",
            Self::NoSplit { .. } => "name its folders there",
            Self::SameName { .. } => "keep one, or rename one with its labels",
            Self::Description { .. } => "mend the description",
            Self::List { .. } | Self::NotText { .. } => "mend the list",
            Self::NotTheDataset { .. } => "name the folder that holds it",
            Self::MissingFiles { .. } => "`cargo xtask data verify` lists them all",
            _ => "",
        }
    }

    /// Turns an operating-system error about `file` into one of ours.
    pub(crate) fn io(file: &std::path::Path) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let file = file.to_path_buf();
        move |source| Self::Io { file, source }
    }
}

/// A word about the tag that makes viewers turn a photograph.
fn turned(orientation: Option<u8>) -> String {
    orientation.map_or(String::new(), |tag| {
        format!(" (and its EXIF orientation {tag} does not turn it to its labels' size)")
    })
}
