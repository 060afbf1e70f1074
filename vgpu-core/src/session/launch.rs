//! Kernel launches.

use vgpu_proto::body::{self, LAUNCH_COOPERATIVE};
use vgpu_proto::limits::PARAMS_BYTES_MAX;
use vgpu_proto::{FunctionId, Status, Violation};
use zerocopy::little_endian::U32;

use super::command::Action;
use super::dispatcher::Core;
use crate::device::{LaunchConfig, Work};

impl Core {
    /// Checks a launch against its kernel.
    pub(super) fn launch(
        &self,
        context: u32,
        body: &body::LaunchKernel,
        params: &[u8],
    ) -> Result<Action, Violation> {
        if params.len() > PARAMS_BYTES_MAX as usize {
            return Err(Violation::PayloadLimit);
        }
        let known = body.flags.get() & !LAUNCH_COOPERATIVE == 0;
        if !known || body.attribute_bytes.get() != 0 || body.reserved.get() != 0 {
            return Err(Violation::ReservedBits);
        }
        let id = FunctionId::from_raw(body.function.get());
        let function = match self.functions.get(id.index(), id.generation())? {
            Ok(function) if function.context == context => function,
            _ => return Ok(Action::Finished(Status::ERROR_INVALID_HANDLE)),
        };
        let grid = body.grid.map(U32::get);
        let block = body.block.map(U32::get);
        if params.len() != function.params_bytes as usize || grid.contains(&0) || block.contains(&0) {
            return Ok(Action::Finished(Status::ERROR_INVALID_VALUE));
        }
        Ok(Action::Work(Work::Launch(LaunchConfig {
            function: function.key,
            grid,
            block,
            shared_bytes: body.shared_bytes.get(),
            cooperative: body.flags.get() & LAUNCH_COOPERATIVE != 0,
            params: params.into(),
        })))
    }
}
