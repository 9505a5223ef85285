//! The arms of a report that share their test images.

use std::path::PathBuf;

use run_record::Record;

use super::Report;
use crate::compare::Arm;
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

    /// The test images that are shown.
    pub(super) fn shown(&self) -> impl Iterator<Item = usize> + use<> {
        pictures::shown(self.record.images.len())
    }
}
