//! Whole sets pass, every way to break one is listed with its file and a remedy.

mod common;

use std::fs;
use std::path::Path;

use common::png;
use scene_data::verify::{Extent, Verification, verify};
use scene_data::{DatasetConfig, Layout, Split, convert_pascal_context};
use tempfile::TempDir;

/// Images of train, val and test.
const IMAGES: [usize; 3] = [3, 2, 2];

fn written(layout: Layout) -> TempDir {
    common::written(layout, IMAGES)
}

fn check(layout: Layout, root: &Path, extent: Extent) -> Verification {
    verify(&layout.config(), root, extent, &|_| {}).expect("the right dataset")
}

/// What is found in a part of a set after it was broken.
fn broken(layout: Layout, breaking: impl FnOnce(&Path)) -> Vec<String> {
    let root = written(layout);
    breaking(root.path());
    let found = check(layout, root.path(), Extent::Partial);
    for problem in &found.problems {
        assert!(!problem.remedy.is_empty(), "{problem:?}");
    }
    found.problems.into_iter().map(|problem| problem.found).collect()
}

/// The one problem found.
fn only(layout: Layout, breaking: impl FnOnce(&Path)) -> String {
    let mut problems = broken(layout, breaking);
    assert_eq!(problems.len(), 1, "{problems:?}");
    problems.remove(0)
}

#[test]
fn synthetic_sets_are_sound_parts_of_every_dataset() {
    for layout in Layout::ALL {
        let root = written(layout);
        let found = check(layout, root.path(), Extent::Partial);
        assert_eq!(found.problems, [], "{layout:?}");
        let images: Vec<usize> = found.splits.iter().map(|split| split.images).collect();
        let has_test = matches!(layout, Layout::CamVid | Layout::CamVidOriginal | Layout::Folder);
        assert_eq!(images, if has_test { vec![3, 2, 2] } else { vec![3, 2] }, "{layout:?}");

        // As a whole dataset they are far too small, but a folder of one's own has no official size.
        let found = check(layout, root.path(), Extent::Whole);
        let counts = found.problems.iter().filter(|p| p.found.contains("the release has"));
        assert_eq!(counts.count(), if layout == Layout::Folder { 0 } else { found.splits.len() });
        assert_eq!(found.splits[0].official.is_none(), layout == Layout::Folder);
    }
}

#[test]
fn progress_counts_every_pair_once() {
    let root = written(Layout::CamVid);
    let calls = std::sync::atomic::AtomicUsize::new(0);
    verify(&Layout::CamVid.config(), root.path(), Extent::Partial, &|total| {
        assert_eq!(total, 7);
        calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    })
    .unwrap();
    assert_eq!(calls.into_inner(), 7);
}

#[test]
fn files_that_are_missing_are_all_listed() {
    let root = written(Layout::CamVid);
    fs::remove_file(root.path().join("train/beacons_000001.png")).unwrap();
    fs::remove_file(root.path().join("valannot/beacons_000002.png")).unwrap();
    let found = check(Layout::CamVid, root.path(), Extent::Whole);
    let missing: Vec<&String> =
        found.problems.iter().map(|p| &p.found).filter(|f| f.contains("no such file")).collect();
    assert_eq!(missing.len(), 2);
    assert!(missing[0].contains("train/beacons_000001.png"), "{missing:?}");
    let found = check(Layout::CamVid, root.path(), Extent::Partial);
    assert_eq!(found.problems, []);
    assert_eq!(found.splits[0].images, 2);
    assert!(found.notes.iter().any(|note| note.contains("valannot/beacons_000002.png")));
}

#[test]
fn files_that_belong_to_nothing_are_listed_and_companions_are_not() {
    let gray = || png(4, 4, png::ColorType::Grayscale, png::BitDepth::Eight, &[1; 16]);
    let found = only(Layout::Ade20k, |root| {
        fs::write(root.join("annotations/training/ADE_train_00000009.png"), gray()).unwrap();
        fs::write(root.join("annotations/training/.DS_Store"), "").unwrap();
    });
    assert!(found.contains("ADE_train_00000009.png: belongs to no pair"), "{found}");
    let companions = broken(Layout::Cityscapes, |root| {
        let folder = root.join("gtFine/train/beacons");
        for end in ["gtFine_color.png", "gtFine_polygons.json", "gtFine_labelTrainIds.png"] {
            fs::write(folder.join(format!("beacons_000000_000019_{end}")), "").unwrap();
        }
    });
    assert_eq!(companions, [""; 0]);
    // VOC holds many more photographs than those with context labels.
    let photographs = broken(Layout::PascalContext, |root| {
        fs::write(root.join("JPEGImages/2007_000001.jpg"), "").unwrap();
    });
    assert_eq!(photographs, [""; 0]);
}

