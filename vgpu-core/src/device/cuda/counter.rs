//! Words that streams write how far they are.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;
use vgpu_proto::Status;
use vgpu_proto::limits::{CONTEXTS_MAX, STREAMS_MAX};
use vgpu_window::Region;

use super::driver::{Handle, Registration};
use crate::device::DeviceError;

/// Counters of a device: one for each stream of a session, and as many for destroyed streams whose work still runs.
const COUNTERS: u32 = 2 * (STREAMS_MAX + CONTEXTS_MAX);

const IN_PAGE: &str = "a counter's index lies in the page";

/// A device's counters.
#[derive(Debug)]
pub(super) struct Counters {
    registration: Registration,
    free: Mutex<Vec<u32>>,
}

/// The counter of a stream.
#[derive(Debug)]
pub(super) struct Counter {
    counters: Arc<Counters>,
    index: u32,
}

impl Counters {
    pub(super) fn new(handle: &Arc<Handle>) -> Result<Arc<Self>, DeviceError> {
        let page = Region::anonymous(u64::from(COUNTERS) * 8);
        let page = page.map_err(|error| DeviceError::new(Status::ERROR_OUT_OF_MEMORY, error.to_string()))?;
        let registration = Registration::new(handle, &Arc::new(page))?;
        Ok(Arc::new(Self { registration, free: Mutex::new((0..COUNTERS).rev().collect()) }))
    }

    /// A counter at 0.
    pub(super) fn take(self: &Arc<Self>) -> Result<Counter, DeviceError> {
        let index = self.free.lock().pop().ok_or_else(|| {
            let text =
                format!("{COUNTERS} streams are there or still run; destroy some and wait for their work");
            DeviceError::new(Status::ERROR_OUT_OF_MEMORY, text)
        })?;
        let counter = Counter { counters: Arc::clone(self), index };
        counter.word().store(0, Ordering::Release);
        Ok(counter)
    }
}

impl Counter {
    fn word(&self) -> &std::sync::atomic::AtomicU64 {
        self.counters.registration.region().atomic_u64(u64::from(self.index) * 8).expect(IN_PAGE)
    }

    /// Commands that are complete. What they wrote can be seen.
    #[inline]
    pub(super) fn read(&self) -> u64 {
        self.word().load(Ordering::Acquire)
    }

    /// Where the GPU writes it.
    pub(super) fn address(&self) -> u64 {
        self.counters.registration.region().address() + u64::from(self.index) * 8
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        self.counters.free.lock().push(self.index);
    }
}
