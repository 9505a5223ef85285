//! What is asked for against the memory that this machine has: said before it is taken.

use anyhow::ensure;

/// Bytes of a value.
pub(crate) const VALUE: u64 = size_of::<f32>() as u64;

/// Refuses what takes more than the machine has; `what` begins the sentence "… at least N GiB".
///
/// # Errors
///
/// More than there is, where the system tells how much that is.
pub(crate) fn check(bytes: u64, what: impl FnOnce() -> String) -> anyhow::Result<()> {
    let Some(has) = of_machine() else { return Ok(()) };
    ensure!(
        bytes <= has,
        "{} at least {}, but this machine has {}",
        what(),
        in_words(bytes),
        in_words(has)
    );
    Ok(())
}

/// A number of bytes for people.
pub(crate) fn in_words(bytes: u64) -> String {
    let mib = bytes as f64 / f64::from(1 << 20);
    if mib < 1000.0 { format!("{mib:.0} MiB") } else { format!("{:.1} GiB", mib / 1024.0) }
}

/// The bytes that this process may take: those of the machine, of its container, or its limit.
fn of_machine() -> Option<u64> {
    let read = |file: &str| std::fs::read_to_string(file).ok();
    let first = |text: String| text.split_whitespace().next().and_then(|n| n.parse().ok());
    let line = |file: &str, start: &str| {
        let text = read(file)?;
        text.lines().find_map(|line| line.strip_prefix(start)).map(str::to_owned)
    };
    let machine = line("/proc/meminfo", "MemTotal:").and_then(first).map(|kib: u64| kib << 10);
    let limits = [
        read("/sys/fs/cgroup/memory.max").and_then(first),
        read("/sys/fs/cgroup/memory/memory.limit_in_bytes").and_then(first),
        line("/proc/self/limits", "Max address space").and_then(first),
    ];
    machine.into_iter().chain(limits.into_iter().flatten()).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn more_than_there_is_is_refused_in_words() {
        check(1 << 20, String::new).unwrap();
        let refused = check(1 << 60, || "this takes".to_owned()).unwrap_err().to_string();
        let start = "this takes at least 1073741824.0 GiB, but this machine has ";
        assert!(refused.starts_with(start) && refused.ends_with("iB"), "{refused}");
    }
}
