//! What this client knows of the addresses that it was given: which allocation an address lies in, and whose.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;
use vgpu_proto::limits::HEAP_RANGE_BYTES;
use vgpu_window::Reservation;

use crate::errors::{HostFault, Misuse};
use crate::heap::PinnedAllocation;

/// What lies at an address.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    /// Device memory.
    Device,
    /// A variable of a module.
    Global,
    /// Pinned memory. The map does not keep it alive.
    Pinned(std::sync::Weak<PinnedAllocation>),
}

/// A range of addresses.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub(crate) base: u64,
    pub(crate) bytes: u64,
    pub(crate) kind: Kind,
}

/// The ranges of a session, by base; they do not overlap.
#[derive(Debug)]
pub(crate) struct AddressMap {
    spans: RwLock<BTreeMap<u64, Span>>,
    /// Held so that nothing of this process lands where device pointers of the software GPU point.
    _arena: Reservation,
    /// Base of the pinned heap, [`HEAP_RANGE_BYTES`] long.
    heap_base: u64,
}

impl AddressMap {
    pub(crate) fn new(arena: Reservation, heap_base: u64) -> Self {
        Self { spans: RwLock::default(), _arena: arena, heap_base }
    }

    /// Adds device memory that the host answered.
    ///
    /// A real GPU's driver chooses its addresses, so they may lie outside the arena, and memory of this process may have
    /// the same ones. That confuses nobody: this client never reads or writes through a device pointer, and what a pointer
    /// means follows from its type and from this map, never from what is mapped there. Only the pinned heap has addresses
    /// that mean memory of both sides, so device memory must not lie in it.
    ///
    /// # Errors
    /// [`HostFault::Address`] where it lies in the pinned heap or overlaps what is known.
    pub(crate) fn add_device(&self, base: u64, bytes: u64) -> Result<(), HostFault> {
        let fault = HostFault::Address { address: base, bytes };
        let end = base.checked_add(bytes).ok_or(fault.clone())?;
        if base == 0 || (base < self.heap_base + HEAP_RANGE_BYTES && end > self.heap_base) {
            return Err(fault);
        }
        self.add(Span { base, bytes, kind: Kind::Device })
    }

    /// Adds a range that does not overlap what is known.
    pub(crate) fn add(&self, span: Span) -> Result<(), HostFault> {
        let fault = HostFault::Address { address: span.base, bytes: span.bytes };
        let end = span.base.checked_add(span.bytes).ok_or(fault.clone())?;
        let mut spans = self.spans.write();
        let before = spans.range(..end).next_back();
        if before.is_some_and(|(_, before)| before.base + before.bytes > span.base) {
            return Err(fault);
        }
        spans.insert(span.base, span);
        Ok(())
    }

    /// Forgets the range that begins at `base`.
    pub(crate) fn remove(&self, base: u64) {
        self.spans.write().remove(&base);
    }

    /// The range that holds `address`.
    pub(crate) fn find(&self, address: u64) -> Option<Span> {
        let spans = self.spans.read();
        let (_, span) = spans.range(..=address).next_back()?;
        (address - span.base < span.bytes).then(|| span.clone())
    }

    /// The pinned allocation that holds the `bytes` bytes at `address`, or `None` where device memory does.
    ///
    /// # Errors
    /// [`Misuse::UnknownPointer`] where no single range holds them.
    pub(crate) fn locate(&self, address: u64, bytes: u64) -> Result<Option<Arc<PinnedAllocation>>, Misuse> {
        let spans = self.spans.read();
        let unknown = Misuse::UnknownPointer { address, bytes };
        let Some((_, span)) = spans.range(..=address).next_back() else { return Err(unknown) };
        let offset = address - span.base;
        if bytes > span.bytes || offset > span.bytes - bytes {
            return Err(unknown);
        }
        match &span.kind {
            Kind::Device | Kind::Global => Ok(None),
            Kind::Pinned(allocation) => allocation.upgrade().map(Some).ok_or(unknown),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAP: u64 = 1 << 45;
    const BASE: u64 = 1 << 40;

    fn map() -> AddressMap {
        // Any free range serves; its size does not matter here.
        AddressMap::new(Reservation::new_anywhere(1 << 30).unwrap(), HEAP)
    }

    #[test]
    fn ranges_are_found_by_any_address_in_them() {
        let map = map();
        let base = BASE;
        map.add_device(base, 100).unwrap();
        map.add_device(base + 4096, 8).unwrap();
        assert!(map.locate(base + 99, 1).unwrap().is_none());
        assert_eq!(map.find(base + 50).unwrap().base, base);
        for (address, bytes) in [(base - 1, 1), (base + 99, 2), (base + 100, 0x10), (base + 4096, 9)] {
            assert_eq!(map.locate(address, bytes).unwrap_err(), Misuse::UnknownPointer { address, bytes });
        }
        map.remove(base);
        assert!(map.find(base).is_none());
    }

    #[test]
    fn what_a_broken_host_answers_is_refused() {
        let map = map();
        let base = BASE;
        map.add_device(base + 100, 100).unwrap();
        for (address, bytes) in [
            (base + 50, 51),
            (base + 150, 10),
            (base, 300),
            (0, 8),
            (HEAP - 4, 8),
            (HEAP + HEAP_RANGE_BYTES - 1, 1),
            (HEAP - 1, HEAP_RANGE_BYTES + 2),
            (base, u64::MAX),
        ] {
            assert_eq!(map.add_device(address, bytes), Err(HostFault::Address { address, bytes }));
        }
    }
}
