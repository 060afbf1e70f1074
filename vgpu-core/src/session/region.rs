//! The regions of a window: control, staging, and the pinned heap's.

use std::sync::Arc;

use vgpu_proto::{RegionId, Status};
use vgpu_window::{Region, Reservation};

const PAGE_BYTES: u64 = 4096;

/// The table of regions.
#[derive(Debug)]
pub(super) struct Regions {
    heap: Arc<Reservation>,
    slots: Vec<Slot>,
    limit: u32,
}

#[derive(Debug)]
enum Slot {
    Free,
    /// A part of the heap's range is set aside; its region is being made or unmade.
    Changing {
        offset: u64,
        bytes: u64,
    },
    Live(Arc<Region>),
}

/// A place for a region.
#[derive(Clone, Copy, Debug)]
pub(super) struct Vacancy {
    pub(super) id: u32,
    pub(super) offset: u64,
}

impl Regions {
    pub(super) fn new(
        heap: Arc<Reservation>,
        control: Arc<Region>,
        staging: Arc<Region>,
        limit: u32,
    ) -> Self {
        Self { heap, slots: vec![Slot::Live(control), Slot::Live(staging)], limit }
    }

    pub(super) fn heap(&self) -> &Arc<Reservation> {
        &self.heap
    }

    /// Sets an id and a part of the heap's range aside. Returns the size, rounded up to pages.
    pub(super) fn reserve(&mut self, bytes: u64) -> Result<(Vacancy, u64), Status> {
        if bytes == 0 {
            return Err(Status::ERROR_INVALID_VALUE);
        }
        let bytes = bytes.checked_next_multiple_of(PAGE_BYTES).ok_or(Status::ERROR_OUT_OF_MEMORY)?;
        let offset = self.gap(bytes).ok_or(Status::ERROR_OUT_OF_MEMORY)?;
        let free = self.slots.iter().position(|slot| matches!(slot, Slot::Free));
        let at = free.unwrap_or(self.slots.len());
        let id = u32::try_from(at).map_err(|_| Status::ERROR_OUT_OF_MEMORY)?;
        if id >= self.limit {
            return Err(Status::ERROR_OUT_OF_MEMORY);
        }
        let slot = Slot::Changing { offset, bytes };
        match self.slots.get_mut(at) {
            Some(free) => *free = slot,
            None => self.slots.push(slot),
        }
        Ok((Vacancy { id, offset }, bytes))
    }

    /// The lowest offset in the heap's range at which `bytes` are free.
    fn gap(&self, bytes: u64) -> Option<u64> {
        let mut taken: Vec<(u64, u64)> = self.slots.iter().filter_map(|slot| self.extent(slot)).collect();
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

    fn extent(&self, slot: &Slot) -> Option<(u64, u64)> {
        match slot {
            Slot::Free => None,
            Slot::Changing { offset, bytes } => Some((*offset, *bytes)),
            Slot::Live(region) => {
                let offset = region.address().checked_sub(self.heap.base())?;
                (offset < self.heap.len()).then_some((offset, region.len()))
            }
        }
    }

    pub(super) fn fill(&mut self, place: Vacancy, region: Arc<Region>) {
        self.slots[place.id as usize] = Slot::Live(region);
    }

    pub(super) fn cancel(&mut self, place: Vacancy) {
        self.slots[place.id as usize] = Slot::Free;
    }

    /// Takes a region of the heap out; its range stays set aside until [`Regions::vacate`].
    pub(super) fn take(&mut self, id: u32) -> Result<Arc<Region>, Status> {
        let heap = id > RegionId::STAGING.0;
        let slot = self.slots.get_mut(id as usize).filter(|_| heap).ok_or(Status::ERROR_INVALID_VALUE)?;
        let Slot::Live(region) = slot else { return Err(Status::ERROR_INVALID_VALUE) };
        let region = region.clone();
        *slot = Slot::Changing { offset: region.address() - self.heap.base(), bytes: region.len() };
        Ok(region)
    }

    pub(super) fn vacate(&mut self, id: u32) {
        self.slots[id as usize] = Slot::Free;
    }

    /// A live region.
    pub(super) fn get(&self, id: u32) -> Option<&Arc<Region>> {
        match self.slots.get(id as usize) {
            Some(Slot::Live(region)) => Some(region),
            _ => None,
        }
    }
}
