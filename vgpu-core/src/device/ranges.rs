//! Free ranges of addresses, from which devices place memory.

use std::collections::BTreeMap;

/// Free ranges: start and length. Never two that touch.
#[derive(Debug)]
pub(super) struct FreeRanges {
    free: BTreeMap<u64, u64>,
}

impl FreeRanges {
    /// `bytes` bytes from `start` are free.
    pub(super) fn new(start: u64, bytes: u64) -> Self {
        Self { free: BTreeMap::from([(start, bytes)]) }
    }

    /// Takes `span` bytes at a multiple of `align`, from `from` upwards where there is room, otherwise at the lowest place.
    pub(super) fn take(&mut self, span: u64, align: u64, from: u64) -> Option<u64> {
        let around = self.free.range(..=from).next_back().map(|(start, bytes)| (*start, *bytes));
        let behind = self.free.range(from..).map(|(start, bytes)| (*start, *bytes));
        let before = self.free.range(..from).map(|(start, bytes)| (*start, *bytes));
        let from_there = around.into_iter().map(|block| (block, from));
        let (block, address) = from_there
            .chain(behind.map(|block| (block, block.0)))
            .chain(before.map(|block| (block, block.0)))
            .find_map(|((start, bytes), from)| {
                let address = from.max(start).checked_next_multiple_of(align)?;
                let end = address.checked_add(span)?;
                (end <= start + bytes).then_some(((start, bytes), address))
            })?;
        let (start, bytes) = block;
        self.free.remove(&start);
        if address > start {
            self.free.insert(start, address - start);
        }
        let (end, block_end) = (address + span, start + bytes);
        if block_end > end {
            self.free.insert(end, block_end - end);
        }
        Some(address)
    }

    /// Makes a range free and joins it with its neighbours.
    pub(super) fn give(&mut self, mut start: u64, mut bytes: u64) {
        if let Some((&before, &before_bytes)) = self.free.range(..start).next_back()
            && before + before_bytes == start
        {
            self.free.remove(&before);
            start = before;
            bytes += before_bytes;
        }
        if let Some(behind_bytes) = self.free.remove(&(start + bytes)) {
            bytes += behind_bytes;
        }
        self.free.insert(start, bytes);
    }

    /// Number of ranges, for tests that all came together again.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_search_begins_where_it_is_told_and_wraps() {
        let mut ranges = FreeRanges::new(1024, 1024);
        assert_eq!(ranges.take(256, 256, 1500), Some(1536));
        assert_eq!(ranges.take(256, 256, 1792), Some(1792));
        assert_eq!(ranges.take(512, 256, 1792), Some(1024));
        assert_eq!(ranges.take(1, 1, 0), None);
        ranges.give(1792, 256);
        ranges.give(1024, 512);
        assert_eq!(ranges.take(512, 512, 0), Some(1024));
        ranges.give(1024, 512);
        ranges.give(1536, 256);
        assert_eq!(ranges.count(), 1);
        assert_eq!(ranges.take(1025, 1, 0), None);
        assert_eq!(ranges.take(u64::MAX, 1, 0), None);
    }
}
