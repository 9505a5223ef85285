//! Checks a whole dataset before anything is trained on it, and lists every problem at once.

mod copies;
mod pixels;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::layout::Layout;
use crate::on_disk::{Listing, Pair, instances_of, read_pair};
use crate::scan::{LeftOut, litter_in_words, names};
use crate::{DatasetConfig, Error, Split, read_png_u16};
use pixels::Seen;

/// How much of a dataset must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// All of the release.
    Whole,
    /// Any part of it; what is missing is noted.
    Partial,
}

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verification {
    /// How many images each split has here, and officially if that is known.
    pub splits: Vec<SplitCount>,
    /// What must be mended, in a fixed order.
    pub problems: Vec<Problem>,
    /// What is as it may be, and good to know.
    pub notes: Vec<String>,
}

/// The size of a split.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SplitCount {
    /// The split.
    pub split: Split,
    /// Pairs that are there, photograph and labels.
    pub images: usize,
    /// As the release has it.
    pub official: Option<usize>,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The file, and what was found and expected.
    pub found: String,
    /// What to do about it.
    pub remedy: String,
}

/// PASCAL-Context has two official counts: one annotation file each, and `trainval_merged.json`.
const MERGED_COUNTS: [(Split, usize); 2] = [(Split::Train, 4_996), (Split::Val, 5_104)];

/// Files beside the labels that belong to a release, though nothing here reads them.
const COMPANIONS: [&str; 5] = [
    "_gtFine_labelTrainIds.png",
    "_gtFine_instanceTrainIds.png",
    "_gtFine_color.png",
    "_gtFine_polygons.json",
    "_gtFine_instanceIds.png",
];

/// Checks every list, file and pixel of a dataset on disk: counts, pairs, sizes, values, files that
/// are damaged or cut off, files that belong to nothing, images in two splits or copied from one to
/// another, splits and classes without a labelled pixel.
///
/// `progress` is called once for each pair, with the number of all pairs; in parallel.
///
/// # Errors
///
/// A root that does not hold the dataset at all (the likely other one is named).
pub fn verify(
    config: &DatasetConfig,
    root: &Path,
    extent: Extent,
    progress: &(dyn Fn(usize) + Sync),
) -> Result<Verification, Error> {
    let layout = config
        .layout()
        .ok_or_else(|| Error::UnknownDataset { name: format!("{} on disk", config.name()) })?;
    layout.locate(root)?;
    let mut out = Verification::default();
    let mut listings: Vec<(Split, Listing)> = Vec::new();
    let mut twins = Vec::new();
    for split in Split::ALL {
        let official = layout.official_counts().iter().find(|(s, _)| *s == split);
        if official.is_none() && layout != Layout::Folder {
            continue;
        }
        match config.list(Some(root), split) {
            Ok(listing) => {
                let twin = listings.iter().rev().find(|(_, known)| same_pairs(known, &listing));
                if let Some((other, _)) = twin {
                    same_as(*other, split, &mut out);
                    twins.push(split);
                }
                listings.push((split, listing));
            }
            Err(error) if extent == Extent::Partial && is_absent(layout, &error) => {
                out.notes.push(format!("no {split} split here: {error}"));
            }
            Err(error) => out.problems.push(problem(&error)),
        }
    }
    listings.retain(|(split, _)| !twins.contains(split));
    if listings.is_empty() && out.problems.is_empty() {
        out.problems.push(Problem {
            found: format!("{}: no split could be read", root.display()),
            remedy: "name the folder that holds at least one of them".to_owned(),
        });
    }
    for (split, listing) in &listings {
        count(*split, listing, extent, &mut out);
    }
    find_doubles(&listings, &mut out);
    find_strangers(layout, &listings, &mut out);
    let seen = read_all(&listings, extent, progress, &mut out);
    copies::find_copies(&listings, &seen, &mut out);
    pixels::find_unlabelled(&listings, &seen, extent, &mut out);
    pixels::note_alignments(&listings, &seen, &mut out);
    out.problems.sort();
    out.problems.dedup();
    Ok(out)
}

