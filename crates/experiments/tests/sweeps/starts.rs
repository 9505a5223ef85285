//! What a network starts from and where it runs: said in one line, and wrong files refused.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use backbone::{BackboneConfig, ResNetConfig};
use candle_core::{DType, Device, Tensor};

use crate::tiny::{cells, folder, refused, reproduce, run, said};

/// The only file of a folder.
fn only(folder: PathBuf) -> PathBuf {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 1);
    files.remove(0)
}

/// The checkpoint of an arm's only seed.
fn checkpoint(dir: &Path, out: &str, arm: &str) -> PathBuf {
    let files = std::fs::read_dir(dir.join(out).join("checkpoints")).unwrap();
    let mut files: Vec<PathBuf> = files.map(|entry| entry.unwrap().path()).collect();
    let start = format!("{arm}-seed");
    files.retain(|file| file.file_name().unwrap().to_string_lossy().starts_with(&start));
    assert_eq!(files.len(), 1, "{files:?}");
    files.remove(0)
}

fn record(dir: &Path, out: &str) -> PathBuf {
    only(cells(dir, out))
}

/// Trains the arm `fcn` and returns what was said on standard error.
fn trained(dir: &Path, out: &str, more: &[&str]) -> String {
    let output =
        reproduce(dir, out, &[&["--seeds", "0", "--arms", "fcn"], more].concat()).output().unwrap();
    said(&output);
    String::from_utf8(output.stderr).unwrap()
}

fn tensors(file: &Path) -> BTreeMap<String, Vec<f32>> {
    let of = |t: Tensor| t.flatten_all().unwrap().to_vec1().unwrap();
    let all = candle_core::safetensors::load(file, &Device::Cpu).unwrap();
    all.into_iter().map(|(name, tensor)| (name, of(tensor))).collect()
}

/// A narrow ResNet-18, and a file of its weights.
fn narrow(dir: &Path) -> [&'static str; 6] {
    let config = BackboneConfig::ResNet18(ResNetConfig { width: 4, ..ResNetConfig::default() });
    let ones = |shape: Vec<usize>| Tensor::full(0.1f32, shape, &Device::Cpu).unwrap();
    let all: HashMap<String, Tensor> =
        config.parameters().unwrap().into_iter().map(|(name, s)| (name, ones(s))).collect();
    candle_core::safetensors::save(&all, dir.join("resnet18.safetensors")).unwrap();
    let change = "model.backbone={kind=\"resnet-18\",width=4}";
    [
        "--set",
        change,
        "--set",
        "model.context_stride=16",
        "--set",
        "model.backbone_mode=fixed-norms",
    ]
}

#[test]
fn weights_that_are_not_there_are_an_error_whatever_the_backbone() {
    let dir = folder(1);
    let message = refused(&reproduce(dir.path(), "out", &["--weights", "gone"]).output().unwrap());
    assert_eq!(message, "error: --weights gone: there is no such file or folder\n");
    trained(dir.path(), "out", &[]);
    // Neither where all is finished, nor where nothing is asked of them.
    let message = refused(&reproduce(dir.path(), "out", &["--weights", "gone"]).output().unwrap());
    assert!(message.contains("--weights gone: there is no such"), "{message}");
    let record = record(dir.path(), "out");
    for command in ["eval", "verify"] {
        let args = [command, record.to_str().unwrap(), "--weights", "gone"];
        let message = refused(&run(dir.path(), &args));
        assert!(message.contains("--weights gone: there is no such"), "{message}");
    }
    std::fs::write(dir.path().join("net.toml"), "dataset = { kind = \"beacons\" }").unwrap();
    let message =
        refused(&run(dir.path(), &["train", "net.toml", "--try", "1", "--weights", "gone"]));
    assert!(message.contains("--weights gone: there is no such"), "{message}");
    // A file of another network is no start for one of which none are published either.
    candle_core::safetensors::save(
        &HashMap::from([("a", Tensor::zeros(1, DType::F32, &Device::Cpu).unwrap())]),
        dir.path().join("other.safetensors"),
    )
    .unwrap();
    let args = ["--weights", "other.safetensors", "--seeds", "1"];
    let message = refused(&reproduce(dir.path(), "out", &args).output().unwrap());
    assert!(message.contains("weights of another architecture: expected small-cnn"), "{message}");
}

