//! A sweep that takes a moment, and the binary that runs it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use run_record::Record;
use tempfile::TempDir;

/// Two arms of three seeds on a few tiny images; `EPOCHS` is replaced.
const SWEEP: &str = r#"
name = "tiny"
seeds = [0, 1]
compare_to = ["fcn"]

[config.dataset]
kind = "beacons"
size_px = 48
textures = 2
beacon_px = 7
train_images = 12
val_images = 3
test_images = 3

[config.model]
backbone = { kind = "small-cnn", channels = [4, 8, 8], blocks_per_stage = [1, 1, 1] }
context_stride = 8
skip_stride = 4
adapter_channels = 8
skip_channels = 4

[config.model.context]
hidden_channels = 8
attention_channels = 4
cell = { kind = "none" }

[config.training]
epochs = EPOCHS
batch_size = 4

[[arm]]
name = "fcn"

[[arm]]
name = "dense-attention"
config.model.context.cell = { kind = "scan", graph = "dense", aggregation = { attention = "tanh-additive" } }
"#;

/// Where commands keep fingerprints, instead of in the user's folder.
pub(crate) const CACHE: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/cache");

/// A temporary folder with `tiny.toml` in it.
pub(crate) fn folder(epochs: usize) -> TempDir {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let text = SWEEP.replace("EPOCHS", &epochs.to_string());
    fs::write(dir.path().join("tiny.toml"), text).expect("a file");
    dir
}

/// Adds an arm to the folder's sweep.
pub(crate) fn with_arm(dir: &Path, arm: &str) {
    let file = dir.join("tiny.toml");
    let text = fs::read_to_string(&file).expect("the sweep");
    fs::write(file, text + arm).expect("a file");
}

/// `experiments reproduce` of the folder's sweep.
pub(crate) fn reproduce(dir: &Path, out_dir: &str, more: &[&str]) -> std::process::Command {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_experiments"));
    let args = ["reproduce", "--sweep", "tiny.toml", "--out-dir", out_dir];
    command.current_dir(dir).args(args).args(more).env("XDG_CACHE_HOME", CACHE);
    command
}

/// Where a sweep keeps its records.
pub(crate) fn cells(dir: &Path, out_dir: &str) -> PathBuf {
    dir.join(out_dir).join("cells")
}

/// The records of an output folder, by file name.
pub(crate) fn records(dir: &Path, out_dir: &str) -> Vec<Record> {
    Record::read_dir(cells(dir, out_dir)).expect("whole records")
}

/// Changes a record's file as a program could that wrote another record.
pub(crate) fn rewrite(file: &Path, change: impl FnOnce(&mut Record)) {
    let mut record = Record::read(file).expect("a whole record");
    fs::remove_file(file).expect("the record's file");
    change(&mut record);
    record.write_atomically(file.parent().expect("a folder")).expect("a written record");
}

/// `experiments` with any arguments.
pub(crate) fn run(dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_experiments"));
    command.env("XDG_CACHE_HOME", CACHE);
    command.current_dir(dir).args(args).output().expect("the binary starts")
}

/// Standard output of a command that must succeed.
pub(crate) fn said(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).expect("text")
}

/// Standard error of a command that must fail.
pub(crate) fn refused(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr.clone()).expect("text")
}
