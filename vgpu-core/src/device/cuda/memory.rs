//! A context's device memory.

use std::sync::Arc;

use vgpu_proto::Status;

use super::context::Shared;
use super::driver::is_device_memory;
use super::space::Owner;
use super::stack::LocalMemory;
use crate::device::{DeviceError, Payer};

impl Shared {
    /// Allocates. Memory that comes from the driver was cleared by it, and memory that is used again was this session's,
    /// so nothing of another tenant shows. May block.
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
        let address = self.judge(self.placement().lock().alloc(bytes, self.card().arena()))?;
        if !self.card().space().add(address, bytes, Owner::Context(self.number())) {
            // Kept, so that the address is not given out again.
            let text = format!("memory was placed at {address:#x}, where other memory of the session lies");
            return Err(DeviceError::new(Status::ERROR_UNKNOWN, text));
        }
        Ok(address)
    }

    /// Lets the session name a module's variable. Its place and size are the image's word, which a guest writes: what it
    /// says may reach beyond the module, into this process.
    ///
    /// # Errors
    /// `INVALID_IMAGE` where not all of it is memory of the GPU.
    pub(super) fn add_variable(&self, address: u64, bytes: u64) -> Result<(), DeviceError> {
        let most = self.card().description().memory_bytes;
        if bytes > 0 && !is_device_memory(self.handle(), address, bytes, most)? {
            let text =
                format!("a variable of {bytes} bytes at {address:#x} does not lie in the GPU's memory");
            return Err(DeviceError::new(Status::ERROR_INVALID_IMAGE, text));
        }
        // Where another range lies there is nothing to add.
        self.card().space().add(address, bytes, Owner::Context(self.number()));
        Ok(())
    }

    /// The local memory of the context's threads, for which `payer` pays.
    pub(super) fn local_memory<'a>(&'a self, payer: &'a dyn Payer) -> LocalMemory<'a> {
        let description = self.card().description();
        let threads = u64::from(description.multiprocessor_count)
            .saturating_mul(description.threads_per_multiprocessor_max.into());
        LocalMemory { stack: self.stack(), payer, threads }
    }

    /// Frees after all work submitted so far. After a fault the driver frees nothing, but the process ends soon and the
    /// charge comes back. May block.
    pub(super) fn free(self: &Arc<Self>, address: u64) -> Result<(), DeviceError> {
        let unknown = || {
            let text = format!("nothing was allocated at {address:#x} in this context");
            Err(DeviceError::new(Status::ERROR_INVALID_VALUE, text))
        };
        if !self.placement().lock().contains(address) {
            return unknown();
        }
        // New work no longer finds it.
        self.card().space().remove(address);
        let _ = self.wait_for_all();
        let mut placement = self.placement().lock();
        if !placement.contains(address) {
            // Another thread has freed it meanwhile.
            return unknown();
        }
        let chunk = placement.free(address);
        drop(placement);
        if let Some(chunk) = chunk {
            self.card().arena().give(chunk);
        }
        Ok(())
    }
}
