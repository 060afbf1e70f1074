//! The regions of a window: control, staging, the pinned heap's, and those at addresses of the guest's.

use std::ops::Deref;
use std::sync::Arc;

use vgpu_proto::limits::REGION_ADDRESS_MIN;
use vgpu_proto::{RegionId, Status};
use vgpu_window::{Region, Reservation};

use super::CreditKind;
use super::credit::Ledger;

const PAGE_BYTES: u64 = 4096;

/// The table of regions.
#[derive(Debug)]
pub(super) struct Regions {
    heap: Arc<Reservation>,
    /// Address and size of the arena, whose parts a device may hand out and take back.
    arena: (u64, u64),
    slots: Vec<Slot>,
    limit: u32,
}

#[derive(Debug)]
enum Slot {
    Free,
    /// Addresses are set aside; their region is being made or unmade.
    Changing {
        address: u64,
        bytes: u64,
    },
    Live(Lent),
}

/// A region that a call may go on using when the guest has removed it. Its memory is paid for as long.
#[derive(Clone, Debug)]
pub(super) struct Lent {
    region: Arc<Region>,
    /// Dropped behind the region.
    _charge: Option<Arc<Pinned>>,
}

/// Credit for a region's memory, given back when the region is gone.
#[derive(Debug)]
pub(super) struct Pinned {
    ledger: Arc<Ledger>,
    bytes: u64,
}

impl Pinned {
    /// Takes the credit. May block.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY` when the quota is reached.
    pub(super) fn take(ledger: &Arc<Ledger>, bytes: u64) -> Result<Self, Status> {
        ledger.take(CreditKind::Pinned, bytes)?;
        Ok(Self { ledger: ledger.clone(), bytes })
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        self.ledger.give(CreditKind::Pinned, self.bytes);
    }
}

impl Lent {
    /// A region of the window itself, which nobody pays for.
    const fn own(region: Arc<Region>) -> Self {
        Self { region, _charge: None }
    }

    pub(super) fn new(region: Arc<Region>, charge: Pinned) -> Self {
        Self { region, _charge: Some(Arc::new(charge)) }
    }
}

impl Deref for Lent {
    type Target = Region;

    fn deref(&self) -> &Region {
        &self.region
    }
}

/// A place for a region.
#[derive(Clone, Copy, Debug)]
pub(super) struct Vacancy {
    pub(super) id: u32,
    pub(super) address: u64,
    /// Whole pages.
    pub(super) bytes: u64,
}

impl Regions {
    pub(super) fn new(
        heap: Arc<Reservation>,
        arena: &Reservation,
        control: Arc<Region>,
        staging: Arc<Region>,
        limit: u32,
    ) -> Self {
        Self {
            heap,
            arena: (arena.base(), arena.len()),
            slots: vec![Slot::Live(Lent::own(control)), Slot::Live(Lent::own(staging))],
            limit,
        }
    }

    pub(super) fn heap(&self) -> &Arc<Reservation> {
        &self.heap
    }

    /// Sets an id and a part of the heap's range aside, of `bytes` bytes rounded up to pages.
    pub(super) fn reserve(&mut self, bytes: u64) -> Result<Vacancy, Status> {
        let bytes = whole_pages(bytes)?;
        let offset = self.gap(bytes).ok_or(Status::ERROR_OUT_OF_MEMORY)?;
        self.set_aside(self.heap.base() + offset, bytes)
    }

    /// Sets an id aside for a region at an address of the guest's choice.
    pub(super) fn reserve_at(&mut self, address: u64, bytes: u64) -> Result<Vacancy, Status> {
        let bytes = whole_pages(bytes)?;
        if !address.is_multiple_of(PAGE_BYTES) {
            return Err(Status::ERROR_INVALID_VALUE);
        }
        let end = address.checked_add(bytes).ok_or(Status::ERROR_INVALID_VALUE)?;
        let heap = (self.heap.base(), self.heap.len());
        let mut taken = self.slots.iter().filter_map(extent).chain([heap, self.arena]);
        if address < REGION_ADDRESS_MIN || taken.any(|(start, bytes)| start < end && start + bytes > address)
        {
            return Err(Status::ERROR_NOT_SUPPORTED);
        }
        self.set_aside(address, bytes)
    }

    fn set_aside(&mut self, address: u64, bytes: u64) -> Result<Vacancy, Status> {
        let free = self.slots.iter().position(|slot| matches!(slot, Slot::Free));
        let at = free.unwrap_or(self.slots.len());
        let id = u32::try_from(at).map_err(|_| Status::ERROR_OUT_OF_MEMORY)?;
        if id >= self.limit {
            return Err(Status::ERROR_OUT_OF_MEMORY);
        }
        let slot = Slot::Changing { address, bytes };
        match self.slots.get_mut(at) {
            Some(free) => *free = slot,
            None => self.slots.push(slot),
        }
        Ok(Vacancy { id, address, bytes })
    }

    /// The lowest offset in the heap's range at which `bytes` are free.
    fn gap(&self, bytes: u64) -> Option<u64> {
        let in_heap = |(address, bytes): (u64, u64)| {
            let offset = address.checked_sub(self.heap.base())?;
            (offset < self.heap.len()).then_some((offset, bytes))
        };
        let mut taken: Vec<(u64, u64)> = self.slots.iter().filter_map(extent).filter_map(in_heap).collect();
        taken.sort_unstable();
        let mut at = 0u64;
        for (offset, taken_bytes) in taken {
            if offset - at >= bytes {
                break;
            }
            at = offset + taken_bytes;
        }
        (at.checked_add(bytes)? <= self.heap.len()).then_some(at)
    }

    pub(super) fn fill(&mut self, place: Vacancy, region: Lent) {
        self.slots[place.id as usize] = Slot::Live(region);
    }

    pub(super) fn cancel(&mut self, place: Vacancy) {
        self.slots[place.id as usize] = Slot::Free;
    }

    /// Takes a region of the guest's out, of the heap or not; its range stays set aside until [`Regions::vacate`].
    pub(super) fn take(&mut self, id: u32) -> Result<Lent, Status> {
        let added = id > RegionId::STAGING.0;
        let slot = self.slots.get_mut(id as usize).filter(|_| added).ok_or(Status::ERROR_INVALID_VALUE)?;
        let Slot::Live(region) = slot else { return Err(Status::ERROR_INVALID_VALUE) };
        let region = region.clone();
        *slot = Slot::Changing { address: region.address(), bytes: region.len() };
        Ok(region)
    }

    pub(super) fn vacate(&mut self, id: u32) {
        self.slots[id as usize] = Slot::Free;
    }

    /// A live region.
    pub(super) fn get(&self, id: u32) -> Option<&Lent> {
        match self.slots.get(id as usize) {
            Some(Slot::Live(region)) => Some(region),
            _ => None,
        }
    }
}

/// Address and size of what a slot takes.
fn extent(slot: &Slot) -> Option<(u64, u64)> {
    match slot {
        Slot::Free => None,
        Slot::Changing { address, bytes } => Some((*address, *bytes)),
        Slot::Live(region) => Some((region.address(), region.len())),
    }
}

fn whole_pages(bytes: u64) -> Result<u64, Status> {
    if bytes == 0 {
        return Err(Status::ERROR_INVALID_VALUE);
    }
    bytes.checked_next_multiple_of(PAGE_BYTES).ok_or(Status::ERROR_OUT_OF_MEMORY)
}
