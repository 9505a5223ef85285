//! Fingerprints: kept from one start to the next, and held to while a program runs.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use scene_data::beacons::{Beacons, BeaconsConfig};
use scene_data::{
    DatasetConfig, Error, FingerprintCache, Layout, SceneDataset, Split, ValueKind, synth,
};

fn few() -> BeaconsConfig {
    BeaconsConfig {
        size_px: 48,
        textures: 2,
        beacon_px: 7,
        train_images: 3,
        val_images: 2,
        test_images: 2,
        ..BeaconsConfig::default()
    }
}

/// A folder with a small set below `data`.
fn written(layout: Layout) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    synth::write(layout, &few(), &dir.path().join("data")).unwrap();
    dir
}

fn train(dir: &Path) -> Box<dyn SceneDataset> {
    Layout::Folder.config().open(Some(&dir.join("data")), Split::Train).unwrap()
}

fn kept(dir: &Path) -> (FingerprintCache, PathBuf) {
    (FingerprintCache::in_folder(dir.join("cache")), dir.join("cache/fingerprints"))
}

/// Longer than a clock's step, after which files may be known by their stamps.
fn settle() {
    std::thread::sleep(Duration::from_millis(2100));
}

/// Another label file of the same size and with the same time of writing.
fn relabel(file: &Path) {
    let before = fs::metadata(file).unwrap();
    let mut bytes = fs::read(file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(file, bytes).unwrap();
    let open = File::options().write(true).open(file).unwrap();
    open.set_modified(before.modified().unwrap()).unwrap();
}

#[test]
fn what_is_kept_is_not_read_again_until_it_changes() {
    let dir = written(Layout::Folder);
    settle();
    let (cache, folder) = kept(dir.path());
    let plain = train(dir.path()).fingerprint().unwrap();
    assert_eq!(train(dir.path()).fingerprint_in(&cache).unwrap(), plain);
    let file = fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
    let whole = fs::read(&file).unwrap();
    // The first sample's hash, made another: what follows is from the cache, not from the files.
    let mut known: serde_json::Value = serde_json::from_slice(&whole).unwrap();
    known[0][0][0] = (known[0][0][0].as_u64().unwrap() ^ 1).into();
    fs::write(&file, known.to_string()).unwrap();
    assert_ne!(train(dir.path()).fingerprint_in(&cache).unwrap(), plain);
    // A damaged cache costs time, and nothing else.
    for damaged in [&whole[..whole.len() / 2], b"[]", b"null", b""] {
        fs::write(&file, damaged).unwrap();
        assert_eq!(train(dir.path()).fingerprint_in(&cache).unwrap(), plain);
        assert_eq!(fs::read(&file).unwrap(), whole, "and is made again");
    }
    relabel(&dir.path().join("data/labels/train/train_000002.png"));
    let changed = train(dir.path()).fingerprint_in(&cache).unwrap();
    assert_ne!(changed, plain);
    assert_eq!(train(dir.path()).fingerprint().unwrap(), changed);
    // One photograph fewer.
    fs::remove_file(dir.path().join("data/images/train/train_000001.png")).unwrap();
    let fewer = train(dir.path()).fingerprint_in(&cache).unwrap();
    assert_eq!(train(dir.path()).fingerprint().unwrap(), fewer);
    assert_ne!(fewer, changed);
}

#[test]
fn a_change_within_the_clocks_step_is_seen() {
    let dir = written(Layout::Folder);
    let (cache, _) = kept(dir.path());
    for _ in 0..20 {
        let before = train(dir.path()).fingerprint_in(&cache).unwrap();
        relabel(&dir.path().join("data/labels/train/train_000003.png"));
        assert_ne!(train(dir.path()).fingerprint_in(&cache).unwrap(), before);
        assert_eq!(
            train(dir.path()).fingerprint_in(&cache).unwrap(),
            train(dir.path()).fingerprint().unwrap()
        );
    }
}

#[test]
fn samples_are_those_of_the_fingerprint_or_an_error() {
    for is_settled in [false, true] {
        let dir = written(Layout::Folder);
        if is_settled {
            settle();
        }
        let set = train(dir.path());
        let before = set.sample(1).unwrap();
        set.fingerprint().unwrap();
        let labels = dir.path().join("data/labels/train/train_000002.png");
        let image = dir.path().join("data/images/train/train_000002.png");
        // Another time, another inode, the same data.
        fs::copy(&image, dir.path().join("copy.png")).unwrap();
        fs::rename(dir.path().join("copy.png"), &image).unwrap();
        assert_eq!(set.sample(1).unwrap(), before);
        let whole = fs::read(&labels).unwrap();
        relabel(&labels);
        let error = set.sample(1).unwrap_err();
        assert!(matches!(&error, Error::Changed { .. }), "{error}");
        assert!(error.to_string().contains("changed while the program ran"), "{error}");
        assert!(set.sample(0).is_ok());
        fs::write(&labels, whole).unwrap();
        assert_eq!(set.sample(1).unwrap(), before, "the same again");
    }
}

#[test]
fn a_generated_set_is_hashed_once() {
    let dir = tempfile::tempdir().unwrap();
    let (cache, folder) = kept(dir.path());
    let print = |config: &BeaconsConfig, split| {
        Beacons::new(config, split).unwrap().fingerprint_in(&cache).unwrap()
    };
    for split in Split::ALL {
        let plain = Beacons::new(&few(), split).unwrap().fingerprint().unwrap();
        assert_eq!(print(&few(), split), plain);
        assert_eq!(print(&few(), split), plain);
    }
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 3);
    let other = BeaconsConfig { seed: 1, ..few() };
    assert_ne!(print(&other, Split::Test), print(&few(), Split::Test));
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 4);
    // What is in its place but no hash is made anew.
    for file in fs::read_dir(&folder).unwrap() {
        fs::write(file.unwrap().path(), "no hash").unwrap();
    }
    let plain = Beacons::new(&few(), Split::Val).unwrap().fingerprint().unwrap();
    assert_eq!(print(&few(), Split::Val), plain);
}

#[test]
fn the_values_of_labels_are_told() {
    let open = |layout: Layout, root: &Path| {
        let set = layout.config().open(Some(&root.join("data")), Split::Train).unwrap();
        set.label_values()
    };
    let dir = written(Layout::Folder);
    let file = dir.path().join("data/dataset.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("ignore = [255]", "ignore = [9, 255]")).unwrap();
    let values = open(Layout::Folder, dir.path());
    assert_eq!(values.kind, ValueKind::Indices);
    assert_eq!(values.of_classes, [[0], [1], [2], [3]]);
    assert_eq!(values.ignored, [9, 255]);
    let values = open(Layout::Ade20k, written(Layout::Ade20k).path());
    assert_eq!((values.of_classes[149][0], &*values.ignored), (150, &[0][..]));
    let values = open(Layout::CamVidOriginal, written(Layout::CamVidOriginal).path());
    assert_eq!((values.kind, &*values.ignored), (ValueKind::Colours, &[0][..]));
    assert!(values.of_classes[0].contains(&0x0080_8080), "the sky is gray: {values:?}");
    let set = DatasetConfig::Beacons(few()).open(None, Split::Train).unwrap();
    assert_eq!(set.label_values().of_classes, [[0], [1], [2], [3]]);
}
