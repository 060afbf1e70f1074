//! Libraries: images that belong to no context, loaded into each that uses them.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::context::Context;
use crate::current;
use crate::driver::{Driver, driver};
use crate::fail::{Call, INVALID_HANDLE, INVALID_VALUE, NOT_FOUND};
use crate::image::{Image, Origin};
use crate::jit::Jit;
use crate::kernel::Kernel;
use crate::module::{self, ModuleEntry};
use crate::pointers::{HostPointer, In, Out, Text};

/// `CU_LIBRARY_*`: options of a library. One names tables for functions that host and device share, which no device here
/// has; the other says that the program keeps its image, which is copied all the same.
const LIBRARY_OPTIONS: u32 = 2;

/// A library.
#[derive(Debug)]
pub(crate) struct Library {
    handle: u64,
    image: Image,
    jit: Jit,
    /// Its modules, by context.
    modules: Mutex<HashMap<u64, Arc<ModuleEntry>>>,
    /// Handles of the kernels that were asked for.
    kernels: Mutex<HashMap<String, u64>>,
}

impl Library {
    /// Its module in a context, loaded at the first call. Others that need it wait meanwhile.
    pub(crate) fn module(&self, driver: &Driver, context: &Arc<Context>) -> Call<Arc<ModuleEntry>> {
        let mut modules = self.modules.lock();
        if let Some(module) = modules.get(&context.id) {
            return Ok(Arc::clone(module));
        }
        let module = ModuleEntry::load(driver, Arc::clone(context), &self.image, &self.jit, true)?;
        modules.insert(context.id, Arc::clone(&module));
        Ok(module)
    }

    /// Forgets its module in a context that is about to go.
    pub(crate) fn forget(&self, context: u64) {
        let module = self.modules.lock().remove(&context);
        drop(module);
    }

    /// Handle of a kernel. With a context its code is loaded there, because it is about to be launched; without one its
    /// name is looked for in the image.
    fn kernel(&self, driver: &Driver, name: &str) -> Call<u64> {
        let known = || self.kernels.lock().get(name).copied();
        if let Some(handle) = known() {
            return Ok(handle);
        }
        match current::context() {
            Ok(context) => drop(self.module(driver, &context)?.module.function(name)?),
            Err(_) if self.image.kernels()?.iter().any(|known| known == name) => {}
            Err(_) => return Err(NOT_FOUND),
        }
        self.kernel_there(driver, name)
    }

    /// Handle of a kernel that is there. The same at each call.
    fn kernel_there(&self, driver: &Driver, name: &str) -> Call<u64> {
        let mut kernels = self.kernels.lock();
        if let Some(handle) = kernels.get(name) {
            return Ok(*handle);
        }
        let handle = driver.kernels.mint();
        driver.kernels.insert(handle, Arc::new(Kernel::new(self.handle, name)?));
        kernels.insert(name.to_owned(), handle);
        Ok(handle)
    }

    fn kernel_count(&self, driver: &Driver) -> Call<usize> {
        match current::context() {
            Ok(context) => Ok(self.module(driver, &context)?.module.function_count()),
            Err(_) => Ok(self.image.kernels()?.len()),
        }
    }

    fn kernel_names(&self, driver: &Driver) -> Call<Vec<String>> {
        match current::context() {
            Ok(context) => Ok(self.module(driver, &context)?.module.function_names()?),
            Err(_) => self.image.kernels(),
        }
    }
}

/// The library of that handle.
pub(crate) fn find(driver: &Driver, handle: u64) -> Call<Arc<Library>> {
    driver.libraries.get(handle).ok_or(INVALID_HANDLE)
}

