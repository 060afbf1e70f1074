//! What this client knows of the addresses that it was given: which allocation an address lies in, and whose.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;
use vgpu_window::Reservation;

use crate::errors::{HostFault, Misuse};
use crate::foreign::Foreign;
use crate::uses::Pinned;

/// What lies at an address.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    /// Device memory.
    Device,
    /// A variable of a module.
    Global,
    /// Device memory that the program has mapped, and whether it may be accessed.
    Mapped(bool),
    /// Pinned memory. The map does not keep it alive.
    Pinned(std::sync::Weak<dyn Pinned>),
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
    /// Held so that nothing of this process lands where device pointers point.
    arena: Reservation,
    foreign: Foreign,
}

impl AddressMap {
    pub(crate) fn new(arena: Reservation) -> Self {
        Self { spans: RwLock::default(), arena, foreign: Foreign::default() }
    }

    /// Whether device memory may lie at `address`, be there some or not: no memory of this process does.
    pub(crate) fn is_in_arena(&self, address: u64) -> bool {
        address.wrapping_sub(self.arena.base()) < self.arena.len()
    }

    fn is_all_in_arena(&self, base: u64, bytes: u64) -> bool {
        let offset = base.wrapping_sub(self.arena.base());
        offset < self.arena.len() && bytes <= self.arena.len() - offset
    }

    /// Adds device memory that the host answered.
    ///
    /// # Errors
    /// [`HostFault::Address`] where it lies outside the arena or overlaps what is known.
    pub(crate) fn add_device(&self, base: u64, bytes: u64) -> Result<(), HostFault> {
        if !self.is_all_in_arena(base, bytes) {
            return Err(HostFault::Address { address: base, bytes });
        }
        self.add(Span { base, bytes, kind: Kind::Device })
    }

