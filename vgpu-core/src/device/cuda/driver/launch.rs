//! Launching kernels.

use std::ffi::c_void;
use std::ptr;

use cudarc::driver::sys;

use super::error::check;
use super::function::Function;
use super::launch_attribute::DriverAttribute;
use super::stream::Stream;
use crate::device::DeviceError;

/// `CU_LAUNCH_PARAM_END`, `CU_LAUNCH_PARAM_BUFFER_POINTER` and `CU_LAUNCH_PARAM_BUFFER_SIZE`.
const PARAM_END: usize = sys::CU_LAUNCH_PARAM_END_AS_INT as usize;
const PARAM_BUFFER: usize = sys::CU_LAUNCH_PARAM_BUFFER_POINTER_AS_INT as usize;
const PARAM_SIZE: usize = sys::CU_LAUNCH_PARAM_BUFFER_SIZE_AS_INT as usize;

/// Blocks, threads of a block, and its dynamic shared memory in bytes.
#[derive(Clone, Copy, Debug)]
pub(in crate::device::cuda) struct Dimensions {
    pub(in crate::device::cuda) grid: [u32; 3],
    pub(in crate::device::cuda) block: [u32; 3],
    pub(in crate::device::cuda) shared_bytes: u32,
}

impl Dimensions {
    /// The driver's form of it. It points to the attributes, which it must not outlive.
    pub(super) fn config(
        self,
        stream: sys::CUstream,
        attributes: &mut [sys::CUlaunchAttribute],
    ) -> sys::CUlaunchConfig {
        let Self { grid, block, shared_bytes } = self;
        sys::CUlaunchConfig {
            gridDimX: grid[0],
            gridDimY: grid[1],
            gridDimZ: grid[2],
            blockDimX: block[0],
            blockDimY: block[1],
            blockDimZ: block[2],
            sharedMemBytes: shared_bytes,
            hStream: stream,
            attrs: attributes.as_mut_ptr(),
            numAttrs: u32::try_from(attributes.len()).unwrap_or(u32::MAX),
        }
    }
}

impl Function {
    /// Launches it.
    ///
    /// # Safety
    /// `params` is as long as the kernel's parameter block, and an access policy window in `attributes` lies in the
    /// session's memory. What the kernel does with memory is confined by its context.
    pub(in crate::device::cuda) unsafe fn launch(
        &self,
        stream: &Stream,
        dimensions: Dimensions,
        attributes: &[DriverAttribute<'_>],
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
        if !attributes.is_empty() {
            let mut raw: Vec<_> = attributes.iter().map(DriverAttribute::raw).collect();
            let config = dimensions.config(stream.raw(), &mut raw);
            // SAFETY: `config`, its attributes with their events, the list and the parameters live through the call,
            // which copies them; the caller checked the parameters' length.
            let result =
                unsafe { sys::cuLaunchKernelEx(&raw const config, self.raw(), ptr::null_mut(), extra) };
            return check(result, "cuLaunchKernelEx");
        }
        let Dimensions { grid: [gx, gy, gz], block: [bx, by, bz], shared_bytes } = dimensions;
        let (function, to) = (self.raw(), stream.raw());
        // SAFETY: the list and the parameters live through the call, which copies them; the caller checked their length.
        let result = unsafe {
            sys::cuLaunchKernel(function, gx, gy, gz, bx, by, bz, shared_bytes, to, ptr::null_mut(), extra)
        };
        check(result, "cuLaunchKernel")
    }
}
