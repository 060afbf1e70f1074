//! Checked work to the driver.

use std::sync::atomic::Ordering;

use super::driver::{Dimensions, DriverAttribute, Stream, copy, fill};
use super::transfer::{Checked, CheckedLaunch};
use crate::device::{DeviceError, LaunchConfig};

impl Checked {
    /// Submits it. Never blocks, as long as fewer commands are pending than the driver queues.
    pub(super) fn submit(&self, stream: &Stream) -> Result<(), DeviceError> {
        match self {
            Self::Nothing => Ok(()),
            Self::Launch(launch) => launch.submit(stream),
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

impl CheckedLaunch {
    fn submit(&self, stream: &Stream) -> Result<(), DeviceError> {
        let Self { kernel, config, events } = self;
        let LaunchConfig { grid, block, shared_bytes, .. } = *config;
        let dimensions = Dimensions { grid, block, shared_bytes };
        let mut attributes = Vec::new();
        if config.cooperative {
            attributes.push(DriverAttribute::Cooperative);
        }
        let mut found = events.iter();
        for attribute in &config.attributes {
            let named = attribute.try_map_event(|_| found.next().map(|event| event.event()).ok_or(()));
            attributes.extend(named.map(DriverAttribute::Other));
        }
        // SAFETY: the length of the parameters was checked against the kernel, a policy window against the session's
        // memory.
        let launched = unsafe { kernel.function.launch(stream, dimensions, &attributes, &config.params) };
        launched.map_err(|error| {
            DeviceError::new(error.status, format!("launch of {}: {}", kernel.name, error.text))
        })?;
        events.iter().for_each(|event| event.recorded().store(true, Ordering::Release));
        Ok(())
    }
}
