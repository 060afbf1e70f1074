//! Where device addresses lead: an interval map from address to region.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;
use vgpu_window::Region;

/// Alignment that every address given to a region must have, in bytes: no access that is aligned in the
/// address space may become misaligned in the region. CUDA promises the same for allocations.
pub const REGION_ALIGN_BYTES: u64 = 256;
/// First address that no region may reach: above lie the work spaces of grid barriers and the windows of shared,
/// local and parameter space.
pub const ADDRESS_END: u64 = 1 << 59;

/// The memory that kernels can reach by global addresses: device allocations and pinned host memory alike.
///
/// Shared by all kernels of a device. Kernels that run while a region is removed may go on using it: the
/// region lives until they drop it.
#[derive(Debug, Default)]
pub struct AddressSpace {
    regions: RwLock<BTreeMap<u64, Arc<Region>>>,
    /// Counts changes, so that a kernel's cache of regions knows when it is stale.
    generation: AtomicU64,
}

/// Why a region cannot be placed at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// The address is not a multiple of [`REGION_ALIGN_BYTES`], or the region's own memory is not 8-byte aligned.
    #[error("address {0:#x} is not aligned to {REGION_ALIGN_BYTES} bytes")]
    Misaligned(u64),
    /// The region is empty or would reach beyond [`ADDRESS_END`].
    #[error("{bytes} bytes at {address:#x} do not fit the address space")]
    OutOfRange {
        /// Where it was to lie.
        address: u64,
        /// Its size.
        bytes: u64,
    },
    /// Another region lies there.
    #[error("another region lies at {0:#x}")]
    Overlap(u64),
}

impl AddressSpace {
    /// An address space without regions.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes `region` reachable from `address` on.
    ///
    /// # Errors
    /// [`AddressError`] if the address is misaligned, out of range or taken; nothing changes then.
    pub fn insert(&self, address: u64, region: Arc<Region>) -> Result<(), AddressError> {
        if !address.is_multiple_of(REGION_ALIGN_BYTES) || !region.address().is_multiple_of(8) {
            return Err(AddressError::Misaligned(address));
        }
        let bytes = region.len();
        let end = address.checked_add(bytes).filter(|&end| bytes > 0 && end <= ADDRESS_END);
        let Some(end) = end else {
            return Err(AddressError::OutOfRange { address, bytes });
        };
        let mut regions = self.regions.write();
        if let Some((&other, found)) = regions.range(..end).next_back()
            && other + found.len() > address
        {
            return Err(AddressError::Overlap(other));
        }
        regions.insert(address, region);
        self.generation.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// Takes away the region that starts at `address`.
    pub fn remove(&self, address: u64) -> Option<Arc<Region>> {
        let removed = self.regions.write().remove(&address);
        self.generation.fetch_add(1, Ordering::Release);
        removed
    }

    /// The region that holds all of `bytes` bytes from `address` on, and the offset of `address` in it.
    pub fn find(&self, address: u64, bytes: u64) -> Option<(Arc<Region>, u64)> {
        let (start, region) = self.covering(address)?;
        let offset = address - start;
        (bytes <= region.len() - offset).then_some((region, offset))
    }

    /// The region that `address` lies in, the offset of `address` in it, and how many of `bytes` bytes from there it holds.
    pub fn find_part(&self, address: u64, bytes: u64) -> Option<(Arc<Region>, u64, u64)> {
        let (start, region) = self.covering(address)?;
        let offset = address - start;
        let part = bytes.min(region.len() - offset);
        Some((region, offset, part))
    }

    /// Whether regions without a gap hold all of `bytes` bytes, more than 0, from `address` on. Memory that a program maps
    /// piece by piece is one array to it.
    pub fn holds(&self, address: u64, bytes: u64) -> bool {
        let Some(end) = address.checked_add(bytes) else { return false };
        let regions = self.regions.read();
        let mut covered = end;
        for (&start, region) in regions.range(..end).rev() {
            if start + region.len() < covered {
                return false;
            }
            covered = start;
            if start <= address {
                return true;
            }
        }
        false
    }

    /// The region that `address` lies in, and its start.
    pub(crate) fn covering(&self, address: u64) -> Option<(u64, Arc<Region>)> {
        let regions = self.regions.read();
        let (&start, region) = regions.range(..=address).next_back()?;
        (address - start < region.len()).then(|| (start, Arc::clone(region)))
    }

    /// Number of changes so far.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::{ADDRESS_END, AddressError, AddressSpace};
    use std::sync::Arc;
    use vgpu_window::Region;

    #[test]
    fn finds_only_what_lies_inside_one_region() {
        let space = AddressSpace::new();
        let region = Arc::new(Region::anonymous(4096).unwrap());
        space.insert(0x10000, Arc::clone(&region)).unwrap();
        assert_eq!(space.find(0x10010, 16).unwrap().1, 0x10);
        assert!(space.find(0x10ff8, 16).is_none());
        assert!(space.find(0xffff, 1).is_none());
        assert!(space.find(0x11000, 1).is_none());
        assert_eq!(space.insert(0x10f00, Arc::clone(&region)), Err(AddressError::Overlap(0x10000)));
        assert_eq!(space.insert(0xff00, Arc::clone(&region)), Err(AddressError::Overlap(0x10000)));
        assert_eq!(space.insert(0x10, Arc::clone(&region)), Err(AddressError::Misaligned(0x10)));
        let beyond = space.insert(ADDRESS_END - 256, region);
        assert!(matches!(beyond, Err(AddressError::OutOfRange { .. })));
        space.insert(0x11000, Arc::new(Region::anonymous(256).unwrap())).unwrap();
        assert!(space.holds(0x10ff8, 16) && space.holds(0x10000, 0x1100) && !space.holds(0x10000, 0x1101));
        assert!(!space.holds(0xffff, 2) && !space.holds(0x20000, 1) && !space.holds(u64::MAX, 2));
        assert_eq!(space.find_part(0x10ff8, 16).unwrap().2, 8);
        assert!(space.remove(0x10000).is_some() && !space.holds(0x10ff8, 16));
        assert!(space.find(0x10000, 1).is_none());
    }
}
