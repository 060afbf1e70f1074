//! Occupancy of a session's kernels.

use vgpu_proto::attribute::AttributeError;
use vgpu_proto::body::{self, LAUNCH_COOPERATIVE};
use vgpu_proto::frame::ReplyTo;
use vgpu_proto::limits::LAUNCH_ATTRIBUTE_BYTES_MAX;
use vgpu_proto::{FunctionId, LaunchAttribute, Status, Violation};
use zerocopy::little_endian::U32;

use super::dispatcher::Core;
use super::job::{Values, one};
use super::launch::Refusal;
use crate::device::{EventKey, FunctionKey, LaunchConfig, Occupancy};

impl Core {
    pub(super) fn occupancy(
        &self,
        body: &body::Occupancy,
        attributes: &[u8],
        reply: ReplyTo,
    ) -> Result<(), Violation> {
        if attributes.len() > LAUNCH_ATTRIBUTE_BYTES_MAX as usize {
            return Err(Violation::PayloadLimit);
        }
        if body.reserved.get() != 0 {
            return Err(Violation::ReservedBits);
        }
        let id = FunctionId::from_raw(body.function.get());
        let answer = match self.functions.get(id.index(), id.generation())? {
            Err(status) => Err(status),
            Ok(function) => match query(body, attributes, function.key) {
                Err(Refusal::Breach(violation)) => return Err(violation),
                Err(Refusal::Status(status)) => Err(status),
                Ok(query) => function.device.occupancy(function.key, &query).map_err(|error| error.status),
            },
        };
        let (status, values) = match answer {
            Ok(figure) => (Status::SUCCESS, one(figure)),
            Err(status) => (status, Values::default()),
        };
        self.words().answer(reply, status, values);
        Ok(())
    }
}

fn query(body: &body::Occupancy, attributes: &[u8], function: FunctionKey) -> Result<Occupancy, Refusal> {
    let (grid, block) = (body.grid.map(U32::get), body.block.map(U32::get));
    let (flags, shared_bytes) = (body.flags.get(), body.shared_bytes.get());
    let launch = || {
        Ok::<_, Refusal>(LaunchConfig {
            function,
            grid,
            block,
            shared_bytes: u32::try_from(shared_bytes)
                .map_err(|_| Refusal::Status(Status::ERROR_INVALID_VALUE))?,
            cooperative: flags & LAUNCH_COOPERATIVE != 0,
            attributes: eventless(attributes)?,
            params: [].into(),
        })
    };
    Ok(match body.kind.get() {
        body::OCCUPANCY_ACTIVE_BLOCKS => {
            Occupancy::ActiveBlocks { threads: block[0], dynamic_shared_bytes: shared_bytes, flags }
        }
        body::OCCUPANCY_DYNAMIC_SHARED => Occupancy::DynamicShared { blocks: grid[0], threads: block[0] },
        body::OCCUPANCY_ACTIVE_CLUSTERS => Occupancy::ActiveClusters(launch()?),
        body::OCCUPANCY_CLUSTER_SIZE => Occupancy::ClusterSize(launch()?),
        _ => return Err(Violation::ReservedBits.into()),
    })
}

/// Attributes of a launch that will not be: none names an event.
fn eventless(bytes: &[u8]) -> Result<Vec<LaunchAttribute<EventKey>>, Refusal> {
    let read: Result<_, AttributeError> = LaunchAttribute::decode_all(bytes);
    let refused = || Refusal::Status(Status::ERROR_INVALID_VALUE);
    read?.into_iter().map(|attribute| attribute.try_map_event(|_| Err(refused()))).collect()
}
