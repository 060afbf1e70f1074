//! Events as versions: each record makes a new one, so that what waits for the record before is not confused.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::device::{Context, DeviceError, EventKey};

/// An event of the guest.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) context: u32,
    pub(super) timing: bool,
    /// What a wait binds to now; `None` before the first record.
    pub(super) latest: Option<Arc<Version>>,
}

/// One record of an event.
#[derive(Debug)]
pub(super) struct Version {
    pub(super) context: Arc<dyn Context>,
    pub(super) key: EventKey,
    submitted: AtomicBool,
    /// Stream slot and number of the command that recorded it, once it is submitted.
    place: Mutex<Option<(u32, u64)>>,
}

impl Event {
    /// The version for a new record. The device's event is used again when nobody can wait for its last record any
    /// more.
    pub(super) fn record(&mut self, context: &Arc<dyn Context>) -> Result<Arc<Version>, DeviceError> {
        if let Some(latest) = &self.latest
            && Arc::strong_count(latest) == 1
            && latest.is_submitted()
        {
            latest.submitted.store(false, Ordering::Release);
            *latest.place.lock() = None;
            return Ok(latest.clone());
        }
        let key = context.event_create(self.timing)?;
        let (submitted, place) = (AtomicBool::new(false), Mutex::new(None));
        let version = Arc::new(Version { context: context.clone(), key, submitted, place });
        self.latest = Some(version.clone());
        Ok(version)
    }
}

impl Version {
    pub(super) fn is_submitted(&self) -> bool {
        self.submitted.load(Ordering::Acquire)
    }

    pub(super) fn set_submitted(&self) {
        self.submitted.store(true, Ordering::Release);
    }

    /// As [`Self::set_submitted`], by a command of a stream.
    pub(super) fn set_submitted_at(&self, stream: u32, number: u64) {
        *self.place.lock() = Some((stream, number));
        self.set_submitted();
    }

    /// Stream slot and number of the command that recorded it.
    pub(super) fn place(&self) -> Option<(u32, u64)> {
        *self.place.lock()
    }
}

impl Drop for Version {
    fn drop(&mut self) {
        self.context.event_destroy(self.key);
    }
}
