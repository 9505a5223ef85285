//! Photographs as cameras, phones and bad disks leave them.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{png, turned};
use image::codecs::jpeg::JpegEncoder;
use image::{Rgb, RgbImage};
use scene_data::verify::{Extent, verify};
use scene_data::{DatasetConfig, Error, Split, read_image, read_upright};
use tempfile::TempDir;

/// A picture that no turn leaves as it is: red grows to the right, green downwards.
fn picture(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let fine = (x * 37 + y * 91) % 60;
        Rgb([(x * 180 / width + fine) as u8, (y * 180 / height + fine) as u8, 90])
    })
}

fn jpeg(picture: &RgbImage) -> Vec<u8> {
    let mut bytes = Vec::new();
    picture.write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, 90)).expect("a JPEG");
    bytes
}

fn fixture(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    fs::read(folder.join(name)).expect("a fixture")
}

/// JPEGs of every kind of scan: in rows, with restart marks, in scans that refine each other.
fn kinds() -> [(&'static str, Vec<u8>); 4] {
    [
        ("rows", jpeg(&picture(83, 61))),
        ("restarts", fixture("restarts.jpg")),
        ("progressive", fixture("progressive.jpg")),
        ("progressive-restarts", fixture("progressive-restarts.jpg")),
    ]
}

/// Reads bytes as a file.
fn read(bytes: &[u8]) -> Result<RgbImage, Error> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("photograph.jpg");
    fs::write(&file, bytes).expect("a writable folder");
    read_image(&file)
}

/// Where the first scan's data begin: behind its head.
fn first_scan(bytes: &[u8]) -> usize {
    let at = bytes.windows(2).position(|two| two == [0xff, 0xda]).expect("a scan");
    at + 2 + usize::from(bytes[at + 3])
}

#[test]
fn what_lies_behind_the_end_is_not_looked_at() {
    let film = [b"\0\0\0\x18ftypmp42".as_slice(), &[0xff, 0xda, 0x12, 0xff, 0x00, 7, 9]].concat();
    for (kind, whole) in kinds() {
        let plain = read(&whole).expect(kind);
        for tail in [&film, &jpeg(&picture(16, 16)), &vec![0; 4096]] {
            assert_eq!(read(&[&whole[..], tail].concat()).expect(kind), plain, "{kind}");
        }
    }
}

#[test]
fn a_scan_that_is_cut_off_is_an_error_with_and_without_an_end_mark() {
    for (kind, whole) in kinds() {
        let start = first_scan(&whole);
        for keep in (start..whole.len() - 8).step_by(7) {
            for end in [[].as_slice(), &[0xff, 0xd9]] {
                let cut = [&whole[..keep], end].concat();
                let Err(error) = read(&cut) else { panic!("{kind} of {keep} bytes is read") };
                let error = error.to_string();
                let named =
                    error.contains("photograph.jpg") && error.contains("damaged or cut off");
                assert!(named, "{kind}: {error}");
            }
        }
    }
    // Of a picture in rows nothing is missing where its last two bytes are.
    let whole = jpeg(&picture(83, 61));
    assert_eq!(read(&whole[..whole.len() - 2]).unwrap(), read(&whole).unwrap());
    assert_eq!(read(&whole[..whole.len() - 1]).unwrap(), read(&whole).unwrap());
}

#[test]
fn a_scan_that_is_damaged_in_its_middle_is_an_error() {
    for (kind, whole) in kinds() {
        let (start, end) = (first_scan(&whole), whole.len() - 2);
        let (mut found, mut tried) = (0, 0);
        for at in (start..end - 100).step_by(11) {
            for damage in 0..3u8 {
                let mut bytes = whole.clone();
                match damage {
                    0 => bytes[at..at + 90].fill(0),
                    1 => drop(bytes.drain(at..at + 60)),
                    _ => bytes[at..at + 90].iter_mut().enumerate().for_each(|(nth, byte)| {
                        *byte ^= (nth * 151 + at * 7 + 85) as u8 & 0x7f;
                    }),
                }
                tried += 1;
                found += u32::from(read(&bytes).is_err());
            }
        }
        assert!(20 * found >= 19 * tried, "{kind}: {found} of {tried}");
    }
}