#[test]
fn one_line_says_where_a_network_runs_and_what_it_starts_from() {
    let dir = folder(1);
    let line = |text: &str| {
        let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("runs on ")).collect();
        assert_eq!(lines.len(), 1, "{text}");
        assert!(lines[0].starts_with("runs on the CPU ("), "{text}");
        lines[0].split_once("; ").unwrap().1.to_owned()
    };
    let text = trained(dir.path(), "small", &[]);
    assert_eq!(line(&text), "the network starts from random values");
    let text = trained(dir.path(), "empty", &["--weights", "."]);
    let expected = "the network starts from random values: . holds no weights of small-cnn, of which \
                    none are published";
    assert_eq!(line(&text), expected);
    let narrow = narrow(dir.path());
    let text = trained(dir.path(), "drawn", &narrow);
    let expected = "the network starts from random values, resnet-18 as well; --weights PATH starts it \
                    from pretrained ones";
    assert_eq!(line(&text), expected);
    let weights = ["--weights", "resnet18.safetensors"];
    let text = trained(dir.path(), "given", &[&narrow[..], &weights].concat());
    assert_eq!(
        line(&text),
        "resnet-18 starts from resnet18.safetensors, all else from random values"
    );
    let start = checkpoint(dir.path(), "small", "fcn");
    let start = start.to_str().unwrap();
    let text = trained(dir.path(), "again", &["--weights", start]);
    assert_eq!(line(&text), format!("the network starts from the checkpoint {start}"));
    let file = record(dir.path(), "small");
    for command in ["eval", "verify"] {
        let output = run(dir.path(), &[command, file.to_str().unwrap()]);
        said(&output);
        let text = String::from_utf8(output.stderr).unwrap();
        let of = |place: &str| format!("the network is that of {place}");
        assert!(line(&text).starts_with(&of(dir.path().to_str().unwrap())), "{text}");
    }
}

#[test]
fn a_checkpoint_starts_the_whole_network() {
    let dir = folder(1);
    trained(dir.path(), "first", &[]);
    let first = checkpoint(dir.path(), "first", "fcn");
    let start = first.to_str().unwrap();
    // With a rate of zero, all that learns stays what it was.
    let still = ["--set", "training.learning_rate=0.0", "--weights", start];
    trained(dir.path(), "second", &still);
    let (before, after) = (tensors(&first), tensors(&checkpoint(dir.path(), "second", "fcn")));
    assert!(before.keys().eq(after.keys()));
    let is_learnt = |name: &str| !name.contains("running_");
    assert!(before.iter().all(|(name, values)| !is_learnt(name) || *values == after[name]));
    // The statistics go on from where they were.
    let statistic = "adapter.norm.running_mean";
    let mean = |of: &BTreeMap<String, Vec<f32>>| of[statistic].iter().map(|x| x.abs()).sum::<f32>();
    assert!(mean(&after) > 0.5 * mean(&before) && mean(&before) > 0.0);

    // Other classes, other parts: refused with what would do.
    let classes = ["--set", "dataset.textures=3", "--seeds", "1", "--arms", "fcn"];
    let of = |more: &[&str]| reproduce(dir.path(), "third", &[&still[..], more].concat()).output();
    let message = refused(&of(&classes).unwrap());
    let expected = "a checkpoint of another network: classifier.bias is [4], the network has [6], \
                    classifier.weight is [4, 8, 1, 1], the network has [6, 8, 1, 1]; to take all";
    assert!(message.contains(expected), "{message}");
    assert!(message.contains("add --set model.start_anew=[\"classifier\"]"), "{message}");
    let anew = ["--set", "model.start_anew=[\"classifier\"]"];
    let output = of(&[&classes[..], &anew].concat()).unwrap();
    said(&output);
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains(&format!("{start}, but for classifier from random values")), "{text}");
    let third = tensors(&checkpoint(dir.path(), "third", "fcn"));
    assert_eq!(third["classifier.bias"].len(), 6);
    let kept = |(name, values): (&String, &Vec<f32>)| {
        name.starts_with("classifier.") || !is_learnt(name) || *values == third[name]
    };
    assert!(before.iter().all(kept));

    let attention = ["--seeds", "0", "--arms", "dense-attention"];
    let message = refused(&of(&attention).unwrap());
    assert!(message.contains("add --set model.start_anew=[\"context\"]"), "{message}");
    let anew = ["--set", "model.start_anew=[\"context\"]"];
    said(&of(&[&attention[..], &anew].concat()).unwrap());
    // Nor is what a network has no place for left out in silence.
    let context = checkpoint(dir.path(), "third", "dense-attention");
    let args = ["--weights", context.to_str().unwrap(), "--seeds", "1", "--arms", "fcn"];
    let message = refused(&reproduce(dir.path(), "fourth", &args).output().unwrap());
    assert!(message.contains("is not in the network"), "{message}");
    assert!(message.contains("add --set model.start_anew=[\"context\"]"), "{message}");
    said(&reproduce(dir.path(), "fourth", &[&args[..], &anew].concat()).output().unwrap());

    // What this program keeps besides, and a checkpoint without a backbone.
    let frozen = ["--set", "model.backbone_mode=frozen", "--seeds", "0", "--arms", "fcn"];
    let frozen = [&frozen[..], &["--weights", start]].concat();
    said(&reproduce(dir.path(), "frozen", &frozen).output().unwrap());
    let without = checkpoint(dir.path(), "frozen", "fcn");
    let args = ["--weights", without.to_str().unwrap(), "--seeds", "1"];
    let message = refused(&reproduce(dir.path(), "third", &args).output().unwrap());
    assert!(message.contains("whose backbone was frozen, so that it holds none"), "{message}");
    // Its record asks for the checkpoint that it began with, and takes it.
    let file = record(dir.path(), "frozen");
    let message = refused(&run(dir.path(), &["verify", file.to_str().unwrap()]));
    assert!(
        message.contains("its backbone was frozen") && message.contains("--weights"),
        "{message}"
    );
    let text = said(&run(dir.path(), &["verify", file.to_str().unwrap(), "--weights", start]));
    assert!(text.contains("holds"), "{text}");
}

