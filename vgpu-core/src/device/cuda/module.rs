//! The modules of a context.

use std::collections::HashMap;
use std::ffi::CString;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use vgpu_proto::Status;
use vgpu_proto::control::FunctionDescription;
use vgpu_proto::limits::IMAGE_BYTES_MAX;

use super::driver::{Function, Handle, Module};
use super::function::Kernel;
use super::image::Code;
use super::stack::LocalMemory;
use crate::device::{DeviceError, FunctionKey, ModuleKey};

/// Bytes of the names of a module's kernels, at most: an image's, with its longest code. In an odd image many long names
/// share their bytes, and would be far more than it.
const NAMES_BYTES_MAX: usize = IMAGE_BYTES_MAX as usize;

/// Modules and kernels by their keys.
#[derive(Debug, Default)]
pub(super) struct Modules {
    tables: Mutex<Tables>,
}

#[derive(Debug, Default)]
struct Tables {
    modules: FxHashMap<ModuleKey, Loaded>,
    kernels: FxHashMap<FunctionKey, Arc<Kernel>>,
}

#[derive(Debug)]
pub(super) struct Loaded {
    module: Arc<Module>,
    /// Kernels may use call stacks.
    calls: bool,
    /// Kernels that were asked for, by name.
    kernels: HashMap<String, (FunctionKey, FunctionDescription)>,
    /// Addresses of variables that were asked for.
    globals: Vec<u64>,
}

impl Loaded {
    /// Addresses of its variables that the session may name.
    pub(super) fn globals(&self) -> &[u64] {
        &self.globals
    }
}

/// A number that no stream, event, module or kernel of the process has had.
pub(super) fn next_key() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Ordering::Relaxed) + 1
}

impl Modules {
    /// Loads checked code, and says how many kernels it has. The driver puts a kernel's code on the GPU when it is asked
    /// for, unless the guest's `CUDA_MODULE_LOADING` says otherwise. May block.
    pub(super) fn load(&self, handle: &Arc<Handle>, code: &Code) -> Result<(ModuleKey, u32), DeviceError> {
        // SAFETY: `Code` is made only by the check of the image's headers against its length.
        let module = Arc::new(unsafe { Module::load(handle, &code.image) }?);
        let count = module.function_count()?;
        let key = ModuleKey(next_key());
        let loaded = Loaded { module, calls: code.needs.calls, kernels: HashMap::new(), globals: Vec::new() };
        self.tables.lock().modules.insert(key, loaded);
        Ok((key, count))
    }

    fn module(&self, key: ModuleKey) -> Result<(Arc<Module>, bool), DeviceError> {
        let tables = self.tables.lock();
        let loaded = tables.modules.get(&key).ok_or_else(unknown)?;
        Ok((Arc::clone(&loaded.module), loaded.calls))
    }

    /// Names of a module's kernels. May block.
    pub(super) fn functions(&self, key: ModuleKey) -> Result<Vec<String>, DeviceError> {
        let mut left = NAMES_BYTES_MAX;
        let name = |function: &Function| {
            let name = function.name()?;
            let too_long =
                || DeviceError::new(Status::ERROR_NOT_SUPPORTED, "the kernels have too long names");
            left = left.checked_sub(name.len()).ok_or_else(too_long)?;
            Ok(name)
        };
        self.module(key)?.0.functions()?.iter().map(name).collect()
    }

    /// Finds and describes a kernel, and puts its code and the local memory that it needs on the GPU. May block.
    pub(super) fn function(
        &self,
        key: ModuleKey,
        name: &str,
        local: &LocalMemory<'_>,
    ) -> Result<(FunctionKey, FunctionDescription), DeviceError> {
        if let Some(found) = self.tables.lock().modules.get(&key).and_then(|loaded| loaded.kernels.get(name))
        {
            return Ok(found.clone());
        }
        let (module, calls) = self.module(key)?;
        let text = CString::new(name).ok().filter(|text| !text.is_empty());
        let text = text.ok_or_else(|| not_found("kernel", name))?;
        let (kernel, description) = Kernel::describe(module.function(&text)?)?;
        local.reserve(description.local_bytes, calls)?;
        let mut tables = self.tables.lock();
        let Tables { modules, kernels } = &mut *tables;
        let loaded = modules.get_mut(&key).ok_or_else(unknown)?;
        // Another thread may have been faster.
        let found = loaded.kernels.entry(name.to_owned()).or_insert_with(|| {
            let key = FunctionKey(next_key());
            kernels.insert(key, Arc::new(kernel));
            (key, description)
        });
        Ok(found.clone())
    }

    /// Takes a module out; nobody finds it or its kernels any more.
    pub(super) fn remove(&self, key: ModuleKey) -> Option<Loaded> {
        let mut tables = self.tables.lock();
        let loaded = tables.modules.remove(&key)?;
        for (kernel, _) in loaded.kernels.values() {
            tables.kernels.remove(kernel);
        }
        Some(loaded)
    }

    /// Takes all out.
    pub(super) fn remove_all(&self) {
        let tables = std::mem::take(&mut *self.tables.lock());
        // Unloading may block, so it happens without the lock.
        drop(tables);
    }

    pub(super) fn kernel(&self, key: FunctionKey) -> Result<Arc<Kernel>, DeviceError> {
        let unknown = || DeviceError::new(Status::ERROR_INVALID_HANDLE, "no such kernel in this context");
        self.tables.lock().kernels.get(&key).cloned().ok_or_else(unknown)
    }

    /// Address and size of a variable; `true` the first time it is asked for.
    pub(super) fn global(&self, key: ModuleKey, name: &str) -> Result<(u64, u64, bool), DeviceError> {
        let text = CString::new(name).map_err(|_| not_found("variable", name))?;
        let mut tables = self.tables.lock();
        let loaded = tables.modules.get_mut(&key).ok_or_else(unknown)?;
        let (address, bytes) = loaded.module.global(&text)?;
        let is_new = !loaded.globals.contains(&address);
        if is_new {
            loaded.globals.push(address);
        }
        Ok((address, bytes, is_new))
    }
}

fn unknown() -> DeviceError {
    DeviceError::new(Status::ERROR_INVALID_HANDLE, "no such module in this context")
}

fn not_found(what: &str, name: &str) -> DeviceError {
    DeviceError::new(Status::ERROR_NOT_FOUND, format!("no {what} {name:?}"))
}
