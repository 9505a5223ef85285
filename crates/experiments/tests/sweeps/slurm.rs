//! Plans, and what Slurm is asked to do with them: a stand-in for sbatch writes down its arguments,
//! and the tasks it was asked for are then run by hand.
#![cfg(unix)]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use crate::tiny::{CACHE, folder, records, refused, reproduce, run, said};

const SLURM: [&str; 2] = ["--launcher", "slurm"];

/// Writes down its arguments, a line each, and answers with the next id after 40.
const SBATCH: &str = r#"
job=$(($(cat "$0.jobs" 2>/dev/null || echo 40) + 1))
echo $job >"$0.jobs"
printf '%s\n' "$@" >"$0.$job"
echo "$job;cluster"
"#;

/// A folder with a sweep in it and, in `bin`, programs that Slurm would bring.
fn folder_with(epochs: usize, programs: &[(&str, &str)]) -> TempDir {
    let dir = folder(epochs);
    fs::create_dir(dir.path().join("bin")).unwrap();
    for (name, script) in programs {
        let path = dir.path().join("bin").join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    dir
}

/// The same command where these programs come first.
fn within(dir: &Path, mut command: Command) -> Command {
    let path = std::env::var("PATH").unwrap();
    command.env("PATH", format!("{}:{path}", dir.join("bin").display()));
    command.env("XDG_CACHE_HOME", CACHE);
    command
}

fn submit(dir: &Path, out_dir: &str, more: &[&str]) -> Output {
    within(dir, reproduce(dir, out_dir, &[&SLURM[..], more].concat())).output().unwrap()
}

/// What the stand-in for sbatch was called with for that job.
fn asked(dir: &Path, job: u32) -> Vec<String> {
    let text = fs::read_to_string(dir.join(format!("bin/sbatch.{job}"))).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// A job as Slurm starts it: the script, the program and its arguments, as they were given.
fn job(dir: &Path, args: &[String]) -> Command {
    let script = args.iter().position(|arg| arg.ends_with("/task.sh")).unwrap();
    let mut sh = Command::new("sh");
    sh.current_dir("/").args(&args[script..]).env("SLURM_CPUS_ON_NODE", "1");
    sh.stdout(Stdio::piped()).stderr(Stdio::piped());
    within(dir, sh)
}

fn task(dir: &Path, args: &[String], index: usize) -> Command {
    let mut sh = job(dir, args);
    sh.env("SLURM_ARRAY_JOB_ID", "41").env("SLURM_ARRAY_TASK_ID", index.to_string());
    sh
}

fn plans(out_dir: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(out_dir).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "toml")).collect()
}