fn load(out: Out<u64>, code: Origin<'_>, jit: Jit) -> Call {
    let driver = driver()?;
    out.required()?;
    let image = Image::read(driver, code)?;
    let is_text = image.is_text();
    let handle = driver.libraries.mint();
    let loaded = Library { handle, image, jit, modules: Mutex::default(), kernels: Mutex::default() };
    // What must be compiled is compiled now: whoever loads it reads the errors, and the log's buffers are gone later.
    let context = current::context().ok().filter(|_| is_text);
    if let Some(context) = context {
        loaded.module(driver, &context)?;
    }
    let kept = Library { jit: loaded.jit.without_answers(), ..loaded };
    driver.libraries.insert(handle, Arc::new(kept));
    out.set(handle);
    Ok(())
}

/// Checks the options of a library.
fn check_options(count: u32, options: In<u32>) -> Call {
    for at in 0..count.min(LIBRARY_OPTIONS + 1) as usize {
        if options.at(at)? >= LIBRARY_OPTIONS {
            return Err(INVALID_VALUE);
        }
    }
    if count > LIBRARY_OPTIONS { Err(INVALID_VALUE) } else { Ok(()) }
}

fn unload(handle: u64) -> Call {
    let driver = driver()?;
    let library = driver.libraries.remove(handle).ok_or(INVALID_HANDLE)?;
    drop(driver.kernels.take(|kernel| kernel.owner == handle));
    let modules: Vec<_> = library.modules.lock().drain().collect();
    for (_, module) in modules {
        module.unload(driver);
    }
    Ok(())
}

fn enumerate(out: Out<u64>, room: u32, handle: u64) -> Call {
    let driver = driver()?;
    let library = find(driver, handle)?;
    out.required()?;
    for (at, name) in library.kernel_names(driver)?.iter().take(room as usize).enumerate() {
        out.at(at).set(library.kernel_there(driver, name)?);
    }
    Ok(())
}

driver_calls! {
    fn cuLibraryLoadData(
        out: Out<u64>, code: HostPointer,
        jit_options: In<u32>, jit_values: HostPointer, jit_count: u32,
        options: In<u32>, _values: HostPointer, count: u32,
    ) {
        check_options(count, options)?;
        load(out, Origin::Memory(code), Jit::read(jit_count, jit_options, jit_values)?)
    }
    fn cuLibraryLoadFromFile(
        out: Out<u64>, path: Text,
        jit_options: In<u32>, jit_values: HostPointer, jit_count: u32,
        options: In<u32>, _values: HostPointer, count: u32,
    ) {
        check_options(count, options)?;
        let jit = Jit::read(jit_count, jit_options, jit_values)?;
        out.required()?;
        load(out, Origin::Bytes(&module::read_file(path)?), jit)
    }
    fn cuLibraryUnload(library: u64) { unload(library) }
    fn cuLibraryGetKernel(out: Out<u64>, library: u64, name: Text) {
        let driver = driver()?;
        out.required()?.set(find(driver, library)?.kernel(driver, &name.read()?)?);
        Ok(())
    }
    fn cuLibraryGetKernelCount(out: Out<u32>, library: u64) {
        let driver = driver()?;
        let count = find(driver, library)?.kernel_count(driver)?;
        out.required()?.set(u32::try_from(count).map_err(|_| INVALID_VALUE)?);
        Ok(())
    }
    fn cuLibraryEnumerateKernels(out: Out<u64>, room: u32, library: u64) { enumerate(out, room, library) }
    fn cuLibraryGetModule(out: Out<u64>, library: u64) {
        let driver = driver()?;
        out.required()?.set(find(driver, library)?.module(driver, &current::context()?)?.handle);
        Ok(())
    }
    fn cuLibraryGetGlobal(address: Out<u64>, bytes: Out<u64>, library: u64, name: Text) {
        let driver = driver()?;
        let module = find(driver, library)?.module(driver, &current::context()?)?;
        module::global(&module, address, bytes, name)
    }
    fn cuLibraryGetUnifiedFunction(out: Out<u64>, library: u64, name: Text) {
        find(driver()?, library)?;
        out.required()?;
        name.read()?;
        // No device here has functions that host and device share (attribute UNIFIED_FUNCTION_POINTERS).
        Err(NOT_FOUND)
    }
}
