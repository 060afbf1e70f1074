//! The GPU of a worker.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::RwLock;
use vgpu_proto::Status;
use vgpu_proto::handshake::DeviceDescription;
use vgpu_window::{Region, Reservation};

use super::arena::Arena;
use super::context::CudaContext;
use super::counter::Counters;
use super::driver::{CudaError, Driver, Event, Handle, Missing, Property, describe};
use super::graph;
use super::pinned::Pinned;
use super::space::{Owner, Space};
use super::stack::Stack;
use super::virtual_memory::Pieces;
use crate::device::{Context, Device, DeviceError, DeviceEvents, EventKey, GraphPlan};

/// What a context takes of the card without its call stacks, in bytes (measured on an H200 with driver 580: 264 MiB).
const CONTEXT_BYTES: u64 = 264 << 20;

/// One GPU of the machine, for one session.
///
/// Streams of the driver share its hardware queues, 8 by default: a stream that waits can hold up another one. A worker
/// that serves programs with many streams sets `CUDA_DEVICE_MAX_CONNECTIONS=32` before it opens the device.
#[derive(Debug)]
pub struct CudaDevice {
    card: Arc<Card>,
}

/// What the contexts of a device share.
#[derive(Debug)]
pub(super) struct Card {
    driver: Driver,
    ordinal: u32,
    description: DeviceDescription,
    pageable_access: bool,
    counters: Arc<Counters>,
    pinned: Pinned,
    arena: Arena,
    pieces: Pieces,
    space: Space,
    events: RwLock<HashMap<EventKey, Arc<Recorded>>>,
    /// The first context lives as long as the device: host memory is registered there. It is given to the session's first
    /// context, and again after that one is gone.
    home: Home,
}

/// A context of the driver with its stacks trimmed.
#[derive(Clone, Debug)]
pub(super) struct Room {
    pub(super) handle: Arc<Handle>,
    pub(super) stack: Arc<Stack>,
}

#[derive(Debug)]
struct Home {
    room: Room,
    taken: AtomicBool,
}

/// An event, and whether it was ever recorded.
#[derive(Debug)]
pub(super) struct Recorded {
    event: Event,
    context: u64,
    timing: bool,
    recorded: AtomicBool,
}

impl CudaDevice {
    /// Opens GPU `ordinal`, as the driver numbers them, and makes its first context ready, so that a session's first
    /// call does not wait for it. May block: some 400 ms.
    ///
    /// # Errors
    /// The driver is not there, too old, or not NVIDIA's; there is no such GPU, or it lacks what is needed.
    pub fn open(ordinal: u32) -> Result<Arc<Self>, CudaError> {
        let driver = Driver::get()?;
        let mut description = describe(driver, ordinal)?;
        for (property, missing) in [
            (Property::RegisteredAddresses, Missing::RegisteredAddresses),
            (Property::StreamWrites, Missing::StreamWrites),
            (Property::VirtualMemory, Missing::VirtualMemory),
        ] {
            if !property.of(driver, ordinal)? {
                return Err(CudaError::Missing(missing));
            }
        }
        let room = Room::new(driver, ordinal)?;
        description.stream_priority_greatest = room.handle.stream_priority_greatest()?;
        description.clusters = room.handle.clusters(description.multiprocessor_count)?;
        let card = Card {
            driver,
            ordinal,
            description,
            pageable_access: Property::PageableAccess.of(driver, ordinal)?,
            counters: Counters::new(&room.handle)?,
            pinned: Pinned::new(&room.handle),
            arena: Arena::new(&room.handle),
            pieces: Pieces::default(),
            space: Space::default(),
            events: RwLock::default(),
            home: Home { room, taken: AtomicBool::new(false) },
        };
        Ok(Arc::new(Self { card: Arc::new(card) }))
    }

    /// The number of the GPU with that UUID. May block: the driver takes some 100 ms to start.
    ///
    /// # Errors
    /// The driver is not there, too old, or not NVIDIA's; there is no such GPU.
    pub fn find(uuid: [u8; 16]) -> Result<u32, CudaError> {
        let driver = Driver::get()?;
        for ordinal in 0.. {
            match describe(driver, ordinal) {
                Ok(description) if description.uuid == uuid => return Ok(ordinal),
                Ok(_) => {}
                Err(CudaError::NoDevice { count, .. }) => return Err(CudaError::UnknownUuid { count }),
                Err(error) => return Err(error),
            }
        }
        Err(CudaError::UnknownUuid { count: u32::MAX })
    }

    pub(super) fn card(&self) -> &Card {
        &self.card
    }

    /// Whether kernels reach all memory of this process (HMM), not only what is registered. Then a guest's kernel can
    /// write its worker's own memory: pools of tenants that do not trust one another refuse such hosts.
    pub fn has_pageable_access(&self) -> bool {
        self.card.pageable_access
    }
}

