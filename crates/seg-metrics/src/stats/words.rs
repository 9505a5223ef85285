//! Comparisons in words and in points.

use std::fmt;

use super::{Comparison, Difference, FEWEST_IMAGES, Sampling, Scope, ScoreComparison, Verdict};

impl Comparison {
    /// One sentence on mIoU, in points, with the arms' names.
    pub fn sentence(&self, first: &str, second: &str) -> String {
        let images = self.sampling.words(self.images);
        sentence("mIoU", [first, second], &self.miou, self.seeds, &images)
    }

    /// One sentence on a class, in points; `None` if there is no such class.
    pub fn class_sentence(
        &self,
        class: usize,
        name: &str,
        first: &str,
        second: &str,
    ) -> Option<String> {
        let of = self.classes.get(class)?;
        let text = match &of.difference {
            None => format!(
                "IoU of {name}: not compared, labelled in {} of {}{}.",
                of.images,
                self.images,
                self.sampling.too_few(),
            ),
            Some(difference) => {
                let verdict = difference.verdict().between(first, second);
                let (images, scope) = (of.images, self.scope().words());
                format!("IoU of {name}: {difference} points ({images} images): {verdict}{scope}.")
            }
        };
        Some(text)
    }
}

impl ScoreComparison {
    /// One sentence on the score, in points, with its name and the arms'.
    pub fn sentence(&self, score: &str, first: &str, second: &str) -> String {
        let images = self.sampling.words(self.images);
        sentence(score, [first, second], &self.difference, self.seeds, &images)
    }
}

fn sentence(
    score: &str,
    [first, second]: [&str; 2],
    difference: &Difference,
    seeds: usize,
    images: &str,
) -> String {
    let pairs = match seeds {
        1 => "1 pair of networks".to_owned(),
        seeds => format!("{seeds} pairs of seeds"),
    };
    let verdict = difference.verdict().between(first, second);
    let scope = Scope::of(seeds).words();
    format!(
        "{score} of {first} minus {second}: {difference} points ({pairs}, {images}): \
         {verdict}{scope}."
    )
}

impl Scope {
    pub(super) fn of(seeds: usize) -> Self {
        if seeds == 1 { Self::TheseTwoNetworks } else { Self::Arms }
    }

    fn words(self) -> &'static str {
        match self {
            Self::TheseTwoNetworks => ", these two networks only",
            Self::Arms => "",
        }
    }
}

impl Sampling {
    /// The images, and how they were drawn, in words.
    pub fn words(&self, images: usize) -> String {
        match self {
            Self::Images => format!("{images} images"),
            Self::Blocks { length, .. } => {
                format!("{images} images in blocks of {length}; other drives are not covered")
            }
            Self::Drives { drives } => format!("{images} images of {} drives", drives.len()),
        }
    }

    fn too_few(&self) -> String {
        match self {
            Self::Images => " images".to_owned(),
            Self::Blocks { length, .. } => {
                format!(" images, fewer than {FEWEST_IMAGES} blocks of {length}")
            }
            Self::Drives { .. } => format!(" images, of fewer than {FEWEST_IMAGES} drives"),
        }
    }
}

impl Verdict {
    /// In words, with the arms' names.
    pub fn between(self, first: &str, second: &str) -> String {
        match self {
            Self::FirstHigher => format!("{first} is higher"),
            Self::SecondHigher => format!("{second} is higher"),
            Self::NoDifferenceShown => "no difference shown".to_owned(),
        }
    }
}

/// `+1.20 [+0.35, +2.05]`: estimate and interval in points, hundredths of the whole.
impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [estimate, low, high] = [self.estimate, self.low(), self.high()].map(|x| 100.0 * x);
        write!(f, "{estimate:+.2} [{low:+.2}, {high:+.2}]")
    }
}
