//! Scores computed by hand, and the edges: nothing labelled, nothing right, nothing there.

use seg_metrics::{AbsentClass, ConfusionMatrix, Error, IGNORE, Protocol};

/// Labels 0 0 0 1 1 2 against 0 0 1 1 3 2 in four classes; class 3 is predicted once, never true.
fn example() -> ConfusionMatrix {
    let mut matrix = ConfusionMatrix::new(4);
    matrix.add(&[0, 0, 0, 1, 1, 2], &[0, 0, 1, 1, 3, 2]).expect("labels are classes");
    matrix
}

fn close(got: Option<f64>, want: f64) {
    let got = got.expect("a score");
    assert!((got - want).abs() < 1e-12, "got {got}, want {want}");
}

#[test]
fn every_score_by_hand() {
    let matrix = example();
    // IoU: 2/3; 1/(2 + 2 - 1); 1/1; 0/1, present because it was predicted.
    assert_eq!(matrix.class_iou(), [Some(2.0 / 3.0), Some(1.0 / 3.0), Some(1.0), Some(0.0)]);
    close(matrix.miou(AbsentClass::Skip), 0.5);
    close(matrix.miou(AbsentClass::Zero), 0.5);
    close(matrix.pixel_accuracy(), 4.0 / 6.0);
    // Class 3 is not labelled, so nothing of it could be found.
    close(matrix.mean_class_accuracy(), (2.0 / 3.0 + 1.0 / 2.0 + 1.0) / 3.0);
    close(matrix.frequency_weighted_iou(), (3.0 * (2.0 / 3.0) + 2.0 * (1.0 / 3.0) + 1.0) / 6.0);
    assert_eq!((matrix.total(), matrix.labelled(0), matrix.predicted(1)), (6, 3, 2));
    assert_eq!(matrix.class_precision(), [Some(1.0), Some(0.5), Some(1.0), Some(0.0)]);
    assert_eq!(matrix.class_recall(), [Some(2.0 / 3.0), Some(0.5), Some(1.0), None]);
    close(matrix.ade20k_score(), (4.0 / 6.0 + 0.5) / 2.0);
}

#[test]
fn an_absent_class_splits_the_protocols() {
    let mut matrix = ConfusionMatrix::new(2);
    matrix.add(&[0, 0], &[0, 0]).unwrap();
    let zero = [Protocol::Ade20k, Protocol::PascalContext59];
    for protocol in Protocol::ALL {
        let want = if zero.contains(&protocol) { 0.5 } else { 1.0 };
        assert_eq!(protocol.headline_miou(&matrix), Some(want), "{protocol}");
    }
}

#[test]
fn nothing_labelled_has_no_score() {
    let mut ignored = ConfusionMatrix::new(3);
    ignored.add(&[IGNORE; 4], &[0, 1, 2, 9]).unwrap();
    for matrix in [ConfusionMatrix::new(3), ignored, ConfusionMatrix::new(0)] {
        assert_eq!(matrix.total(), 0);
        assert_eq!(matrix.miou(AbsentClass::Skip), None);
        assert_eq!(matrix.miou(AbsentClass::Zero), None);
        assert_eq!(matrix.pixel_accuracy(), None);
        assert_eq!(matrix.mean_class_accuracy(), None);
        assert_eq!(matrix.frequency_weighted_iou(), None);
        assert_eq!(matrix.ade20k_score(), None);
        assert!(matrix.class_iou().iter().all(Option::is_none));
    }
}

#[test]
fn a_prediction_outside_is_a_miss_and_nobodys_false_alarm() {
    let mut matrix = ConfusionMatrix::new(2);
    matrix.add(&[0, 0, 0, 1], &[0, 7, IGNORE, 1]).unwrap();
    assert_eq!((matrix.outside(0), matrix.outside(1)), (2, 0));
    assert_eq!(matrix.class_iou(), [Some(1.0 / 3.0), Some(1.0)]);
    assert_eq!(matrix.pixel_accuracy(), Some(0.5));
    assert_eq!(matrix.count(0, 2), 0, "no class, so no column of its own");
}

#[test]
fn a_label_that_is_no_class_is_named_and_nothing_is_counted() {
    let mut matrix = ConfusionMatrix::new(11);
    let error = matrix.add(&[0, 10, IGNORE, 11, 12], &[0; 5]).unwrap_err();
    assert_eq!(error, Error::TruthValue { value: 11, position: 3, classes: 11 });
    assert_eq!(
        error.to_string(),
        "label 11 at position 3, but the classes are 0 to 10; 255 is ignored"
    );
    assert_eq!(matrix, ConfusionMatrix::new(11));
}

#[test]
fn lengths_and_classes_must_agree() {
    let mut matrix = ConfusionMatrix::new(2);
    assert_eq!(
        matrix.add(&[0, 1], &[0]).unwrap_err().to_string(),
        "2 labels but 1 predictions; expected one prediction a label"
    );
    assert_eq!(matrix.merge(&ConfusionMatrix::new(3)), Err(Error::Classes { left: 2, right: 3 }));
    assert_eq!(
        ConfusionMatrix::from_sparse(2, &[(6, 1)]).unwrap_err().to_string(),
        "cell 6, but a matrix of 2 classes has cells 0 to 5"
    );
}

#[test]
fn counts_pass_what_a_float_can_count() {
    // f32 stops at 2^24 and u32 at 2^32; a Cityscapes split has 10^9 pixels.
    let matrix = ConfusionMatrix::from_sparse(1, &[(0, 1 << 33), (0, 1)]).unwrap();
    assert_eq!(matrix.count(0, 0), (1 << 33) + 1);
}

#[test]
fn a_protocol_says_what_it_counts() {
    for protocol in Protocol::ALL {
        let rule = protocol.rule();
        let absent = match protocol.absent_class() {
            AbsentClass::Skip => "is left out of means",
            AbsentClass::Zero => "counts as 0",
        };
        assert!(rule.starts_with(protocol.name()) && rule.contains(absent), "{rule}");
        assert!(rule.contains(protocol.ignored()), "{rule}");
        if let Some(classes) = protocol.classes() {
            assert!(rule.contains(&format!(" {classes} classes")), "{rule}");
        }
    }
}

#[test]
fn protocols_are_known_by_their_names() {
    for protocol in Protocol::ALL {
        assert_eq!(protocol.to_string().parse(), Ok(protocol));
    }
    let error = "pascal-context".parse::<Protocol>().unwrap_err().to_string();
    assert!(error.starts_with("no protocol is called `pascal-context`; known are camvid, "));
}

#[test]
fn a_cell_may_take_any_number_of_pixels() {
    // Counters of 16 bits carry at 65,536; two regions, one of whole blocks and one of odd ends.
    let (first, second) = (70_001, 200_003);
    let mut truth = vec![0; first];
    truth.extend(vec![1; second]);
    let mut prediction = vec![1; first];
    prediction.extend((0..second).map(|i| if i % 3 == 0 { 9 } else { 1 }));
    let mut matrix = ConfusionMatrix::new(2);
    matrix.add(&truth, &prediction).unwrap();
    assert_eq!(matrix.to_sparse(), [(1, 70_001), (4, 133_335), (5, 66_668)]);
    // 65,536 wrong labels leave a counter of 16 bits at 0, and are wrong all the same.
    let error = matrix.add(&vec![7; 1 << 16], &vec![0; 1 << 16]).unwrap_err();
    assert_eq!(error, Error::TruthValue { value: 7, position: 0, classes: 2 });
}
