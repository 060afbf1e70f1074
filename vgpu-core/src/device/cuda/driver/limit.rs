//! Limits of a context.

use cudarc::driver::sys;
use vgpu_proto::Status;

use super::error::check;
use super::handle::Handle;
use crate::device::DeviceError;

/// The limits that are used, by their numbers (`CUlimit`).
const LIMITS: [sys::CUlimit; 10] = {
    use sys::CUlimit_enum as L;
    [
        L::CU_LIMIT_STACK_SIZE,
        L::CU_LIMIT_PRINTF_FIFO_SIZE,
        L::CU_LIMIT_MALLOC_HEAP_SIZE,
        L::CU_LIMIT_DEV_RUNTIME_SYNC_DEPTH,
        L::CU_LIMIT_DEV_RUNTIME_PENDING_LAUNCH_COUNT,
        L::CU_LIMIT_MAX_L2_FETCH_GRANULARITY,
        L::CU_LIMIT_PERSISTING_L2_CACHE_SIZE,
        L::CU_LIMIT_SHMEM_SIZE,
        L::CU_LIMIT_CIG_ENABLED,
        L::CU_LIMIT_CIG_SHMEM_FALLBACK_ENABLED,
    ]
};

/// `CU_LIMIT_STACK_SIZE`: the call stack of a thread, in bytes.
pub(in crate::device::cuda) const LIMIT_STACK: u32 = 0;

fn numbered(limit: u32) -> Result<sys::CUlimit, DeviceError> {
    let unsupported = || {
        DeviceError::new(Status::ERROR_UNSUPPORTED_LIMIT, format!("limit {limit} is not one of a guest's"))
    };
    LIMITS.get(limit as usize).copied().ok_or_else(unsupported)
}

impl Handle {
    /// A limit.
    pub(in crate::device::cuda) fn limit(&self, limit: u32) -> Result<u64, DeviceError> {
        let limit = numbered(limit)?;
        self.bind()?;
        let mut value = 0;
        // SAFETY: `value` is a place for a number.
        let result = unsafe { sys::cuCtxGetLimit(&raw mut value, limit) };
        check(result, "cuCtxGetLimit")?;
        Ok(value as u64)
    }

    /// Sets it. May block.
    pub(in crate::device::cuda) fn set_limit(&self, limit: u32, value: u64) -> Result<(), DeviceError> {
        let limit = numbered(limit)?;
        self.bind()?;
        // SAFETY: the call has no memory to get wrong.
        let result = unsafe { sys::cuCtxSetLimit(limit, value as usize) };
        check(result, "cuCtxSetLimit")
    }

    /// Makes all lines of the second-level cache normal again. May block.
    pub(in crate::device::cuda) fn reset_persisting_l2(&self) -> Result<(), DeviceError> {
        self.bind()?;
        // SAFETY: the call has no memory to get wrong.
        let result = unsafe { sys::cuCtxResetPersistingL2Cache() };
        check(result, "cuCtxResetPersistingL2Cache")
    }
}
