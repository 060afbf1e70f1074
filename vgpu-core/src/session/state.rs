//! What all threads of a worker share of a session.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use vgpu_proto::control::Closing;
use vgpu_proto::handshake::{Limits, RegionDescription};
use vgpu_proto::operation::Class;
use vgpu_proto::{Op, Status, limits, window};
use vgpu_window::{Region, Reservation, WindowError, futex};

use super::context_limits::LimitCharges;
use super::credit::Ledger;
use super::graph::GraphBudget;
use super::memory::Allocations;
use super::region::{Lent, Pinned, Regions, Vacancy};
use super::vmm::Vmm;
use super::words::Words;
use super::{CreditKind, CreditSource, ImageStore, SessionConfig, SessionSink};
use crate::device::{Context, Device, Payer};
use crate::lease;

/// Longest sleep of a dispatcher. A guest that writes the kick word at the right moment undoes a wake from inside; what
/// the wake was for is then seen so much later, and an idle session pays a few microseconds of a second for it.
const SLEEP_MAX: Duration = Duration::from_secs(1);

/// A session, as threads other than the dispatcher's see it.
#[derive(Debug)]
pub struct Session {
    pub(super) id: u64,
    pub(super) limits: Limits,
    pub(super) device: Arc<dyn Device>,
    pub(super) words: Arc<Words>,
    pub(super) staging: Arc<Region>,
    pub(super) regions: Mutex<Regions>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) sink: Arc<dyn SessionSink>,
    pub(super) images: Arc<dyn ImageStore>,
    pub(super) allocations: Mutex<Allocations>,
    pub(super) limits_charged: LimitCharges,
    /// Contexts that were destroyed while a call of the guest's had them, and the device memory that goes with each. Each
    /// is held by a job, of which there are as many as reply slots.
    leaving: Mutex<Vec<(Weak<dyn Context>, u64)>>,
    pub(super) tally: Tally,
    /// What graphs take, those included that are being read.
    pub(super) graphs: GraphBudget,
    /// Held while a module is loaded, so that only one image at a time is copied and parsed: each may take some hundred
    /// times as much memory as the guest paid for.
    pub(super) loading: Mutex<()>,
    closing: Mutex<Option<Closing>>,
    sleeping: AtomicBool,
    woken: AtomicBool,
    /// Held so that nothing else lands where the guest expects device memory.
    pub(super) arena: Arc<Reservation>,
    pub(super) vmm: Mutex<Vmm>,
}

/// For local memory. It is paid for as long as the session is there: the device may use it for the next context.
impl Payer for Session {
    fn take(&self, bytes: u64) -> Result<(), Status> {
        self.ledger.take(CreditKind::Device, bytes)
    }

    fn give(&self, bytes: u64) {
        self.ledger.give(CreditKind::Device, bytes);
    }
}

/// Running sums of a session.
#[derive(Debug, Default)]
pub(super) struct Tally {
    commands: AtomicU64,
    launches: AtomicU64,
    calls: AtomicU64,
    bytes_copied: AtomicU64,
    pub(super) streams: AtomicU64,
    pub(super) contexts: AtomicU64,
    pub(super) faults: AtomicU64,
}

impl Tally {
    pub(super) fn count(&self, op: Op) {
        // One writer, the dispatcher: a plain load and store is enough and cheaper than an atomic addition.
        let bump =
            |counter: &AtomicU64| counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        bump(&self.commands);
        match op.class() {
            _ if matches!(op, Op::LaunchKernel | Op::GraphLaunch) => bump(&self.launches),
            Class::Quick | Class::Blocking if op != Op::Ping => bump(&self.calls),
            _ => {}
        }
    }

    /// A copy was submitted. The dispatcher is the only writer.
    pub(super) fn copied(&self, bytes: u64) {
        let sum = self.bytes_copied.load(Ordering::Relaxed).saturating_add(bytes);
        self.bytes_copied.store(sum, Ordering::Relaxed);
    }

    /// What the broker is told.
    pub(super) fn counts(&self) -> lease::Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        lease::Counts {
            launches: read(&self.launches),
            copied_bytes: read(&self.bytes_copied),
            calls: read(&self.calls),
        }
    }
}