/// Whether a split is not there at all, as in a part of a release. What is there and cannot be read
/// is a problem of any part, and so is what a user's own description names and has not.
fn is_absent(layout: Layout, error: &Error) -> bool {
    match error {
        Error::NotTheDataset { .. } => layout != Layout::Folder,
        Error::NoSplit { .. } => true,
        Error::Io { source, .. } => source.kind() == ErrorKind::NotFound,
        Error::File(error) => error.kind() == Some(ErrorKind::NotFound),
        _ => false,
    }
}

fn problem(error: &Error) -> Problem {
    Problem { found: error.to_string(), remedy: error.remedy().to_owned() }
}

/// Says that a split has the photographs of an earlier one.
fn same_as(earlier: Split, split: Split, out: &mut Verification) {
    let found = format!("{split} is the same as {earlier}");
    // Without test labels of its own, a folder's test split is its validation split.
    if (earlier, split) == (Split::Val, Split::Test) {
        return out.notes.push(found);
    }
    let remedy = "name other images: scores on images that were learned say nothing".to_owned();
    out.problems.push(Problem { found, remedy });
}

fn same_pairs(a: &Listing, b: &Listing) -> bool {
    let images = |listing: &Listing| -> Vec<PathBuf> {
        listing.pairs.iter().map(|pair| pair.image.clone()).collect()
    };
    images(a) == images(b)
}

/// Both files of a pair that should be there.
fn files(pair: &Pair) -> [&PathBuf; 2] {
    [&pair.image, &pair.labels]
}

fn count(split: Split, listing: &Listing, extent: Extent, out: &mut Verification) {
    let layout = listing.layout;
    let official = layout.official_counts().iter().find(|(s, _)| *s == split).map(|(_, n)| *n);
    let missing: Vec<&PathBuf> =
        listing.pairs.iter().flat_map(files).filter(|file| !file.is_file()).collect();
    let whole = |pair: &&Pair| files(pair).iter().all(|file| file.is_file());
    let images = listing.pairs.iter().filter(whole).count();
    out.splits.push(SplitCount { split, images, official });
    match extent {
        Extent::Whole => out.problems.extend(missing.iter().map(|file| Problem {
            found: format!("{}: there is no such file, but {split} needs it", file.display()),
            remedy: "unpack the release again; --partial accepts a part of it".to_owned(),
        })),
        Extent::Partial if images == 0 => out.problems.push(Problem {
            found: format!(
                "{}: none of the {} images of {split} is there, the first is {}",
                listing.root.display(),
                listing.pairs.len(),
                missing.first().map_or(String::new(), |file| file.display().to_string())
            ),
            remedy: "is the list of this dataset, and text in UTF-8?".to_owned(),
        }),
        Extent::Partial => out.notes.extend(some_of(split, &missing)),
    }
    let merged = matches!(layout, Layout::PascalContext | Layout::PascalContextMat)
        && MERGED_COUNTS.contains(&(split, listing.pairs.len()));
    let promised = listing.pairs.len();
    match official {
        Some(official) if merged => out.notes.push(format!(
            "{split} lists {promised} images, as trainval_merged.json has it, not {official}"
        )),
        Some(official) if promised != official => {
            let found = format!(
                "{}: {split} has {promised} images, the release has {official}",
                listing.root.display()
            );
            match extent {
                Extent::Partial => out.notes.push(found),
                Extent::Whole => out.problems.push(Problem {
                    found,
                    remedy: "unpack the release again; --partial accepts a part of it".to_owned(),
                }),
            }
        }
        _ => {}
    }
}

/// Names the first few of the missing files.
fn some_of(split: Split, missing: &[&PathBuf]) -> Option<String> {
    const NAMED: usize = 5;
    let names = missing.iter().take(NAMED).map(|file| file.display().to_string());
    let names: Vec<String> = names.collect();
    let more = missing
        .len()
        .checked_sub(NAMED + 1)
        .map_or(String::new(), |more| format!(" and {} more", more + 1));
    (!missing.is_empty()).then(|| {
        format!("{split}: {} files are missing: {}{more}", missing.len(), names.join(", "))
    })
}

