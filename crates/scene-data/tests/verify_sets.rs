//! What makes a score mean nothing though every file is sound: splits that share images, splits and
//! classes without labels, lists that cannot be read.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::fs;
use std::path::Path;

use common::png;
use scene_data::verify::{Extent, Verification, verify};
use scene_data::{Layout, Split};
use tempfile::TempDir;

fn check(layout: Layout, root: &Path, extent: Extent) -> Verification {
    verify(&layout.config(), root, extent, &|_| {}).expect("the right dataset")
}

/// The one problem found in it, with its remedy.
fn only(layout: Layout, root: &Path, extent: Extent) -> String {
    let found = check(layout, root, extent);
    assert_eq!(found.problems.len(), 1, "{:?}", found.problems);
    format!("{}; {}", found.problems[0].found, found.problems[0].remedy)
}

/// A folder of one's own with two classes, 0 and 1, and no test split; its label files hold the
/// values given by split.
fn folder(ignore: &str, train: &[u8], val: &[u8]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    let mut text = format!("ignore = {ignore}\n");
    for (value, name) in ["ground", "vessel"].into_iter().enumerate() {
        text += &format!("[[class]]\nvalue = {value}\nname = \"{name}\"\n");
    }
    let (gray, eight) = (png::ColorType::Grayscale, png::BitDepth::Eight);
    for (split, values) in [("train", train), ("val", val)] {
        text +=
            &format!("[split.{split}]\nimages = \"{split}/images\"\nlabels = \"{split}/labels\"\n");
        let at = |name: &str| root.path().join(split).join(name);
        fs::create_dir_all(at("images")).unwrap();
        fs::create_dir_all(at("labels")).unwrap();
        for nth in 0..2u8 {
            let name = format!("{split}{nth}.png");
            let bytes: Vec<u8> = (0..64).map(|at| at ^ nth ^ (split.len() as u8 * 40)).collect();
            fs::write(at("images").join(&name), png(8, 8, gray, eight, &bytes)).unwrap();
            let labels: Vec<u8> = values.iter().copied().cycle().take(64).collect();
            fs::write(at("labels").join(&name), png(8, 8, gray, eight, &labels)).unwrap();
        }
    }
    fs::write(root.path().join("dataset.toml"), text).unwrap();
    root
}

fn edit(root: &Path, from: &str, to: &str) {
    let file = root.join("dataset.toml");
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains(from));
    fs::write(file, text.replace(from, to)).unwrap();
}

#[test]
fn a_sound_folder_has_no_problems() {
    let root = folder("[255]", &[0, 1], &[0, 1, 255]);
    let found = check(Layout::Folder, root.path(), Extent::Whole);
    assert_eq!(found.problems, []);
    assert_eq!(found.notes, ["test is the same as val"]);
}

#[test]
fn val_that_is_train_is_a_problem() {
    let root = folder("[]", &[0, 1], &[0, 1]);
    edit(root.path(), "val/", "./train/");
    let found = only(Layout::Folder, root.path(), Extent::Whole);
    assert!(found.contains("val is the same as train"), "{found}");
    let root = folder("[]", &[0, 1], &[0, 1]);
    let more = "[split.test]\nimages = \"train/images\"\nlabels = \"train/labels\"\n";
    let file = root.path().join("dataset.toml");
    fs::write(&file, fs::read_to_string(&file).unwrap() + more).unwrap();
    let found = only(Layout::Folder, root.path(), Extent::Whole);
    assert!(found.contains("test is the same as train"), "{found}");
}

#[test]
fn copies_of_train_in_val_are_a_problem_whatever_they_are_called() {
    let root = folder("[]", &[0, 1], &[0, 1]);
    let at = |name: &str| root.path().join(name);
    // The same pixels in another file.
    let copied = image::open(at("train/images/train1.png")).unwrap().into_rgb8();
    copied.save(at("val/images/val0.png")).unwrap();
    let found = only(Layout::Folder, root.path(), Extent::Whole);
    assert!(found.contains("val: 1 of its 2 photographs are those of train"), "{found}");
    assert!(found.contains("val/images/val0.png") && found.contains("train1.png"), "{found}");

    let root = common::written(Layout::CamVid, [3, 2, 2]);
    let at = |name: &str| root.path().join(name);
    fs::copy(at("train/beacons_000003.png"), at("test/beacons_000001.png")).unwrap();
    let found = only(Layout::CamVid, root.path(), Extent::Partial);
    assert!(found.contains("test: 1 of its 2 photographs are those of train"), "{found}");
    // Between val and test they make no score wrong by themselves.
    let root = common::written(Layout::CamVid, [3, 2, 2]);
    let at = |name: &str| root.path().join(name);
    fs::copy(at("val/beacons_000002.png"), at("test/beacons_000001.png")).unwrap();
    let found = check(Layout::CamVid, root.path(), Extent::Partial);
    assert_eq!(found.problems, []);
    assert!(found.notes.iter().any(|note| note.contains("those of val")), "{:?}", found.notes);
}