#[test]
fn an_array_of_the_missing_cells_is_submitted_and_ends_in_the_table_of_a_local_run() {
    let dir = folder_with(1, &[("sbatch", SBATCH)]);
    let (dir, out_dir) = (dir.path(), "to 50% (out)");
    let local = said(&reproduce(dir, "local", &[]).output().unwrap());
    // The second cell is finished before.
    said(
        &reproduce(dir, out_dir, &["--seeds", "0", "--arms", "dense-attention"]).output().unwrap(),
    );
    let options = ["--partition", "a b", "--time", "1:00", "--mem", "2G", "--cpus-per-task", "3"];
    let more = [
        "--sbatch=--account=vision",
        "--sbatch",
        "--nice",
        "--jobs",
        "2",
        "--command",
        "it's typed",
    ];
    let text = said(&submit(dir, out_dir, &[&options[..], &more].concat()));

    let out = dir.join(out_dir);
    let (root, slurm) = (out.display(), out.join("slurm"));
    let escaped = root.to_string().replace('%', "%%");
    let (array, report) = (asked(dir, 41), asked(dir, 42));
    let shown = array[array.len() - 2].clone();
    assert!(plans(&out).contains(&PathBuf::from(&shown)), "beside the results: {shown}");
    let program = &array[array.len() - 4];
    let start = ["--parsable", "--requeue", "--signal=B:USR1@60", "--open-mode=append"];
    let wanted = ["--partition=a b", "--time=1:00", "--mem=2G", "--cpus-per-task=3"];
    let wanted = [&wanted[..], &["--account=vision", "--nice"]].concat();
    let script = slurm.join("task.sh").display().to_string();
    let named = ["--job-name=tiny", &format!("--output={escaped}/slurm/%A_%a.log")];
    let last = ["--array=0,2-3%2", &script, program, "run", &shown, "--cell"];
    assert_eq!(array, [&start[..], &named, &wanted, &last].concat());
    let named = ["--job-name=tiny-report", &format!("--output={escaped}/slurm/%j.log")];
    let last =
        ["--dependency=afterany:41", &script, program, "report", &shown, "--command", "it's typed"];
    assert_eq!(report, [&start[..], &named, &wanted, &last].concat());
    assert!(text.starts_with(&format!("job 41: 3 cells of {shown}, one a task")), "{text}");
    assert!(text.contains("\njob 42: the report"), "{text}");
    assert!(Path::new(program).starts_with(&slurm), "a copy that no build touches: {program}");

    // Too early: what is missing is named, what is there is shown.
    let early = job(dir, &report).output().unwrap();
    let message = refused(&early);
    let missing = "error: fcn seed 0, fcn seed 1, dense-attention seed 1: no record yet\n";
    assert!(message.ends_with(missing), "{message}");
    assert!(String::from_utf8(early.stdout).unwrap().contains("| `dense-attention` |"));
    for index in [3, 0, 2] {
        let output = task(dir, &array, index).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    let text = said(&job(dir, &report).output().unwrap());
    assert!(fs::read_to_string(out.join("report.md")).unwrap().contains("it's typed"));
    assert_eq!(shown_scores(&text), shown_scores(&local));
    let (a, b) = (records(dir, "local"), records(dir, out_dir));
    assert!(a.len() == 4 && a.iter().zip(&b).all(|(a, b)| a.same_results(b)));
    assert!(b.iter().any(|record| record.provenance.threads == 1), "as many as Slurm gave");

    // Nothing is left to submit: the report comes at once.
    let text = said(&submit(dir, out_dir, &[]));
    assert_eq!(shown_scores(&text), shown_scores(&local));
    assert!(!dir.join("bin/sbatch.43").exists());
}

/// The table's columns that do not depend on the machine's load.
fn shown_scores(text: &str) -> Vec<Vec<&str>> {
    let rows = text.lines().take_while(|line| !line.is_empty());
    rows.map(|row| row.split('|').take(5).collect()).collect()
}

#[test]
fn a_task_that_gets_notice_writes_its_state_and_goes_back_into_the_queue() {
    let scontrol = r#"echo "$@" >>"$0.asked""#;
    let dir = folder_with(100, &[("sbatch", SBATCH), ("scontrol", scontrol)]);
    let dir = dir.path();
    let one = ["--seeds", "0", "--arms", "fcn"];
    said(&reproduce(dir, "whole", &one).output().unwrap());
    said(&submit(dir, "out", &[&one[..], &["--state-every", "1000"]].concat()));
    let array = asked(dir, 41);
    let mut child = task(dir, &array, 0).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut said_before = String::new();
    while !said_before.contains("epoch 1/") {
        assert!(stderr.read_line(&mut said_before).unwrap() > 0, "{said_before}");
    }
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-USR1", &pid]).status().unwrap().success());
    let stderr = std::io::read_to_string(stderr).unwrap();
    child.wait().unwrap();
    assert!(stderr.contains("interrupted: 0 of 1 cells are finished"), "{stderr}");
    assert_eq!(fs::read_to_string(dir.join("bin/scontrol.asked")).unwrap(), "requeue 41_0\n");

    let output = task(dir, &array, 0).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("fcn seed 0: goes on after step"), "{stderr}");
    let (whole, out) = (records(dir, "whole"), records(dir, "out"));
    assert!(out[0].same_results(&whole[0]) && out[0].earlier.len() == 1, "{out:?}");
    let asked = fs::read_to_string(dir.join("bin/scontrol.asked")).unwrap();
    assert_eq!(asked.lines().count(), 1, "a finished task stays so");
}

