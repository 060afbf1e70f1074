//! Checked work to the driver.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::device::Recorded;
use super::driver::{Dimensions, DriverAttribute, Stream, copy, fill};
use super::function::Kernel;
use super::space::Space;
use super::transfer::{Checked, CheckedLaunch};
use crate::device::{DeviceError, LaunchConfig, Occupancy};

impl Checked {
    /// Submits it. Never blocks, as long as fewer commands are pending than the driver queues. The caller holds `space`, the
    /// session's, since it was checked.
    pub(super) fn submit(&self, stream: &Stream, space: &Space) -> Result<(), DeviceError> {
        match self {
            Self::Nothing => Ok(()),
            Self::Launch(launch) => launch.submit(stream),
            Self::Copy { destination, source, bytes } => {
                // SAFETY: both ranges were found in the session's memory or registered, and are there until this call is
                // over: the submitter holds the session's space (`Space::hold`). What goes from then on is between the
                // GPU and the session, whether a free waits for this work or not (`space`).
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
            Self::Graph(launch) => launch.submit(stream, space),
            Self::WaitValue64 { address, value, condition } => {
                // SAFETY: as for copies; the address was checked to be aligned.
                unsafe { stream.wait_64(*address, *value, *condition) }
            }
            Self::WriteValue64 { address, value } => {
                // SAFETY: as for copies; the address was checked to be aligned.
                unsafe { stream.write_64(*address, *value) }
            }
            Self::WriteValue { address, value } => {
                // SAFETY: as for copies; the address was checked to be aligned.
                unsafe { stream.write_32(*address, *value) }
            }
        }
    }
}

/// What the driver is told beside shape and parameters. `events` are those that the attributes name, in their order.
pub(super) fn driver_attributes<'a>(
    config: &LaunchConfig,
    events: &'a [Arc<Recorded>],
) -> Vec<DriverAttribute<'a>> {
    let mut attributes = Vec::new();
    if config.cooperative {
        attributes.push(DriverAttribute::Cooperative);
    }
    let mut found = events.iter();
    for attribute in &config.attributes {
        let named = attribute.try_map_event(|_| found.next().map(|event| event.event()).ok_or(()));
        attributes.extend(named.map(DriverAttribute::Other));
    }
    attributes
}

pub(super) const fn dimensions(config: &LaunchConfig) -> Dimensions {
    let LaunchConfig { grid, block, shared_bytes, .. } = *config;
    Dimensions { grid, block, shared_bytes }
}

impl Kernel {
    /// Asks the driver how much of the kernel fits.
    pub(super) fn occupancy(&self, query: &Occupancy) -> Result<u64, DeviceError> {
        let function = &self.function;
        match query {
            Occupancy::ActiveBlocks { threads, dynamic_shared_bytes, flags } => {
                function.active_blocks(*threads, *dynamic_shared_bytes, *flags)
            }
            Occupancy::DynamicShared { blocks, threads } => function.dynamic_shared_bytes(*blocks, *threads),
            Occupancy::ActiveClusters(config) => {
                function.active_clusters(dimensions(config), &driver_attributes(config, &[]))
            }
            Occupancy::ClusterSize(config) => {
                function.cluster_size(dimensions(config), &driver_attributes(config, &[]))
            }
        }
    }
}

impl CheckedLaunch {
    fn submit(&self, stream: &Stream) -> Result<(), DeviceError> {
        let Self { kernel, config, events } = self;
        let attributes = driver_attributes(config, events);
        // SAFETY: the length of the parameters was checked against the kernel, a policy window against the session's
        // memory.
        let launched =
            unsafe { kernel.function.launch(stream, dimensions(config), &attributes, &config.params) };
        launched.map_err(|error| {
            DeviceError::new(error.status, format!("launch of {}: {}", kernel.name, error.text))
        })?;
        events.iter().for_each(|event| event.recorded().store(true, Ordering::Release));
        Ok(())
    }
}
