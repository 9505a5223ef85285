//! The arms of a report that share their test images.

use std::path::{Path, PathBuf};

use run_record::Record;

use super::{Photographs, Report};
use crate::compare::Arm;
use crate::config::CellConfig;
use crate::pictures;

/// A test split, with the arms that are scored on it.
pub(super) struct PicturedSet<'a> {
    /// Where its pictures are.
    pub(super) folder: PathBuf,
    /// The first of its records.
    pub(super) record: &'a Record,
    pub(super) arms: Vec<&'a Arm<'a>>,
}

impl<'a> PicturedSet<'a> {
    /// All of a report, in the order of their first arms.
    pub(super) fn all(report: &'a Report<'_>) -> Vec<Self> {
        let mut sets: Vec<Self> = Vec::new();
        for arm in &report.results.arms {
            let Some(&record) = arm.records.first() else { continue };
            let folder = report.out_dir.join(pictures::folder(&record.dataset));
            match sets.iter_mut().find(|set| set.folder == folder) {
                Some(set) => set.arms.push(arm),
                None => sets.push(Self { folder, record, arms: vec![arm] }),
            }
        }
        sets
    }

    /// What the pictures of an arm end with: the cell of seed 0 has them.
    pub(super) fn ending(arm: &Arm<'_>) -> Option<String> {
        let pictured = arm.records.iter().find(|record| record.cell.seed == 0)?;
        Some(pictured.cell.file_stem())
    }

    /// The pictures that its cells drew, by their paths below the folder.
    fn drawn(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        for index in self.shown() {
            files.extend(["image", "truth"].map(|of| PathBuf::from(format!("{index}-{of}.png"))));
            for arm in &self.arms {
                let Some(ending) = Self::ending(arm) else { continue };
                let file = format!("{index}-{ending}.png");
                files.push(Path::new("errors").join(&file));
                if has_attention(arm) {
                    files.push(Path::new("attention").join(&file));
                }
                files.push(file.into());
            }
        }
        files
    }

    /// A line for each picture that its cells drew and that cannot be shown any more; none where there
    /// are no pictures at all, since records may be reported without, and none for photographs where
    /// these are left out.
    pub(super) fn lost(&self, photographs: Photographs) -> Vec<String> {
        if !self.folder.is_dir() {
            return Vec::new();
        }
        let line = |file: PathBuf| {
            let path = self.folder.join(&file);
            let why = match path.exists() {
                true => format!("{:#}", image::open(&path).err()?),
                false => "it is not there".to_owned(),
            };
            Some(format!("{}: {why}", file.display()))
        };
        let is_wanted = |file: &PathBuf| {
            let is_photograph =
                file.starts_with("attention") || file.to_string_lossy().ends_with("-image.png");
            photographs == Photographs::Shown || !is_photograph
        };
        self.drawn().into_iter().filter(is_wanted).filter_map(line).collect()
    }

    /// The test images that are shown.
    pub(super) fn shown(&self) -> impl Iterator<Item = usize> + use<> {
        pictures::shown(self.record.images.len())
    }
}

/// Whether an arm has attention to be drawn.
fn has_attention(arm: &Arm<'_>) -> bool {
    let config = arm.records.first().and_then(|r| CellConfig::from_value(&r.cell.config).ok());
    config.is_some_and(|config| config.model.context.cell.score().is_some())
}
