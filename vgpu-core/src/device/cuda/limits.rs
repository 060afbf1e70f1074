//! Limits that a guest sets.
//!
//! A context's room may serve the guest's next context, which starts with the values that the driver starts with: what was
//! changed is changed back when the context ends. Where the driver refuses that (a heap that kernels have used), the next
//! context reports what is in force.

use std::collections::HashMap;

use parking_lot::Mutex;

use super::context::Shared;
use super::driver::LIMIT_STACK;
use crate::device::DeviceError;

/// What the limits that were changed were before, by their numbers.
#[derive(Debug, Default)]
pub(super) struct ChangedLimits(Mutex<HashMap<u32, u64>>);

impl Shared {
    pub(super) fn limit(&self, limit: u32) -> Result<u64, DeviceError> {
        if limit == LIMIT_STACK {
            // The driver's own value is trimmed.
            return Ok(self.stack().limit_bytes());
        }
        self.judge(self.handle().limit(limit))
    }

    /// May block.
    pub(super) fn set_limit(&self, limit: u32, value: u64) -> Result<u64, DeviceError> {
        if limit == LIMIT_STACK {
            self.judge(self.stack().set_limit(value))?;
            return Ok(value);
        }
        let before = self.limit(limit)?;
        self.judge(self.handle().set_limit(limit, value))?;
        self.changed_limits().0.lock().entry(limit).or_insert(before);
        self.limit(limit)
    }

    /// Sets all back. Called when nothing runs.
    pub(super) fn restore_limits(&self) {
        for (limit, value) in self.changed_limits().0.lock().drain() {
            let _ = self.handle().set_limit(limit, value);
        }
        self.stack().restore();
    }
}
