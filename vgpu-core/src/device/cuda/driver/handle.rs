//! Contexts.

use std::cell::Cell;
use std::fmt;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

use cudarc::driver::sys;

use super::error::check;
use super::load::Driver;
use crate::device::DeviceError;

thread_local! {
    /// Number of the context that is current in this thread; 0 for none. Saves a driver call for each call.
    static CURRENT: Cell<u64> = const { Cell::new(0) };
}

/// A context of the driver.
pub(in crate::device::cuda) struct Handle {
    raw: sys::CUcontext,
    device: sys::CUdevice,
    /// Never used again, unlike the driver's addresses: a thread that still has a destroyed context current notices.
    number: u64,
}

// SAFETY: the driver lets any thread use a context; it is made current in a thread before each call.
unsafe impl Send for Handle {}
// SAFETY: as above; the driver locks for itself.
unsafe impl Sync for Handle {}

impl Handle {
    /// A context with a current thread's scheduling left to the driver: nothing here waits inside the driver.
    pub(in crate::device::cuda) fn new(_driver: Driver, ordinal: i32) -> Result<Self, DeviceError> {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let mut device = 0;
        // SAFETY: `device` is a place for a number.
        let result = unsafe { sys::cuDeviceGet(&raw mut device, ordinal) };
        check(result, "cuDeviceGet")?;
        let mut raw = ptr::null_mut();
        // SAFETY: `raw` is a place for a handle; no parameters means a plain context.
        let result = unsafe { sys::cuCtxCreate_v4(&raw mut raw, ptr::null_mut(), 0, device) };
        check(result, "cuCtxCreate")?;
        let number = LAST.fetch_add(1, Ordering::Relaxed) + 1;
        // The driver makes a new context current in the thread that made it.
        CURRENT.set(number);
        Ok(Self { raw, device, number })
    }

    /// The GPU, as the driver numbers it.
    pub(super) fn device(&self) -> sys::CUdevice {
        self.device
    }

    pub(super) fn raw(&self) -> sys::CUcontext {
        self.raw
    }

    /// Makes the context current in this thread.
    #[inline]
    pub(super) fn bind(&self) -> Result<(), DeviceError> {
        if CURRENT.get() == self.number {
            return Ok(());
        }
        // SAFETY: the context lives as long as `self`.
        let result = unsafe { sys::cuCtxSetCurrent(self.raw) };
        check(result, "cuCtxSetCurrent")?;
        CURRENT.set(self.number);
        Ok(())
    }

    /// The most urgent priority of a stream, 0 or below.
    pub(in crate::device::cuda) fn stream_priority_greatest(&self) -> Result<i32, DeviceError> {
        self.bind()?;
        let (mut least, mut greatest) = (0, 0);
        // SAFETY: there are places for both answers.
        let result = unsafe { sys::cuCtxGetStreamPriorityRange(&raw mut least, &raw mut greatest) };
        check(result, "cuCtxGetStreamPriorityRange")?;
        Ok(greatest.min(0))
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // A thread that ends may have lost its number already; then nothing of it calls the driver any more.
        let _ = CURRENT.try_with(|current| {
            if current.get() == self.number {
                current.set(0);
            }
        });
        // SAFETY: every object of the context keeps it, so this is the last use. A poisoned context answers an error,
        // and goes with the process.
        let _ = unsafe { sys::cuCtxDestroy_v2(self.raw) };
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("number", &self.number).finish_non_exhaustive()
    }
}
