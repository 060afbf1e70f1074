//! The sticky error of a context.

use std::sync::OnceLock;

use super::driver::is_fault;
use crate::device::DeviceError;

/// Set once, by whoever meets the fault first.
#[derive(Debug, Default)]
pub(super) struct Fault(OnceLock<DeviceError>);

impl Fault {
    pub(super) fn get(&self) -> Option<&DeviceError> {
        self.0.get()
    }

    /// `Ok` while there is none.
    pub(super) fn check(&self) -> Result<(), DeviceError> {
        self.get().map_or(Ok(()), |error| Err(error.clone()))
    }

    /// Keeps an error that sticks; `true` if it is the first one. `kernels` names what ran last, for the text: the driver
    /// does not tell which kernel met the fault.
    pub(super) fn note(&self, error: &DeviceError, kernels: impl FnOnce() -> String) -> bool {
        if !is_fault(error.status) || self.get().is_some() {
            return false;
        }
        let kernels = kernels();
        let mut error = error.clone();
        if !kernels.is_empty() {
            error.text = format!("{} (latest kernels: {kernels})", error.text);
        }
        self.0.set(error).is_ok()
    }
}
