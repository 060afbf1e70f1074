//! The driver's compiler and linker: PTX and other code to machine code.

use std::ffi::{CStr, CString, c_void};
use std::ptr;
use std::slice;
use std::sync::Arc;

use cudarc::driver::sys;
use vgpu_proto::Status;
use vgpu_proto::control::CompileReport;
use vgpu_proto::jit::{JitKind, JitOption, LinkKind};
use vgpu_proto::limits::JIT_LOG_BYTES_MAX;

use super::error::check;
use super::handle::Handle;
use crate::device::{DeviceError, LinkedImage};

type Kind = sys::CUjit_option;

/// An input that was checked: the driver reads an image as far as its own headers say.
pub(in crate::device::cuda) struct Input<'a> {
    kind: LinkKind,
    name: CString,
    data: Data<'a>,
}

enum Data<'a> {
    Bytes(&'a [u8]),
    Text(CString),
}

impl<'a> Input<'a> {
    /// PTX.
    pub(in crate::device::cuda) fn ptx(name: CString, text: CString) -> Self {
        Self { kind: LinkKind::Ptx, name, data: Data::Text(text) }
    }

    /// Anything but PTX.
    ///
    /// # Safety
    /// Headers of a cubin or fatbin were checked against its length.
    pub(in crate::device::cuda) unsafe fn code(kind: LinkKind, name: CString, bytes: &'a [u8]) -> Self {
        Self { kind, name, data: Data::Bytes(bytes) }
    }
}

/// A link; goes with what it made.
struct Link {
    raw: sys::CUlinkState,
    /// The compiler writes to these until the link is destroyed.
    logs: Box<[[u8; JIT_LOG_BYTES_MAX]; 2]>,
    values: Box<[*mut c_void]>,
    options: Box<[Kind]>,
}

impl Link {
    fn new(options: &[JitOption]) -> Result<Self, DeviceError> {
        let mut logs = Box::new([[0; JIT_LOG_BYTES_MAX]; 2]);
        let number = |value: usize| ptr::without_provenance_mut::<c_void>(value);
        let mut list = vec![
            (Kind::CU_JIT_INFO_LOG_BUFFER, logs[0].as_mut_ptr().cast::<c_void>()),
            // The last byte is never the compiler's, so that the text always ends.
            (Kind::CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES, number(JIT_LOG_BYTES_MAX - 1)),
            (Kind::CU_JIT_ERROR_LOG_BUFFER, logs[1].as_mut_ptr().cast::<c_void>()),
            (Kind::CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES, number(JIT_LOG_BYTES_MAX - 1)),
        ];
        let known = options.iter().filter_map(|option| Some((option_kind(option.kind)?, option.value)));
        list.extend(known.map(|(kind, value)| (kind, number(value as usize))));
        let mut options: Box<[Kind]> = list.iter().map(|(kind, _)| *kind).collect();
        // In its last place before the driver learns of it.
        let mut values: Box<[*mut c_void]> = list.iter().map(|(_, value)| *value).collect();
        let count = u32::try_from(options.len()).unwrap_or(u32::MAX);
        let mut raw = ptr::null_mut();
        // SAFETY: there is a value for each option; the logs and the values, which the compiler writes to, live in `Link` as
        // long as the state.
        let result =
            unsafe { sys::cuLinkCreate_v2(count, options.as_mut_ptr(), values.as_mut_ptr(), &raw mut raw) };
        check(result, "cuLinkCreate")?;
        Ok(Self { raw, logs, values, options })
    }

    fn log(&self, which: usize) -> String {
        let text = CStr::from_bytes_until_nul(&self.logs[which]).unwrap_or_default().to_string_lossy();
        // What stands in for bytes that are no text is longer than they were.
        text[..text.floor_char_boundary(JIT_LOG_BYTES_MAX)].trim_end().to_owned()
    }

    /// Adds what the compiler said to an error.
    fn explain(&self, error: DeviceError) -> DeviceError {
        match self.log(1).trim() {
            "" => error,
            log => DeviceError::new(error.status, format!("{}: {log}", error.text)),
        }
    }

    fn add(&self, input: &Input<'_>) -> Result<(), DeviceError> {
        let bytes = match &input.data {
            Data::Bytes(bytes) => bytes,
            Data::Text(text) => text.as_bytes_with_nul(),
        };
        // SAFETY: the data is as long as it says, a text with its zero counted and an image as its headers say; the driver
        // does not write to it. The name lives through the call. No options.
        let result = unsafe {
            sys::cuLinkAddData_v2(
                self.raw,
                input_kind(input.kind),
                bytes.as_ptr().cast_mut().cast::<c_void>(),
                bytes.len(),
                input.name.as_ptr(),
                0,
                ptr::null_mut(),
                ptr::null_mut(),
            )
        };
        check(result, "cuLinkAddData").map_err(|error| self.explain(error))
    }

