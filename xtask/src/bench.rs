//! `cargo xtask bench`: the criterion suites, and our times beside those of PyTorch, numpy and Pillow.

mod table;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};
use standard_streams::{Results, message};

use crate::project::Project;
use table::{peer, table};

/// The releases that the comparison is made with.
const TORCH: &str = "torch==2.8.0 torchvision==0.23.0";

/// Passes as the two sides call them; of what has no gradients, the first only.
const PASSES: [&str; 2] = ["forward", "forward-backward"];

/// Time the operations: criterion's suites, or beside PyTorch, numpy and Pillow.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask bench                          criterion's suites
  cargo xtask bench --peers                  our times beside PyTorch's, in turn
  cargo xtask bench --growth                 scans on larger and larger grids
  cargo xtask bench --peers --python venv/bin/python --only conv")]
pub(crate) struct Args {
    /// Time PyTorch on the same work, both sides in turn, and print the ratios.
    #[arg(long)]
    peers: bool,
    /// Time the scans on larger and larger grids, and print time and memory.
    #[arg(long, conflicts_with = "peers")]
    growth: bool,
    /// A Python that has torch, numpy and Pillow; without it, an environment is made in the user's cache folder.
    #[arg(long, requires = "peers", value_name = "PATH")]
    python: Option<PathBuf>,
    /// Only cases whose name contains this; may be repeated.
    #[arg(long, value_name = "PART")]
    only: Vec<String>,
    /// How often each side has its turn, after one that does not count; the median does.
    #[arg(long, requires = "peers", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Threads of both sides; as many as there are cores by default.
    #[arg(long, requires = "peers", value_parser = clap::value_parser!(u32).range(1..))]
    threads: Option<u32>,
}

pub(crate) fn run(project: &Project, args: &Args) -> anyhow::Result<()> {
    if args.growth {
        return growth(project, &args.only);
    }
    if !args.peers {
        let mut cargo = cargo(project);
        cargo.args(["bench", "--locked", "--package", "benches", "--bench", "operations", "--"]);
        // What criterion takes is a regular expression.
        let status = cargo.arg(args.only.join("|")).status().context("starting cargo")?;
        ensure!(status.success(), "the suites failed, see above");
        return Ok(());
    }
    let python = match &args.python {
        Some(python) => python.clone(),
        None => environment()?,
    };
    let ours = our_side(project)?;
    let target = project.target_dir()?;
    let theirs = project.root.join("benches/peers/side.py");
    let threads = match args.threads {
        Some(threads) => threads.to_string(),
        None => std::thread::available_parallelism()?.to_string(),
    };
    let start_ours = || Side::start(Command::new(&ours).env("RAYON_NUM_THREADS", &threads));
    let start_theirs =
        || Side::start(Command::new(&python).arg(&theirs).env("PEER_THREADS", &threads));
    let (_, cases) = start_ours()?;
    let cases = cases["cases"].as_array().cloned().context("our side did not list its cases")?;
    let chosen: Vec<_> = cases.into_iter().filter(|case| is_asked(case, &args.only)).collect();
    ensure!(!chosen.is_empty(), "no case's name contains `{}`", args.only.join("` or `"));
    let out = target.join("bench");
    std::fs::create_dir_all(&out).with_context(|| out.display().to_string())?;
    let file = out.join("peers.json");
    let mut rows = Vec::new();
    let mut record = Value::Null;
    for case in &chosen {
        // Fresh processes, so that the peak memory is this case's.
        let (mut ours, _) = start_ours()?;
        let (mut theirs, versions) = start_theirs()?;
        let passes = case["passes"].as_array().context("a case without passes")?;
        for pass in passes.iter().filter_map(Value::as_str) {
            let request = json!({ "case": case, "pass": pass, "seconds": 0.3 });
            let (mut our_ms, mut their_ms) = (Vec::new(), Vec::new());
            let (mut our_mib, mut their_mib) = (f64::NAN, f64::NAN);
            // Caches, clocks and allocators settle.
            ours.ask(&request)?;
            theirs.ask(&request)?;
            for _ in 0..args.rounds {
                let answer = ours.ask(&request)?;
                our_ms.push(number(&answer, "milliseconds")?);
                our_mib = number(&answer, "peak_mib")?;
                let answer = theirs.ask(&request)?;
                their_ms.push(number(&answer, "milliseconds")?);
                their_mib = number(&answer, "peak_mib")?;
            }
            // Of each round by itself: the machine's own speed changes from one to the next.
            let ratios = their_ms.iter().zip(&our_ms).map(|(theirs, ours)| theirs / ours);
            let ratio = median(ratios.collect());
            let (our_ms, their_ms) = (median(our_ms), median(their_ms));
            let row = json!({
                "case": name(case), "op": case["op"], "pass": pass,
                "ours_ms": our_ms, "torch_ms": their_ms, "ratio": ratio,
                "ours_mib": our_mib, "torch_mib": their_mib,
            });
            let (case, peer) = (name(case), peer(case));
            message(format_args!(
                "{case} {pass}: {our_ms:.1} ms, {peer} {their_ms:.1} ms, ratio {ratio:.2}"
            ));
            rows.push(row);
        }
        // After every case, so that a comparison that is stopped leaves what it has measured.
        record = json!({
            "torch": versions["torch"], "numpy": versions["numpy"], "pillow": versions["pillow"],
            "threads": threads,
            "rounds": args.rounds, "cpu": cpu(), "rows": rows,
        });
        let text = serde_json::to_string_pretty(&record)? + "\n";
        whole_files::write(&file, text.as_bytes())?;
    }
    writeln!(Results, "{}", table(&record)?)?;
    writeln!(Results, "record: {}", file.display())?;
    Ok(())
}

