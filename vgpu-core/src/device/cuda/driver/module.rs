//! Modules.

use std::ffi::{CStr, c_void};
use std::fmt;
use std::ptr;
use std::sync::Arc;

use cudarc::driver::sys;

use super::error::check;
use super::function::Function;
use super::handle::Handle;
use crate::device::DeviceError;

/// A module of the driver.
pub(in crate::device::cuda) struct Module {
    raw: sys::CUmodule,
    handle: Arc<Handle>,
}

// SAFETY: the driver lets any thread use a module and locks for itself.
unsafe impl Send for Module {}
// SAFETY: as above.
unsafe impl Sync for Module {}

impl Module {
    /// Loads a cubin or fatbin. May block.
    ///
    /// # Safety
    /// The driver reads as far as the image's own headers say: they were checked against its length.
    pub(in crate::device::cuda) unsafe fn load(
        handle: &Arc<Handle>,
        image: &[u8],
    ) -> Result<Self, DeviceError> {
        handle.bind()?;
        let mut raw = ptr::null_mut();
        // SAFETY: `raw` is a place for a handle; the caller checked the image; there are no options to read.
        let result = unsafe {
            sys::cuModuleLoadDataEx(
                &raw mut raw,
                image.as_ptr().cast::<c_void>(),
                0,
                ptr::null_mut(),
                ptr::null_mut(),
            )
        };
        check(result, "cuModuleLoadData")?;
        Ok(Self { raw, handle: Arc::clone(handle) })
    }

    /// How many kernels it has.
    pub(in crate::device::cuda) fn function_count(&self) -> Result<u32, DeviceError> {
        self.handle.bind()?;
        let mut count = 0;
        // SAFETY: `count` is a place for a number; the module lives as long as `self`.
        let result = unsafe { sys::cuModuleGetFunctionCount(&raw mut count, self.raw) };
        check(result, "cuModuleGetFunctionCount")?;
        Ok(count)
    }

    /// A kernel by its name.
    pub(in crate::device::cuda) fn function(self: &Arc<Self>, name: &CStr) -> Result<Function, DeviceError> {
        self.handle.bind()?;
        let mut raw = ptr::null_mut();
        // SAFETY: `raw` is a place for a handle; name and module live through the call.
        let result = unsafe { sys::cuModuleGetFunction(&raw mut raw, self.raw, name.as_ptr()) };
        check(result, "cuModuleGetFunction")?;
        Ok(Function::new(raw, self))
    }

    /// Its kernels. Does not put their code on the device.
    pub(in crate::device::cuda) fn functions(self: &Arc<Self>) -> Result<Vec<Function>, DeviceError> {
        let count = self.function_count()?;
        let mut functions = vec![ptr::null_mut(); count as usize];
        // SAFETY: there is a place for each of `count` handles; the module lives as long as `self`.
        let result = unsafe { sys::cuModuleEnumerateFunctions(functions.as_mut_ptr(), count, self.raw) };
        check(result, "cuModuleEnumerateFunctions")?;
        Ok(functions.into_iter().map(|raw| Function::new(raw, self)).collect())
    }

    /// Address and size of a variable.
    pub(in crate::device::cuda) fn global(&self, name: &CStr) -> Result<(u64, u64), DeviceError> {
        self.handle.bind()?;
        let (mut address, mut bytes) = (0, 0);
        // SAFETY: there are places for both answers; name and module live through the call.
        let result =
            unsafe { sys::cuModuleGetGlobal_v2(&raw mut address, &raw mut bytes, self.raw, name.as_ptr()) };
        check(result, "cuModuleGetGlobal")?;
        Ok((address, bytes as u64))
    }

    pub(super) fn handle(&self) -> &Arc<Handle> {
        &self.handle
    }
}

impl Drop for Module {
    /// May block.
    fn drop(&mut self) {
        if self.handle.bind().is_ok() {
            // SAFETY: its functions keep a module, so this is the last use; who drops it waited for its launches.
            let _ = unsafe { sys::cuModuleUnload(self.raw) };
        }
    }
}

impl fmt::Debug for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Module").finish_non_exhaustive()
    }
}
