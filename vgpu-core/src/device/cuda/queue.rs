//! A stream with its counter, as submitters and the watcher share it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use super::counter::Counter;
use super::driver::Stream;
use crate::device::DeviceError;

#[derive(Debug)]
pub(super) struct Queue {
    stream: Stream,
    counter: Counter,
    /// Commands ever submitted.
    submitted: AtomicU64,
    /// Marks that refer to an earlier write and are not told yet.
    referring: AtomicU32,
    /// The watcher was asked to tell when there are fewer of them, and has not told yet.
    asked: AtomicBool,
}

impl Queue {
    pub(super) fn new(stream: Stream, counter: Counter) -> Arc<Self> {
        Arc::new(Self {
            stream,
            counter,
            submitted: AtomicU64::new(0),
            referring: AtomicU32::new(0),
            asked: AtomicBool::new(false),
        })
    }

    pub(super) fn stream(&self) -> &Stream {
        &self.stream
    }

    pub(super) fn submitted(&self) -> u64 {
        self.submitted.load(Ordering::Acquire)
    }

    pub(super) fn set_submitted(&self, count: u64) {
        self.submitted.store(count, Ordering::Release);
    }

    pub(super) fn refer(&self) {
        self.referring.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn stop_referring(&self) {
        self.referring.fetch_sub(1, Ordering::AcqRel);
    }

    /// Notes that the watcher is asked; `false` if it was already.
    pub(super) fn ask(&self) -> bool {
        !self.asked.swap(true, Ordering::AcqRel)
    }

    /// Whoever asks from now on is told anew.
    pub(super) fn answer(&self) {
        self.asked.store(false, Ordering::Release);
    }

    /// Whether the first `count` commands are complete.
    #[inline]
    pub(super) fn reached(&self, count: u64) -> bool {
        self.counter.read() >= count
    }

    /// Commands that may not have run yet.
    pub(super) fn pending(&self) -> u32 {
        let running = self.submitted().saturating_sub(self.counter.read());
        let referring = self.referring.load(Ordering::Acquire);
        u32::try_from(running).unwrap_or(u32::MAX).saturating_add(referring)
    }

    /// Whether everything submitted is complete.
    pub(super) fn is_complete(&self) -> bool {
        self.reached(self.submitted())
    }

    /// Submits a write of the counter.
    pub(super) fn write(&self, count: u64) -> Result<(), DeviceError> {
        // SAFETY: the counter is aligned and registered. Its page stays while the device does, and a device goes only
        // after its contexts, whose work then is complete, or with the process.
        unsafe { self.stream.write_64(self.counter.address(), count) }
    }

    /// Submits a write of a mark's word and then of the counter.
    ///
    /// # Safety
    /// The word is aligned, registered, and stays so until the stream got there.
    pub(super) unsafe fn write_with(&self, word: (u64, u64), count: u64) -> Result<(), DeviceError> {
        // SAFETY: the caller keeps the word; the counter is as in `write`.
        unsafe { self.stream.write_64_twice([word, (self.counter.address(), count)]) }
    }
}
