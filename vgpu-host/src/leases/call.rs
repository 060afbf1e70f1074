//! How workers call the broker: an event counter of each, all watched together.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use parking_lot::Mutex;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};
use vgpu_core::broker::SessionId;
use vgpu_core::lease::Kick;
use vgpu_sched::Instant;

/// What stands for the daemon among the sessions, whose numbers begin at 1.
const BELL: u64 = 0;

/// Calls of one worker in [`WINDOW`] after which it is not listened to until that is over. Honest ones call twice for each
/// lease, which is some hundred times in it at the very most; one that calls without end would keep a core busy.
const CALLS_MAX: u32 = 400;

/// See [`CALLS_MAX`]. A worker that is not listened to waits that long at most.
const WINDOW: Duration = Duration::from_millis(10);

/// Events that are taken at a time.
const EVENTS: usize = 64;

/// The worker's end: makes the broker look.
#[derive(Debug)]
pub(crate) struct Caller(OwnedFd);

impl Caller {
    /// Calls with the counter that the daemon handed over.
    pub(crate) const fn new(counter: OwnedFd) -> Self {
        Self(counter)
    }
}

impl Kick for Caller {
    fn kick(&self) {
        // A counter that is full was not looked at for 2^64 calls.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }
}

/// One worker that may call.
#[derive(Debug)]
struct Ear {
    counter: OwnedFd,
    calls: u32,
    since: Instant,
    muted: bool,
}

/// All that may call.
#[derive(Debug)]
pub(super) struct Ears {
    poll: OwnedFd,
    bell: OwnedFd,
    workers: Mutex<BTreeMap<u64, Ear>>,
}

fn counter() -> io::Result<OwnedFd> {
    Ok(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)
}

/// Edges: a counter is never read, each call is told once.
const EDGES: EventFlags = EventFlags::IN.union(EventFlags::ET);

impl Ears {
    pub(super) fn new() -> io::Result<Self> {
        let (poll, bell) = (epoll::create(CreateFlags::CLOEXEC)?, counter()?);
        epoll::add(&poll, &bell, EventData::new_u64(BELL), EDGES)?;
        Ok(Self { poll, bell, workers: Mutex::default() })
    }

    /// Listens to a worker from now on; the answer is what it calls with.
    pub(super) fn listen(&self, session: SessionId) -> io::Result<OwnedFd> {
        let counter = counter()?;
        let theirs = counter.as_fd().try_clone_to_owned()?;
        epoll::add(&self.poll, &counter, EventData::new_u64(session.0), EDGES)?;
        let ear = Ear { counter, calls: 0, since: Instant::default(), muted: false };
        self.workers.lock().insert(session.0, ear);
        Ok(theirs)
    }

    /// Listens to a worker no more.
    pub(super) fn forget(&self, session: SessionId) {
        if let Some(ear) = self.workers.lock().remove(&session.0) {
            // The worker may have a copy of the counter, so closing ours would not do.
            let _ = epoll::delete(&self.poll, &ear.counter);
        }
    }

    /// Makes the thread look.
    pub(super) fn ring(&self) {
        let _ = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
    }

    /// Waits until somebody calls, for `timeout` at most; adds to `called` who did.
    pub(super) fn wait(
        &self,
        now: impl Fn() -> Instant,
        timeout: Option<Duration>,
        called: &mut Vec<SessionId>,
    ) {
        let muted = self.workers.lock().values().any(|ear| ear.muted);
        let timeout =
            if muted { Some(timeout.map_or(WINDOW, |timeout| timeout.min(WINDOW))) } else { timeout };
        let timeout = timeout.map(|timeout| Timespec {
            tv_sec: timeout.as_secs().cast_signed(),
            tv_nsec: i64::from(timeout.subsec_nanos()),
        });
        let mut events = Vec::with_capacity(EVENTS);
        // An interrupted wait is one in which nobody called.
        let _ = epoll::wait(&self.poll, spare_capacity(&mut events), timeout.as_ref());
        let now = now();
        let mut workers = self.workers.lock();
        for event in events {
            let session = event.data.u64();
            let Some(ear) = workers.get_mut(&session) else { continue };
            called.push(SessionId(session));
            if ear.count(now) {
                let _ = epoll::delete(&self.poll, &ear.counter);
            }
        }
        if muted {
            self.unmute(now, &mut workers, called);
        }
    }

    /// Listens again to those whose time is over, which may have called meanwhile.
    fn unmute(&self, now: Instant, workers: &mut BTreeMap<u64, Ear>, called: &mut Vec<SessionId>) {
        for (session, ear) in workers.iter_mut().filter(|(_, ear)| ear.muted && ear.is_over(now)) {
            ear.muted = false;
            // Fails only where the system has no memory; then it is tried again with the next window.
            ear.muted = epoll::add(&self.poll, &ear.counter, EventData::new_u64(*session), EDGES).is_err();
            called.push(SessionId(*session));
        }
    }
}

impl Ear {
    fn is_over(&self, now: Instant) -> bool {
        u128::from(now.since(self.since).as_nanos()) >= WINDOW.as_nanos()
    }

    /// Counts a call; whether it was one too many.
    fn count(&mut self, now: Instant) -> bool {
        if self.is_over(now) {
            (self.calls, self.since) = (0, now);
        }
        self.calls += 1;
        let too_many = self.calls > CALLS_MAX && !self.muted;
        self.muted |= too_many;
        too_many
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn who_calls_is_heard_once_for_each_call() {
        let ears = Ears::new().unwrap();
        let callers = [1, 2].map(|id| Caller::new(ears.listen(SessionId(id)).unwrap()));
        let hear = |wait_ms| {
            let mut called = vec![];
            ears.wait(Instant::default, Some(Duration::from_millis(wait_ms)), &mut called);
            called
        };
        callers[1].kick();
        assert_eq!(hear(20_000), [SessionId(2)]);
        callers[1].kick();
        callers[0].kick();
        let mut heard = hear(20_000);
        heard.sort();
        assert_eq!(heard, [SessionId(1), SessionId(2)]);
        assert_eq!(hear(0), []);
        ears.ring();
        assert_eq!(hear(20_000), [], "the daemon is nobody's call");
        ears.forget(SessionId(1));
        callers[0].kick();
        assert_eq!(hear(0), []);
    }

    #[test]
    fn one_that_calls_without_end_is_not_listened_to_for_a_while() {
        let ears = Ears::new().unwrap();
        let caller = Caller::new(ears.listen(SessionId(7)).unwrap());
        let other = Caller::new(ears.listen(SessionId(8)).unwrap());
        let now = Cell::new(Instant::default());
        let hear = || {
            let mut called = vec![];
            ears.wait(|| now.get(), Some(Duration::ZERO), &mut called);
            called
        };
        let mut heard = 0;
        for _ in 0..3 * CALLS_MAX {
            caller.kick();
            heard += hear().len();
        }
        assert_eq!(heard, CALLS_MAX as usize + 1);
        other.kick();
        assert_eq!(hear(), [SessionId(8)], "others are");
        now.set(Instant::from_nanos(10_000_000));
        assert_eq!(hear(), [SessionId(7)], "what it called for meanwhile is looked at");
        hear();
        caller.kick();
        assert_eq!(hear(), [SessionId(7)]);
    }
}
