//! The layout of a kernel's parameters, for callers that hold arguments without types: a driver's API gives pointers, and
//! only the kernel says how many bytes lie there.

use vgpu_proto::control::ParamDescription;

use crate::function::Function;

impl Function {
    /// Its parameters, in their order. They do not overlap.
    pub fn params(&self) -> &[ParamDescription] {
        &self.data().description.params
    }
}