impl Room {
    fn new(driver: Driver, ordinal: u32) -> Result<Self, DeviceError> {
        let unknown = |_| DeviceError::new(Status::ERROR_INVALID_DEVICE, "no such GPU");
        let handle = Arc::new(Handle::new(driver, i32::try_from(ordinal).map_err(unknown)?)?);
        let stack = Arc::new(Stack::trim(&handle)?);
        Ok(Self { handle, stack })
    }
}

impl Device for CudaDevice {
    fn further_context_bytes(&self) -> u64 {
        CONTEXT_BYTES
    }

    fn graph_bytes(&self, plan: &GraphPlan) -> u64 {
        graph::device_bytes(plan)
    }

    fn fault_ends_process(&self) -> bool {
        true
    }

    fn description(&self) -> &DeviceDescription {
        &self.card.description
    }

    /// Scheduling flags are taken and have no effect: nothing waits inside the driver.
    fn context_create(
        &self,
        _flags: u32,
        events: Arc<dyn DeviceEvents>,
    ) -> Result<Arc<dyn Context>, DeviceError> {
        Ok(CudaContext::new(&self.card, events)?)
    }

    fn arena_set(&self, arena: &Arc<Reservation>) -> Result<(), DeviceError> {
        self.card.arena.set(arena)
    }

    fn host_region_add(&self, address: u64, region: &Arc<Region>) -> Result<(), DeviceError> {
        let invalid = |text| DeviceError::new(Status::ERROR_INVALID_VALUE, text);
        if address != region.address() {
            return Err(invalid(format!("the region lies at {:#x}, not at {address:#x}", region.address())));
        }
        if !self.card.space.add(address, region.len(), Owner::Host) {
            return Err(invalid(format!("memory lies at {address:#x} already")));
        }
        self.card.pinned.add(region).inspect_err(|_| self.card.space.remove(address))
    }

    fn host_region_remove(&self, address: u64) -> Result<(), DeviceError> {
        let unknown = || DeviceError::new(Status::ERROR_INVALID_VALUE, format!("no region at {address:#x}"));
        if !self.card.space.is_host(address) {
            return Err(unknown());
        }
        self.card.space.remove(address);
        if self.card.pinned.remove(address) { Ok(()) } else { Err(unknown()) }
    }
}

impl Card {
    /// A context for a session: the first one if it is free.
    pub(super) fn take_room(&self) -> Result<Room, DeviceError> {
        if self.home.taken.swap(true, Ordering::AcqRel) {
            return Room::new(self.driver, self.ordinal);
        }
        Ok(self.home.room.clone())
    }

    /// Gives it back, empty.
    pub(super) fn return_room(&self, handle: &Arc<Handle>) {
        if Arc::ptr_eq(handle, &self.home.room.handle) {
            self.home.taken.store(false, Ordering::Release);
        }
    }

    pub(super) fn description(&self) -> &DeviceDescription {
        &self.description
    }

    pub(super) fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    pub(super) fn pinned(&self) -> &Pinned {
        &self.pinned
    }

    pub(super) fn arena(&self) -> &Arena {
        &self.arena
    }

    pub(super) fn pieces(&self) -> &Pieces {
        &self.pieces
    }

    /// The first context. It lives as long as the device.
    pub(super) fn home(&self) -> &Arc<Handle> {
        &self.home.room.handle
    }

    pub(super) fn space(&self) -> &Space {
        &self.space
    }

    pub(super) fn event(&self, key: EventKey) -> Result<Arc<Recorded>, DeviceError> {
        let unknown = || DeviceError::new(Status::ERROR_INVALID_HANDLE, "no such event");
        self.events.read().get(&key).cloned().ok_or_else(unknown)
    }

    pub(super) fn add_event(&self, key: EventKey, event: Recorded) {
        self.events.write().insert(key, Arc::new(event));
    }

    /// Removes an event of a context.
    pub(super) fn remove_event(&self, key: EventKey, context: u64) {
        let mut events = self.events.write();
        if events.get(&key).is_some_and(|event| event.context == context) {
            events.remove(&key);
        }
    }

    /// Removes all events of a context.
    pub(super) fn remove_events(&self, context: u64) {
        self.events.write().retain(|_, event| event.context != context);
    }
}

impl Recorded {
    pub(super) fn new(event: Event, context: u64, timing: bool) -> Self {
        Self { event, context, timing, recorded: AtomicBool::new(false) }
    }

    pub(super) fn event(&self) -> &Event {
        &self.event
    }

    pub(super) fn recorded(&self) -> &AtomicBool {
        &self.recorded
    }

    /// Whether it has a time, or will have one.
    pub(super) fn check_timed(&self) -> Result<(), DeviceError> {
        let invalid = |text: &str| Err(DeviceError::new(Status::ERROR_INVALID_HANDLE, text));
        if !self.timing {
            return invalid("the event takes no times");
        }
        if !self.recorded.load(Ordering::Acquire) {
            return invalid("the event was never recorded");
        }
        Ok(())
    }
}
