//! `experiments score` on files: whole sets get numbers, anything wrong gets a list and none.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::process::{Command, Output};

use scene_data::beacons::BeaconsConfig;
use scene_data::{DatasetConfig, LabelFiles, LabelMap, Layout, synth};
use serde_json::Value;
use tempfile::TempDir;

/// A tiny set and a perfect prediction of its val split.
fn written(layout: Layout, labels: &str) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    let config = BeaconsConfig {
        size_px: 48,
        textures: 3,
        train_images: 1,
        val_images: 3,
        test_images: 1,
        regions: 4,
        beacon_px: 7,
        ..BeaconsConfig::default()
    };
    synth::write(layout, &config, &root.path().join("set")).unwrap();
    let mine = root.path().join("mine");
    fs::create_dir(&mine).unwrap();
    for entry in fs::read_dir(root.path().join("set").join(labels)).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if !name.contains("instanceIds") {
            fs::copy(&path, mine.join(name.replace("_gtFine_labelIds", ""))).unwrap();
        }
    }
    root
}

fn score(root: &Path, protocol: &str, labels: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_experiments"));
    let labels = format!("set/{labels}");
    command.args(["score", "--protocol", protocol, "--labels", &labels, "--predictions", "mine"]);
    command.args(["--json", "scores.json"]).current_dir(root).output().unwrap()
}

fn refused(root: &Path, protocol: &str, labels: &str) -> String {
    let output = score(root, protocol, labels);
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty(), "no score is printed");
    assert!(!root.join("scores.json").exists());
    String::from_utf8(output.stderr).unwrap()
}

const CITY: &str = "gtFine/val/beacons";

#[test]
fn perfect_predictions_score_100_in_every_encoding() {
    for (layout, protocol, labels) in [
        (Layout::Cityscapes, "cityscapes", CITY),
        (Layout::Ade20k, "ade20k", "annotations/validation"),
        (Layout::CamVid, "camvid", "valannot"),
        (Layout::PascalContext, "pascal-context-59", "SegmentationClassContext"),
        (Layout::PascalContext, "pascal-context-60", "SegmentationClassContext"),
    ] {
        let root = written(layout, labels);
        let output = score(root.path(), protocol, labels);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains(protocol) && text.contains("| pixel accuracy | 100.00 |"), "{text}");
        let json: Value =
            serde_json::from_slice(&fs::read(root.path().join("scores.json")).unwrap()).unwrap();
        assert_eq!(json["miou_absent_skipped"], 1.0, "{protocol}");
        assert_eq!(json["official"]["class_iou"].is_null(), protocol != "cityscapes");
        if protocol == "ade20k" {
            // Six of 150 classes occur.
            assert!((json["miou"].as_f64().unwrap() - 6.0 / 150.0).abs() < 1e-12);
        }
    }
}

#[test]
fn a_wrong_pixel_and_an_ignored_prediction_count_as_misses() {
    let root = written(Layout::Ade20k, "annotations/validation");
    let files = LabelFiles::of(&DatasetConfig::Ade20k {}, None).unwrap();
    let file = root.path().join("mine/ADE_val_00000002.png");
    let mut labels = files.read(&file).unwrap();
    (labels.data[0], labels.data[1]) = ((labels.data[0] + 1) % 6, 255);
    files.write(&file, &labels).unwrap();
    assert_eq!(files.read(&file).unwrap(), labels);
    assert!(score(root.path(), "ade20k", "annotations/validation").status.success());
    let json: Value =
        serde_json::from_slice(&fs::read(root.path().join("scores.json")).unwrap()).unwrap();
    let labelled = (3 * 48 * 48) as f64;
    assert_eq!(json["pixel_accuracy"].as_f64(), Some((labelled - 2.0) / labelled));
    let class = LabelMap { width: 1, height: 1, data: vec![200] };
    let error = files.write(&file, &class).unwrap_err().to_string();
    assert!(error.contains("class 200"), "{error}");
}

#[test]
fn every_file_that_is_wrong_is_listed_and_nothing_is_scored() {
    let root = written(Layout::Cityscapes, CITY);
    let mine = |name: &str| root.path().join("mine").join(name);
    fs::remove_file(mine("beacons_000000_000019.png")).unwrap();
    fs::copy(mine("beacons_000001_000019.png"), mine("beacons_000001_000019_again.png")).unwrap();
    fs::copy(mine("beacons_000001_000019.png"), mine("beacons_000077_000019.png")).unwrap();
    image::RgbImage::new(48, 48).save(mine("beacons_000002_000019.png")).unwrap();
    let message = refused(root.path(), "cityscapes", CITY);
    assert!(message.contains("4 problems, nothing is scored"), "{message}");
    for part in [
        "000000_000019_gtFine_labelIds.png: no prediction for it",
        "beacons_000001_000019_again.png: a second file",
        "beacons_000077_000019.png: there is no label file for it",
        "beacons_000002_000019.png: a colour PNG",
    ] {
        assert!(message.contains(part), "{part}: {message}");
    }
}

#[test]
fn other_sizes_encodings_and_train_ids_are_recognised() {
    let gray = |root: &Path, name: &str, side: u32, value: u8| {
        let picture = image::GrayImage::from_pixel(side, side, image::Luma([value]));
        picture.save(root.join("mine").join(name)).unwrap();
    };
    let root = written(Layout::Cityscapes, CITY);
    gray(root.path(), "beacons_000000_000019.png", 48, 2);
    gray(root.path(), "beacons_000001_000019.png", 24, 7);
    gray(root.path(), "beacons_000002_000019.png", 48, 40);
    let message = refused(root.path(), "cityscapes", CITY);
    assert!(message.contains("beacons_000000_000019.png: these look like trainIds"), "{message}");
    assert!(message.contains("beacons_000001_000019.png: 24×24"), "{message}");
    assert!(message.contains("beacons_000002_000019.png") && message.contains("40"), "{message}");

    let root = written(Layout::CamVid, "valannot");
    gray(root.path(), "beacons_000001.png", 48, 12);
    let message = refused(root.path(), "camvid", "valannot");
    assert!(message.contains("label value 12 at column 0, row 0"), "{message}");
    let message = refused(root.path(), "beacons", "valannot");
    assert!(message.contains("beacons has no files to score"), "{message}");
}

