//! The edge: every C function of the library passes here.

use std::fmt;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::fail::{Call, Fail, UNKNOWN};

/// Makes C functions. Each name must stand in [`crate::exports`] as `bound`.
///
/// The functions are safe: their pointer arguments are the types of [`crate::pointers`], which only C callers can make.
macro_rules! nvml_calls {
    ($(fn $name:ident($($argument:ident: $type:ty),* $(,)?) $body:block)*) => {
        $(
            #[unsafe(no_mangle)]
            pub(crate) extern "C" fn $name($($argument: $type),*) -> u32 {
                $crate::entry::enter(stringify!($name), move || $body)
            }
        )*
    };
}

/// Runs a call so that no panic unwinds into a C caller, and turns its outcome into an `nvmlReturn_t`.
pub(crate) fn enter(name: &str, call: impl FnOnce() -> Call) -> u32 {
    let status = match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(())) => 0,
        Ok(Err(Fail(status))) => status,
        // The panic's own message is on standard error already.
        Err(_) => UNKNOWN.0,
    };
    debug(name, status);
    status
}

/// A call of what is not there.
pub(crate) fn refuse(name: &str, fail: Fail) -> u32 {
    debug(name, fail.0);
    fail.0
}

fn debug(name: &str, status: u32) {
    static DEBUG: OnceLock<bool> = OnceLock::new();
    if *DEBUG
        .get_or_init(|| std::env::var("VGPU_LOG").is_ok_and(|level| level == "debug" || level == "trace"))
    {
        write(format_args!("{name} = {status}"));
    }
}

/// The first failure to reach the host: tools see a number, a person needs cause and remedy.
pub(crate) fn once(cause: &dyn fmt::Display) {
    static SAID: AtomicBool = AtomicBool::new(false);
    if !SAID.swap(true, Ordering::Relaxed) {
        write(format_args!("{cause}"));
    }
}

fn write(line: fmt::Arguments<'_>) {
    // A program without a standard error goes on.
    let _ = writeln!(std::io::stderr(), "vgpu: {line}");
}