    /// Adds a variable of a module. A GPU's driver chooses its address; outside the arena its pages are held from now on.
    ///
    /// # Errors
    /// [`HostFault::AddressTaken`] where memory of this process lies there; [`HostFault::Address`] where none can lie, or
    /// it overlaps what is known.
    pub(crate) fn add_global(&self, base: u64, bytes: u64) -> Result<(), HostFault> {
        self.add(Span { base, bytes, kind: Kind::Global })?;
        if self.is_all_in_arena(base, bytes) {
            return Ok(());
        }
        self.foreign.hold(base, bytes).inspect_err(|_| self.remove(base))
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

    /// Says whether the mapping that begins at `base` may be accessed.
    pub(crate) fn open(&self, base: u64, open: bool) {
        if let Some(span) = self.spans.write().get_mut(&base) {
            span.kind = Kind::Mapped(open);
        }
    }

    /// Forgets the range that begins at `base`.
    pub(crate) fn remove(&self, base: u64) {
        let removed = self.spans.write().remove(&base);
        if removed.is_some_and(|span| matches!(span.kind, Kind::Global)) {
            self.foreign.release(base);
        }
    }

    /// Forgets the pinned range that begins at `base`, if what it was is gone.
    pub(crate) fn remove_dead(&self, base: u64) {
        let mut spans = self.spans.write();
        let is_dead = |span: &Span| matches!(&span.kind, Kind::Pinned(memory) if memory.strong_count() == 0);
        if spans.get(&base).is_some_and(is_dead) {
            spans.remove(&base);
        }
    }

    /// The range that holds `address`.
    pub(crate) fn find(&self, address: u64) -> Option<Span> {
        let spans = self.spans.read();
        let (_, span) = spans.range(..=address).next_back()?;
        (address - span.base < span.bytes).then(|| span.clone())
    }

    /// Whether any of the whole pages from `start` on, `bytes` bytes of them, has bytes of pinned memory.
    pub(crate) fn has_pinned(&self, start: u64, bytes: u64) -> bool {
        let end = start + bytes;
        let spans = self.spans.read();
        let mut inside = spans.range(..end).rev().take_while(|(_, span)| span.base + span.bytes > start);
        inside.any(|(_, span)| matches!(span.kind, Kind::Pinned(_)))
    }

    /// The pinned allocation that holds the `bytes` bytes at `address`, or `None` where device memory does. Mappings that
    /// follow one another without a gap are one array.
    ///
    /// # Errors
    /// [`Misuse::UnknownPointer`] where nothing holds them all.
    pub(crate) fn locate(&self, address: u64, bytes: u64) -> Result<Option<Arc<dyn Pinned>>, Misuse> {
        let spans = self.spans.read();
        let unknown = Misuse::UnknownPointer { address, bytes };
        let Some((_, span)) = spans.range(..=address).next_back() else { return Err(unknown) };
        let offset = address - span.base;
        if matches!(span.kind, Kind::Mapped(_)) {
            return if is_open(&spans, span, address, bytes) { Ok(None) } else { Err(unknown) };
        }
        if bytes > span.bytes || offset > span.bytes - bytes {
            return Err(unknown);
        }
        match &span.kind {
            Kind::Device | Kind::Global | Kind::Mapped(_) => Ok(None),
            Kind::Pinned(allocation) => allocation.upgrade().map(Some).ok_or(unknown),
        }
    }
}

/// Whether `bytes` bytes at `address` lie in `first` and the mappings right behind it, all of them open.
fn is_open(spans: &BTreeMap<u64, Span>, first: &Span, address: u64, bytes: u64) -> bool {
    let Some(end) = address.checked_add(bytes) else { return false };
    let mut span = first;
    let mut at = address;
    loop {
        let span_end = span.base + span.bytes;
        if at >= span_end || !matches!(span.kind, Kind::Mapped(true)) {
            return false;
        }
        if end <= span_end {
            return true;
        }
        at = span_end;
        match spans.get(&at) {
            Some(next) => span = next,
            None => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map() -> (AddressMap, u64) {
        // Any free range serves; its size does not matter here.
        let arena = Reservation::new_anywhere(1 << 30).unwrap();
        let base = arena.base();
        (AddressMap::new(arena), base)
    }

    #[test]
    fn ranges_are_found_by_any_address_in_them() {
        let (map, base) = map();
        map.add_device(base, 100).unwrap();
        map.add_device(base + 4096, 8).unwrap();
        assert!(map.locate(base + 99, 1).unwrap().is_none());
        assert_eq!(map.find(base + 50).unwrap().base, base);
        for (address, bytes) in [(base - 1, 1), (base + 99, 2), (base + 100, 0x10), (base + 4096, 9)] {
            assert_eq!(map.locate(address, bytes).unwrap_err(), Misuse::UnknownPointer { address, bytes });
        }
        map.remove(base);
        assert!(map.find(base).is_none() && map.is_in_arena(base));
    }

    #[test]
    fn what_a_broken_host_answers_is_refused() {
        let (map, base) = map();
        map.add_device(base + 100, 100).unwrap();
        let end = base + (1 << 30);
        for (address, bytes) in [
            (base + 50, 51),
            (base + 150, 10),
            (base, 300),
            (0, 8),
            (base - 4, 8),
            (end - 4, 8),
            (end, 8),
            (base, u64::MAX),
        ] {
            assert_eq!(map.add_device(address, bytes), Err(HostFault::Address { address, bytes }));
        }
    }

    #[derive(Debug, Default)]
    struct Nothing(crate::uses::Uses);

    impl Pinned for Nothing {
        fn uses(&self) -> &crate::uses::Uses {
            &self.0
        }
    }

    #[test]
    fn pinned_memory_is_known_by_its_pages_until_it_is_gone() {
        let (map, arena) = map();
        let base = 11 << 42;
        let memory: Arc<dyn Pinned> = Arc::new(Nothing::default());
        let kind = Kind::Pinned(Arc::downgrade(&memory));
        map.add(Span { base: base + 100, bytes: 5_000, kind }).unwrap();
        map.add_device(arena, 4096).unwrap();
        assert!(map.has_pinned(base, 4096) && map.has_pinned(base + 4096, 4096));
        assert!(!map.has_pinned(base + 8192, 4096) && !map.has_pinned(base - 4096, 4096));
        assert!(!map.has_pinned(arena, 4096), "device memory is none");
        assert!(map.locate(base + 100, 5_000).unwrap().is_some());
        map.remove_dead(base + 100);
        assert!(map.find(base + 100).is_some(), "it lives");
        drop(memory);
        assert!(map.locate(base + 100, 1).is_err());
        map.remove_dead(base + 100);
        map.remove_dead(arena);
        assert!(map.find(base + 100).is_none() && map.find(arena).is_some());
    }

    #[test]
    fn open_mappings_side_by_side_are_one_array() {
        let (map, base) = map();
        for at in [base, base + 100, base + 300] {
            map.add(Span { base: at, bytes: 100, kind: Kind::Mapped(false) }).unwrap();
        }
        map.add_device(base + 200, 100).unwrap();
        assert!(map.locate(base, 1).is_err());
        map.open(base, true);
        map.open(base + 100, true);
        assert!(map.locate(base, 200).unwrap().is_none() && map.locate(base + 99, 2).unwrap().is_none());
        assert!(map.locate(base + 199, 2).is_err(), "an allocation is no part of it");
        assert!(map.locate(base, u64::MAX).is_err());
        map.open(base + 100, false);
        assert!(map.locate(base + 99, 2).is_err() && map.locate(base + 99, 1).is_ok());
    }

    #[test]
    fn variables_outside_the_arena_are_held_while_they_are_known() {
        let (map, base) = map();
        let outside = 11 << 42;
        let is_free = || Reservation::new_at(outside, 1 << 16).is_ok();
        map.add_global(base, 16).unwrap();
        map.add_global(outside + 8, 8).unwrap();
        assert!(!is_free());
        assert!(map.add_global(outside + 8, 4).is_err(), "it overlaps");
        map.add_global(outside + 16, 8).unwrap();
        map.remove(outside + 8);
        assert!(!is_free(), "the other one lies in the same page");
        map.remove(outside + 16);
        map.remove(base);
        assert!(is_free());
    }
}
