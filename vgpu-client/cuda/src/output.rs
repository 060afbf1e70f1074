//! Kernels' output, on the stream that C programs print to: what they print before and after a kernel stays before and
//! after what it prints, whatever the stream keeps back.

use std::ffi::c_void;
use std::io::{self, Write};

unsafe extern "C" {
    /// `stdout` of the C library (ISO C, 7.21.1).
    static stdout: *mut libc::FILE;
}

/// Standard output of this process, as C has it.
#[derive(Debug)]
pub(crate) struct Stdout;

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // SAFETY: the stream is set before any program's code runs and locks for itself; `bytes` is as long as is said.
        // A program that closed it may not print any more, as it may not by itself.
        let count = unsafe { libc::fwrite(bytes.as_ptr().cast::<c_void>(), 1, bytes.len(), stdout) };
        if count == 0 { Err(io::Error::last_os_error()) } else { Ok(count) }
    }

    fn flush(&mut self) -> io::Result<()> {
        // SAFETY: as above.
        match unsafe { libc::fflush(stdout) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}
