//! Kernel launches.

use std::sync::Arc;

use vgpu_proto::attribute::AttributeError;
use vgpu_proto::body::{self, LAUNCH_COOPERATIVE};
use vgpu_proto::limits::{LAUNCH_ATTRIBUTE_BYTES_MAX, PARAMS_BYTES_MAX};
use vgpu_proto::{EventId, FunctionId, LaunchAttribute, Status, Violation};
use zerocopy::little_endian::U32;

use super::command::Action;
use super::dispatcher::Core;
use super::event::Version;
use crate::device::{EventKey, LaunchConfig, Work};

/// Launch attributes as a device takes them, and the records that they make.
pub(super) type Attributes = (Vec<LaunchAttribute<EventKey>>, Vec<Arc<Version>>);

impl Core {
    /// Checks a launch against its kernel.
    pub(super) fn launch(
        &mut self,
        context: u32,
        body: &body::LaunchKernel,
        payload: &[u8],
    ) -> Result<Action, Violation> {
        let attribute_bytes = body.attribute_bytes.get();
        if attribute_bytes > LAUNCH_ATTRIBUTE_BYTES_MAX {
            return Err(Violation::PayloadLimit);
        }
        let params_bytes =
            payload.len().checked_sub(attribute_bytes as usize).ok_or(Violation::PayloadLength)?;
        let (params, attributes) = payload.split_at(params_bytes);
        if params.len() > PARAMS_BYTES_MAX as usize {
            return Err(Violation::PayloadLimit);
        }
        if body.flags.get() & !LAUNCH_COOPERATIVE != 0 || body.reserved.get() != 0 {
            return Err(Violation::ReservedBits);
        }
        let id = FunctionId::from_raw(body.function.get());
        let (key, expected) = match self.functions.get(id.index(), id.generation())? {
            Ok(function) if function.context == context => (function.key, function.params_bytes),
            _ => return Ok(Action::Finished(Status::ERROR_INVALID_HANDLE)),
        };
        let grid = body.grid.map(U32::get);
        let block = body.block.map(U32::get);
        if params.len() != expected as usize || grid.contains(&0) || block.contains(&0) {
            return Ok(Action::Finished(Status::ERROR_INVALID_VALUE));
        }
        let (attributes, records) = match self.launch_attributes(context, attributes) {
            Ok(attributes) => attributes,
            Err(Refusal::Status(status)) => return Ok(Action::Finished(status)),
            Err(Refusal::Breach(violation)) => return Err(violation),
        };
        let launch = LaunchConfig {
            function: key,
            grid,
            block,
            shared_bytes: body.shared_bytes.get(),
            cooperative: body.flags.get() & LAUNCH_COOPERATIVE != 0,
            attributes,
            params: params.into(),
        };
        Ok(if records.is_empty() {
            Action::Work(Work::Launch(launch))
        } else {
            Action::LaunchRecording(launch, records)
        })
    }

    /// Reads launch attributes, and makes the records of the events that they name. The caller marks those submitted
    /// when it has submitted the launch.
    pub(super) fn launch_attributes(&mut self, context: u32, bytes: &[u8]) -> Result<Attributes, Refusal> {
        let mut records = Vec::new();
        let read = self.read_attributes(context, bytes, &mut records);
        if read.is_err() {
            // What waits for them must not wait for a launch that will never be.
            records.iter().for_each(|version| version.set_submitted());
        }
        Ok((read?, records))
    }

    fn read_attributes(
        &mut self,
        context: u32,
        bytes: &[u8],
        records: &mut Vec<Arc<Version>>,
    ) -> Result<Vec<LaunchAttribute<EventKey>>, Refusal> {
        let read = LaunchAttribute::decode_all(bytes)?;
        let mapped = read.into_iter().map(|attribute| {
            attribute.try_map_event(|id| {
                let version = self.launch_record(context, id)?;
                let key = version.key;
                records.push(version);
                Ok(key)
            })
        });
        mapped.collect()
    }

    /// A record that a launch makes: CUDA takes events without times only.
    fn launch_record(&mut self, context: u32, id: EventId) -> Result<Arc<Version>, Refusal> {
        let device = self.contexts.at(context).map(|entry| entry.device.clone());
        match (self.events.get_mut(id.index(), id.generation())?, device) {
            (Ok(event), _) if event.timing => Err(Refusal::Status(Status::ERROR_INVALID_VALUE)),
            (Ok(event), Some(device)) if event.context == context => {
                event.record(&device).map_err(|error| Refusal::Status(error.status))
            }
            _ => Err(Refusal::Status(Status::ERROR_INVALID_HANDLE)),
        }
    }
}

/// Why the attributes of a launch are not taken.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The session ends.
    Breach(Violation),
    /// The launch fails.
    Status(Status),
}

impl From<Violation> for Refusal {
    fn from(violation: Violation) -> Self {
        Self::Breach(violation)
    }
}

impl From<AttributeError> for Refusal {
    fn from(error: AttributeError) -> Self {
        match error {
            AttributeError::Unknown { .. } => Self::Status(Status::ERROR_NOT_SUPPORTED),
            AttributeError::Value { .. } => Self::Status(Status::ERROR_INVALID_VALUE),
            _ => Self::Breach(Violation::PayloadLength),
        }
    }
}
