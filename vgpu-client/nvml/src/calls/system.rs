//! Start, end, versions, errors.

use std::ffi::c_char;

use crate::fail::{Call, Fail, INSUFFICIENT_SIZE, INVALID_VALUE, NOT_FOUND, NOT_SUPPORTED};
use crate::pointers::{Out, TextOut};
use crate::state::{self, DEVICE};

/// The CUDA version of the guest's driver library, as its `cuDriverGetVersion` tells it.
const CUDA_VERSION: i32 = 13_000;

/// Largest flag of `nvmlInitWithFlags`: `NVML_INIT_FLAG_NO_GPUS | NVML_INIT_FLAG_NO_ATTACH`.
const INIT_FLAGS: u32 = 3;

/// Writes a text with its NUL, or says that there is no room: NVML cuts nothing off.
pub(crate) fn put(out: TextOut, room: u32, text: &str) -> Call {
    let length = i32::try_from(room).map_err(|_| INVALID_VALUE)?;
    if text.len() >= room as usize {
        return Err(INSUFFICIENT_SIZE);
    }
    out.write(text, length)
}

fn driver_version() -> Call<String> {
    let version = state::report(DEVICE)?.driver_version;
    // The software GPU has no driver of NVIDIA's.
    if version.is_empty() { Err(NOT_SUPPORTED) } else { Ok(version) }
}

/// `nvmlErrorString`.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn nvmlErrorString(result: u32) -> *const c_char {
    Fail::text(result).as_ptr()
}

nvml_calls! {
    fn nvmlInit() { state::start() }
    fn nvmlInit_v2() { state::start() }
    fn nvmlInitWithFlags(flags: u32) { if flags <= INIT_FLAGS { state::start() } else { Err(INVALID_VALUE) } }
    fn nvmlShutdown() { state::stop() }
    fn nvmlSystemGetDriverVersion(version: TextOut, room: u32) { put(version, room, &driver_version()?) }
    fn nvmlSystemGetNVMLVersion(version: TextOut, room: u32) {
        state::started()?;
        // NVIDIA's own is the CUDA version and the driver's.
        let driver = driver_version().unwrap_or_else(|_| "0".to_owned());
        put(version, room, &format!("{}.{driver}", CUDA_VERSION / 1_000))
    }
    fn nvmlSystemGetCudaDriverVersion(version: Out<i32>) {
        version.required()?.set(CUDA_VERSION);
        Ok(())
    }
    fn nvmlSystemGetCudaDriverVersion_v2(version: Out<i32>) {
        version.required()?.set(CUDA_VERSION);
        Ok(())
    }
    fn nvmlSystemGetProcessName(pid: u32, name: TextOut, room: u32) {
        let sessions = state::report(DEVICE)?.sessions;
        let session = sessions.iter().find(|session| session.pid == pid).ok_or(NOT_FOUND)?;
        put(name, room, &session.name)
    }
}
