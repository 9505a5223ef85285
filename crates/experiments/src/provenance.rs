//! What a record was made by and on.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use run_record::Provenance;
use sha2::{Digest, Sha256};

/// Names the checkout that the program was built in, where it is not called from there.
const CHECKOUT: &str = "SCENE_RNN_CHECKOUT";

/// The state of the code, in the checkout that `SCENE_RNN_CHECKOUT` names or else in the current
/// folder, and of this machine; not where networks run.
pub fn provenance() -> Provenance {
    let checkout = std::env::var_os(CHECKOUT).map_or_else(|| ".".into(), PathBuf::from);
    let git = |args: &[&str]| output(Command::new("git").current_dir(&checkout).args(args));
    let revision = git(&["rev-parse", "HEAD"]);
    let changes = git(&["status", "--porcelain"]);
    let lock = std::fs::read(checkout.join("Cargo.lock"));
    Provenance {
        revision: revision.unwrap_or_else(|| "unknown".into()),
        dirty: changes.is_none_or(|changes| !changes.is_empty()),
        lock_sha256: lock.map_or_else(|_| "unknown".into(), |bytes| sha256(&bytes)),
        cpu: cpu(),
        device: None,
        threads: rayon::current_num_threads() as u64,
        os: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        rustc: output(Command::new("rustc").arg("--version")).unwrap_or_else(|| "unknown".into()),
    }
}

/// The CPU's name, as the system tells it.
pub fn cpu() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find(|line| line.starts_with("model name"));
    let name = model.and_then(|line| line.split_once(':')).map(|(_, name)| name.trim().to_owned());
    name.unwrap_or_else(|| format!("unknown {} CPU", std::env::consts::ARCH))
}

/// The largest memory this process has held, in MiB, where the system tells it.
pub fn peak_memory_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1024.0)
}

/// Seconds that all threads of this process have run, where the system tells it.
pub fn cpu_seconds() -> Option<f64> {
    /// What Linux counts in, whatever the kernel's own clock.
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // After the program's name, which may hold anything, in parentheses.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some((ticks()? + ticks()?) / TICKS_PER_SECOND)
}

/// SHA-256 of this program's file.
///
/// # Errors
///
/// A file that cannot be read.
pub fn program_sha256() -> anyhow::Result<String> {
    file_sha256(&std::env::current_exe().context("the path of this program")?)
}

/// SHA-256 of a file, which is never in memory whole.
///
/// # Errors
///
/// A file that cannot be read.
pub fn file_sha256(file: &Path) -> anyhow::Result<String> {
    let mut sum = Sha256::new();
    let copied = std::io::copy(&mut whole_files::open(file)?, &mut sum);
    copied.with_context(|| file.display().to_string())?;
    Ok(hexadecimal(&sum.finalize()))
}

/// SHA-256 in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn output(command: &mut Command) -> Option<String> {
    let output = command.output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
