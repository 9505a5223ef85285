//! `experiments data` as a person types it.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::path::Path;
use std::process::{Command, Output};

fn data(dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_experiments"));
    command.current_dir(dir).arg("data").args(args).output().expect("the binary starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

/// Standard output of a command that must succeed.
fn said(dir: &Path, args: &[&str]) -> String {
    let output = data(dir, args);
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

/// Standard error of a command that must fail.
fn refused(dir: &Path, args: &[&str]) -> String {
    let output = data(dir, args);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
    text(&output.stderr)
}

#[test]
fn a_set_is_made_checked_counted_and_shown() {
    let dir = tempfile::tempdir().unwrap();
    said(dir.path(), &["synth", "cityscapes", "set", "--images", "4", "--size-px", "64"]);
    let found = said(dir.path(), &["verify", "cityscapes", "--data-root", "set", "--partial"]);
    assert!(found.contains("train: 4 of 2975 images") && found.contains("no problems"), "{found}");
    let counted = said(dir.path(), &["stats", "cityscapes", "--data-root", "set"]);
    assert!(counted.contains("cityscapes train: 4 images, 16384 pixels"), "{counted}");
    assert!(counted.contains("size: 64×64") && counted.contains("| road |"), "{counted}");
    said(
        dir.path(),
        &["preview", "cityscapes", "--data-root", "set", "--count", "2", "--out-dir", "seen"],
    );
    let sheet = image::open(dir.path().join("seen/train-sheet.png")).unwrap().into_rgb8();
    assert!(sheet.width() > 500);
    assert!(dir.path().join("seen/train-beacons_000000_000019.png").is_file());
}

#[test]
fn problems_end_in_exit_code_1_and_a_list() {
    let dir = tempfile::tempdir().unwrap();
    said(dir.path(), &["synth", "camvid", "set", "--images", "3", "--size-px", "64"]);
    std::fs::write(dir.path().join("set/trainannot/beacons_000001.png"), "no PNG").unwrap();
    std::fs::write(dir.path().join("set/valannot/left_over.png"), "").unwrap();
    let output = data(dir.path(), &["verify", "camvid", "--data-root", "set", "--partial"]);
    assert_eq!(output.status.code(), Some(1));
    let (list, error) = (text(&output.stdout), text(&output.stderr));
    assert!(list.contains("trainannot/beacons_000001.png: not a readable PNG"), "{list}");
    assert!(list.contains("left_over.png: belongs to no pair"), "{list}");
    assert_eq!(error.lines().last(), Some("error: 2 problems found"));
    // As a whole dataset it is far too small as well.
    let output = data(dir.path(), &["verify", "camvid", "--data-root", "set"]);
    assert!(text(&output.stdout).contains("train has 3 images, the release has 367"));
}

#[test]
fn mistakes_are_answered_with_what_there_is() {
    let dir = tempfile::tempdir().unwrap();
    let list = said(dir.path(), &["list"]);
    for name in ["beacons", "camvid-original", "ade20k", "pascal-context-mat", "folder"] {
        assert!(list.contains(name), "{list}");
    }
    let error = refused(dir.path(), &["stats", "kitti"]);
    assert!(error.contains("no dataset is called \"kitti\""), "{error}");
    let error = refused(dir.path(), &["stats", "ade20k"]);
    assert!(error.contains("pass --data-root"), "{error}");
    let error = refused(dir.path(), &["synth", "camvit", "set"]);
    assert!(error.contains("did you mean `camvid`?"), "{error}");
    let error = refused(dir.path(), &["verify", "camvid", "--data-root", "nowhere"]);
    assert!(error.contains("no such folder"), "{error}");
    let error = refused(dir.path(), &["prepare", "cityscapes", "--data-root", "set"]);
    assert!(error.contains("after registration"), "{error}");
    let error = refused(
        dir.path(),
        &["stats", "pascal-context", "--data-root", "nowhere", "--set", "clases=60"],
    );
    assert!(error.contains("did you mean `classes`?"), "{error}");
    let error = refused(
        dir.path(),
        &["stats", "pascal-context", "--data-root", ".", "--set", "classes=61"],
    );
    assert!(error.contains("classes = 61"), "{error}");
}

#[test]
fn training_does_not_begin_where_a_split_has_no_labelled_pixel() {
    let config = "dataset = { kind = \"folder\" }\ntraining = { epochs = 1, batch_size = 1 }\n\
                  [model]\nbackbone = { kind = \"small-cnn\", channels = [4, 8, 8], \
                  blocks_per_stage = [1, 1, 1] }\ncontext_stride = 8\nskip_stride = 4\n\
                  adapter_channels = 8\nskip_channels = 4\n\
                  context = { hidden_channels = 8, cell = { kind = \"none\" } }\n";
    for (split, why) in [
        ("train", "nothing to learn from"),
        ("val", "no epoch can be chosen by it"),
        ("test", "nothing to score on"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        said(dir.path(), &["synth", "folder", "set", "--images", "2", "--size-px", "64"]);
        std::fs::write(dir.path().join("config.toml"), config).unwrap();
        for entry in std::fs::read_dir(dir.path().join("set/labels").join(split)).unwrap() {
            let blank = image::GrayImage::from_pixel(64, 64, image::Luma([255]));
            blank.save(entry.unwrap().path()).unwrap();
        }
        let train = |more: &[&str]| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_experiments"));
            command.current_dir(dir.path()).args(["train", "config.toml", "--data-root", "set"]);
            command.args(more).output().unwrap()
        };
        let output = train(&["--out-dir", "out"]);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(error.contains(&format!("folder {split}: no pixel")), "{error}");
        assert!(error.contains(why) && !error.contains("epoch 1/1"), "{error}");
        assert!(!text(&output.stdout).contains("0.0"), "{}", text(&output.stdout));
        // A trial sees train alone.
        let tried = train(&["--try", "1"]);
        assert_eq!(tried.status.success(), split != "train", "{}", text(&tried.stderr));
    }
}

#[test]
fn litter_is_left_out_and_said_once() {
    let dir = tempfile::tempdir().unwrap();
    said(dir.path(), &["synth", "ade20k", "set", "--images", "2", "--size-px", "64"]);
    let folder = dir.path().join("set/images/training");
    for name in ["._x.jpg", ".DS_Store", "Thumbs.db", "desktop.ini", "note.txt"] {
        std::fs::write(folder.join(name), "").unwrap();
    }
    let output = data(dir.path(), &["stats", "ade20k", "--data-root", "set"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("ade20k train: 2 images"), "{}", text(&output.stdout));
    let error = text(&output.stderr);
    assert_eq!(error.matches("left out: 4 hidden files").count(), 1, "{error}");
    assert!(error.contains("note.txt"), "{error}");
}
