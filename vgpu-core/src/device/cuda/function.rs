//! A kernel of a loaded module.

use std::sync::Arc;

use vgpu_proto::Status;
use vgpu_proto::body::FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
use vgpu_proto::control::{FunctionDescription, ParamDescription};
use vgpu_proto::limits::PARAMS_BYTES_MAX;

use super::driver::Function;
use crate::device::DeviceError;

#[derive(Debug)]
pub(super) struct Kernel {
    pub(super) function: Function,
    pub(super) name: Arc<str>,
    pub(super) params_bytes: usize,
    /// Where each parameter lies in the block.
    pub(super) params: Vec<ParamDescription>,
}

impl Kernel {
    /// Asks the driver for all that sessions want to know, and puts the code on the GPU. May block.
    pub(super) fn describe(function: Function) -> Result<(Self, FunctionDescription), DeviceError> {
        function.load()?;
        let attributes = function.attributes()?;
        let figure = |number: usize| attributes.get(number).map_or(0, |value| value.max(&0).unsigned_abs());
        // The numbers are those of `CU_FUNC_ATTRIBUTE_*`.
        let description = FunctionDescription {
            name: function.name()?,
            params: params(&function)?,
            threads_per_block_max: figure(0),
            shared_bytes: figure(1),
            constant_bytes: figure(2),
            local_bytes: figure(3),
            registers: figure(4),
            dynamic_shared_bytes_max: figure(FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES as usize),
            attributes,
        };
        let params_bytes = description.params_bytes() as usize;
        let (name, params) = (description.name.as_str().into(), description.params.clone());
        Ok((Self { function, name, params_bytes, params }, description))
    }

    /// Sets an attribute. The driver knows which can be set, and refuses the others.
    pub(super) fn set_attribute(&self, attribute: u32, value: i32) -> Result<(), DeviceError> {
        self.function.set_attribute(attribute, value).map_err(|error| {
            let text = format!("function attribute {attribute} of {}: {}", self.name, error.text);
            DeviceError::new(error.status, text)
        })
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
