//! Kernels of a library: one handle for all contexts.

use std::collections::HashMap;
use std::ffi::CString;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::context::Context;
use crate::current;
use crate::driver::{Driver, check_device, driver};
use crate::fail::{Call, INVALID_HANDLE, INVALID_VALUE};
use crate::function::{FunctionEntry, write_name};
use crate::library;
use crate::pointers::Out;
use crate::primary;

/// A kernel.
#[derive(Debug)]
pub(crate) struct Kernel {
    pub(crate) owner: u64,
    name: CString,
    /// Attributes that the program set. They hold in every context.
    settings: Mutex<Vec<(u32, i32)>>,
    /// Its handle and itself in each context that used it.
    functions: Mutex<HashMap<u64, (u64, Arc<FunctionEntry>)>>,
}

impl Kernel {
    pub(crate) fn new(library: u64, name: &str) -> Call<Self> {
        let name = CString::new(name).map_err(|_| INVALID_VALUE)?;
        Ok(Self { owner: library, name, settings: Mutex::default(), functions: Mutex::default() })
    }

    /// Forgets what it is in a context that is about to go.
    pub(crate) fn forget(&self, context: u64) {
        let function = self.functions.lock().remove(&context);
        drop(function);
    }

    /// The kernel in the current context, loaded at the first call.
    pub(crate) fn in_current(&self, driver: &Driver) -> Call<Arc<FunctionEntry>> {
        Ok(self.in_context(driver, &current::context()?)?.1)
    }

    /// The kernel on the device: in the current context, or the primary one where none is current.
    fn on_device(&self, driver: &Driver, device: i32) -> Call<Arc<FunctionEntry>> {
        let context = current::context().or_else(|_| primary::context(device))?;
        Ok(self.in_context(driver, &context)?.1)
    }

    /// Its handle in a context, and itself there.
    pub(crate) fn in_context(
        &self,
        driver: &Driver,
        context: &Arc<Context>,
    ) -> Call<(u64, Arc<FunctionEntry>)> {
        let mut functions = self.functions.lock();
        if let Some((handle, function)) = functions.get(&context.id) {
            return Ok((*handle, Arc::clone(function)));
        }
        let module = library::find(driver, self.owner)?.module(driver, context)?;
        let handle = module.function(driver, self.name.to_str().map_err(|_| INVALID_VALUE)?)?;
        let function = driver.functions.get(handle).ok_or(INVALID_HANDLE)?;
        for (attribute, value) in self.settings.lock().iter() {
            function.set_attribute(*attribute, *value)?;
        }
        functions.insert(context.id, (handle, Arc::clone(&function)));
        Ok((handle, function))
    }

    fn set_attribute(&self, driver: &Driver, device: i32, attribute: u32, value: i32) -> Call {
        let first = self.on_device(driver, device)?;
        first.set_attribute(attribute, value)?;
        let functions = self.functions.lock();
        for (_, function) in functions.values().filter(|(_, function)| !Arc::ptr_eq(function, &first)) {
            function.set_attribute(attribute, value)?;
        }
        let mut settings = self.settings.lock();
        settings.retain(|(known, _)| *known != attribute);
        settings.push((attribute, value));
        Ok(())
    }
}

/// The kernel of that handle.
pub(crate) fn find(driver: &Driver, handle: u64) -> Call<Arc<Kernel>> {
    driver.kernels.get(handle).ok_or(INVALID_HANDLE)
}

driver_calls! {
    fn cuKernelGetFunction(out: Out<u64>, kernel: u64) {
        let driver = driver()?;
        out.required()?.set(find(driver, kernel)?.in_context(driver, &current::context()?)?.0);
        Ok(())
    }
    fn cuKernelGetLibrary(out: Out<u64>, kernel: u64) {
        out.required()?.set(find(driver()?, kernel)?.owner);
        Ok(())
    }
    fn cuKernelGetName(out: Out<u64>, kernel: u64) { write_name(out, &find(driver()?, kernel)?.name) }
    fn cuKernelGetAttribute(out: Out<i32>, attribute: u32, kernel: u64, device: i32) {
        let driver = check_device(device)?;
        let function = find(driver, kernel)?.on_device(driver, device)?;
        out.required()?.set(function.attribute(attribute)?);
        Ok(())
    }
    fn cuKernelSetAttribute(attribute: u32, value: i32, kernel: u64, device: i32) {
        let driver = check_device(device)?;
        find(driver, kernel)?.set_attribute(driver, device, attribute, value)
    }
    fn cuKernelSetCacheConfig(kernel: u64, preference: u32, device: i32) {
        find(check_device(device)?, kernel)?;
        // A preference, which the driver may ignore.
        if preference <= 3 { Ok(()) } else { Err(INVALID_VALUE) }
    }
    fn cuKernelGetParamInfo(kernel: u64, index: u64, offset: Out<u64>, bytes: Out<u64>) {
        let driver = driver()?;
        let (at, length) = find(driver, kernel)?.on_device(driver, 0)?.param(index)?;
        offset.required()?.set(at);
        bytes.set(length);
        Ok(())
    }
}
