//! The thread of a GPU: sleeps, decides, and tells the daemon what only that can do.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use vgpu_core::broker::Act;
use vgpu_core::lease::TimeSource as _;

use super::Shared;
use crate::clock::SharedClock;
use crate::serve::Event;

/// How soon the daemon is told again where its queue was full.
const FULL_QUEUE: Duration = Duration::from_millis(5);

/// Acts that wait for room in the daemon's queue. Each is said again while its cause stands, so that one may be lost.
const WAITING_MAX: usize = 256;

/// Runs until the daemon is gone.
pub(super) fn run(shared: &Shared, events: &mpsc::Sender<Event>) {
    let (mut called, mut acts) = (Vec::new(), Vec::new());
    let mut next = None;
    while !shared.over.load(Ordering::Acquire) {
        let now = SharedClock.now();
        let until = next.map(|next: vgpu_sched::Instant| Duration::from_nanos(next.since(now).as_nanos()));
        let timeout = if acts.is_empty() {
            until
        } else {
            Some(until.map_or(FULL_QUEUE, |until| until.min(FULL_QUEUE)))
        };
        shared.ears.wait(|| SharedClock.now(), timeout, &mut called);
        {
            let mut turns = shared.turns.lock();
            called.drain(..).for_each(|session| turns.called(session));
            next = turns.poll(SharedClock.now(), &mut acts);
        }
        acts.truncate(WAITING_MAX);
        tell(shared, events, &mut acts);
    }
}

/// Tells the daemon as much as its queue takes.
fn tell(shared: &Shared, events: &mpsc::Sender<Event>, acts: &mut Vec<Act>) {
    while let Some(act) = acts.first().copied() {
        match events.try_send(Event::Lease { gpu: shared.gpu, act }) {
            Err(TrySendError::Full(_)) => return,
            // A daemon that is gone wants nothing.
            Ok(()) | Err(TrySendError::Closed(_)) => drop(acts.remove(0)),
        }
    }
}
