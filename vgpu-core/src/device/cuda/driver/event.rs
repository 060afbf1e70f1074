//! Events.

use std::fmt;
use std::ptr;
use std::sync::Arc;

use cudarc::driver::sys;
use vgpu_proto::Status;

use super::error::check;
use super::handle::Handle;
use super::stream::Stream;
use crate::device::DeviceError;

/// An event of the driver.
pub(in crate::device::cuda) struct Event {
    raw: sys::CUevent,
    handle: Arc<Handle>,
}

// SAFETY: the driver lets any thread use an event and locks for itself.
unsafe impl Send for Event {}
// SAFETY: as above.
unsafe impl Sync for Event {}

impl Event {
    pub(in crate::device::cuda) fn new(handle: &Arc<Handle>, timing: bool) -> Result<Self, DeviceError> {
        handle.bind()?;
        let flags = if timing {
            sys::CUevent_flags_enum::CU_EVENT_DEFAULT
        } else {
            sys::CUevent_flags_enum::CU_EVENT_DISABLE_TIMING
        };
        let mut raw = ptr::null_mut();
        // SAFETY: `raw` is a place for a handle.
        let result = unsafe { sys::cuEventCreate(&raw mut raw, flags as u32) };
        check(result, "cuEventCreate")?;
        Ok(Self { raw, handle: Arc::clone(handle) })
    }

    pub(super) fn raw(&self) -> sys::CUevent {
        self.raw
    }

    pub(in crate::device::cuda) fn record(&self, stream: &Stream) -> Result<(), DeviceError> {
        stream.handle().bind()?;
        // SAFETY: event and stream live as long as their owners.
        let result = unsafe { sys::cuEventRecord(self.raw, stream.raw()) };
        check(result, "cuEventRecord")
    }

    /// Makes a stream wait for the latest record.
    pub(in crate::device::cuda) fn hold(&self, stream: &Stream) -> Result<(), DeviceError> {
        stream.handle().bind()?;
        // SAFETY: event and stream live as long as their owners.
        let result = unsafe { sys::cuStreamWaitEvent(stream.raw(), self.raw, 0) };
        check(result, "cuStreamWaitEvent")
    }

    /// Whether the latest record is complete; an event without one is.
    pub(in crate::device::cuda) fn is_complete(&self) -> Result<bool, DeviceError> {
        self.handle.bind()?;
        // SAFETY: the event lives as long as `self`.
        let result = unsafe { sys::cuEventQuery(self.raw) };
        match check(result, "cuEventQuery") {
            Ok(()) => Ok(true),
            Err(error) if error.status == Status::ERROR_NOT_READY => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Milliseconds from `start`'s record to this one's.
    pub(in crate::device::cuda) fn elapsed_ms(&self, start: &Self) -> Result<f32, DeviceError> {
        self.handle.bind()?;
        let mut elapsed = 0.0;
        // SAFETY: `elapsed` is a place for a number; the events live as long as their owners.
        let result = unsafe { sys::cuEventElapsedTime_v2(&raw mut elapsed, start.raw, self.raw) };
        check(result, "cuEventElapsedTime")?;
        Ok(elapsed)
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        if self.handle.bind().is_ok() {
            // SAFETY: this is the event's last use here; the driver keeps it for waits that were submitted.
            let _ = unsafe { sys::cuEventDestroy_v2(self.raw) };
        }
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event").finish_non_exhaustive()
    }
}
