//! `experiments eval` and `verify` on the checkpoints that sweeps leave.

use std::path::{Path, PathBuf};

use scene_data::beacons::BeaconsConfig;
use scene_data::{Layout, synth};

use crate::tiny::{cells, folder, refused, reproduce, rewrite, run, said, with_arm};

/// The only record of a sweep.
fn record(dir: &Path, out_dir: &str) -> PathBuf {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(cells(dir, out_dir)).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(files.len(), 1);
    files.remove(0)
}

#[test]
fn a_record_holds_and_another_view_is_scored() {
    let dir = folder(2);
    let args = ["--seeds", "0", "--arms", "dense-attention"];
    assert!(reproduce(dir.path(), "out", &args).status().unwrap().success());
    let file = record(dir.path(), "out");
    let file = file.to_str().unwrap();
    let text = said(&run(dir.path(), &["verify", file]));
    assert!(text.contains("holds") && text.contains("3 images"), "{text}");
    let text = said(&run(dir.path(), &["eval", file, "--split", "val"]));
    assert!(text.starts_with("3 images. beacons:"), "{text}");
    let views = ["--set", "scales=[0.75,1]", "--set", "mirror=averaged"];
    let text = said(&run(dir.path(), &[&["eval", file], &views[..]].concat()));
    assert!(text.contains("| pixel accuracy |"), "{text}");
    let windows = ["--set", "window_px=[32,32]", "--set", "window_stride_px=[16,16]"];
    said(&run(dir.path(), &[&["eval", file], &windows[..]].concat()));

    let message = refused(&run(dir.path(), &["eval", file, "--set", "scals=[1]"]));
    assert!(message.contains("did you mean `scales`?"), "{message}");
    let message = refused(&run(dir.path(), &["eval", file, "--save-predictions", "mine"]));
    assert!(message.contains("beacons on disk"), "{message}");

    // Weights that were put in the place of the record's own.
    rewrite(Path::new(file), |record| record.checkpoint_sha256 = Some("0".repeat(64)));
    let message = refused(&run(dir.path(), &["verify", file]));
    assert!(message.contains("not the record's checkpoint"), "{message}");

    // A score that was written by hand.
    let text = std::fs::read_to_string(file).unwrap();
    std::fs::write(file, text.replacen("\"miou_percent\":", "\"miou_percent\":9", 1)).unwrap();
    for command in [&["verify", file][..], &["eval", file], &["compare", "out"]] {
        let message = refused(&run(dir.path(), command));
        assert!(message.contains("the record was edited"), "{message}");
    }
    let again = reproduce(dir.path(), "out", &args).output().unwrap();
    assert!(refused(&again).contains("the record was edited"));
}

#[test]
fn a_network_without_the_units_that_vanished_is_the_same_and_smaller() {
    let dir = folder(10);
    with_arm(
        dir.path(),
        r#"
[[arm]]
name = "iss"
config.model.context.cell = { kind = "scan", graph = "dense", aggregation = "mean" }
config.training.learning_rate = 5e-2
config.training.unit_lasso = { weight = 1.0, threshold = 0.2 }
"#,
    );
    let sweep = |arm: &str| reproduce(dir.path(), arm, &["--seeds", "0", "--arms", arm]).status();
    assert!(sweep("iss").unwrap().success());
    let file = record(dir.path(), "iss");
    let checkpoint = dir.path().join("iss/checkpoints").join(file.file_name().unwrap());
    let checkpoint = checkpoint.with_extension("safetensors");
    let compress = ["compress", checkpoint.to_str().unwrap(), "--out-dir", "smaller"];
    let text = said(&run(dir.path(), &compress));
    assert!(text.contains("| hidden units of a direction | 8 | "), "{text}");
    let smaller = record(dir.path(), "smaller");
    let read = |file: &Path| run_record::Record::read(file).unwrap();
    let (before, after) = (read(&file), read(&smaller));
    assert!(after.parameters < before.parameters && after.macs < before.macs);
    assert_eq!(after.images, before.images);
    let text = said(&run(dir.path(), &["verify", smaller.to_str().unwrap()]));
    assert!(text.contains("holds"), "{text}");

    // Of a network that was not trained so, all units are read.
    assert!(sweep("dense-attention").unwrap().success());
    let file = record(dir.path(), "dense-attention");
    let compress = ["compress", file.to_str().unwrap(), "--out-dir", "smaller"];
    let message = refused(&run(dir.path(), &compress));
    assert!(message.contains("train with training.unit_lasso"), "{message}");
}

#[test]
fn one_network_is_trained_from_a_configuration() {
    let dir = folder(1);
    let sweep = std::fs::read_to_string(dir.path().join("tiny.toml")).unwrap();
    let config = sweep.split("[config.dataset]").nth(1).unwrap().split("[[arm]]").next().unwrap();
    let config = format!("[dataset]{}", config.replace("[config.", "["));
    std::fs::write(dir.path().join("my net.toml"), config).unwrap();
    let train = ["train", "my net.toml", "--out-dir", "run", "--seed", "1"];
    let text = said(&run(dir.path(), &train));
    assert!(text.contains("| `my-net` |"), "{text}");
    let again = run(dir.path(), &train);
    assert!(String::from_utf8_lossy(&again.stderr).contains("already finished"));
    // The same cell as the sweep's own, by name of its arm aside.
    assert!(
        reproduce(dir.path(), "out", &["--seeds", "1", "--arms", "fcn"])
            .status()
            .unwrap()
            .success()
    );
    let read = |out: &str| run_record::Record::read(record(dir.path(), out)).unwrap();
    assert_eq!(read("run").images, read("out").images);
    let message = refused(&run(dir.path(), &["train", "tiny.toml", "--out-dir", "run2"]));
    assert!(message.contains("unknown field"), "{message}");
}

