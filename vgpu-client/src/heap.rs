//! The pinned heap: regions that both ends map at the same address, and what is allocated in them.

use std::os::fd::AsFd;
use std::sync::Arc;

use parking_lot::Mutex;
use vgpu_window::{Region, Reservation};

use crate::addresses::{Kind, Span};
use crate::errors::{Error, HostFault, Result};
use crate::free_list::FreeList;
use crate::session::Session;
use crate::uses::{Pinned, Uses};

/// Regions are asked for in pieces of at least this many bytes, so that small allocations share one.
const REGION_BYTES: u64 = 8 << 20;

/// Larger ones, and small ones where the quota leaves no more, are rounded up to this many bytes.
const REGION_UNIT_BYTES: u64 = 64 << 10;

/// The pinned heap of a session.
#[derive(Debug)]
pub(crate) struct Heap {
    range: Arc<Reservation>,
    regions: Mutex<Vec<Piece>>,
}

/// A region and what is free in it.
#[derive(Debug)]
struct Piece {
    region: Arc<Region>,
    id: u32,
    free: FreeList,
}

/// A piece of pinned memory.
#[derive(Debug)]
pub(crate) struct PinnedAllocation {
    session: Arc<Session>,
    /// `None` only while it is dropped.
    region: Option<Arc<Region>>,
    region_id: u32,
    offset: u64,
    bytes: u64,
    uses: Uses,
}

impl Heap {
    pub(crate) fn new(range: Arc<Reservation>) -> Self {
        Self { range, regions: Mutex::default() }
    }

    /// Whether any of `bytes` bytes at `start` lie in its range, be there memory or not.
    pub(crate) fn touches(&self, start: u64, bytes: u64) -> bool {
        start < self.range.base() + self.range.len() && start.saturating_add(bytes) > self.range.base()
    }

    /// Takes a place in a region that is there.
    fn take(&self, bytes: u64) -> Option<(Arc<Region>, u32, u64)> {
        self.regions.lock().iter_mut().find_map(|piece| {
            let offset = piece.free.take(bytes)?;
            Some((Arc::clone(&piece.region), piece.id, offset))
        })
    }

    /// Asks the host for a region that holds `bytes` bytes and takes a place in it.
    fn grow(&self, session: &Session, bytes: u64) -> Result<(Arc<Region>, u32, u64)> {
        let exact = bytes.next_multiple_of(REGION_UNIT_BYTES);
        let (asked, answer) = match session.link.region_add(exact.max(REGION_BYTES)) {
            Err(Error::Call { .. }) if exact < REGION_BYTES => (exact, session.link.region_add(exact)?),
            answer => (exact.max(REGION_BYTES), answer?),
        };
        let (description, descriptor) = answer;
        let fault = HostFault::Address { address: description.address, bytes: description.bytes };
        let offset = description.address.checked_sub(self.range.base()).ok_or(fault.clone())?;
        if description.bytes != asked {
            return Err(fault.into());
        }
        let region = Region::map_shared_at(descriptor.as_fd(), &self.range, offset, description.bytes)
            .map_err(|error| HostFault::region(&error))?;
        let region = Arc::new(region);
        let mut free = FreeList::new(asked);
        let offset = free.take(bytes).ok_or(fault)?;
        let id = description.id;
        self.regions.lock().push(Piece { region: Arc::clone(&region), id, free });
        Ok((region, id, offset))
    }

    /// Gives a place back. Says whether its region is empty now and was taken out: it must be unmapped and removed.
    fn give(&self, region: u32, offset: u64, bytes: u64) -> bool {
        let mut regions = self.regions.lock();
        let Some(at) = regions.iter().position(|piece| piece.id == region) else { return false };
        regions[at].free.give(offset, bytes);
        let empty = regions[at].free.is_whole();
        if empty {
            regions.swap_remove(at);
        }
        empty
    }
}

impl PinnedAllocation {
    /// Allocates `bytes` bytes, more than 0.
    pub(crate) fn new(session: &Arc<Session>, bytes: u64) -> Result<Arc<Self>> {
        let heap = &session.heap;
        let (region, region_id, offset) = match heap.take(bytes) {
            Some(place) => place,
            None => heap.grow(session, bytes)?,
        };
        let base = region.address() + offset;
        let allocation = Arc::new(Self {
            session: Arc::clone(session),
            region: Some(region),
            region_id,
            offset,
            bytes,
            uses: Uses::default(),
        });
        let weak = Arc::downgrade(&allocation);
        let kind = Kind::Pinned(weak);
        session.addresses.add(Span { base, bytes, kind })?;
        Ok(allocation)
    }

    pub(crate) fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// The region; accesses go to [`PinnedAllocation::offset`] and what follows.
    pub(crate) fn region(&self) -> &Region {
        self.region.as_ref().expect("it is taken only in drop")
    }

    pub(crate) fn region_id(&self) -> u32 {
        self.region_id
    }

    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The address, the same here and in kernels.
    pub(crate) fn address(&self) -> u64 {
        self.region().address() + self.offset
    }
}

impl Pinned for PinnedAllocation {
    fn uses(&self) -> &Uses {
        &self.uses
    }
}

impl Drop for PinnedAllocation {
    fn drop(&mut self) {
        // As for device memory: waiting for what a panicking thread queued could last for ever.
        if std::thread::panicking() {
            return;
        }
        self.uses.wait(&self.session);
        self.session.addresses.remove(self.address());
        let empty = self.session.heap.give(self.region_id, self.offset, self.bytes);
        // The pages go first: the host may give the same addresses to the next region.
        self.region = None;
        if empty {
            // A session that is over has no regions to give back.
            let _ = self.session.link.region_remove(self.region_id);
        }
    }
}
