//! Calibration: against a slow twin, sums of parts, edges of bins, and what is refused.

use proptest::prelude::*;
use seg_metrics::{Calibration, ClassCalibration, Error, IGNORE};

/// Guo et al., equation 3, bin by bin: right or not and how sure, of every pixel.
fn naive(pixels: &[(bool, f64)], bins: usize) -> Option<f64> {
    let error = |m: usize| {
        let (low, high) = ((m - 1) as f64 / bins as f64, m as f64 / bins as f64);
        // The first bin also has what is not sure at all.
        let inside = |p: f64| (p > low || (m == 1 && p == 0.0)) && p <= high;
        let of_bin: Vec<_> = pixels.iter().filter(|pixel| inside(pixel.1)).collect();
        let n = of_bin.len().max(1) as f64;
        let accuracy = of_bin.iter().filter(|pixel| pixel.0).count() as f64 / n;
        let confidence = of_bin.iter().map(|pixel| pixel.1).sum::<f64>() / n;
        of_bin.len() as f64 / pixels.len() as f64 * (accuracy - confidence).abs()
    };
    (!pixels.is_empty()).then(|| (1..=bins).map(error).sum())
}

/// Labels, and the probabilities of each class at each pixel.
fn pixels() -> impl Strategy<Value = (usize, Vec<u8>, Vec<Vec<f32>>)> {
    (1u8..6, 0usize..60).prop_flat_map(|(classes, n)| {
        let label = prop_oneof![6 => 0..classes, 1 => Just(IGNORE)];
        // Scores far apart and near, so that some probabilities are 0 or 1.
        let scores = proptest::collection::vec(-30.0..30.0f32, usize::from(classes));
        let probabilities = scores.prop_map(|scores| {
            let most = scores.iter().copied().fold(f32::MIN, f32::max);
            let powers: Vec<f32> = scores.iter().map(|score| (score - most).exp()).collect();
            let sum: f32 = powers.iter().sum();
            Vec::from_iter(powers.iter().map(|power| power / sum))
        });
        let labels = proptest::collection::vec(label, n);
        (Just(classes.into()), labels, proptest::collection::vec(probabilities, n))
    })
}

/// Pixel by pixel to plane by plane.
fn planes(classes: usize, pixels: &[Vec<f32>]) -> Vec<f32> {
    (0..classes).flat_map(|class| pixels.iter().map(move |pixel| pixel[class])).collect()
}

fn is_near(found: Option<f64>, want: Option<f64>) -> bool {
    match (found, want) {
        (Some(found), Some(want)) => (found - want).abs() < 1e-9,
        (found, want) => found == want,
    }
}

proptest! {
    #[test]
    fn errors_are_those_of_the_naive_loop(
        (classes, labels, probabilities) in pixels(), bins in 1usize..20,
    ) {
        let best = |pixel: &Vec<f32>| {
            let top = (0..classes).rev().max_by(|a, b| pixel[*a].total_cmp(&pixel[*b])).unwrap();
            (top as u8, pixel[top])
        };
        let (predictions, confidences): (Vec<u8>, Vec<f32>) =
            probabilities.iter().map(best).unzip();
        let counted = Vec::from_iter((0..labels.len()).filter(|at| labels[*at] != IGNORE));

        let mut top = Calibration::new(classes, bins).unwrap();
        top.add(&labels, &predictions, &confidences).unwrap();
        let of_top = counted.iter().map(|at| {
            (labels[*at] == predictions[*at], f64::from(confidences[*at]))
        });
        let want = naive(&Vec::from_iter(of_top), bins);
        prop_assert!(is_near(top.ece(), want), "{:?}, want {want:?}", top.ece());
        let in_bins: u64 = top.bins().iter().map(|bin| bin.pixels).sum();
        prop_assert_eq!(in_bins, counted.len() as u64);

        let mut all = ClassCalibration::new(classes, bins).unwrap();
        all.add(&labels, &planes(classes, &probabilities)).unwrap();
        let of_class = |class: usize| {
            let of = |at: &usize| {
                (usize::from(labels[*at]) == class, f64::from(probabilities[*at][class]))
            };
            naive(&Vec::from_iter(counted.iter().map(of)), bins)
        };
        let want: Option<Vec<f64>> = (0..classes).map(of_class).collect();
        let found = all.class_ece();
        prop_assert_eq!(found.is_some(), want.is_some());
        for (found, want) in found.iter().flatten().zip(want.iter().flatten()) {
            prop_assert!((found - want).abs() < 1e-9, "{found}, want {want}");
        }
        let mean = want.map(|of| of.iter().sum::<f64>() / classes as f64);
        prop_assert!(is_near(all.ece(), mean), "{:?}, want {mean:?}", all.ece());
        let brier = |at: &usize| -> f64 {
            let off = |class: usize| {
                f64::from(probabilities[*at][class]) - f64::from(u8::from(usize::from(labels[*at]) == class))
            };
            (0..classes).map(|class| off(class).powi(2)).sum()
        };
        let sum: f64 = counted.iter().map(brier).sum();
        let want = (!counted.is_empty()).then(|| sum / counted.len() as f64);
        prop_assert!(is_near(all.brier(), want), "{:?}, want {want:?}", all.brier());
    }

    #[test]
    fn parts_add_up_to_the_whole_in_any_order(
        (classes, labels, probabilities) in pixels(), cut in 0.0..1.0f64,
    ) {
        let cut = (cut * labels.len() as f64) as usize;
        let counted = |from: usize, to: usize| {
            let of = &probabilities[from..to];
            let mut all = ClassCalibration::new(classes, 15).unwrap();
            all.add(&labels[from..to], &planes(classes, of)).unwrap();
            let mut top = Calibration::new(classes, 15).unwrap();
            let first = Vec::from_iter(of.iter().map(|pixel| pixel[0]));
            top.add(&labels[from..to], &vec![0; to - from], &first).unwrap();
            (top, all)
        };
        let whole = counted(0, labels.len());
        let (first, last) = (counted(0, cut), counted(cut, labels.len()));
        for (mut one, other) in [(first.clone(), last.clone()), (last, first)] {
            one.0.merge(&other.0).unwrap();
            one.1.merge(&other.1).unwrap();
            prop_assert_eq!(&one, &whole);
        }
        let (mut again, sparse) = (Calibration::new(classes, 15).unwrap(), whole.0.to_sparse());
        again.add_sparse(&sparse).unwrap();
        prop_assert_eq!(&again, &whole.0);
        let mut sums = vec![0.0; Calibration::counts_of(15)];
        sparse.iter().for_each(|(index, n)| sums[*index as usize] = *n as f64);
        prop_assert_eq!(Calibration::ece_of_sums(&sums), whole.0.ece());
    }
}

