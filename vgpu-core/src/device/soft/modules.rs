//! The modules of a context and their kernels.

use std::collections::HashMap;
use std::sync::Arc;

use vgpu_proto::Status;

use super::exec::Program;
use super::function::Function;
use crate::device::{DeviceError, FunctionKey, ModuleKey};

/// A loaded module.
#[derive(Debug)]
pub(super) struct Module {
    pub(super) program: Program,
    /// Device memory of its variables.
    pub(super) allocation: Option<u64>,
    /// Bytes that its code counts for.
    pub(super) code_bytes: u64,
    /// Its kernels, in the order of the text.
    pub(super) functions: Vec<FunctionKey>,
}

/// Modules and kernels by their names.
#[derive(Debug, Default)]
pub(super) struct Modules {
    modules: HashMap<ModuleKey, Module>,
    functions: HashMap<FunctionKey, Arc<Function>>,
}

impl Modules {
    pub(super) fn add(
        &mut self,
        key: ModuleKey,
        module: Module,
        functions: Vec<(FunctionKey, Arc<Function>)>,
    ) {
        self.functions.extend(functions);
        self.modules.insert(key, module);
    }

    /// Takes a module away. Launches that were queued keep its kernels until they are done.
    pub(super) fn remove(&mut self, key: ModuleKey) -> Option<Module> {
        let module = self.modules.remove(&key)?;
        for function in &module.functions {
            self.functions.remove(function);
        }
        Some(module)
    }

    pub(super) fn contains(&self, key: ModuleKey) -> bool {
        self.modules.contains_key(&key)
    }

    /// Whether the address is that of a module's variables, which only an unload frees.
    pub(super) fn holds(&self, address: u64) -> bool {
        self.modules.values().any(|module| module.allocation == Some(address))
    }

    /// Takes every module away.
    pub(super) fn take_all(&mut self) -> Vec<Module> {
        self.functions.clear();
        self.modules.drain().map(|(_, module)| module).collect()
    }

    pub(super) fn function(&self, key: FunctionKey) -> Result<&Arc<Function>, DeviceError> {
        self.functions
            .get(&key)
            .ok_or_else(|| DeviceError::new(Status::ERROR_INVALID_HANDLE, "no such function in this context"))
    }

    fn module(&self, key: ModuleKey) -> Result<&Module, DeviceError> {
        let unknown = || DeviceError::new(Status::ERROR_INVALID_HANDLE, "no such module in this context");
        self.modules.get(&key).ok_or_else(unknown)
    }

    /// The kernels of a module.
    pub(super) fn functions(
        &self,
        key: ModuleKey,
    ) -> Result<impl Iterator<Item = (FunctionKey, &Arc<Function>)>, DeviceError> {
        let keys = self.module(key)?.functions.iter();
        Ok(keys.filter_map(|key| Some((*key, self.functions.get(key)?))))
    }

    /// Address and size of a variable.
    pub(super) fn global(&self, key: ModuleKey, name: &str) -> Result<(u64, u64), DeviceError> {
        self.module(key)?.program.global(name).ok_or_else(|| {
            DeviceError::new(Status::ERROR_NOT_FOUND, format!("no variable {name} in the module"))
        })
    }
}
