//! Bands around class borders: distances and counts against slow twins, ignored pixels, refusals.

use proptest::prelude::*;
use seg_metrics::{AbsentClass, ConfusionMatrix, Error, IGNORE, Trimap, border_distance};

/// From the definition: the nearest of all pixels of another class.
fn naive(labels: &[u8], width: usize) -> Vec<u32> {
    let square = |one: usize, other: usize| {
        let [(y, x), (v, u)] = [one, other].map(|at| (at / width, at % width));
        (y.abs_diff(v).pow(2) + x.abs_diff(u).pow(2)) as u32
    };
    let of = |at: usize| {
        let is_other = |other: &usize| labels[*other] != IGNORE && labels[*other] != labels[at];
        let others = (0..labels.len()).filter(is_other).map(|other| square(at, other));
        if labels[at] == IGNORE { u32::MAX } else { others.min().unwrap_or(u32::MAX) }
    };
    (0..labels.len()).map(of).collect()
}

/// An image of blocks of 1 to 6 pixels, some of them or many ignored: width, labels, predictions.
fn blocks() -> impl Strategy<Value = (usize, Vec<u8>, Vec<u8>)> {
    let shape = (1usize..30, 1usize..30, 1usize..7, prop_oneof![Just(1u32), Just(20)]);
    shape.prop_flat_map(|(width, height, side, ignored)| {
        let label = prop_oneof![9 => 0u8..4, ignored => Just(IGNORE)];
        let across = width.div_ceil(side);
        let labels = proptest::collection::vec(label, across * height.div_ceil(side));
        let labels = labels.prop_map(move |values| {
            let at = |pixel: usize| values[pixel / width / side * across + pixel % width / side];
            Vec::from_iter((0..width * height).map(at))
        });
        (Just(width), labels, proptest::collection::vec(0u8..6, width * height))
    })
}

proptest! {
    #[test]
    fn distances_are_those_of_the_naive_loop((width, labels, _) in blocks()) {
        prop_assert_eq!(border_distance(&labels, width).unwrap(), naive(&labels, width));
    }

    #[test]
    fn bands_are_those_of_the_naive_loop(
        (width, labels, predictions) in blocks(),
        widths in proptest::collection::btree_set(1u32..20, 1..6),
    ) {
        let widths = Vec::from_iter(widths);
        let mut trimap = Trimap::new(4, &widths).unwrap();
        trimap.add(&labels, &predictions, width).unwrap();
        let distances = naive(&labels, width);
        let of = |is_in: &dyn Fn(u32) -> bool| {
            let ignore_others = |(label, distance): (&u8, &u32)| {
                if is_in(*distance) { *label } else { IGNORE }
            };
            let labels: Vec<u8> = labels.iter().zip(&distances).map(ignore_others).collect();
            let mut matrix = ConfusionMatrix::new(4);
            matrix.add(&labels, &predictions).unwrap();
            matrix
        };
        for (band, width) in widths.iter().enumerate() {
            prop_assert_eq!(trimap.band(band).unwrap(), of(&|distance| distance <= width * width));
        }
        let last = *widths.last().unwrap();
        prop_assert_eq!(trimap.beyond(), &of(&|distance| distance > last * last));
        prop_assert_eq!(trimap.all(), of(&|_| true));
        prop_assert_eq!(trimap.band(widths.len()), None);

        // Twice the image is twice the counts.
        let mut twice = trimap.clone();
        twice.merge(&trimap).unwrap();
        trimap.add(&labels, &predictions, width).unwrap();
        prop_assert_eq!(twice, trimap);
    }
}

#[test]
fn ignored_pixels_are_no_border_but_take_up_room() {
    const I: u8 = IGNORE;
    // A strip between two classes is crossed; one within a class or at the rim is nothing.
    let distances = border_distance(&[I, 0, 0, I, 0, I, I, 1, 1, I, I], 11).unwrap();
    let squares = [Some(36), Some(25), None, Some(9), None, None, Some(9), Some(16)];
    let found = distances[1..9].iter().map(|square| Some(*square).filter(|at| *at != u32::MAX));
    assert_eq!(Vec::from_iter(found), squares);
    // One class, whatever else is ignored, has no border.
    assert_eq!(border_distance(&[0, I, 0, 0], 2).unwrap(), [u32::MAX; 4]);
    assert_eq!(border_distance(&[I; 4], 2).unwrap(), [u32::MAX; 4]);
    let mut trimap = Trimap::new(2, &[u32::MAX]).unwrap();
    trimap.add(&[0, I, 0, 0], &[0, 0, 1, 0], 2).unwrap();
    assert_eq!(trimap.band(0).unwrap().total(), 0);
    assert_eq!(trimap.beyond().total(), 3);
}

#[test]
fn distances_are_as_the_crow_flies() {
    // A pixel of class 1 in a corner: 3 to the right and 4 down is 5 away.
    let (width, height) = (8, 6);
    let mut labels = vec![0; width * height];
    labels[0] = 1;
    let distances = border_distance(&labels, width).unwrap();
    assert_eq!(distances[4 * width + 3], 25);
    assert_eq!(distances[0], 1);
    let mut trimap = Trimap::new(2, &[4, 5]).unwrap();
    trimap.add(&labels, &vec![0; labels.len()], width).unwrap();
    let [narrow, wide] = [0, 1].map(|band| trimap.band(band).unwrap());
    // Of the quarter disc of radius 4, 5 · 5 - 8 pixels; of radius 5, 26.
    assert_eq!((narrow.total(), wide.total()), (17, 26));
    assert_eq!(narrow.pixel_accuracy(), Some(16.0 / 17.0));
    assert_eq!(narrow.miou(AbsentClass::Skip), Some(16.0 / 17.0 / 2.0));
}

#[test]
fn what_cannot_be_counted_is_refused() {
    for widths in [&[][..], &[0, 1], &[2, 2], &[5, 3]] {
        let error = Trimap::new(2, widths).unwrap_err().to_string();
        assert!(error.ends_with("expected one at least, rising from 1 pixel or more"), "{error}");
    }
    let mut trimap = Trimap::new(2, &[1, 2]).unwrap();
    let before = trimap.clone();
    let refused = |error: seg_metrics::Result<()>| error.unwrap_err().to_string();
    assert_eq!(
        refused(trimap.add(&[0, 1], &[0], 2)),
        "2 labels but 1 predictions; expected one prediction a label"
    );
    assert_eq!(
        refused(trimap.add(&[0, 3, 1], &[0, 0, 0], 3)),
        "label 3 at position 1, but the classes are 0 to 1; 255 is ignored"
    );
    assert_eq!(
        refused(trimap.add(&[0; 5], &[0; 5], 3)),
        "5 pixels are no image of width 3; expected whole rows"
    );
    assert_eq!(trimap, before);
    trimap.add(&[], &[], 0).expect("an image of nothing");
    assert_eq!(trimap, before);
    let other = Trimap::new(2, &[1, 3]).unwrap();
    assert_eq!(
        refused(trimap.merge(&other)),
        "bands of the widths [1, 3] cannot be added to bands of [1, 2]"
    );
    let other = Trimap::new(3, &[1, 2]).unwrap();
    assert_eq!(trimap.merge(&other), Err(Error::Classes { left: 2, right: 3 }));
}
