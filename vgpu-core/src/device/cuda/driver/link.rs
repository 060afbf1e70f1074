//! The driver's compiler: PTX to machine code.

use std::ffi::{CStr, c_void};
use std::ptr;
use std::slice;
use std::sync::Arc;

use cudarc::driver::sys;

use super::error::check;
use super::handle::Handle;
use crate::device::DeviceError;

/// Bytes of the compiler's error log that are kept. A log of one error has some 200.
const LOG_BYTES: usize = 8 << 10;

/// A compilation; goes with what it made.
struct Link {
    raw: sys::CUlinkState,
    /// The compiler writes here until the link is destroyed.
    log: Box<[u8; LOG_BYTES]>,
}

impl Link {
    fn new() -> Result<Self, DeviceError> {
        let mut log = Box::new([0u8; LOG_BYTES]);
        let mut options = [
            sys::CUjit_option::CU_JIT_ERROR_LOG_BUFFER,
            sys::CUjit_option::CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES,
        ];
        // The last byte is never the compiler's, so that the text always ends.
        let mut values: [*mut c_void; 2] =
            [log.as_mut_ptr().cast::<c_void>(), ptr::without_provenance_mut(LOG_BYTES - 1)];
        let mut raw = ptr::null_mut();
        // SAFETY: the two options are as many as their values; the log lives in `Link` as long as the state.
        let result =
            unsafe { sys::cuLinkCreate_v2(2, options.as_mut_ptr(), values.as_mut_ptr(), &raw mut raw) };
        check(result, "cuLinkCreate")?;
        Ok(Self { raw, log })
    }

    /// Adds what the compiler said to an error.
    fn explain(&self, error: DeviceError) -> DeviceError {
        let log = CStr::from_bytes_until_nul(self.log.as_slice()).unwrap_or_default().to_string_lossy();
        match log.trim() {
            "" => error,
            log => DeviceError::new(error.status, format!("{}: {log}", error.text)),
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // SAFETY: the state was made and is destroyed once.
        let _ = unsafe { sys::cuLinkDestroy(self.raw) };
    }
}

/// Compiles PTX for the context's GPU. May block for as long as the compiler takes.
///
/// # Errors
/// `INVALID_PTX` and others, with the compiler's log.
pub(in crate::device::cuda) fn link_ptx(handle: &Arc<Handle>, ptx: &CStr) -> Result<Vec<u8>, DeviceError> {
    handle.bind()?;
    let link = Link::new()?;
    let bytes = ptx.to_bytes_with_nul();
    // SAFETY: the text ends with its zero, which the size counts; the driver does not write to it. No name, no options.
    let result = unsafe {
        sys::cuLinkAddData_v2(
            link.raw,
            sys::CUjitInputType::CU_JIT_INPUT_PTX,
            bytes.as_ptr().cast_mut().cast::<c_void>(),
            bytes.len(),
            c"module".as_ptr(),
            0,
            ptr::null_mut(),
            ptr::null_mut(),
        )
    };
    check(result, "cuLinkAddData").map_err(|error| link.explain(error))?;
    let (mut image, mut size) = (ptr::null_mut(), 0);
    // SAFETY: there are places for both answers.
    let result = unsafe { sys::cuLinkComplete(link.raw, &raw mut image, &raw mut size) };
    check(result, "cuLinkComplete").map_err(|error| link.explain(error))?;
    // SAFETY: the driver answers `size` bytes that live as long as the state.
    Ok(unsafe { slice::from_raw_parts(image.cast::<u8>(), size) }.to_vec())
}
