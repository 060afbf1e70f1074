//! Kernels.

use std::ffi::CStr;
use std::fmt;
use std::ptr;
use std::sync::Arc;

use cudarc::driver::sys;
use vgpu_proto::Status;

use super::error::check;
use super::handle::Handle;
use super::module::Module;
use crate::device::DeviceError;

/// Every attribute of a kernel (`CU_FUNC_ATTRIBUTE_*`), by its number.
const ATTRIBUTES: [sys::CUfunction_attribute; 16] = {
    use sys::CUfunction_attribute_enum as A;
    [
        A::CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK,
        A::CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES,
        A::CU_FUNC_ATTRIBUTE_CONST_SIZE_BYTES,
        A::CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES,
        A::CU_FUNC_ATTRIBUTE_NUM_REGS,
        A::CU_FUNC_ATTRIBUTE_PTX_VERSION,
        A::CU_FUNC_ATTRIBUTE_BINARY_VERSION,
        A::CU_FUNC_ATTRIBUTE_CACHE_MODE_CA,
        A::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
        A::CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT,
        A::CU_FUNC_ATTRIBUTE_CLUSTER_SIZE_MUST_BE_SET,
        A::CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_WIDTH,
        A::CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_HEIGHT,
        A::CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_DEPTH,
        A::CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED,
        A::CU_FUNC_ATTRIBUTE_CLUSTER_SCHEDULING_POLICY_PREFERENCE,
    ]
};

/// A kernel of the driver.
pub(in crate::device::cuda) struct Function {
    raw: sys::CUfunction,
    module: Arc<Module>,
}

// SAFETY: the driver lets any thread use a function and locks for itself.
unsafe impl Send for Function {}
// SAFETY: as above.
unsafe impl Sync for Function {}

impl Function {
    pub(super) fn new(raw: sys::CUfunction, module: &Arc<Module>) -> Self {
        Self { raw, module: Arc::clone(module) }
    }

    /// Puts its code on the GPU, which the driver would otherwise do at the first launch. May block.
    pub(in crate::device::cuda) fn load(&self) -> Result<(), DeviceError> {
        self.module.handle().bind()?;
        // SAFETY: the function lives as long as its module, which `self` keeps.
        let result = unsafe { sys::cuFuncLoad(self.raw) };
        check(result, "cuFuncLoad")
    }

    pub(in crate::device::cuda) fn name(&self) -> Result<String, DeviceError> {
        self.module.handle().bind()?;
        let mut name = ptr::null();
        // SAFETY: `name` is a place for a pointer; the function lives as long as its module.
        let result = unsafe { sys::cuFuncGetName(&raw mut name, self.raw) };
        check(result, "cuFuncGetName")?;
        if name.is_null() {
            return Err(DeviceError::new(Status::ERROR_UNKNOWN, "cuFuncGetName: the kernel has no name"));
        }
        // SAFETY: the driver answers a text that ends with a zero and lives as long as the module.
        Ok(unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned())
    }

    /// All its attributes, by their numbers. Each costs the driver a look into its own memory.
    pub(in crate::device::cuda) fn attributes(&self) -> Result<Vec<i32>, DeviceError> {
        self.module.handle().bind()?;
        let value = |attribute| {
            let mut value = 0;
            // SAFETY: `value` is a place for a number; the function lives as long as its module.
            let result = unsafe { sys::cuFuncGetAttribute(&raw mut value, attribute, self.raw) };
            check(result, "cuFuncGetAttribute").map(|()| value)
        };
        ATTRIBUTES.into_iter().map(value).collect()
    }

    /// Sets the attribute of that number.
    pub(in crate::device::cuda) fn set_attribute(&self, number: u32, value: i32) -> Result<(), DeviceError> {
        let attribute = usize::try_from(number).ok().and_then(|at| ATTRIBUTES.get(at).copied());
        let attribute = attribute.ok_or_else(|| {
            DeviceError::new(Status::ERROR_INVALID_VALUE, format!("there is no function attribute {number}"))
        })?;
        self.module.handle().bind()?;
        // SAFETY: the function lives as long as its module.
        let result = unsafe { sys::cuFuncSetAttribute(self.raw, attribute, value) };
        check(result, "cuFuncSetAttribute")
    }

    /// Offset and size of parameter `index` in the parameter block, in bytes; `None` behind the last one.
    pub(in crate::device::cuda) fn param(&self, index: usize) -> Result<Option<(usize, usize)>, DeviceError> {
        self.module.handle().bind()?;
        let (mut offset, mut size) = (0, 0);
        // SAFETY: there are places for both answers; the function lives as long as its module.
        let result = unsafe { sys::cuFuncGetParamInfo(self.raw, index, &raw mut offset, &raw mut size) };
        match check(result, "cuFuncGetParamInfo") {
            Ok(()) => Ok(Some((offset, size))),
            // The driver counts no parameters; it refuses the index behind the last one.
            Err(error) if error.status == Status::ERROR_INVALID_VALUE => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn raw(&self) -> sys::CUfunction {
        self.raw
    }

    pub(super) fn handle(&self) -> &Arc<Handle> {
        self.module.handle()
    }
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Function").finish_non_exhaustive()
    }
}
