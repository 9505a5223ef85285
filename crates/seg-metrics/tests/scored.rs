//! Comparisons by any score of summed counts: against those of mIoU, and what is refused.

mod networks;

use networks::{Image, networks, runs};
use seg_metrics::stats::{Bootstrap, Run, Scope, compare, compare_scores, compare_stills};
use seg_metrics::{AbsentClass, Calibration, Error};

const CLASSES: usize = 4;
const BOOTSTRAP: Bootstrap = Bootstrap { resamples: 130, seed: 5 };

/// mIoU of the cells of a confusion matrix, by the definition.
fn miou(cells: &[f64]) -> Option<f64> {
    let rows = || cells.chunks_exact(CLASSES + 1);
    let iou = (0..CLASSES).map(|class| {
        let labelled: f64 = cells[class * (CLASSES + 1)..][..CLASSES + 1].iter().sum();
        let predicted: f64 = rows().map(|row| row[class]).sum();
        let hits = cells[class * (CLASSES + 2)];
        let union = labelled + predicted - hits;
        (union > 0.0).then(|| hits / union)
    });
    let iou = Vec::from_iter(iou.flatten());
    let n = iou.len() as f64;
    (!iou.is_empty()).then(|| iou.into_iter().sum::<f64>() / n)
}

#[test]
fn by_miou_it_is_the_comparison_by_miou() {
    for (seeds, drives) in [(1, None), (3, None), (3, Some(&[12, 28][..])), (2, Some(&[4; 10]))] {
        let arms = networks(CLASSES, seeds, 40, 11);
        let [first, second] = arms.each_ref().map(|arm| runs(arm));
        let skip = AbsentClass::Skip;
        let by_miou = match drives {
            None => compare(CLASSES, skip, &first, &second, &BOOTSTRAP),
            Some(drives) => compare_stills(CLASSES, skip, &first, &second, drives, &BOOTSTRAP),
        };
        let (want, cells) = (by_miou.unwrap(), CLASSES * (CLASSES + 1));
        let found = compare_scores(cells, miou, &first, &second, drives, &BOOTSTRAP).unwrap();
        assert_eq!(found.difference, want.miou);
        assert_eq!(found.sampling, want.sampling);
        assert_eq!((found.scope(), found.seeds, found.images), (want.scope(), seeds, 40));
        assert_eq!(found.sentence("mIoU", "dense", "dag"), want.sentence("dense", "dag"));
    }
}

#[test]
fn calibration_is_compared_as_well() {
    // The second arm is always surer than it is right.
    let image = |sure: f32| {
        move |image: usize| -> Image {
            let mut counts = Calibration::new(2, 10).unwrap();
            let right = 6 + image % 3;
            let labels: Vec<u8> = (0..10).map(|at| u8::from(at >= right)).collect();
            counts.add(&labels, &[0; 10], &[sure; 10]).unwrap();
            counts.to_sparse()
        }
    };
    let [first, second] = [0.7, 0.9].map(|sure| Vec::from_iter((0..30).map(image(sure))));
    let run = |images| [Run { seed: 0, images }];
    let found = compare_scores(
        Calibration::counts_of(10),
        Calibration::ece_of_sums,
        &run(&first),
        &run(&second),
        None,
        &BOOTSTRAP,
    );
    let found = found.unwrap();
    assert!((found.difference.estimate + 0.2).abs() < 1e-6, "{found:?}");
    assert!(found.difference.high() < -0.1, "{found:?}");
    assert_eq!(found.scope(), Scope::TheseTwoNetworks);
}

#[test]
fn what_cannot_be_scored_is_refused() {
    let images: [Image; 3] = [vec![(0, 4)], vec![(1, 2)], vec![(0, 1), (1, 1)]];
    let run = [Run { seed: 0, images: &images }];
    let with = |counts, score: fn(&[f64]) -> Option<f64>, drives: Option<&[usize]>| {
        compare_scores(counts, score, &run, &run, drives, &BOOTSTRAP).unwrap_err()
    };
    let first = |sums: &[f64]| Some(sums[0]);
    assert_eq!(with(1, first, None).to_string(), "count 1, but there are counts 0 to 0");
    let nothing = with(2, |_| None, None);
    assert_eq!(nothing.to_string(), "3 images leave nothing to score");
    assert!(matches!(with(2, first, Some(&[1])), Error::Drives { .. }));
    // Resamples without a score are passed over.
    let only_of_all = |sums: &[f64]| (sums == [5.0, 3.0]).then_some(1.0);
    let few = Bootstrap { resamples: 100, seed: 3 };
    let found = compare_scores(2, only_of_all, &run, &run, None, &few).unwrap();
    assert_eq!((found.difference.estimate, found.difference.half_width), (0.0, 0.0));
}
