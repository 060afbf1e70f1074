//! Where a context's allocations lie: pure bookkeeping over chunks of GPU memory that somebody else brings.
//!
//! GPU memory comes from the driver in chunks of 2 MiB. A large allocation has chunks of its own; small ones share a chunk,
//! as `cuMemAlloc` does it natively, so that a thousand small arrays do not take two gigabytes. A chunk that no allocation
//! uses goes back, except for one spare, so that a program that allocates and frees one array does not pay for a chunk
//! each time.

use std::collections::{BTreeMap, HashMap};

use crate::device::DeviceError;
use crate::device::ranges::FreeRanges;

/// What GPU memory is mapped in, in bytes: the driver's granularity on every GPU since Pascal
/// (`cuMemGetAllocationGranularity`).
pub(super) const CHUNK_BYTES: u64 = 2 << 20;

/// Allocations of so many bytes have chunks of their own: two of them would fill a shared one.
const LARGE_BYTES: u64 = 1 << 20;

/// Alignment of small allocations, in bytes: what `cuMemAlloc` gives natively.
const ALIGN_BYTES: u64 = 512;

/// Where chunks come from.
pub(super) trait Chunks {
    /// Brings `bytes` bytes of memory, a multiple of [`CHUNK_BYTES`].
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`, or what else the driver answers.
    fn take(&self, bytes: u64) -> Result<Chunk, DeviceError>;
}

/// Memory that comes and goes as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "memory that nobody uses must be given back"]
pub(super) struct Chunk {
    pub(super) address: u64,
    pub(super) bytes: u64,
}

/// The allocations of a context.
#[derive(Debug, Default)]
pub(super) struct Placement {
    allocations: HashMap<u64, Allocation>,
    /// Chunks that small allocations share, by address: the lowest are used first, so that the others fall empty.
    shared: BTreeMap<u64, Shared>,
    /// The shared chunk that nobody uses, if there is one.
    spare: Option<u64>,
    taken_bytes: u64,
}

#[derive(Clone, Copy, Debug)]
struct Allocation {
    bytes: u64,
    /// The shared chunk that it lies in.
    chunk: Option<u64>,
}

#[derive(Debug)]
struct Shared {
    free: FreeRanges,
    allocations: u64,
}

impl Placement {
    /// Most bytes of chunks that an allocation of `bytes` bytes takes; `None` where no memory is so large.
    pub(super) const fn cost(bytes: u64) -> Option<u64> {
        bytes.checked_next_multiple_of(CHUNK_BYTES)
    }

    /// Bytes of all chunks that are held now.
    pub(super) const fn taken_bytes(&self) -> u64 {
        self.taken_bytes
    }

    /// Places an allocation of `bytes` bytes, more than 0.
    ///
    /// # Errors
    /// What [`Chunks::take`] answers.
    pub(super) fn alloc(&mut self, bytes: u64, chunks: &impl Chunks) -> Result<u64, DeviceError> {
        if bytes < LARGE_BYTES {
            return self.alloc_small(bytes.next_multiple_of(ALIGN_BYTES), chunks);
        }
        let whole = Self::cost(bytes).unwrap_or(u64::MAX - u64::MAX % CHUNK_BYTES);
        let Chunk { address, bytes } = chunks.take(whole)?;
        self.taken_bytes += bytes;
        self.allocations.insert(address, Allocation { bytes, chunk: None });
        Ok(address)
    }

    fn alloc_small(&mut self, bytes: u64, chunks: &impl Chunks) -> Result<u64, DeviceError> {
        let found = self.shared.iter_mut().find_map(|(chunk, shared)| {
            let address = shared.free.take(bytes, ALIGN_BYTES, *chunk)?;
            shared.allocations += 1;
            Some((*chunk, address))
        });
        let (chunk, address) = match found {
            Some(found) => found,
            None => {
                let Chunk { address: chunk, .. } = chunks.take(CHUNK_BYTES)?;
                self.taken_bytes += CHUNK_BYTES;
                let mut free = FreeRanges::new(chunk, CHUNK_BYTES);
                let address = free.take(bytes, ALIGN_BYTES, chunk);
                let address = address.expect("a small allocation fits into an empty chunk");
                self.shared.insert(chunk, Shared { free, allocations: 1 });
                (chunk, address)
            }
        };
        if self.spare == Some(chunk) {
            self.spare = None;
        }
        self.allocations.insert(address, Allocation { bytes, chunk: Some(chunk) });
        Ok(address)
    }

    /// Whether an allocation begins there.
    pub(super) fn contains(&self, address: u64) -> bool {
        self.allocations.contains_key(&address)
    }

    /// Frees the allocation that begins at `address`, if there is one. Tells what nobody uses any more.
    pub(super) fn free(&mut self, address: u64) -> Option<Chunk> {
        let Allocation { bytes, chunk } = self.allocations.remove(&address)?;
        let Some(chunk) = chunk else {
            self.taken_bytes -= bytes;
            return Some(Chunk { address, bytes });
        };
        let shared = self.shared.get_mut(&chunk).expect("a shared chunk stays while it is used");
        shared.free.give(address, bytes);
        shared.allocations -= 1;
        if shared.allocations > 0 {
            return None;
        }
        let earlier = self.spare.replace(chunk)?;
        self.shared.remove(&earlier);
        self.taken_bytes -= CHUNK_BYTES;
        Some(Chunk { address: earlier, bytes: CHUNK_BYTES })
    }

    /// Frees everything. Tells what there was.
    pub(super) fn free_all(&mut self) -> Vec<Chunk> {
        let earlier = std::mem::take(self);
        let large = earlier.allocations.into_iter().filter(|(_, allocation)| allocation.chunk.is_none());
        let large = large.map(|(address, allocation)| Chunk { address, bytes: allocation.bytes });
        let shared = earlier.shared.into_keys().map(|address| Chunk { address, bytes: CHUNK_BYTES });
        large.chain(shared).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeMap;

    use vgpu_proto::Status;

    use super::*;

    const BASE: u64 = 1 << 40;

    /// A GPU of a few chunks.
    #[derive(Debug)]
    struct Few {
        free: RefCell<FreeRanges>,
        held: RefCell<BTreeMap<u64, u64>>,
    }

    impl Few {
        fn new(chunks: u64) -> Self {
            let free = RefCell::new(FreeRanges::new(BASE, chunks * CHUNK_BYTES));
            Self { free, held: RefCell::default() }
        }

        fn held_bytes(&self) -> u64 {
            self.held.borrow().values().sum()
        }

        fn give(&self, chunk: Chunk) {
            let Chunk { address, bytes } = chunk;
            assert_eq!(self.held.borrow_mut().remove(&address), Some(bytes), "given as it was taken");
            self.free.borrow_mut().give(address, bytes);
        }

        /// Frees as a context does.
        fn free(&self, placement: &mut Placement, address: u64) {
            assert!(placement.contains(address));
            if let Some(chunk) = placement.free(address) {
                self.give(chunk);
            }
            assert!(!placement.contains(address) && placement.free(address).is_none());
        }

        fn free_all(&self, placement: &mut Placement) {
            placement.free_all().into_iter().for_each(|chunk| self.give(chunk));
        }
    }

    impl Chunks for Few {
        fn take(&self, bytes: u64) -> Result<Chunk, DeviceError> {
            assert_eq!(bytes % CHUNK_BYTES, 0);
            let address = self.free.borrow_mut().take(bytes, CHUNK_BYTES, BASE);
            let address = address.ok_or_else(|| DeviceError::new(Status::ERROR_OUT_OF_MEMORY, "full"))?;
            self.held.borrow_mut().insert(address, bytes);
            Ok(Chunk { address, bytes })
        }
    }

    #[test]
    fn small_allocations_share_a_chunk_and_large_ones_do_not() {
        let (few, mut placement) = (Few::new(8), Placement::default());
        let first = placement.alloc(1, &few).unwrap();
        let second = placement.alloc(513, &few).unwrap();
        let third = placement.alloc(LARGE_BYTES - 1, &few).unwrap();
        assert_eq!((second - first, third - second), (512, 1024));
        assert_eq!(few.held_bytes(), CHUNK_BYTES);
        let large = placement.alloc(LARGE_BYTES, &few).unwrap();
        let larger = placement.alloc(CHUNK_BYTES + 1, &few).unwrap();
        assert_eq!((large % CHUNK_BYTES, larger % CHUNK_BYTES), (0, 0));
        assert_eq!((few.held_bytes(), placement.taken_bytes()), (4 * CHUNK_BYTES, 4 * CHUNK_BYTES));
        few.free(&mut placement, larger);
        assert!(!placement.contains(large + 1));
        assert_eq!(placement.taken_bytes(), 2 * CHUNK_BYTES);
        few.free_all(&mut placement);
        assert_eq!((few.held_bytes(), placement.taken_bytes()), (0, 0));
    }

    #[test]
    fn one_empty_chunk_is_kept() {
        let (few, mut placement) = (Few::new(8), Placement::default());
        let half = LARGE_BYTES - 1;
        let all: Vec<u64> = (0..6).map(|_| placement.alloc(half, &few).unwrap()).collect();
        assert_eq!(few.held_bytes(), 3 * CHUNK_BYTES);
        for address in &all {
            few.free(&mut placement, *address);
        }
        assert_eq!((few.held_bytes(), placement.taken_bytes()), (CHUNK_BYTES, CHUNK_BYTES));
        let again = placement.alloc(half, &few).unwrap();
        assert_eq!((few.held_bytes(), all.contains(&again)), (CHUNK_BYTES, true), "the spare is used first");
    }

    #[test]
    fn what_does_not_fit_leaves_no_trace() {
        let (few, mut placement) = (Few::new(2), Placement::default());
        for bytes in [3 * CHUNK_BYTES, u64::MAX, u64::MAX - 1] {
            assert_eq!(placement.alloc(bytes, &few).unwrap_err().status, Status::ERROR_OUT_OF_MEMORY);
        }
        let held = placement.alloc(2 * CHUNK_BYTES, &few).unwrap();
        assert!(placement.alloc(1, &few).is_err());
        assert_eq!(placement.taken_bytes(), 2 * CHUNK_BYTES);
        few.free(&mut placement, held);
        assert!(placement.alloc(1, &few).is_ok());
    }

    /// Whatever is allocated and freed: no two overlap, and what is taken is what is held.
    #[test]
    fn allocations_never_overlap() {
        let (few, mut placement) = (Few::new(64), Placement::default());
        let mut live: BTreeMap<u64, u64> = BTreeMap::new();
        let mut state = 1_u64;
        for _ in 0..4_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (choice, bytes) = (state >> 62, (state >> 20) % (3 << ((state >> 50) % 21)) + 1);
            if choice == 0 {
                if let Some(address) = live.keys().nth((state >> 33) as usize % live.len().max(1)).copied() {
                    live.remove(&address);
                    few.free(&mut placement, address);
                }
            } else if let Ok(address) = placement.alloc(bytes, &few) {
                assert_eq!(address % ALIGN_BYTES, 0);
                let before = live.range(..address + bytes).next_back();
                assert!(before.is_none_or(|(start, length)| start + length <= address));
                live.insert(address, bytes);
            }
            assert_eq!(few.held_bytes(), placement.taken_bytes());
        }
        few.free_all(&mut placement);
        assert_eq!(few.free.borrow().count(), 1);
    }
}
