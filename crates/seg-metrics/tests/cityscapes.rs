//! Cityscapes' scores against those of its official script, and what is refused.
//!
//! `cityscapes_official.txt` is what `benches/peers/cityscapes_official.py` printed with
//! cityscapesscripts 2.3.0: every ignored id labelled and predicted, classes and categories absent
//! from labels, from predictions and from both, groups, caravans and trailers.

use seg_metrics::cityscapes::{CATEGORIES, Counts, LABELS, look_like_train_ids};
use seg_metrics::{AbsentClass, Error, in_order};

const OFFICIAL: &str = include_str!("cityscapes_official.txt");

const WIDTH: usize = 40;
const HEIGHT: usize = 28;
const TILE: usize = 4;

struct Set {
    name: &'static str,
    seed: u64,
    images: usize,
    labels: Vec<u8>,
    predictions: Vec<u8>,
    groups: &'static [u8],
}

/// The sets of the script, in its order.
fn sets() -> [Set; 4] {
    let absent = [0, 3, 7, 8, 9, 11, 17, 21, 24, 26, 28, 29, 30, 32];
    let absent_predictions = [0, 4, 7, 11, 12, 14, 18, 21, 24, 25, 26, 27, 29, 30, 32];
    let all = Vec::from_iter(0..34);
    let set = |name, (seed, images), labels, predictions, groups| Set {
        name,
        seed,
        images,
        labels,
        predictions,
        groups,
    };
    [
        set("all", (1, 4), all.clone(), all, &[]),
        set("absent", (2, 3), absent.into(), absent_predictions.into(), &[32]),
        set(
            "groups",
            (3, 2),
            vec![7, 11, 23, 24, 26, 29, 30, 33],
            vec![7, 10, 23, 24, 29, 30, 33],
            &[24, 26, 33],
        ),
        set("ignored", (4, 1), vec![0, 4, 6, 9, 14, 29, 30], vec![0, 7, 26, 29, 33], &[]),
    ]
}

/// The script's generator.
struct Draws(u64);

impl Draws {
    fn below(&mut self, n: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }
}

struct Image {
    labels: Vec<u8>,
    instances: Vec<u16>,
    predictions: Vec<u8>,
}

impl Set {
    fn images(&self) -> Vec<Image> {
        let mut draws = Draws(self.seed);
        (0..self.images).map(|_| self.image(&mut draws)).collect()
    }

    fn image(&self, draws: &mut Draws) -> Image {
        let (mut labels, mut instances) = (vec![0; WIDTH * HEIGHT], vec![0; WIDTH * HEIGHT]);
        for y in (0..HEIGHT).step_by(TILE) {
            for x in (0..WIDTH).step_by(TILE) {
                let label = self.labels[draws.below(self.labels.len())];
                let number = draws.below(4) as u16;
                let group = label < 24 || self.groups.contains(&label) || number == 0;
                let id = u16::from(label);
                let instance = if group { id } else { id * 1000 + number - 1 };
                for at in (y..y + TILE).flat_map(|y| (x..x + TILE).map(move |x| y * WIDTH + x)) {
                    (labels[at], instances[at]) = (label, instance);
                }
            }
        }
        let mut predictions = labels.clone();
        for prediction in &mut predictions {
            if draws.below(10) >= 6 {
                *prediction = self.predictions[draws.below(self.predictions.len())];
            }
        }
        Image { labels, instances, predictions }
    }

    fn counts(&self) -> Counts {
        let mut counts = Counts::new();
        for Image { labels, instances, predictions } in self.images() {
            counts.add(&labels, &instances, &predictions).expect("ids of the dataset");
        }
        counts
    }
}

#[test]
fn every_score_is_the_official_one() {
    let mut checked = 0;
    for set in sets() {
        let scores = set.counts().scores();
        for line in OFFICIAL.lines() {
            let [of, kind, name, iou, iiou] = Vec::from_iter(line.split(" | "))[..] else {
                panic!("no line of scores: {line}");
            };
            if of != set.name {
                continue;
            }
            let got = match (kind, name) {
                ("class", name) => scores.class(name).map(|score| (score.iou, score.iiou)),
                ("category", name) => scores.category(name).map(|score| (score.iou, score.iiou)),
                ("mean", "classes") => Some((scores.class_iou(), scores.class_iiou())),
                ("mean", "categories") => Some((scores.category_iou(), scores.category_iiou())),
                _ => None,
            };
            let (got_iou, got_iiou) = got.unwrap_or_else(|| panic!("no such score: {line}"));
            for (got, want) in [(got_iou, iou), (got_iiou, iiou)] {
                let want: f64 = want.parse().unwrap();
                let close = match got {
                    Some(got) => (got - want).abs() < 1e-12,
                    None => want.is_nan(),
                };
                assert!(close, "got {got:?}: {line}");
                checked += 1;
            }
        }
    }
    assert_eq!(checked, 2 * 4 * (19 + 7 + 2), "scores of four sets");
}

