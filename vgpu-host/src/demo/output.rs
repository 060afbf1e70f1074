//! Lines for standard output and standard error, whether or not somebody still reads them.

use std::io::Write as _;

/// Prints a line on standard output. A reader that is gone does not want it.
pub(super) fn line(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// Prints a line on standard error, likewise.
pub(super) fn error_line(text: &str) {
    error_text(&format!("{text}\n"));
}

/// Prints a part of a line on standard error, likewise.
pub(super) fn error_text(text: &str) {
    let mut out = std::io::stderr().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
