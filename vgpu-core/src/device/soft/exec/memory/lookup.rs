//! A worker's cache of regions, so that most accesses need no lock.

use std::sync::Arc;

use vgpu_window::Region;

use super::super::super::memory::AddressSpace;
use super::super::launch::WORKSPACE_ADDRESS;

/// Regions a kernel uses at a time: a few arrays. More only cost a lookup in the address space.
const ENTRIES: usize = 8;

/// The regions last used by one worker.
#[derive(Debug)]
pub(in super::super) struct Lookup {
    space: Arc<AddressSpace>,
    generation: u64,
    entries: [Option<Entry>; ENTRIES],
    next: usize,
    /// Memory of the grid barrier, which only this grid can reach.
    workspace: Option<Arc<Region>>,
}

/// A region and where it starts.
#[derive(Debug, Clone)]
pub(in super::super) struct Entry {
    pub(in super::super) start: u64,
    pub(in super::super) bytes: u64,
    pub(in super::super) region: Arc<Region>,
}

impl Lookup {
    pub(in super::super) fn new(space: Arc<AddressSpace>, workspace: Option<Arc<Region>>) -> Self {
        Self { space, generation: 0, entries: std::array::from_fn(|_| None), next: 0, workspace }
    }

    /// The region that `address` lies in.
    #[inline(always)]
    pub(in super::super) fn find(&mut self, address: u64) -> Option<&Entry> {
        let generation = self.space.generation();
        if generation != self.generation {
            self.generation = generation;
            self.entries = std::array::from_fn(|_| None);
        }
        let hit = self
            .entries
            .iter()
            .position(|entry| entry.as_ref().is_some_and(|e| address.wrapping_sub(e.start) < e.bytes));
        let index = match hit {
            Some(index) => index,
            None => self.fill(address)?,
        };
        self.entries[index].as_ref()
    }

    #[cold]
    fn fill(&mut self, address: u64) -> Option<usize> {
        let private = self.workspace.as_ref().filter(|_| address >= WORKSPACE_ADDRESS);
        let (start, region) = match private {
            Some(region) if address - WORKSPACE_ADDRESS < region.len() => {
                (WORKSPACE_ADDRESS, Arc::clone(region))
            }
            _ => self.space.covering(address)?,
        };
        let index = self.next;
        self.next = (self.next + 1) % ENTRIES;
        self.entries[index] = Some(Entry { start, bytes: region.len(), region });
        Some(index)
    }
}