#[test]
fn a_split_without_a_labelled_pixel_is_a_problem() {
    let root = folder("[255]", &[0, 1], &[255]);
    let found = only(Layout::Folder, root.path(), Extent::Whole);
    assert!(found.contains("val has no labelled pixel"), "{found}");
    let root = folder("[255]", &[255], &[0, 1]);
    let found = only(Layout::Folder, root.path(), Extent::Partial);
    assert!(found.contains("train has no labelled pixel"), "{found}");
}

#[test]
fn a_class_without_pixels_is_a_problem_and_masks_of_0_and_255_are_recognised() {
    let root = folder("[255]", &[0, 255], &[255, 0]);
    let found = only(Layout::Folder, root.path(), Extent::Whole);
    assert!(found.contains("1 of 2 classes have no pixel in any split: vessel"), "{found}");
    assert!(found.contains("value = 255"), "{found}");
    let root = folder("[255]", &[0], &[0]);
    let found = only(Layout::Folder, root.path(), Extent::Whole);
    assert!(found.contains("vessel") && !found.contains("value = 255"), "{found}");
    // Of a part of a set nothing else can be expected.
    let found = check(Layout::Folder, root.path(), Extent::Partial);
    assert_eq!(found.problems, []);
    assert!(found.notes.iter().any(|note| note.contains("vessel")), "{:?}", found.notes);
}

#[test]
fn lists_in_utf_16_are_recognised_and_byte_order_marks_read_past() {
    for (layout, list) in [
        (Layout::CamVid, "val.txt"),
        (Layout::PascalContext, "ImageSets/SegmentationContext/val.txt"),
    ] {
        for mark in [[].as_slice(), &[0xff, 0xfe]] {
            let root = common::written(layout, [3, 2, 2]);
            let text = fs::read_to_string(root.path().join(list)).unwrap();
            let wide: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
            fs::write(root.path().join(list), [mark, &wide].concat()).unwrap();
            for extent in [Extent::Partial, Extent::Whole] {
                let found = check(layout, root.path(), extent);
                let of_list = found.problems.iter().filter(|p| p.found.contains("UTF-16"));
                assert_eq!(of_list.count(), 1, "{layout:?} {extent:?}: {:?}", found.problems);
            }
        }
        let root = common::written(layout, [3, 2, 2]);
        let text = fs::read_to_string(root.path().join(list)).unwrap();
        fs::write(root.path().join(list), format!("\u{feff}{text}")).unwrap();
        let found = check(layout, root.path(), Extent::Partial);
        assert_eq!(found.problems, [], "{layout:?}");
        assert_eq!(found.splits[1].images, 2);
        let set = layout.config().open(Some(root.path()), Split::Val).unwrap();
        assert!(!set.id(0).contains('\u{feff}') && set.sample(0).is_ok());
    }
    let root = folder("[]", &[0, 1], &[0, 1]);
    edit(root.path(), "ignore", "\u{feff}ignore");
    assert_eq!(check(Layout::Folder, root.path(), Extent::Whole).problems, []);
}

#[test]
fn a_part_may_lack_a_split_but_not_hold_one_that_cannot_be_read() {
    let root = common::written(Layout::CamVid, [3, 2, 2]);
    fs::remove_file(root.path().join("val.txt")).unwrap();
    let found = check(Layout::CamVid, root.path(), Extent::Partial);
    assert_eq!(found.problems, []);
    assert!(found.notes.iter().any(|note| note.contains("no val split here")));
    // A list of another set: none of its images is there.
    fs::write(root.path().join("val.txt"), "other/a.png others/a.png\n").unwrap();
    let found = only(Layout::CamVid, root.path(), Extent::Partial);
    assert!(found.contains("none of the 1 images of val is there"), "{found}");
    fs::write(root.path().join("val.txt"), "one two three\n").unwrap();
    let found = only(Layout::CamVid, root.path(), Extent::Partial);
    assert!(found.contains("val.txt, line 1"), "{found}");

    // What a description names must be there.
    let root = folder("[]", &[0, 1], &[0, 1]);
    fs::remove_dir_all(root.path().join("val/images")).unwrap();
    let found = only(Layout::Folder, root.path(), Extent::Partial);
    assert!(found.contains("val/images"), "{found}");
    let root = common::written(Layout::Ade20k, [1, 1, 1]);
    fs::remove_dir_all(root.path().join("images")).unwrap();
    fs::create_dir(root.path().join("images")).unwrap();
    let found = only(Layout::Ade20k, root.path(), Extent::Partial);
    assert!(found.contains("no split could be read"), "{found}");
}
