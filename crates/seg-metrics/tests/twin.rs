//! The fast paths against the obvious ones, on images made of regions and on noise.

use proptest::prelude::*;
use seg_metrics::{AbsentClass, ConfusionMatrix, IGNORE};

/// Pixels counted one at a time into a full square of byte values.
struct Naive {
    classes: usize,
    counts: Vec<Vec<u64>>,
}

impl Naive {
    fn new(classes: usize, truth: &[u8], prediction: &[u8]) -> Self {
        let mut counts = vec![vec![0; 256]; 256];
        for (&t, &p) in truth.iter().zip(prediction) {
            if t != IGNORE {
                counts[usize::from(t)][usize::from(p)] += 1;
            }
        }
        Self { classes, counts }
    }

    /// From the definition: pixels in both, over pixels in either.
    fn iou(&self, class: usize) -> Option<f64> {
        let (mut both, mut either) = (0, 0);
        for t in 0..self.classes {
            for p in 0..256 {
                if t == class && p == class {
                    both += self.counts[t][p];
                }
                if t == class || p == class {
                    either += self.counts[t][p];
                }
            }
        }
        (either > 0).then(|| both as f64 / either as f64)
    }
}

/// Labels and predictions in runs, as regions make them, with ignored and outside pixels.
fn pixels(classes: u8) -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let truth = prop_oneof![6 => 0..classes, 1 => Just(IGNORE)];
    let prediction = prop_oneof![6 => 0..classes, 1 => classes..=255];
    proptest::collection::vec((truth, prediction, 1usize..40), 0..60).prop_map(|runs| {
        let spread = |pick: fn(&(u8, u8, usize)) -> u8| {
            runs.iter().flat_map(|run| std::iter::repeat_n(pick(run), run.2)).collect()
        };
        (spread(|run| run.0), spread(|run| run.1))
    })
}

fn image() -> impl Strategy<Value = (usize, Vec<u8>, Vec<u8>)> {
    (1u8..12).prop_flat_map(|classes| {
        pixels(classes).prop_map(move |(truth, prediction)| (classes.into(), truth, prediction))
    })
}

fn counted(classes: usize, truth: &[u8], prediction: &[u8]) -> ConfusionMatrix {
    let mut matrix = ConfusionMatrix::new(classes);
    matrix.add(truth, prediction).expect("labels are classes");
    matrix
}

proptest! {
    #[test]
    fn counts_are_those_of_the_naive_loop((classes, truth, prediction) in image()) {
        let matrix = counted(classes, &truth, &prediction);
        let naive = Naive::new(classes, &truth, &prediction);
        for t in 0..classes {
            for p in 0..classes {
                prop_assert_eq!(matrix.count(t, p), naive.counts[t][p]);
            }
            prop_assert_eq!(matrix.outside(t), naive.counts[t][classes..].iter().sum::<u64>());
            prop_assert_eq!(matrix.class_iou()[t], naive.iou(t));
        }
        let labelled = truth.iter().filter(|t| **t != IGNORE).count();
        prop_assert_eq!(matrix.total(), labelled as u64);
    }

    #[test]
    fn scores_are_shares((classes, truth, prediction) in image()) {
        let matrix = counted(classes, &truth, &prediction);
        let scores = [
            matrix.miou(AbsentClass::Skip),
            matrix.miou(AbsentClass::Zero),
            matrix.pixel_accuracy(),
            matrix.mean_class_accuracy(),
            matrix.frequency_weighted_iou(),
        ];
        for score in scores {
            prop_assert_eq!(score.is_some(), matrix.total() > 0);
            prop_assert!((0.0..=1.0 + 1e-12).contains(&score.unwrap_or(0.0)), "{:?}", score);
        }
        // Skipping classes that would count 0 can only raise a mean.
        prop_assert!(scores[0] >= scores[1]);
    }

    #[test]
    fn parts_add_up_to_the_whole((classes, truth, prediction) in image(), cut in 0.0..1.0f64) {
        let cut = (cut * truth.len() as f64) as usize;
        let whole = counted(classes, &truth, &prediction);
        let first = counted(classes, &truth[..cut], &prediction[..cut]);
        let mut merged = counted(classes, &truth[cut..], &prediction[cut..]);
        merged.merge(&first).unwrap();
        prop_assert_eq!(&merged, &whole);
        let again = ConfusionMatrix::from_sparse(classes, &whole.to_sparse()).unwrap();
        prop_assert_eq!(&again, &whole);
        prop_assert!(whole.to_sparse().iter().all(|(_, count)| *count > 0));
    }
}
