//! Kernels' output, on the stream that C programs print to: what they print before and after a kernel stays before and
//! after what it prints, whatever the stream keeps back.

use std::ffi::c_void;
use std::io::{self, Write};

unsafe extern "C" {
    /// `stdout` of the C library (ISO C, 7.21.1).
    static stdout: *mut libc::FILE;
    /// `stderr` of the C library (ISO C, 7.21.1).
    static stderr: *mut libc::FILE;
}

/// A stream of this process, as C has it.
#[derive(Debug)]
pub(crate) enum CStream {
    Stdout,
    Stderr,
}

impl CStream {
    fn file(&self) -> *mut libc::FILE {
        match self {
            // SAFETY: it is set before any program's code runs.
            Self::Stdout => unsafe { stdout },
            // SAFETY: as above.
            Self::Stderr => unsafe { stderr },
        }
    }
}

impl Write for CStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // SAFETY: the stream locks for itself; `bytes` is as long as is said.
        // A program that closed it may not print any more, as it may not by itself.
        let count = unsafe { libc::fwrite(bytes.as_ptr().cast::<c_void>(), 1, bytes.len(), self.file()) };
        if count == 0 { Err(io::Error::last_os_error()) } else { Ok(count) }
    }

    fn flush(&mut self) -> io::Result<()> {
        // SAFETY: as above.
        match unsafe { libc::fflush(self.file()) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}
