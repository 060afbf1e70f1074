//! Checked work to the driver.

use std::sync::atomic::Ordering;

use super::driver::{Dimensions, Stream, copy, fill};
use super::transfer::Checked;
use crate::device::{DeviceError, LaunchConfig};

impl Checked {
    /// Submits it. Never blocks, as long as fewer commands are pending than the driver queues.
    pub(super) fn submit(&self, stream: &Stream) -> Result<(), DeviceError> {
        match self {
            Self::Nothing => Ok(()),
            Self::Launch(kernel, config) => {
                let LaunchConfig { grid, block, shared_bytes, .. } = *config;
                let dimensions = Dimensions { grid, block, shared_bytes };
                // SAFETY: the length of the parameters was checked against the kernel.
                unsafe { kernel.function.launch(stream, dimensions, config.cooperative, &config.params) }
                    .map_err(|error| {
                        DeviceError::new(error.status, format!("launch of {}: {}", kernel.name, error.text))
                    })
            }
            Self::Copy { destination, source, bytes } => {
                // SAFETY: both ranges were found in the session's memory or registered. Frees and removals wait for work
                // that was submitted, and sessions name no memory that they free at the same time.
                unsafe { copy(stream, *destination, *source, *bytes) }
            }
            Self::Fill { destination, value, element_bytes, count } => {
                // SAFETY: as for copies.
                unsafe { fill(stream, *destination, *value, *element_bytes, *count) }
            }
            Self::Record(event) => {
                event.event().record(stream)?;
                event.recorded().store(true, Ordering::Release);
                Ok(())
            }
            Self::Wait(event) => event.event().hold(stream),
            Self::WaitValue { address, value, condition } => {
                // SAFETY: as for copies; the address was checked to be aligned.
                unsafe { stream.wait_32(*address, *value, *condition) }
            }
            Self::WriteValue { address, value } => {
                // SAFETY: as for copies; the address was checked to be aligned.
                unsafe { stream.write_32(*address, *value) }
            }
        }
    }
}
