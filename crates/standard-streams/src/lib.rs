//! Results on standard output, messages on standard error, whoever reads them.
//!
//! `println!` and `eprintln!` panic where nobody reads or the disk is full. Here
//!
//! - a [`message`] that nobody can take is lost, and the work goes on;
//! - [`Results`] that nobody can take are an error. Where the reader has gone (`… | head -1`) the
//!   program ends quietly with [`READER_GONE`], as `cat` and `grep` do; a full disk is said.
//!
//! Not here: progress bars, which are for terminals alone.

use std::error::Error;
use std::fmt;
use std::io::{self, ErrorKind, Write};

/// The exit code where the reader of the results has gone: what shells show of a program that the
/// signal for it (13) ends.
pub const READER_GONE: u8 = 128 + 13;

/// Says one line, or several, on standard error, if anybody listens.
pub fn message(text: impl fmt::Display) {
    // In one piece, so that lines of several processes do not mix.
    let line = format!("{text}\n");
    let _ = io::stderr().write_all(line.as_bytes());
}

/// Standard output, for what a command is asked for.
///
/// Its errors say that they are of standard output; [`reader_is_gone`] tells those apart that need
/// no words.
#[derive(Debug, Clone, Copy, Default)]
pub struct Results;

impl Write for Results {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        io::stdout().write(bytes).map_err(of_results)
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().flush().map_err(of_results)
    }
}

/// Whether an error, or one behind it, is that nobody reads the [`Results`] any longer.
pub fn reader_is_gone(error: &(dyn Error + 'static)) -> bool {
    let mut at = Some(error);
    while let Some(error) = at {
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if inner.is_some_and(|inner| inner.is::<OfResults>()) {
            let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
            return kind == Some(ErrorKind::BrokenPipe);
        }
        at = error.source();
    }
    false
}

/// An error of standard output, and of nothing else.
#[derive(Debug)]
struct OfResults(io::Error);

impl fmt::Display for OfResults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "standard output: {}", self.0)
    }
}

impl Error for OfResults {}

fn of_results(error: io::Error) -> io::Error {
    match error.kind() {
        // Whoever writes tries again.
        ErrorKind::Interrupted => error,
        kind => io::Error::new(kind, OfResults(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Around(io::Error);

    impl fmt::Display for Around {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("around")
        }
    }

    impl Error for Around {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn only_the_reader_of_results_goes_quietly() {
        let broken = || io::Error::from(ErrorKind::BrokenPipe);
        assert!(reader_is_gone(&of_results(broken())));
        assert!(reader_is_gone(&Around(of_results(broken()))));
        assert!(!reader_is_gone(&broken()), "a pipe to a child is another thing");
        let full = of_results(io::Error::from(ErrorKind::StorageFull));
        assert!(!reader_is_gone(&full));
        assert!(full.to_string().starts_with("standard output: "), "{full}");
    }
}
