//! Memory that is mapped apart from where it is taken: a region of host memory, reachable at an address only while it is
//! mapped there with access. Anything else at the address is an illegal one, as everywhere on this device.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use vgpu_proto::Status;
use vgpu_window::Region;

use super::arena::ALLOCATIONS_MAX;
use super::card::Card;
use super::device::SoftDevice;
use crate::device::{DeviceError, MemoryAccess, MemoryKey, VirtualMemory};

/// The pieces of a card, and where they lie.
#[derive(Debug, Default)]
pub(super) struct Pieces(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    memories: HashMap<MemoryKey, Arc<Region>>,
    mappings: BTreeMap<u64, Mapping>,
    last: u64,
}

#[derive(Debug)]
struct Mapping {
    region: Arc<Region>,
    reachable: bool,
}

impl VirtualMemory for SoftDevice {
    /// Addresses cost nothing here: the session keeps the ranges apart, and memory is looked up where it is mapped.
    fn address_reserve(&self, _address: u64, _bytes: u64) -> Result<(), DeviceError> {
        Ok(())
    }

    fn address_free(&self, _address: u64) -> Result<(), DeviceError> {
        Ok(())
    }

    fn memory_create(&self, bytes: u64) -> Result<MemoryKey, DeviceError> {
        let card = self.card();
        let mut state = card.pieces().0.lock();
        if state.memories.len() >= ALLOCATIONS_MAX {
            let text = format!("{ALLOCATIONS_MAX} pieces are the most of a software GPU: take larger ones");
            return Err(DeviceError::new(Status::ERROR_OUT_OF_MEMORY, text));
        }
        card.charge(bytes)?;
        let region = Region::anonymous(bytes).map_err(|error| {
            card.discharge(bytes);
            let text = format!("the host has no memory for the software GPU: {error}");
            DeviceError::new(Status::ERROR_OUT_OF_MEMORY, text)
        })?;
        state.last += 1;
        let key = MemoryKey(state.last);
        state.memories.insert(key, Arc::new(region));
        Ok(key)
    }

    fn memory_release(&self, memory: MemoryKey) {
        let card = self.card();
        if let Some(region) = card.pieces().0.lock().memories.remove(&memory) {
            card.discharge(region.len());
        }
    }

    fn memory_map(&self, address: u64, memory: MemoryKey) -> Result<(), DeviceError> {
        let mut state = self.card().pieces().0.lock();
        let region = state.memories.get(&memory).cloned().ok_or_else(|| invalid("no such memory"))?;
        state.mappings.insert(address, Mapping { region, reachable: false });
        Ok(())
    }

    fn memory_unmap(&self, address: u64, bytes: u64) -> Result<(), DeviceError> {
        let card = self.card();
        let mut state = card.pieces().0.lock();
        for (start, mapping) in state.mappings.extract_if(address..address + bytes, |_, _| true) {
            if mapping.reachable {
                card.memory().remove(start);
            }
        }
        Ok(())
    }

    /// This device cannot forbid writing alone.
    fn memory_set_access(&self, address: u64, bytes: u64, access: MemoryAccess) -> Result<(), DeviceError> {
        let reach = match access {
            MemoryAccess::None => false,
            MemoryAccess::ReadWrite => true,
            MemoryAccess::Read => {
                let text = "the software GPU has no memory that is only read";
                return Err(DeviceError::new(Status::ERROR_NOT_SUPPORTED, text));
            }
        };
        let card = self.card();
        let mut state = card.pieces().0.lock();
        for (start, mapping) in state.mappings.range_mut(address..address + bytes) {
            mapping.set_reachable(card, *start, reach)?;
        }
        Ok(())
    }
}

impl Mapping {
    fn set_reachable(&mut self, card: &Card, address: u64, reach: bool) -> Result<(), DeviceError> {
        if reach && !self.reachable {
            let inserted = card.memory().insert(address, Arc::clone(&self.region));
            inserted.map_err(|error| invalid(&error.to_string()))?;
        }
        if !reach && self.reachable {
            card.memory().remove(address);
        }
        self.reachable = reach;
        Ok(())
    }
}

fn invalid(text: &str) -> DeviceError {
    DeviceError::new(Status::ERROR_INVALID_VALUE, text)
}