#[test]
fn edges_belong_to_the_bin_below() {
    let mut calibration = Calibration::new(1, 4).unwrap();
    let confidences = [0.0, 0.25, 0.2500001, 0.5, 0.75, 0.7500001, 1.0, 1.000_005];
    calibration.add(&[0; 8], &[0; 8], &confidences).unwrap();
    let pixels: Vec<u64> = calibration.bins().iter().map(|bin| bin.pixels).collect();
    assert_eq!(pixels, [2, 2, 1, 3]);
    // What rounding made more than 1 is 1.
    let last = calibration.bins()[3];
    let confidence = last.confidence().unwrap();
    assert_eq!(confidence, (2.0 + f64::from(0.7500001f32)) / 3.0);
    assert_eq!(last.accuracy(), Some(1.0));
    // In f32, a fifth is a little more than 1/5.
    let mut calibration = Calibration::new(1, 5).unwrap();
    calibration.add(&[0], &[0], &[0.2]).unwrap();
    assert_eq!(calibration.bins()[1].pixels, 1);
    assert_eq!(
        (calibration.bins()[0].confidence(), calibration.bins()[0].accuracy()),
        (None, None)
    );
}

#[test]
fn a_network_that_is_right_as_often_as_it_says_has_no_error() {
    let mut calibration = Calibration::new(2, 10).unwrap();
    assert_eq!(calibration.ece(), None);
    calibration.add(&[0, 0, 0, 1], &[0; 4], &[0.75; 4]).unwrap();
    assert_eq!(calibration.ece(), Some(0.0));
    // A prediction that is no class is wrong like any other.
    calibration.add(&[1; 4], &[9; 4], &[0.75; 4]).unwrap();
    assert_eq!(calibration.ece(), Some(0.375));
    // What is ignored may be anything.
    calibration.add(&[IGNORE], &[0], &[f32::NAN]).unwrap();
    assert_eq!(calibration.ece(), Some(0.375));
}

#[test]
fn what_cannot_be_counted_is_refused() {
    let refused = |error: seg_metrics::Result<()>| error.unwrap_err().to_string();
    for bins in [0, 1001] {
        let error = format!("{bins} bins; expected 1 to 1000");
        assert_eq!(Calibration::new(2, bins).unwrap_err().to_string(), error);
        assert_eq!(ClassCalibration::new(2, bins).unwrap_err().to_string(), error);
    }
    let mut top = Calibration::new(2, 15).unwrap();
    let before = top.clone();
    let lengths = "2 labels but 1 predictions; expected one prediction a label";
    assert_eq!(refused(top.add(&[0, 1], &[0], &[0.5, 0.5])), lengths);
    assert_eq!(refused(top.add(&[0, 1], &[0, 0], &[0.5])), lengths);
    for wrong in [-0.1, 1.1, f32::NAN, f32::INFINITY] {
        assert_eq!(
            refused(top.add(&[0, 1], &[0, 0], &[0.5, wrong])),
            format!("probability {wrong} at position 1; expected 0 to 1")
        );
    }
    assert!(top.add(&[2], &[0], &[0.5]).is_err());
    assert_eq!(top, before);
    let other = Calibration::new(2, 10).unwrap();
    assert_eq!(refused(top.merge(&other)), "counts in 10 bins cannot be added to counts in 15");
    let other = Calibration::new(3, 15).unwrap();
    assert_eq!(top.merge(&other), Err(Error::Classes { left: 2, right: 3 }));

    let error = top.add_sparse(&[(0, 1), (60, 1)]);
    assert_eq!(refused(error), "count 60, but there are counts 0 to 59");
    assert_eq!(top, before);

    let mut all = ClassCalibration::new(2, 15).unwrap();
    let before = all.clone();
    assert_eq!(
        refused(all.add(&[0, 1], &[0.5; 3])),
        "3 probabilities; expected 2 planes of 2, one for each class"
    );
    let scores = all.add(&[0, 1], &[0.5, 0.9, 0.5, 0.9]);
    assert_eq!(
        refused(scores),
        "the probabilities of the pixel at position 1 sum to 1.8; expected 1: are they scores \
         before softmax, or of some classes only?"
    );
    assert_eq!(
        refused(all.add(&[0, 1], &[0.5, 0.5, 0.5, 2.5])),
        "probability 2.5 at position 3; expected 0 to 1"
    );
    assert!(all.add(&[0, 2], &[0.5; 4]).is_err());
    assert_eq!(all, before);
    all.add(&[], &[]).expect("an image of nothing");
    assert_eq!((all.ece(), all.class_ece(), all.brier()), (None, None, None));
    assert!(all.merge(&ClassCalibration::new(3, 15).unwrap()).is_err());
    assert!(all.merge(&ClassCalibration::new(2, 10).unwrap()).is_err());
}
