//! Arms held against each other, with intervals, from their records alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use run_record::{Record, name_differences};
use seg_metrics::Protocol;
use seg_metrics::stats::{Bootstrap, ClassDifference, Comparison, Run, Verdict, compare};

use crate::mixture::{mixture, other_inputs};
use crate::table;

/// The records of one arm, a seed each.
#[derive(Debug, Clone)]
pub struct Arm<'r> {
    /// Its name in texts.
    pub name: String,
    /// Its records.
    pub records: Vec<&'r Record>,
}

/// Compares two arms over the seeds that both have; the first minus the second.
///
/// # Errors
///
/// An arm whose records are not seeds of one cell, arms that were not scored on the same images by
/// the same protocol, or have no seed in common.
pub fn compare_arms(first: &Arm<'_>, second: &Arm<'_>) -> anyhow::Result<Comparison> {
    let names = || format!("comparing {} with {}", first.name, second.name);
    let seeds = |arm: &Arm<'_>| -> BTreeSet<u64> {
        arm.records.iter().map(|record| record.cell.seed).collect()
    };
    let common: BTreeSet<u64> = seeds(first).intersection(&seeds(second)).copied().collect();
    let one = first.records.first().with_context(names)?;
    for arm in [first, second] {
        if let Some(mixture) = mixture(arm) {
            bail!("{}: the records of {} are a mixture: {mixture}", names(), arm.name);
        }
    }
    for record in first.records.iter().chain(&second.records) {
        same_test(one, record).with_context(names)?;
    }
    ensure!(
        !common.is_empty(),
        "{}: no seed in common: {:?} and {:?}",
        names(),
        seeds(first),
        seeds(second)
    );
    let protocol: Protocol = one.protocol.parse()?;
    let counts = |arm: &Arm<'_>| -> Vec<SeedCounts> {
        let chosen = arm.records.iter().filter(|record| common.contains(&record.cell.seed));
        let images = |r: &Record| r.images.iter().map(|image| sparse(&image.counts)).collect();
        chosen.map(|r| SeedCounts { seed: r.cell.seed, images: images(r) }).collect()
    };
    let (of_first, of_second) = (counts(first), counts(second));
    fn runs(counts: &[SeedCounts]) -> Vec<Run<'_>> {
        counts.iter().map(|counts| Run { seed: counts.seed, images: &counts.images }).collect()
    }
    let classes = one.dataset.classes.len();
    let absent = protocol.absent_class();
    compare(classes, absent, &runs(&of_first), &runs(&of_second), &Bootstrap::default())
        .with_context(names)
}

/// The matrices of one record, image by image.
struct SeedCounts {
    seed: u64,
    images: Vec<Vec<(u32, u64)>>,
}

fn same_test(a: &Record, b: &Record) -> anyhow::Result<()> {
    ensure!(
        a.protocol == b.protocol,
        "one was scored by {} over {} classes, the other by {} over {}",
        a.protocol,
        a.dataset.classes.len(),
        b.protocol,
        b.dataset.classes.len()
    );
    let classes = match (&a.dataset.class_table, &b.dataset.class_table) {
        (Some(a), Some(b)) => a.differences(b),
        _ => name_differences(&a.dataset.classes, &b.dataset.classes),
    };
    ensure!(classes.is_empty(), "they are of different classes: {}", classes.join("; "));
    let test = |record: &Record| record.dataset.fingerprints.get("test").cloned();
    ensure!(
        test(a) == test(b),
        "they were scored on different test images: SHA-256 {} and {}",
        test(a).unwrap_or_default(),
        test(b).unwrap_or_default()
    );
    let evaluation = |record: &Record| record.cell.config.get("evaluation").cloned();
    if let (Some(a), Some(b)) = (evaluation(a), evaluation(b)) {
        ensure!(a == b, "they were scored in different ways: evaluation = {a} and {b}");
    }
    Ok(())
}

/// The cells of an image's matrix, as pairs.
pub(crate) fn sparse(counts: &[u64]) -> Vec<(u32, u64)> {
    let pairs = counts.chunks_exact(2);
    pairs.map(|pair| (u32::try_from(pair[0]).unwrap_or(u32::MAX), pair[1])).collect()
}

/// What `compare` is asked for.
#[derive(Debug, Clone)]
pub struct Request {
    /// One or two folders of records (or single records).
    pub records: Vec<PathBuf>,
    /// Every arm is compared with this one; every pair if absent.
    pub to: Option<String>,
    /// Only these arms; all if empty.
    pub arms: Vec<String>,
}

/// The comparisons of a request as Markdown.
///
/// With one folder, its arms among themselves; with two, arms of the same name, or the only arm of
/// each.
///
/// # Errors
///
/// Records that cannot be read or compared.
pub fn markdown(request: &Request) -> anyhow::Result<String> {
    let sets = request.records.iter().map(|path| read(path)).collect::<anyhow::Result<Vec<_>>>()?;
    let mut arms = Vec::new();
    for (set, path) in sets.iter().zip(&request.records) {
        let mut of_set = by_arm(set);
        if !request.arms.is_empty() {
            for name in &request.arms {
                let known: Vec<&str> = of_set.iter().map(|arm| arm.name.as_str()).collect();
                ensure!(
                    known.contains(&name.as_str()),
                    "{} has no arm `{name}`; its arms are {}",
                    path.display(),
                    known.join(", ")
                );
            }
            of_set.retain(|arm| request.arms.contains(&arm.name));
        }
        arms.push(of_set);
    }
    let pairs = match arms.as_slice() {
        [arms] => within(arms, request.to.as_deref())?,
        [first, second] => {
            ensure!(request.to.is_none(), "--to is for the arms of one folder, two were given");
            across(first, second, &request.records)?
        }
        other => bail!("{} folders of records; expected one or two", other.len()),
    };
    let mut text = String::new();
    for (first, second) in pairs {
        let found = compare_arms(&first, &second)?;
        let classes = &first.records[0].dataset.classes;
        text += &section(&found, (&first.name, &second.name), classes);
        text += &marks(&first, &second);
    }
    Ok(text)
}

