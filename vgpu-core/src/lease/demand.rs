//! The demand page: written by one worker, read by the broker, which believes nothing of it.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering, fence};

use vgpu_sched::{Duration, Instant};
use vgpu_window::{Region, WindowError};

use super::PAGE_BYTES;

/// Where the words lie, in bytes.
const WANTS: u64 = 0;
const IDLE_SINCE: u64 = 8;
const USING: u64 = 16;
const CLOSED: u64 = 24;
const REMAINING: u64 = 32;
const DRAINED: u64 = 40;
const PROGRESS: u64 = 48;
const IN_FLIGHT: u64 = 56;
const UNGATED: u64 = 64;
const LAUNCHES: u64 = 72;
const COPIED: u64 = 80;
const CALLS: u64 = 88;

const IN_PAGE: &str = "each word lies in the page, at a multiple of its size";

/// Whether a worker has work on the GPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the page knows these two")]
pub enum InFlight {
    /// Nothing.
    #[default]
    Nothing,
    /// Something. What waits for the guest is not given to the GPU before that has come.
    Running,
}

/// What a worker claims.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Demand {
    /// It has something to run.
    pub wants: bool,
    /// Since when it has not.
    pub idle_since: Instant,
    /// The latest lease in which it used the GPU, or was about to.
    pub using: u64,
    /// The latest lease whose end it has seen.
    pub closed: u64,
    /// How long its work in flight was expected to take then.
    pub remaining: Duration,
    /// The latest lease of which nothing is in flight any more.
    pub drained: u64,
    /// A number that grows with each thing that the GPU has done for it.
    pub progress: u64,
    /// What is in flight.
    pub in_flight: InFlight,
    /// How long it has run without a lease.
    pub ungated: Duration,
    /// What its guest has asked for.
    pub counts: Counts,
}

/// What a guest has asked for since its session began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "gate and broker build it")]
pub struct Counts {
    /// Launches of kernels and graphs.
    pub launches: u64,
    /// Bytes of copies.
    pub copied_bytes: u64,
    /// Calls that take the host's time without the GPU.
    pub calls: u64,
}

/// The worker's side.
#[derive(Debug)]
pub struct DemandWriter {
    page: Region,
}

impl DemandWriter {
    /// Maps a page that the broker made.
    ///
    /// # Errors
    /// The file is no demand page.
    pub fn map(file: BorrowedFd<'_>) -> Result<Self, WindowError> {
        Ok(Self { page: Region::map_shared(file, PAGE_BYTES)? })
    }

    fn store(&self, offset: u64, value: u64) {
        self.page.atomic_u64(offset).expect(IN_PAGE).store(value, Ordering::Release);
    }

    /// There is something to run.
    pub(crate) fn want(&self) {
        self.store(WANTS, 1);
    }

    /// There is nothing to run since then.
    pub(crate) fn rest(&self, since: Instant) {
        self.store(IDLE_SINCE, since.as_nanos());
        self.store(WANTS, 0);
    }

    /// The GPU is about to be used in that lease. The gate has to be looked at once more after this.
    pub(crate) fn begin(&self, epoch: u64) {
        self.store(USING, epoch);
        fence(Ordering::SeqCst);
    }

    /// The end of a lease was seen; work in flight is expected to take so long.
    pub(crate) fn close(&self, epoch: u64, remaining: Duration) {
        self.store(REMAINING, remaining.as_nanos());
        self.store(CLOSED, epoch);
    }

    /// Nothing of a lease is in flight any more.
    pub(crate) fn drain(&self, epoch: u64) {
        self.store(DRAINED, epoch);
    }

    /// What is in flight, and how much was done so far.
    pub(crate) fn report(&self, in_flight: InFlight, progress: u64) {
        self.store(IN_FLIGHT, in_flight as u64);
        self.store(PROGRESS, progress);
    }

    /// What the guest has asked for so far.
    pub(crate) fn count(&self, counts: Counts) {
        self.store(LAUNCHES, counts.launches);
        self.store(COPIED, counts.copied_bytes);
        self.store(CALLS, counts.calls);
    }

    /// How long all in all there was no lease.
    pub(crate) fn ungated(&self, span: Duration) {
        self.store(UNGATED, span.as_nanos());
    }
}

/// The broker's side.
#[derive(Debug)]
pub struct DemandReader {
    page: Region,
}

impl DemandReader {
    /// Makes a page without demand; the descriptor is the worker's.
    ///
    /// # Errors
    /// The memory cannot be made.
    pub fn create() -> Result<(Self, OwnedFd), WindowError> {
        let (page, file) = Region::create_shared("vgpu-demand", PAGE_BYTES)?;
        Ok((Self { page }, file))
    }

    fn word(&self, offset: u64) -> &AtomicU64 {
        self.page.atomic_u64(offset).expect(IN_PAGE)
    }

    /// What the worker claims. Times that lie after `now` are cut to it; everything else means what the broker makes of it.
    pub fn read(&self, now: Instant) -> Demand {
        let load = |offset| self.word(offset).load(Ordering::Acquire);
        Demand {
            wants: load(WANTS) & 1 != 0,
            idle_since: Instant::from_nanos(load(IDLE_SINCE)).min(now),
            using: load(USING),
            closed: load(CLOSED),
            remaining: Duration::from_nanos(load(REMAINING)),
            drained: load(DRAINED),
            progress: load(PROGRESS),
            in_flight: if load(IN_FLIGHT) == 0 { InFlight::Nothing } else { InFlight::Running },
            ungated: Duration::from_nanos(load(UNGATED)),
            counts: Counts { launches: load(LAUNCHES), copied_bytes: load(COPIED), calls: load(CALLS) },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use super::*;

    fn at(nanos: u64) -> Instant {
        Instant::from_nanos(nanos)
    }

    #[test]
    fn the_broker_reads_what_the_worker_claims() {
        let (reader, file) = DemandReader::create().unwrap();
        let writer = DemandWriter::map(file.as_fd()).unwrap();
        assert_eq!(reader.read(at(0)), Demand::default());
        writer.want();
        writer.begin(3);
        writer.close(3, Duration::from_nanos(40));
        writer.drain(2);
        writer.report(InFlight::Running, 9);
        writer.ungated(Duration::from_nanos(11));
        let counts = Counts { launches: 1, copied_bytes: 2, calls: 3 };
        writer.count(counts);
        let expected = Demand {
            wants: true,
            using: 3,
            closed: 3,
            remaining: Duration::from_nanos(40),
            drained: 2,
            progress: 9,
            in_flight: InFlight::Running,
            ungated: Duration::from_nanos(11),
            counts,
            ..Demand::default()
        };
        assert_eq!(reader.read(at(0)), expected);
        writer.rest(at(70));
        let read = reader.read(at(50));
        assert_eq!((read.wants, read.idle_since), (false, at(50)), "nobody is idle since a time to come");
    }

    #[test]
    fn nonsense_is_something_that_runs() {
        let (reader, file) = DemandReader::create().unwrap();
        let writer = DemandWriter::map(file.as_fd()).unwrap();
        for offset in (0..PAGE_BYTES).step_by(8) {
            writer.store(offset, u64::MAX);
        }
        let read = reader.read(at(1));
        assert_eq!((read.in_flight, read.idle_since), (InFlight::Running, at(1)));
    }
}
