//! Regions of the session that the GPU reaches.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use vgpu_proto::Status;
use vgpu_proto::limits::REGIONS_MAX;
use vgpu_window::Region;

use super::driver::{Handle, Registration};
use crate::device::DeviceError;

/// Regions by their addresses. Registered in the device's first context, which lives as long as the device, for all.
#[derive(Debug)]
pub(super) struct Pinned {
    handle: Arc<Handle>,
    regions: Mutex<HashMap<u64, Entry>>,
}

#[derive(Debug)]
struct Entry {
    /// Kept for its end, which unregisters.
    _registration: Registration,
    /// Added by the session at an address that guests use, not on first use.
    added: bool,
}

impl Pinned {
    pub(super) fn new(handle: &Arc<Handle>) -> Self {
        Self { handle: Arc::clone(handle), regions: Mutex::default() }
    }

    /// Adds a region of the pinned heap. May block.
    pub(super) fn add(&self, region: &Arc<Region>) -> Result<(), DeviceError> {
        self.insert(region, true)
    }

    /// Takes it back; `false` if none was added there. May block.
    pub(super) fn remove(&self, address: u64) -> bool {
        let mut regions = self.regions.lock();
        let removed = if regions.get(&address).is_some_and(|entry| entry.added) {
            regions.remove(&address)
        } else {
            None
        };
        drop(regions);
        removed.is_some()
    }

    /// Where the GPU finds a region. Registers it on first use and keeps it: a session uses two regions so, its control
    /// and its staging region. That first use may take some milliseconds.
    pub(super) fn find(&self, region: &Arc<Region>) -> Result<u64, DeviceError> {
        let address = region.address();
        if !self.regions.lock().contains_key(&address) {
            self.insert(region, false)?;
        }
        Ok(address)
    }

    fn insert(&self, region: &Arc<Region>, added: bool) -> Result<(), DeviceError> {
        let mut regions = self.regions.lock();
        if regions.len() >= REGIONS_MAX as usize {
            let text = format!("{REGIONS_MAX} regions are registered with the GPU; remove some");
            return Err(DeviceError::new(Status::ERROR_OUT_OF_MEMORY, text));
        }
        if let Some(entry) = regions.get(&region.address()) {
            // Two threads may use a region first; the session adds one only once.
            return if added || entry.added { Err(taken(region)) } else { Ok(()) };
        }
        let registration = Registration::new(&self.handle, region)?;
        regions.insert(region.address(), Entry { _registration: registration, added });
        Ok(())
    }
}

fn taken(region: &Region) -> DeviceError {
    let text = format!("a region is registered at {:#x} already", region.address());
    DeviceError::new(Status::ERROR_INVALID_VALUE, text)
}