    fn complete(&self) -> Result<Vec<u8>, DeviceError> {
        let (mut image, mut size) = (ptr::null_mut(), 0);
        // SAFETY: there are places for both answers.
        let result = unsafe { sys::cuLinkComplete(self.raw, &raw mut image, &raw mut size) };
        check(result, "cuLinkComplete").map_err(|error| self.explain(error))?;
        if image.is_null() {
            return Err(DeviceError::new(Status::ERROR_UNKNOWN, "cuLinkComplete: no image came of it"));
        }
        // SAFETY: the driver answers `size` bytes that live as long as the state.
        Ok(unsafe { slice::from_raw_parts(image.cast::<u8>(), size) }.to_vec())
    }

    /// The value that the compiler left for an option, if the option was given.
    fn value(&self, kind: Kind) -> Option<u32> {
        let at = self.options.iter().position(|option| *option == kind)?;
        // The values of these options are numbers of 32 bits.
        Some(self.values[at].addr() as u32)
    }

    fn report(&self) -> CompileReport {
        let wall_time_ms = self.value(Kind::CU_JIT_WALL_TIME).map_or(0.0, f32::from_bits);
        CompileReport {
            log: self.log(0),
            // A time that is none becomes 0.
            wall_time_us: (wall_time_ms * 1e3) as u32,
            threads_per_block: self.value(Kind::CU_JIT_THREADS_PER_BLOCK).unwrap_or(0),
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // SAFETY: the state was made and is destroyed once.
        let _ = unsafe { sys::cuLinkDestroy(self.raw) };
    }
}

/// Links code for the context's GPU. May block for as long as the compiler takes.
///
/// # Errors
/// `INVALID_PTX` and others, with the compiler's log.
pub(in crate::device::cuda) fn link(
    handle: &Arc<Handle>,
    inputs: &[Input<'_>],
    options: &[JitOption],
) -> Result<LinkedImage, DeviceError> {
    handle.bind()?;
    let link = Link::new(options)?;
    inputs.iter().try_for_each(|input| link.add(input))?;
    let image = link.complete()?;
    Ok(LinkedImage { image, report: link.report() })
}

/// Compiles PTX for the context's GPU. May block for as long as the compiler takes.
///
/// # Errors
/// As [`link`].
pub(in crate::device::cuda) fn link_ptx(
    handle: &Arc<Handle>,
    ptx: CString,
    options: &[JitOption],
) -> Result<LinkedImage, DeviceError> {
    link(handle, &[Input::ptx(c"module".to_owned(), ptx)], options)
}

fn input_kind(kind: LinkKind) -> sys::CUjitInputType {
    use sys::CUjitInputType as I;
    match kind {
        LinkKind::Cubin => I::CU_JIT_INPUT_CUBIN,
        LinkKind::Ptx => I::CU_JIT_INPUT_PTX,
        LinkKind::Fatbin => I::CU_JIT_INPUT_FATBINARY,
        LinkKind::Object => I::CU_JIT_INPUT_OBJECT,
        LinkKind::Library => I::CU_JIT_INPUT_LIBRARY,
        LinkKind::Nvvm => I::CU_JIT_INPUT_NVVM,
    }
}

/// The driver's option; `None` for what the linker does not take: it always compiles.
fn option_kind(kind: JitKind) -> Option<Kind> {
    Some(match kind {
        JitKind::MaxRegisters => Kind::CU_JIT_MAX_REGISTERS,
        JitKind::ThreadsPerBlock => Kind::CU_JIT_THREADS_PER_BLOCK,
        JitKind::WallTime => Kind::CU_JIT_WALL_TIME,
        JitKind::OptimizationLevel => Kind::CU_JIT_OPTIMIZATION_LEVEL,
        JitKind::TargetFromContext => Kind::CU_JIT_TARGET_FROM_CUCONTEXT,
        JitKind::Target => Kind::CU_JIT_TARGET,
        JitKind::FallbackStrategy => return None,
        JitKind::GenerateDebugInfo => Kind::CU_JIT_GENERATE_DEBUG_INFO,
        JitKind::LogVerbose => Kind::CU_JIT_LOG_VERBOSE,
        JitKind::GenerateLineInfo => Kind::CU_JIT_GENERATE_LINE_INFO,
        JitKind::CacheMode => Kind::CU_JIT_CACHE_MODE,
        JitKind::Ftz => Kind::CU_JIT_FTZ,
        JitKind::PrecDiv => Kind::CU_JIT_PREC_DIV,
        JitKind::PrecSqrt => Kind::CU_JIT_PREC_SQRT,
        JitKind::Fma => Kind::CU_JIT_FMA,
        JitKind::OptimizeUnusedDeviceVariables => Kind::CU_JIT_OPTIMIZE_UNUSED_DEVICE_VARIABLES,
        JitKind::PositionIndependentCode => Kind::CU_JIT_POSITION_INDEPENDENT_CODE,
        JitKind::MinCtaPerSm => Kind::CU_JIT_MIN_CTA_PER_SM,
        JitKind::MaxThreadsPerBlock => Kind::CU_JIT_MAX_THREADS_PER_BLOCK,
        JitKind::OverrideDirectiveValues => Kind::CU_JIT_OVERRIDE_DIRECTIVE_VALUES,
    })
}
