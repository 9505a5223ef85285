//! What a tracked file may look like.

/// Longer files are split by idea.
const MAX_LINES: usize = 600;

/// Larger files do not belong into a repository of source.
const MAX_BYTES: usize = 1 << 20;

/// One line for every rule that a file breaks.
pub(super) fn check(path: &str, bytes: &[u8]) -> Vec<String> {
    let mut findings = Vec::new();
    if bytes.len() > MAX_BYTES {
        findings.push(format!("{path}: {} bytes, but {MAX_BYTES} at most", bytes.len()));
    }
    if path.ends_with(".rs") {
        if !bytes.starts_with(b"//!") {
            findings.push(format!("{path}: does not start with `//!` and what the file is for"));
        }
        let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
        if lines > MAX_LINES {
            findings
                .push(format!("{path}: {lines} lines, but {MAX_LINES} at most; split it by idea"));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_file_says_what_it_is_for() {
        assert_eq!(check("a/b.rs", b"//! Something.\n"), [""; 0]);
        for text in ["", "use x;\n", "// A comment.\n", "\n//! Late.\n"] {
            assert_eq!(
                check("a/b.rs", text.as_bytes()),
                ["a/b.rs: does not start with `//!` and what the file is for"]
            );
        }
        assert_eq!(check("a/b.md", b"# Text\n"), [""; 0]);
    }

    #[test]
    fn a_source_file_is_not_too_long() {
        let text = |lines: usize| format!("//! Long.\n{}", "\n".repeat(lines - 1));
        assert_eq!(check("a.rs", text(600).as_bytes()), [""; 0]);
        let want = "a.rs: 601 lines, but 600 at most; split it by idea";
        assert_eq!(check("a.rs", text(601).as_bytes()), [want]);
        assert_eq!(check("a.md", text(601).as_bytes()), [""; 0]);
    }

    #[test]
    fn no_file_is_too_large() {
        assert_eq!(check("a.png", &vec![0; 1 << 20]), [""; 0]);
        let want = "a.png: 1048577 bytes, but 1048576 at most";
        assert_eq!(check("a.png", &vec![0; (1 << 20) + 1]), [want]);
    }
}