#[test]
fn photographs_are_shown_with_what_is_seen_in_them() {
    let dir = folder(1);
    let args = ["--seeds", "0", "--arms", "dense-attention"];
    assert!(reproduce(dir.path(), "out", &args).status().unwrap().success());
    let file = record(dir.path(), "out");
    let photograph = image::RgbImage::from_fn(101, 67, |x, y| image::Rgb([x as u8, y as u8, 99]));
    photograph.save(dir.path().join("mine.png")).unwrap();
    let predict = ["predict", file.to_str().unwrap(), "mine.png", "--out-dir"];
    let text = said(&run(dir.path(), &[&predict[..], &["seen", "--attend", "50,33"]].concat()));
    assert!(text.starts_with("mine.png\n") && text.contains(" % texture "), "{text}");
    let open = |name: &str| image::open(dir.path().join("seen").join(name)).unwrap();
    let indices = scene_data::read_label_png(&dir.path().join("seen/mine.png")).unwrap();
    assert_eq!((indices.width, indices.height), (101, 67));
    assert!(indices.data.iter().all(|&class| class < 4));
    assert!(open("mine-overlay.png").height() > 67, "a legend below");
    assert_eq!(open("mine-attention.png").into_rgb8().dimensions(), (101, 67));

    let message = refused(&run(dir.path(), &[&predict[..], &["."]].concat()));
    assert!(message.contains("would be overwritten"), "{message}");
    let message =
        refused(&run(dir.path(), &[&predict[..], &["seen", "--attend", "101,0"]].concat()));
    assert!(message.contains("the photograph is 101×67 pixels"), "{message}");
}

#[test]
fn saved_predictions_score_as_the_record_says() {
    let dir = folder(1);
    let few = BeaconsConfig {
        size_px: 48,
        textures: 2,
        beacon_px: 7,
        train_images: 3,
        val_images: 2,
        ..BeaconsConfig::default()
    };
    synth::write(Layout::Cityscapes, &few, &dir.path().join("city")).unwrap();
    let args = ["--seeds", "0", "--arms", "fcn", "--set", "dataset={kind=\"cityscapes\"}"];
    let args = [&args[..], &["--data-root", "city"]].concat();
    assert!(reproduce(dir.path(), "out", &args).status().unwrap().success());
    let file = record(dir.path(), "out");
    let eval = ["eval", file.to_str().unwrap(), "--data-root", "city"];
    let text = said(&run(dir.path(), &[&eval[..], &["--save-predictions", "mine"]].concat()));
    let labels = ["--labels", "city/gtFine/val", "--predictions", "mine"];
    let scored =
        said(&run(dir.path(), &[&["score", "--protocol", "cityscapes"], &labels[..]].concat()));
    let head: String = text.lines().take(10).map(|line| format!("{line}\n")).collect();
    assert!(scored.starts_with(&head), "{scored}\nagainst\n{text}");
}

#[test]
fn checkpoints_that_do_not_belong_are_refused() {
    let dir = folder(1);
    let run_cell = |out: &str, seed: &str, change: &str| {
        let args = ["--seeds", seed, "--arms", "fcn", "--set", change];
        assert!(reproduce(dir.path(), out, &args).status().unwrap().success());
        record(dir.path(), out)
    };
    let one = run_cell("one", "0", "training.weight_decay=0.0");
    let two = run_cell("two", "1", "training.weight_decay=0.0");
    let checkpoint = |out: &str| {
        let mut files = std::fs::read_dir(dir.path().join(out).join("checkpoints")).unwrap();
        files.next().unwrap().unwrap().path()
    };
    let one = one.to_str().unwrap();
    let other = checkpoint("two");
    let with = |file: &Path| {
        refused(&run(dir.path(), &["verify", one, "--checkpoint", file.to_str().unwrap()]))
    };
    assert!(with(&other).contains(", not of "), "{}", with(&other));
    let own = checkpoint("one");
    let bytes = std::fs::read(&own).unwrap();
    std::fs::write(&own, &bytes[..bytes.len() / 2]).unwrap();
    assert!(with(&own).contains("checkpoint"), "{}", with(&own));
    std::fs::remove_file(&own).unwrap();
    let message = refused(&run(dir.path(), &["verify", one]));
    assert!(message.contains("checkpoints/"), "{message}");
    // Weights that were changed since give other numbers.
    let file = checkpoint("two");
    let mut bytes = std::fs::read(&file).unwrap();
    let last = bytes.len() - 40;
    bytes[last..].iter_mut().for_each(|byte| *byte ^= 0x3f);
    std::fs::write(&file, bytes).unwrap();
    let output = run(dir.path(), &["verify", two.to_str().unwrap()]);
    assert!(!output.status.success());
}
