//! The records of a sweep, arm by arm, and how the arms compare: computed once for all tables.

use std::collections::BTreeMap;

use run_record::{Record, Sweep};
use seg_metrics::ConfusionMatrix;
use seg_metrics::stats::Comparison;

use crate::compare::{Arm, compare_arms};

/// What all tables and pages of a sweep are written from.
#[derive(Debug)]
pub struct Results<'r> {
    /// The sweep.
    pub sweep: &'r Sweep,
    /// Its arms that have records, in its order, each by seed.
    pub arms: Vec<Arm<'r>>,
    /// By the arm and the one it is compared with.
    comparisons: BTreeMap<(String, String), anyhow::Result<Comparison>>,
}

/// One arm held against another.
#[derive(Debug)]
pub struct Compared<'a, 'r> {
    /// The first, from which the other is taken.
    pub arm: &'a Arm<'r>,
    /// The other.
    pub base: &'a Arm<'r>,
    /// By how much they differ, or why that cannot be said.
    pub found: &'a anyhow::Result<Comparison>,
}

impl<'r> Results<'r> {
    /// Sorts the records and compares every arm with the sweep's `compare_to`.
    pub fn of(sweep: &'r Sweep, records: &'r [Record]) -> Self {
        let arm = |name: &str| {
            let mut of_arm: Vec<&Record> = records.iter().filter(|r| r.cell.arm == name).collect();
            of_arm.sort_by_key(|record| record.cell.seed);
            Arm { name: name.to_owned(), records: of_arm }
        };
        let arms = sweep.arms.iter().map(|of_sweep| arm(&of_sweep.name));
        let arms: Vec<Arm<'_>> = arms.filter(|arm| !arm.records.is_empty()).collect();
        let mut comparisons = BTreeMap::new();
        for base in arms.iter().filter(|arm| sweep.compare_to.contains(&arm.name)) {
            for arm in arms.iter().filter(|arm| arm.name != base.name) {
                let names = (arm.name.clone(), base.name.clone());
                comparisons.insert(names, compare_arms(arm, base));
            }
        }
        Self { sweep, arms, comparisons }
    }

    /// `arm` minus `base`; `None` where one of them was not run.
    pub fn comparison(&self, arm: &str, base: &str) -> Option<&anyhow::Result<Comparison>> {
        self.comparisons.get(&(arm.to_owned(), base.to_owned()))
    }

    /// Every comparison, in the order of the sweep: base by base, arm by arm.
    pub fn comparisons(&self) -> impl Iterator<Item = Compared<'_, 'r>> {
        self.arms.iter().flat_map(move |base| {
            self.arms.iter().filter_map(move |arm| {
                Some(Compared { arm, base, found: self.comparison(&arm.name, &base.name)? })
            })
        })
    }

    /// All records, arm by arm.
    pub fn records(&self) -> impl Iterator<Item = &'r Record> {
        self.arms.iter().flat_map(|arm| arm.records.iter().copied())
    }

    /// The classes of the first record.
    pub fn classes(&self) -> &'r [String] {
        self.records().next().map_or(&[], |record| &record.dataset.classes)
    }
}

impl Arm<'_> {
    /// A class's IoU in every seed, where it is labelled or predicted.
    pub fn class_iou_percent(&self, class: usize) -> Vec<f64> {
        let of = |record: &&Record| record.metrics.class_iou_percent.get(class).copied().flatten();
        self.records.iter().filter_map(of).collect()
    }

    /// All test images of all seeds in one matrix; `None` if a record's counts are damaged.
    pub fn confusion(&self) -> Option<ConfusionMatrix> {
        let classes = self.records.first()?.dataset.classes.len();
        let mut matrix = (classes < 256).then(|| ConfusionMatrix::new(classes))?;
        for image in self.records.iter().flat_map(|record| &record.images) {
            matrix.add_sparse(&crate::compare::sparse(&image.counts)).ok()?;
        }
        Some(matrix)
    }
}
