//! Modules: images loaded into the current context.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use vgpu_client::Status;

use crate::context::Context;
use crate::current;
use crate::driver::{Driver, driver};
use crate::fail::{Call, Fail, INVALID_HANDLE, INVALID_VALUE};
use crate::function::FunctionEntry;
use crate::image::Image;
use crate::jit::Logs;
use crate::pointers::{HostPointer, In, Out, Text};

/// `CU_MODULE_LAZY_LOADING`: code is sent when it is first used.
const LAZY_LOADING: u32 = 2;

/// A loaded module.
#[derive(Debug)]
pub(crate) struct ModuleEntry {
    pub(crate) handle: u64,
    pub(crate) context: Arc<Context>,
    pub(crate) module: vgpu_client::Module,
    /// Whether a library loaded it: the program may not unload it then.
    pub(crate) of_library: bool,
    /// Handles of the kernels that were asked for.
    functions: Mutex<HashMap<String, u64>>,
}

impl ModuleEntry {
    pub(crate) fn load(
        driver: &Driver,
        context: Arc<Context>,
        image: &Image,
        of_library: bool,
        log: &mut String,
    ) -> Call<Arc<Self>> {
        let module = image.load(&context, log)?;
        let handle = driver.modules.mint();
        let entry = Arc::new(Self { handle, context, module, of_library, functions: Mutex::default() });
        driver.modules.insert(handle, Arc::clone(&entry));
        Ok(entry)
    }

    /// Handle of a kernel.
    pub(crate) fn function(&self, driver: &Driver, name: &str) -> Call<u64> {
        let mut functions = self.functions.lock();
        if let Some(handle) = functions.get(name) {
            return Ok(*handle);
        }
        let function = self.module.function(name)?;
        let handle = driver.functions.mint();
        let entry = FunctionEntry::new(self.context.id, self.handle, function)?;
        driver.functions.insert(handle, Arc::new(entry));
        functions.insert(name.to_owned(), handle);
        Ok(handle)
    }

    /// Takes the module and its kernels out of the tables, and so unloads it.
    pub(crate) fn unload(&self, driver: &Driver) {
        drop(driver.functions.take(|function| function.module == self.handle));
        drop(driver.modules.remove(self.handle));
    }
}

fn load(out: Out<u64>, image: HostPointer, log: &mut String) -> Call {
    let driver = driver()?;
    let context = current::context()?;
    out.required()?;
    let image = Image::read(driver, image)?;
    out.set(ModuleEntry::load(driver, context, &image, false, log)?.handle);
    Ok(())
}

fn load_file(out: Out<u64>, path: Text) -> Call {
    out.required()?;
    let bytes = read_file(path)?;
    load(out, HostPointer::unified(bytes.as_ptr() as u64), &mut String::new())
}

/// The bytes of an image's file, read in the guest, with a NUL behind them.
pub(crate) fn read_file(path: Text) -> Call<Vec<u8>> {
    let mut bytes = std::fs::read(path.read()?).map_err(|_| Fail(Status(301)))?;
    bytes.push(0);
    Ok(bytes)
}

fn find(handle: u64) -> Call<Arc<ModuleEntry>> {
    driver()?.modules.get(handle).ok_or(INVALID_HANDLE)
}

fn unload(handle: u64) -> Call {
    let module = find(handle)?;
    if module.of_library {
        return Err(INVALID_VALUE);
    }
    module.unload(driver()?);
    Ok(())
}

/// Writes address and size of a variable.
pub(crate) fn global(module: &ModuleEntry, address: Out<u64>, bytes: Out<u64>, name: Text) -> Call {
    if address.is_null() && bytes.is_null() {
        return Err(INVALID_VALUE);
    }
    let global = module.module.global(&name.read()?)?;
    address.set(global.address.0);
    bytes.set(global.bytes);
    Ok(())
}

driver_calls! {
    fn cuModuleLoadData(out: Out<u64>, image: HostPointer) { load(out, image, &mut String::new()) }
    fn cuModuleLoadDataEx(out: Out<u64>, image: HostPointer, count: u32, options: In<u32>, values: Out<u64>) {
        let logs = Logs::read(count, options, values)?;
        let mut log = String::new();
        let loaded = load(out, image, &mut log);
        logs.write(&log);
        loaded
    }
    fn cuModuleLoadFatBinary(out: Out<u64>, image: HostPointer) { load(out, image, &mut String::new()) }
    fn cuModuleLoad(out: Out<u64>, path: Text) { load_file(out, path) }
    fn cuModuleUnload(module: u64) { unload(module) }
    fn cuModuleGetFunction(out: Out<u64>, module: u64, name: Text) {
        out.required()?.set(find(module)?.function(driver()?, &name.read()?)?);
        Ok(())
    }
    fn cuModuleGetFunctionCount(out: Out<u32>, module: u64) {
        let count = find(module)?.module.function_names().len();
        out.required()?.set(u32::try_from(count).unwrap_or(u32::MAX));
        Ok(())
    }
    fn cuModuleGetGlobal_v2(address: Out<u64>, bytes: Out<u64>, module: u64, name: Text) {
        global(&*find(module)?, address, bytes, name)
    }
    fn cuModuleGetLoadingMode(out: Out<u32>) {
        driver()?;
        out.required()?.set(LAZY_LOADING);
        Ok(())
    }
}
