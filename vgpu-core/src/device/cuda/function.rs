//! A kernel of a loaded module.

use std::sync::Arc;

use vgpu_proto::Status;
use vgpu_proto::body::FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
use vgpu_proto::control::{FunctionDescription, ParamDescription};
use vgpu_proto::limits::PARAMS_BYTES_MAX;

use super::driver::{Attribute, Function};
use crate::device::DeviceError;

/// `CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT`.
const ATTRIBUTE_CARVEOUT: u32 = 9;

#[derive(Debug)]
pub(super) struct Kernel {
    pub(super) function: Function,
    pub(super) name: Arc<str>,
    pub(super) params_bytes: usize,
}

impl Kernel {
    /// Asks the driver for all that sessions want to know, and puts the code on the GPU. May block.
    pub(super) fn describe(function: Function) -> Result<(Self, FunctionDescription), DeviceError> {
        function.load()?;
        let description = FunctionDescription {
            name: function.name()?,
            params: params(&function)?,
            threads_per_block_max: function.attribute(Attribute::ThreadsPerBlock)?,
            shared_bytes: function.attribute(Attribute::SharedBytes)?,
            constant_bytes: function.attribute(Attribute::ConstantBytes)?,
            local_bytes: function.attribute(Attribute::LocalBytes)?,
            registers: function.attribute(Attribute::Registers)?,
            dynamic_shared_bytes_max: function.attribute(Attribute::DynamicSharedBytes)?,
        };
        let params_bytes = description.params_bytes() as usize;
        Ok((Self { function, name: description.name.as_str().into(), params_bytes }, description))
    }

    /// Sets an attribute.
    pub(super) fn set_attribute(&self, attribute: u32, value: i32) -> Result<(), DeviceError> {
        match attribute {
            FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES => self.function.set_dynamic_shared_bytes(value),
            ATTRIBUTE_CARVEOUT => self.function.set_carveout(value),
            _ => Err(DeviceError::new(
                Status::ERROR_NOT_SUPPORTED,
                format!("function attribute {attribute} of {} cannot be set", self.name),
            )),
        }
    }
}

/// The layout of the parameter block, as the driver knows it.
fn params(function: &Function) -> Result<Vec<ParamDescription>, DeviceError> {
    let mut params = Vec::new();
    // A parameter has a byte at least, so there are not more of them than bytes.
    for index in 0..PARAMS_BYTES_MAX as usize {
        let Some((offset, size)) = function.param(index)? else { break };
        let number = |value: usize| {
            u32::try_from(value)
                .map_err(|_| DeviceError::new(Status::ERROR_UNKNOWN, "a parameter behind 4 GiB"))
        };
        params.push(ParamDescription { offset_bytes: number(offset)?, size_bytes: number(size)? });
    }
    Ok(params)
}
