//! What the library tells a person, on standard error.

use std::fmt;
use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether `VGPU_LOG` asks for every call.
pub(crate) fn is_debug() -> bool {
    static DEBUG: OnceLock<bool> = OnceLock::new();
    *DEBUG.get_or_init(|| std::env::var("VGPU_LOG").is_ok_and(|level| level == "debug" || level == "trace"))
}

/// A line for who asked for them.
pub(crate) fn debug(line: fmt::Arguments<'_>) {
    if is_debug() {
        write(line);
    }
}

/// A line that everyone gets.
pub(crate) fn write(line: fmt::Arguments<'_>) {
    // A program without a standard error goes on.
    let _ = writeln!(std::io::stderr(), "vgpu: {line}");
}

/// The first end of the session, or the first failed start of one: later calls fail for the same cause.
pub(crate) fn once(cause: &dyn fmt::Display) {
    static SAID: AtomicBool = AtomicBool::new(false);
    if !SAID.swap(true, Ordering::Relaxed) {
        write(format_args!("{cause}"));
    }
}
