//! Photographs of several sizes: batches of one size each, in training as in all that follows it.

use std::path::Path;

use scene_data::beacons::BeaconsConfig;
use scene_data::{Layout, synth};

use crate::kill::kill_again_and_again;
use crate::tiny::{cells, folder, records, refused, reproduce, run, said, with_arm};

/// A folder `own` of photographs of three sizes: 48×48, 48×32 and 32×48.
pub(crate) fn own_photographs(dir: &Path) {
    let few = BeaconsConfig {
        size_px: 48,
        textures: 2,
        beacon_px: 7,
        train_images: 11,
        val_images: 3,
        test_images: 3,
        ..BeaconsConfig::default()
    };
    let root = dir.join("own");
    synth::write(Layout::Folder, &few, &root).unwrap();
    for split in ["train", "val", "test"] {
        for folder in ["images", "labels"] {
            let folder = root.join(folder).join(split);
            let mut files: Vec<_> =
                std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
            files.sort();
            for (at, file) in files.iter().enumerate() {
                let (w, h) = [(48, 48), (48, 32), (32, 48)][at % 3];
                let whole = image::open(file).unwrap();
                whole.crop_imm(0, 0, w, h).save(file).unwrap();
            }
        }
    }
}

const OWN: [&str; 6] = ["--data-root", "own", "--set", "dataset={kind=\"folder\"}", "--seeds", "0"];

#[test]
fn batches_of_four_are_made_of_photographs_of_several_sizes() {
    let dir = folder(2);
    own_photographs(dir.path());
    let args = [&OWN[..], &["--arms", "fcn"]].concat();
    said(&reproduce(dir.path(), "out", &args).output().unwrap());
    let record = records(dir.path(), "out").remove(0);
    assert_eq!(record.curve.len(), 2);
    assert!(record.curve.iter().all(|point| point.train_loss.is_finite()));
    // Four of one size and four and three of the others: three steps an epoch, six in all, and the
    // schedule ends where they do. With poly's power of 0.9 the last is at (1/6)^0.9 of the rate.
    let args = [&args[..], &["--set", "training.warmup_steps=0"]].concat();
    said(&reproduce(dir.path(), "cold", &args).output().unwrap());
    let last = records(dir.path(), "cold")[0].curve[1].lr;
    assert!((last - 2e-3 * (1f64 / 6.0).powf(0.9)).abs() < 1e-9, "{last}");
    // What is seen is told without the dataset.
    std::fs::rename(dir.path().join("own"), dir.path().join("away")).unwrap();
    let file = std::fs::read_dir(cells(dir.path(), "out")).unwrap().next().unwrap().unwrap().path();
    let photograph = "away/images/val/val_000002.png";
    let args = ["predict", file.to_str().unwrap(), photograph, "--out-dir", "seen"];
    let text = said(&run(dir.path(), &args));
    let classes = record.dataset.class_table.as_ref().unwrap();
    let named = |class: &run_record::ClassFacts| text.contains(&class.name);
    assert!(classes.classes.len() == 4 && classes.classes.iter().any(named), "{text}");
    assert_eq!(image::open(dir.path().join("seen/val_000002.png")).unwrap().width(), 48);
    // A record from before it was so needs the dataset, and the one that it is of.
    let mut old = record.clone();
    (old.version, old.normalisation, old.dataset.class_table) = (1, None, None);
    std::fs::write(&file, serde_json::to_string(&old).unwrap()).unwrap();
    let predict = |root: &[&str]| {
        let args = ["predict", file.to_str().unwrap(), photograph, "--out-dir", "seen-again"];
        run(dir.path(), &[&args[..], root].concat())
    };
    let message = refused(&predict(&[]));
    assert!(message.contains("from before records kept the colours of classes"), "{message}");
    assert!(message.trim_end().ends_with("pass --data-root PATH"), "{message}");
    said(&predict(&["--data-root", "away"]));
    let description = dir.path().join("away/dataset.toml");
    let text = std::fs::read_to_string(&description).unwrap();
    let renamed = text.replacen(&classes.classes[0].name, "another", 1);
    std::fs::write(&description, renamed).unwrap();
    let message = refused(&predict(&["--data-root", "away"]));
    assert!(message.contains("the dataset's classes are another, "), "{message}");
    std::fs::write(&description, text).unwrap();
    std::fs::rename(dir.path().join("away"), dir.path().join("own")).unwrap();
    // A first look takes the same batches.
    let sweep = std::fs::read_to_string(dir.path().join("tiny.toml")).unwrap();
    let config = sweep.split("[config.dataset]").nth(1).unwrap().split("[[arm]]").next().unwrap();
    let config = format!("[dataset]{}", config.replace("[config.", "["));
    std::fs::write(dir.path().join("net.toml"), config).unwrap();
    let trial = ["train", "net.toml", "--try", "7", "--data-root", "own", "--set"];
    let text = said(&run(dir.path(), &[&trial[..], &["dataset={kind=\"folder\"}"]].concat()));
    assert!(text.contains("step 7: loss "), "{text}");
}

#[test]
fn a_frozen_backbones_features_are_of_several_sizes_as_well() {
    let dir = folder(1);
    own_photographs(dir.path());
    let args = [&OWN[..], &["--arms", "fcn"]].concat();
    said(&reproduce(dir.path(), "whole", &args).output().unwrap());
    let checkpoints = dir.path().join("whole/checkpoints");
    let file = std::fs::read_dir(checkpoints).unwrap().next().unwrap().unwrap().path();
    let weights = ["--weights", file.to_str().unwrap(), "--set", "model.backbone_mode=frozen"];
    for (out, more) in [("kept", &[][..]), ("files", &["--features", "features"])] {
        said(&reproduce(dir.path(), out, &[&args[..], &weights, more].concat()).output().unwrap());
    }
    let of = |out: &str| records(dir.path(), out).remove(0);
    assert!(of("kept").same_results(&of("files")));
}

/// Accumulated over two batches, and on tiles with what is remembered of their borders.
#[test]
fn a_run_on_several_sizes_that_is_killed_ends_as_if_it_never_was() {
    let dir = folder(16);
    own_photographs(dir.path());
    with_arm(
        dir.path(),
        r#"
[[arm]]
name = "stale"
config.model.context.cell = { kind = "scan", graph = "dense", aggregation = "mean" }
config.training.tiles = { grid = [2, 2], border = "stale" }
"#,
    );
    let more = ["--arms", "fcn,stale", "--set", "training.accumulate=2"];
    kill_again_and_again(dir.path(), &[&OWN[..4], &more].concat(), 3);
}

#[test]
fn a_size_that_does_not_divide_into_tiles_is_said_before_the_first_step() {
    let dir = folder(1);
    own_photographs(dir.path());
    let file = |of: &str| dir.path().join("own").join(of).join("train/train_000011.png");
    for of in ["images", "labels"] {
        let whole = image::open(file(of)).unwrap();
        whole.crop_imm(0, 0, 48, 24).save(file(of)).unwrap();
    }
    let tiles = "training.tiles={grid=[2,2],border=\"exact\"}";
    let cell = "model.context.cell={kind=\"scan\",graph=\"dense\",aggregation=\"mean\"}";
    let more = ["--arms", "fcn", "--set", tiles, "--set", cell];
    let message =
        refused(&reproduce(dir.path(), "out", &[&OWN[..], &more].concat()).output().unwrap());
    assert!(message.contains("images of 24 rows and 48 columns do not divide"), "{message}");
    assert!(!message.contains("epoch 1"), "{message}");
}
