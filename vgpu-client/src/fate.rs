//! How and when the session ended, and how every waiting thread learns of it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering, fence};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use vgpu_proto::Status;
use vgpu_window::{fork, futex};

use crate::control::{Bed, Control};
use crate::errors::{Ended, Error, Result};
use crate::session::Waiting;

/// How long a call that finds the session's error word set waits for the message that explains it. The host sends it
/// before it sets the word or right after, so this passes only where the host died in between.
const EXPLANATION_TIMEOUT: Duration = Duration::from_millis(500);

/// Pause between two rounds of waking, while threads are still on their way out of their sleep.
const WAKE_ROUND: Duration = Duration::from_millis(1);

/// The end of a session.
#[derive(Debug, Default)]
pub(crate) struct Fate {
    over: AtomicBool,
    cause: OnceLock<Ended>,
    /// Threads that are about to sleep, or sleep, on a word of the window.
    sleepers: AtomicU32,
    lock: Mutex<()>,
    changed: Condvar,
}

impl Fate {
    /// Whether the session is known to be over, for this process: a child of `fork` has none. Two loads.
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire) || fork::is_child()
    }

    /// Records how it ended. The first cause stands.
    pub(crate) fn end(&self, cause: Ended) {
        let _guard = self.lock.lock();
        let _ = self.cause.set(cause);
        self.over.store(true, Ordering::SeqCst);
        self.changed.notify_all();
    }

    /// Wakes all that sleep on the window until none is left. Called once, after [`Fate::end`].
    ///
    /// A single round would miss a thread between its last look and its sleep. Such a thread is counted before that
    /// look, so either it sees the end, or it is counted here and another round follows.
    pub(crate) fn wake_sleepers(&self, control: &Control) {
        fence(Ordering::SeqCst);
        while self.sleepers.load(Ordering::SeqCst) != 0 {
            control.wake_everyone();
            std::thread::sleep(WAKE_ROUND);
        }
    }

    /// The error of every call after the end.
    pub(crate) fn error(&self) -> Error {
        if fork::is_child() {
            return Ended::Forked.into();
        }
        Error::Ended(self.cause.get().cloned().unwrap_or(Ended::WorkerLost))
    }

    /// The error for a session error word that is set; waits a bounded time for the host's explanation.
    pub(crate) fn explained(&self, status: Status) -> Error {
        let deadline = Instant::now() + EXPLANATION_TIMEOUT;
        let mut guard = self.lock.lock();
        while !self.is_over() {
            if self.changed.wait_until(&mut guard, deadline).timed_out() {
                break;
            }
        }
        match self.cause.get() {
            Some(cause) => Error::Ended(cause.clone()),
            None => Error::Ended(Ended::Closed {
                status,
                reason: "unexplained".into(),
                text: "the host gave no explanation; see its log".into(),
            }),
        }
    }

    /// Fails if the session is over.
    pub(crate) fn gate(&self, control: &Control) -> Result<()> {
        if self.is_over() {
            return Err(self.error());
        }
        if !control.is_quiet() {
            let status = control.session_error();
            if !status.is_success() {
                return Err(self.explained(status));
            }
        }
        Ok(())
    }

    /// Waits until `poll` gives a value: spins, then sleeps.
    ///
    /// # Errors
    /// The session's end, or what `poll` fails with.
    pub(crate) fn wait<T>(
        &self,
        control: &Control,
        bed: Bed<'_>,
        waiting: Waiting,
        mut poll: impl FnMut() -> Result<Option<T>>,
    ) -> Result<T> {
        if let Some(value) = self.spin(control, waiting, &mut poll)? {
            return Ok(value);
        }
        loop {
            let same_word = std::ptr::eq(bed.need_wake, bed.futex);
            let before = if same_word { 1 } else { bed.futex.load(Ordering::SeqCst) };
            bed.need_wake.store(1, Ordering::SeqCst);
            // The waker does the mirror image: it stores what is waited for, fences, and looks at the word above. What
            // `poll` and `gate` load is not in the order of the stores by itself.
            fence(Ordering::SeqCst);
            if let Some(value) = poll()? {
                return Ok(value);
            }
            self.sleepers.fetch_add(1, Ordering::SeqCst);
            fence(Ordering::SeqCst);
            let gate = self.gate(control);
            if gate.is_ok() {
                futex::wait(bed.futex, before, None);
            }
            self.sleepers.fetch_sub(1, Ordering::SeqCst);
            gate?;
        }
    }

    fn spin<T>(
        &self,
        control: &Control,
        waiting: Waiting,
        poll: &mut impl FnMut() -> Result<Option<T>>,
    ) -> Result<Option<T>> {
        // Reading the clock costs as much as a few polls, so it is read once in a while only.
        const POLLS_PER_CLOCK: u32 = 32;
        let mut start = None;
        loop {
            for _ in 0..POLLS_PER_CLOCK {
                if let Some(value) = poll()? {
                    return Ok(Some(value));
                }
                std::hint::spin_loop();
            }
            self.gate(control)?;
            // Not before the first polls: an answer that comes at once needs no clock.
            let waited = start.get_or_insert_with(Instant::now).elapsed();
            if waited >= waiting.spin {
                return Ok(None);
            }
            // An answer that did not come at once may need this very core: with fewer cores than pollers, who is waited
            // for would otherwise get it only when this thread's time slice ends.
            if waited >= waiting.keep {
                std::thread::yield_now();
            }
        }
    }
}
