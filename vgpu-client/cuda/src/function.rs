//! Kernels of a module: attributes and parameters.

use std::ffi::CString;

use vgpu_client::Function;

use crate::driver::{Driver, driver};
use crate::fail::{Call, INVALID_HANDLE, INVALID_VALUE, NOT_SUPPORTED};
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

/// Attributes of a kernel, as `CU_FUNC_ATTRIBUTE_*` numbers them.
pub(crate) mod attribute {
    pub(crate) const MAX_THREADS_PER_BLOCK: u32 = 0;
    pub(crate) const SHARED_SIZE_BYTES: u32 = 1;
    pub(crate) const CONST_SIZE_BYTES: u32 = 2;
    pub(crate) const LOCAL_SIZE_BYTES: u32 = 3;
    pub(crate) const NUM_REGS: u32 = 4;
    pub(crate) const PTX_VERSION: u32 = 5;
    pub(crate) const BINARY_VERSION: u32 = 6;
    pub(crate) const CACHE_MODE_CA: u32 = 7;
    pub(crate) const MAX_DYNAMIC_SHARED_SIZE_BYTES: u32 = 8;
    pub(crate) const PREFERRED_SHARED_MEMORY_CARVEOUT: u32 = 9;
    pub(crate) const CLUSTER_SCHEDULING_POLICY_PREFERENCE: u32 = 15;
    /// The last of CUDA 13.0.
    pub(crate) const LAST: u32 = 15;
}

impl FunctionEntry {
    pub(crate) fn new(context: u64, module: u64, function: Function) -> Call<Self> {
        let name = CString::new(function.name()).map_err(|_| INVALID_VALUE)?;
        Ok(Self { context, module, function, name })
    }

    pub(crate) fn attribute(&self, driver: &Driver, which: u32) -> Call<i32> {
        let attributes = self.function.attributes();
        let device = driver.device();
        let value = match which {
            attribute::MAX_THREADS_PER_BLOCK => attributes.threads_per_block_max,
            attribute::SHARED_SIZE_BYTES => attributes.shared_bytes,
            attribute::CONST_SIZE_BYTES => attributes.constant_bytes,
            attribute::LOCAL_SIZE_BYTES => attributes.local_bytes,
            attribute::NUM_REGS => attributes.registers,
            attribute::PTX_VERSION | attribute::BINARY_VERSION => {
                device.compute_major * 10 + device.compute_minor
            }
            attribute::CACHE_MODE_CA => 0,
            attribute::MAX_DYNAMIC_SHARED_SIZE_BYTES => attributes.dynamic_shared_bytes_max,
            // -1: the driver chooses.
            attribute::PREFERRED_SHARED_MEMORY_CARVEOUT => return Ok(-1),
            // No kernel of a device without clusters has their attributes set.
            _ if which <= attribute::LAST => 0,
            _ => return Err(INVALID_VALUE),
        };
        Ok(i32::try_from(value).unwrap_or(i32::MAX))
    }

    pub(crate) fn set_attribute(&self, which: u32, value: i32) -> Call {
        match which {
            attribute::MAX_DYNAMIC_SHARED_SIZE_BYTES => {
                let bytes = u32::try_from(value).map_err(|_| INVALID_VALUE)?;
                Ok(self.function.set_max_dynamic_shared(bytes)?)
            }
            // Hints.
            attribute::PREFERRED_SHARED_MEMORY_CARVEOUT if (-1..=100).contains(&value) => Ok(()),
            attribute::CLUSTER_SCHEDULING_POLICY_PREFERENCE => Ok(()),
            10..=attribute::LAST => Err(NOT_SUPPORTED),
            _ => Err(INVALID_VALUE),
        }
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
        let driver = driver()?;
        out.required()?.set(find(driver, function)?.attribute(driver, attribute)?);
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
