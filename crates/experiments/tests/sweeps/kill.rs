//! Kill −9 at any moment, a full disk, a damaged state: the end is that of a run left alone.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use run_record::Record;

use crate::tiny::{folder, records, reproduce, with_arm};

const EPOCHS: usize = 6;

/// Every step is followed by a state.
const OFTEN: [&str; 4] = ["--seeds", "0", "--state-every", "0"];

/// Kills of the test; as many as this variable says, if it is set.
const KILLS: &str = "SCENE_RNN_KILLS";

fn checkpoints(dir: &Path, out_dir: &str) -> Vec<(String, Vec<u8>)> {
    let folder = dir.join(out_dir).join("checkpoints");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    let name = |file: &Path| file.file_name().unwrap().to_string_lossy().into_owned();
    files.iter().map(|file| (name(file), fs::read(file).unwrap())).collect()
}

fn states(dir: &Path, out_dir: &str) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for cell in fs::read_dir(dir.join(out_dir).join("running")).unwrap() {
        files.extend(fs::read_dir(cell.unwrap().path()).unwrap().map(|e| e.unwrap().path()));
    }
    files.sort();
    files
}

/// The same weights and numbers, and nothing left over.
pub(crate) fn assert_same(dir: &Path, whole: &str, other: &str) {
    let (a, b) = (records(dir, whole), records(dir, other));
    assert_eq!(a.len(), b.len());
    assert!(a.iter().zip(&b).all(|(a, b)| a.same_results(b)), "{a:?}\n{b:?}");
    assert!(checkpoints(dir, whole) == checkpoints(dir, other), "the weights differ");
    assert_eq!(states(dir, other), Vec::<std::path::PathBuf>::new());
}

