//! Limits of a context. The interpreter gives each thread the local memory that its kernel declares and keeps no buffers
//! of its own, so the limits bound nothing: any value in CUDA's range holds.

use parking_lot::Mutex;
use vgpu_proto::Status;

use crate::device::DeviceError;

/// Local memory of a thread, at most, in bytes (CUDA C++ Programming Guide, "Technical Specifications per Compute
/// Capability").
const STACK_BYTES_MAX: u64 = 512 << 10;

/// Largest fetch granularity of the second-level cache, in bytes (`CU_LIMIT_MAX_L2_FETCH_GRANULARITY`).
const FETCH_BYTES_MAX: u64 = 128;

/// By the numbers of `CUlimit`: stack of a thread, printf buffer and heap, the fetch granularity.
#[derive(Debug)]
pub(super) struct Limits {
    values: Mutex<[Option<u64>; 6]>,
}

impl Default for Limits {
    /// The driver's start values.
    fn default() -> Self {
        Self { values: Mutex::new([Some(1_024), Some(1 << 20), Some(8 << 20), None, None, Some(64)]) }
    }
}

fn unsupported(limit: u32) -> DeviceError {
    DeviceError::new(Status::ERROR_UNSUPPORTED_LIMIT, format!("the software GPU has no limit {limit}"))
}

impl Limits {
    pub(super) fn get(&self, limit: u32) -> Result<u64, DeviceError> {
        self.values.lock().get(limit as usize).copied().flatten().ok_or_else(|| unsupported(limit))
    }

    pub(super) fn set(&self, limit: u32, value: u64) -> Result<u64, DeviceError> {
        let most = match limit {
            0 => STACK_BYTES_MAX,
            5 => FETCH_BYTES_MAX,
            _ => u64::MAX,
        };
        let mut values = self.values.lock();
        let known =
            values.get_mut(limit as usize).and_then(Option::as_mut).ok_or_else(|| unsupported(limit))?;
        if value > most {
            let text = format!("limit {limit} is {most} at most, not {value}");
            return Err(DeviceError::new(Status::ERROR_INVALID_VALUE, text));
        }
        *known = value;
        Ok(value)
    }
}
