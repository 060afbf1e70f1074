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

/// Distance at which [`is_device_memory`] looks, in bytes: the smallest page that the driver maps large things with.
const LOOK_EVERY_BYTES: u64 = 64 << 10;

/// Whether a range is memory of the GPU from end to end, as the driver knows it. One that is longer than `most` is not.
pub(in crate::device::cuda) fn is_device_memory(
    handle: &Handle,
    address: u64,
    bytes: u64,
    most: u64,
) -> Result<bool, DeviceError> {
    let Some(last) = bytes.checked_sub(1).and_then(|rest| address.checked_add(rest)) else {
        return Ok(false);
    };
    if bytes > most {
        return Ok(false);
    }
    handle.bind()?;
    let every = usize::try_from(LOOK_EVERY_BYTES).unwrap_or(usize::MAX);
    Ok((address..last).step_by(every).chain([last]).all(lies_on_device))
}

/// What the driver answers for an address that it does not know is that it is none of the device's.
fn lies_on_device(address: u64) -> bool {
    use sys::CUpointer_attribute_enum as A;
    let ask = |attribute| {
        let mut answer = 0_u32;
        // SAFETY: `answer` is a place for what both attributes answer, at most four bytes; the address is only looked up.
        let result =
            unsafe { sys::cuPointerGetAttribute((&raw mut answer).cast::<c_void>(), attribute, address) };
        (result == sys::CUresult::CUDA_SUCCESS).then_some(answer)
    };
    ask(A::CU_POINTER_ATTRIBUTE_MEMORY_TYPE) == Some(sys::CUmemorytype::CU_MEMORYTYPE_DEVICE as u32)
        || ask(A::CU_POINTER_ATTRIBUTE_IS_MANAGED).is_some_and(|managed| managed != 0)
}

/// Copies in stream order.
///
/// # Safety
/// Both ranges lie in device or registered memory of the session now, and nothing but the session's memory comes to lie
/// there until the copy is done.
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
/// As for [`copy`].
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
