//! Mistakes end with one line that says what was found and what was expected.

use std::collections::HashMap;
use std::path::Path;

use crate::tiny::{folder, refused, reproduce, run};
use candle_core::{DType, Device, Tensor};
use scene_data::beacons::BeaconsConfig;
use scene_data::{Layout, synth};

/// The only line of a run that is refused.
fn refusal(dir: &Path, more: &[&str]) -> String {
    let mut command = reproduce(dir, "out", more);
    let output = command.env("RUST_BACKTRACE", "1").output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(message.lines().count(), 1, "{message}");
    message.trim_end().to_owned()
}

#[test]
fn unknown_names_are_answered_with_the_nearest() {
    let dir = folder(1);
    for (more, nearest) in [
        (["--arms", "dense-atention"], "did you mean `dense-attention`?"),
        (["--set", "training.epoch=3"], "did you mean `epochs`?"),
        (["--set", "dataset.kind=camvit"], "did you mean `camvid`?"),
        (["--set", "model.context.cell.kind=scn"], "did you mean `scan`?"),
    ] {
        let message = refusal(dir.path(), &more);
        assert!(message.contains(nearest), "{message}");
    }
}

#[test]
fn values_that_cannot_work_are_named() {
    let dir = folder(1);
    for (change, want) in [
        ("training.batch_size=0", "training.batch_size = 0"),
        ("training.learning_rate=-1.0", "training.learning_rate = -1"),
        ("model.context_stride=7", "model.context_stride = 7: the backbone has stages of stride"),
        ("dataset.beacon_px=8", "beacon_px = 8"),
    ] {
        let message = refusal(dir.path(), &["--set", change]);
        assert!(message.contains(want), "{message}");
    }
}

#[test]
fn a_set_that_is_not_the_frozen_one_is_refused() {
    let dir = folder(1);
    let text = std::fs::read_to_string(dir.path().join("tiny.toml")).unwrap();
    let text =
        text.replace("[config.model]", "[config.fingerprints]\nval = \"00\"\n\n[config.model]");
    std::fs::write(dir.path().join("tiny.toml"), text).unwrap();
    let message = refusal(dir.path(), &[]);
    assert!(message.contains("beacons val: the images are not those of the sweep"), "{message}");
}

#[test]
fn a_data_root_must_hold_the_dataset() {
    let dir = folder(1);
    let camvid = "dataset={kind=\"camvid\"}";
    let message = refusal(dir.path(), &["--set", camvid]);
    assert!(message.contains("--data-root"), "{message}");
    let message = refusal(dir.path(), &["--set", camvid, "--data-root", "missing"]);
    assert!(message.contains("missing"), "{message}");

    let few = BeaconsConfig {
        size_px: 48,
        textures: 2,
        beacon_px: 7,
        train_images: 2,
        val_images: 2,
        ..BeaconsConfig::default()
    };
    synth::write(Layout::Cityscapes, &few, &dir.path().join("other")).unwrap();
    let message = refusal(dir.path(), &["--set", camvid, "--data-root", "other"]);
    assert!(message.contains("Cityscapes"), "what it is: {message}");
    assert!(message.contains("CamVid"), "what was expected: {message}");
}

#[test]
fn weights_must_be_those_of_the_backbone() {
    let dir = folder(1);
    let change = "model.backbone={kind=\"mobilenet-v2\"}";
    let frozen = ["--set", change, "--set", "model.backbone_mode=frozen"];
    let message = refusal(dir.path(), &frozen);
    assert!(message.contains("--weights PATH"), "{message}");

    let one = Tensor::zeros((64, 3, 7, 7), DType::F32, &Device::Cpu).unwrap();
    let resnet = HashMap::from([
        ("conv1.weight", one.clone()),
        ("layer1.0.conv1.weight", one.clone()),
        ("bn1.weight", one),
    ]);
    let file = dir.path().join("mobilenet_v2.safetensors");
    candle_core::safetensors::save(&resnet, &file).unwrap();
    let weights = [&frozen[..], &["--weights", "mobilenet_v2.safetensors"]].concat();
    let message = refusal(dir.path(), &weights);
    assert!(message.contains("weights of another architecture"), "{message}");

    std::fs::write(&file, "no tensors").unwrap();
    let message = refusal(dir.path(), &weights);
    assert!(message.contains("mobilenet_v2.safetensors"), "{message}");
}

#[test]
fn an_output_folder_that_cannot_be_made_is_said_before_training() {
    let dir = folder(1);
    std::fs::write(dir.path().join("out"), "a file").unwrap();
    let message = refusal(dir.path(), &[]);
    assert!(message.contains("the output folder out/cells cannot be made"), "{message}");
}

#[cfg(not(feature = "cuda"))]
#[test]
fn a_device_that_the_program_was_not_built_for_is_said_before_anything_is_written() {
    let dir = folder(1);
    let message = refusal(dir.path(), &["--device", "cuda:0"]);
    assert!(
        message.starts_with("error: --device cuda:0: this program was built for the CPU alone")
    );
    assert!(message.contains("cargo build --release --features cuda"), "{message}");
    assert!(!dir.path().join("out").exists());
    for command in [&["predict", "r.json", "p.png", "--out-dir", "out"][..], &["verify", "r.json"]]
    {
        let output = run(dir.path(), &[command, &["--device", "cuda:0"]].concat());
        assert!(refused(&output).starts_with("error: --device cuda:0: this program"));
    }
}
