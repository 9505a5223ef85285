//! Label files and predictions, matched by their names.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::ensure;
use scene_data::is_litter;
use seg_metrics::Protocol;

use super::Request;

/// A label file and the prediction for it.
pub(super) struct Pair {
    pub(super) labels: PathBuf,
    pub(super) prediction: PathBuf,
    /// The instance ids beside the labels, of Cityscapes.
    pub(super) instances: Option<PathBuf>,
}

/// What two folders hold.
pub(super) struct Found {
    pub(super) pairs: Vec<Pair>,
    /// What of them is not scored, as a sentence; empty where all is.
    pub(super) left_out: String,
}

/// What identifies an image: bytes, for names need not be text.
type Key = Vec<u8>;

/// Endings of pictures that hold no class indices as they were.
const OTHER_PICTURES: [&str; 8] = ["jpg", "jpeg", "bmp", "gif", "tif", "tiff", "webp", "ppm"];

/// Ends of the names of Cityscapes' label files, and of what lies beside them.
const CITY_LABELS: &str = "_gtfine_labelids";
const CITY_INSTANCES: &str = "_gtfine_instanceids";
const CITY_COMPANIONS: [&str; 3] =
    ["_gtfine_color", "_gtfine_labeltrainids", "_gtfine_instancetrainids"];

/// Matches files by name; what has no partner, or several, is a problem.
pub(super) fn matched(request: &Request, problems: &mut Vec<String>) -> anyhow::Result<Found> {
    let of_city = request.protocol == Protocol::Cityscapes;
    let mut left_out = LeftOut::default();
    let pictures = pngs(&request.labels, &mut left_out, problems)?;
    let (mut labels, mut instances) = (Files::default(), Files::default());
    for (file, stem) in pictures {
        let name = stem.to_ascii_lowercase();
        let ends = |end: &str| name.ends_with(end.as_bytes());
        if !of_city || ends(CITY_LABELS) {
            labels.add(key(&stem, of_city), file, problems);
        } else if ends(CITY_INSTANCES) {
            instances.add(key(&stem, of_city), file, problems);
        } else if !CITY_COMPANIONS.into_iter().any(ends) {
            problems.push(format!(
                "{}: neither *_gtFine_labelIds.png nor one of its companions",
                file.display()
            ));
        }
    }
    ensure!(
        !labels.0.is_empty(),
        "{}: no label files; expected {}",
        request.labels.display(),
        if of_city { "*_gtFine_labelIds.png" } else { "PNGs" }
    );
    let mut predictions = Files::default();
    for (file, stem) in pngs(&request.predictions, &mut left_out, problems)? {
        predictions.add(key(&stem, of_city), file, problems);
    }
    let mut pairs = Vec::new();
    for (key, labels) in labels.0 {
        match predictions.0.remove(&key) {
            Some(prediction) => {
                let instances = instances.0.remove(&key);
                pairs.push(Pair { labels, prediction, instances });
            }
            None => problems.push(format!("{}: no prediction for it", labels.display())),
        }
    }
    let left = predictions.0.into_values();
    problems.extend(left.map(|file| format!("{}: there is no label file for it", file.display())));
    Ok(Found { pairs, left_out: left_out.in_words() })
}

/// The file name without its ending, or for Cityscapes city, sequence and frame.
fn key(stem: &[u8], of_city: bool) -> Key {
    match of_city {
        true => stem.splitn(4, |&byte| byte == b'_').take(3).collect::<Vec<_>>().join(&b'_'),
        false => stem.to_owned(),
    }
}

/// Files by image.
#[derive(Default)]
struct Files(BTreeMap<Key, PathBuf>);

impl Files {
    fn add(&mut self, key: Key, file: PathBuf, problems: &mut Vec<String>) {
        match self.0.get(&key) {
            Some(other) => problems.push(format!(
                "{}: a second file for the image of {}",
                file.display(),
                other.display()
            )),
            None => {
                self.0.insert(key, file);
            }
        }
    }
}

/// What is neither scored nor a problem.
#[derive(Default)]
struct LeftOut {
    litter: usize,
    others: Vec<PathBuf>,
}

impl LeftOut {
    fn in_words(&self) -> String {
        let mut words = Vec::new();
        if self.litter > 0 {
            words.push(format!("{} hidden or a file manager's", self.litter));
        }
        if let Some(first) = self.others.first() {
            let more = if self.others.len() > 1 { ", …" } else { "" };
            words.push(format!("{} no pictures ({}{more})", self.others.len(), first.display()));
        }
        match words.is_empty() {
            true => String::new(),
            false => format!("Files left out: {}.", words.join(", ")),
        }
    }
}

/// The PNGs of a folder and of those in it, sorted, with the bytes of their names without ending.
fn pngs(
    folder: &Path,
    left_out: &mut LeftOut,
    problems: &mut Vec<String>,
) -> anyhow::Result<Vec<(PathBuf, Key)>> {
    let mut found = Vec::new();
    for file in whole_files::files_below(folder)? {
        let below = file.strip_prefix(folder).unwrap_or(&file);
        if below.iter().any(is_litter) {
            left_out.litter += 1;
            continue;
        }
        let ending = file.extension().unwrap_or_default().to_ascii_lowercase();
        if ending == "png" {
            let stem = file.file_stem().unwrap_or_default().as_encoded_bytes().to_owned();
            found.push((file, stem));
        } else if OTHER_PICTURES.iter().any(|known| ending == *known) {
            problems.push(format!("{}: only PNGs hold class indices as they are", file.display()));
        } else {
            left_out.others.push(file);
        }
    }
    Ok(found)
}