#[test]
fn the_sets_hold_every_case() {
    let scored = |name: &str| {
        let set = sets().into_iter().find(|set| set.name == name).unwrap();
        set.counts().scores()
    };
    let absent = scored("absent");
    assert_eq!(absent.class("train").unwrap().iou, None, "neither labelled nor predicted");
    assert_eq!(absent.class("rider").unwrap().iiou, Some(0.0), "only predicted");
    assert_eq!(absent.class("motorcycle").unwrap().iiou, Some(0.0), "only groups");
    assert!(absent.class("motorcycle").unwrap().iou > Some(0.0));
    assert_eq!(absent.category("sky").unwrap().iou, None);
    assert_eq!(absent.category("sky").unwrap().iiou, None, "no instances");
    assert_eq!(scored("groups").category("human").unwrap().iiou, Some(0.0));
    assert_eq!(scored("ignored").class_iou(), None);
    let all = sets().into_iter().next().unwrap().counts();
    assert!((0..34).all(|label| (0..34).any(|other| all.matrix().count(label, other) > 0)));
    assert!(all.instances().iter().all(|instance| ![29, 30].contains(&instance.label)));
    assert!(all.instances().iter().any(|instance| instance.found_of_category > instance.found));
}

#[test]
fn the_evaluated_classes_alone_give_the_class_iou() {
    for set in sets() {
        let counts = set.counts();
        let evaluated = counts.evaluated();
        let official: Vec<_> = counts.scores().classes.iter().map(|score| score.iou).collect();
        assert_eq!(evaluated.class_iou(), official, "{}", set.name);
        assert_eq!(evaluated.miou(AbsentClass::Skip), counts.scores().class_iou());
    }
}

#[test]
fn images_merged_in_order_are_those_counted_one_after_another() {
    for set in sets() {
        let images = set.images();
        let count = |nth: usize| {
            let mut counts = Counts::new();
            let Image { labels, instances, predictions } = &images[nth];
            counts.add(labels, instances, predictions).map(|()| counts)
        };
        let mut merged = Counts::new();
        in_order(images.len(), count, |counts| {
            merged.merge(&counts);
            Ok(())
        })
        .unwrap();
        assert_eq!(merged, set.counts());
    }
}

#[test]
fn without_instances_the_classes_and_categories_have_their_iou() {
    let set = &sets()[0];
    let mut counts = Counts::new();
    for Image { labels, predictions, .. } in set.images() {
        counts.add_without_instances(&labels, &predictions).unwrap();
    }
    assert_eq!(counts.matrix(), set.counts().matrix());
    assert_eq!(counts.instances(), []);
}

#[test]
fn a_licence_plate_is_ignored() {
    let mut counts = Counts::new();
    counts.add(&[255, 26], &[65_535, 26_000], &[26, 26]).unwrap();
    assert_eq!(counts.scores().class("car").unwrap().iou, Some(1.0));
    assert_eq!(counts.instances().len(), 1);
}

#[test]
fn values_outside_the_encoding_are_named_and_nothing_is_counted() {
    let mut counts = Counts::new();
    let cases = [
        (counts.add(&[7, 7], &[7], &[7, 7]), "2 labels but 1 instance ids; expected one"),
        (counts.add(&[7], &[7], &[7, 7]), "1 labels but 2 predictions"),
        (counts.add(&[7, 34], &[7, 7], &[7, 7]), "label 34 at position 1 is no labelId; expected"),
        (counts.add(&[7], &[7], &[255]), "prediction 255 at position 0 is no labelId; expected 0"),
        // A road has no instances, and there is no label 34.
        (counts.add(&[7], &[7001], &[7]), "instance id 7001 at position 0; expected a labelId"),
        (counts.add(&[7], &[34_000], &[7]), "instance id 34000 at position 0"),
    ];
    for (result, want) in cases {
        let error: Error = result.unwrap_err();
        assert!(error.to_string().starts_with(want), "{error}");
    }
    assert_eq!(counts, Counts::new());
}

#[test]
fn train_ids_are_recognised() {
    assert!(look_like_train_ids(&[0, 0, 10, 13, 8]));
    assert!(look_like_train_ids(&[10, 13, 255]));
    assert!(!look_like_train_ids(&[7, 7, 23, 26, 21]));
    assert!(!look_like_train_ids(&[7, 8, 11]), "a road between walls");
}

#[test]
fn the_table_of_labels_is_consistent() {
    let train_ids: Vec<u8> = LABELS.iter().filter_map(|label| label.train_id).collect();
    assert_eq!(train_ids, Vec::from_iter(0..19));
    for label in LABELS {
        assert!(CATEGORIES.contains(&label.category) || label.category == "void", "{label:?}");
    }
}
