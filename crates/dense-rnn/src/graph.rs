//! Which units precede one.

use std::ops::Range;

/// The predecessors of unit `(i, j)`, seen from a corner-to-corner direction.
///
/// Source: the DAG-RNN of Shuai, Zuo, Wang & Wang, *Scene segmentation with DAG-recurrent neural
/// networks*, TPAMI 2018 ([`Dag4`](Self::Dag4), [`Dag8`](Self::Dag8)); Fan, Chu, Latecki & Ling,
/// *Scene parsing via dense recurrent neural networks with attentional selection*, WACV 2019
/// ([`Dense`](Self::Dense)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Graph {
    /// The neighbours above and before, where they exist.
    Dag4,
    /// Those and the diagonal one between them.
    Dag8,
    /// Every unit of the closed quadrant between the corner and `(i, j)`, without `(i, j)`.
    Dense,
}

impl Graph {
    /// How many predecessors `(i, j)` has.
    pub fn count(self, (i, j): (usize, usize)) -> usize {
        match self {
            Self::Dag4 => usize::from(i > 0) + usize::from(j > 0),
            Self::Dag8 => usize::from(i > 0) + usize::from(j > 0) + usize::from(i > 0 && j > 0),
            Self::Dense => (i + 1) * (j + 1) - 1,
        }
    }

    /// The predecessors of `(i, j)` as runs of unit indices in a grid of width `w`, row by row.
    pub fn predecessors(
        self,
        (i, j): (usize, usize),
        w: usize,
    ) -> impl Iterator<Item = Range<usize>> + Clone {
        let first_row = if self == Self::Dense { 0 } else { i.saturating_sub(1) };
        (first_row..=i).map(move |p| {
            let (start, end) = match (self, p < i) {
                (Self::Dense, true) => (0, j + 1),
                (Self::Dense, false) => (0, j),
                (Self::Dag4, true) => (j, j + 1),
                (Self::Dag8, true) => (j.saturating_sub(1), j + 1),
                (_, false) => (j.saturating_sub(1), j),
            };
            p * w + start..p * w + end
        })
    }
}
