//! An output folder that cannot be written to any more: one line says so, and nothing is lost.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::kill::{assert_same, run};
use crate::tiny::{folder, reproduce};

/// Everything below a folder: files with what they hold, and folders.
fn all(folder: &Path) -> Vec<(PathBuf, Option<Vec<u8>>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let held = if path.is_dir() { None } else { Some(fs::read(&path).unwrap()) };
        if held.is_none() {
            found.extend(all(&path));
        }
        found.push((path, held));
    }
    found.sort();
    found
}

fn set_mode(folder: &Path, mode: u32) {
    let folders = all(folder).into_iter().filter(|(_, held)| held.is_none());
    for path in folders.map(|(path, _)| path).chain([folder.to_owned()]) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
}

/// The command without root's right to write everywhere, as modes hold for everybody else.
fn bound_by_modes(command: &Command) -> Command {
    let mut bound = Command::new("setpriv");
    bound.args(["--inh-caps=-dac_override", "--bounding-set=-dac_override", "--"]);
    bound.arg(command.get_program()).args(command.get_args());
    bound.current_dir(command.get_current_dir().unwrap());
    bound
}

#[test]
fn a_read_only_folder_is_said_in_one_line_and_costs_nothing() {
    let dir = folder(2);
    let seed = ["--seeds", "0"];
    assert!(run(reproduce(dir.path(), "whole", &seed)).0);
    assert!(run(reproduce(dir.path(), "out", &[&seed[..], &["--arms", "fcn"]].concat())).0);
    let out = dir.path().join("out");
    let before = all(&out);
    set_mode(&out, 0o555);
    let mut command = reproduce(dir.path(), "out", &seed);
    if fs::write(out.join("probe"), "").is_ok() {
        fs::remove_file(out.join("probe")).unwrap();
        if Command::new("setpriv").arg("--version").output().is_err() {
            return println!("not tested: root writes everywhere, and there is no setpriv");
        }
        command = bound_by_modes(&command);
    }
    let (success, said) = run(command);
    let after = all(&out);
    set_mode(&out, 0o755);
    assert!(!success);
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.starts_with("error: writing the plan: out/plan-"), "{said}");
    assert!(said.contains("Permission denied"), "{said}");
    assert!(after == before, "something was lost or added");
    let (success, said) = run(reproduce(dir.path(), "out", &seed));
    assert!(success && said.contains("1 of 2 cells are already finished"), "{said}");
    assert_same(dir.path(), "whole", "out");
}
