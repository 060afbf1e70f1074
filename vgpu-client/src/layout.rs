//! The layout of a kernel's parameters, for callers that hold arguments without types: a driver's API gives pointers, and
//! only the kernel says how many bytes lie there.

use vgpu_proto::control::ParamDescription;

use crate::function::Function;

impl Function {
    /// Its parameters, in their order. They do not overlap.
    pub fn params(&self) -> &[ParamDescription] {
        &self.data().description.params
    }

    /// Its name on the wire, for kernel nodes of [`vgpu_proto::graph`].
    pub fn wire_name(&self) -> u64 {
        self.data().id.raw()
    }
}
