//! The synthetic set: the same bytes everywhere, and nothing but beacons that tells the class.

use scene_data::beacons::{Beacons, BeaconsConfig};
use scene_data::{Error, Sample, SceneDataset, Split, UNDEFINED_DISTANCE_PX};

fn tiny() -> BeaconsConfig {
    BeaconsConfig { train_images: 40, val_images: 3, test_images: 2, ..BeaconsConfig::default() }
}

fn samples(config: &BeaconsConfig) -> Vec<Sample> {
    let set = Beacons::new(config, Split::Train).expect("an allowed configuration");
    (0..set.len()).map(|index| set.sample(index).expect("a sample")).collect()
}

/// Records of runs on the default set name these hashes: whoever changes a byte makes another set.
#[test]
fn the_bytes_are_frozen() {
    let small = [
        (Split::Train, "3815a9c90e706514a203898bc743132e7908a847c99fa40d507fad0ebf0b8d30"),
        (Split::Val, "6dea2968d9d503a8be3818a43ba3bf66932a1395051d3547eee1c6d625bb0968"),
        (Split::Test, "00c13941a46af0df9006813c587f1306947b5c0bb1785aedbd09548b75eec944"),
    ];
    let default = [
        (Split::Train, "fc3a319acbf732c5d0ef7449e5fba6ba6b1427bb39f06eeee044ffb27c85cfbd"),
        (Split::Val, "040b3d2ebc535971f98cfb7331760b96f7d62098e50d69f1c0e596415bf1e8aa"),
        (Split::Test, "0154fe6d60fadbaa63d0a0e0079c64253c9d42c4680afa4ef5563a12de00f2ce"),
    ];
    for (config, frozen) in [(tiny(), small), (BeaconsConfig::default(), default)] {
        for (split, hash) in frozen {
            let set = Beacons::new(&config, split).unwrap();
            assert_eq!(set.fingerprint().unwrap(), hash, "{split} {config:?}");
        }
    }
}

#[test]
fn fingerprints_tell_seeds_and_sizes_apart() {
    let print = |c: BeaconsConfig| Beacons::new(&c, Split::Val).unwrap().fingerprint().unwrap();
    let base = print(tiny());
    assert_ne!(base, print(BeaconsConfig { seed: 1, ..tiny() }));
    assert_ne!(base, print(BeaconsConfig { val_images: 2, ..tiny() }));
    assert_ne!(base, print(BeaconsConfig { regions: 8, ..tiny() }));
}

#[test]
fn an_image_depends_on_its_index_alone() {
    let few = Beacons::new(&tiny(), Split::Train).unwrap();
    let many = BeaconsConfig { train_images: 900, val_images: 0, ..tiny() };
    let many = Beacons::new(&many, Split::Train).unwrap();
    assert_eq!(few.sample(39).unwrap(), many.sample(39).unwrap());
    assert_eq!(few.sample(7).unwrap(), many.sample(7).unwrap());
    let val = Beacons::new(&tiny(), Split::Val).unwrap();
    assert_ne!(few.sample(0).unwrap().image, val.sample(0).unwrap().image);
}

#[test]
fn a_texture_has_one_class_per_image_and_its_beacon_shows_which() {
    for sample in samples(&tiny()) {
        let distances = sample.beacon_distance_px.as_ref().unwrap();
        let mut class_of = [None; 4];
        let mut ambiguous = [0; 4];
        for (&label, &distance) in sample.labels.data.iter().zip(distances) {
            let texture = usize::from(label / 2);
            let class = class_of[texture].get_or_insert(label);
            assert_eq!(*class, label, "{}", sample.id);
            ambiguous[texture] += usize::from(distance != UNDEFINED_DISTANCE_PX);
        }
        assert!(ambiguous.iter().filter(|&&pixels| pixels > 0).count() >= 3, "{}", sample.id);
        let emblems = 96 * 96 - ambiguous.iter().sum::<usize>();
        assert_eq!(emblems, 4 * 9 * 9, "four whole beacons that do not overlap");

        for label in class_of.into_iter().flatten() {
            let (x, y) = beacon_centre(&sample, label / 2);
            let middle = sample.image.get_pixel(x, y).0;
            // A filled plus has a white middle, a hollow ring a black one.
            assert_eq!(middle, if label % 2 == 0 { [255; 3] } else { [0; 3] }, "{}", sample.id);
            for (at, &distance) in distances.iter().enumerate() {
                if sample.labels.data[at] == label && distance != UNDEFINED_DISTANCE_PX {
                    let dx = (at % 96) as f64 - f64::from(x);
                    let dy = (at / 96) as f64 - f64::from(y);
                    assert_eq!(f64::from(distance), dx.hypot(dy).floor());
                }
            }
        }
    }
}

