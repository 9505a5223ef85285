//! Comparisons in words and in points.

use std::fmt;

use super::{Comparison, Difference, Scope, Verdict};

impl Comparison {
    /// One sentence on mIoU, in points, with the arms' names.
    pub fn sentence(&self, first: &str, second: &str) -> String {
        let pairs = match self.seeds {
            1 => "1 pair of networks".to_owned(),
            seeds => format!("{seeds} pairs of seeds"),
        };
        let verdict = self.miou.verdict().between(first, second);
        let scope = self.scope().words();
        format!(
            "mIoU of {first} minus {second}: {} points ({pairs}, {} images): {verdict}{scope}.",
            self.miou, self.images,
        )
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
                "IoU of {name}: not compared, labelled in {} of {} images.",
                of.images, self.images
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

impl Scope {
    fn words(self) -> &'static str {
        match self {
            Self::TheseTwoNetworks => ", these two networks only",
            Self::Arms => "",
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
