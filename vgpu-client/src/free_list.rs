//! First fit over a range of bytes. Low offsets are used first, so that what is touched stays small.

use std::collections::BTreeMap;

/// Free stretches of a range, by offset. Never two that touch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FreeList {
    stretches: BTreeMap<u64, u64>,
    free_bytes: u64,
    bytes: u64,
}

/// Everything is handed out in multiples of this many bytes: CUDA's own alignment of allocations, and four cache
/// lines, so that two users never share one.
pub(crate) const UNIT_BYTES: u64 = 256;

impl FreeList {
    /// A range of `bytes` bytes, all free.
    pub(crate) fn new(bytes: u64) -> Self {
        let bytes = bytes - bytes % UNIT_BYTES;
        Self { stretches: BTreeMap::from([(0, bytes)]), free_bytes: bytes, bytes }
    }

    pub(crate) fn free_bytes(&self) -> u64 {
        self.free_bytes
    }

    /// Whether all is free.
    pub(crate) fn is_whole(&self) -> bool {
        self.free_bytes == self.bytes
    }

    /// Takes the lowest place for `bytes` bytes (more than 0), rounded up to whole units.
    pub(crate) fn take(&mut self, bytes: u64) -> Option<u64> {
        let bytes = bytes.checked_next_multiple_of(UNIT_BYTES)?;
        let (&offset, &length) = self.stretches.iter().find(|(_, length)| **length >= bytes)?;
        self.stretches.remove(&offset);
        if length > bytes {
            self.stretches.insert(offset + bytes, length - bytes);
        }
        self.free_bytes -= bytes;
        Some(offset)
    }

    /// Gives back what [`FreeList::take`] gave for as many bytes.
    pub(crate) fn give(&mut self, offset: u64, bytes: u64) {
        let bytes = bytes.next_multiple_of(UNIT_BYTES);
        self.free_bytes += bytes;
        let (mut start, mut end) = (offset, offset + bytes);
        if let Some((&before, &length)) = self.stretches.range(..offset).next_back()
            && before + length == offset
        {
            self.stretches.remove(&before);
            start = before;
        }
        if let Some(length) = self.stretches.remove(&end) {
            end += length;
        }
        self.stretches.insert(start, end - start);
        debug_assert!(self.free_bytes <= self.bytes, "more was given back than taken");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn low_offsets_are_used_first_and_neighbours_merge() {
        let mut list = FreeList::new(4 * UNIT_BYTES);
        assert_eq!(list.take(1), Some(0));
        assert_eq!(list.take(UNIT_BYTES + 1), Some(UNIT_BYTES));
        assert_eq!(list.take(UNIT_BYTES), Some(3 * UNIT_BYTES));
        assert_eq!(list.take(1), None);
        list.give(UNIT_BYTES, UNIT_BYTES + 1);
        list.give(0, 1);
        assert_eq!(list.take(3 * UNIT_BYTES), Some(0));
        list.give(0, 3 * UNIT_BYTES);
        list.give(3 * UNIT_BYTES, UNIT_BYTES);
        assert!(list.is_whole());
        assert_eq!(list, FreeList::new(4 * UNIT_BYTES));
    }

    #[test]
    fn what_cannot_fit_is_refused() {
        let mut list = FreeList::new(UNIT_BYTES);
        assert_eq!(list.take(u64::MAX), None);
        assert_eq!(list.take(UNIT_BYTES + 1), None);
        assert_eq!(list.free_bytes(), UNIT_BYTES);
    }
}