pub(crate) fn run(mut command: Command) -> (bool, String) {
    let output = command.output().unwrap();
    (output.status.success(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_run_that_is_killed_again_and_again_ends_as_if_it_never_was() {
    let dir = folder(10 * EPOCHS);
    let kills: u32 = std::env::var(KILLS).map_or(3, |kills| kills.parse().unwrap());
    let earlier = kill_again_and_again(dir.path(), &[], kills);
    println!("{kills} kills, {earlier} of them between two states of a cell");
}

#[test]
fn so_does_one_that_remembers_borders_of_tiles_and_loses_units() {
    let dir = folder(4 * EPOCHS);
    with_arm(
        dir.path(),
        r#"
[[arm]]
name = "stale"
config.model.context.cell = { kind = "scan", graph = "dense", aggregation = "mean" }
config.training.tiles = { grid = [2, 2], border = "stale" }
config.training.unit_lasso = { weight = 1e-2, threshold = 1e-2 }
"#,
    );
    kill_again_and_again(dir.path(), &["--arms", "stale"], 2);
}

/// How many of the kills fell between two states of a cell.
pub(crate) fn kill_again_and_again(dir: &Path, arms: &[&str], kills: u32) -> usize {
    let start = Instant::now();
    assert!(run(reproduce(dir, "whole", &[&["--seeds", "0"], arms].concat())).0);
    let often = [&OFTEN[..], arms].concat();
    // Writing a state at every step, a run takes longer: it lives to see most of the kills.
    let longest = Duration::from_millis(100) + 2 * start.elapsed() / kills;
    let mut rng = ChaCha8Rng::seed_from_u64(kills.into());
    let mut killed = 0;
    while killed < kills {
        let mut command = reproduce(dir, "killed", &often);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let wait = longest.mul_f64(rng.random());
        std::thread::sleep(wait);
        match child.try_wait().unwrap() {
            None => {
                child.kill().unwrap();
                child.wait().unwrap();
                killed += 1;
            }
            Some(status) => {
                // Too late: finished, and to be run once more.
                assert!(status.success());
                assert_same(dir, "whole", "killed");
                fs::remove_dir_all(dir.join("killed")).unwrap();
            }
        }
    }
    let (success, said) = run(reproduce(dir, "killed", &often));
    assert!(success, "{said}");
    assert_same(dir, "whole", "killed");
    records(dir, "killed").iter().map(|record| record.earlier.len()).sum()
}

#[test]
fn a_state_goes_on_in_the_middle_of_an_epoch_and_says_so() {
    let dir = folder(EPOCHS);
    let one = ["--arms", "fcn", "--set", "training.accumulate=2"];
    let often = [&OFTEN[..], &one].concat();
    assert!(run(reproduce(dir.path(), "whole", &[&one[..], &["--seeds", "0"]].concat())).0);
    let mut command = reproduce(dir.path(), "out", &often);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let start = Instant::now();
    // Two steps an epoch: the third is in the middle of the second.
    let third = |file: &Path| file.to_string_lossy().contains("step-000000003");
    while !dir.path().join("out/running").exists()
        || !states(dir.path(), "out").iter().any(|file| third(file))
    {
        assert!(start.elapsed() < Duration::from_secs(60), "no state is written");
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // As if the kill had come just then, and the disk had lost half of the last state.
    for file in states(dir.path(), "out") {
        match () {
            () if third(&file) => {}
            () if file.to_string_lossy().contains("step-000000002") => {}
            () => fs::write(&file, &fs::read(&file).unwrap()[..99]).unwrap(),
        }
    }
    let (success, said) = run(reproduce(dir.path(), "out", &often));
    assert!(success, "{said}");
    assert!(said.contains("fcn seed 0: goes on after step"), "{said}");
    assert_same(dir.path(), "whole", "out");
    let record: Record = records(dir.path(), "out").remove(0);
    assert_eq!(record.earlier.len(), 1, "the process that was killed");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_error_and_costs_nothing_that_was_written() {
    let dir = folder(EPOCHS);
    assert!(run(reproduce(dir.path(), "whole", &["--seeds", "0"])).0);
    // Files of at most four blocks of 512 bytes stand for a disk without room.
    let program = env!("CARGO_BIN_EXE_experiments");
    let mut shell = Command::new("sh");
    let limited = "ulimit -f 4; trap '' XFSZ; exec \"$0\" \"$@\"";
    shell.current_dir(dir.path()).args(["-c", limited, program, "reproduce"]);
    shell.args(["--sweep", "tiny.toml", "--out-dir", "out"]).args(OFTEN);
    let (success, said) = run(shell);
    assert!(!success);
    assert!(said.contains("the state of training cannot be kept"), "{said}");
    assert!(said.contains("running/fcn-seed0") && said.contains("os error"), "{said}");
    assert_eq!(states(dir.path(), "out"), Vec::<std::path::PathBuf>::new(), "nothing half-written");
    let (success, said) = run(reproduce(dir.path(), "out", &OFTEN));
    assert!(success, "{said}");
    assert_same(dir.path(), "whole", "out");
}

#[test]
fn a_folder_that_cannot_be_written_is_named_before_training() {
    let dir = folder(EPOCHS);
    fs::create_dir(dir.path().join("out")).unwrap();
    fs::write(dir.path().join("out/running"), "in the way").unwrap();
    let (success, said) = run(reproduce(dir.path(), "out", &OFTEN));
    assert!(!success);
    assert!(said.contains("out/running") && said.contains("cannot be made"), "{said}");
    assert!(!said.contains("epoch 1"), "{said}");
}

#[test]
fn a_run_that_diverges_stops_and_keeps_its_last_good_state() {
    let dir = folder(EPOCHS);
    let wild = ["--arms", "fcn", "--set", "training.learning_rate=1e38"];
    let (success, said) = run(reproduce(dir.path(), "out", &[&OFTEN[..], &wild].concat()));
    assert!(!success);
    assert!(said.contains("fcn seed 0 failed: training diverged at step"), "{said}");
    assert!(said.contains("try a lower training.learning_rate"), "{said}");
    let kept = states(dir.path(), "out").pop().unwrap();
    assert!(said.contains(kept.strip_prefix(dir.path()).unwrap().to_str().unwrap()), "{said}");
}
