//! What a command may replace, and what it may not.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::path::Path;

use whole_files::{Claim, InTheWay, LIST, Outputs, Planned, Protected, Result, written_in};

fn claim(folder: &Path, by: &str, files: &[(&str, &str)]) -> Result<Outputs> {
    claim_with(folder, by, files, InTheWay::Refused, &Protected::default())
}

fn claim_with(
    folder: &Path,
    by: &str,
    files: &[(&str, &str)],
    in_the_way: InTheWay,
    protected: &Protected,
) -> Result<Outputs> {
    let planned = |(name, of): &(&str, &str)| Planned { name: name.into(), of: (*of).to_owned() };
    let files = files.iter().map(planned).collect();
    Outputs::claim(Claim { folder, by: by.to_owned(), files, in_the_way, protected })
}

/// What a command is told that may not write.
fn refusal(outputs: Result<Outputs>) -> String {
    outputs.unwrap_err().to_string()
}

#[test]
fn a_command_replaces_its_own_unchanged_files_alone() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out/deep");
    let own = || claim(&out, "predict", &[("x.png", "day/x.jpg")]);
    own().unwrap().write("x.png", b"one").unwrap();
    own().unwrap().write("x.png", b"two").unwrap();
    assert_eq!(fs::read(out.join("x.png")).unwrap(), b"two");

    let message = refusal(claim(&out, "predict", &[("x.png", "night/x.jpg")]));
    assert!(message.contains("was written by predict from day/x.jpg"), "{message}");
    assert!(message.contains("--overwrite") && message.lines().count() == 1, "{message}");
    let message = refusal(claim(&out, "eval", &[("x.png", "day/x.jpg")]));
    assert!(message.contains("was written by predict"), "{message}");

    fs::write(out.join("x.png"), "by hand").unwrap();
    let message = refusal(own());
    assert!(message.contains("out/deep/x.png has been changed since"), "{message}");
    fs::write(out.join("y.png"), "by hand").unwrap();
    let message = refusal(claim(&out, "predict", &[("x.png", "x"), ("y.png", "y")]));
    assert!(message.starts_with("nothing is written, 2 problems:\n  "), "{message}");
    assert!(message.contains("y.png is there already"), "{message}");
    assert_eq!(fs::read(out.join("x.png")).unwrap(), b"by hand");

    let files = [("x.png", "x"), ("y.png", "y")];
    let mut outputs =
        claim_with(&out, "predict", &files, InTheWay::Replaced, &Protected::default()).unwrap();
    outputs.write("x.png", b"three").unwrap();
    assert_eq!(fs::read(out.join("x.png")).unwrap(), b"three");
    assert!(outputs.write("z.png", b"").is_err(), "it was not claimed");
}

#[test]
fn two_inputs_for_one_name_are_listed_and_nothing_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let files = [("street.png", "day/street.png"), ("street.png", "night/street.png")];
    let message = refusal(claim(&out, "predict", &files));
    let want = "street.png would be written from day/street.png and from night/street.png";
    assert!(message.ends_with(want), "{message}");
    assert!(!out.exists());
    let message = refusal(claim(&out, "predict", &[("../street.png", "a")]));
    assert!(message.contains("is no name below the output folder"), "{message}");
}

#[test]
fn a_folder_in_the_place_of_a_file_is_said_before_any_work() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("x.png")).unwrap();
    let files = [("x.png", "x")];
    let protected = Protected::default();
    for in_the_way in [InTheWay::Refused, InTheWay::Replaced] {
        let message = refusal(claim_with(dir.path(), "predict", &files, in_the_way, &protected));
        assert!(message.ends_with("x.png is a folder"), "{message}");
    }
}

#[cfg(unix)]
#[test]
fn a_protected_place_is_known_by_whatever_way_leads_there() {
    use std::os::unix::fs::symlink;
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::create_dir_all(at("set/val/labels")).unwrap();
    fs::create_dir_all(at("out/deep")).unwrap();
    fs::write(at("set/val/labels/x.png"), "truth").unwrap();
    fs::write(at("set/list.txt"), "x").unwrap();
    symlink(at("set/val/labels"), at("link")).unwrap();
    symlink(at("set/val/labels/x.png"), at("out/x.png")).unwrap();
    let mut protected = Protected::default();
    protected.close(&at("set/val"));
    protected.close(&at("set/not-there"));
    protected.keep(&at("set/list.txt"));
    let refused = |folder: &str, name: &str| {
        let files = [(name, "x")];
        let claimed = claim_with(&at(folder), "eval", &files, InTheWay::Replaced, &protected);
        claimed.err().map(|error| error.to_string())
    };
    for (folder, name) in [
        ("set/val/labels", "x.png"),
        ("set/val/labels", "new.png"),
        ("set/val/new/folders", "x.png"),
        ("link", "x.png"),
        ("link/new", "x.png"),
        ("out/deep/../../set/./val/labels", "x.png"),
        ("not-there/../set/val/labels", "y.png"),
        ("out", "x.png"),
    ] {
        let message = refused(folder, name).unwrap_or_else(|| panic!("{folder}/{name}"));
        assert!(message.contains("lies in a dataset's folder"), "{message}");
    }
    let message = refused("set", "list.txt").unwrap();
    assert!(message.contains("is an input"), "{message}");
    assert_eq!(refused("set/mine", "x.png"), None);
    assert_eq!(refused("out", "y.png"), None);
    assert!(!at("set/val/new").exists());
    assert_eq!(fs::read(at("set/val/labels/x.png")).unwrap(), b"truth");
}

