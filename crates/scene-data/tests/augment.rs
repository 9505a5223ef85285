//! Scale, crop, mirror, pad: pixels and labels stay together.

use image::{Rgb, RgbImage, imageops};
use proptest::prelude::*;
use scene_data::{AugmentConfig, Error, IGNORE, JitterConfig, LabelMap, Sample, View};
use scene_data::{IMAGENET_MEAN, IMAGENET_STD, normalised_planes, resized, sample_rng};

/// Blocks of 8×8 pixels whose colour tells their label: `(30 · label, 250 - 30 · label, 0)`.
fn blocks(width: usize, height: usize) -> Sample {
    let label = |x: usize, y: usize| ((x / 8 + 3 * (y / 8)) % 7) as u8;
    let image = RgbImage::from_fn(width as u32, height as u32, |x, y| {
        let value = 30 * label(x as usize, y as usize);
        Rgb([value, 250 - value, 0])
    });
    let places = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
    let data = places.map(|(x, y)| label(x, y)).collect();
    let labels = LabelMap { width, height, data };
    Sample { id: "blocks".into(), image, labels, beacon_distance_px: None }
}

/// The red byte that a normalised value came from.
fn red(value: f32) -> f32 {
    (value * IMAGENET_STD[0] + IMAGENET_MEAN[0]) * 255.0
}

fn config(scale: [f64; 2], crop_px: [usize; 2]) -> AugmentConfig {
    AugmentConfig { scale, crop_px, ..AugmentConfig::default() }
}

#[test]
fn without_options_a_sample_stays_as_it_is() {
    let sample = blocks(37, 21);
    let off = AugmentConfig::default();
    assert!(off.is_off());
    let plain = off.apply(&sample, View::Plain, &mut sample_rng(0, 0, 0)).unwrap();
    assert_eq!((plain.width, plain.height), (37, 21));
    assert_eq!(plain.labels, sample.labels.data);
    assert_eq!(plain.planes, normalised_planes(&sample.image, IMAGENET_MEAN, IMAGENET_STD));
    let mirrored = off.apply(&sample, View::Mirrored, &mut sample_rng(0, 0, 0)).unwrap();
    let turned = scene_data::flip_horizontal(&sample);
    assert_eq!(mirrored.labels, turned.labels.data);
    assert_eq!(mirrored.planes, normalised_planes(&turned.image, IMAGENET_MEAN, IMAGENET_STD));
}

#[test]
fn a_small_image_is_padded_at_the_right_and_below() {
    let sample = blocks(10, 6);
    let example =
        config([1.0; 2], [16, 8]).apply(&sample, View::Plain, &mut sample_rng(1, 2, 3)).unwrap();
    assert_eq!((example.width, example.height), (16, 8));
    for y in 0..8 {
        for x in 0..16 {
            let inside = x < 10 && y < 6;
            let label = if inside { sample.labels.data[y * 10 + x] } else { IGNORE };
            assert_eq!(example.labels[y * 16 + x], label);
            // The mean colour is 0.
            assert_eq!(example.planes[y * 16 + x] == 0.0, !inside);
        }
    }
}

#[test]
fn crops_of_one_class_are_drawn_anew() {
    // One labelled column in a hundred differs: few crops show it.
    let (width, height) = (200, 16);
    let mut sample = blocks(width, height);
    for (at, label) in sample.labels.data.iter_mut().enumerate() {
        *label = if at % width < 100 { 1 } else { (at / width % 4) as u8 };
    }
    let free = config([1.0; 2], [16, 16]);
    let strict = AugmentConfig { max_class_share: 0.5, ..free.clone() };
    let uniform = |config: &AugmentConfig| {
        let seeds = 0..100u64;
        let of_one = |seed: &u64| {
            let example = config.apply(&sample, View::Plain, &mut sample_rng(*seed, 0, 0)).unwrap();
            example.labels.iter().all(|&label| label == 1)
        };
        seeds.filter(of_one).count()
    };
    assert!(uniform(&free) > 30);
    // Ten tries nearly always find the other half.
    assert!(uniform(&strict) <= 3);
}

