//! Waiting for the GPU without asking it all the time.

use std::thread;
use std::time::{Duration, Instant};

/// How long a waiter gives its processor only to threads that are ready: work of one kernel ends within it, and sleeping
/// costs as much.
const YIELDING: Duration = Duration::from_micros(50);

/// Shortest and longest pause. The shortest is what the kernel's timers can do; the longest keeps a sleeper's delay small
/// against any wait a person notices.
const PAUSE_MIN: Duration = Duration::from_micros(20);
const PAUSE_MAX: Duration = Duration::from_micros(500);

/// Pauses are this part of the time waited: a training step of 30 ms is prolonged by 0.2 % on average, for some 3 % of a
/// processor.
const PAUSE_PART: u32 = 256;

/// The pause after `waited`.
pub(super) fn pause(waited: Duration) -> Duration {
    (waited / PAUSE_PART).clamp(PAUSE_MIN, PAUSE_MAX)
}

/// Calls `poll` until it gives an answer.
pub(super) fn until<T>(mut poll: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = poll() {
            return answer;
        }
        let waited = start.elapsed();
        if waited < YIELDING {
            thread::yield_now();
        } else {
            thread::sleep(pause(waited));
        }
    }
}