/// A picture of one value.
fn gray(file: &Path, value: u8) {
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    let picture = image::GrayImage::from_pixel(4, 4, image::Luma([value]));
    picture.save_with_format(file, image::ImageFormat::Png).unwrap();
}

#[test]
fn names_in_capitals_and_names_that_are_no_text_are_scored() {
    let root = tempfile::tempdir().unwrap();
    let at = |folder: &str, name: &[u8]| {
        root.path().join(folder).join(OsString::from_vec(name.to_vec()))
    };
    // One right, two wrong: the wrong ones were dropped, and 100 % were left.
    gray(&at("set/labels", b"a.png"), 1);
    gray(&at("mine", b"a.png"), 1);
    gray(&at("set/labels", b"b.PNG"), 1);
    gray(&at("mine", b"b.png"), 2);
    gray(&at("set/labels", b"stra\xdfe.png"), 1);
    gray(&at("mine", b"stra\xdfe.png"), 2);
    let output = score(root.path(), "camvid", "labels");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("3 images") && text.contains("| pixel accuracy | 33.33 |"), "{text}");
    fs::remove_file(root.path().join("scores.json")).unwrap();

    // Without partners they are named, on either side.
    gray(&at("set/labels", b"c.PNG"), 1);
    gray(&at("mine", b"d.PNG"), 1);
    gray(&at("mine", b"\xfc.png"), 1);
    gray(&at("mine", b"b.PNG"), 1);
    gray(&at("set/labels", b"e.jpg"), 1);
    let message = refused(root.path(), "camvid", "labels");
    for part in [
        "5 problems",
        "labels/c.PNG: no prediction for it",
        "mine/d.PNG: there is no label file for it",
        "mine/\u{fffd}.png: there is no label file for it",
        "a second file for the image of",
        "labels/e.jpg: only PNGs hold class indices",
    ] {
        assert!(message.contains(part), "{part}: {message}");
    }
}

#[test]
fn litter_and_other_files_are_left_out_and_said() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    gray(&at("set/labels/a.png"), 1);
    gray(&at("mine/a.png"), 1);
    gray(&at("mine/._a.png"), 1);
    gray(&at("set/labels/__MACOSX/b.png"), 1);
    fs::write(at("mine/Thumbs.db"), "").unwrap();
    fs::write(at("mine/log.txt"), "").unwrap();
    let output = score(root.path(), "camvid", "labels");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("1 images") && text.contains("log.txt"), "{text}");
    assert!(text.contains("3 hidden or a file manager's"), "{text}");
}

#[test]
fn instances_count_where_names_are_in_capitals_and_are_not_dropped_in_silence() {
    let root = written(Layout::Cityscapes, CITY);
    let folder = root.path().join("set").join(CITY);
    let file = |name: &str| folder.join(format!("beacons_000001_000019_gtFine_{name}"));
    fs::rename(file("labelIds.png"), file("labelIds.PNG")).unwrap();
    let text = |output: Output| {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let whole = text(score(root.path(), "cityscapes", CITY));
    assert!(!whole.contains("instanceIds"), "{whole}");
    fs::remove_file(file("instanceIds.png")).unwrap();
    let part = text(score(root.path(), "cityscapes", CITY));
    assert!(part.contains("instanceIds for 2 of 3 only"), "{part}");
    gray(&file("labels.png"), 1);
    let message = refused_after(root.path());
    assert!(message.contains("neither *_gtFine_labelIds.png nor one of"), "{message}");
}

fn refused_after(root: &Path) -> String {
    fs::remove_file(root.join("scores.json")).unwrap();
    refused(root, "cityscapes", CITY)
}

#[test]
fn a_folder_of_ones_own_is_scored_by_its_class_table() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    gray(&at("set/val/labels/a.png"), 30);
    gray(&at("mine/a.png"), 30);
    gray(&at("set/val/labels/b.png"), 30);
    gray(&at("mine/b.png"), 7);
    gray(&at("set/val/labels/c.png"), 9);
    gray(&at("mine/c.png"), 7);
    let message = refused(root.path(), "folder", "val/labels");
    assert!(message.contains("no dataset.toml there or in a folder above"), "{message}");
    let text = "ignore = [9]\n[[class]]\nvalue = 30\nname = \"a|b\\nc\"\n\
                [[class]]\nvalue = 7\nname = \"d\"\n";
    fs::write(at("set/dataset.toml"), text).unwrap();
    let output = score(root.path(), "folder", "val/labels");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("| pixel accuracy | 50.00 |"), "{text}");
    assert!(text.contains("| a\\|b c | 50.00 |"), "names are cells of their own: {text}");
    gray(&at("mine/c.png"), 8);
    fs::remove_file(at("scores.json")).unwrap();
    assert!(refused(root.path(), "folder", "val/labels").contains("label value 8"));
}

#[test]
fn labels_of_nothing_have_no_score() {
    let root = tempfile::tempdir().unwrap();
    gray(&root.path().join("set/labels/a.png"), 11);
    gray(&root.path().join("mine/a.png"), 1);
    let output = score(root.path(), "camvid", "labels");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("| **mIoU** (headline) | – |"), "{text}");
}
