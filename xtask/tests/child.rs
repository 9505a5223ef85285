//! What passes between xtask and the binary it calls, with a stand-in for cargo and for the binary.
#![cfg(unix)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const SWEEP: &str = "name = \"mine\"\nseeds = [0]\n[[arm]]\nname = \"fcn\"\n";

/// A folder with a sweep, a `cargo` that builds nothing, and the binary as the given script.
fn stand_in(experiments: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let write = |path: &str, text: &str| {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        fs::write(&path, text).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a mode");
    };
    let target = dir.path().display();
    write("mine.toml", SWEEP);
    write(
        "bin/cargo",
        &format!(
            "#!/bin/sh\n[ \"$1\" = metadata ] || {{ echo \"cargo $*\" >&2; exit ${{BUILD:-0}}; }}\n\
             echo '{{ \"target_directory\": \"{target}\", \"packages\": [] }}'\n"
        ),
    );
    write("release/experiments", &format!("#!/bin/sh\n{experiments}\n"));
    dir
}

fn reproduce(dir: &Path, more: &[&str]) -> Command {
    let mut command = xtask(dir);
    command.args(["reproduce", "mine.toml", "--out-dir", "out dir"]).args(more);
    command
}

/// The command in that folder, with the folder's `cargo`.
fn xtask(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    let path = std::env::var("PATH").expect("a PATH");
    command
        .current_dir(dir)
        .env("PATH", format!("{}:{path}", dir.join("bin").display()))
        .env_remove("CARGO");
    command
}

#[test]
fn options_and_exit_code_pass_through() {
    let dir = stand_in("for arg; do echo \"$arg\"; done; exit 7");
    let more = ["--seeds", "4,5", "--arms", "fcn", "--set", "a.b=c d", "--set", "e=1"];
    let more = [&more[..], &["--jobs", "2", "--state-every", "9", "--features", "f"]].concat();
    let output = reproduce(dir.path(), &more).output().unwrap();
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    let root = dir.path().display();
    let want = format!(
        "reproduce\n--sweep\n{root}/mine.toml\n--features\n{root}/f\n--arms\nfcn\n--seeds\n4,5\n--set\na.b=c d\n--set\n\
         e=1\n--out-dir\n{root}/out dir\n--jobs\n2\n--state-every\n9\n--command\ncargo xtask \
         reproduce mine.toml --out-dir 'out dir' --seeds 4,5 --arms fcn --set 'a.b=c d' --set e=1 \
         --jobs 2 --state-every 9 --features f\n"
    );
    assert_eq!(String::from_utf8(output.stdout).unwrap(), want);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(stderr, "cargo build --locked --release --package experiments\n");
}

#[test]
fn for_cuda_another_program_is_built() {
    let dir = stand_in("for arg; do echo \"$arg\"; done");
    let build = "cargo build --locked --release --package experiments";
    let run = |mut command: Command| {
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap())
    };
    for (device, features) in [("cuda:1", " --features cuda"), ("cpu", ""), ("auto", "")] {
        let [said, built] = run(reproduce(dir.path(), &["--device", device]));
        assert!(said.contains(&format!("\n--device\n{device}\n")), "{said}");
        assert_eq!(built, format!("{build}{features}\n"));
        let joined = format!("--device={device}");
        for option in [&["--device", device][..], &[joined.as_str()]] {
            let mut command = xtask(dir.path());
            command.args(["train", "my.toml"]).args(option);
            assert_eq!(run(command)[1], format!("{build}{features}\n"));
        }
    }
    let mut command = reproduce(dir.path(), &["--device", "cuda:0"]);
    let output = command.env("BUILD", "101").output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.ends_with("see above: --device cuda:N needs a CUDA toolkit\n"), "{stderr}");
    let output = xtask(dir.path()).args(["eval", "r.json", "--device", "gpu"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    let want = "error: `gpu` is no device: expected auto, cpu or cuda:N, as in cuda:0\n";
    assert_eq!(stderr, want, "nothing is built");
}

#[test]
fn what_slurm_is_asked_for_passes_through() {
    let dir = stand_in("for arg; do echo \"$arg\"; done");
    let slurm = ["--launcher", "slurm", "--partition", "a b", "--time", "1:00", "--mem", "2G"];
    let more = ["--cpus-per-task", "3", "--sbatch=--account=x", "--sbatch", "--nice", "--dry-run"];
    let output = reproduce(dir.path(), &[&slurm[..], &more].concat()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let want = "\n--launcher\nslurm\n--partition\na b\n--time\n1:00\n--mem\n2G\n--cpus-per-task\n3\n\
        --sbatch\n--account=x\n--sbatch\n--nice\n--dry-run\n";
    assert!(text.ends_with(want), "{text}");
}

#[test]
fn slurm_is_looked_for_before_a_build() {
    let dir = stand_in("echo must not run");
    let mut command = reproduce(dir.path(), &["--launcher", "slurm"]);
    let output = command.env("PATH", dir.path().join("bin")).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    let want = "error: there is no `sbatch` in PATH: --launcher slurm needs a machine that submits to \
        Slurm; without it the cells are run here\n";
    assert_eq!(stderr, want, "one line, and cargo is not called");
}

#[test]
fn a_failed_build_is_said_in_one_line() {
    let dir = stand_in("echo must not run");
    let output = reproduce(dir.path(), &[]).env("BUILD", "101").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        stderr.ends_with("error: the experiments binary does not build, see above\n"),
        "{stderr}"
    );
}

#[test]
fn an_interrupt_waits_for_the_childs_last_word() {
    // The child needs a while to put its things in order.
    let dir = stand_in(
        "trap 'sleep 0.3; echo \"interrupted: 2 of 3 cells are kept\"; exit 1' INT\n\
         touch \"${0%/*}/started\"; while :; do sleep 0.05; done",
    );
    let mut command = reproduce(dir.path(), &[]);
    // A group of its own, as a terminal gives each command; Ctrl-C goes to all of it.
    let child = command.process_group(0).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = child.spawn().unwrap();
    let started = dir.path().join("release/started");
    let patience = Instant::now() + Duration::from_secs(20);
    while !started.exists() && Instant::now() < patience {
        std::thread::sleep(Duration::from_millis(20));
    }
    let group = format!("-{}", child.id());
    assert!(Command::new("kill").args(["-INT", "--", &group]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert_eq!(stdout, "interrupted: 2 of 3 cells are kept\n");
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(!stderr.contains("error"), "{stderr}");
}

#[test]
fn ci_names_the_step_that_failed() {
    let dir = stand_in("echo must not run");
    let output = xtask(dir.path()).arg("ci").env("BUILD", "3").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert_eq!(stdout, "\n== format (1 of 8)\n", "nothing runs after it");
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("\nerror: ci: format failed: command exited"), "{stderr}");
}