/// The middle of the frame of a texture's colour, found in the picture.
fn beacon_centre(sample: &Sample, texture: u8) -> (u32, u32) {
    let frame = [[255, 64, 48], [64, 240, 80], [72, 120, 255], [255, 232, 48]];
    let frame = frame[usize::from(texture)];
    let pixels = sample.image.enumerate_pixels().filter(|(_, _, pixel)| pixel.0 == frame);
    let first =
        pixels.map(|(x, y, _)| (x, y)).min_by_key(|&(x, y)| (y, x)).expect("every beacon is drawn");
    (first.0 + 4, first.1 + 4)
}

#[test]
fn every_second_image_turns_the_classes_of_the_one_before() {
    let classes = |sample: &Sample| -> Vec<u8> {
        let mut classes = sample.labels.data.clone();
        classes.sort_unstable();
        classes.dedup();
        classes
    };
    let mut first = Vec::new();
    for pair in samples(&tiny()).chunks_exact(2) {
        let [one, other] = [classes(&pair[0]), classes(&pair[1])];
        let turned: Vec<u8> = one.iter().map(|class| class ^ 1).collect();
        assert_eq!(turned, other, "{} {}", pair[0].id, pair[1].id);
        first.push(one);
    }
    first.sort_unstable();
    first.dedup();
    assert!(first.len() > 8, "the first of each pair is drawn: {first:?}");
}

#[test]
fn both_classes_of_a_texture_look_the_same() {
    let config = BeaconsConfig { train_images: 300, ..tiny() };
    let mut sum = [[0u64; 3]; 8];
    let mut count = [0u64; 8];
    let mut images_with = [0u64; 8];
    for sample in samples(&config) {
        let mut seen = [false; 8];
        let distances = sample.beacon_distance_px.expect("the synthetic set knows them");
        let pixels = sample.image.pixels().zip(distances);
        for (&label, (pixel, distance)) in sample.labels.data.iter().zip(pixels) {
            if distance != UNDEFINED_DISTANCE_PX {
                let class = usize::from(label);
                (0..3).for_each(|channel| sum[class][channel] += u64::from(pixel[channel]));
                count[class] += 1;
                seen[class] = true;
            }
        }
        (0..8).for_each(|class| images_with[class] += u64::from(seen[class]));
    }
    for texture in 0..4 {
        let mean = |class: usize| sum[class].map(|sum| sum as f64 / count[class] as f64);
        let (plus, ring) = (mean(2 * texture), mean(2 * texture + 1));
        for channel in 0..3 {
            // A tint of ±8 per image leaves a standard error of about 0.6 for the difference.
            assert!((plus[channel] - ring[channel]).abs() < 3.0, "{plus:?} {ring:?}");
        }
        let (plus, ring) = (images_with[2 * texture], images_with[2 * texture + 1]);
        // A fair coin over about 260 images: four standard deviations are 32.
        assert!(plus.abs_diff(ring) < 65, "{plus} {ring}");
    }
}

#[test]
fn beacon_distances_spread_over_the_image() {
    let mut quarter = [0u32; 4];
    for sample in samples(&tiny()) {
        for distance in sample.beacon_distance_px.unwrap() {
            if distance != UNDEFINED_DISTANCE_PX {
                assert!(distance <= 134);
                quarter[usize::from(distance / 24).min(3)] += 1;
            }
        }
    }
    let all: u32 = quarter.iter().sum();
    // In squares: 24, 48 and 72 pixels of 96; no part is rare.
    assert!(quarter.iter().all(|&part| part * 12 > all), "{quarter:?}");
}

#[test]
fn extreme_configurations_are_made_or_refused_but_never_hang() {
    let base = tiny();
    for config in [
        BeaconsConfig { textures: 1, regions: 1, ..base.clone() },
        BeaconsConfig { textures: 8, size_px: 97, regions: 64, ..base.clone() },
        BeaconsConfig { size_px: 32, textures: 1, regions: 64, beacon_px: 7, ..base.clone() },
    ] {
        let sample = Beacons::new(&config, Split::Train).unwrap().sample(3).unwrap();
        assert_eq!(sample.labels.data.len(), config.size_px * config.size_px);
    }
    for (field, config) in [
        ("size_px", BeaconsConfig { size_px: 0, ..base.clone() }),
        ("textures", BeaconsConfig { textures: 0, ..base.clone() }),
        ("textures", BeaconsConfig { textures: 9, ..base.clone() }),
        ("regions", BeaconsConfig { regions: 2, ..base.clone() }),
        ("beacon_px", BeaconsConfig { beacon_px: 8, ..base.clone() }),
        ("beacon_px", BeaconsConfig { beacon_px: 41, ..base.clone() }),
        ("train_images", BeaconsConfig { train_images: usize::MAX, ..base.clone() }),
    ] {
        let message = Beacons::new(&config, Split::Train).unwrap_err().to_string();
        assert!(message.starts_with(&format!("beacons: {field} = ")), "{message}");
    }
}

#[test]
fn there_is_no_sample_beyond_the_last() {
    let set = Beacons::new(&tiny(), Split::Test).unwrap();
    assert_eq!((set.len(), set.id(1), set.classes().len()), (2, "test_000001", 8));
    assert!(matches!(set.sample(2), Err(Error::Index { index: 2, len: 2, .. })));
}
