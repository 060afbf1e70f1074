//! Reserved ranges of device addresses: where the next one lies.

use std::collections::BTreeMap;

use vgpu_proto::limits::MEMORY_UNIT_BYTES;

/// Reserved ranges of a part of the arena. Bounded by the protocol's limit.
#[derive(Debug)]
pub(super) struct Ranges {
    /// Bytes of each, by its address; they do not overlap.
    reserved: BTreeMap<u64, u64>,
    start: u64,
    end: u64,
}

impl Ranges {
    /// All from `start` to `end` is free; both are multiples of the unit where the arena is.
    pub(super) fn new(start: u64, end: u64) -> Self {
        Self { reserved: BTreeMap::new(), start, end }
    }

    pub(super) fn count(&self) -> usize {
        self.reserved.len()
    }

    /// Takes `bytes` bytes at a multiple of `align`: at `wish` if they are free there, otherwise at the lowest place.
    pub(super) fn take(&mut self, bytes: u64, align: u64, wish: u64) -> Option<u64> {
        let at = if wish.is_multiple_of(align) && self.is_free(wish, bytes) {
            wish
        } else {
            self.lowest(bytes, align)?
        };
        self.reserved.insert(at, bytes);
        Some(at)
    }

    fn is_free(&self, address: u64, bytes: u64) -> bool {
        let Some(end) = address.checked_add(bytes) else { return false };
        let before = self.reserved.range(..end).next_back();
        address >= self.start
            && end <= self.end
            && before.is_none_or(|(start, length)| start + length <= address)
    }

    fn lowest(&self, bytes: u64, align: u64) -> Option<u64> {
        let ends = self.reserved.iter().map(|(start, length)| start + length);
        std::iter::once(self.start)
            .chain(ends)
            .filter_map(|from| from.checked_next_multiple_of(align))
            .find(|from| self.is_free(*from, bytes))
    }

    /// Gives back the range of exactly `bytes` bytes at `address`, and tells whether there was one.
    pub(super) fn give(&mut self, address: u64, bytes: u64) -> bool {
        let found = self.holds(address, bytes);
        if found {
            self.reserved.remove(&address);
        }
        found
    }

    /// Whether exactly that range is reserved.
    pub(super) fn holds(&self, address: u64, bytes: u64) -> bool {
        self.reserved.get(&address) == Some(&bytes)
    }

    /// The range that holds `address`, and its bytes.
    pub(super) fn find(&self, address: u64) -> Option<(u64, u64)> {
        let (start, length) = self.reserved.range(..=address).next_back()?;
        (address - start < *length).then_some((*start, *length))
    }

    /// Whether all of `bytes` bytes at `address` lie in one range.
    pub(super) fn covers(&self, address: u64, bytes: u64) -> bool {
        self.find(address).is_some_and(|(start, length)| bytes <= length - (address - start))
    }
}

/// Whether a size or an address is in whole units.
pub(super) const fn is_whole(value: u64) -> bool {
    value.is_multiple_of(MEMORY_UNIT_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIT: u64 = MEMORY_UNIT_BYTES;
    const BASE: u64 = 1 << 45;

    #[test]
    fn ranges_lie_low_apart_and_where_they_are_wished() {
        let mut ranges = Ranges::new(BASE, BASE + 16 * UNIT);
        assert_eq!(ranges.take(2 * UNIT, UNIT, 0), Some(BASE));
        assert_eq!(ranges.take(UNIT, 4 * UNIT, 0), Some(BASE + 4 * UNIT));
        assert_eq!(ranges.take(2 * UNIT, UNIT, BASE + 9 * UNIT), Some(BASE + 9 * UNIT));
        assert_eq!(ranges.take(2 * UNIT, UNIT, BASE + 10 * UNIT), Some(BASE + 2 * UNIT), "the wish is taken");
        assert_eq!(ranges.take(UNIT, UNIT, BASE + 6 * UNIT + 1), Some(BASE + 5 * UNIT), "a crooked wish");
        assert_eq!(ranges.take(6 * UNIT, UNIT, 0), None);
        assert_eq!(ranges.take(u64::MAX - UNIT + 1, UNIT, BASE), None);
        assert!(ranges.covers(BASE + 9 * UNIT + 1, UNIT) && !ranges.covers(BASE + 9 * UNIT, 3 * UNIT));
        assert!(!ranges.covers(BASE + UNIT, 2 * UNIT), "two ranges are not one");
        assert!(!ranges.give(BASE, UNIT) && ranges.give(BASE, 2 * UNIT) && !ranges.give(BASE, 2 * UNIT));
        assert_eq!((ranges.take(UNIT, UNIT, 0), ranges.count()), (Some(BASE), 5));
    }
}
