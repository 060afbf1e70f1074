//! Device memory at addresses of the session's arena, which its guest holds unreadable.
//!
//! The driver is told the address of each range that it is to use, and maps there itself; so what the worker holds of the
//! arena is given back to the system just before. It takes any range in which nothing lies and nothing was mapped while it
//! started (measured with driver 580); that it takes the session's is known once the arena is set.

use std::sync::Arc;

use parking_lot::Mutex;
use vgpu_proto::Status;
use vgpu_proto::handshake::AddressPlan;
use vgpu_proto::limits::{ARENA_HOST_BYTES, ARENA_RANGE_BYTES};
use vgpu_window::{Reservation, WindowError};

use super::driver::{AddressRange, Handle, Physical, set_access, unmap};
use super::placement::{CHUNK_BYTES, Chunk, Chunks};
use crate::device::ranges::FreeRanges;
use crate::device::{DeviceError, MemoryAccess};

/// Where a device's memory lies.
#[derive(Debug)]
pub(super) struct Arena {
    handle: Arc<Handle>,
    place: Mutex<Option<Place>>,
}

/// An arena, reserved with the driver.
#[derive(Debug)]
struct Place {
    range: Arc<Reservation>,
    /// What is free of the host's part.
    free: FreeRanges,
    /// Kept for its end, which frees it.
    _all: AddressRange,
}

impl Arena {
    pub(super) fn new(handle: &Arc<Handle>) -> Self {
        Self { handle: Arc::clone(handle), place: Mutex::default() }
    }

    /// Sets where memory is to lie.
    ///
    /// # Errors
    /// Memory lies elsewhere already, or the driver does not take the addresses; then another range may be tried.
    pub(super) fn set(&self, range: &Arc<Reservation>) -> Result<(), DeviceError> {
        let mut place = self.place.lock();
        match &*place {
            Some(set) if Arc::ptr_eq(&set.range, range) => return Ok(()),
            Some(_) => {
                let text = "device memory lies elsewhere already";
                return Err(DeviceError::new(Status::ERROR_INVALID_VALUE, text));
            }
            None => {}
        }
        *place = Some(self.settle(range)?);
        Ok(())
    }

    fn settle(&self, range: &Arc<Reservation>) -> Result<Place, DeviceError> {
        // The guest's part at once, too: asked for small ranges in it later, the driver answers others.
        let all = reserve(&self.handle, range, 0, ARENA_RANGE_BYTES)?;
        let free = FreeRanges::new(range.base(), ARENA_HOST_BYTES);
        Ok(Place { range: Arc::clone(range), free, _all: all })
    }

    /// Takes a range for a device that has no session: one of those that sessions have, since the driver answers other
    /// addresses than those asked for in most of a process's address space.
    fn settle_anywhere(&self) -> Result<Place, DeviceError> {
        let text = "no range of addresses is free for device memory";
        let mut refused = DeviceError::new(Status::ERROR_OUT_OF_MEMORY, text);
        for plan in AddressPlan::CANDIDATES {
            // Another device of this process may have it.
            let Ok(range) = Reservation::new_at(plan.arena_base, ARENA_RANGE_BYTES) else { continue };
            match self.settle(&Arc::new(range)) {
                Ok(place) => return Ok(place),
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }

    /// Looks at the place. A device that was told none, as in tests, takes one of its own.
    fn place<T>(&self, look: impl FnOnce(&mut Place) -> Result<T, DeviceError>) -> Result<T, DeviceError> {
        let mut place = self.place.lock();
        let place = match &mut *place {
            Some(place) => place,
            none => none.insert(self.settle_anywhere()?),
        };
        look(place)
    }

    /// Takes free addresses, a multiple of [`CHUNK_BYTES`] of them.
    fn take_addresses(&self, bytes: u64) -> Result<u64, DeviceError> {
        self.place(|place| {
            let base = place.range.base();
            place.free.take(bytes, CHUNK_BYTES, base).ok_or_else(|| {
                let text = format!("{bytes} bytes find no room among the session's device addresses");
                DeviceError::new(Status::ERROR_OUT_OF_MEMORY, text)
            })
        })
    }

    fn give_addresses(&self, chunk: Chunk) {
        if let Some(place) = &mut *self.place.lock() {
            place.free.give(chunk.address, chunk.bytes);
        }
    }

    /// Gives memory back. May block: who calls it holds no lock that an allocation waits for.
    pub(super) fn give(&self, chunk: Chunk) {
        // SAFETY: the chunk was mapped by `take`, and who gives it back has waited for the work of its context. What another
        // context of the session still does there is the GPU's (`space`), and the addresses stay the session's.
        let unmapped = unsafe { unmap(&self.handle, chunk.address, chunk.bytes) };
        // After a fault the driver unmaps nothing. Then the addresses stay taken, until the process ends soon.
        if unmapped.is_ok() {
            self.give_addresses(chunk);
        }
    }
}

fn reserve(
    handle: &Arc<Handle>,
    range: &Reservation,
    offset: u64,
    bytes: u64,
) -> Result<AddressRange, DeviceError> {
    match range.cede(offset, bytes) {
        // Addresses that were ceded before and could not be reclaimed: where the driver still has them it answers them.
        Ok(()) | Err(WindowError::Overlap { .. }) => {}
        Err(error) => {
            let text = format!("the worker's address range cannot be given to the driver: {error}");
            return Err(DeviceError::new(Status::ERROR_OUT_OF_MEMORY, text));
        }
    }
    AddressRange::new(handle, range.base() + offset, bytes).inspect_err(|_| {
        // Where it cannot be held again it stays free, and the session has no use for it.
        let _ = range.reclaim(offset);
    })
}

impl Chunks for Arena {
    /// What comes is not cleared here: see [`Physical::new`].
    fn take(&self, bytes: u64) -> Result<Chunk, DeviceError> {
        // Memory first: it is what runs out.
        let memory = Physical::new(&self.handle, bytes)?;
        let chunk = Chunk { address: self.take_addresses(bytes)?, bytes };
        // SAFETY: the addresses are free ones of the host's part, which stays; nobody knows them before this returns.
        if let Err(error) = unsafe { memory.map(chunk.address) } {
            self.give_addresses(chunk);
            return Err(error);
        }
        // SAFETY: it was mapped above, for the session.
        let access = unsafe { set_access(&self.handle, chunk.address, bytes, MemoryAccess::ReadWrite) };
        if let Err(error) = access {
            self.give(chunk);
            return Err(error);
        }
        // The memory's handle goes here; mapped memory stays until it is unmapped.
        Ok(chunk)
    }
}
