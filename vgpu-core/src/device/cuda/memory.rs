//! A context's device memory.

use std::sync::Arc;

use vgpu_proto::Status;

use super::context::Shared;
use super::driver::{Allocation, fill};
use super::space::Owner;
use super::wait;
use crate::device::DeviceError;

impl Shared {
    /// Allocates and clears. May block.
    pub(super) fn alloc(&self, bytes: u64) -> Result<u64, DeviceError> {
        self.fault().check()?;
        if bytes == 0 {
            return Err(DeviceError::new(Status::ERROR_INVALID_VALUE, "an allocation of 0 bytes"));
        }
        let total = self.card().description().memory_bytes;
        if bytes > total {
            let text = format!("{bytes} bytes are more than the GPU's {total}");
            return Err(DeviceError::new(Status::ERROR_OUT_OF_MEMORY, text));
        }
        let allocation = self.judge(Allocation::new(self.handle(), bytes))?;
        self.clear(&allocation)?;
        let address = allocation.address();
        if !self.card().space().add(address, bytes, Owner::Context(self.number())) {
            let text =
                format!("the driver placed memory at {address:#x}, where a region of the session lies");
            return Err(DeviceError::new(Status::ERROR_UNKNOWN, text));
        }
        self.allocations().lock().insert(address, allocation);
        Ok(address)
    }

    /// Memory comes with what an earlier owner, maybe another tenant, left in it.
    fn clear(&self, allocation: &Allocation) -> Result<(), DeviceError> {
        let stream = self.own_stream();
        let count = usize::try_from(allocation.bytes()).unwrap_or(usize::MAX);
        // SAFETY: the range is the allocation, which stays until the wait below is over; if that meets a fault, nothing
        // of this context runs any more.
        self.judge(unsafe { fill(stream, allocation.address(), 0, 1, count) })?;
        wait::until(|| match self.judge(stream.is_idle()) {
            Ok(true) => Some(Ok(())),
            Ok(false) => None,
            Err(error) => Some(Err(error)),
        })
    }

    /// Frees after all work submitted so far. After a fault the driver frees nothing, but the process ends soon and the
    /// charge comes back. May block.
    pub(super) fn free(self: &Arc<Self>, address: u64) -> Result<(), DeviceError> {
        let Some(allocation) = self.allocations().lock().remove(&address) else {
            let text = format!("nothing was allocated at {address:#x} in this context");
            return Err(DeviceError::new(Status::ERROR_INVALID_VALUE, text));
        };
        // New work no longer finds it.
        self.card().space().remove(address);
        let _ = self.wait_for_all();
        drop(allocation);
        Ok(())
    }
}
