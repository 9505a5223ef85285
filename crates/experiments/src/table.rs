//! A table of results as one value, which every form is written from.
//!
//! Numbers are rounded once, when a [`Cell`] is made: Markdown, LaTeX, CSV and HTML show the same
//! digits and differ in their dress alone.

mod ablation;
mod classes;
mod csv;
mod curves;
mod digits;
mod distance;
mod latex;
mod markdown;

pub use ablation::{ablation, difference};
pub use classes::{class_iou, differing_classes};
pub use csv::csv;
pub use curves::curves;
pub use digits::Digits;
pub use distance::{SHOWN_BIN_PX, by_distance, distance_bins};
pub use latex::latex;
pub use markdown::{block, code, escaped, inline, markdown, notes};

/// Text on one line of characters that are seen: whatever breaks a line, moves a terminal's cursor
/// or turns the direction of writing becomes a space.
pub fn one_line(text: &str) -> String {
    text.replace(is_unseen, " ")
}

/// Control characters, separators of lines and paragraphs, and marks that turn the direction.
fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}')
        || ('\u{202a}'..='\u{202e}').contains(&c)
        || ('\u{2066}'..='\u{2069}').contains(&c)
}

/// Text with names in it. Whoever writes it escapes all of it, so nothing here is markup.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prose(pub Vec<Piece>);

/// A piece of [`Prose`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Words.
    Text(String),
    /// The name of an arm, shown as code.
    Name(String),
    /// A word that stands out as the cells do that it speaks of.
    Strong(String),
}

impl Prose {
    /// Adds words.
    #[must_use]
    pub fn text(mut self, text: impl Into<String>) -> Self {
        self.0.push(Piece::Text(text.into()));
        self
    }

    /// Adds a name.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.0.push(Piece::Name(name.into()));
        self
    }

    /// Adds a word that stands out.
    #[must_use]
    pub fn strong(mut self, word: impl Into<String>) -> Self {
        self.0.push(Piece::Strong(word.into()));
        self
    }

    /// The bare characters.
    pub fn plain(&self) -> String {
        let bare = |piece: &Piece| match piece {
            Piece::Text(text) | Piece::Name(text) | Piece::Strong(text) => text.clone(),
        };
        self.0.iter().map(bare).collect()
    }

    /// The same sentence by sentence, each on one line.
    pub fn sentences(&self) -> Vec<String> {
        let plain = self.plain();
        let sentence = |sentence: &str| one_line(sentence).trim().to_owned();
        plain.split_inclusive(". ").map(sentence).collect()
    }
}

impl From<&str> for Prose {
    fn from(text: &str) -> Self {
        Self::default().text(text)
    }
}

/// A table: a row's first cell is its head.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// What it shows, in a few words.
    pub title: Prose,
    /// What its columns mean, for the reader of the table; may be empty.
    pub notes: Prose,
    /// The heads of its columns.
    pub columns: Vec<Prose>,
    /// Rows, each of as many cells as there are columns.
    pub rows: Vec<Vec<Cell>>,
}

/// One cell.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// A name that is shown as code: an arm's.
    Name(String),
    /// Any other words: a class, why a number is missing.
    Words(String),
    /// A number.
    Number(Digits),
    /// A mean, and the sample standard deviation where there are several values.
    Score {
        /// The mean.
        mean: Digits,
        /// The deviation; `None` of one value.
        deviation: Option<Digits>,
    },
    /// An estimate in its confidence interval.
    Interval {
        /// Estimate, lower and upper end, with their signs.
        ends: [Digits; 3],
        /// How it is set.
        weight: Weight,
        /// What restricts it, in a few words; may be empty.
        remark: &'static str,
    },
    /// What does not apply or is not known: an en dash.
    Unknown,
}

/// How a cell is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// As other cells.
    Plain,
    /// In bold type: the interval leaves out 0.
    Bold,
}

impl Cell {
    /// The mean of some values, and how they deviate from it.
    pub fn score(values: &[f64], decimals: usize) -> Self {
        use seg_metrics::stats;
        let Some(mean) = stats::mean(values) else { return Self::Unknown };
        let deviation = stats::sample_sd(values).map(|sd| Digits::new(sd, decimals));
        Self::Score { mean: Digits::new(mean, decimals), deviation }
    }

    /// The number, or an en dash.
    pub fn number(value: Option<f64>, decimals: usize) -> Self {
        value.map_or(Self::Unknown, |value| Self::Number(Digits::new(value, decimals)))
    }

    /// A count.
    pub fn count(n: u64) -> Self {
        Self::Number(Digits::count(n))
    }
}
