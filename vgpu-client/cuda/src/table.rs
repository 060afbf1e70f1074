//! Handles: numbers that name objects.
//!
//! A handle is never used again, so one that was freed is found out, and none can be mistaken for an address: they lie
//! below all that Linux maps by itself, and say which kind of object they name.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

/// What a handle names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum Kind {
    Context = 1,
    Stream,
    Event,
    Module,
    Function,
    Library,
    Kernel,
    Pool,
    Linker,
    Graph,
    GraphNode,
    GraphExec,
    UserObject,
}

/// Bits of a handle below its kind. 2^36 objects of a kind, 16 apart, are more than a process makes.
const KIND_SHIFT: u32 = 40;

/// Whether a handle is of a kind. Says nothing of whether the object is there.
pub(crate) fn is_kind(handle: u64, kind: Kind) -> bool {
    handle >> KIND_SHIFT == kind as u64
}

/// Objects of one kind. Bounded by the session's limits, which each object counts towards.
#[derive(Debug)]
pub(crate) struct Table<T> {
    kind: Kind,
    next: AtomicU64,
    entries: RwLock<HashMap<u64, Arc<T>>>,
}

impl<T> Table<T> {
    pub(crate) fn new(kind: Kind) -> Self {
        Self { kind, next: AtomicU64::new(1), entries: RwLock::default() }
    }

    /// A handle for an object that is about to be made.
    pub(crate) fn mint(&self) -> u64 {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        (self.kind as u64) << KIND_SHIFT | number << 4
    }

    pub(crate) fn insert(&self, handle: u64, entry: Arc<T>) {
        self.entries.write().insert(handle, entry);
    }

    pub(crate) fn get(&self, handle: u64) -> Option<Arc<T>> {
        self.entries.read().get(&handle).cloned()
    }

    pub(crate) fn remove(&self, handle: u64) -> Option<Arc<T>> {
        self.entries.write().remove(&handle)
    }

    /// All of them.
    pub(crate) fn all(&self) -> Vec<Arc<T>> {
        self.entries.read().values().cloned().collect()
    }

    /// Takes out what `choose` chooses. The caller drops it, without the table's lock.
    pub(crate) fn take(&self, choose: impl Fn(&T) -> bool) -> Vec<Arc<T>> {
        self.entries.write().extract_if(|_, entry| choose(entry)).map(|(_, entry)| entry).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_tells_its_kind_and_is_not_used_again() {
        let table = Table::new(Kind::Event);
        let first = table.mint();
        table.insert(first, Arc::new(1));
        assert!(is_kind(first, Kind::Event) && !is_kind(first, Kind::Stream));
        assert_eq!(table.remove(first).as_deref(), Some(&1));
        assert_eq!(table.get(first), None);
        assert_ne!(table.mint(), first);
    }
}