#[test]
fn without_slurm_and_where_it_refuses_one_line_says_so_and_nothing_is_lost() {
    let dir = folder_with(1, &[]);
    let mut command = reproduce(dir.path(), "out", &SLURM);
    command.env("PATH", dir.path().join("bin"));
    let message = refused(&command.output().unwrap());
    assert_eq!(
        message,
        "error: nothing was submitted: there is no `sbatch` in PATH: --launcher slurm needs a \
         machine that submits to Slurm\n"
    );

    let full = "echo 'sbatch: error: invalid partition' >&2; echo ' x' >&2; exit 1";
    let dir = folder_with(1, &[("sbatch", full)]);
    let message = refused(&submit(dir.path(), "out", &[]));
    let want =
        "error: nothing was submitted: sbatch refuses: sbatch: error: invalid partition; x\n";
    assert_eq!(message, want);

    let dir = folder_with(1, &[("sbatch", "echo what")]);
    let message = refused(&submit(dir.path(), "out", &[]));
    assert!(message.ends_with("sbatch answers \"what\" instead of a job's id\n"), "{message}");

    let once = format!("[ ! -e \"$0.41\" ] || exit 1\n{SBATCH}");
    let dir = folder_with(1, &[("sbatch", &once)]);
    let output = submit(dir.path(), "out", &[]);
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("job 41: 4 cells"), "{output:?}");
    let message = refused(&output);
    assert!(message.starts_with("error: job 41 is submitted, but not the one for its report"));
    assert_eq!(message.lines().count(), 1, "{message}");
}

#[test]
fn a_dry_run_shows_the_calls_and_makes_none() {
    let dir = folder_with(1, &[]);
    let text = said(&submit(dir.path(), "out", &["--dry-run"]));
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines.len() == 2 && lines.iter().all(|line| line.starts_with("\"sbatch\" ")), "{text}");
    assert!(lines[0].contains("\"--array=0-3\""), "{text}");
    assert!(lines[1].contains("\"--dependency=afterany:ARRAY\""), "{text}");
    assert!(!dir.path().join("out/slurm").exists());
}

#[test]
fn a_plan_is_the_same_whoever_runs_it_and_names_its_cells() {
    let dir = folder(1);
    let dir = dir.path();
    let one = ["--seeds", "1", "--set", "training.learning_rate=3e-3"];
    for who in [["--jobs", "1"], ["--jobs", "2"], SLURM] {
        said(&reproduce(dir, "out", &[&one[..], &who].concat()).output().unwrap());
    }
    let file = match &plans(&dir.join("out"))[..] {
        [file] => file.clone(),
        files => panic!("{files:?}"),
    };
    let text = fs::read_to_string(&file).unwrap();
    let stem = |index: usize| records(dir, "out")[index].cell.file_stem();
    // Records are sorted by name, cells as the sweep has its arms.
    let cells = format!("cells = [\n    \"{}\",\n    \"{}\",\n]\n", stem(1), stem(0));
    assert!(text.starts_with(&cells), "{text}");
    said(&reproduce(dir, "out", &[&one[..], &["--arms", "fcn"]].concat()).output().unwrap());
    assert_eq!(plans(&dir.join("out")).len(), 2, "other cells' is another file");

    // Cells by their index, from anywhere.
    fs::remove_dir_all(dir.join("out/cells")).unwrap();
    fs::create_dir(dir.join("out/cells")).unwrap();
    let plan = file.to_str().unwrap();
    said(&run(Path::new("/"), &["run", plan, "--cell", "1"]));
    assert_eq!(records(dir, "out")[0].cell.arm, "dense-attention");
    let message = refused(&run(dir, &["run", plan, "--cell", "2"]));
    assert_eq!(message, "error: no cell 2: the plan has 2, from 0\n");
    said(&run(dir, &["run", plan]));
    assert!(said(&run(dir, &["report", plan])).contains("| `fcn` |"));

    // One of before there was a choice of devices.
    fs::write(&file, text.replace("device = \"auto\"\n", "")).unwrap();
    assert!(!fs::read_to_string(&file).unwrap().contains("device"));
    said(&run(dir, &["run", plan]));

    // What another program would have planned, and what is no plan.
    fs::write(&file, text.replace(&stem(1), "fcn-seed1-000000000000")).unwrap();
    let message = refused(&run(dir, &["run", plan, "--cell", "0"]));
    assert!(message.contains("another version of the program made this plan"), "{message}");
    let message = refused(&run(dir, &["run", "tiny.toml", "--cell", "0"]));
    assert!(message.contains("tiny.toml: not a plan that this program reads"), "{message}");
    assert_eq!(message.lines().count(), 1, "{message}");
}
