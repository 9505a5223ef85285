//! A sweep: a base configuration, arms that override it, and seeds.

use std::collections::BTreeSet;
use std::path::Path;

use toml::{Table, Value};

use crate::cell::json_from_toml;
use crate::names::check_name;
use crate::tables::{from_toml, merge, remove_path, set_path};
use crate::{Cell, Error, Result, nearest};

/// An experiment in many cells: every arm with every seed.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sweep {
    /// Its name: letters, digits, `-`, `_` and `.`, since folders are called after it.
    pub name: String,
    /// What it is for, in a sentence.
    #[serde(default)]
    pub about: String,
    /// Seeds, each run with every arm.
    pub seeds: Vec<u64>,
    /// Arms to which the table gives every arm's difference.
    #[serde(default)]
    pub compare_to: Vec<String>,
    /// The base of every cell's configuration.
    #[serde(default)]
    pub config: Table,
    /// The arms, in the order of the table; `[[arm]]` in the file.
    #[serde(default, rename = "arm")]
    pub arms: Vec<Arm>,
}

/// One arm of an ablation.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Arm {
    /// Its name: letters, digits, `-`, `_` and `.`, since files are called after it.
    pub name: String,
    /// What it is for, in a sentence.
    #[serde(default)]
    pub about: String,
    /// What differs from the sweep's base; tables are merged at every depth, see [`merge`].
    #[serde(default)]
    pub config: Table,
    /// What the arm is known to reach, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<Expected>,
}

/// The score an arm is known to reach, as a mean over the sweep's seeds.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    /// Mean mIoU over the seeds, in percent.
    pub miou_percent: f64,
    /// Largest distance from it, in points, that still counts as the same result.
    pub tolerance: f64,
}

/// The most bytes that a sweep's or a configuration's file may have; parsed, it takes a hundred times
/// as many.
pub const FILE_BYTES: u64 = 1 << 20;

/// The most cells, arms times seeds.
const CELLS: usize = 10_000;

/// The most parts of a key that is set.
const DEPTH: usize = 32;

