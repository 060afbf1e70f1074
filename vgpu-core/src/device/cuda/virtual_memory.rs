//! Memory that the guest maps itself, at addresses of the arena's upper part.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use vgpu_proto::Status;

use super::device::CudaDevice;
use super::driver::{Physical, set_access, unmap};
use super::module::next_key;
use crate::device::{DeviceError, MemoryAccess, MemoryKey, VirtualMemory};

/// What the driver holds for the guest. Each is given back with its owner.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    memories: Mutex<HashMap<MemoryKey, Arc<Physical>>>,
}

impl VirtualMemory for CudaDevice {
    /// All of the arena is reserved with the driver already; the session keeps its ranges apart.
    fn address_reserve(&self, _address: u64, _bytes: u64) -> Result<(), DeviceError> {
        Ok(())
    }

    fn address_free(&self, _address: u64) -> Result<(), DeviceError> {
        Ok(())
    }

    fn memory_create(&self, bytes: u64) -> Result<MemoryKey, DeviceError> {
        let card = self.card();
        let memory = Physical::new(card.home(), bytes)?;
        let key = MemoryKey(next_key());
        card.pieces().memories.lock().insert(key, Arc::new(memory));
        Ok(key)
    }

    fn memory_release(&self, memory: MemoryKey) {
        let released = self.card().pieces().memories.lock().remove(&memory);
        drop(released);
    }

    fn memory_map(&self, address: u64, memory: MemoryKey) -> Result<(), DeviceError> {
        let card = self.card();
        let found = card.pieces().memories.lock().get(&memory).cloned();
        let found = found.ok_or_else(|| invalid("no such memory".to_owned()))?;
        if !card.space().map(address, found.bytes()) {
            return Err(invalid(format!("other memory of the session lies at {address:#x}")));
        }
        // SAFETY: the addresses lie in a range that the session has reserved and frees only once nothing is mapped in it.
        unsafe { found.map(address) }.inspect_err(|_| card.space().remove(address))
    }

    fn memory_unmap(&self, address: u64, bytes: u64) -> Result<(), DeviceError> {
        let card = self.card();
        // New work no longer finds it, and the driver has what found it before.
        card.space().unmap(address, bytes);
        // SAFETY: the session names whole mappings of its own. Work under way is the GPU's, which meets a fault of its
        // context there, or what the session maps at these addresses next: the arena stays reserved.
        unsafe { unmap(card.home(), address, bytes) }
    }

    fn memory_set_access(&self, address: u64, bytes: u64, access: MemoryAccess) -> Result<(), DeviceError> {
        let card = self.card();
        let opens = access != MemoryAccess::None;
        // What is open to work is open to the GPU: closed before the driver closes it, and opened after.
        if !opens {
            card.space().open(address, bytes, false);
        }
        // SAFETY: the session names whole mappings of its own.
        unsafe { set_access(card.home(), address, bytes, access) }?;
        if opens {
            card.space().open(address, bytes, true);
        }
        Ok(())
    }
}

fn invalid(text: String) -> DeviceError {
    DeviceError::new(Status::ERROR_INVALID_VALUE, text)
}
