//! Reading within bounds, writing whole or not at all.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;

use whole_files::Error;

fn names(folder: &Path) -> Vec<String> {
    let name =
        |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    let mut names: Vec<String> = fs::read_dir(folder).unwrap().map(name).collect();
    names.sort();
    names
}

#[test]
fn a_file_is_replaced_whole_or_stays_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.txt");
    whole_files::write(&file, b"one").unwrap();
    let failing = whole_files::write_with(&file, |out| {
        out.write_all(b"half of two")?;
        Err(ErrorKind::StorageFull.into())
    });
    let error = failing.unwrap_err();
    assert_eq!(error.kind(), Some(ErrorKind::StorageFull));
    assert!(error.to_string().contains("a.txt"), "{error}");
    assert_eq!(fs::read(&file).unwrap(), b"one");
    assert_eq!(names(dir.path()), ["a.txt"]);
    whole_files::write_with(&file, |out| out.write_all(b"two")).unwrap();
    assert_eq!(fs::read(&file).unwrap(), b"two");
    assert_eq!(names(dir.path()), ["a.txt"]);
}

#[test]
fn a_new_file_takes_no_name_that_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.txt");
    whole_files::write_new(&file, b"one").unwrap();
    let error = whole_files::write_new(&file, b"two").unwrap_err();
    assert_eq!(error.kind(), Some(ErrorKind::AlreadyExists));
    assert_eq!(fs::read(&file).unwrap(), b"one");
    assert_eq!(names(dir.path()), ["a.txt"]);
}

#[cfg(unix)]
#[test]
fn a_file_has_the_mode_that_the_umask_leaves() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let (ours, plain) = (dir.path().join("ours"), dir.path().join("plain"));
    whole_files::write(&ours, b"").unwrap();
    fs::write(&plain, b"").unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(&ours), mode(&plain));
}

#[test]
fn a_name_as_long_as_a_file_system_takes_can_be_written() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ä".repeat(127));
    whole_files::write(&file, b"x").unwrap();
    assert_eq!(fs::read(&file).unwrap(), b"x");
}

#[test]
fn what_a_dead_process_left_is_cleared_and_what_is_being_written_is_not() {
    let dir = tempfile::tempdir().unwrap();
    for name in [".a.json.4294967295.tmp", ".a.json.x.tmp", "a.json", ".hidden"] {
        fs::write(dir.path().join(name), b"half").unwrap();
    }
    whole_files::write_with(dir.path().join("b.json"), |out| {
        out.write_all(b"whole")?;
        assert_eq!(whole_files::clear_leftovers(dir.path()).unwrap(), 1);
        Ok(())
    })
    .unwrap();
    assert_eq!(names(dir.path()), [".a.json.x.tmp", ".hidden", "a.json", "b.json"]);
    assert_eq!(fs::read(dir.path().join("b.json")).unwrap(), b"whole");
}

#[test]
fn threads_that_write_one_file_leave_one_of_theirs_whole() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a");
    let contents = |byte: u8| vec![byte; 100_000];
    std::thread::scope(|scope| {
        for byte in 0..8 {
            let file = &file;
            scope.spawn(move || whole_files::write(file, &contents(byte)).unwrap());
        }
    });
    let got = fs::read(&file).unwrap();
    assert_eq!(got, contents(got[0]));
    assert_eq!(names(dir.path()), ["a"]);
}

#[test]
fn reading_stops_at_the_limit() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a");
    whole_files::write(&file, b"12345").unwrap();
    assert_eq!(whole_files::read(&file, 5).unwrap(), b"12345");
    let error = whole_files::read(&file, 4).unwrap_err();
    assert!(matches!(error, Error::TooLarge { limit: 4, .. }), "{error}");
    // A hole of a tebibyte: refused before anything is allocated.
    fs::File::create(&file).unwrap().set_len(1 << 40).unwrap();
    assert!(matches!(whole_files::read(&file, 1 << 20), Err(Error::TooLarge { .. })));
}

#[test]
fn text_is_read_past_a_byte_order_mark_and_other_encodings_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("list.txt");
    whole_files::write(&file, "\u{feff}ä\n".as_bytes()).unwrap();
    assert_eq!(whole_files::read_to_string(&file, 100).unwrap(), "ä\n");
    whole_files::write(&file, b"\xff\xfea\0\n\0").unwrap();
    let message = whole_files::read_to_string(&file, 100).unwrap_err().to_string();
    assert!(message.ends_with("is not UTF-8 text but UTF-16; save it as UTF-8"), "{message}");
    whole_files::write(&file, b"\xe4").unwrap();
    let message = whole_files::read_to_string(&file, 100).unwrap_err().to_string();
    assert!(message.ends_with("is not UTF-8 text; save it as UTF-8"), "{message}");
}

#[test]
fn only_regular_files_are_opened() {
    let dir = tempfile::tempdir().unwrap();
    let message = whole_files::open(dir.path()).unwrap_err().to_string();
    assert!(message.ends_with("is a folder; expected a regular file"), "{message}");
    let missing = whole_files::open(dir.path().join("missing")).unwrap_err();
    assert_eq!(missing.kind(), Some(ErrorKind::NotFound));
    if cfg!(unix) {
        let pipe = dir.path().join("pipe");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let message = whole_files::open(&pipe).unwrap_err().to_string();
        assert!(message.ends_with("is a named pipe; expected a regular file"), "{message}");
        let message = whole_files::open("/dev/null").unwrap_err().to_string();
        assert_eq!(message, "/dev/null is a device; expected a regular file");
    }
}

#[cfg(unix)]
#[test]
fn a_walk_ends_where_links_lead_back() {
    use std::os::unix::fs::symlink;
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path();
    fs::create_dir(top.join("a")).unwrap();
    for file in ["a/2.png", "1.png"] {
        fs::write(top.join(file), b"").unwrap();
    }
    symlink(".", top.join("here")).unwrap();
    symlink(".", top.join("here-too")).unwrap();
    symlink("..", top.join("a/up")).unwrap();
    symlink("nowhere", top.join("a/broken")).unwrap();
    symlink("a", top.join("b")).unwrap();
    let files = whole_files::files_below(top).unwrap();
    let shown: Vec<_> = files.iter().map(|file| file.strip_prefix(top).unwrap()).collect();
    // A folder under two names is two folders; only what leads back is passed over.
    let want = ["1.png", "a/2.png", "a/broken", "b/2.png", "b/broken"];
    assert_eq!(shown, want.map(Path::new));
    assert!(whole_files::files_below(top.join("missing")).is_err());
}
