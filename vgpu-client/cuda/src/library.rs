//! Libraries: images that belong to no context, loaded into each that uses them.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::context::Context;
use crate::current;
use crate::driver::{Driver, driver};
use crate::fail::{Call, INVALID_HANDLE, INVALID_VALUE, NOT_FOUND};
use crate::image::Image;
use crate::kernel::Kernel;
use crate::module::{self, ModuleEntry};
use crate::pointers::{HostPointer, Out, Text};

/// A library.
#[derive(Debug)]
pub(crate) struct Library {
    handle: u64,
    image: Image,
    /// Names of its kernels, where they are known without loading it.
    names: Option<Vec<String>>,
    /// Its modules, by context.
    modules: Mutex<HashMap<u64, Arc<ModuleEntry>>>,
    /// Handles of the kernels that were asked for.
    kernels: Mutex<HashMap<String, u64>>,
}

impl Library {
    /// Its module in a context, loaded at the first call.
    pub(crate) fn module(&self, driver: &Driver, context: &Arc<Context>) -> Call<Arc<ModuleEntry>> {
        let mut modules = self.modules.lock();
        if let Some(module) = modules.get(&context.id) {
            return Ok(Arc::clone(module));
        }
        let module = ModuleEntry::load(driver, Arc::clone(context), &self.image, true, &mut String::new())?;
        modules.insert(context.id, Arc::clone(&module));
        Ok(module)
    }

    /// Forgets its module in a context that is about to go.
    pub(crate) fn forget(&self, context: u64) {
        let module = self.modules.lock().remove(&context);
        drop(module);
    }

    fn kernel(&self, driver: &Driver, name: &str) -> Call<u64> {
        let mut kernels = self.kernels.lock();
        if let Some(handle) = kernels.get(name) {
            return Ok(*handle);
        }
        match &self.names {
            Some(names) if names.iter().any(|known| known == name) => {}
            Some(_) => return Err(NOT_FOUND),
            None => drop(self.module(driver, &current::context()?)?.module.function(name)?),
        }
        let handle = driver.kernels.mint();
        driver.kernels.insert(handle, Arc::new(Kernel::new(self.handle, name)?));
        kernels.insert(name.to_owned(), handle);
        Ok(handle)
    }

    /// Names of all its kernels.
    fn kernel_names(&self, driver: &Driver) -> Call<Vec<String>> {
        if let Some(names) = &self.names {
            return Ok(names.clone());
        }
        Ok(self.module(driver, &current::context()?)?.module.function_names().to_vec())
    }
}

/// The library of that handle.
pub(crate) fn find(driver: &Driver, handle: u64) -> Call<Arc<Library>> {
    driver.libraries.get(handle).ok_or(INVALID_HANDLE)
}

fn load(out: Out<u64>, code: HostPointer) -> Call {
    let driver = driver()?;
    out.required()?;
    let image = Image::read(driver, code)?;
    let handle = driver.libraries.mint();
    let library = Library {
        handle,
        names: image.kernels(),
        image,
        modules: Mutex::default(),
        kernels: Mutex::default(),
    };
    driver.libraries.insert(handle, Arc::new(library));
    out.set(handle);
    Ok(())
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
        out.at(at).set(library.kernel(driver, name)?);
    }
    Ok(())
}

driver_calls! {
    fn cuLibraryLoadData(out: Out<u64>, code: HostPointer) {
        // The options that follow tune the compiler, or ask for its log.
        load(out, code)
    }
    fn cuLibraryLoadFromFile(out: Out<u64>, path: Text) {
        out.required()?;
        let bytes = module::read_file(path)?;
        load(out, HostPointer::unified(bytes.as_ptr() as u64))
    }
    fn cuLibraryUnload(library: u64) { unload(library) }
    fn cuLibraryGetKernel(out: Out<u64>, library: u64, name: Text) {
        let driver = driver()?;
        out.required()?.set(find(driver, library)?.kernel(driver, &name.read()?)?);
        Ok(())
    }
    fn cuLibraryGetKernelCount(out: Out<u32>, library: u64) {
        let driver = driver()?;
        let count = find(driver, library)?.kernel_names(driver)?.len();
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
}
