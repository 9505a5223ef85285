//! Whoever reads standard output and error, or does not: nothing panics, and nothing trained is lost.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Output, Stdio};

use crate::kill::assert_same;
use crate::tiny::{folder, reproduce};
use scene_data::beacons::BeaconsConfig;
use scene_data::{Layout, synth};

/// A stream that nobody reads any longer.
fn closed() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

/// A file on a disk without room.
fn full() -> Stdio {
    File::options().write(true).open("/dev/full").unwrap().into()
}

type Stream = fn() -> Stdio;

fn run(dir: &Path, args: &[&str], out: Stream, err: Stream) -> Output {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_experiments"));
    command.current_dir(dir).args(args).stdout(out()).stderr(err());
    command.output().unwrap()
}

fn said(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

#[cfg(target_os = "linux")]
#[test]
fn training_ends_with_all_that_it_writes_whoever_reads() {
    let dir = folder(2);
    let one = ["--seeds", "0", "--arms", "fcn"];
    assert!(reproduce(dir.path(), "whole", &one).output().unwrap().status.success());
    let streams: [(&str, Stream, Stream, i32); 5] = [
        ("both-closed", closed, closed, 141),
        ("messages-closed", Stdio::null, closed, 0),
        ("both-full", full, full, 1),
        ("messages-full", Stdio::null, full, 0),
        ("results-full", full, Stdio::piped, 1),
    ];
    for (out_dir, out, err, code) in streams {
        let mut command = reproduce(dir.path(), out_dir, &one);
        let output = command.stdout(out()).stderr(err()).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{out_dir}: {output:?}");
        assert_same(dir.path(), "whole", out_dir);
        assert!(dir.path().join(out_dir).join("report.html").exists(), "{out_dir}");
        if out_dir == "results-full" {
            assert!(said(&output).contains("error: standard output: No space left"), "{output:?}");
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn commands_whose_output_is_the_result_end_quietly_or_say_that_the_disk_is_full() {
    let dir = folder(1);
    assert!(reproduce(dir.path(), "out", &[]).output().unwrap().status.success());
    let sweep = fs::read_to_string(dir.path().join("tiny.toml")).unwrap();
    let config = sweep.split("[[arm]]").next().unwrap().split_once("[config.dataset]").unwrap().1;
    let config = format!("[dataset]{}", config.replace("[config.", "["));
    fs::write(dir.path().join("config.toml"), config).unwrap();
    let few = BeaconsConfig {
        size_px: 48,
        textures: 2,
        beacon_px: 7,
        train_images: 2,
        val_images: 2,
        test_images: 2,
        ..BeaconsConfig::default()
    };
    synth::write(Layout::CamVid, &few, &dir.path().join("set")).unwrap();
    let cell = fs::read_dir(dir.path().join("out/cells")).unwrap().next().unwrap().unwrap().path();
    let (cell, photograph) = (cell.to_str().unwrap(), "set/val/beacons_000001.png");
    for args in [
        &["data", "list"][..],
        &["data", "stats", "camvid", "--data-root", "set"],
        &["data", "verify", "camvid", "--data-root", "set", "--partial"],
        &["data", "preview", "camvid", "--data-root", "set"],
        &[
            "score",
            "--protocol",
            "camvid",
            "--labels",
            "set/valannot",
            "--predictions",
            "set/valannot",
        ],
        &["compare", "out"],
        &["table", "--records", "out/cells", "--sweep", "tiny.toml"],
        &["train", "config.toml", "--try", "1"],
        &["eval", cell],
        &["verify", cell],
        &["predict", cell, photograph, "--out-dir", "seen"],
    ] {
        let output = run(dir.path(), args, closed, Stdio::piped);
        assert_eq!(output.status.code(), Some(141), "{args:?}: {output:?}");
        assert!(!said(&output).contains("error"), "{args:?}: {output:?}");
        assert!(!said(&output).contains("panicked"), "{args:?}: {output:?}");
        let output = run(dir.path(), args, full, Stdio::piped);
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        let last = said(&output).lines().last().unwrap();
        assert!(last.starts_with("error: standard output: No space left"), "{output:?}");
        // A mistake that nobody hears is a mistake all the same.
        let wrong = [args, &["--no-such-option"]].concat();
        assert_eq!(run(dir.path(), &wrong, closed, closed).status.code(), Some(2), "{args:?}");
    }
    let output = run(dir.path(), &["compare", "nowhere"], closed, closed);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}
