//! The genuine sets, where a checkout has them beside it.
#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(clippy::print_stderr, reason = "a test says what it skips")]

use std::collections::BTreeSet;
use std::path::PathBuf;

use scene_data::{
    DatasetConfig, IGNORE, Layout, PascalContextConfig, SceneDataset, Split, read_png_u16,
};

/// A folder under `shared/data` beside the checkout, or `None` (and a word about it).
fn shared(name: &str) -> Option<PathBuf> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data").join(name);
    if root.is_dir() {
        return Some(root);
    }
    eprintln!("skipped: there is no {}", root.display());
    None
}

/// Reads some samples and returns the classes that occur.
fn classes_of(set: &dyn SceneDataset, most: usize) -> BTreeSet<u8> {
    let step = set.len().div_ceil(most);
    let mut seen = BTreeSet::new();
    for index in (0..set.len()).step_by(step) {
        let sample = set.sample(index).expect("a readable sample");
        let (width, height) = sample.image.dimensions();
        assert_eq!(sample.labels.data.len(), width as usize * height as usize);
        seen.extend(sample.labels.data);
    }
    seen
}

#[test]
fn camvid_has_its_367_101_233_images() {
    let Some(root) = shared("camvid") else { return };
    for (split, len, first) in [
        (Split::Train, 367, "0001TP_006690"),
        (Split::Val, 101, "0016E5_07959"),
        (Split::Test, 233, "0001TP_008550"),
    ] {
        let set = Layout::CamVid.config().open(Some(&root), split).unwrap();
        assert_eq!((set.len(), set.id(0), set.classes().len()), (len, first, 11));
        let sample = set.sample(0).unwrap();
        assert_eq!((sample.labels.width, sample.labels.height), (480, 360));
        let seen = classes_of(&*set, 12);
        let all: BTreeSet<u8> = (0..11).chain([IGNORE]).collect();
        assert_eq!(seen, all, "{split}");
    }
}

#[test]
fn ade20k_samples_read() {
    let Some(root) = shared("samples/ade20k") else { return };
    let set = DatasetConfig::Ade20k {}.open(Some(&root), Split::Val).unwrap();
    assert_eq!((set.len(), set.id(0)), (3, "ADE_val_00000001"));
    // The published check of the metrics counts 15 classes in these three.
    let seen = classes_of(&*set, 3);
    assert!(seen.contains(&IGNORE) && seen.iter().all(|&class| class < 150 || class == IGNORE));
    let train = DatasetConfig::Ade20k {}.open(Some(&root), Split::Train).unwrap();
    assert!(classes_of(&*train, 4).len() > 10);
}

#[test]
fn pascal_context_samples_read() {
    let Some(root) = shared("samples/pascal_context") else { return };
    let config = DatasetConfig::PascalContext(PascalContextConfig::default());
    for (split, len) in [(Split::Train, 46), (Split::Val, 57), (Split::Test, 57)] {
        let set = config.open(Some(&root), split).unwrap();
        assert_eq!(set.len(), len);
        let seen = classes_of(&*set, 20);
        assert!(seen.len() > 20 && seen.iter().all(|&class| class < 59 || class == IGNORE));
    }
}

#[test]
fn cityscapes_samples_match_the_official_mapping() {
    let Some(root) = shared("samples/cityscapes") else { return };
    let set = DatasetConfig::Cityscapes {}.open(Some(&root), Split::Train).unwrap();
    assert_eq!((set.len(), set.id(0)), (8, "aachen_000000_000019"));
    let sample = set.sample(0).unwrap();
    let folder = root.join("gtFine/train/aachen");
    let official = folder.join("aachen_000000_000019_gtFine_labelTrainIds.png");
    assert_eq!(sample.labels, scene_data::read_label_png(&official).unwrap());
    // An instance id is the label id, or 1000 times the label id plus a number.
    let ids = read_png_u16(&folder.join("aachen_000000_000019_gtFine_instanceIds.png")).unwrap();
    let plain =
        scene_data::read_label_png(&folder.join("aachen_000000_000019_gtFine_labelIds.png"));
    let of_instance = ids.data.iter().map(|&id| if id < 1000 { id } else { id / 1000 });
    assert!(of_instance.eq(plain.unwrap().data.iter().map(|&id| u16::from(id))));

    let Some(small) = shared("samples/cityscapes_small") else { return };
    let set = DatasetConfig::Cityscapes {}.open(Some(&small), Split::Test).unwrap();
    assert_eq!(set.sample(0).unwrap().labels.width, 256);
}

/// A share of real photographs, each damaged in a way that disks and networks do.
fn found_percent(files: &[Vec<u8>], damage: impl Fn(&mut Vec<u8>, usize)) -> f64 {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.jpg");
    let (mut state, mut found) = (7u64, 0);
    for whole in files {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let scan = whole.windows(2).position(|two| two == [0xff, 0xda]).unwrap() + 14;
        let at = scan + (state >> 33) as usize % (whole.len() - scan - 600);
        let mut bytes = whole.clone();
        damage(&mut bytes, at);
        std::fs::write(&file, bytes).unwrap();
        found += usize::from(scene_data::read_image(&file).is_err());
    }
    100.0 * found as f64 / files.len() as f64
}

#[test]
fn damage_in_real_photographs_is_found_and_sound_ones_are_read() {
    let Some(root) = shared("camvid/train") else { return };
    let mut names: Vec<PathBuf> =
        std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    let files: Vec<Vec<u8>> =
        names.iter().step_by(4).map(|name| std::fs::read(name).unwrap()).collect();
    assert!(files.len() > 80);
    let noise = |at: usize, nth: usize| ((at + nth).wrapping_mul(2_654_435_761) >> 13) as u8;
    let sound = found_percent(&files, |bytes, _| bytes.extend(b"....ftypmp42"));
    let cut = found_percent(&files, |bytes, at| {
        bytes.truncate(at);
        bytes.extend([0xff, 0xd9]);
    });
    let sector = found_percent(&files, |bytes, at| {
        (0..512).for_each(|nth| bytes[at + nth] = noise(at, nth));
    });
    let zeros = found_percent(&files, |bytes, at| bytes[at..at + 512].fill(0));
    let lost = found_percent(&files, |bytes, at| drop(bytes.drain(at..at + 100)));
    let short = found_percent(&files, |bytes, at| {
        (0..64).for_each(|nth| bytes[at + nth] = noise(at, nth));
    });
    let rates = [sound, cut, sector, zeros, lost, short];
    assert_eq!(rates[..2], [0.0, 100.0], "{rates:?}");
    let least = [99.0, 93.0, 90.0, 85.0];
    assert!(rates[2..].iter().zip(least).all(|(rate, least)| *rate >= least), "{rates:?}");
}