/// One comparison: the sentence on mIoU, then the classes that differ.
pub fn section(found: &Comparison, (first, second): (&str, &str), classes: &[String]) -> String {
    let names = [first, second].map(table::escaped);
    let mut text = format!("{}\n", found.sentence(&names[0], &names[1]));
    if let Some(rows) = table::differing_classes(found, (first, second), classes) {
        let _ = write!(text, "\n{}", table::markdown(&rows));
    }
    let _ = writeln!(text, "\n{}\n", silent_classes(found));
    text
}

/// What a reader must know of the data of two arms, as Markdown; empty where it is the same and
/// known.
pub fn marks(first: &Arm<'_>, second: &Arm<'_>) -> String {
    let mut text = String::new();
    if let ([a, ..], [b, ..]) = (&*first.records, &*second.records) {
        let other = other_inputs(a, b);
        if !other.is_empty() {
            let _ = writeln!(text, "**Made from other inputs**: {}.\n", other.join("; "));
        }
    }
    for arm in [first, second] {
        if arm.records.iter().any(|record| !record.is_of_known_inputs()) {
            let _ = writeln!(
                text,
                "Of unknown data, as its records say it alone: {}.\n",
                table::code(&arm.name)
            );
        }
    }
    text
}

/// How many classes show no difference, as a sentence.
pub fn silent_classes(found: &Comparison) -> String {
    let is_silent = |class: &&ClassDifference| {
        class.difference.is_none_or(|d| d.verdict() == Verdict::NoDifferenceShown)
    };
    let (silent, total) = (found.classes.iter().filter(is_silent).count(), found.classes.len());
    format!("No difference shown in {silent} of {total} classes.")
}

/// Records of a file, of a folder, or of the `cells` in a sweep's output folder.
fn read(path: &Path) -> anyhow::Result<Vec<Record>> {
    Ok(files(path)?.into_iter().map(|(_, record)| record).collect())
}

/// The same with their files.
pub(crate) fn files(path: &Path) -> anyhow::Result<Vec<(PathBuf, Record)>> {
    ensure!(path.exists(), "{}: there is no such file or folder of records", path.display());
    if path.is_file() {
        return Ok(vec![(path.to_owned(), Record::read(path)?)]);
    }
    let cells = path.join("cells");
    let records = Record::files(if cells.is_dir() { &cells } else { path })?;
    ensure!(!records.is_empty(), "{}: the folder holds no records", path.display());
    let read = |file: PathBuf| Ok((file.clone(), Record::read(file)?));
    records.into_iter().map(read).collect()
}

fn by_arm(records: &[Record]) -> Vec<Arm<'_>> {
    let mut arms: BTreeMap<&str, Vec<&Record>> = BTreeMap::new();
    for record in records {
        arms.entry(&record.cell.arm).or_default().push(record);
    }
    arms.into_iter().map(|(name, records)| Arm { name: name.to_owned(), records }).collect()
}

type Pair<'r> = (Arm<'r>, Arm<'r>);

fn within<'r>(arms: &[Arm<'r>], to: Option<&str>) -> anyhow::Result<Vec<Pair<'r>>> {
    ensure!(arms.len() > 1, "one arm alone cannot be compared: give a second folder of records");
    let Some(to) = to else {
        let pairs = arms.iter().enumerate().flat_map(|(at, second)| {
            arms[at + 1..].iter().map(move |first| (first.clone(), second.clone()))
        });
        return Ok(pairs.collect());
    };
    let base = arms.iter().find(|arm| arm.name == to).with_context(|| {
        let names: Vec<&str> = arms.iter().map(|arm| arm.name.as_str()).collect();
        format!("no arm is called `{to}`; the arms are {}", names.join(", "))
    })?;
    Ok(arms.iter().filter(|arm| arm.name != to).map(|arm| (arm.clone(), base.clone())).collect())
}

fn across<'r>(
    first: &[Arm<'r>],
    second: &[Arm<'r>],
    paths: &[PathBuf],
) -> anyhow::Result<Vec<Pair<'r>>> {
    let named = |arm: &Arm<'r>, path: &Path| Arm {
        name: format!("{} of {}", arm.name, path.display()),
        records: arm.records.clone(),
    };
    let label = |a: &Arm<'r>, b: &Arm<'r>| (named(a, &paths[0]), named(b, &paths[1]));
    if let ([a], [b]) = (first, second) {
        return Ok(vec![label(a, b)]);
    }
    let same = first.iter().filter_map(|a| {
        let b = second.iter().find(|b| b.name == a.name)?;
        Some(label(a, b))
    });
    let pairs: Vec<Pair<'r>> = same.collect();
    ensure!(
        !pairs.is_empty(),
        "{} and {} have no arm in common: choose one of each with --arms",
        paths[0].display(),
        paths[1].display()
    );
    Ok(pairs)
}
