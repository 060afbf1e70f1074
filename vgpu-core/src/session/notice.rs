//! How the dispatcher hears that the device has reached a mark while it sleeps.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::{Arc, Weak};

use vgpu_sched::Instant;

use super::state::Session;
use crate::lease::TimeSource;

/// Tells the dispatcher that marks were reached. Shared with the marks of all streams.
#[derive(Debug)]
pub(super) struct Notice {
    session: Weak<Session>,
    clock: Option<Arc<dyn TimeSource>>,
    /// The dispatcher sleeps and wants to know.
    wanted: AtomicBool,
    /// When a mark was last reached, in nanoseconds.
    at: AtomicU64,
}

impl Notice {
    pub(super) fn new(session: &Arc<Session>, clock: Option<Arc<dyn TimeSource>>) -> Self {
        Self {
            session: Arc::downgrade(session),
            clock,
            wanted: AtomicBool::new(false),
            at: AtomicU64::new(0),
        }
    }

    /// For marks of no session.
    #[cfg(test)]
    pub(super) fn of_nobody() -> Self {
        Self { session: Weak::new(), clock: None, wanted: AtomicBool::new(false), at: AtomicU64::new(0) }
    }

    /// Whether the dispatcher is to be woken from now on. Marks that were reached before this are to be looked at after it.
    pub(super) fn want(&self, wanted: bool) {
        self.wanted.store(wanted, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    /// When a mark was last reached.
    pub(super) fn latest(&self) -> Instant {
        Instant::from_nanos(self.at.load(Ordering::Acquire))
    }

    /// A mark was reached; called after its number can be read.
    pub(super) fn reached(&self) {
        let Some(clock) = &self.clock else { return };
        self.at.fetch_max(clock.now().as_nanos(), Ordering::AcqRel);
        // Before it is seen whether the dispatcher sleeps, as that looks at the marks after it said so.
        fence(Ordering::SeqCst);
        if self.wanted.load(Ordering::SeqCst)
            && let Some(session) = self.session.upgrade()
        {
            session.wake();
        }
    }
}
