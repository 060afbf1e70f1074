//! Whose the NVML library on the loader's path is. What asks it, asks through a crate of its own; only the check lies
//! here, beside that of the driver, because loading a library is unsafe.

use std::ffi::c_void;

use super::api::SHIM;

/// Name under which the loader knows NVIDIA's management library.
pub const NVML: &str = "libnvidia-ml.so.1";

/// What the loader finds under the name of NVML.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "there is no fourth case")]
pub enum NvmlLibrary {
    /// Nothing that it can load; why is for people.
    Absent(String),
    /// vgpu's own, for guests.
    Shim,
    /// NVIDIA's, or whoever's the operator put there. It stays loaded, so that who loads it by its name gets this one.
    Found,
}

impl NvmlLibrary {
    /// Loads it and looks; calls nothing in it.
    pub fn look() -> Self {
        // SAFETY: loading runs the library's constructors; one on the loader's path is the operator's choice.
        let library = match unsafe { libloading::Library::new(NVML) } {
            Ok(library) => library,
            Err(error) => return Self::Absent(error.to_string()),
        };
        // SAFETY: the symbol's address is only looked at, never called or read through.
        if unsafe { library.get::<*const c_void>(SHIM) }.is_ok() {
            return Self::Shim;
        }
        std::mem::forget(library);
        Self::Found
    }
}
