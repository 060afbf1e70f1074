//! Tests of the whole client against a host in a thread of the same process.

mod errors;
mod fake_host;
mod handshake;
mod launch;
mod mapping;
mod misuse;
mod order;
mod requests;
mod work;

use std::time::{Duration, Instant};

/// Tests assert that something happens, not how fast; this is the bound for all of them.
const DEADLINE: Duration = Duration::from_secs(20);

/// Waits until something holds.
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < DEADLINE, "{what}");
        std::thread::yield_now();
    }
}