#[test]
fn a_network_that_was_trained_whole_needs_no_weights_and_may_be_moved() {
    let dir = folder(1);
    let narrow = narrow(dir.path());
    let weights = ["--weights", "resnet18.safetensors"];
    // Varied images as well: only a frozen backbone cannot learn from them.
    let crops = ["--set", "training.augment={scale=[0.5,2.0],crop_px=[40,40]}"];
    trained(dir.path(), "out", &[&narrow[..], &weights, &crops].concat());
    std::fs::remove_file(dir.path().join("resnet18.safetensors")).unwrap();
    let (file, network) = (record(dir.path(), "out"), checkpoint(dir.path(), "out", "fcn"));
    image::RgbImage::new(50, 40).save(dir.path().join("x.png")).unwrap();
    let uses = |file: &Path| {
        let file = file.to_str().unwrap();
        assert!(said(&run(dir.path(), &["verify", file])).contains("holds"));
        said(&run(dir.path(), &["eval", file]));
        said(&run(dir.path(), &["predict", file, "x.png", "--out-dir", "seen"]));
        std::fs::remove_dir_all(dir.path().join("seen")).unwrap();
    };
    uses(&file);
    let moved = dir.path().join("moved");
    std::fs::create_dir(&moved).unwrap();
    let (there, beside) = (moved.join("mine.json"), moved.join("mine.safetensors"));
    std::fs::rename(&file, &there).unwrap();
    let message = refused(&run(&moved, &["verify", "mine.json"]));
    assert!(message.contains("give --checkpoint FILE"), "{message}");
    std::fs::rename(&network, &beside).unwrap();
    uses(&there);
    assert!(said(&run(&moved, &["verify", "mine.json"])).contains("holds"));
    assert!(said(&run(&moved, &["verify", "./mine.json"])).contains("holds"));
    // Under its first name, and in the folders that a sweep writes.
    let name = network.file_name().unwrap();
    std::fs::rename(&beside, moved.join(name)).unwrap();
    assert!(said(&run(&moved, &["verify", "mine.json"])).contains("holds"));
    std::fs::create_dir(moved.join("checkpoints")).unwrap();
    std::fs::rename(moved.join(name), moved.join("checkpoints").join(name)).unwrap();
    std::fs::create_dir(moved.join("cells")).unwrap();
    std::fs::rename(&there, moved.join("cells/mine.json")).unwrap();
    assert!(said(&run(&moved, &["verify", "cells/mine.json"])).contains("holds"));
    assert!(said(&run(&moved.join("cells"), &["verify", "./mine.json"])).contains("holds"));
}
