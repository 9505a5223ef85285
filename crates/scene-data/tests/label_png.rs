//! Label files of every pixel format, sound and broken.

mod common;

use common::png;
use png::{BitDepth, ColorType};
use scene_data::{Error, read_label_png, read_png_u16};
use std::path::PathBuf;

/// Writes a file into a folder of its own and hands both back (the folder lives as long).
fn file(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("labels.png");
    std::fs::write(&file, bytes).expect("a writable folder");
    (folder, file)
}

fn read(bytes: &[u8]) -> Result<Vec<u8>, Error> {
    let (_folder, file) = file(bytes);
    read_label_png(&file).map(|labels| labels.data)
}

#[test]
fn stored_values_survive_whatever_the_bit_depth() {
    // Three columns, so that rows do not end at a byte; two rows of different values.
    let cases = [
        (BitDepth::One, vec![0b1010_0000, 0b0110_0000], vec![1, 0, 1, 0, 1, 1]),
        (BitDepth::Two, vec![0b1101_1000, 0b0001_1100], vec![3, 1, 2, 0, 1, 3]),
        (BitDepth::Four, vec![0xf1, 0x20, 0x0a, 0xb0], vec![15, 1, 2, 0, 10, 11]),
        (BitDepth::Eight, vec![0, 1, 255, 7, 8, 9], vec![0, 1, 255, 7, 8, 9]),
    ];
    for (depth, packed, expected) in cases {
        for color in [ColorType::Grayscale, ColorType::Indexed] {
            let read = read(&png(3, 2, color, depth, &packed)).unwrap();
            assert_eq!(read, expected, "{color:?} {depth:?}");
        }
    }
}

#[test]
fn sixteen_bits_are_for_instances_only() {
    let bytes = png(2, 1, ColorType::Grayscale, BitDepth::Sixteen, &[0x65, 0x90, 0x00, 0x07]);
    let message = read(&bytes).unwrap_err().to_string();
    assert!(message.contains("labels.png") && message.contains("instanceIds"), "{message}");

    let (_folder, wide) = file(&bytes);
    assert_eq!(read_png_u16(&wide).unwrap().data, [26_000, 7]);
    let (_folder, narrow) = file(&png(2, 1, ColorType::Grayscale, BitDepth::Eight, &[3, 200]));
    assert_eq!(read_png_u16(&narrow).unwrap().data, [3, 200]);
    let (_folder, palette) = file(&png(2, 1, ColorType::Indexed, BitDepth::Eight, &[3, 200]));
    assert!(matches!(read_png_u16(&palette), Err(Error::LabelFormat { .. })));
}

#[test]
fn colour_is_refused_with_the_likely_cause() {
    for (color, channels) in
        [(ColorType::Rgb, 3), (ColorType::Rgba, 4), (ColorType::GrayscaleAlpha, 2)]
    {
        let bytes = png(1, 1, color, BitDepth::Eight, &vec![9; channels]);
        let message = read(&bytes).unwrap_err().to_string();
        assert!(message.contains("full ADE20K") && message.contains("gtFine_color"), "{message}");
    }
}

#[test]
fn every_truncation_is_an_error_that_names_the_file() {
    let values: Vec<u8> = (0..40 * 30).map(|v| (v * v % 251) as u8).collect();
    let whole = png(40, 30, ColorType::Grayscale, BitDepth::Eight, &values);
    assert_eq!(read(&whole).unwrap(), values);
    // Up to the last chunk (12 bytes), which carries nothing.
    for length in 0..whole.len() - 12 {
        let message = read(&whole[..length]).expect_err("a part of a file").to_string();
        assert!(message.contains("labels.png"), "{length}: {message}");
    }
}

#[test]
fn damaged_bytes_never_pass_unnoticed() {
    let values: Vec<u8> = (0..20 * 10).map(|v| (v % 11) as u8).collect();
    let whole = png(20, 10, ColorType::Grayscale, BitDepth::Eight, &values);
    // Checksums cover everything between the signature and the end.
    for at in 8..whole.len() - 12 {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x55;
        if let Ok(read) = read(&damaged) {
            assert_eq!(read, values, "byte {at}");
        }
    }
}

#[test]
fn absurd_sizes_are_refused_before_anything_is_allocated() {
    let mut out = Vec::new();
    let mut encoder = png::Encoder::new(&mut out, 2_000_000_000, 2_000_000_000);
    encoder.set_color(ColorType::Grayscale);
    // The pixels are missing on purpose.
    drop(encoder.write_header().unwrap());
    let error = read(&out).unwrap_err();
    assert!(matches!(error, Error::TooLarge { width: 2_000_000_000, .. }), "{error}");
}

#[test]
fn what_is_no_png_says_so() {
    let message = read(b"GIF89a, or a page that says 404").unwrap_err().to_string();
    assert!(message.contains("not a readable PNG"), "{message}");
    let missing = read_label_png(&PathBuf::from("no/such/labels.png")).unwrap_err();
    assert!(matches!(missing, Error::File(_)), "{missing}");
    assert!(missing.to_string().starts_with("no/such/labels.png: "), "{missing}");
}
