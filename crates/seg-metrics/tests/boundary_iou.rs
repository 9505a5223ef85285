//! Boundary IoU: as OpenCV's erosion has it, against a slow twin, and what is refused.
//!
//! `boundary_iou.txt` is what `benches/peers/boundary_iou.py` printed with opencv-python-headless
//! 5.0.0.

mod networks;

use networks::Draws;
use proptest::prelude::*;
use seg_metrics::{AbsentClass, BoundaryCounts, BoundaryIou, Error, IGNORE};

const OPENCV: &str = include_str!("boundary_iou.txt");

struct Set {
    name: &'static str,
    seed: u64,
    share: f64,
    classes: u8,
    sizes: &'static [(usize, usize)],
    tile: usize,
}

/// The sets of the script, in its order.
const SETS: [Set; 6] = [
    set("tiles", 1, 0.02, 4, &[(97, 61), (64, 96)], 16),
    set("thin", 2, 0.005, 3, &[(150, 7), (3, 90), (1, 40), (50, 1), (1, 1), (2, 2)], 5),
    set("wide", 3, 0.1, 5, &[(80, 60), (61, 47)], 30),
    set("noise", 4, 0.02, 6, &[(33, 29)], 1),
    set("halves", 5, 0.05, 2, &[(40, 30), (54, 72)], 12),
    set("one", 8, 0.02, 3, &[(200, 150)], 200),
];

const fn set(
    name: &'static str,
    seed: u64,
    share: f64,
    classes: u8,
    sizes: &'static [(usize, usize)],
    tile: usize,
) -> Set {
    Set { name, seed, share, classes, sizes, tile }
}

/// Labels and predictions, number by number as the script makes them.
fn image(draws: &mut Draws, (width, height): (usize, usize), set: &Set) -> (Vec<u8>, Vec<u8>) {
    let (classes, tile) = (usize::from(set.classes), set.tile);
    let across = width.div_ceil(tile);
    let values: Vec<u8> = (0..across * height.div_ceil(tile))
        .map(|_| match draws.below(8 * classes) {
            value if value >= 7 * classes => IGNORE,
            value => (value % classes) as u8,
        })
        .collect();
    let shift = draws.below(tile) / 2;
    let at = |y: usize, x: usize| values[y / tile * across + x / tile];
    let of = |of: &dyn Fn(usize, usize) -> u8| -> Vec<u8> {
        (0..width * height).map(|pixel| of(pixel / width, pixel % width)).collect()
    };
    let labels = of(&at);
    let mut predictions = of(&|y, x| match at(y, x.saturating_sub(shift)) {
        IGNORE => 0,
        value => value,
    });
    for _ in 0..width * height / 200 {
        let (y, x) = (draws.below(height), draws.below(width));
        predictions[y * width + x] = draws.below(classes + 1) as u8;
    }
    (labels, predictions)
}

#[test]
fn counts_are_those_of_opencv() {
    let mut lines = OPENCV.lines();
    for set in SETS {
        let mut draws = Draws(set.seed);
        let mut counts = BoundaryIou::new(set.classes.into(), set.share).unwrap();
        for &size in set.sizes {
            let (labels, predictions) = image(&mut draws, size, &set);
            counts.add(&labels, &predictions, size.0).unwrap();
        }
        for (class, of) in counts.classes().iter().enumerate() {
            let BoundaryCounts { labelled, predicted, hits } = of;
            // Shares print alike in both languages: the shortest digits that read back the same.
            let iou = of.iou().map_or("nan".to_owned(), |iou| format!("{iou:?}"));
            let name = set.name;
            let ours = format!("{name} | {class} | {labelled} | {predicted} | {hits} | {iou}");
            assert_eq!(Some(&*ours), lines.next());
        }
    }
    assert_eq!(lines.next(), None);
}

/// From the definition: a pixel of a mask is near its edge if one within the distance, sideways or
/// upright or both, is not of the mask.
fn naive(map: &[u8], width: usize, class: u8, distance: usize) -> Vec<bool> {
    let (w, h, d) = (width as isize, (map.len() / width) as isize, distance as isize);
    let is_of = |y: isize, x: isize| {
        (0..h).contains(&y) && (0..w).contains(&x) && map[(y * w + x) as usize] == class
    };
    let near = |y, x| (y - d..=y + d).any(|v| (x - d..=x + d).any(|u| !is_of(v, u)));
    (0..w * h).map(|at| (at / w, at % w)).map(|(y, x)| is_of(y, x) && near(y, x)).collect()
}

/// An image of blocks of 1 to 4 pixels: classes, its width, labels and predictions.
fn blocks() -> impl Strategy<Value = (u8, usize, Vec<u8>, Vec<u8>)> {
    (1u8..4, 1usize..24, 1usize..24, 1usize..5).prop_flat_map(|(classes, width, height, side)| {
        let across = width.div_ceil(side);
        let of = |value: BoxedStrategy<u8>| {
            let values = proptest::collection::vec(value, across * height.div_ceil(side));
            values.prop_map(move |values| {
                let at =
                    |pixel: usize| values[pixel / width / side * across + pixel % width / side];
                Vec::from_iter((0..width * height).map(at))
            })
        };
        let label = prop_oneof![6 => 0..classes, 1 => Just(IGNORE)].boxed();
        let prediction = prop_oneof![6 => 0..classes, 1 => classes..=255].boxed();
        (Just(classes), Just(width), of(label), of(prediction))
    })
}

