//! The grant page: written by the broker, read by one worker.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering, fence};

use vgpu_sched::Instant;
use vgpu_window::futex::{self, WaitResult};
use vgpu_window::{Bulletin, Region, WindowError};

use super::PAGE_BYTES;

/// Where the words lie, in bytes.
const STATE: u64 = 0;
const CHANGE: u64 = 8;
const HEARTBEAT: u64 = 16;

const IN_PAGE: &str = "each word lies in the page, at a multiple of its size";

/// What a worker is granted: one word, so that its parts always fit together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "broker and gate build it")]
pub struct Grant {
    /// Number of the latest lease among the tenant's; 0 before the first.
    pub epoch: u64,
    /// Whether the gate is open.
    pub open: bool,
    /// Whether another tenant waits.
    pub contended: bool,
    /// What is held back although the gate is open.
    pub held: Held,
}

/// What a tenant has had too much of, by the rates that it was given, and does without until that is made up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "broker and gate build it")]
pub struct Held {
    /// Launches of kernels and graphs.
    pub launches: bool,
    /// Copies, between host and device and on the device.
    pub copies: bool,
    /// Calls that take the host's time without the GPU. Sessions do not read on while they are held back.
    pub calls: bool,
}

impl Held {
    /// Whether anything is.
    pub const fn any(self) -> bool {
        self.launches || self.copies || self.calls
    }
}

/// Bits of the word below the epoch.
const EPOCH_SHIFT: u32 = 5;

impl Grant {
    /// As the page has it.
    pub(crate) const fn to_word(self) -> u64 {
        let Held { launches, copies, calls } = self.held;
        self.epoch << EPOCH_SHIFT
            | (calls as u64) << 4
            | (copies as u64) << 3
            | (launches as u64) << 2
            | (self.contended as u64) << 1
            | self.open as u64
    }

    /// From the page.
    pub(crate) const fn from_word(word: u64) -> Self {
        let held = Held { launches: word & 4 != 0, copies: word & 8 != 0, calls: word & 16 != 0 };
        Self { epoch: word >> EPOCH_SHIFT, open: word & 1 != 0, contended: word & 2 != 0, held }
    }
}

/// The broker's side.
#[derive(Debug)]
pub struct GrantWriter {
    page: Region,
}

impl GrantWriter {
    /// Makes a page with a closed gate; the descriptor is the worker's.
    ///
    /// # Errors
    /// The memory cannot be made.
    pub fn create() -> Result<(Self, OwnedFd), WindowError> {
        let (page, file) = Region::create_published("vgpu-grant", PAGE_BYTES)?;
        Ok((Self { page }, file))
    }

    fn word(&self, offset: u64) -> &AtomicU64 {
        self.page.atomic_u64(offset).expect(IN_PAGE)
    }

    /// Says what is granted. What the worker had claimed before it saw this can be read afterwards.
    pub fn publish(&self, grant: Grant) {
        self.word(STATE).store(grant.to_word(), Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    /// What was last said.
    pub fn grant(&self) -> Grant {
        Grant::from_word(self.word(STATE).load(Ordering::Relaxed))
    }

    /// Wakes the worker where it sleeps for a change.
    pub fn wake(&self) {
        let change = self.page.atomic_u32(CHANGE).expect(IN_PAGE);
        change.fetch_add(1, Ordering::SeqCst);
        // One thread of the worker sleeps there; more would be there to cost the broker time.
        futex::wake_one(change);
    }

    /// Says that the broker is alive.
    pub fn beat(&self, now: Instant) {
        self.word(HEARTBEAT).store(now.as_nanos(), Ordering::Release);
    }
}

/// The worker's side.
#[derive(Debug)]
pub struct GrantReader {
    page: Bulletin,
}

impl GrantReader {
    /// Maps a page that the broker made.
    ///
    /// # Errors
    /// The file is no grant page.
    pub fn map(file: BorrowedFd<'_>) -> Result<Self, WindowError> {
        Ok(Self { page: Bulletin::map(file, PAGE_BYTES)? })
    }

    /// What is granted, as one word: equal words say the same.
    #[inline]
    pub(crate) fn word(&self) -> u64 {
        self.page.load_u64(STATE).expect(IN_PAGE)
    }

    /// What is granted.
    pub fn grant(&self) -> Grant {
        Grant::from_word(self.word())
    }

    /// When the broker last was alive.
    pub fn heartbeat(&self) -> Instant {
        Instant::from_nanos(self.page.load_u64(HEARTBEAT).expect(IN_PAGE))
    }

    /// A number that differs after each [`GrantWriter::wake`].
    pub fn change(&self) -> u32 {
        self.page.load_u32(CHANGE).expect(IN_PAGE)
    }

    /// Sleeps until the number is no longer `seen`, or for the timeout.
    pub fn wait(&self, seen: u32, timeout: Option<std::time::Duration>) -> WaitResult {
        self.page.wait(CHANGE, seen, timeout).expect(IN_PAGE)
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use super::*;

    #[test]
    fn the_worker_reads_what_the_broker_writes() {
        let (writer, file) = GrantWriter::create().unwrap();
        let reader = GrantReader::map(file.as_fd()).unwrap();
        assert_eq!(reader.grant(), Grant::default());
        for bits in 0_u32..32 {
            let bit = |at: u32| bits >> at & 1 != 0;
            let held = Held { launches: bit(2), copies: bit(3), calls: bit(4) };
            let epoch = if bit(0) { u64::MAX >> EPOCH_SHIFT } else { 7 };
            let grant = Grant { epoch, open: bit(0), contended: bit(1), held };
            writer.publish(grant);
            assert_eq!((reader.grant(), writer.grant()), (grant, grant));
        }
        writer.beat(Instant::from_nanos(5));
        assert_eq!(reader.heartbeat(), Instant::from_nanos(5));
        let seen = reader.change();
        writer.wake();
        assert_eq!(reader.wait(seen, None), WaitResult::Changed);
    }
}
