//! What a sweep ends with, from committed records: a page that everyone can read, the same numbers
//! in every form, and nothing in a name that is taken for markup.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod contrast;
mod forms;
mod html;
mod page;

use std::path::Path;

use experiments::report::{self, Photographs};
use experiments::results::Results;
use run_record::{Record, Sweep};
use tempfile::TempDir;
use whole_files::InTheWay;

/// The committed sweep of that name and its records.
fn committed(name: &str) -> (Sweep, Vec<Record>) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sweep = Sweep::load(root.join("sweeps").join(format!("{name}.toml"))).unwrap();
    (sweep, Record::read_dir(root.join("results").join(name)).unwrap())
}

/// The folder with a report of some records.
fn written(sweep: &Sweep, records: &[Record]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), sweep, records, Photographs::Shown);
    dir
}

fn write(dir: &Path, sweep: &Sweep, records: &[Record], photographs: Photographs) {
    let results = Results::of(sweep, records);
    let mut outputs = report::claim(dir, &sweep.name, InTheWay::Refused).unwrap();
    let command = "cargo xtask reproduce '<b>'";
    report::write(&mut outputs, dir, &results, command, photographs).unwrap();
}

fn read(dir: &Path, name: &str) -> String {
    std::fs::read_to_string(dir.join(name)).unwrap()
}
