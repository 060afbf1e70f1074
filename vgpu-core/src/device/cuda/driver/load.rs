//! Loading the driver library.

use std::ffi::c_void;
use std::sync::OnceLock;

use cudarc::driver::sys;

use super::api::{FUNCTIONS, SHIM, VERSION_MIN};
use super::error::{CudaError, check};

/// Shows that the driver library is loaded, started, and has what is called here.
#[derive(Clone, Copy, Debug)]
pub struct Driver(());

impl Driver {
    /// Loads and starts the driver, once in the process's life. May block: the driver takes some 100 ms to start.
    ///
    /// # Errors
    /// There is no driver, it is not NVIDIA's, it is too old, or it does not start.
    pub fn get() -> Result<Self, CudaError> {
        static STARTED: OnceLock<Result<Driver, CudaError>> = OnceLock::new();
        STARTED.get_or_init(Self::start).clone()
    }

    fn start() -> Result<Self, CudaError> {
        // SAFETY: loading runs the library's constructors; a libcuda on the loader's path is the operator's choice.
        if !unsafe { sys::is_culib_present() } {
            return Err(CudaError::NoDriver);
        }
        if exports(SHIM) {
            return Err(CudaError::Shim);
        }
        if let Some(name) = FUNCTIONS.iter().find(|name| !exports(name)) {
            return Err(CudaError::MissingSymbol { name });
        }
        let mut found = 0;
        // SAFETY: `found` is a place for a number. The call is allowed before `cuInit`.
        let result = unsafe { sys::cuDriverGetVersion(&raw mut found) };
        check(result, "cuDriverGetVersion")?;
        if found < VERSION_MIN {
            return Err(CudaError::DriverTooOld { found });
        }
        // SAFETY: the call has no memory to get wrong.
        let result = unsafe { sys::cuInit(0) };
        check(result, "cuInit")?;
        Ok(Self(()))
    }
}

/// A function of the library, by its name.
///
/// # Safety
/// `T` is the function's type as `cuda.h` has it.
pub(super) unsafe fn symbol<T: Copy>(name: &str) -> Option<T> {
    // SAFETY: every caller holds something that was made with a [`Driver`], so the library was found and its
    // constructors ran.
    let library = unsafe { sys::culib() };
    // SAFETY: the caller knows the type.
    unsafe { library.get::<T>(name) }.ok().map(|found| *found)
}

/// Whether the library has a symbol. Asked only once the library was found, so that `culib` does not panic.
fn exports(name: &str) -> bool {
    // SAFETY: the library was found, and its constructors ran then.
    let library = unsafe { sys::culib() };
    // SAFETY: the symbol's address is only looked at, never called or read through.
    unsafe { library.get::<*const c_void>(name) }.is_ok()
}
