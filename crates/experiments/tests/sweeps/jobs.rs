//! Several processes of which some are killed: what is finished is reported, what is missing named.

use std::fs;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::tiny::{folder, records, refused, reproduce, said};

/// The processes that a process has started.
fn children(of: u32) -> Vec<u32> {
    let parent = |pid: u32| -> Option<u32> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
    };
    let pids = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let pid: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
        (parent(pid)? == of).then_some(pid)
    });
    pids.collect()
}

/// Runs the sweep by two processes, kills so many of them once both are at a cell, and waits.
fn killed(dir: &std::path::Path, kills: usize) -> Output {
    let mut command = reproduce(dir, "out", &["--jobs", "2"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let start = Instant::now();
    let at_work = || fs::read_dir(dir.join("out/running")).map_or(0, |cells| cells.count());
    while children(child.id()).len() < 2 || at_work() < 2 {
        assert!(start.elapsed() < Duration::from_secs(60), "two processes are at work");
        std::thread::sleep(Duration::from_millis(5));
    }
    for pid in &children(child.id())[..kills] {
        let kill = Command::new("kill").args(["-KILL", &pid.to_string()]).status().unwrap();
        assert!(kill.success());
    }
    child.wait_with_output().unwrap()
}

#[test]
fn cells_of_a_killed_process_are_finished_by_the_others_and_reported() {
    let dir = folder(20);
    let output = killed(dir.path(), 1);
    let text = said(&output);
    assert!(text.contains("| `dense-attention` |") && text.contains("report: "), "{text}");
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("1 of 2 processes ended early (signal: 9"), "{stderr}");
    assert_eq!(records(dir.path(), "out").len(), 4);
    assert!(dir.path().join("out/report.html").exists());
}

#[test]
fn what_all_killed_processes_leave_is_named_and_the_same_command_goes_on() {
    let dir = folder(20);
    said(&reproduce(dir.path(), "out", &["--arms", "fcn", "--seeds", "0"]).output().unwrap());
    fs::remove_file(dir.path().join("out/report.html")).unwrap();
    let output = killed(dir.path(), 2);
    let message = refused(&output);
    let last = message.lines().last().unwrap();
    assert!(last.contains("dense-attention seed 1: no record, since 2 of 2"), "{message}");
    assert!(last.contains("ended early") && last.contains("the same command goes on"), "{message}");
    assert!(dir.path().join("out/report.html").exists(), "what is finished is reported");
    said(&reproduce(dir.path(), "out", &[]).output().unwrap());
    assert_eq!(records(dir.path(), "out").len(), 4);
}
