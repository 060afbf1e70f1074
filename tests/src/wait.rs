//! Waiting for something to happen.

use std::time::{Duration, Instant};

/// How long anything may take before a test fails. Far above what anything needs, also on a busy machine: a test asserts
/// that something happens, never how fast.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Waits until `probe` finds something.
///
/// # Panics
/// When it finds nothing within [`DEADLINE`]; `what` says what was waited for.
#[track_caller]
pub fn eventually<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(start.elapsed() < DEADLINE, "waited {DEADLINE:?} in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