#[test]
fn a_variation_is_a_draw_of_seed_epoch_and_index() {
    let sample = blocks(64, 48);
    let jitter = JitterConfig { brightness: 0.2, hue_degrees: 20.0, ..Default::default() };
    let config = AugmentConfig { jitter, ..config([0.5, 2.0], [24, 24]) };
    let make = |seed, epoch, index| {
        config.apply(&sample, View::Plain, &mut sample_rng(seed, epoch, index)).unwrap()
    };
    assert_eq!(make(1, 2, 3), make(1, 2, 3));
    for other in [(2, 2, 3), (1, 3, 3), (1, 2, 4)] {
        assert_ne!(make(1, 2, 3), make(other.0, other.1, other.2));
    }
}

#[test]
fn values_outside_their_range_are_refused_by_name() {
    let good = AugmentConfig::default;
    for (config, field) in [
        (AugmentConfig { scale: [0.0, 1.0], ..good() }, "scale"),
        (AugmentConfig { scale: [2.0, 1.0], ..good() }, "scale"),
        (AugmentConfig { scale: [1.0, f64::NAN], ..good() }, "scale"),
        (AugmentConfig { crop_px: [0, 5], ..good() }, "crop_px"),
        (AugmentConfig { crop_px: [5, 1 << 40], ..good() }, "crop_px"),
        (AugmentConfig { max_class_share: 0.0, ..good() }, "max_class_share"),
    ] {
        let error = config.check().unwrap_err();
        assert!(matches!(&error, Error::Config { field: f, .. } if *f == field), "{error}");
    }
}

proptest! {
    /// Resizing only a window gives what resizing everything and cutting gives. Along either axis
    /// values are rounded to bytes, where weights of the window and of the whole may round apart
    /// by 1: together by 2 at most, and a neighbour's colour is ten times as far away.
    #[test]
    fn a_window_is_cut_from_the_resized_image(
        width in 9usize..60, height in 9usize..60, factor in 0.4f64..2.5, seed in 0u64..1000,
    ) {
        let sample = blocks(width, height);
        let full = [width, height].map(|n| ((n as f64 * factor).round() as usize).max(1));
        let crop = full.map(|n| n.div_ceil(2));
        let config = config([factor, factor], crop);
        let example = config.apply(&sample, View::Plain, &mut sample_rng(seed, 0, 0)).unwrap();
        let whole = resized(&sample.image, full[0], full[1]);
        // The crop's place is not told: it is where labels and pixels both fit.
        let labels = |x: usize, y: usize| {
            let [x, y] = [(2 * x + 1) * width / (2 * full[0]), (2 * y + 1) * height / (2 * full[1])];
            sample.labels.data[y.min(height - 1) * width + x.min(width - 1)]
        };
        let fits = |left: usize, top: usize| {
            let cut = imageops::crop_imm(&whole, left as u32, top as u32, crop[0] as u32, crop[1] as u32);
            let pixels = cut.to_image().pixels().zip(&example.planes)
                .all(|(pixel, &value)| (f32::from(pixel.0[0]) - red(value)).abs() < 2.5);
            pixels && (0..crop[1]).all(|y| (0..crop[0]).all(|x| {
                example.labels[y * crop[0] + x] == labels(left + x, top + y)
            }))
        };
        let places = (0..=full[1] - crop[1]).flat_map(|y| (0..=full[0] - crop[0]).map(move |x| (x, y)));
        prop_assert!(places.into_iter().any(|(x, y)| fits(x, y)));
    }

    /// Inside a block, colour and label tell the same, however the sample was varied.
    #[test]
    fn labels_stay_on_their_pixels(
        width in 16usize..70, height in 16usize..70, low in 0.5f64..1.0, seed in 0u64..1000,
        mirrored: bool,
    ) {
        let sample = blocks(width, height);
        let config = config([low, 2.0], [24, 20]);
        let view = if mirrored { View::Mirrored } else { View::Plain };
        let example = config.apply(&sample, view, &mut sample_rng(seed, 0, 0)).unwrap();
        for y in 2..example.height - 2 {
            for x in 2..example.width - 2 {
                let at = y * example.width + x;
                let label = example.labels[at];
                let around = [at - 2, at + 2, at - 2 * example.width, at + 2 * example.width];
                if label != IGNORE && around.iter().all(|&near| example.labels[near] == label) {
                    prop_assert!((red(example.planes[at]) - 30.0 * f32::from(label)).abs() < 1.5);
                }
            }
        }
    }
}
