//! Errors of the driver.

use std::ffi::CStr;
use std::ptr;

use cudarc::driver::sys;
use vgpu_proto::Status;

use crate::device::DeviceError;

/// Why there is no CUDA device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CudaError {
    /// The loader finds no driver library.
    #[error(
        "the NVIDIA driver library (libcuda.so.1) was not found: install the driver, or put it on the loader's path"
    )]
    NoDriver,
    /// The library that the loader finds is vgpu's own, for guests.
    #[error(
        "the loader's libcuda is vgpu's own shim: take its folder off the loader's path of the host (LD_LIBRARY_PATH)"
    )]
    Shim,
    /// The library lacks a function.
    #[error("the NVIDIA driver has no {name}: install a driver for CUDA 13.0 or newer (580)")]
    MissingSymbol {
        /// The function.
        name: &'static str,
    },
    /// The driver is older than what is used here.
    #[error("the NVIDIA driver is for CUDA {}.{}: install one for CUDA 13.0 or newer (580)", found / 1000, found % 1000 / 10)]
    DriverTooOld {
        /// Its version, as `cuDriverGetVersion` tells it: 1000 times major plus 10 times minor.
        found: i32,
    },
    /// No GPU of that number.
    #[error("there is no GPU {ordinal}: the driver shows {count} (CUDA_VISIBLE_DEVICES hides others)")]
    NoDevice {
        /// The number asked for.
        ordinal: u32,
        /// How many there are.
        count: u32,
    },
    /// No GPU of that UUID.
    #[error(
        "none of the {count} GPUs that the driver shows has that UUID (CUDA_VISIBLE_DEVICES hides others)"
    )]
    UnknownUuid {
        /// How many there are.
        count: u32,
    },
    /// The GPU cannot do what is needed.
    #[error("the GPU or its driver lacks {0}")]
    Missing(Missing),
    /// The driver answered an error.
    #[error("the NVIDIA driver does not start: {0}")]
    Driver(#[from] DeviceError),
}

impl CudaError {
    /// Stable name of the cause, for scripts.
    pub const fn cause(&self) -> &'static str {
        match self {
            Self::NoDriver => "no-driver",
            Self::Shim => "shim",
            Self::MissingSymbol { .. } => "missing-symbol",
            Self::DriverTooOld { .. } => "driver-too-old",
            Self::NoDevice { .. } | Self::UnknownUuid { .. } => "no-device",
            Self::Missing(_) => "missing-property",
            Self::Driver(_) => "driver",
        }
    }
}

/// What a GPU must be able to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Missing {
    /// Kernels use registered memory at the address that the process uses.
    #[error("unified addresses for registered memory")]
    RegisteredAddresses,
    /// Streams write 64-bit words.
    #[error("64-bit stream memory operations")]
    StreamWrites,
    /// Memory can be mapped at addresses of one's choice.
    #[error("virtual memory management")]
    VirtualMemory,
}

/// Whether an answer means that the context is lost. More than the guest-visible list: the driver has codes for broken
/// hardware (ECC, NVLink, a contained fault) that stick as well.
pub(in crate::device::cuda) const fn is_fault(status: Status) -> bool {
    status.is_sticky() || matches!(status.0, 4 | 214 | 220 | 226 | 721)
}

/// The answer of a call: the driver's code as the status, its name and text for it, and the call that met it.
pub(super) fn check(result: sys::CUresult, call: &'static str) -> Result<(), DeviceError> {
    if result == sys::CUresult::CUDA_SUCCESS { Ok(()) } else { Err(failed(result, call)) }
}

fn failed(result: sys::CUresult, call: &'static str) -> DeviceError {
    let mut text = ptr::null();
    // SAFETY: `text` is a place for a pointer. Every caller of `check` has made a call, so the library is loaded.
    let told = unsafe { sys::cuGetErrorString(result, &raw mut text) };
    let text = if told == sys::CUresult::CUDA_SUCCESS && !text.is_null() {
        // SAFETY: the driver answers a pointer to a constant that ends with a zero.
        unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
    } else {
        "the driver has no text for it".to_owned()
    };
    DeviceError::new(Status(result as u32), format!("{call}: {text}"))
}
