//! What a program advised about its managed memory.
//!
//! Managed memory stays where both sides reach it, so advice moves nothing; it is kept because programs ask for it again
//! (`cuMemRangeGetAttribute`).

use std::collections::BTreeMap;

use parking_lot::Mutex;

/// Advice holds for whole pages, of this many bytes.
const PAGE_BYTES: u64 = 4_096;

/// `CU_MEM_LOCATION_TYPE_DEVICE`, `HOST`, `HOST_NUMA` and `HOST_NUMA_CURRENT`.
const DEVICE: u32 = 1;
const HOST: u32 = 2;
const HOST_NUMA: u32 = 3;
const HOST_NUMA_CURRENT: u32 = 4;

/// `CU_DEVICE_CPU` and `CU_DEVICE_INVALID`.
const NUMBER_CPU: i32 = -1;
pub(crate) const NUMBER_NONE: i32 = -2;

/// A place for managed memory: the one device, the host, or one of its nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Location {
    Device,
    Host,
    Node(i32),
}

impl Location {
    /// From a device number, -1 for the host.
    pub(crate) fn from_number(number: i32) -> Option<Self> {
        match number {
            0 => Some(Self::Device),
            NUMBER_CPU => Some(Self::Host),
            _ => None,
        }
    }

    /// From a `CUmemLocation`, which C passes as one word: its type below, its number above.
    pub(crate) fn from_word(word: u64) -> Option<Self> {
        let (kind, number) = (word as u32, (word >> 32) as u32);
        match (kind, number) {
            (DEVICE, 0) => Some(Self::Device),
            (HOST, _) => Some(Self::Host),
            // Nodes are the host's own affair: any may be named.
            (HOST_NUMA, number) if number.cast_signed() >= 0 => Some(Self::Node(number.cast_signed())),
            (HOST_NUMA_CURRENT, _) => Some(Self::Host),
            _ => None,
        }
    }

    /// The device number, -1 for the host.
    pub(crate) fn number(self) -> i32 {
        match self {
            Self::Device => 0,
            Self::Host | Self::Node(_) => NUMBER_CPU,
        }
    }

    /// Type and number of a `CUmemLocation`.
    pub(crate) fn parts(self) -> (u32, i32) {
        match self {
            Self::Device => (DEVICE, 0),
            Self::Host => (HOST, 0),
            Self::Node(node) => (HOST_NUMA, node),
        }
    }
}

/// Advice for some pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Advice {
    pub(crate) read_mostly: bool,
    pub(crate) preferred: Option<Location>,
    pub(crate) accessed_by_device: bool,
    pub(crate) accessed_by_host: bool,
    pub(crate) prefetched: Option<Location>,
}

/// The advice for an allocation. Bounded by its pages.
#[derive(Debug, Default)]
pub(crate) struct Advised {
    /// Advice from an address on, up to the next; none before the first.
    runs: Mutex<BTreeMap<u64, Advice>>,
}

impl Advised {
    /// Changes the advice for the pages of `bytes` bytes at `address`.
    pub(crate) fn change(&self, address: u64, bytes: u64, change: impl Fn(&mut Advice)) {
        let start = address - address % PAGE_BYTES;
        let end = (address + bytes).next_multiple_of(PAGE_BYTES);
        let mut runs = self.runs.lock();
        for edge in [start, end] {
            let before = runs.range(..=edge).next_back().map(|(_, advice)| *advice);
            runs.insert(edge, before.unwrap_or_default());
        }
        for (_, advice) in runs.range_mut(start..end) {
            change(advice);
        }
        // Runs that say the same as the one before are none of their own.
        let mut last = Advice::default();
        runs.retain(|_, advice| {
            let differs = *advice != last;
            last = *advice;
            differs
        });
    }

    /// What `look` sees in all pages of `bytes` bytes at `address`; `None` where it differs.
    pub(crate) fn common<T: PartialEq>(
        &self,
        address: u64,
        bytes: u64,
        look: impl Fn(&Advice) -> T,
    ) -> Option<T> {
        let runs = self.runs.lock();
        let first = runs.range(..=address).next_back().map(|(_, advice)| *advice).unwrap_or_default();
        let first = look(&first);
        let same = runs.range(address..address + bytes).all(|(_, advice)| look(advice) == first);
        same.then_some(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_holds_for_its_pages() {
        let advised = Advised::default();
        let preferred = |address, bytes| advised.common(address, bytes, |advice| advice.preferred);
        assert_eq!(preferred(0x10000, 1), Some(None));
        advised.change(0x11004, 0x1000, |advice| advice.preferred = Some(Location::Device));
        assert_eq!(preferred(0x10000, 0x1000), Some(None));
        assert_eq!(preferred(0x11000, 0x2000), Some(Some(Location::Device)));
        assert_eq!(preferred(0x10fff, 2), None);
        assert_eq!(preferred(0x12fff, 2), None);
        advised.change(0x12000, 1, |advice| advice.preferred = Some(Location::Host));
        assert_eq!(preferred(0x11000, 0x2000), None);
        assert_eq!(preferred(0x12000, 0x1000), Some(Some(Location::Host)));
        advised.change(0x10000, 0x10000, |advice| advice.preferred = None);
        assert_eq!(preferred(0, 0x100000), Some(None));
        assert!(advised.runs.lock().is_empty());
    }

    #[test]
    fn places_are_the_device_and_the_host() {
        assert_eq!(Location::from_number(1), None);
        assert_eq!(Location::from_word(1 << 32 | 1), None);
        assert_eq!(Location::from_word(1), Some(Location::Device));
        assert_eq!(Location::from_word(7 << 32 | 3).map(Location::parts), Some((3, 7)));
        assert_eq!(Location::from_word(0), None);
    }
}
