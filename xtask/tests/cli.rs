//! What a person sees of `cargo xtask`, mistakes above all: they are answered before any build.

use std::fs;
use std::path::Path;

use assert_cmd::Command;

const SWEEP: &str =
    "name = \"mine\"\nseeds = [0]\n[[arm]]\nname = \"fcn\"\n[[arm]]\nname = \"dense\"\n";

fn xtask(args: &[&str]) -> Command {
    let mut command = Command::cargo_bin("xtask").expect("the binary of this crate");
    // Errors are one line even where stacks are asked for.
    command.args(args).env("RUST_BACKTRACE", "1");
    command
}

/// The only line on standard error of a command that fails.
fn refusal(dir: &Path, args: &[&str]) -> String {
    let output = xtask(args).current_dir(dir).output().expect("xtask starts");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    let message = String::from_utf8(output.stderr).expect("text");
    assert_eq!(message.lines().count(), 1, "{message}");
    message.trim_end().to_owned()
}

#[test]
fn an_unknown_sweep_is_answered_with_the_nearest_and_all() {
    let dir = tempfile::tempdir().unwrap();
    let message = refusal(dir.path(), &["reproduce", "sintetic"]);
    assert!(
        message.starts_with("error: no sweep is called `sintetic` (did you mean `synthetic`?)"),
        "{message}"
    );
    assert!(
        message
            .contains("the sweeps are camvid, camvid-backbones, camvid-companions, companions, smoke, synthetic, or"),
        "{message}"
    );
}

#[test]
fn mistakes_in_names_are_answered_before_a_build() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("mine.toml"), SWEEP).unwrap();
    for (args, want) in [
        (
            ["--arms", "fcn,dens"],
            "error: sweep mine has no arm `dens` (did you mean `dense`?); its arms are fcn, dense",
        ),
        (["--seeds", "1,1"], "error: sweep mine: seed 1 is given twice"),
        (["--set", "training.epochs"], "error: cannot set `training.epochs`: expected KEY=VALUE"),
        (["--data-root", "nowhere"], "error: --data-root nowhere: there is no such folder"),
        (["--weights", "nowhere"], "error: --weights nowhere: there is no such file or folder"),
        (["--mem", "8G"], "error: --mem is for Slurm; give --launcher slurm as well"),
        (["--out-dir", "mine.toml/x"], "error: the output folder mine.toml/x cannot be written: "),
    ] {
        let message = refusal(dir.path(), &[&["reproduce", "mine.toml"], &args[..]].concat());
        assert!(message.starts_with(want), "{message}");
    }
    fs::create_dir(dir.path().join("empty")).unwrap();
    let message = refusal(dir.path(), &["reproduce", "mine.toml", "--data-root", "empty"]);
    assert_eq!(message, "error: --data-root empty: the folder is empty");
}

#[test]
fn a_sweep_of_ones_own_is_read_where_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let message = refusal(dir.path(), &["reproduce", "missing.toml"]);
    assert!(message.starts_with("error: missing.toml: "), "{message}");
    fs::write(dir.path().join("bad.toml"), SWEEP.replace("seeds", "sedes")).unwrap();
    let message = refusal(dir.path(), &["reproduce", "bad.toml"]);
    assert!(message.starts_with("error: bad.toml:2: unknown field `sedes`"), "{message}");
    assert!(message.ends_with("did you mean `seeds`?"), "{message}");
}

#[test]
fn answers_that_nobody_reads_are_no_panic() {
    let run = |args: &[&str], closed_err: bool| {
        let closed = || std::io::pipe().unwrap().1;
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_xtask"));
        command.current_dir(env!("CARGO_MANIFEST_DIR")).args(args).stdout(closed());
        if closed_err {
            command.stderr(closed());
        }
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(run(&["tidy"], false), (Some(141), String::new()), "as of `tidy | true`");
    assert_eq!(run(&["reproduce", "sintetic"], true).0, Some(1), "a mistake all the same");
}

#[test]
fn help_shows_examples() {
    for args in [&["--help"][..], &["reproduce", "--help"], &["tables", "--help"]] {
        let output = xtask(args).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && text.contains("Examples:\n  cargo xtask "), "{text}");
    }
}

#[test]
fn every_shipped_sweep_is_sound_and_called_after_its_file() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/experiments/sweeps");
    let mut sweeps = 0;
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let sweep = run_record::Sweep::load(&path).unwrap();
        assert_eq!(Some(sweep.name.as_str()), path.file_stem().and_then(|stem| stem.to_str()));
        sweeps += 1;
    }
    assert!(sweeps >= 1);
}
