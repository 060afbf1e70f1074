//! Registered host memory, copies and fills.

use std::ffi::c_void;
use std::ptr;
use std::sync::Arc;

use cudarc::driver::sys;
use vgpu_proto::Status;
use vgpu_window::Region;

use super::error::check;
use super::handle::Handle;
use super::stream::Stream;
use crate::device::DeviceError;

/// What memory is registered in, in bytes: a page of every architecture that CUDA 13 supports on Linux x86-64.
const PAGE_BYTES: u64 = 4096;

fn too_large(bytes: u64) -> DeviceError {
    DeviceError::new(Status::ERROR_OUT_OF_MEMORY, format!("{bytes} bytes are more than any memory"))
}

/// A region of host memory that kernels and copies of every context reach at its own address.
#[derive(Debug)]
pub(in crate::device::cuda) struct Registration {
    region: Arc<Region>,
    handle: Arc<Handle>,
}

impl Registration {
    /// Pins the region's pages. May block: some 50 us for each MiB.
    pub(in crate::device::cuda) fn new(
        handle: &Arc<Handle>,
        region: &Arc<Region>,
    ) -> Result<Self, DeviceError> {
        handle.bind()?;
        let bytes = region.len().next_multiple_of(PAGE_BYTES);
        let size = usize::try_from(bytes).map_err(|_| too_large(bytes))?;
        let flags = sys::CU_MEMHOSTREGISTER_PORTABLE | sys::CU_MEMHOSTREGISTER_DEVICEMAP;
        // SAFETY: a region's mapping is its own, whole pages, and stays while `region` is kept. What the GPU writes there
        // is as what another process writes: regions never give out plain references.
        let result = unsafe { sys::cuMemHostRegister_v2(pointer(region), size, flags) };
        check(result, "cuMemHostRegister")?;
        Ok(Self { region: Arc::clone(region), handle: Arc::clone(handle) })
    }

    pub(in crate::device::cuda) fn region(&self) -> &Arc<Region> {
        &self.region
    }
}

fn pointer(region: &Region) -> *mut c_void {
    ptr::with_exposed_provenance_mut(region.address() as usize)
}

impl Drop for Registration {
    /// May block.
    fn drop(&mut self) {
        if self.handle.bind().is_ok() {
            // SAFETY: it was registered, and who registered it waited for the work that uses it.
            let _ = unsafe { sys::cuMemHostUnregister(pointer(&self.region)) };
        }
    }
}

/// Copies in stream order.
///
/// # Safety
/// Both ranges lie in device or registered memory that stays until the copy is done.
pub(in crate::device::cuda) unsafe fn copy(
    stream: &Stream,
    destination: u64,
    source: u64,
    bytes: usize,
) -> Result<(), DeviceError> {
    stream.handle().bind()?;
    // SAFETY: the caller keeps both ranges.
    let result = unsafe { sys::cuMemcpyAsync(destination, source, bytes, stream.raw()) };
    check(result, "cuMemcpyAsync")
}

/// Fills memory with `count` elements of 1, 2 or 4 bytes, in stream order.
///
/// # Safety
/// The range lies in device or registered memory that stays until the fill is done.
pub(in crate::device::cuda) unsafe fn fill(
    stream: &Stream,
    destination: u64,
    value: u32,
    element_bytes: u32,
    count: usize,
) -> Result<(), DeviceError> {
    stream.handle().bind()?;
    match element_bytes {
        1 => {
            // SAFETY: the caller keeps the range. The element is in the lowest byte.
            let result = unsafe { sys::cuMemsetD8Async(destination, value as u8, count, stream.raw()) };
            check(result, "cuMemsetD8Async")
        }
        2 => {
            // SAFETY: the caller keeps the range. The element is in the lowest bytes.
            let result = unsafe { sys::cuMemsetD16Async(destination, value as u16, count, stream.raw()) };
            check(result, "cuMemsetD16Async")
        }
        _ => {
            // SAFETY: the caller keeps the range.
            let result = unsafe { sys::cuMemsetD32Async(destination, value, count, stream.raw()) };
            check(result, "cuMemsetD32Async")
        }
    }
}
