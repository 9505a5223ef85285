//! Whole sweeps: the same numbers again, whatever the threads, and nothing lost to Ctrl-C.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use backbone::{BackboneConfig, ResNetConfig};
use candle_core::{Device, Tensor};
use scene_data::beacons::BeaconsConfig;
use scene_data::{Layout, synth};

use crate::tiny::{cells, folder, records, reproduce, rewrite};

fn succeed(mut command: std::process::Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    output
}

#[test]
fn records_do_not_depend_on_the_run_or_its_threads() {
    let dir = folder(2);
    for (out_dir, threads) in [("one", "1"), ("again", "1"), ("three", "3")] {
        let mut command = reproduce(dir.path(), out_dir, &["--seeds", "5"]);
        command.env("RAYON_NUM_THREADS", threads);
        succeed(command);
    }
    let one = records(dir.path(), "one");
    assert_eq!(one.len(), 2);
    for out_dir in ["again", "three"] {
        for (a, b) in one.iter().zip(records(dir.path(), out_dir)) {
            assert!(a.same_results(&b), "{out_dir}: {a:?}\n{b:?}");
        }
    }
    assert!(one[0].curve != one[1].curve, "arms differ");
}

#[test]
fn a_second_call_uses_what_is_finished_and_says_so() {
    let dir = folder(1);
    succeed(reproduce(dir.path(), "out", &["--seeds", "0"]));
    let before = records(dir.path(), "out");
    let output = succeed(reproduce(dir.path(), "out", &[]));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("2 of 4 cells are already finished in out/cells"), "{stderr}");
    let after = records(dir.path(), "out");
    assert_eq!(after.len(), 4);
    assert!(before.iter().all(|record| after.contains(record)), "the same files");

    let stdout = String::from_utf8(output.stdout).unwrap();
    let row = stdout.lines().find(|line| line.starts_with("| `dense-attention` |")).unwrap();
    assert_eq!(row.matches('|').count(), 10, "{row}");
    let report = std::fs::read_to_string(dir.path().join("out/report.md")).unwrap();
    assert!(report.contains(row), "{report}");
}

#[test]
fn a_sweep_ends_with_a_page_that_shows_what_the_first_seed_sees() {
    let dir = folder(1);
    succeed(reproduce(dir.path(), "out", &["--seeds", "0,1"]));
    // All arms are scored on the same images.
    let mut folders = std::fs::read_dir(dir.path().join("out/pictures")).unwrap();
    let folder = folders.next().unwrap().unwrap().path();
    assert!(folders.next().is_none());
    let is_there = |picture: &str| folder.join(picture).exists();
    let records = records(dir.path(), "out");
    let stem = |arm: &str| {
        let of_arm = records.iter().find(|r| r.cell.arm == arm && r.cell.seed == 0);
        of_arm.unwrap().cell.file_stem()
    };
    let (fcn, attention) = (stem("fcn"), stem("dense-attention"));
    for column in ["image", "truth", &fcn, &attention] {
        assert!((0..3).all(|image| is_there(&format!("{image}-{column}.png"))), "{column}");
    }
    assert!(is_there(&format!("errors/0-{fcn}.png")));
    assert!(is_there(&format!("errors/2-{attention}.png")));
    assert!(is_there(&format!("attention/0-{attention}.png")));
    assert!(!is_there(&format!("attention/0-{fcn}.png")));
    let page = || std::fs::read_to_string(dir.path().join("out/report.html")).unwrap();
    let pictures = |format: &str| page().matches(&format!("src=\"data:image/{format}")).count();
    // Of three images: photograph and one attention; truth, two predictions, two maps of errors.
    assert_eq!((pictures("jpeg"), pictures("png")), (6, 15));
    assert!(page().contains("texture 0 plus") && page().contains("Where attention goes"));
    succeed(reproduce(dir.path(), "out", &["--seeds", "0,1", "--no-images"]));
    assert_eq!((pictures("jpeg"), pictures("png")), (0, 15));
    for file in ["report.md", "table.tex", "table.csv"] {
        assert!(dir.path().join("out").join(file).exists(), "{file}");
    }
}

