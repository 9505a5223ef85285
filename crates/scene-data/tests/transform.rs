//! Splits, configurations and what is done to samples.

use image::{Rgb, RgbImage};
use scene_data::beacons::BeaconsConfig;
use scene_data::{DatasetConfig, IMAGENET_MEAN, IMAGENET_STD, LabelMap, PascalContextConfig};
use scene_data::{Sample, Split, flip_horizontal, normalised_planes};

fn sample() -> Sample {
    Sample {
        id: "odd".to_owned(),
        image: RgbImage::from_fn(3, 2, |x, y| Rgb([x as u8, y as u8, (10 * x + y) as u8])),
        labels: LabelMap { width: 3, height: 2, data: vec![0, 1, 2, 3, 4, 255] },
        beacon_distance_px: Some(vec![9, 8, 7, 6, 5, u16::MAX]),
    }
}

#[test]
fn flipping_keeps_pixels_and_labels_together() {
    let flipped = flip_horizontal(&sample());
    assert_eq!(flipped.labels.data, [2, 1, 0, 255, 4, 3]);
    assert_eq!(flipped.beacon_distance_px.as_deref(), Some(&[7, 8, 9, u16::MAX, 5, 6][..]));
    assert_eq!(flipped.image.get_pixel(0, 1), sample().image.get_pixel(2, 1));
    assert_eq!(flip_horizontal(&flipped), sample());
}

#[test]
fn planes_are_channel_first_and_normalised() {
    let image = RgbImage::from_fn(2, 1, |x, _| Rgb([255 * x as u8, 51, 102]));
    let planes = normalised_planes(&image, [0.0, 0.2, 0.0], [1.0, 1.0, 0.5]);
    assert_eq!(planes, [0.0, 1.0, 0.0, 0.0, 0.8, 0.8]);
    let white =
        normalised_planes(&RgbImage::from_pixel(1, 1, Rgb([255; 3])), IMAGENET_MEAN, IMAGENET_STD);
    let expected = [2.248_908_3, 2.428_571_5, 2.64];
    assert!(
        white.iter().zip(expected).all(|(a, b): (&f32, f32)| (a - b).abs() < 1e-5),
        "{white:?}"
    );
}

#[test]
fn split_names_go_both_ways() {
    for split in Split::ALL {
        assert_eq!(split.to_string().parse::<Split>().unwrap(), split);
    }
    let message = "testing".parse::<Split>().unwrap_err().to_string();
    assert_eq!(message, "unknown split \"testing\": expected train, val or test");
}

#[test]
fn configurations_read_as_written() {
    let parse = |text: &str| toml::from_str::<DatasetConfig>(text);
    let beacons = BeaconsConfig { textures: 2, ..BeaconsConfig::default() };
    assert_eq!(parse("kind = \"beacons\"\ntextures = 2").unwrap(), DatasetConfig::Beacons(beacons));
    assert_eq!(parse("kind = \"camvid\"").unwrap(), DatasetConfig::CamVid(Default::default()));
    assert_eq!(parse("kind = \"ade20k\"").unwrap(), DatasetConfig::Ade20k {});
    assert_eq!(parse("kind = \"cityscapes\"").unwrap(), DatasetConfig::Cityscapes {});
    let context = DatasetConfig::PascalContext(PascalContextConfig::default());
    assert_eq!(parse("kind = \"pascal-context\"").unwrap(), context);
    for config in DatasetConfig::NAMES {
        let config = parse(&format!("kind = \"{config}\"")).unwrap();
        let again = toml::to_string(&config).unwrap();
        assert_eq!(parse(&again).unwrap(), config);
        assert!(again.contains(config.name()), "{again}");
    }
}

#[test]
fn unknown_keys_are_refused_everywhere() {
    for kind in DatasetConfig::NAMES {
        let text = format!("kind = \"{kind}\"\ntexturs = 2");
        let message = toml::from_str::<DatasetConfig>(&text).unwrap_err().to_string();
        assert!(message.contains("texturs"), "{kind}: {message}");
    }
    assert!(toml::from_str::<DatasetConfig>("kind = \"kitti\"").is_err());
}
