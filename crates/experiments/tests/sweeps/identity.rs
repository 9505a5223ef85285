//! A result is of its data, classes, weights and configuration, and of no others.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use run_record::Record;
use scene_data::beacons::BeaconsConfig;
use scene_data::{Layout, synth};
use serde_json::Value;

use crate::runs::thin_weights;
use crate::tiny::{cells, folder, records, refused, reproduce, rewrite, run, said};

/// Makes a folder of photographs with labels below `dir`.
fn data(dir: &Path, name: &str) {
    let few = BeaconsConfig {
        size_px: 48,
        textures: 2,
        beacon_px: 7,
        train_images: 6,
        val_images: 2,
        test_images: 2,
        ..BeaconsConfig::default()
    };
    synth::write(Layout::Folder, &few, &dir.join(name)).unwrap();
}

/// Gives every pixel of a split another class.
fn relabel(dir: &Path, data: &str, split: &str) {
    for entry in fs::read_dir(dir.join(data).join("labels").join(split)).unwrap() {
        let file = entry.unwrap().path();
        let mut labels = image::open(&file).unwrap().into_luma8();
        labels.iter_mut().for_each(|label| *label = (*label + 1) % 4);
        labels.save(&file).unwrap();
    }
}

/// Changes the description of a folder.
fn describe(dir: &Path, data: &str, change: impl FnOnce(String) -> String) {
    let file = dir.join(data).join("dataset.toml");
    let text = fs::read_to_string(&file).unwrap();
    let changed = change(text.clone());
    assert_ne!(changed, text);
    fs::write(file, changed).unwrap();
}

/// One cell of the tiny sweep on a folder.
fn on<'a>(data: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let one = ["--arms", "fcn", "--seeds", "0", "--set", "dataset={kind=\"folder\"}"];
    [&one[..], &["--data-root", data], more].concat()
}