proptest! {
    #[test]
    fn counts_are_those_of_the_naive_loop(
        (classes, width, labels, predictions) in blocks(), share in 0.001..0.4f64,
    ) {
        let mut counts = BoundaryIou::new(classes.into(), share).unwrap();
        counts.add(&labels, &predictions, width).unwrap();
        let distance = counts.distance_px(width, labels.len() / width);
        for class in 0..classes {
            let near = |map| naive(map, width, class, distance);
            let (of_labels, of_predictions) = (near(&labels), near(&predictions));
            let counted = |is: &dyn Fn(usize) -> bool| {
                (0..labels.len()).filter(|at| labels[*at] != IGNORE && is(*at)).count() as u64
            };
            let want = BoundaryCounts {
                labelled: counted(&|at| of_labels[at]),
                predicted: counted(&|at| of_predictions[at]),
                hits: counted(&|at| of_labels[at] && of_predictions[at]),
            };
            prop_assert_eq!(counts.classes()[usize::from(class)], want);
        }
        let (mut again, sparse) = (BoundaryIou::new(classes.into(), share).unwrap(), counts.to_sparse());
        again.add_sparse(&sparse).unwrap();
        prop_assert_eq!(&again, &counts);
        let mut sums = vec![0.0; BoundaryIou::counts_of(classes.into())];
        sparse.iter().for_each(|(index, n)| sums[*index as usize] = *n as f64);
        for absent in [AbsentClass::Skip, AbsentClass::Zero] {
            prop_assert_eq!(BoundaryIou::miou_of_sums(&sums, absent), counts.miou(absent));
        }
        // Twice the image is twice the counts, and the same scores.
        let mut twice = counts.clone();
        twice.merge(&counts).unwrap();
        prop_assert_eq!(twice.class_iou(), counts.class_iou());
        let twice_the_hits: Vec<u64> = counts.classes().iter().map(|of| 2 * of.hits).collect();
        prop_assert_eq!(Vec::from_iter(twice.classes().iter().map(|of| of.hits)), twice_the_hits);
    }
}

#[test]
fn absent_classes_are_left_out_or_count_nothing() {
    let mut counts = BoundaryIou::new(3, 0.02).unwrap();
    assert_eq!(counts.miou(AbsentClass::Zero), None);
    counts.add(&[0, 0, 1, 1], &[0, 1, 1, 1], 4).unwrap();
    assert_eq!(counts.class_iou(), [Some(0.5), Some(2.0 / 3.0), None]);
    assert_eq!(counts.miou(AbsentClass::Skip), Some((0.5 + 2.0 / 3.0) / 2.0));
    assert_eq!(counts.miou(AbsentClass::Zero), Some((0.5 + 2.0 / 3.0) / 3.0));
}

#[test]
fn distances_are_rounded_as_the_authors_round_them() {
    let of = |share| BoundaryIou::new(1, share).unwrap();
    let photographs = of(BoundaryIou::OF_PHOTOGRAPHS);
    // CamVid and COCO's largest; 16.0 for 640×480.
    assert_eq!(photographs.distance_px(480, 360), 12);
    assert_eq!(photographs.distance_px(640, 480), 16);
    assert_eq!(of(BoundaryIou::OF_CITYSCAPES).distance_px(2048, 1024), 11);
    // Halves go to the even number; nothing is nearer than a pixel.
    assert_eq!(of(0.05).distance_px(30, 40), 2);
    assert_eq!(of(0.05).distance_px(42, 56), 4);
    assert_eq!(of(0.005).distance_px(3, 4), 1);
}

#[test]
fn what_cannot_be_counted_is_refused() {
    let mut counts = BoundaryIou::new(2, 0.02).unwrap();
    let before = counts.clone();
    let refused = |error: seg_metrics::Result<()>| error.unwrap_err().to_string();
    assert_eq!(
        refused(counts.add(&[0, 1], &[0], 2)),
        "2 labels but 1 predictions; expected one prediction a label"
    );
    assert_eq!(
        refused(counts.add(&[0; 6], &[0; 6], 4)),
        "6 pixels are no image of width 4; expected whole rows"
    );
    assert!(counts.add(&[0], &[0], 0).is_err());
    assert_eq!(
        refused(counts.add(&[0, 2], &[0, 0], 2)),
        "label 2 at position 1, but the classes are 0 to 1; 255 is ignored"
    );
    assert_eq!(counts, before);
    counts.add(&[], &[], 0).expect("an image of nothing");
    assert_eq!(counts, before);
    for share in [0.0, -0.02, 1.5, f64::NAN, f64::INFINITY] {
        let error = BoundaryIou::new(2, share).unwrap_err().to_string();
        assert!(error.ends_with("expected a share above 0, at most 1"), "{error}");
    }
    let other = BoundaryIou::new(2, 0.005).unwrap();
    assert_eq!(
        refused(counts.merge(&other)),
        "boundaries of 0.005 of the image's diagonal cannot be added to boundaries of 0.02"
    );
    let error = counts.add_sparse(&[(0, 1), (6, 1)]);
    assert_eq!(refused(error), "count 6, but there are counts 0 to 5");
    assert_eq!(counts, before);
    let error = counts.merge(&BoundaryIou::new(3, 0.02).unwrap());
    assert_eq!(error, Err(Error::Classes { left: 2, right: 3 }));
}
