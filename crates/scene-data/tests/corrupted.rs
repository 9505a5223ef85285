//! Files of random damage: an error or a sound sample, never a panic, never a flood of memory.

mod common;

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use scene_data::{Layout, SceneDataset, Split};
use tempfile::TempDir;

/// Images of train, val and test.
const IMAGES: [usize; 3] = [1, 1, 1];

fn written(layout: Layout) -> TempDir {
    common::written(layout, IMAGES)
}

/// Bytes with some of them changed, cut out or repeated.
fn damaged(whole: &[u8], hits: &[(prop::sample::Index, u8)], keep: prop::sample::Index) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    for (at, value) in hits {
        let at = at.index(bytes.len());
        bytes[at] = *value;
    }
    // One in two is cut off.
    let keep = keep.index(2 * bytes.len());
    bytes.truncate(keep.max(1));
    bytes
}

/// Whatever the file holds, the sample is an error that names it, or is whole.
fn survives(set: &dyn SceneDataset, file: &Path) -> Result<(), TestCaseError> {
    match set.sample(0) {
        Ok(sample) => {
            let classes = set.classes().len();
            let pixels = sample.image.width() as usize * sample.image.height() as usize;
            prop_assert_eq!(sample.labels.data.len(), pixels);
            let known = |&label: &u8| label == 255 || usize::from(label) < classes;
            prop_assert!(sample.labels.data.iter().all(known));
        }
        Err(error) => {
            let name = file.file_name().and_then(|name| name.to_str()).expect("a name");
            prop_assert!(error.to_string().contains(name), "{}", error);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn damaged_files_are_errors_or_sound_samples(
        hits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        keep: prop::sample::Index,
    ) {
        for layout in Layout::ALL {
            let root = written(layout);
            let set = layout.config().open(Some(root.path()), Split::Train).expect("a whole set");
            for file in files_under(root.path()) {
                let is_pixels = file.extension().is_some_and(|e| e != "txt" && e != "toml");
                if !is_pixels || !file.to_string_lossy().contains(set.id(0)) {
                    continue;
                }
                let whole = fs::read(&file).expect("a written file");
                fs::write(&file, damaged(&whole, &hits, keep)).expect("a writable folder");
                survives(&*set, &file)?;
                fs::write(&file, whole).expect("a writable folder");
            }
        }
    }

    #[test]
    fn damaged_lists_and_descriptions_are_errors_or_sound_sets(
        hits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        keep: prop::sample::Index,
    ) {
        for layout in Layout::ALL {
            let root = written(layout);
            for file in files_under(root.path()) {
                if file.extension().is_some_and(|e| e == "txt" || e == "toml") {
                    let whole = fs::read(&file).expect("a written file");
                    fs::write(&file, damaged(&whole, &hits, keep)).expect("a writable folder");
                    if let Ok(set) = layout.config().open(Some(root.path()), Split::Train) {
                        prop_assert!(!set.is_empty());
                        let _ = set.sample(0);
                    }
                    fs::write(&file, whole).expect("a writable folder");
                }
            }
        }
    }
}

fn files_under(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files.extend(files_under(&path));
        } else {
            files.push(path);
        }
    }
    files
}
