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
        (Split::Train, "1448909351948ed74dc45a0dead545849a9c6c58f6aa7becbd682b457b638f84"),
        (Split::Val, "01ec1b34570b20f5bf567d94aed891858e319d342b635d0f853febd14040a59b"),
        (Split::Test, "dd33f1cf829ceb5d904b2b9051b64ec22bb8b6901904143ec450034007bb4efc"),
    ];
    let default = [
        (Split::Train, "7c4851a96a4f38a31dddb0e9f2b18bb57723b67cd5ce13df97472d6ebb1bcd80"),
        (Split::Val, "d0ab1934798a5342bd8efd1109ae883cdabdffd6bdf52db262e5d7e8334c8c29"),
        (Split::Test, "dd1f86e13fb75b35cdcda8ce3c33fabc0c83a2581b0f4618965955c7ad7d93ac"),
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