/// Images that a list names twice, or that two splits share.
fn find_doubles(listings: &[(Split, Listing)], out: &mut Verification) {
    let mut seen: BTreeMap<&Path, Split> = BTreeMap::new();
    for (split, listing) in listings {
        for pair in &listing.pairs {
            if let Some(other) = seen.insert(&pair.image, *split) {
                let both = if other == *split {
                    format!("twice in {split}")
                } else {
                    format!("in {other} and in {split}")
                };
                let found = format!("{}: listed {both}", pair.image.display());
                out.problems.push(Problem { found, remedy: "mend the lists".to_owned() });
            }
        }
    }
}

/// Files beside the pairs that belong to none of them.
fn find_strangers(layout: Layout, listings: &[(Split, Listing)], out: &mut Verification) {
    let pairs = || listings.iter().flat_map(|(_, listing)| &listing.pairs);
    let known: BTreeSet<&Path> = pairs().flat_map(files).map(PathBuf::as_path).collect();
    // VOC's photographs are far more than those with context labels.
    let of_images = !matches!(layout, Layout::PascalContext | Layout::PascalContextMat);
    let labels = pairs().filter_map(|pair| pair.labels.parent());
    let images = pairs().filter(|_| of_images).filter_map(|pair| pair.image.parent());
    let folders: BTreeSet<&Path> = labels.chain(images).collect();
    let mut left_out = LeftOut::default();
    for folder in folders.into_iter().filter(|folder| folder.is_dir()) {
        for name in names(folder, &mut left_out).unwrap_or_default() {
            let file = folder.join(&name);
            if file.is_dir() || known.contains(file.as_path()) || is_companion(&name) {
                continue;
            }
            out.problems.push(Problem {
                found: format!("{}: belongs to no pair of the dataset", file.display()),
                remedy: "remove it, or add what it belongs to".to_owned(),
            });
        }
    }
    if left_out.litter > 0 {
        out.notes.push(format!("left out: {}", litter_in_words(left_out.litter)));
    }
}

fn is_companion(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    COMPANIONS.iter().any(|end| name.ends_with(end.as_bytes()))
}

/// Decodes whatever is there; returns what is to be remembered of each split's pairs, with their
/// numbers.
fn read_all(
    listings: &[(Split, Listing)],
    extent: Extent,
    progress: &(dyn Fn(usize) + Sync),
    out: &mut Verification,
) -> Vec<Vec<(usize, Seen)>> {
    let total = listings.iter().map(|(_, listing)| listing.pairs.len()).sum();
    let missing_instances = std::sync::atomic::AtomicUsize::new(0);
    let read = |listing: &Listing, pair: &Pair| {
        let there = files(pair).iter().all(|file| file.is_file());
        let mut problems = Vec::new();
        let seen = match there.then(|| read_pair(pair, &listing.encoding)) {
            Some(Ok((sample, alignment))) => Some(Seen::of(&sample, alignment)),
            Some(Err(error)) => {
                problems.push(problem(&error));
                None
            }
            None => None,
        };
        let instances = instances_of(listing.layout, pair).filter(|_| there);
        match instances {
            Some(file) if !file.is_file() => {
                missing_instances.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                problems.extend((extent == Extent::Whole).then(|| Problem {
                    found: format!("{}: there is no such file", file.display()),
                    remedy: "unpack gtFine_trainvaltest.zip again".to_owned(),
                }));
            }
            Some(file) => problems.extend(read_png_u16(&file).err().map(|e| problem(&e))),
            None => {}
        }
        progress(total);
        (seen, problems)
    };
    let mut all = Vec::new();
    for (_, listing) in listings {
        let pairs = listing.pairs.par_iter().map(|pair| read(listing, pair));
        let (seen, problems): (Vec<Option<Seen>>, Vec<Vec<Problem>>) = pairs.unzip();
        out.problems.extend(problems.into_iter().flatten());
        all.push(seen.into_iter().enumerate().filter_map(|(at, s)| Some((at, s?))).collect());
    }
    let missing = missing_instances.into_inner();
    if missing > 0 && extent == Extent::Partial {
        out.notes.push(format!("{missing} instanceIds files are missing: no instance scores"));
    }
    all
}