#[test]
fn viewers_turn_a_photograph_and_its_pixels_stay() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.jpg");
    let whole = jpeg(&picture(48, 32));
    let stored = read(&whole).unwrap();
    for orientation in 1..=8 {
        fs::write(&file, turned(&whole, orientation)).unwrap();
        assert_eq!(read_image(&file).unwrap(), stored, "{orientation}");
        let upright = read_upright(&file).unwrap();
        let swapped = orientation > 4;
        assert_eq!(upright.dimensions(), if swapped { (32, 48) } else { (48, 32) });
        // Where the stored upper left comes to lie (TIFF 6.0, tag 274).
        let (right, bottom) = (upright.width() - 1, upright.height() - 1);
        let corner = match orientation {
            1 | 5 => (0, 0),
            2 | 6 => (right, 0),
            3 | 7 => (right, bottom),
            _ => (0, bottom),
        };
        assert_eq!(upright.get_pixel(corner.0, corner.1), stored.get_pixel(0, 0), "{orientation}");
    }
    fs::write(&file, turned(&whole, 77)).unwrap();
    assert_eq!(read_upright(&file).unwrap(), stored, "a tag that means nothing turns nothing");
}

/// A folder of one's own with one turned photograph a split, of 48×32 stored pixels, whose labels
/// are of `size`.
fn with_labels_of(size: (u32, u32), orientation: u8) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    let mut text = "ignore = []\n".to_owned();
    for value in 0..2 {
        text += &format!("[[class]]\nvalue = {value}\nname = \"{value}\"\n");
    }
    for (nth, split) in ["train", "val"].into_iter().enumerate() {
        fs::create_dir_all(root.path().join(split)).unwrap();
        text += &format!("[split.{split}]\nimages = \"{split}\"\nlabels = \"{split}-labels\"\n");
        fs::create_dir_all(root.path().join(format!("{split}-labels"))).unwrap();
        let mut photograph = picture(48, 32);
        photograph.put_pixel(0, 0, Rgb([100 * nth as u8; 3]));
        let bytes = turned(&jpeg(&photograph), orientation);
        fs::write(root.path().join(split).join("x.jpg"), bytes).unwrap();
        let values: Vec<u8> = (0..size.0 * size.1).map(|at| (at % 2) as u8).collect();
        let (gray, eight) = (png::ColorType::Grayscale, png::BitDepth::Eight);
        let labels = png(size.0, size.1, gray, eight, &values);
        fs::write(root.path().join(format!("{split}-labels/x.png")), labels).unwrap();
    }
    fs::write(root.path().join("dataset.toml"), text).unwrap();
    root
}

#[test]
fn labels_decide_which_way_a_photograph_lies_and_verify_says_which() {
    let config = DatasetConfig::Folder {};
    let file = |root: &TempDir| -> PathBuf { root.path().join("train/x.jpg") };
    for (size, orientation, is_turned, said) in [
        ((48, 32), 6, false, "labels are of the stored size"),
        ((32, 48), 6, true, "labels are of the turned size"),
        ((48, 32), 3, false, "size fits both ways"),
    ] {
        let root = with_labels_of(size, orientation);
        let set = config.open(Some(root.path()), Split::Train).unwrap();
        let expected = match is_turned {
            true => read_upright(&file(&root)).unwrap(),
            false => read_image(&file(&root)).unwrap(),
        };
        assert_eq!(set.sample(0).unwrap().image, expected, "{size:?} {orientation}");
        let found = verify(&config, root.path(), Extent::Whole, &|_| {}).unwrap();
        assert_eq!(found.problems, []);
        let note = found.notes.iter().find(|note| note.starts_with("train: 1 photographs have"));
        assert!(note.is_some_and(|note| note.contains(said)), "{:?}", found.notes);
    }
    let root = with_labels_of((40, 40), 6);
    let set = config.open(Some(root.path()), Split::Train).unwrap();
    let error = set.sample(0).unwrap_err().to_string();
    assert!(error.contains("48×32") && error.contains("EXIF orientation 6"), "{error}");
    let root = with_labels_of((48, 32), 1);
    let found = verify(&config, root.path(), Extent::Whole, &|_| {}).unwrap();
    assert!(!found.notes.iter().any(|note| note.contains("EXIF")), "{:?}", found.notes);
}
