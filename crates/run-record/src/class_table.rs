//! The classes of a record and what the values of their label files mean: enough to read labels,
//! name classes and colour predictions without the dataset.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The classes of a dataset as they were when a network was trained on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassTable {
    /// What label files hold.
    pub labels: LabelForm,
    /// The classes in the order of their indices.
    pub classes: Vec<ClassFacts>,
    /// Values of the label files that no loss and no score counts, ascending.
    pub ignored: Vec<u32>,
}

/// One class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassFacts {
    /// Its name.
    pub name: String,
    /// The values that stand for it in label files, ascending.
    pub values: Vec<u32>,
    /// Its colour in pictures, RGB.
    pub color: [u8; 3],
}

/// What the values of label files are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LabelForm {
    /// There are no files: labels are made with the images, as class indices.
    Generated,
    /// Gray or palette PNGs of indices.
    Indices,
    /// MATLAB files of ids.
    Mat,
    /// PNGs of colours; a value is `0xRRGGBB`.
    Colours,
}

/// The constants by which a network's input is made from pixels: `(x / 255 - mean) / std`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Normalisation {
    /// Of red, green and blue.
    pub mean: [f32; 3],
    /// Of red, green and blue.
    pub std: [f32; 3],
}

impl ClassTable {
    /// SHA-256, in hexadecimal, over what decides a number: form, names, order, values, ignored
    /// values. Colours decide none.
    pub fn sha256(&self) -> String {
        let Self { labels, classes, ignored } = self;
        let classes: Vec<_> = classes.iter().map(|class| (&class.name, &class.values)).collect();
        // As JSON, in which no two of these are the same text.
        let text = serde_json::json!([labels, classes, ignored]).to_string();
        Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The names in the order of their indices.
    pub fn names(&self) -> Vec<String> {
        self.classes.iter().map(|class| class.name.clone()).collect()
    }

    /// What of `now` is not as it is here, one phrase each; none if both decide the same numbers.
    pub fn differences(&self, now: &Self) -> Vec<String> {
        let mut found = name_differences(&self.names(), &now.names());
        for before in &self.classes {
            let after = now.classes.iter().find(|class| class.name == before.name);
            if let Some(after) = after.filter(|after| after.values != before.values) {
                found.push(format!(
                    "{} was labelled {}, now {}",
                    before.name,
                    listed(&before.values),
                    listed(&after.values)
                ));
            }
        }
        if self.ignored != now.ignored {
            let (before, after) = (listed(&self.ignored), listed(&now.ignored));
            found.push(format!("ignored values were {before}, now {after}"));
        }
        if self.labels != now.labels {
            found.push(format!("label files were {:?}, now {:?}", self.labels, now.labels));
        }
        found
    }
}

/// What of the class names `now` is not as it was in `before`, one phrase each.
pub fn name_differences(before: &[String], now: &[String]) -> Vec<String> {
    let missing = |of: &[String], from: &[String]| -> Vec<String> {
        of.iter().filter(|name| !from.contains(name)).cloned().collect()
    };
    let (gone, added) = (missing(before, now), missing(now, before));
    let mut found = Vec::new();
    if !gone.is_empty() {
        found.push(format!("no longer there: {}", gone.join(", ")));
    }
    if !added.is_empty() {
        found.push(format!("added: {}", added.join(", ")));
    }
    for (index, name) in before.iter().enumerate() {
        let place = now.iter().position(|other| other == name);
        if let Some(place) = place.filter(|&place| place != index && found.is_empty()) {
            found.push(format!("{name} was class {index}, now {place}"));
        }
    }
    if found.is_empty() && before != now {
        found.push(format!("{} names were given, now {}", before.len(), now.len()));
    }
    found
}

fn listed(values: &[u32]) -> String {
    match values {
        [] => "by no value".to_owned(),
        values => values.iter().map(u32::to_string).collect::<Vec<_>>().join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(classes: &[(&str, u32)], ignored: &[u32]) -> ClassTable {
        let of = |&(name, value): &(&str, u32)| ClassFacts {
            name: name.into(),
            values: vec![value],
            color: [0; 3],
        };
        let classes = classes.iter().map(of).collect();
        ClassTable { labels: LabelForm::Indices, classes, ignored: ignored.to_vec() }
    }

    #[test]
    fn what_decides_a_number_changes_the_hash_and_is_listed() {
        let before = table(&[("tree", 0), ("road", 1)], &[255]);
        for (after, want) in [
            (table(&[("tree", 0), ("road", 1), ("sky", 2)], &[255]), "added: sky"),
            (table(&[("tree", 0)], &[255]), "no longer there: road"),
            (table(&[("road", 0), ("tree", 1)], &[255]), "tree was class 0, now 1"),
            (table(&[("tree", 0), ("road", 7)], &[255]), "road was labelled 1, now 7"),
            (table(&[("tree", 0), ("road", 1)], &[]), "ignored values were 255, now by no value"),
        ] {
            assert_ne!(after.sha256(), before.sha256());
            let found = before.differences(&after);
            assert!(found.iter().any(|line| line.contains(want)), "{want}: {found:?}");
        }
        let mut colour = before.clone();
        colour.classes[0].color = [1, 2, 3];
        assert_eq!((colour.sha256(), before.differences(&colour)), (before.sha256(), vec![]));
    }
}