#[test]
fn pixels_that_mean_nothing_are_found_with_their_likely_cause() {
    let save = |root: &Path, name: &str, color, width: u32, bytes: &[u8]| {
        fs::write(root.join(name), png(width, 48, color, png::BitDepth::Eight, bytes)).unwrap();
    };
    let city = "gtFine/train/beacons/beacons_000000_000019_gtFine_labelIds.png";
    let gray = png::ColorType::Grayscale;
    let found = only(Layout::Cityscapes, |root| save(root, city, gray, 48, &[255; 48 * 48]));
    assert!(found.contains("value 255") && found.contains("labelTrainIds"), "{found}");
    let ade = "annotations/training/ADE_train_00000001.png";
    let found = only(Layout::Ade20k, |root| save(root, ade, gray, 48, &[255; 48 * 48]));
    assert!(found.contains("moved down by one"), "{found}");
    let rgb = png::ColorType::Rgb;
    let found = only(Layout::Ade20k, |root| save(root, ade, rgb, 48, &[9; 3 * 48 * 48]));
    assert!(found.contains("colour PNG") && found.contains("full ADE20K"), "{found}");
    let found = only(Layout::CamVid, |root| {
        save(root, "trainannot/beacons_000001.png", gray, 24, &[0; 24 * 48]);
    });
    assert!(found.contains("48×48") && found.contains("24×48"), "{found}");
}

#[test]
fn damaged_and_doubled_files_are_found() {
    let cut = |root: &Path, name: &str| {
        let file = root.join(name);
        let whole = fs::read(&file).unwrap();
        fs::write(&file, &whole[..whole.len() * 2 / 3]).unwrap();
    };
    for (layout, name) in [
        (Layout::Ade20k, "images/training/ADE_train_00000002.jpg"),
        (Layout::Ade20k, "annotations/training/ADE_train_00000002.png"),
        (Layout::PascalContextMat, "trainval/2008_000002.mat"),
        (Layout::Cityscapes, "gtFine/val/beacons/beacons_000001_000019_gtFine_instanceIds.png"),
        (Layout::CamVidOriginal, "LabeledApproved_full/0001TP_006720_L.png"),
        (Layout::Folder, "images/val/val_000001.png"),
    ] {
        let found = only(layout, |root| cut(root, name));
        assert!(found.contains(name.rsplit('/').next().unwrap()), "{found}");
    }
    let found = broken(Layout::CamVid, |root| {
        let train = fs::read_to_string(root.join("train.txt")).unwrap();
        let first = train.lines().next().unwrap();
        fs::write(root.join("train.txt"), format!("{train}{first}\n")).unwrap();
        let val = fs::read_to_string(root.join("val.txt")).unwrap();
        fs::write(root.join("val.txt"), format!("{val}{first}\n")).unwrap();
    });
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].contains("in train and in val"), "{found:?}");
    assert!(found[1].contains("twice in train"), "{found:?}");
}

#[test]
fn another_dataset_is_refused_as_such() {
    let root = written(Layout::Ade20k);
    let config = DatasetConfig::Cityscapes {};
    let error = verify(&config, root.path(), Extent::Partial, &|_| {}).unwrap_err().to_string();
    assert!(error.contains("this looks like ADE20K"), "{error}");
}

#[test]
fn the_official_labels_become_the_common_layout() {
    let root = written(Layout::PascalContextMat);
    let first = convert_pascal_context(root.path(), &|total| assert_eq!(total, 5)).unwrap();
    assert_eq!((first.written, first.kept), (5, 0));
    fs::remove_file(root.path().join("VOCdevkit/VOC2010/SegmentationClassContext/2008_000002.png"))
        .unwrap();
    let second = convert_pascal_context(root.path(), &|_| {}).unwrap();
    assert_eq!((second.written, second.kept), (1, 4));
    let open = |layout: Layout| layout.config().open(Some(root.path()), Split::Val).unwrap();
    let (png, mat) = (open(Layout::PascalContext), open(Layout::PascalContextMat));
    assert_eq!(png.len(), 2);
    for index in 0..2 {
        assert_eq!(png.sample(index).unwrap(), mat.sample(index).unwrap());
    }
    assert_eq!(check(Layout::PascalContext, root.path(), Extent::Partial).problems, []);
}
