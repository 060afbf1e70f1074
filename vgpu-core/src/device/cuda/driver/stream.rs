//! Streams and the memory operations in their order.

use std::fmt;
use std::ptr;
use std::sync::Arc;

use cudarc::driver::sys;
use vgpu_proto::Status;

use super::error::check;
use super::handle::Handle;
use crate::device::{DeviceError, WaitCondition};

/// The driver's name for the legacy stream of the current context (`CU_STREAM_LEGACY`).
const LEGACY: usize = 1;

/// A stream of the driver.
pub(in crate::device::cuda) struct Stream {
    raw: sys::CUstream,
    handle: Arc<Handle>,
}

// SAFETY: the driver lets any thread use a stream and locks for itself.
unsafe impl Send for Stream {}
// SAFETY: as above.
unsafe impl Sync for Stream {}

impl Stream {
    /// The legacy stream of a context.
    pub(in crate::device::cuda) fn legacy(handle: &Arc<Handle>) -> Self {
        Self { raw: ptr::without_provenance_mut(LEGACY), handle: Arc::clone(handle) }
    }

    /// A new stream. The driver cuts `priority` to its range. May block.
    pub(in crate::device::cuda) fn new(
        handle: &Arc<Handle>,
        blocking: bool,
        priority: i32,
    ) -> Result<Self, DeviceError> {
        handle.bind()?;
        let flags = if blocking {
            sys::CUstream_flags_enum::CU_STREAM_DEFAULT
        } else {
            sys::CUstream_flags_enum::CU_STREAM_NON_BLOCKING
        };
        let mut raw = ptr::null_mut();
        // SAFETY: `raw` is a place for a handle.
        let result = unsafe { sys::cuStreamCreateWithPriority(&raw mut raw, flags as u32, priority) };
        check(result, "cuStreamCreateWithPriority")?;
        Ok(Self { raw, handle: Arc::clone(handle) })
    }

    pub(super) fn raw(&self) -> sys::CUstream {
        self.raw
    }

    pub(in crate::device::cuda) fn handle(&self) -> &Arc<Handle> {
        &self.handle
    }

