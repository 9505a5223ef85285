//! The synthetic set: the same bytes everywhere, and nothing but beacons that tells the class.

use scene_data::beacons::{Beacons, BeaconsConfig};
use scene_data::{Error, IGNORE, Sample, SceneDataset, Split, UNDEFINED_DISTANCE_PX};

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
        (Split::Train, "aaf5b51eca97bbdc2ebede34e683e79befa720edef9221a0913e96ceacbe517c"),
        (Split::Val, "cc2d9df91fc661ec722b4e8ccfb0055e60053d61acfcb3fd05ea79dd1d2f2994"),
        (Split::Test, "6c952c68a52b1a38afeecaef9e746059b64b5a7a9b47124c59662247dc65d610"),
    ];
    let default = [
        (Split::Train, "25209d56442ce269b6208e8dca785e2d216b07edf1aa355223d1e9c7d0a6d600"),
        (Split::Val, "169289404f37f34f0d143c2b13fa28e9eaa24944777df4ac7352c4a89e24ecd5"),
        (Split::Test, "605c419dab92b24aeb582481de75d2774a972e0be50e4fd1afd9e07dd4ed2ff2"),
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
        for (&label, &distance) in sample.labels.data.iter().zip(distances) {
            assert_eq!(label == IGNORE, distance == UNDEFINED_DISTANCE_PX);
            if label != IGNORE {
                let class = class_of[usize::from(label / 2)].get_or_insert(label);
                assert_eq!(*class, label, "{}", sample.id);
            }
        }
        assert!(class_of.iter().flatten().count() >= 3, "{}", sample.id);
        let ignored = sample.labels.data.iter().filter(|&&label| label == IGNORE).count();
        assert_eq!(ignored, 4 * 9 * 9, "four whole beacons that do not overlap");

        for label in class_of.into_iter().flatten() {
            let (x, y) = beacon_centre(&sample, label / 2);
            let middle = sample.image.get_pixel(x, y).0;
            // A filled plus has a white middle, a hollow ring a black one.
            assert_eq!(middle, if label % 2 == 0 { [255; 3] } else { [0; 3] }, "{}", sample.id);
            for (at, &distance) in distances.iter().enumerate() {
                if sample.labels.data[at] == label {
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
fn both_classes_of_a_texture_look_the_same() {
    let config = BeaconsConfig { train_images: 300, ..tiny() };
    let mut sum = [[0u64; 3]; 8];
    let mut count = [0u64; 8];
    let mut images_with = [0u64; 8];
    for sample in samples(&config) {
        let mut seen = [false; 8];
        for (&label, pixel) in sample.labels.data.iter().zip(sample.image.pixels()) {
            if label != IGNORE {
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
