//! Device addresses and the count of device memory.
//!
//! Addresses are given out in ascending order through the whole range before any is used again, and between two
//! allocations lies a gap. So a pointer past the end of an allocation, and one to memory that was freed, point to
//! nothing and fault, where on a real card they would often hit something.

use std::collections::BTreeMap;

use vgpu_proto::Status;

use super::faults::FaultPlan;
use crate::device::DeviceError;
use crate::device::ranges::FreeRanges;

/// Alignment of each allocation, in bytes, as `cuMemAlloc` promises.
pub(super) const ALIGN_BYTES: u64 = 256;

/// Bytes that belong to nothing behind each allocation. A row of a large matrix past its end still falls in it.
const GAP_BYTES: u64 = 64 << 10;

/// Allocations of a device. Each is a mapping of the process, of which Linux allows 65,530 by default.
pub(super) const ALLOCATIONS_MAX: usize = 32_768;

/// Who owns an allocation: a context, by its number.
pub(super) type Owner = u64;

/// The range of device addresses, and how much of the card's memory is taken.
#[derive(Debug)]
pub(super) struct Arena {
    base: u64,
    range_bytes: u64,
    free: FreeRanges,
    taken: BTreeMap<u64, Taken>,
    /// Where the search for room begins.
    next: u64,
    used_bytes: u64,
    memory_bytes: u64,
    /// Allocations and bytes so far, freed ones included, for faults on order.
    allocations: u64,
    allocated_bytes: u64,
    oom_after_allocations: u64,
    oom_after_bytes: u64,
}

#[derive(Clone, Copy, Debug)]
struct Taken {
    owner: Owner,
    /// Bytes counted against the card's memory.
    bytes: u64,
    /// Bytes of the address range, gap included.
    span: u64,
}

impl Arena {
    /// All of `range_bytes` from `base` is free, and `memory_bytes` may be taken at once.
    pub(super) fn new(base: u64, range_bytes: u64, memory_bytes: u64, faults: &FaultPlan) -> Self {
        let (free, start) = Self::all_free(base, range_bytes);
        Self {
            base,
            range_bytes,
            free,
            taken: BTreeMap::new(),
            next: start,
            used_bytes: 0,
            memory_bytes,
            allocations: 0,
            allocated_bytes: 0,
            oom_after_allocations: faults.oom_after_allocations.unwrap_or(u64::MAX),
            oom_after_bytes: faults.oom_after_bytes.unwrap_or(u64::MAX),
        }
    }

    fn all_free(base: u64, range_bytes: u64) -> (FreeRanges, u64) {
        // The first gap keeps a pointer below the first allocation from hitting what lies before the range.
        let start = base + GAP_BYTES;
        (FreeRanges::new(start, range_bytes - GAP_BYTES), start)
    }

    /// Moves the range of addresses to `base`; `false` if there are allocations and it lies elsewhere.
    pub(super) fn move_to(&mut self, base: u64) -> bool {
        if base != self.base && self.taken.is_empty() {
            self.base = base;
            (self.free, self.next) = Self::all_free(base, self.range_bytes);
        }
        base == self.base
    }

    /// What an allocation of `bytes` bytes is counted as.
    pub(super) const fn cost(bytes: u64) -> Option<u64> {
        bytes.checked_next_multiple_of(ALIGN_BYTES)
    }

    /// Bytes of the owner's allocation that begins at `address`.
    pub(super) fn bytes_of(&self, owner: Owner, address: u64) -> Option<u64> {
        self.taken.get(&address).filter(|taken| taken.owner == owner).map(|taken| taken.bytes)
    }

    /// Takes `bytes` at a multiple of `align`, which is a power of two.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`, with the cause.
    pub(super) fn alloc(&mut self, owner: Owner, bytes: u64, align: u64) -> Result<u64, DeviceError> {
        let align = align.max(ALIGN_BYTES);
        let charged = Self::cost(bytes).ok_or_else(|| self.full(bytes))?;
        if self.allocations >= self.oom_after_allocations
            || self.allocated_bytes.saturating_add(charged) > self.oom_after_bytes
        {
            return Err(out_of_memory("out of memory on order of the fault plan"));
        }
        if self.taken.len() >= ALLOCATIONS_MAX {
            return Err(out_of_memory(format!(
                "{ALLOCATIONS_MAX} allocations are the most of a software GPU: allocate in larger pieces"
            )));
        }
        if charged > self.memory_bytes - self.used_bytes {
            return Err(self.full(bytes));
        }
        let span = charged + GAP_BYTES;
        let address = self.free.take(span, align, self.next).ok_or_else(|| self.full(bytes))?;
        self.next = address + span;
        self.taken.insert(address, Taken { owner, bytes: charged, span });
        self.used_bytes += charged;
        self.allocations += 1;
        self.allocated_bytes = self.allocated_bytes.saturating_add(charged);
        Ok(address)
    }

