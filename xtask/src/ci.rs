//! `cargo xtask ci`: everything a change must pass, cheapest first.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, ensure};
use standard_streams::Results;
use xshell::cmd;

use crate::launcher::Launcher;
use crate::project::Project;
use crate::{reproduce, tables, tidy};

type Step = fn(&Project) -> anyhow::Result<()>;

const STEPS: [(&str, Step); 8] = [
    ("format", format),
    ("tidy", tidy::run),
    ("clippy", clippy),
    ("tests", tests),
    ("docs", docs),
    ("consumer", consumer),
    ("tables", check_tables),
    ("smoke", smoke),
];

/// Runs the steps until one fails.
pub(crate) fn run(project: &Project) -> anyhow::Result<()> {
    let mut times = Vec::new();
    for (nth, (name, step)) in STEPS.into_iter().enumerate() {
        writeln!(Results, "\n== {name} ({} of {})", nth + 1, STEPS.len())?;
        let start = Instant::now();
        step(project).with_context(|| format!("ci: {name} failed"))?;
        let seconds = start.elapsed().as_secs_f64();
        writeln!(Results, "== {name}: {seconds:.1} s")?;
        times.push(format!("{name} {seconds:.1} s"));
    }
    writeln!(Results, "\nci: all passed ({})", times.join(", "))?;
    Ok(())
}

fn format(project: &Project) -> anyhow::Result<()> {
    let sh = project.shell()?;
    Ok(cmd!(sh, "cargo fmt --all --check").run()?)
}

fn clippy(project: &Project) -> anyhow::Result<()> {
    let sh = project.shell()?;
    Ok(cmd!(sh, "cargo clippy --workspace --all-targets --locked -- -D warnings").run()?)
}

/// The command that the README gives.
fn tests(project: &Project) -> anyhow::Result<()> {
    let sh = project.shell()?;
    Ok(cmd!(sh, "cargo test --workspace --locked").run()?)
}

fn docs(project: &Project) -> anyhow::Result<()> {
    let sh = project.shell()?;
    let doc = cmd!(sh, "cargo doc --workspace --no-deps --locked");
    Ok(doc.env("RUSTDOCFLAGS", "-Dwarnings").run()?)
}

/// Builds and runs a crate outside the workspace that uses two of ours by path.
///
/// Not optimised: alone, it asks fewer features of its dependencies than the workspace does, so that
/// candle is built anew, and optimised that takes minutes.
fn consumer(project: &Project) -> anyhow::Result<()> {
    let sh = project.shell()?;
    let target = project.target_dir()?;
    let copy = target.join("ci/consumer");
    sh.remove_path(&copy)?;
    sh.create_dir(copy.join("src"))?;
    let source = project.root.join(".ci/consumer");
    let crates = project.root.join("crates");
    let crates = crates.to_str().context("the checkout's path is not UTF-8")?;
    let manifest = sh.read_file(source.join("Cargo.toml"))?;
    // As a TOML string escapes it.
    let crates = crates.replace('\\', "\\\\");
    sh.write_file(copy.join("Cargo.toml"), manifest.replace("../../crates", &crates))?;
    sh.copy_file(source.join("src/main.rs"), copy.join("src/main.rs"))?;
    // The releases this workspace is tested with.
    sh.copy_file(project.root.join("Cargo.lock"), copy.join("Cargo.lock"))?;
    let manifest = copy.join("Cargo.toml");
    Ok(cmd!(sh, "cargo run --manifest-path {manifest} --target-dir {target}").run()?)
}

fn check_tables(project: &Project) -> anyhow::Result<()> {
    tables::run(project, &tables::Args { check: true })
}

/// Trains every arm for a moment, from nothing.
fn smoke(project: &Project) -> anyhow::Result<()> {
    let out_dir = project.target_dir()?.join("ci/smoke");
    remove(&out_dir)?;
    let args = reproduce::Args {
        sweep: "smoke".to_owned(),
        data_root: None,
        weights: None,
        device: None,
        features: None,
        features_limit: None,
        arms: Vec::new(),
        seeds: Vec::new(),
        set: Vec::new(),
        refresh: false,
        overwrite: false,
        jobs: None,
        state_every: None,
        no_images: false,
        out_dir: Some(out_dir),
        launcher: Launcher::default(),
    };
    let code = reproduce::run(project, &args)?;
    ensure!(code == ExitCode::SUCCESS, "reproduce smoke failed, see above");
    Ok(())
}

fn remove(dir: &Path) -> anyhow::Result<()> {
    if dir.exists() {
        std::fs::remove_dir_all(dir).with_context(|| dir.display().to_string())?;
    }
    Ok(())
}
