//! Events, and the records that waits bind to.

use std::sync::{Arc, OnceLock};

use super::arena::Owner;

/// One record of an event. A wait holds the record that was submitted last when the wait was submitted, so recording
/// the event again does not move it.
#[derive(Debug, Default)]
pub(super) struct Record {
    at_ns: OnceLock<u64>,
}

impl Record {
    /// When the stream got there, in nanoseconds of the device's clock; none before that.
    pub(super) fn at_ns(&self) -> Option<u64> {
        self.at_ns.get().copied()
    }

    pub(super) fn is_done(&self) -> bool {
        self.at_ns.get().is_some()
    }

    /// The stream got there. A record is made once; a second time changes nothing.
    pub(super) fn complete(&self, now_ns: u64) {
        let _ = self.at_ns.set(now_ns);
    }
}

/// An event of a context.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) context: Owner,
    /// Whether it takes times.
    pub(super) timing: bool,
    /// The record that was submitted last.
    pub(super) latest: Option<Arc<Record>>,
}
