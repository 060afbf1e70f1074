//! The modules of a context.

use std::collections::HashMap;
use std::ffi::CString;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use vgpu_proto::Status;
use vgpu_proto::control::FunctionDescription;

use super::driver::{Handle, Module};
use super::function::Kernel;
use super::image::Code;
use crate::device::{DeviceError, FunctionKey, ModuleKey};

/// Modules and kernels by their keys.
#[derive(Debug, Default)]
pub(super) struct Modules {
    tables: Mutex<Tables>,
}

#[derive(Debug, Default)]
struct Tables {
    modules: HashMap<ModuleKey, Loaded>,
    kernels: HashMap<FunctionKey, Arc<Kernel>>,
}

#[derive(Debug)]
pub(super) struct Loaded {
    module: Arc<Module>,
    kernels: Vec<FunctionKey>,
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
    /// Loads checked code. May block.
    pub(super) fn load(
        &self,
        handle: &Arc<Handle>,
        code: &Code,
    ) -> Result<(ModuleKey, Vec<(FunctionKey, FunctionDescription)>), DeviceError> {
        // SAFETY: `Code` is made only by the check of the image's headers against its length.
        let module = Arc::new(unsafe { Module::load(handle, &code.image) }?);
        let mut kernels = Vec::new();
        for function in module.functions()? {
            let (kernel, description) = Kernel::describe(function)?;
            kernels.push((FunctionKey(next_key()), Arc::new(kernel), description));
        }
        let key = ModuleKey(next_key());
        let mut tables = self.tables.lock();
        let keys = kernels.iter().map(|(key, _, _)| *key).collect();
        tables.modules.insert(key, Loaded { module, kernels: keys, globals: Vec::new() });
        tables.kernels.extend(kernels.iter().map(|(key, kernel, _)| (*key, Arc::clone(kernel))));
        drop(tables);
        Ok((key, kernels.into_iter().map(|(key, _, description)| (key, description)).collect()))
    }

    /// Takes a module out; nobody finds it or its kernels any more.
    pub(super) fn remove(&self, key: ModuleKey) -> Option<Loaded> {
        let mut tables = self.tables.lock();
        let loaded = tables.modules.remove(&key)?;
        for kernel in &loaded.kernels {
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
        let unknown = || DeviceError::new(Status::ERROR_INVALID_HANDLE, "no such module in this context");
        let text = CString::new(name).map_err(|_| not_found(name))?;
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

fn not_found(name: &str) -> DeviceError {
    DeviceError::new(Status::ERROR_NOT_FOUND, format!("no variable {name:?}"))
}
