//! What lies in a dataset's folders and is no photograph of it: left out, and said.

mod common;

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use scene_data::verify::{Extent, verify};
use scene_data::{Layout, SceneDataset, Split};

const LITTER: [&str; 6] =
    ["._beacons.png", ".DS_Store", "Thumbs.db", "desktop.ini", "._x.jpg", "._x_leftImg8bit.png"];

fn open(layout: Layout, root: &Path) -> Box<dyn SceneDataset> {
    layout.config().open(Some(root), Split::Train).expect("a sound set")
}

#[test]
fn hidden_files_and_litter_are_no_photographs_and_are_counted() {
    for (layout, folders) in [
        (Layout::Ade20k, ["images/training", "annotations/training"]),
        (Layout::Cityscapes, ["leftImg8bit/train/beacons", "gtFine/train/beacons"]),
        (Layout::Folder, ["images/train", "labels/train"]),
        (Layout::CamVid, ["train", "trainannot"]),
        (Layout::CamVidOriginal, ["701_StillsRaw_full", "LabeledApproved_full"]),
        (Layout::PascalContextMat, ["VOCdevkit/VOC2010/JPEGImages", "trainval"]),
    ] {
        let root = common::written(layout, [3, 2, 2]);
        for (folder, name) in folders.into_iter().flat_map(|f| LITTER.map(|name| (f, name))) {
            fs::write(root.path().join(folder).join(name), "Mac OS X").unwrap();
        }
        let set = open(layout, root.path());
        assert_eq!(set.len(), 3, "{layout:?}");
        (0..3).for_each(|index| drop(set.sample(index).expect("litter is no photograph")));
        let is_scanned = matches!(layout, Layout::Ade20k | Layout::Cityscapes | Layout::Folder);
        let said = set.left_out().unwrap_or_default();
        assert_eq!(said.contains("6 hidden files"), is_scanned, "{layout:?}: {said}");
        let found = verify(&layout.config(), root.path(), Extent::Partial, &|_| {}).unwrap();
        assert_eq!(found.problems, [], "{layout:?}");
        let notes: Vec<_> = found.notes.iter().filter(|n| n.contains("left out")).collect();
        // VOC's photographs are not looked through.
        let files = if layout == Layout::PascalContextMat { 6 } else { 12 };
        assert_eq!(notes.len(), 1, "{layout:?}: {notes:?}");
        assert!(notes[0].contains(&format!("{files} hidden files")), "{layout:?}: {notes:?}");
    }
    let root = common::written(Layout::Ade20k, [1, 1, 1]);
    assert_eq!(open(Layout::Ade20k, root.path()).left_out(), None);
}

#[test]
fn files_that_are_no_photographs_are_named() {
    for (layout, folder) in [
        (Layout::Ade20k, "images/training"),
        (Layout::Cityscapes, "leftImg8bit/train/beacons"),
        (Layout::Folder, "images/train"),
    ] {
        let root = common::written(layout, [2, 1, 1]);
        fs::write(root.path().join(folder).join("IMG_0001.HEIC"), "").unwrap();
        let set = open(layout, root.path());
        let said = set.left_out().unwrap_or_default();
        assert!(set.len() == 2 && said.contains("IMG_0001.HEIC"), "{layout:?}: {said}");
    }
}

#[test]
fn names_in_capitals_and_names_that_are_no_text_are_read() {
    let root = common::written(Layout::Folder, [3, 1, 1]);
    let at = |folder: &str, name: OsString| root.path().join(folder).join(name);
    let rename = |folder: &str, from: &str, to: OsString| {
        fs::rename(at(folder, from.into()), at(folder, to)).unwrap();
    };
    for (folder, ending) in [("images/train", "PNG"), ("labels/train", "Png")] {
        rename(folder, "train_000001.png", format!("train_000001.{ending}").into());
        let no_text = OsString::from_vec(b"stra\xdfe.png".to_vec());
        rename(folder, "train_000002.png", no_text);
    }
    let set = open(Layout::Folder, root.path());
    assert_eq!(set.len(), 3);
    (0..3).for_each(|index| drop(set.sample(index).expect("a pair")));
    assert_eq!(set.id(0), "stra\u{fffd}e");

    // Two files for one image are not one of them.
    for (name, second) in [("train_000003.png", "train_000003.PNG"), ("straße", "")] {
        let (first, second) = match second {
            "" => (b"stra\xdfe.png".to_vec(), b"stra\xfce.png".to_vec()),
            _ => (name.into(), second.into()),
        };
        let [first, second] = [first, second].map(|n| at("images/train", OsString::from_vec(n)));
        fs::copy(&first, &second).unwrap();
        let config = Layout::Folder.config();
        let error = config.open(Some(root.path()), Split::Train).map(|set| set.len()).unwrap_err();
        assert!(error.to_string().contains("two files for one image"), "{error}");
        fs::remove_file(second).unwrap();
    }
}