#[test]
fn a_record_cut_off_is_not_taken_for_finished() {
    let dir = folder(1);
    succeed(reproduce(dir.path(), "out", &["--seeds", "0", "--arms", "fcn"]));
    let file = std::fs::read_dir(cells(dir.path(), "out")).unwrap().next().unwrap().unwrap().path();
    let text = std::fs::read(&file).unwrap();
    std::fs::write(&file, &text[..text.len() / 2]).unwrap();
    let output = reproduce(dir.path(), "out", &["--seeds", "0"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    let name = file.file_name().unwrap().to_str().unwrap();
    assert!(stderr.contains(name) && stderr.contains("not a whole record"), "{stderr}");
}

#[cfg(unix)]
#[test]
fn ctrl_c_keeps_finished_cells_whole() {
    let dir = folder(1);
    succeed(reproduce(dir.path(), "out", &["--arms", "fcn"]));
    // So many epochs that no further cell can finish before the signal.
    let text = std::fs::read_to_string(dir.path().join("tiny.toml")).unwrap();
    let long = text.replace(
        "[[arm]]\nname = \"dense-attention\"\n",
        "[[arm]]\nname = \"dense-attention\"\nconfig.training.epochs = 100000\n",
    );
    std::fs::write(dir.path().join("tiny.toml"), long).unwrap();

    let mut command = reproduce(dir.path(), "out", &[]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_secs(2));
    let pid = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let start = Instant::now();
    let output = child.wait_with_output().unwrap();
    assert!(start.elapsed() < Duration::from_secs(20), "it ends at the next step");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let stderr = String::from_utf8(output.stderr).unwrap();
    let last = stderr.lines().last().unwrap();
    assert!(
        last.starts_with("error: interrupted: 2 of 4 cells are finished and kept in out/cells"),
        "{stderr}"
    );
    assert_eq!(records(dir.path(), "out").len(), 2);
    let files = std::fs::read_dir(cells(dir.path(), "out")).unwrap().count();
    assert_eq!(files, 2, "no half-written file");
}

/// A data root with a tiny set in one of the genuine layouts, and how a sweep asks for it.
fn on_disk(dir: &Path, layout: Layout, kind: &str) -> Vec<String> {
    let few = BeaconsConfig {
        size_px: 48,
        textures: 2,
        beacon_px: 7,
        train_images: 3,
        val_images: 2,
        test_images: 2,
        ..BeaconsConfig::default()
    };
    synth::write(layout, &few, &dir.join(kind)).unwrap();
    let set = ["--set".to_owned(), format!("dataset={{kind=\"{kind}\"}}")];
    [&set[..], &["--data-root".to_owned(), kind.to_owned()]].concat()
}

#[test]
fn every_dataset_can_be_trained_on_with_its_images_varied() {
    let dir = folder(1);
    for (layout, kind) in [
        (Layout::CamVid, "camvid"),
        (Layout::Ade20k, "ade20k"),
        (Layout::PascalContext, "pascal-context"),
        (Layout::Cityscapes, "cityscapes"),
    ] {
        let mut args = on_disk(dir.path(), layout, kind);
        for change in [
            "training.augment.scale=[0.5,1.5]",
            "training.augment.crop_px=[40,32]",
            "training.augment.jitter={brightness=0.1,hue_degrees=5}",
            "training.optimizer=sgd",
            "training.schedule=cosine",
            "training.accumulate=2",
            "training.class_weights=shuai",
        ] {
            args.extend(["--set".to_owned(), change.to_owned()]);
        }
        args.extend(["--arms", "fcn", "--seeds", "0"].map(str::to_owned));
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let output = reproduce(dir.path(), kind, &args).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let records = records(dir.path(), kind);
        assert_eq!(records.len(), 1);
        assert_eq!((&*records[0].dataset.name, records[0].images.len()), (kind, 2));
    }
}

#[test]
fn a_bad_sample_stops_the_run_before_any_record() {
    let dir = folder(1);
    let args = on_disk(dir.path(), Layout::CamVid, "camvid");
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    std::fs::write(dir.path().join("camvid/trainannot/beacons_000002.png"), "no PNG").unwrap();
    let output = reproduce(dir.path(), "out", &args).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains("trainannot/beacons_000002.png: not a readable PNG"), "{message}");
    assert_eq!(records(dir.path(), "out").len(), 0);
}

#[test]
fn cells_of_another_revision_are_named_and_run_again_when_asked() {
    let dir = folder(1);
    let args = ["--seeds", "0", "--arms", "fcn"];
    succeed(reproduce(dir.path(), "out", &args));
    let file = std::fs::read_dir(cells(dir.path(), "out")).unwrap().next().unwrap().unwrap().path();
    let made = records(dir.path(), "out").remove(0);
    rewrite(&file, |record| record.provenance.revision = "older".into());
    let output = succeed(reproduce(dir.path(), "out", &args));
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(stdout.contains("stale, made by another revision") && stdout.contains("fcn seed 0"));
    assert_eq!(records(dir.path(), "out")[0].provenance.revision, "older", "used as it is");
    let output = succeed(reproduce(dir.path(), "out", &[&args[..], &["--refresh"]].concat()));
    assert!(!String::from_utf8(output.stdout).unwrap().contains("stale"));
    let again = records(dir.path(), "out").remove(0);
    assert_eq!(again.provenance.revision, made.provenance.revision);
    assert!(again.same_results(&made));
    let kept = std::fs::read_dir(dir.path().join("out/stale")).unwrap();
    assert_eq!(kept.count(), 1, "nothing is lost");
}

#[test]
fn the_code_is_recorded_wherever_the_user_is() {
    let dir = folder(1);
    std::fs::create_dir(dir.path().join("code")).unwrap();
    std::fs::write(dir.path().join("code/Cargo.lock"), "lock").unwrap();
    let mut command = reproduce(dir.path(), "out", &["--seeds", "0", "--arms", "fcn"]);
    command.env("SCENE_RNN_CHECKOUT", dir.path().join("code"));
    succeed(command);
    let lock = &records(dir.path(), "out")[0].provenance.lock_sha256;
    assert_eq!(*lock, experiments::provenance::sha256(b"lock"));
}

#[test]
fn several_processes_share_the_cells_and_the_records_are_the_same() {
    let dir = folder(1);
    succeed(reproduce(dir.path(), "one", &[]));
    let output = succeed(reproduce(dir.path(), "two", &["--jobs", "2"]));
    let (one, two) = (records(dir.path(), "one"), records(dir.path(), "two"));
    assert_eq!(two.len(), 4);
    assert!(one.iter().zip(&two).all(|(a, b)| a.same_results(b)));
    let threads: Vec<u64> = two.iter().map(|record| record.provenance.threads).collect();
    let all = one[0].provenance.threads;
    assert!(threads.iter().all(|&threads| threads == (all / 2).max(1)), "{threads:?} of {all}");
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert_eq!(stdout.matches("| arm |").count(), 1, "one table: {stdout}");
}

#[test]
fn two_calls_at_once_divide_the_cells() {
    let dir = folder(4);
    let start = || {
        let mut command = reproduce(dir.path(), "out", &[]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let both = [start(), start()];
    for child in both {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let stdout = String::from_utf8(output.stdout).unwrap();
        assert!(stdout.contains("| `dense-attention` |") && stdout.contains("| `fcn` |"));
    }
    assert_eq!(records(dir.path(), "out").len(), 4);
}

#[test]
fn a_cell_that_fails_is_named_and_the_others_are_run() {
    for jobs in ["1", "2"] {
        let dir = folder(1);
        let text = std::fs::read_to_string(dir.path().join("tiny.toml")).unwrap();
        let wild = text.replace(
            "[[arm]]\nname = \"fcn\"\n",
            "[[arm]]\nname = \"fcn\"\nconfig.training.learning_rate = 1e38\n",
        );
        std::fs::write(dir.path().join("tiny.toml"), wild).unwrap();
        let output = reproduce(dir.path(), "out", &["--jobs", jobs]).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let stderr = String::from_utf8(output.stderr).unwrap();
        let last = stderr.lines().rfind(|line| line.starts_with("error: ")).unwrap();
        assert!(last.contains("fcn seed 0") && last.contains("fcn seed 1"), "{last}");
        assert!(!last.contains("dense-attention"), "{last}");
        assert!(stderr.contains("training diverged at step"), "{stderr}");
        let kept = records(dir.path(), "out");
        assert!(kept.len() == 2 && kept.iter().all(|record| record.cell.arm == "dense-attention"));
        let stdout = String::from_utf8(output.stdout).unwrap();
        assert!(stdout.contains("| `dense-attention` |"), "{stdout}");
    }
}

/// Weights of a thin ResNet-18, as a file.
pub(crate) fn thin_weights(dir: &Path) -> String {
    let config = BackboneConfig::ResNet18(ResNetConfig { width: 4, ..ResNetConfig::default() });
    let tensor = |(nth, (name, shape)): (usize, (String, Vec<usize>))| {
        let count: usize = shape.iter().product();
        let value = |at: usize| 0.1 * ((at + 31 * nth) as f32).sin();
        let positive = name.ends_with("running_var");
        let values = (0..count).map(|at| if positive { 1.0 } else { value(at) });
        (name, Tensor::from_iter(values, &Device::Cpu).unwrap().reshape(shape).unwrap())
    };
    let tensors = config.parameters().unwrap().into_iter().enumerate().map(tensor).collect();
    candle_core::safetensors::save(&tensors, dir.join("thin.safetensors")).unwrap();
    "thin.safetensors".to_owned()
}

#[test]
fn features_in_files_are_those_in_memory_and_are_made_once() {
    let dir = folder(2);
    let weights = thin_weights(dir.path());
    let frozen = [
        "--weights",
        &weights,
        "--seeds",
        "0",
        "--set",
        "model.backbone={kind=\"resnet-18\",width=4}",
        "--set",
        "model.backbone_mode=frozen",
    ];
    let files = [&frozen[..], &["--features", "features"]].concat();
    succeed(reproduce(dir.path(), "memory", &frozen));
    // Two processes that want the same features at once.
    succeed(reproduce(dir.path(), "files", &[&files[..], &["--jobs", "2"]].concat()));
    let made = |dir: &Path| -> Vec<_> {
        let keys = std::fs::read_dir(dir.join("features")).unwrap().map(|key| key.unwrap().path());
        let keys = keys.filter(|key| key.is_dir()).flat_map(|key| std::fs::read_dir(key).unwrap());
        keys.map(|file| file.unwrap().metadata().unwrap().modified().unwrap()).collect()
    };
    let first = made(dir.path());
    assert_eq!(first.len(), 12 + 3 + 3, "one an image");
    succeed(reproduce(dir.path(), "again", &files));
    assert_eq!(made(dir.path()), first, "not written again");
    let memory = records(dir.path(), "memory");
    assert_eq!(memory.len(), 2);
    for other in ["files", "again"] {
        let others = records(dir.path(), other);
        assert!(memory.iter().zip(&others).all(|(a, b)| a.same_results(b)), "{other}");
    }
}
