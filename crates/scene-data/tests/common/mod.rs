//! Label files of any pixel format, and tiny sets in any layout.
#![allow(dead_code, reason = "every test takes what it needs")]

use scene_data::beacons::BeaconsConfig;
use scene_data::{Layout, synth};
use tempfile::TempDir;

/// Encodes packed `bytes` as a PNG; a palette is added where the colour type needs one.
pub(crate) fn png(
    width: u32,
    height: u32,
    color: png::ColorType,
    depth: png::BitDepth,
    bytes: &[u8],
) -> Vec<u8> {
    let mut out = Vec::new();
    let mut encoder = png::Encoder::new(&mut out, width, height);
    encoder.set_color(color);
    encoder.set_depth(depth);
    if color == png::ColorType::Indexed {
        // Colours that have nothing to do with the indices.
        let colours = 1usize << (depth as usize).min(8);
        encoder.set_palette((0..colours * 3).map(|v| (v * 37 + 11) as u8).collect::<Vec<u8>>());
    }
    let mut writer = encoder.write_header().expect("a valid header");
    writer.write_image_data(bytes).expect("data of the right length");
    writer.finish().expect("a whole file");
    out
}

/// The synthetic set with so many images a split, made in a moment.
pub(crate) fn tiny([train_images, val_images, test_images]: [usize; 3]) -> BeaconsConfig {
    BeaconsConfig {
        size_px: 48,
        textures: 3,
        train_images,
        val_images,
        test_images,
        regions: 4,
        beacon_px: 7,
        ..BeaconsConfig::default()
    }
}

/// It, in a dataset's layout.
pub(crate) fn written(layout: Layout, images: [usize; 3]) -> TempDir {
    let root = tempfile::tempdir().expect("a temporary folder");
    synth::write(layout, &tiny(images), root.path()).expect("a layout that can be written");
    root
}

/// A JPEG that says in its EXIF data how viewers turn it.
pub(crate) fn turned(jpeg: &[u8], orientation: u8) -> Vec<u8> {
    let head = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0";
    let exif = [head.as_slice(), &[orientation], &[0; 6]].concat();
    let length = (exif.len() as u16 + 2).to_be_bytes();
    [&jpeg[..2], &[0xff, 0xe1], &length, &exif, &jpeg[2..]].concat()
}