#[cfg(unix)]
#[test]
fn a_link_is_replaced_and_what_it_leads_to_stays() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::create_dir(at("out")).unwrap();
    fs::write(at("mine"), "mine").unwrap();
    std::os::unix::fs::symlink(at("mine"), at("out/x")).unwrap();
    let message = refusal(claim(&at("out"), "eval", &[("x", "x")]));
    assert!(message.contains("is a symbolic link"), "{message}");
    let protected = Protected::default();
    let mut outputs =
        claim_with(&at("out"), "eval", &[("x", "x")], InTheWay::Replaced, &protected).unwrap();
    outputs.write("x", b"new").unwrap();
    assert_eq!(fs::read(at("mine")).unwrap(), b"mine");
    assert_eq!(fs::read(at("out/x")).unwrap(), b"new");
}

#[test]
fn a_file_that_comes_in_the_way_later_is_not_lost() {
    let dir = tempfile::tempdir().unwrap();
    let mut outputs = claim(dir.path(), "predict", &[("x", "a"), ("y", "b")]).unwrap();
    fs::write(dir.path().join("x"), "mine").unwrap();
    let message = outputs.write("x", b"theirs").unwrap_err().to_string();
    assert!(message.contains("/x is there already"), "{message}");
    assert_eq!(fs::read(dir.path().join("x")).unwrap(), b"mine");
    // While it worked, its own was changed.
    claim(dir.path(), "predict", &[("z", "c")]).unwrap().write("z", b"1").unwrap();
    let mut slow = claim(dir.path(), "predict", &[("z", "c")]).unwrap();
    fs::write(dir.path().join("z"), "mine").unwrap();
    assert!(slow.write("z", b"2").unwrap_err().to_string().contains("has been changed since"));
    assert_eq!(fs::read(dir.path().join("z")).unwrap(), b"mine");
    // The same command twice at once: both write the same.
    let mut again = claim(dir.path(), "predict", &[("y", "b")]).unwrap();
    again.write("y", b"first").unwrap();
    outputs.write("y", b"second").unwrap();
    assert_eq!(fs::read(dir.path().join("y")).unwrap(), b"second");
}

#[test]
fn a_list_survives_half_a_line_and_what_a_kill_left_is_cleared() {
    let dir = tempfile::tempdir().unwrap();
    let own = || claim(dir.path(), "predict", &[("a/x", "x"), ("y", "y")]).unwrap();
    own().write("a/x", b"1").unwrap();
    let list = dir.path().join(LIST);
    let whole = fs::read(&list).unwrap();
    fs::write(&list, [&whole[..], b"{\"file\":\"y\",\"by"].concat()).unwrap();
    fs::write(dir.path().join("a/.x.999999999.tmp"), "half").unwrap();
    own().write("y", b"2").unwrap();
    own();
    let files = [dir.path().join("a/x"), dir.path().join("y")];
    assert_eq!(written_in(dir.path()).unwrap(), files);
    assert!(!dir.path().join("a/.x.999999999.tmp").exists());
    // The same bytes again need no line.
    let before = fs::read(&list).unwrap();
    own().write("y", b"2").unwrap();
    assert_eq!(fs::read(&list).unwrap(), before);
}

#[cfg(target_os = "linux")]
#[test]
fn a_device_is_never_replaced_by_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let link = dir.path().join("full");
    std::os::unix::fs::symlink("/dev/full", &link).unwrap();
    let message = whole_files::write(&link, b"x").unwrap_err().to_string();
    assert!(message.contains("is a device; expected a regular file"), "{message}");
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert!(whole_files::write("/dev/null", b"x").is_err());
}

#[cfg(unix)]
#[test]
fn a_copy_of_a_program_can_be_run() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let (program, kept) = (dir.path().join("program"), dir.path().join("kept"));
    fs::write(&program, "#!/bin/sh\nexit 7\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    whole_files::copy(&program, &kept).unwrap();
    assert_eq!(fs::read(&kept).unwrap(), fs::read(&program).unwrap());
    assert_eq!(std::process::Command::new(&kept).status().unwrap().code(), Some(7));
}
