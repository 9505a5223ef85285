//! The published configurations: sound, and where there are samples of their datasets, trainable.

use std::path::{Path, PathBuf};

use crate::sizes::own_photographs;
use crate::tiny::{refused, run, said};

/// Samples of the datasets, where there are some beside the checkout; one's own folder is made.
fn samples(dataset: &str, made: &Path) -> Option<PathBuf> {
    if dataset == "folder" {
        own_photographs(made);
        return Some(made.join("own"));
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/samples");
    let folder = match dataset {
        "pascal-context" => root.join("pascal_context"),
        other => root.join(other),
    };
    folder.is_dir().then_some(folder)
}

#[test]
fn every_published_configuration_takes_three_steps() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert_eq!(files.len(), 7);
    let made = tempfile::tempdir().unwrap();
    for file in files {
        let name = file.file_stem().unwrap().to_str().unwrap();
        let dataset = ["pascal-context", "ade20k", "cityscapes", "folder"];
        let dataset = dataset.into_iter().find(|dataset| name.starts_with(dataset)).unwrap();
        let config = file.to_str().unwrap();
        let mut args = vec!["train", config, "--try", "3"];
        // Batches of one and small crops, to be done in a moment; one's own are small as they are.
        if dataset != "folder" {
            let small = ["training.batch_size=1", "training.augment.crop_px=[97,97]"];
            small.iter().for_each(|change| args.extend(["--set", change]));
        }
        let Some(root) = samples(dataset, made.path()) else {
            let message = refused(&run(&folder, &args));
            assert!(message.contains("--data-root"), "{name}: {message}");
            eprintln!("{name}: no samples of {dataset}, so no step is taken");
            continue;
        };
        args.extend(["--data-root", root.to_str().unwrap()]);
        let text = said(&run(&folder, &args));
        assert!(text.contains("step 3: loss ") && !text.contains("NaN"), "{name}: {text}");
    }
}
