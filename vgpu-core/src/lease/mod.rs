//! What the broker and a worker tell one another of a lease: two pages of shared memory for each worker.
//!
//! The broker writes the **grant page**: whether the worker's tenant holds the GPU, in which lease, and that the broker is
//! alive. The worker can only read it ([`vgpu_window::Bulletin`]). The worker writes the **demand page**: whether it has
//! something to run, and how far it is with closing its gate. A worker counts as controlled by its guest, so the broker
//! takes what stands there for a claim: it moves the worker's own tenant and nobody else's bill.
//!
//! Words are single atomics, each with one writer; neither side ever waits for the other. A side that sleeps is woken: the
//! worker by the grant page's change word, the broker by a [`Kick`].
//!
//! A worker tells in which lease it is about to use the GPU before it looks at its gate for the last time
//! (`DemandWriter::begin`), and the broker closes a gate before it looks who uses it (`GrantWriter::publish`). So a worker
//! that the broker does not find using a lease submits nothing in it any more, and only the others are waited for.

mod demand;
mod grant;

use std::fmt;
use std::sync::Arc;

use vgpu_sched::{Duration, Instant};

pub use self::demand::{Counts, Demand, DemandReader, DemandWriter, InFlight};
pub use self::grant::{Grant, GrantReader, GrantWriter, Held};

/// Bytes of each page: one page of memory.
pub const PAGE_BYTES: u64 = 4_096;

/// How old a broker's sign of life may be before a worker that waits runs without a lease. Several of the broker's beats, so
/// that a machine that stands still for a moment ends no lease; short beside what a guest notices.
pub const STALE: Duration = Duration::from_millis(100);

/// How a worker holds its gate, as the broker's configuration has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "hosts build it from their configuration")]
pub struct GateConfig {
    /// GPU time that may be in flight while no other tenant waits. 10 ms where nothing is said. It is what a tenant that
    /// comes has to wait for; below some milliseconds kernels in a queue begin late.
    pub in_flight_alone: Duration,
    /// GPU time that may be in flight while others wait. 500 us where nothing is said. It is what each switch waits for;
    /// below the time in which a worker sees that a kernel is done the GPU stands still between kernels.
    pub in_flight_contended: Duration,
    /// After how long without progress a stream with nothing in flight may submit beyond the bound: kernels may wait for
    /// one another. 2 ms where nothing is said.
    pub stall: Duration,
    /// How long a worker with nothing to run waits before it says so while others wait: as long as a switch takes. 150 us
    /// where nothing is said.
    pub idle_grace: Duration,
    /// The same while nobody waits. 20 ms where nothing is said. Until then its tenant is billed, and after it the next
    /// launch waits for a grant.
    pub idle_grace_alone: Duration,
    /// What a worker may add to its counts before it calls the broker for it: a small part of what the tenant's rates allow
    /// at once. Without bound where nothing is said, for a tenant without rates.
    pub report: Counts,
}

impl Default for GateConfig {
    fn default() -> Self {
        Self {
            in_flight_alone: Duration::from_millis(10),
            in_flight_contended: Duration::from_nanos(500_000),
            stall: Duration::from_millis(2),
            idle_grace: Duration::from_nanos(150_000),
            idle_grace_alone: Duration::from_millis(20),
            report: Counts { launches: u64::MAX, copied_bytes: u64::MAX, calls: u64::MAX },
        }
    }
}

/// The clock that broker and workers share: the machine's monotonic one, whose origin is the same for all processes.
pub trait TimeSource: Send + Sync + fmt::Debug {
    /// Time now.
    fn now(&self) -> Instant;
}

/// Wakes the broker.
pub trait Kick: Send + Sync + fmt::Debug {
    /// Makes the broker look at the demand page.
    fn kick(&self);
}

/// A worker's end of its lease.
#[derive(Debug)]
#[expect(clippy::exhaustive_structs, reason = "workers build it")]
pub struct LeaseEnd {
    /// What the broker says. Shared with the thread that sleeps on it.
    pub grant: Arc<GrantReader>,
    /// What the worker says.
    pub demand: DemandWriter,
    /// How the gate is held.
    pub config: GateConfig,
    /// The clock.
    pub clock: Arc<dyn TimeSource>,
    /// Wakes the broker.
    pub kick: Arc<dyn Kick>,
}