/// Builds our side and returns its path.
fn our_side(project: &Project) -> anyhow::Result<PathBuf> {
    let mut build = cargo(project);
    build.args(["build", "--locked", "--release", "--package", "benches", "--bin", "bench-side"]);
    ensure!(build.status().context("starting cargo")?.success(), "benches do not build, see above");
    let program = format!("bench-side{}", std::env::consts::EXE_SUFFIX);
    Ok(project.target_dir()?.join("release").join(program))
}

/// Time and peak memory of scans on larger and larger grids, a fresh process each.
fn growth(project: &Project, only: &[String]) -> anyhow::Result<()> {
    let ours = our_side(project)?;
    let start = || Side::start(&mut Command::new(&ours));
    let (_, cases) = start()?;
    let cases = cases["growth"].as_array().cloned().context("our side did not list its cases")?;
    writeln!(Results, "| scan | ms | × | peak, MiB |\n|---|---|---|---|")?;
    let mut before: Option<(String, f64)> = None;
    for case in cases.iter().filter(|case| is_asked(case, only)) {
        let (mut side, _) = start()?;
        let request = json!({ "case": case, "pass": "forward-backward", "seconds": 0.3 });
        let answer = side.ask(&request)?;
        let (ms, mib) = (number(&answer, "milliseconds")?, number(&answer, "peak_mib")?);
        let (mode, _) = name(case).rsplit_once(' ').context("a case without a size")?;
        let factor = match &before {
            Some((of, ms_before)) if of == mode => format!("{:.1}", ms / ms_before),
            _ => "–".to_owned(),
        };
        writeln!(Results, "| {} | {ms:.1} | {factor} | {mib:.0} |", name(case))?;
        before = Some((mode.to_owned(), ms));
    }
    writeln!(
        Results,
        "\nForward and backward, 1×256→128, 64 channels of keys; × the time on a quarter of the \
         units; medians on {}.",
        cpu()
    )?;
    Ok(())
}

fn cargo(project: &Project) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(&project.root);
    cargo
}

fn name(case: &Value) -> &str {
    case["name"].as_str().unwrap_or_default()
}

fn number(value: &Value, key: &str) -> anyhow::Result<f64> {
    value[key].as_f64().with_context(|| format!("expected a number `{key}`, got {value}"))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The processor's name, as Linux gives it.
fn cpu() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = info.lines().find_map(|line| line.strip_prefix("model name"));
    let name = line.and_then(|line| line.split_once(':')).map(|(_, name)| name.trim());
    name.unwrap_or(std::env::consts::ARCH).to_owned()
}

/// True where any of `parts` is in the case's name, or there are none.
fn is_asked(case: &Value, parts: &[String]) -> bool {
    parts.is_empty() || parts.iter().any(|part| name(case).contains(part))
}

/// One of the two programs, which answers line by line.
struct Side {
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Side {
    /// Starts it; also returns its first line.
    fn start(command: &mut Command) -> anyhow::Result<(Self, Value)> {
        let program = command.get_program().to_string_lossy().into_owned();
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = piped.spawn().with_context(|| format!("starting {program}"))?;
        let requests = child.stdin.take().context("no standard input")?;
        let answers = BufReader::new(child.stdout.take().context("no standard output")?);
        let mut side = Self { child, requests, answers };
        let greeting = side.answer().with_context(|| format!("{program} did not start"))?;
        Ok((side, greeting))
    }

    fn ask(&mut self, request: &Value) -> anyhow::Result<Value> {
        writeln!(self.requests, "{request}").context("a side of the comparison has ended")?;
        self.answer()
    }

    fn answer(&mut self) -> anyhow::Result<Value> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        if line.is_empty() {
            bail!("a side of the comparison has ended, see above");
        }
        serde_json::from_str(&line).with_context(|| format!("expected JSON, got {line:?}"))
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The Python of an environment with PyTorch in the user's cache folder, made if it is not there.
fn environment() -> anyhow::Result<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    let cache = cache.or_else(home).context("no HOME to make an environment in; give --python")?;
    let dir = cache.join("scene-rnn").join("peers");
    let python = dir.join("bin/python");
    let ready = dir.join("ready");
    if std::fs::read_to_string(&ready).is_ok_and(|found| found == TORCH) {
        return Ok(python);
    }
    message(format_args!(
        "making a Python environment with {TORCH} in {}: about 3.5 GB to download and 7 GB on disk \
         (on Linux its package brings CUDA's libraries); --python PATH uses one of yours",
        dir.display()
    ));
    let step = |command: &mut Command, what: &str| -> anyhow::Result<()> {
        let status = command.status().with_context(|| format!("{what}: starting it"))?;
        ensure!(status.success(), "{what} failed, see above; --python PATH uses a Python of yours");
        Ok(())
    };
    step(Command::new("python3").args(["-m", "venv"]).arg(&dir), "python3 -m venv")?;
    let pip = ["-m", "pip", "install", "--quiet", "numpy", "pillow"];
    step(Command::new(&python).args(pip).args(TORCH.split(' ')), "pip install")?;
    whole_files::write(&ready, TORCH.as_bytes())?;
    Ok(python)
}
