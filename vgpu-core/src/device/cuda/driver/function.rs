//! Kernels.

use std::ffi::{CStr, c_void};
use std::fmt;
use std::ptr;
use std::sync::Arc;

use cudarc::driver::sys;
use vgpu_proto::Status;

use super::error::check;
use super::module::Module;
use super::stream::Stream;
use crate::device::DeviceError;

/// `CU_LAUNCH_PARAM_END`, `CU_LAUNCH_PARAM_BUFFER_POINTER` and `CU_LAUNCH_PARAM_BUFFER_SIZE`.
const PARAM_END: usize = sys::CU_LAUNCH_PARAM_END_AS_INT as usize;
const PARAM_BUFFER: usize = sys::CU_LAUNCH_PARAM_BUFFER_POINTER_AS_INT as usize;
const PARAM_SIZE: usize = sys::CU_LAUNCH_PARAM_BUFFER_SIZE_AS_INT as usize;

/// An attribute that can be asked for (`CU_FUNC_ATTRIBUTE_*`).
#[derive(Clone, Copy, Debug)]
pub(in crate::device::cuda) enum Attribute {
    ThreadsPerBlock,
    SharedBytes,
    ConstantBytes,
    LocalBytes,
    Registers,
    DynamicSharedBytes,
}

/// Blocks, threads of a block, and its dynamic shared memory in bytes.
#[derive(Clone, Copy, Debug)]
pub(in crate::device::cuda) struct Dimensions {
    pub(in crate::device::cuda) grid: [u32; 3],
    pub(in crate::device::cuda) block: [u32; 3],
    pub(in crate::device::cuda) shared_bytes: u32,
}

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

    pub(in crate::device::cuda) fn attribute(&self, attribute: Attribute) -> Result<u32, DeviceError> {
        use sys::CUfunction_attribute_enum as A;
        self.module.handle().bind()?;
        let attribute = match attribute {
            Attribute::ThreadsPerBlock => A::CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK,
            Attribute::SharedBytes => A::CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES,
            Attribute::ConstantBytes => A::CU_FUNC_ATTRIBUTE_CONST_SIZE_BYTES,
            Attribute::LocalBytes => A::CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES,
            Attribute::Registers => A::CU_FUNC_ATTRIBUTE_NUM_REGS,
            Attribute::DynamicSharedBytes => A::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
        };
        let mut value = 0;
        // SAFETY: `value` is a place for a number; the function lives as long as its module.
        let result = unsafe { sys::cuFuncGetAttribute(&raw mut value, attribute, self.raw) };
        check(result, "cuFuncGetAttribute")?;
        Ok(value.max(0).unsigned_abs())
    }

    /// Sets how much dynamic shared memory a launch may ask for, in bytes.
    pub(in crate::device::cuda) fn set_dynamic_shared_bytes(&self, bytes: i32) -> Result<(), DeviceError> {
        self.set(sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, bytes)
    }

    /// Sets the share of shared memory in the cache, in per cent, -1 for the driver's choice.
    pub(in crate::device::cuda) fn set_carveout(&self, percent: i32) -> Result<(), DeviceError> {
        self.set(sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT, percent)
    }

    fn set(&self, attribute: sys::CUfunction_attribute, value: i32) -> Result<(), DeviceError> {
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

    /// Launches it.
    ///
    /// # Safety
    /// `params` is as long as the kernel's parameter block. What the kernel does with memory is confined by its context.
    pub(in crate::device::cuda) unsafe fn launch(
        &self,
        stream: &Stream,
        dimensions: Dimensions,
        cooperative: bool,
        params: &[u8],
    ) -> Result<(), DeviceError> {
        stream.handle().bind()?;
        let mut size = params.len();
        let mut extra: [*mut c_void; 5] = [
            ptr::without_provenance_mut(PARAM_BUFFER),
            params.as_ptr().cast_mut().cast::<c_void>(),
            ptr::without_provenance_mut(PARAM_SIZE),
            (&raw mut size).cast::<c_void>(),
            ptr::without_provenance_mut(PARAM_END),
        ];
        let extra = if params.is_empty() { ptr::null_mut() } else { extra.as_mut_ptr() };
        if cooperative {
            let mut attribute = cooperative_attribute();
            let config = launch_config(stream, dimensions, &mut attribute);
            // SAFETY: `config`, its attribute, the list and the parameters live through the call, which copies them.
            let result =
                unsafe { sys::cuLaunchKernelEx(&raw const config, self.raw, ptr::null_mut(), extra) };
            return check(result, "cuLaunchKernelEx");
        }
        let Dimensions { grid: [gx, gy, gz], block: [bx, by, bz], shared_bytes } = dimensions;
        let to = stream.raw();
        // SAFETY: the list and the parameters live through the call, which copies them; the caller checked their length.
        let result = unsafe {
            sys::cuLaunchKernel(self.raw, gx, gy, gz, bx, by, bz, shared_bytes, to, ptr::null_mut(), extra)
        };
        check(result, "cuLaunchKernel")
    }
}

fn cooperative_attribute() -> sys::CUlaunchAttribute {
    // The rest of the value stays zero, as the driver asks of what it does not know yet.
    let mut value = sys::CUlaunchAttributeValue { pad: [0; 64] };
    value.cooperative = 1;
    sys::CUlaunchAttribute {
        id: sys::CUlaunchAttributeID_enum::CU_LAUNCH_ATTRIBUTE_COOPERATIVE,
        pad: [0; 4],
        value,
    }
}

fn launch_config(
    stream: &Stream,
    dimensions: Dimensions,
    attribute: &mut sys::CUlaunchAttribute,
) -> sys::CUlaunchConfig {
    let Dimensions { grid, block, shared_bytes } = dimensions;
    sys::CUlaunchConfig {
        gridDimX: grid[0],
        gridDimY: grid[1],
        gridDimZ: grid[2],
        blockDimX: block[0],
        blockDimY: block[1],
        blockDimZ: block[2],
        sharedMemBytes: shared_bytes,
        hStream: stream.raw(),
        attrs: attribute,
        numAttrs: 1,
    }
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Function").finish_non_exhaustive()
    }
}
