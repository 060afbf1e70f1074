//! Modules: images loaded into the current context.

use std::collections::HashMap;
use std::io::Read;
use std::sync::Arc;

use parking_lot::Mutex;
use vgpu_client::{CompileReport, Status};

use crate::context::Context;
use crate::current;
use crate::driver::{Driver, driver};
use crate::fail::{Call, Fail, INVALID_HANDLE, INVALID_VALUE};
use crate::function::FunctionEntry;
use crate::image::{Image, Origin};
use crate::jit::Jit;
use crate::pointers::{HostPointer, In, Out, Text};

/// `CU_MODULE_EAGER_LOADING` and `CU_MODULE_LAZY_LOADING`: when the driver puts code on the device.
const EAGER_LOADING: u32 = 1;
const LAZY_LOADING: u32 = 2;

/// Bytes of a file with an image or a linker's input, at most. A container holds the same code for ten architectures.
const FILE_BYTES_MAX: u64 = 1 << 30;

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
        jit: &Jit,
        of_library: bool,
    ) -> Call<Arc<Self>> {
        let mut log = String::new();
        let loaded = image.load(&context, &jit.options, &mut log);
        jit.answer(loaded.as_ref().map_or(&CompileReport::default(), vgpu_client::Module::report), &log);
        let module = loaded?;
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

/// Loads an image into the current context.
pub(crate) fn load(out: Out<u64>, image: Origin<'_>, jit: &Jit) -> Call {
    let driver = driver()?;
    let context = current::context()?;
    out.required()?;
    let image = Image::read(driver, image)?;
    out.set(ModuleEntry::load(driver, context, &image, jit, false)?.handle);
    Ok(())
}

fn load_file(out: Out<u64>, path: Text) -> Call {
    current::context()?;
    out.required()?;
    load(out, Origin::Bytes(&read_file(path)?), &Jit::default())
}

/// The bytes of a file with code, read in the guest.
///
/// # Errors
/// `FILE_NOT_FOUND`, also for one that cannot be read or is too large.
pub(crate) fn read_file(path: Text) -> Call<Vec<u8>> {
    const UNREADABLE: Fail = Fail(Status(301));
    let file = std::fs::File::open(path.read()?).map_err(|_| UNREADABLE)?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|_| UNREADABLE)?;
    if bytes.len() as u64 > FILE_BYTES_MAX { Err(UNREADABLE) } else { Ok(bytes) }
}

/// When the driver puts code on the device. The worker's driver reads the same variable.
fn loading_mode() -> u32 {
    let is_eager = std::env::var("CUDA_MODULE_LOADING").is_ok_and(|mode| mode.eq_ignore_ascii_case("eager"));
    if is_eager { EAGER_LOADING } else { LAZY_LOADING }
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

/// Handles of all kernels of a module.
pub(crate) fn kernels(driver: &Driver, handle: u64) -> Call<Vec<u64>> {
    let module = find(handle)?;
    module.module.function_names()?.iter().map(|name| module.function(driver, name)).collect()
}

fn enumerate(out: Out<u64>, room: u32, handle: u64) -> Call {
    let (driver, module) = (driver()?, find(handle)?);
    out.required()?;
    for (at, name) in module.module.function_names()?.iter().take(room as usize).enumerate() {
        out.at(at).set(module.function(driver, name)?);
    }
    Ok(())
}

driver_calls! {
    fn cuModuleLoadData(out: Out<u64>, image: HostPointer) { load(out, Origin::Memory(image), &Jit::default()) }
    fn cuModuleLoadDataEx(
        out: Out<u64>, image: HostPointer, count: u32, options: In<u32>, values: HostPointer,
    ) {
        load(out, Origin::Memory(image), &Jit::read(count, options, values)?)
    }
    fn cuModuleLoadFatBinary(out: Out<u64>, image: HostPointer) {
        load(out, Origin::Memory(image), &Jit::default())
    }
    fn cuModuleLoad(out: Out<u64>, path: Text) { load_file(out, path) }
    fn cuModuleUnload(module: u64) { unload(module) }
    fn cuModuleGetFunction(out: Out<u64>, module: u64, name: Text) {
        out.required()?.set(find(module)?.function(driver()?, &name.read()?)?);
        Ok(())
    }
    fn cuModuleGetFunctionCount(out: Out<u32>, module: u64) {
        let count = find(module)?.module.function_count();
        out.required()?.set(u32::try_from(count).unwrap_or(u32::MAX));
        Ok(())
    }
    fn cuModuleEnumerateFunctions(out: Out<u64>, room: u32, module: u64) { enumerate(out, room, module) }
    fn cuModuleGetGlobal_v2(address: Out<u64>, bytes: Out<u64>, module: u64, name: Text) {
        global(&*find(module)?, address, bytes, name)
    }
    fn cuModuleGetLoadingMode(out: Out<u32>) {
        driver()?;
        out.required()?.set(loading_mode());
        Ok(())
    }
}