    /// Whether everything submitted is complete. Finds the context's fault.
    pub(in crate::device::cuda) fn is_idle(&self) -> Result<bool, DeviceError> {
        self.handle.bind()?;
        // SAFETY: the stream lives as long as `self`.
        let result = unsafe { sys::cuStreamQuery(self.raw) };
        match check(result, "cuStreamQuery") {
            Ok(()) => Ok(true),
            Err(error) if error.status == Status::ERROR_NOT_READY => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Waits for everything submitted, inside the driver. The driver hands on what kernels of the context printed when it
    /// is called so, and not when it is only asked (CUDA C++ Programming Guide, "Formatted Output"). May block.
    pub(in crate::device::cuda) fn synchronize(&self) -> Result<(), DeviceError> {
        self.handle.bind()?;
        // SAFETY: the stream lives as long as `self`.
        let result = unsafe { sys::cuStreamSynchronize(self.raw) };
        check(result, "cuStreamSynchronize")
    }

    /// Writes a 64-bit word once earlier work is complete and its writes can be seen.
    ///
    /// # Safety
    /// The word is aligned, registered, and stays so until the stream got there.
    pub(in crate::device::cuda) unsafe fn write_64(
        &self,
        address: u64,
        value: u64,
    ) -> Result<(), DeviceError> {
        self.handle.bind()?;
        // SAFETY: the caller keeps the word; no flags means that earlier writes are seen before it.
        let result = unsafe { sys::cuStreamWriteValue64_v2(self.raw, address, value, 0) };
        check(result, "cuStreamWriteValue64")
    }

    /// Writes two such words, the first one first, by one call.
    ///
    /// # Safety
    /// As for [`Stream::write_64`], for both.
    pub(in crate::device::cuda) unsafe fn write_64_twice(
        &self,
        words: [(u64, u64); 2],
    ) -> Result<(), DeviceError> {
        self.handle.bind()?;
        let mut writes = words.map(|(address, value)| write_parameters(address, value));
        // SAFETY: `writes` has two entries, which the driver copies; the caller keeps the words.
        let result = unsafe { sys::cuStreamBatchMemOp_v2(self.raw, 2, writes.as_mut_ptr(), 0) };
        check(result, "cuStreamBatchMemOp")
    }

    /// Writes a 32-bit word in stream order.
    ///
    /// # Safety
    /// The word is aligned and lies in device or registered memory of the session now; nothing but the session's memory
    /// comes to lie there until the stream got there.
    pub(in crate::device::cuda) unsafe fn write_32(
        &self,
        address: u64,
        value: u32,
    ) -> Result<(), DeviceError> {
        self.handle.bind()?;
        // SAFETY: the caller keeps the word.
        let result = unsafe { sys::cuStreamWriteValue32_v2(self.raw, address, value, 0) };
        check(result, "cuStreamWriteValue32")
    }

    /// Waits for a 32-bit word in stream order.
    ///
    /// # Safety
    /// As for [`Stream::write_32`].
    pub(in crate::device::cuda) unsafe fn wait_32(
        &self,
        address: u64,
        value: u32,
        condition: WaitCondition,
    ) -> Result<(), DeviceError> {
        self.handle.bind()?;
        let flags = wait_flags(condition);
        // SAFETY: the caller keeps the word.
        let result = unsafe { sys::cuStreamWaitValue32_v2(self.raw, address, value, flags) };
        check(result, "cuStreamWaitValue32")
    }

    /// Waits for a 64-bit word in stream order.
    ///
    /// # Safety
    /// As for [`Stream::write_32`].
    pub(in crate::device::cuda) unsafe fn wait_64(
        &self,
        address: u64,
        value: u64,
        condition: WaitCondition,
    ) -> Result<(), DeviceError> {
        self.handle.bind()?;
        let flags = wait_flags(condition);
        // SAFETY: the caller keeps the word.
        let result = unsafe { sys::cuStreamWaitValue64_v2(self.raw, address, value, flags) };
        check(result, "cuStreamWaitValue64")
    }
}

/// The driver's flags of a wait.
pub(super) const fn wait_flags(condition: WaitCondition) -> u32 {
    use sys::CUstreamWaitValue_flags_enum as Flags;
    let flags = match condition {
        WaitCondition::GreaterOrEqual => Flags::CU_STREAM_WAIT_VALUE_GEQ,
        WaitCondition::Equal => Flags::CU_STREAM_WAIT_VALUE_EQ,
        WaitCondition::And => Flags::CU_STREAM_WAIT_VALUE_AND,
        WaitCondition::Nor => Flags::CU_STREAM_WAIT_VALUE_NOR,
    };
    flags as u32
}

fn write_parameters(address: u64, value: u64) -> sys::CUstreamBatchMemOpParams {
    let words =
        sys::CUstreamBatchMemOpParams_union_CUstreamMemOpWriteValueParams_st__bindgen_ty_1 { value64: value };
    // The rest of the union stays zero, as the driver asks of what it does not know yet.
    let mut parameters = sys::CUstreamBatchMemOpParams { pad: [0; 6] };
    parameters.writeValue = sys::CUstreamBatchMemOpParams_union_CUstreamMemOpWriteValueParams_st {
        operation: sys::CUstreamBatchMemOpType_enum::CU_STREAM_MEM_OP_WRITE_VALUE_64,
        address,
        __bindgen_anon_1: words,
        flags: 0,
        alias: 0,
    };
    parameters
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.raw.addr() != LEGACY && self.handle.bind().is_ok() {
            // SAFETY: this is the stream's last use here; the driver keeps it until its work is done.
            let _ = unsafe { sys::cuStreamDestroy_v2(self.raw) };
        }
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").finish_non_exhaustive()
    }
}
