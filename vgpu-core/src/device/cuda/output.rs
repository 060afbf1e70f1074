//! What kernels print, on its way out of the driver.
//!
//! The driver keeps it in a buffer of each context and writes it to this process's standard output, the text of a failed
//! assertion to its standard error, when it is called to wait; being asked whether work is complete does not do it. Nothing
//! here waits inside the driver otherwise, so a context in which a kernel was launched that may print (`printing`) does so
//! before it tells of completion: its marks are written by the CPU, behind the text.

use std::ffi::{c_int, c_void};
use std::ptr;

use super::context::Shared;

unsafe extern "C" {
    /// `fflush` of the C library (ISO C, 7.21.5.2).
    fn fflush(stream: *mut c_void) -> c_int;
}

impl Shared {
    /// Whether a kernel was launched that may print.
    pub(super) fn is_printing(&self) -> bool {
        self.printing().has_begun()
    }

    /// [`Shared::flush_output`], if there may be any.
    pub(super) fn flush_if_printing(&self) {
        if self.is_printing() {
            self.flush_output();
        }
    }

    /// Makes the driver write what kernels printed so far, and whoever catches it pass it on. May block, though not for
    /// work of the session: the stream that is waited for is this context's own.
    pub(super) fn flush_output(&self) {
        // A context that failed says so in its answer, after it has written what there is.
        let _ = self.own_stream().synchronize();
        // SAFETY: with a null pointer the call flushes every stream that is open for writing; the C library locks each.
        // The driver may write through such a stream, which keeps text back when its end is no terminal.
        let _ = unsafe { fflush(ptr::null_mut()) };
        self.events().flush();
    }
}
