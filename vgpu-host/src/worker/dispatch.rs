//! The main thread: takes turns of the dispatcher, and knows when to poll and when to sleep.

use std::io;
use std::sync::OnceLock;

use vgpu_core::session::{Dispatcher, Session, Turn};
use vgpu_proto::Status;
use vgpu_proto::control::Closing;
use vgpu_sched::{Duration, Instant};

use super::pool::Pool;
use crate::clock::Clock;

/// How many threads this process can run at once. Counted when it is first asked for: a sandbox closes the files that tell what
/// a container may use.
pub(super) fn processors() -> usize {
    static PROCESSORS: OnceLock<usize> = OnceLock::new();
    *PROCESSORS.get_or_init(|| std::thread::available_parallelism().map_or(1, std::num::NonZero::get))
}

/// Serves the session until it ends; returns what the guest is to be told.
pub(super) fn dispatch(mut dispatcher: Dispatcher, session: &Session) -> Closing {
    let clock = Clock::start();
    let pool = Pool::new();
    let mut polling = Polling::on(processors());
    let mut jobs = Vec::new();
    loop {
        match dispatcher.turn(&mut jobs) {
            Turn::Progress => polling.worked(),
            Turn::Idle if polling.goes_on(|| clock.now()) => polling.pause(),
            Turn::Idle => {
                let asleep = clock.now();
                dispatcher.sleep(None);
                polling.slept(clock.now().since(asleep));
            }
            Turn::Ended(ended) => return ended.closing,
        }
        for job in jobs.drain(..) {
            if let Err(error) = pool.run(job) {
                session.close(&no_thread(&error));
            }
        }
    }
}

/// What a guest is told whose worker the system refused a thread.
pub(super) fn no_thread(error: &io::Error) -> Closing {
    Closing {
        status: Status::ERROR_UNKNOWN.0,
        reason: "host:threads".into(),
        text: format!("the worker cannot start a thread ({error}); the host's limits are too low"),
    }
}

/// How long to poll after work: it pays when the next command comes sooner than a sleeper could be woken, and is CPU
/// taken from others when it does not.
#[derive(Debug)]
struct Polling {
    window: Duration,
    /// How long the window may become.
    max: Duration,
    since: Option<Instant>,
    /// Looks that found nothing, since the last work.
    looks: u32,
}

/// Looks between two offers of the core, about a microsecond. Where nobody wants it, an offer costs a system call.
const LOOKS_PER_YIELD: u32 = 16;

/// Where the window starts: about what a sleep and a wake cost together, so that polling in vain at most doubles it.
const WINDOW_START: Duration = Duration::from_nanos(50_000);
/// Shortest window. Never zero: one look after the last command costs nothing.
const WINDOW_MIN: Duration = Duration::from_nanos(5_000);
/// Longest window where processors are scarce: a guest that comes back later than this hardly notices the wake.
const WINDOW_MAX_SCARCE: Duration = Duration::from_nanos(200_000);
/// Longest window elsewhere. A wake takes 40 us on an H200's host, which is 3 % of a copy of 64 MiB; guests poll as long.
const WINDOW_MAX: Duration = Duration::from_nanos(2_000_000);

/// Processors from which they are not scarce.
const PROCESSORS_MANY: usize = 8;

impl Polling {
    /// Polling on a machine with so many processors.
    const fn on(processors: usize) -> Self {
        let max = if processors < PROCESSORS_MANY { WINDOW_MAX_SCARCE } else { WINDOW_MAX };
        Self { window: WINDOW_START, max, since: None, looks: 0 }
    }

    /// There was work: the window begins anew with the next idle turn.
    const fn worked(&mut self) {
        self.since = None;
        self.looks = 0;
    }

    /// Nothing to do: whether to look again at once. Reading the clock costs as much as a look, so it is read with every
    /// few looks only.
    fn goes_on(&mut self, now: impl FnOnce() -> Instant) -> bool {
        if !self.looks.is_multiple_of(LOOKS_PER_YIELD) {
            return true;
        }
        let now = now();
        let since = *self.since.get_or_insert(now);
        now.since(since) < self.window
    }

    /// Passes a moment between two looks. After some it lets others have the core: the guest, or a thread of the device
    /// that the guest waits for, may have no other.
    fn pause(&mut self) {
        self.looks += 1;
        if self.looks.is_multiple_of(LOOKS_PER_YIELD) {
            std::thread::yield_now();
        } else {
            std::hint::spin_loop();
        }
    }

    /// Slept for that long. A sleep that polling a little longer would have saved makes the window longer; a long one
    /// shows that polling was in vain.
    fn slept(&mut self, slept: Duration) {
        self.worked();
        let nanos = self.window.as_nanos();
        let next = if slept < self.max { nanos.saturating_mul(2) } else { nanos / 2 };
        self.window = Duration::from_nanos(next.clamp(WINDOW_MIN.as_nanos(), self.max.as_nanos()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_polls_for_its_window_and_then_sleeps() {
        let mut polling = Polling::on(2);
        let at = |nanos| Instant::from_nanos(nanos);
        assert!(polling.goes_on(|| at(0)));
        assert!(polling.goes_on(|| at(49_999)));
        assert!(!polling.goes_on(|| at(50_000)));
        polling.worked();
        assert!(polling.goes_on(|| at(90_000)), "the window begins with the first idle turn");
    }

    #[test]
    fn the_clock_is_read_with_every_few_looks() {
        let mut polling = Polling::on(2);
        assert!(polling.goes_on(|| Instant::from_nanos(0)));
        for _ in 1..LOOKS_PER_YIELD {
            polling.pause();
            assert!(polling.goes_on(|| panic!("no look at the clock")));
        }
        polling.pause();
        assert!(!polling.goes_on(|| Instant::from_nanos(50_000)));
    }

    #[test]
    fn the_window_follows_the_guest_within_its_bounds() {
        for (processors, max) in [(2, WINDOW_MAX_SCARCE), (PROCESSORS_MANY, WINDOW_MAX)] {
            let mut polling = Polling::on(processors);
            for _ in 0..10 {
                polling.slept(Duration::from_millis(10));
            }
            assert_eq!(polling.window, WINDOW_MIN);
            for _ in 0..10 {
                polling.slept(Duration::from_nanos(30_000));
            }
            assert_eq!(polling.window, max);
        }
    }
}