impl Sweep {
    /// Reads a sweep's file.
    ///
    /// # Errors
    ///
    /// A file that cannot be read, and everything [`Sweep::parse`] refuses.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let text = whole_files::read_to_string(path, FILE_BYTES)?;
        Self::parse(&text, &path.display().to_string())
    }

    /// Reads a sweep from TOML; `origin` is what errors call it.
    ///
    /// # Errors
    ///
    /// Text that is not TOML; a key that sweeps do not have (named, with its line and the nearest
    /// known one); no arms or seeds; a name that is empty, used twice or unfit for a file; a
    /// `compare_to` that is no arm; a number that is not finite.
    pub fn parse(text: &str, origin: &str) -> Result<Self> {
        let sweep: Self = from_toml(text, origin)?;
        sweep.check(origin)?;
        Ok(sweep)
    }

    /// Checks what [`Sweep::parse`] checks, of a sweep that was made otherwise.
    ///
    /// # Errors
    ///
    /// As there, but for text that is not a sweep's.
    pub fn check(&self, origin: &str) -> Result<()> {
        self.sound().map_err(|problem| Error::Sweep { origin: origin.to_owned(), problem })
    }

    /// Keeps the named arms only, in the sweep's order; comparisons to others are dropped.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownArm`] for the first name that is no arm; the sweep is then unchanged.
    pub fn keep_arms<S: AsRef<str>>(&mut self, names: &[S]) -> Result<()> {
        for name in names {
            self.arm(name.as_ref())?;
        }
        let kept = |name: &str| names.iter().any(|n| n.as_ref() == name);
        if names.is_empty() {
            let problem = "no arm is left; name at least one".to_owned();
            return Err(Error::Sweep { origin: format!("sweep {}", self.name), problem });
        }
        self.arms.retain(|arm| kept(&arm.name));
        self.compare_to.retain(|name| kept(name));
        Ok(())
    }

    /// Runs every arm with these seeds instead of the sweep's own.
    ///
    /// What the sweep expects is a mean over its own seeds; with others it is no longer comparable,
    /// so `expected` is cleared unless the seeds are the same.
    ///
    /// # Errors
    ///
    /// No seed, or one given twice.
    pub fn keep_seeds(&mut self, seeds: &[u64]) -> Result<()> {
        let cells = self.arms.len().saturating_mul(seeds.len());
        let few = || match cells {
            ..=CELLS => Ok(()),
            _ => Err(format!("{cells} cells; expected at most {CELLS}")),
        };
        check_seeds(seeds)
            .and_then(|()| few())
            .map_err(|problem| Error::Sweep { origin: format!("sweep {}", self.name), problem })?;
        let sorted = |seeds: &[u64]| seeds.iter().copied().collect::<BTreeSet<u64>>();
        if sorted(seeds) != sorted(&self.seeds) {
            self.clear_expectations();
        }
        self.seeds = seeds.to_vec();
        Ok(())
    }

    /// Applies `a.b.c=value` to every arm: to the base, over whatever arms say at that key.
    ///
    /// The value is read as TOML, and as a string where it is not TOML. Since the sweep is another
    /// one now, every arm's `expected` is cleared. Whether the key means anything is decided by
    /// whoever reads the configuration.
    ///
    /// # Errors
    ///
    /// Text without `=`, an empty key, a key below something that is not a table, or a number that
    /// is not finite; the sweep is then unchanged.
    pub fn set(&mut self, change: &str) -> Result<()> {
        let refuse = |problem: String| Error::Set { change: shortened(change), problem };
        let (key, value) = change.split_once('=').ok_or_else(|| {
            refuse("expected KEY=VALUE, for example training.epochs=3".to_owned())
        })?;
        let path: Vec<&str> = key.split('.').map(str::trim).collect();
        if path.len() > DEPTH {
            let parts = path.len();
            return Err(refuse(format!(
                "a key of {parts} parts; configurations have at most {DEPTH}"
            )));
        }
        let value = value_from_text(value.trim());
        check_finite(&value, &mut path.clone()).map_err(refuse)?;

        let mut changed = self.clone();
        set_path(&mut changed.config, &path, value).map_err(refuse)?;
        for arm in &mut changed.arms {
            remove_path(&mut arm.config, &path)
                .map_err(|problem| refuse(format!("in arm {}, {problem}", arm.name)))?;
        }
        changed.clear_expectations();
        *self = changed;
        Ok(())
    }

    /// Every cell, seed by seed and within a seed arm by arm, so that an unfinished sweep already
    /// compares all its arms.
    pub fn cells(&self) -> Vec<Cell> {
        let cell = |seed: u64, arm: &Arm| {
            let mut config = self.config.clone();
            merge(&mut config, &arm.config);
            Cell {
                sweep: self.name.clone(),
                arm: arm.name.clone(),
                seed,
                config: json_from_toml(&Value::Table(config)),
            }
        };
        self.seeds
            .iter()
            .flat_map(|&seed| self.arms.iter().map(move |arm| cell(seed, arm)))
            .collect()
    }

    /// The arm of that name.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownArm`], with the nearest known one.
    pub fn arm(&self, name: &str) -> Result<&Arm> {
        let names = || self.arms.iter().map(|arm| arm.name.as_str());
        self.arms.iter().find(|arm| arm.name == name).ok_or_else(|| Error::UnknownArm {
            sweep: self.name.clone(),
            arm: name.to_owned(),
            nearest: nearest(name, names()).map(str::to_owned),
            known: names().map(str::to_owned).collect(),
        })
    }

    fn clear_expectations(&mut self) {
        for arm in &mut self.arms {
            arm.expected = None;
        }
    }

    fn sound(&self) -> Result<(), String> {
        check_name("name", &self.name)?;
        check_seeds(&self.seeds)?;
        if self.arms.is_empty() {
            return Err("no arms; a sweep needs at least one [[arm]]".to_owned());
        }
        let (arms, seeds) = (self.arms.len(), self.seeds.len());
        if arms.saturating_mul(seeds) > CELLS {
            return Err(format!("{arms} arms with {seeds} seeds; expected at most {CELLS} cells"));
        }
        check_tables(&self.config, &mut vec!["config"])?;
        let mut seen = BTreeSet::new();
        for arm in &self.arms {
            check_name("arm.name", &arm.name)?;
            if !seen.insert(arm.name.as_str()) {
                return Err(format!("two arms are called `{}`", arm.name));
            }
            check_tables(&arm.config, &mut vec!["arm", &arm.name, "config"])?;
            if let Some(Expected { miou_percent, tolerance }) = arm.expected
                && !(miou_percent.is_finite() && tolerance.is_finite() && tolerance >= 0.0)
            {
                return Err(format!(
                    "arm {}: expected = {miou_percent} ± {tolerance}; both must be finite and the \
                     tolerance not negative",
                    arm.name
                ));
            }
        }
        for name in &self.compare_to {
            self.arm(name).map_err(|error| format!("compare_to: {error}"))?;
        }
        Ok(())
    }
}

fn check_seeds(seeds: &[u64]) -> Result<(), String> {
    if seeds.is_empty() {
        return Err("no seeds; expected at least one, as in seeds = [0, 1, 2]".to_owned());
    }
    let mut seen = BTreeSet::new();
    if let Some(twice) = seeds.iter().find(|seed| !seen.insert(**seed)) {
        return Err(format!("seed {twice} is given twice"));
    }
    // A plan is TOML, whose integers have a sign.
    match seeds.iter().find(|seed| i64::try_from(**seed).is_err()) {
        Some(large) => Err(format!("seed {large}: expected at most {}", i64::MAX)),
        None => Ok(()),
    }
}

fn check_tables<'a>(table: &'a Table, path: &mut Vec<&'a str>) -> Result<(), String> {
    for (key, value) in table {
        path.push(key);
        check_finite(value, path)?;
        path.pop();
    }
    Ok(())
}

/// Records are JSON, which has no infinities.
fn check_finite<'a>(value: &'a Value, path: &mut Vec<&'a str>) -> Result<(), String> {
    match value {
        Value::Float(x) if !x.is_finite() => {
            Err(format!("{} = {x}: expected a finite number", path.join(".")))
        }
        Value::Array(values) => values.iter().try_for_each(|value| check_finite(value, path)),
        Value::Table(table) => check_tables(table, path),
        _ => Ok(()),
    }
}

/// The beginning of a text that may be long, for a message.
fn shortened(text: &str) -> String {
    const SHOWN: usize = 200;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn value_from_text(text: &str) -> Value {
    // As the value of a one-line document: `3`, `"a"`, `[1, 2]`, `{ kind = "x" }`.
    let parsed = if text.contains('\n') { None } else { format!("v = {text}").parse().ok() };
    parsed
        .and_then(|mut document: Table| document.remove("v"))
        .unwrap_or_else(|| Value::String(text.to_owned()))
}