    /// Gives an allocation of that owner back and tells whether there was one.
    pub(super) fn release(&mut self, owner: Owner, address: u64) -> bool {
        let Some(taken) = self.taken.get(&address).copied().filter(|taken| taken.owner == owner) else {
            return false;
        };
        self.taken.remove(&address);
        self.used_bytes -= taken.bytes;
        self.free.give(address, taken.span);
        true
    }

    /// Addresses of all that the owner has.
    pub(super) fn owned(&self, owner: Owner) -> Vec<u64> {
        self.taken.iter().filter(|(_, taken)| taken.owner == owner).map(|(address, _)| *address).collect()
    }

    /// Counts memory that has no address, such as code.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`.
    pub(super) fn charge(&mut self, bytes: u64) -> Result<(), DeviceError> {
        if bytes > self.memory_bytes - self.used_bytes {
            return Err(self.full(bytes));
        }
        self.used_bytes += bytes;
        Ok(())
    }

    /// Takes a [`Arena::charge`] back.
    pub(super) const fn discharge(&mut self, bytes: u64) {
        self.used_bytes -= bytes;
    }

    fn full(&self, bytes: u64) -> DeviceError {
        out_of_memory(format!(
            "out of memory: {bytes} bytes asked, {} of {} free",
            self.memory_bytes - self.used_bytes,
            self.memory_bytes
        ))
    }
}

fn out_of_memory(text: impl Into<String>) -> DeviceError {
    DeviceError::new(Status::ERROR_OUT_OF_MEMORY, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: u64 = 1 << 40;
    const RANGE: u64 = 1 << 24;
    const MEMORY: u64 = 1 << 22;

    fn arena() -> Arena {
        Arena::new(BASE, RANGE, MEMORY, &FaultPlan::default())
    }

    #[test]
    fn allocations_are_aligned_and_apart() {
        let mut arena = arena();
        let first = arena.alloc(1, 1, 1).expect("room");
        let second = arena.alloc(1, 1000, 4096).expect("room");
        assert_eq!((first % ALIGN_BYTES, second % 4096), (0, 0));
        assert!(first >= BASE + GAP_BYTES);
        assert!(second >= first + ALIGN_BYTES + GAP_BYTES);
    }

    #[test]
    fn a_freed_address_rests_until_the_range_is_used_up() {
        let mut arena = arena();
        let first = arena.alloc(1, 256, 1).expect("room");
        assert!(arena.release(1, first));
        let mut seen = 0;
        while arena.alloc(1, 256, 1).is_ok_and(|address| address != first && arena.release(1, address)) {
            seen += 1;
        }
        assert_eq!(seen, (RANGE - GAP_BYTES) / (GAP_BYTES + 256) - 1);
    }

    #[test]
    fn all_memory_comes_back() {
        let mut arena = arena();
        for _ in 0..200 {
            let half = arena.alloc(1, MEMORY / 2, 1).expect("room");
            let other = arena.alloc(2, MEMORY / 2, 1).expect("room");
            assert_eq!(arena.alloc(1, 1, 1).expect_err("full").status, Status::ERROR_OUT_OF_MEMORY);
            assert!(!arena.release(2, half), "not the owner");
            assert!(arena.release(1, half) && arena.release(2, other));
            assert!(!arena.release(1, half), "freed twice");
        }
        assert_eq!(arena.free.count(), 1);
        assert_eq!(arena.used_bytes, 0);
    }

    #[test]
    fn memory_runs_out_on_order() {
        let faults = FaultPlan { oom_after_allocations: Some(2), ..FaultPlan::default() };
        let mut arena = Arena::new(BASE, RANGE, MEMORY, &faults);
        assert!(arena.alloc(1, 1, 1).is_ok());
        assert!(arena.alloc(1, 1, 1).is_ok_and(|address| arena.release(1, address)));
        assert!(arena.alloc(1, 1, 1).is_err());

        let faults = FaultPlan { oom_after_bytes: Some(512), ..FaultPlan::default() };
        let mut arena = Arena::new(BASE, RANGE, MEMORY, &faults);
        assert!(arena.alloc(1, 512, 1).is_ok_and(|address| arena.release(1, address)));
        assert!(arena.alloc(1, 1, 1).is_err());
    }

    #[test]
    fn sizes_that_overflow_are_out_of_memory() {
        let mut arena = arena();
        for bytes in [u64::MAX, u64::MAX - 255, 1 << 63, MEMORY + 1] {
            assert_eq!(arena.alloc(1, bytes, 1).expect_err("full").status, Status::ERROR_OUT_OF_MEMORY);
        }
    }
}
