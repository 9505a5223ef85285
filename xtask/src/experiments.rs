//! Building and calling the `experiments` binary.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, ExitCode, ExitStatus};
use std::sync::Once;

use anyhow::{Context, bail, ensure};
use run_record::DeviceChoice;

use crate::project::Project;

/// The built binary.
pub(crate) struct Experiments<'a> {
    project: &'a Project,
    program: PathBuf,
}

impl<'a> Experiments<'a> {
    /// Builds it, optimised and for that device; cargo's progress goes to standard error.
    pub(crate) fn build(project: &'a Project, device: DeviceChoice) -> anyhow::Result<Self> {
        outlive_interrupts()?;
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(["build", "--locked", "--release", "--package", "experiments"]);
        let cuda = matches!(device, DeviceChoice::Cuda(_));
        if cuda {
            cargo.args(["--features", "cuda"]);
        }
        let status = cargo.current_dir(&project.root).status().context("starting cargo")?;
        if status.code().is_none() {
            bail!("interrupted while building");
        }
        let needs = if cuda { ": --device cuda:N needs a CUDA toolkit" } else { "" };
        ensure!(status.success(), "the experiments binary does not build, see above{needs}");
        let name = format!("experiments{}", std::env::consts::EXE_SUFFIX);
        let program = project.target_dir()?.join("release").join(name);
        Ok(Self { project, program })
    }

    /// Runs it on this terminal and passes its exit code on.
    pub(crate) fn run(&self, args: &[OsString]) -> anyhow::Result<ExitCode> {
        let status = self.command(args).status().with_context(|| self.failed_to_start())?;
        Ok(exit_code(status))
    }

    /// Runs it on this terminal and in the user's own folder, where relative paths are theirs.
    pub(crate) fn run_here(&self, args: &[OsString]) -> anyhow::Result<ExitCode> {
        let mut command = Command::new(&self.program);
        // What it records of the code it reads in the checkout, wherever the user is.
        command.args(args).env("SCENE_RNN_CHECKOUT", &self.project.root);
        let status = command.status().with_context(|| self.failed_to_start())?;
        Ok(exit_code(status))
    }

    /// Runs it and returns what it prints.
    pub(crate) fn output(&self, args: &[OsString]) -> anyhow::Result<String> {
        let output = self
            .command(args)
            .stderr(std::process::Stdio::inherit())
            .output()
            .with_context(|| self.failed_to_start())?;
        ensure!(output.status.success(), "experiments {args:?} failed, see above");
        String::from_utf8(output.stdout).context("experiments printed something else than text")
    }

    fn command(&self, args: &[OsString]) -> Command {
        let mut command = Command::new(&self.program);
        // In the root: what it records of the code it reads there.
        command.args(args).current_dir(&self.project.root);
        command
    }

    fn failed_to_start(&self) -> String {
        format!("starting {}", self.program.display())
    }
}

/// Lets Ctrl-C end the child only, which the terminal sends it as well: this process must still be
/// there to wait for its last line and to pass on its exit code.
fn outlive_interrupts() -> anyhow::Result<()> {
    static ONCE: Once = Once::new();
    let mut result = Ok(());
    ONCE.call_once(|| result = ctrlc::set_handler(|| {}));
    result.context("listening for Ctrl-C")
}

fn exit_code(status: ExitStatus) -> ExitCode {
    #[cfg(unix)]
    let signal = std::os::unix::process::ExitStatusExt::signal(&status);
    #[cfg(not(unix))]
    let signal: Option<i32> = None;
    // As shells have it: 128 + the signal.
    let code = status.code().or(signal.map(|signal| 128 + signal)).unwrap_or(1);
    u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from)
}
