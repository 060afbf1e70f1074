//! Virtual memory: ranges of addresses, memory without an address, and which lies where.

use std::sync::Arc;

use cudarc::driver::sys;
use vgpu_proto::Status;

use super::error::check;
use super::handle::Handle;
use crate::device::{DeviceError, MemoryAccess};

/// A range of addresses in which memory can be mapped.
#[derive(Debug)]
pub(in crate::device::cuda) struct AddressRange {
    base: u64,
    bytes: u64,
    handle: Arc<Handle>,
}

impl AddressRange {
    /// Reserves `bytes` bytes at `base`, where nothing of this process may be mapped.
    ///
    /// # Errors
    /// The driver gave another place, or none.
    pub(in crate::device::cuda) fn new(
        handle: &Arc<Handle>,
        base: u64,
        bytes: u64,
    ) -> Result<Self, DeviceError> {
        handle.bind()?;
        let mut found = 0;
        // SAFETY: `found` is a place for an address. The driver replaces no mapping: the base is a wish to it.
        let result = unsafe { sys::cuMemAddressReserve(&raw mut found, size(bytes)?, 0, base, 0) };
        check(result, "cuMemAddressReserve")?;
        // Dropping it frees a range elsewhere too.
        let range = Self { base: found, bytes, handle: Arc::clone(handle) };
        if found == base {
            return Ok(range);
        }
        let text = format!(
            "the driver reserves {bytes} bytes at {found:#x} instead of {base:#x}, where the guest keeps room for them: \
             does another mapping of the worker lie there?"
        );
        Err(DeviceError::new(Status::ERROR_OUT_OF_MEMORY, text))
    }
}

impl Drop for AddressRange {
    /// Nothing is mapped there any more, or the process ends.
    fn drop(&mut self) {
        if self.handle.bind().is_ok() {
            // SAFETY: the range was reserved as it is; where something is mapped the driver refuses.
            let _ = unsafe { sys::cuMemAddressFree(self.base, self.bytes as usize) };
        }
    }
}

/// Memory of the GPU. It has no address; where it is mapped it stays until it is unmapped, though its owner be gone.
#[derive(Debug)]
pub(in crate::device::cuda) struct Physical {
    raw: sys::CUmemGenericAllocationHandle,
    bytes: u64,
    handle: Arc<Handle>,
}

impl Physical {
    /// Takes `bytes` bytes, a multiple of the granularity. Their content is nobody's: the kernel driver clears memory
    /// that a process gives back before another one gets it.
    pub(in crate::device::cuda) fn new(handle: &Arc<Handle>, bytes: u64) -> Result<Self, DeviceError> {
        handle.bind()?;
        let properties = sys::CUmemAllocationProp {
            type_: sys::CUmemAllocationType_enum::CU_MEM_ALLOCATION_TYPE_PINNED,
            requestedHandleTypes: sys::CUmemAllocationHandleType_enum::CU_MEM_HANDLE_TYPE_NONE,
            location: location(handle),
            win32HandleMetaData: std::ptr::null_mut(),
            allocFlags: sys::CUmemAllocationProp_st__bindgen_ty_1 {
                compressionType: 0,
                gpuDirectRDMACapable: 0,
                usage: 0,
                reserved: [0; 4],
            },
        };
        let mut raw = 0;
        // SAFETY: `raw` is a place for a handle, `properties` are whole.
        let result = unsafe { sys::cuMemCreate(&raw mut raw, size(bytes)?, &raw const properties, 0) };
        check(result, "cuMemCreate")?;
        Ok(Self { raw, bytes, handle: Arc::clone(handle) })
    }

    pub(in crate::device::cuda) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Maps all of it at `address`, without access.
    ///
    /// # Safety
    /// The addresses lie in one [`AddressRange`] that stays while it is mapped, and the session may use them.
    pub(in crate::device::cuda) unsafe fn map(&self, address: u64) -> Result<(), DeviceError> {
        self.handle.bind()?;
        // SAFETY: the caller keeps the range; the driver refuses what is mapped already.
        let result = unsafe { sys::cuMemMap(address, size(self.bytes)?, 0, self.raw, 0) };
        check(result, "cuMemMap")
    }
}

impl Drop for Physical {
    fn drop(&mut self) {
        if self.handle.bind().is_ok() {
            // SAFETY: the handle was made by `new` and this is its last use.
            let _ = unsafe { sys::cuMemRelease(self.raw) };
        }
    }
}

/// Sets the access of the GPU, for every context of the process, to whole mappings.
///
/// # Safety
/// The mappings are the session's.
pub(in crate::device::cuda) unsafe fn set_access(
    handle: &Handle,
    address: u64,
    bytes: u64,
    access: MemoryAccess,
) -> Result<(), DeviceError> {
    use sys::CUmemAccess_flags_enum as F;
    handle.bind()?;
    let flags = match access {
        MemoryAccess::None => F::CU_MEM_ACCESS_FLAGS_PROT_NONE,
        MemoryAccess::Read => F::CU_MEM_ACCESS_FLAGS_PROT_READ,
        MemoryAccess::ReadWrite => F::CU_MEM_ACCESS_FLAGS_PROT_READWRITE,
    };
    let description = sys::CUmemAccessDesc { location: location(handle), flags };
    // SAFETY: one description is given; the caller answers for the range.
    let result = unsafe { sys::cuMemSetAccess(address, size(bytes)?, &raw const description, 1) };
    check(result, "cuMemSetAccess")
}

/// Unmaps whole mappings.
///
/// # Safety
/// The mappings are the session's. No work uses them any more, or what still does is the GPU's, and only the session's
/// memory comes to lie at these addresses.
pub(in crate::device::cuda) unsafe fn unmap(
    handle: &Handle,
    address: u64,
    bytes: u64,
) -> Result<(), DeviceError> {
    handle.bind()?;
    // SAFETY: the caller answers for the range.
    let result = unsafe { sys::cuMemUnmap(address, size(bytes)?) };
    check(result, "cuMemUnmap")
}

fn location(handle: &Handle) -> sys::CUmemLocation {
    sys::CUmemLocation {
        type_: sys::CUmemLocationType_enum::CU_MEM_LOCATION_TYPE_DEVICE,
        id: handle.device(),
    }
}

fn size(bytes: u64) -> Result<usize, DeviceError> {
    let too_large = |_| {
        let text = format!("{bytes} bytes are more than any memory");
        DeviceError::new(Status::ERROR_OUT_OF_MEMORY, text)
    };
    usize::try_from(bytes).map_err(too_large)
}