/// What a session did and holds; counts, or bytes where the name says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Operations read from the ring.
    pub commands: u64,
    /// Launches of kernels and graphs read from the ring, refused ones included.
    pub launches: u64,
    /// Bytes of copies that were given to the device.
    pub bytes_copied: u64,
    /// Live contexts.
    pub contexts: u64,
    /// Live streams, legacy ones included.
    pub streams: u64,
    /// Device memory in use, in bytes.
    pub memory_bytes: u64,
    /// Pinned memory in use, in bytes.
    pub pinned_bytes: u64,
    /// Contexts that met a sticky error.
    pub faults: u64,
}

impl Session {
    pub(super) fn new(
        config: SessionConfig,
        device: Arc<dyn Device>,
        control: Arc<Region>,
        staging: Arc<Region>,
        credit: Arc<dyn CreditSource>,
        sink: Arc<dyn SessionSink>,
        images: Arc<dyn ImageStore>,
    ) -> Self {
        let limits = Limits {
            contexts: config.limits.contexts.min(limits::CONTEXTS_MAX),
            streams: config.limits.streams.min(limits::STREAMS_MAX),
            events: config.limits.events.min(limits::EVENTS_MAX),
            modules: config.limits.modules.min(limits::MODULES_MAX),
            functions: config.limits.functions.min(limits::FUNCTIONS_MAX),
            regions: config.limits.regions.min(limits::REGIONS_MAX),
            ..config.limits
        };
        let regions =
            Regions::new(config.heap, &config.arena, control.clone(), staging.clone(), limits.regions);
        Self {
            id: config.id,
            limits,
            device,
            words: Arc::new(Words::new(control)),
            staging,
            regions: Mutex::new(regions),
            ledger: Arc::new(Ledger::new(credit)),
            sink,
            images,
            allocations: Mutex::default(),
            limits_charged: LimitCharges::default(),
            leaving: Mutex::default(),
            tally: Tally::default(),
            graphs: GraphBudget::default(),
            loading: Mutex::new(()),
            closing: Mutex::new(None),
            sleeping: AtomicBool::new(false),
            woken: AtomicBool::new(false),
            arena: config.arena,
            vmm: Mutex::default(),
        }
    }

    /// The host's name for the session.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Adds a region to the pinned heap, at an address that guest and worker share. May block.
    ///
    /// # Errors
    /// `INVALID_VALUE` for no bytes, `OUT_OF_MEMORY` when a limit, the quota or the heap's range is reached.
    pub fn region_add(&self, bytes: u64) -> Result<(RegionDescription, OwnedFd), Status> {
        let (place, heap) = {
            let mut regions = self.regions.lock();
            (regions.reserve(bytes)?, regions.heap().clone())
        };
        self.region_fill(place, || {
            let offset = place.address - heap.base();
            Region::create_shared_at("vgpu-heap", &heap, offset, place.bytes)
        })
    }

    /// Adds a region at an address of the guest's, which this process then has nothing else at. May block.
    ///
    /// # Errors
    /// `INVALID_VALUE` for no bytes or half pages, `NOT_SUPPORTED` where the addresses are taken in this process,
    /// `OUT_OF_MEMORY` when a limit or the quota is reached.
    pub fn region_add_at(&self, address: u64, bytes: u64) -> Result<(RegionDescription, OwnedFd), Status> {
        let place = self.regions.lock().reserve_at(address, bytes)?;
        self.region_fill(place, || Region::create_shared_alone("vgpu-pinned", address, place.bytes))
    }

    fn region_fill(
        &self,
        place: Vacancy,
        make: impl FnOnce() -> Result<(Region, OwnedFd), WindowError>,
    ) -> Result<(RegionDescription, OwnedFd), Status> {
        let added = self.region_make(place, make);
        if added.is_err() {
            self.regions.lock().cancel(place);
        }
        added
    }

    fn region_make(
        &self,
        place: Vacancy,
        make: impl FnOnce() -> Result<(Region, OwnedFd), WindowError>,
    ) -> Result<(RegionDescription, OwnedFd), Status> {
        let bytes = place.bytes;
        let charge = Pinned::take(&self.ledger, bytes)?;
        let (region, descriptor) = make().map_err(|error| match error {
            WindowError::AddressTaken { .. } => Status::ERROR_NOT_SUPPORTED,
            _ => Status::ERROR_OUT_OF_MEMORY,
        })?;
        let region = Arc::new(region);
        self.device.host_region_add(region.address(), &region).map_err(|error| match error.status {
            // The guest's numbers were checked: the device has something at these addresses.
            Status::ERROR_INVALID_VALUE => Status::ERROR_NOT_SUPPORTED,
            status => status,
        })?;
        let description = RegionDescription { id: place.id, bytes, address: region.address() };
        self.regions.lock().fill(place, Lent::new(region, charge));
        Ok((description, descriptor))
    }