fn train(dir: &Path, out_dir: &str, data: &str) -> Output {
    reproduce(dir, out_dir, &on(data, &[])).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The only record of an output folder.
fn record(dir: &Path, out_dir: &str) -> PathBuf {
    let mut files = Record::files(cells(dir, out_dir)).unwrap();
    assert_eq!(files.len(), 1);
    files.remove(0)
}

fn score(text: &str) -> String {
    let row = text.lines().find(|line| line.starts_with("| `fcn` |")).unwrap();
    row.split('|').nth(2).unwrap().trim().to_owned()
}

#[test]
fn other_data_are_another_cell_and_missing_data_an_error() {
    let dir = folder(2);
    let dir = dir.path();
    data(dir, "a");
    data(dir, "b");
    relabel(dir, "b", "test");
    let a = score(&said(&train(dir, "out", "a")));
    let of_b = train(dir, "out", "b");
    assert!(stderr(&of_b).contains("fcn seed 0: the record fcn-seed0-"), "{}", stderr(&of_b));
    assert!(stderr(&of_b).contains("is of other inputs (test was "), "{}", stderr(&of_b));
    assert_ne!(score(&said(&of_b)), a, "not the score of other labels");
    assert_eq!(records(dir, "out").len(), 2);
    // The same data at another place are the same cell.
    fs::rename(dir.join("a"), dir.join("moved")).unwrap();
    let moved = train(dir, "out", "moved");
    assert!(stderr(&moved).contains("1 of 1 cells are already finished"), "{}", stderr(&moved));
    assert_eq!(score(&said(&moved)), a);
    let missing = train(dir, "out", "a");
    assert!(missing.stdout.is_empty(), "nothing old is shown");
    assert!(
        refused(&missing).contains("under a: expected dataset.toml; found no such folder"),
        "{}",
        stderr(&missing)
    );
    // What decides no number changes no cell.
    describe(dir, "moved", |text| text.replacen("color = [", "color = [0, 0, 0] # ", 1));
    assert!(stderr(&train(dir, "out", "moved")).contains("already finished"));
    describe(dir, "moved", |text| text.replacen("ignore = [255]", "ignore = [254, 255]", 1));
    let ignored = train(dir, "out", "moved");
    assert!(stderr(&ignored).contains("is of other inputs (classes was "), "{}", stderr(&ignored));
    assert_eq!(records(dir, "out").len(), 3);
}

#[test]
fn a_plan_is_run_on_its_own_data_alone() {
    let dir = folder(1);
    let dir = dir.path();
    data(dir, "a");
    said(&train(dir, "out", "a"));
    let plan = fs::read_dir(dir.join("out")).unwrap().map(|entry| entry.unwrap().path());
    let plan = plan.into_iter().find(|path| path.extension().is_some_and(|e| e == "toml")).unwrap();
    let plan = plan.to_str().unwrap();
    said(&run(dir, &["run", plan]));
    relabel(dir, "a", "val");
    let message = refused(&run(dir, &["run", plan]));
    assert!(message.contains("the inputs changed: folder val: the images are not those of"));
    assert!(said(&run(dir, &["report", plan])).contains("| `fcn` |"), "records need no data");
}

#[test]
fn training_that_was_stopped_never_goes_on_with_other_data() {
    let dir = folder(200);
    let dir = dir.path();
    data(dir, "a");
    let mut command = reproduce(dir, "out", &on("a", &["--state-every", "0"]));
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let state = || {
        let cell = fs::read_dir(dir.join("out/running")).ok()?.next()?.unwrap().path();
        fs::read_dir(cell).ok()?.find(|file| {
            file.as_ref().unwrap().path().extension().is_some_and(|e| e == "safetensors")
        })
    };
    while state().is_none() {
        assert!(child.try_wait().unwrap().is_none(), "it ended before its first state");
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(records(dir, "out").len(), 0);
    // Fewer images, by which the schedule is shorter; and of one the labels.
    for number in ["3", "4", "5", "6"] {
        fs::remove_file(dir.join(format!("a/images/train/train_00000{number}.png"))).unwrap();
        fs::remove_file(dir.join(format!("a/labels/train/train_00000{number}.png"))).unwrap();
    }
    relabel(dir, "a", "train");
    let short = ["--set", "training.epochs=200", "--jobs", "1"];
    let output = reproduce(dir, "out", &on("a", &short)).output().unwrap();
    let said_of_it = stderr(&output);
    said(&output);
    assert!(said_of_it.contains("the stopped training fcn-seed0-"), "{said_of_it}");
    assert!(said_of_it.contains("is of other inputs (train was "), "{said_of_it}");
    assert!(!said_of_it.contains("goes on after step"), "{said_of_it}");
    let record = records(dir, "out").remove(0);
    assert!(record.earlier.is_empty() && record.curve.iter().all(|p| p.train_loss.is_finite()));
    assert_eq!(record.dataset.images["train"], 2);
}

#[test]
fn classes_that_do_not_fit_are_listed() {
    let dir = folder(1);
    let dir = dir.path();
    data(dir, "a");
    said(&train(dir, "out", "a"));
    let file = record(dir, "out");
    let file = file.to_str().unwrap();
    let description = fs::read_to_string(dir.join("a/dataset.toml")).unwrap();
    let added = "\n[[class]]\nvalue = 4\nname = \"sky\"\n\n[split.train]";
    let swap = |text: String| {
        let held =
            text.replace("texture 0 plus", "HELD").replace("texture 0 ring", "texture 0 plus");
        held.replace("HELD", "texture 0 ring")
    };
    let fewer = |text: String| {
        let start = text.find("[[class]]\nvalue = 3").unwrap();
        let end = text.find("[split.train]").unwrap();
        text[..start].to_owned() + &text[end..]
    };
    type Change<'a> = &'a dyn Fn(String) -> String;
    let changes: [(Change<'_>, &str); 4] = [
        (&|text| text.replace("\n[split.train]", added), "added: sky"),
        (&fewer, "no longer there: texture 1 ring"),
        (&swap, "texture 0 plus was class 0, now 1"),
        (&|text| text.replace("value = 3", "value = 7"), "texture 1 ring was labelled 3, now 7"),
    ];
    for (change, want) in changes {
        describe(dir, "a", change);
        for command in ["eval", "verify"] {
            let message = refused(&run(dir, &[command, file, "--data-root", "a"]));
            assert!(message.contains(want), "{command}: {message}");
            // After the line that says where the network runs.
            assert_eq!(message.lines().filter(|line| line.contains(want)).count(), 1, "{message}");
            assert_eq!(message.lines().count(), 2, "{message}");
        }
        fs::write(dir.join("a/dataset.toml"), &description).unwrap();
    }
    said(&run(dir, &["verify", file, "--data-root", "a"]));
}

#[test]
fn other_images_are_scored_where_that_is_asked_for_and_said() {
    let dir = folder(1);
    let dir = dir.path();
    data(dir, "a");
    data(dir, "b");
    relabel(dir, "b", "test");
    said(&train(dir, "out", "a"));
    let file = record(dir, "out");
    let file = file.to_str().unwrap();
    let own = said(&run(dir, &["eval", file, "--data-root", "a"]));
    assert!(!own.contains("not the images of the record"), "{own}");
    for command in ["eval", "verify"] {
        let message = refused(&run(dir, &[command, file, "--data-root", "b"]));
        assert!(message.contains("test: not the images of the record: SHA-256 "), "{message}");
    }
    let other = said(&run(dir, &["eval", file, "--data-root", "b", "--other-images"]));
    assert!(other.contains("\ntest: not the images of the record: SHA-256 "), "{other}");
}

#[test]
fn weights_are_known_by_their_values() {
    let dir = folder(1);
    let dir = dir.path();
    let weights = thin_weights(dir);
    let backbone = "model.backbone={kind=\"resnet-18\",width=4}";
    let train = |weights: &str| {
        let more = ["--arms", "fcn", "--seeds", "0", "--set", backbone, "--weights", weights];
        let more = [&more[..], &["--set", "model.backbone_mode=frozen"]].concat();
        reproduce(dir, "out", &more).output().unwrap()
    };
    said(&train(&weights));
    // The same values in another file.
    let tensors = candle_core::safetensors::load(dir.join(&weights), &candle_core::Device::Cpu);
    let mut tensors = tensors.unwrap();
    let counter = candle_core::Tensor::new(&[7i64], &candle_core::Device::Cpu).unwrap();
    tensors.insert("bn1.num_batches_tracked".into(), counter);
    candle_core::safetensors::save(&tensors, dir.join("same.safetensors")).unwrap();
    assert_ne!(
        fs::read(dir.join("same.safetensors")).unwrap(),
        fs::read(dir.join(&weights)).unwrap()
    );
    let same = train("same.safetensors");
    assert!(stderr(&same).contains("1 of 1 cells are already finished"), "{}", stderr(&same));
    let one = tensors["bn1.bias"].affine(1.0, 1e-3).unwrap();
    tensors.insert("bn1.bias".into(), one);
    candle_core::safetensors::save(&tensors, dir.join("other.safetensors")).unwrap();
    let other = train("other.safetensors");
    said(&other);
    assert!(stderr(&other).contains("is of other inputs (weights was "), "{}", stderr(&other));
    assert_eq!(records(dir, "out").len(), 2);
    // Which of the two is of which is in their cells.
    let files = Record::files(cells(dir, "out")).unwrap();
    let holds = |file: &Path, weights: &str| {
        run(dir, &["verify", file.to_str().unwrap(), "--weights", weights]).status.success()
    };
    let of_same = files.iter().filter(|file| holds(file, "same.safetensors"));
    assert_eq!(
        (of_same.count(), holds(&files[0], "other.safetensors")),
        (1, !holds(&files[0], "same.safetensors"))
    );
}

#[test]
fn a_sweep_that_names_other_inputs_is_refused() {
    let dir = folder(1);
    let text = fs::read_to_string(dir.path().join("tiny.toml")).unwrap();
    for (name, want) in [
        ("val", "beacons val: the images are not those of the sweep"),
        ("classes", "beacons classes: the classes are not those of the sweep"),
        ("weights", "beacons weights: the pretrained weights are not those of the sweep"),
        ("tset", "unknown field `tset`, expected one of"),
    ] {
        let named = format!("[config.fingerprints]\n{name} = \"00\"\n\n[config.model]");
        fs::write(dir.path().join("tiny.toml"), text.replace("[config.model]", &named)).unwrap();
        let message = refused(&reproduce(dir.path(), "out", &[]).output().unwrap());
        assert!(message.contains(want), "{message}");
    }
}

#[test]
fn pictures_are_those_of_the_cell() {
    let dir = folder(1);
    let pictures = |more: &[&str]| -> Vec<String> {
        let args = [&["--arms", "fcn", "--seeds", "0"], more].concat();
        said(&reproduce(dir.path(), "out", &args).output().unwrap());
        let html = fs::read_to_string(dir.path().join("out/report.html")).unwrap();
        let all = html.split("src=\"data:image/png").skip(1);
        all.map(|rest| rest.split('"').next().unwrap().to_owned()).collect()
    };
    let first = pictures(&[]);
    let other = pictures(&["--set", "training.epochs=12"]);
    assert!(first.len() == 9 && first != other, "the two see other things");
    assert_eq!(pictures(&[]), first);
}

#[test]
fn seeds_that_are_no_seeds_of_one_cell_have_no_mean_without_a_mark() {
    let dir = folder(1);
    let dir = dir.path();
    data(dir, "a");
    data(dir, "b");
    relabel(dir, "b", "train");
    let seed = |out: &str, data: &str, seed: &str, more: &[&str]| {
        let mut args = on(data, more);
        args[3] = seed;
        said(&reproduce(dir, out, &args).output().unwrap());
    };
    seed("data", "a", "0", &[]);
    seed("data", "b", "1", &[]);
    seed("epochs", "a", "0", &[]);
    seed("epochs", "a", "1", &["--set", "training.epochs=2"]);
    seed("other", "b", "0", &[]);
    for (out, want) in [
        ("data", "are of different inputs: train was "),
        ("epochs", "are of different configurations: training.epochs = 1 and 2"),
    ] {
        let message = refused(&run(dir, &["compare", out, "other"]));
        assert!(message.contains(want), "{message}");
        let table = ["table", "--sweep", "tiny.toml", "--records"];
        let records = cells(dir, out);
        let text = said(&run(dir, &[&table[..], &[records.to_str().unwrap()]].concat()));
        assert!(text.contains("No mean over seeds of one cell") && text.contains(want), "{text}");
    }
    // Two networks that were trained on other data are compared, and it is said.
    seed("mine", "a", "0", &[]);
    let text = said(&run(dir, &["compare", "mine", "other"]));
    assert!(text.contains("**Made from other inputs**: train was "), "{text}");
}

/// A record as it was before cells held their inputs.
fn made_before(file: &Path) -> Record {
    let record = Record::read(file).unwrap();
    fs::remove_file(file).unwrap();
    let mut old = record;
    (old.version, old.normalisation, old.dataset.class_table) = (1, None, None);
    old.cell.config["fingerprints"] = Value::Object(serde_json::Map::new());
    old.cell_hash = old.cell.hash();
    let name = format!("{}.json", old.cell.file_stem());
    fs::write(file.with_file_name(name), serde_json::to_string(&old).unwrap()).unwrap();
    old
}

#[test]
fn records_made_before_are_of_unknown_data_until_it_is_shown() {
    let dir = folder(1);
    let dir = dir.path();
    data(dir, "a");
    data(dir, "b");
    relabel(dir, "b", "train");
    said(&train(dir, "out", "a"));
    let old = made_before(&record(dir, "out"));
    let table = ["table", "--sweep", "tiny.toml", "--records", "out/cells"];
    let text = said(&run(dir, &table));
    let mark = "Of unknown data, made before cells held their inputs: `fcn`.";
    assert!(text.contains(mark), "{text}");
    let identify = |data: &str, more: &[&str]| {
        run(dir, &[&["identify", "out", "--data-root", data], more].concat())
    };
    let message = refused(&identify("b", &[]));
    assert!(message.contains("folder train: the images are not those of the"), "{message}");
    let text = said(&identify("a", &[]));
    assert!(text.contains("of the data and weights at hand; made before"), "{text}");
    said(&identify("a", &["--out-dir", "new"]));
    let new = Record::read(record(dir, "new")).unwrap();
    assert_eq!(new.formerly, Some(old.cell_hash.clone()));
    assert!(new.is_of_known_inputs());
    assert_eq!((&new.metrics, &new.images, &new.curve), (&old.metrics, &old.images, &old.curve));
    let text = said(&run(dir, &[&table[..4], &["new/cells"]].concat()));
    assert!(!text.contains("unknown data"), "{text}");
    let text = said(&run(dir, &["identify", "new", "--data-root", "a"]));
    assert!(text.ends_with("of the data and weights at hand\n"), "{text}");

    // Labels whose values mean other classes: the fingerprints are the same, the counts are not.
    let swapped = |text: String| {
        let held = text.replace("value = 0\n", "value = 9\n").replace("value = 1\n", "value = 0\n");
        held.replace("value = 9\n", "value = 1\n")
    };
    describe(dir, "a", swapped);
    let message = refused(&identify("a", &[]));
    assert!(message.contains("pixels of each class, the record counted"), "{message}");
}

#[test]
fn the_checkpoint_of_a_record_that_got_another_hash_is_still_its_own() {
    let dir = folder(1);
    let dir = dir.path();
    said(&reproduce(dir, "out", &["--arms", "fcn", "--seeds", "0"]).output().unwrap());
    let file = record(dir, "out");
    let checkpoint = dir.join("out/checkpoints").join(file.file_name().unwrap());
    let checkpoint = checkpoint.with_extension("safetensors");
    rewrite(&file, |record| {
        // A default that is no longer spelled out makes another hash and the same network.
        record.cell.config.as_object_mut().unwrap().remove("evaluation").unwrap();
        record.formerly = Some(std::mem::replace(&mut record.cell_hash, record.cell.hash()));
    });
    let file = record(dir, "out");
    let verify = ["verify", file.to_str().unwrap(), "--checkpoint", checkpoint.to_str().unwrap()];
    assert!(said(&run(dir, &verify)).contains("holds"));
    rewrite(&file, |record| record.formerly = None);
    assert!(refused(&run(dir, &verify)).contains(", not of "));
}
