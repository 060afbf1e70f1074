//! Device memory at addresses of the session's arena, which its guest holds unreadable.
//!
//! The driver is told the address of each range that it is to use, and maps there itself; so what the worker holds of the
//! arena is given back to the system just before. Ranges are reserved with the driver in large steps and kept until the
//! process ends, because a mapping must lie in one of them.

use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use vgpu_proto::Status;
use vgpu_proto::limits::{ARENA_HOST_BYTES, ARENA_RANGE_BYTES};
use vgpu_window::Reservation;

use super::driver::{AddressRange, Handle, Physical, set_access, unmap};
use super::placement::{CHUNK_BYTES, Chunks};
use crate::device::ranges::FreeRanges;
use crate::device::{DeviceError, MemoryAccess};

/// Addresses that are reserved with the driver at a time, in bytes, unless an allocation needs more: most programs need
/// one step, and a step costs the driver no memory.
const STEP_BYTES: u64 = 64 << 30;

/// Where a device's memory lies.
#[derive(Debug)]
pub(super) struct Arena {
    handle: Arc<Handle>,
    range: OnceLock<Arc<Reservation>>,
    steps: Mutex<Steps>,
}

/// Reserved with the driver so far, from the arena's base upwards.
#[derive(Debug, Default)]
struct Steps {
    all: Vec<Step>,
    /// Offset of the first address that is not.
    end: u64,
}

/// What was reserved at once. Free ranges of different steps must not join: no mapping may cross from one to the next.
#[derive(Debug)]
struct Step {
    base: u64,
    bytes: u64,
    free: FreeRanges,
    /// Kept for its end, which frees it.
    _range: AddressRange,
}

impl Arena {
    pub(super) fn new(handle: &Arc<Handle>) -> Self {
        Self { handle: Arc::clone(handle), range: OnceLock::new(), steps: Mutex::default() }
    }

    /// Sets where memory is to lie; `false` if memory lies elsewhere already.
    pub(super) fn set(&self, range: &Arc<Reservation>) -> bool {
        Arc::ptr_eq(self.range.get_or_init(|| Arc::clone(range)), range)
    }

    /// The range. A device that was told none, as in tests, takes one of its own.
    pub(super) fn range(&self) -> Result<&Arc<Reservation>, DeviceError> {
        if let Some(range) = self.range.get() {
            return Ok(range);
        }
        let aligned = Reservation::new_anywhere(ARENA_RANGE_BYTES + CHUNK_BYTES).and_then(|found| {
            let base = found.base().next_multiple_of(CHUNK_BYTES);
            drop(found);
            Reservation::new_at(base, ARENA_RANGE_BYTES)
        });
        let own = aligned.map_err(|error| {
            let text = format!("no range of addresses is free for device memory: {error}");
            DeviceError::new(Status::ERROR_OUT_OF_MEMORY, text)
        })?;
        Ok(self.range.get_or_init(|| Arc::new(own)))
    }

    /// Has the driver reserve `bytes` bytes at `offset` of the range.
    pub(super) fn reserve(&self, offset: u64, bytes: u64) -> Result<AddressRange, DeviceError> {
        let range = self.range()?;
        range.cede(offset, bytes).map_err(|error| {
            let text = format!("the worker's address range cannot be given to the driver: {error}");
            DeviceError::new(Status::ERROR_OUT_OF_MEMORY, text)
        })?;
        AddressRange::new(&self.handle, range.base() + offset, bytes).inspect_err(|_| self.reclaim(offset))
    }

    /// Holds addresses again that the driver has let go.
    pub(super) fn reclaim(&self, offset: u64) {
        if let Some(range) = self.range.get() {
            // Where somebody else was faster the addresses are lost to this session, and reserving them again says so.
            let _ = range.reclaim(offset);
        }
    }

    /// Takes free addresses, a multiple of [`CHUNK_BYTES`] of them.
    fn take_addresses(&self, bytes: u64) -> Result<u64, DeviceError> {
        let base = self.range()?.base();
        let mut steps = self.steps.lock();
        if let Some(address) = steps.take(bytes) {
            return Ok(address);
        }
        let start = steps.end;
        let room = ARENA_HOST_BYTES - start;
        if bytes > room {
            let text = format!("{bytes} bytes find no room among the session's device addresses: free some");
            return Err(DeviceError::new(Status::ERROR_OUT_OF_MEMORY, text));
        }
        let step = bytes.max(STEP_BYTES.min(room));
        let reserved = self.reserve(start, step)?;
        let first = base + start;
        let free = FreeRanges::new(first, step);
        steps.all.push(Step { base: first, bytes: step, free, _range: reserved });
        steps.end += step;
        steps
            .take(bytes)
            .ok_or_else(|| DeviceError::new(Status::ERROR_OUT_OF_MEMORY, "no room in a new step"))
    }

    fn give_addresses(&self, address: u64, bytes: u64) {
        self.steps.lock().give(address, bytes);
    }
}

impl Steps {
    fn take(&mut self, bytes: u64) -> Option<u64> {
        self.all.iter_mut().find_map(|step| step.free.take(bytes, CHUNK_BYTES, step.base))
    }

    fn give(&mut self, address: u64, bytes: u64) {
        let step = self.all.iter_mut().find(|step| address.wrapping_sub(step.base) < step.bytes);
        if let Some(step) = step {
            step.free.give(address, bytes);
        }
    }
}

impl Chunks for Arena {
    /// What comes is not cleared here: see [`Physical::new`].
    fn take(&self, bytes: u64) -> Result<u64, DeviceError> {
        // Memory first: it is what runs out.
        let memory = Physical::new(&self.handle, bytes)?;
        let address = self.take_addresses(bytes)?;
        // SAFETY: the addresses are free ones of a step, which stays; nobody knows them before this returns.
        let mapped = unsafe { memory.map(address) };
        if let Err(error) = mapped {
            self.give_addresses(address, bytes);
            return Err(error);
        }
        // SAFETY: it was mapped above, for the session.
        if let Err(error) = unsafe { set_access(&self.handle, address, bytes, MemoryAccess::ReadWrite) } {
            self.give(address, bytes);
            return Err(error);
        }
        // The memory's handle goes here; mapped memory stays until it is unmapped.
        Ok(address)
    }

    fn give(&self, address: u64, bytes: u64) {
        // SAFETY: the chunk was mapped by `take`, and who gives it back has waited for the work that uses it.
        let unmapped = unsafe { unmap(&self.handle, address, bytes) };
        // After a fault the driver unmaps nothing. Then the addresses stay taken, until the process ends soon.
        if unmapped.is_ok() {
            self.give_addresses(address, bytes);
        }
    }
}