    /// Removes a region of the guest's. The guest has waited for the work that uses it. May block.
    ///
    /// # Errors
    /// `INVALID_VALUE` when there is no such region.
    pub fn region_remove(&self, id: u32) -> Result<(), Status> {
        let region = self.regions.lock().take(id)?;
        let removed = self.device.host_region_remove(region.address());
        drop(region);
        self.regions.lock().vacate(id);
        removed.map_err(|error| error.status)
    }

    /// Lets a destroyed context go. Its memory is paid for until nobody holds it any more.
    pub(super) fn leave(&self, context: Arc<dyn Context>, bytes: u64) {
        self.leaving.lock().push((Arc::downgrade(&context), bytes));
        drop(context);
        self.settle_leaving();
    }

    /// Gives back what was paid for contexts that are gone by now.
    pub(super) fn settle_leaving(&self) {
        let gone = |(context, _): &mut (Weak<dyn Context>, u64)| context.strong_count() == 0;
        let bytes = self.leaving.lock().extract_if(.., gone).map(|(_, bytes)| bytes).sum();
        if bytes > 0 {
            self.freed(bytes);
        }
    }

    /// Gives credit back for device memory that was freed. After a fault that ends all contexts nothing is: the memory is
    /// the device's when this process has ended, and so is the credit.
    pub(super) fn freed(&self, bytes: u64) {
        let faulted = self.tally.faults.load(Ordering::Acquire) > 0;
        if !(faulted && self.device.fault_ends_process()) {
            self.ledger.give(CreditKind::Device, bytes);
        }
    }

    /// Ends the session: every later call of the guest answers the status, every sleeper wakes, and the dispatcher's
    /// next turn says so. The first cause wins.
    pub fn close(&self, closing: &Closing) {
        let first = {
            let mut slot = self.closing.lock();
            let first = slot.is_none();
            slot.get_or_insert_with(|| closing.clone());
            first
        };
        if first {
            self.words.end(Status(closing.status));
        }
        self.wake();
    }

    pub(super) fn closing(&self) -> Option<Closing> {
        self.closing.lock().clone()
    }

    /// What the session did and holds.
    pub fn counts(&self) -> Counts {
        let tally = &self.tally;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            commands: read(&tally.commands),
            launches: read(&tally.launches),
            bytes_copied: read(&tally.bytes_copied),
            contexts: read(&tally.contexts),
            streams: read(&tally.streams),
            memory_bytes: self.ledger.used(CreditKind::Device),
            pinned_bytes: self.ledger.used(CreditKind::Pinned),
            faults: read(&tally.faults),
        }
    }

    /// Makes the dispatcher take a turn.
    pub fn wake(&self) {
        self.woken.store(true, Ordering::SeqCst);
        // The guest can write the kick word, so whether to wake is decided by a flag that it cannot.
        if self.sleeping.load(Ordering::SeqCst) {
            let kick = self.words.word32(window::NEED_KICK);
            kick.store(0, Ordering::SeqCst);
            futex::wake_all(kick);
        }
    }

    /// Whether someone asked for a turn since the last call.
    pub(super) fn take_wake(&self) -> bool {
        self.woken.load(Ordering::Relaxed) && self.woken.swap(false, Ordering::SeqCst)
    }

    /// Sleeps until a kick, a wake, or the timeout, [`SLEEP_MAX`] at most; returns at once where the guest published
    /// past `head`, if that matters.
    pub(super) fn sleep(&self, head: Option<u64>, timeout: Option<Duration>) {
        let timeout = timeout.unwrap_or(SLEEP_MAX).min(SLEEP_MAX);
        let kick = self.words.word32(window::NEED_KICK);
        self.sleeping.store(true, Ordering::SeqCst);
        kick.store(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        let tail = self.words.word64(window::RING_TAIL).load(Ordering::SeqCst);
        let published = head.is_some_and(|head| tail != head);
        if !published && !self.woken.load(Ordering::SeqCst) {
            futex::wait(kick, 1, Some(timeout));
        }
        self.sleeping.store(false, Ordering::SeqCst);
        kick.store(0, Ordering::SeqCst);
    }
}
