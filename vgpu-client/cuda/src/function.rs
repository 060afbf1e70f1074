//! Kernels of a module: attributes and parameters.

use std::ffi::CString;

use vgpu_client::Function;

use crate::driver::{Driver, driver};
use crate::fail::{Call, INVALID_HANDLE, INVALID_VALUE};
use crate::pointers::Out;
use crate::table::{Kind, is_kind};
use std::sync::Arc;

/// A kernel in a context.
#[derive(Debug)]
pub(crate) struct FunctionEntry {
    pub(crate) context: u64,
    pub(crate) module: u64,
    pub(crate) function: Function,
    pub(crate) name: CString,
}

impl FunctionEntry {
    pub(crate) fn new(context: u64, module: u64, function: Function) -> Call<Self> {
        let name = CString::new(function.name()).map_err(|_| INVALID_VALUE)?;
        Ok(Self { context, module, function, name })
    }

    /// The attribute of that number, answered without a round trip.
    pub(crate) fn attribute(&self, which: u32) -> Call<i32> {
        self.function.attribute(which).ok_or(INVALID_VALUE)
    }

    pub(crate) fn set_attribute(&self, which: u32, value: i32) -> Call {
        Ok(self.function.set_attribute(which, value)?)
    }

    /// Offset and size of a parameter in the parameter block, in bytes.
    pub(crate) fn param(&self, index: u64) -> Call<(u64, u64)> {
        let param = usize::try_from(index).ok().and_then(|index| self.function.params().get(index));
        let param = param.ok_or(INVALID_VALUE)?;
        Ok((param.offset_bytes.into(), param.size_bytes.into()))
    }
}

/// The kernel in a context that a handle names: a `CUfunction`, or a `CUkernel` in the current context.
pub(crate) fn find(driver: &Driver, handle: u64) -> Call<Arc<FunctionEntry>> {
    if is_kind(handle, Kind::Kernel) {
        return crate::kernel::find(driver, handle)?.in_current(driver);
    }
    driver.functions.get(handle).ok_or(INVALID_HANDLE)
}

/// Writes the address of a text that lives as long as its owner.
pub(crate) fn write_name(out: Out<u64>, name: &CString) -> Call {
    out.required()?.set(name.as_ptr() as u64);
    Ok(())
}

driver_calls! {
    fn cuFuncGetAttribute(out: Out<i32>, attribute: u32, function: u64) {
        out.required()?.set(find(driver()?, function)?.attribute(attribute)?);
        Ok(())
    }
    fn cuFuncSetAttribute(function: u64, attribute: u32, value: i32) {
        find(driver()?, function)?.set_attribute(attribute, value)
    }
    fn cuFuncSetCacheConfig(function: u64, preference: u32) {
        find(driver()?, function)?;
        // A preference, which the driver may ignore.
        if preference <= 3 { Ok(()) } else { Err(INVALID_VALUE) }
    }
    fn cuFuncSetSharedMemConfig(function: u64, config: u32) {
        find(driver()?, function)?;
        if config <= 2 { Ok(()) } else { Err(INVALID_VALUE) }
    }
    fn cuFuncGetModule(out: Out<u64>, function: u64) {
        out.required()?.set(find(driver()?, function)?.module);
        Ok(())
    }
    fn cuFuncGetName(out: Out<u64>, function: u64) { write_name(out, &find(driver()?, function)?.name) }
    fn cuFuncGetParamInfo(function: u64, index: u64, offset: Out<u64>, bytes: Out<u64>) {
        let (at, length) = find(driver()?, function)?.param(index)?;
        offset.required()?.set(at);
        bytes.set(length);
        Ok(())
    }
    fn cuFuncIsLoaded(out: Out<u32>, function: u64) {
        find(driver()?, function)?;
        // CU_FUNCTION_LOADING_STATE_LOADED
        out.required()?.set(1);
        Ok(())
    }
    fn cuFuncLoad(function: u64) { find(driver()?, function).map(drop) }
}
