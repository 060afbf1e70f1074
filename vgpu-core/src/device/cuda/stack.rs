//! The local memory that a context sets aside for all threads that the GPU can hold: call stacks, spilled registers.
//!
//! At the driver's default of 1,024 bytes of stack a thread it takes half of what an idle context costs (measured on an
//! H200: 263 of 527 MiB). So it starts at nothing and grows with what modules need.
//!
//! The driver grows it in a launch, and for that waits until the context is idle; measured on an H100 (driver 580), the
//! first launch after the limit was changed waits too. Behind a stream that waits for a later command such a launch
//! never ends. So it happens here: at a context's start and at a module's load, where blocking is allowed, by a kernel of
//! ours that needs as much as the module's largest one.

use std::ffi::CString;
use std::sync::Arc;

use parking_lot::Mutex;
use vgpu_proto::Status;

use super::driver::{Dimensions, Handle, LIMIT_STACK, Module, Stream, link_ptx};
use super::elf::check_elf;
use super::wait;
use crate::device::{DeviceError, Payer};

/// Local memory of a thread, at most, in bytes (CUDA C++ Programming Guide, "Technical Specifications per Compute
/// Capability").
const LOCAL_BYTES_MAX: u64 = 512 << 10;

#[derive(Debug)]
pub(super) struct Stack {
    default_bytes: u64,
    stream: Stream,
    reserved: Mutex<Reserved>,
}

/// Local memory of all threads that the GPU holds at once, and who pays for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct LocalMemory<'a> {
    pub(super) stack: &'a Stack,
    pub(super) payer: &'a dyn Payer,
    /// Threads that the GPU holds at once.
    pub(super) threads: u64,
}

impl LocalMemory<'_> {
    /// Sets aside what kernels with so much local memory need, beyond what was set aside before. Kernels that call
    /// functions through pointers or recurse rely on the stack that the guest counts on; `calls` gives it back. May block.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY` where the payer does not pay, or what the driver answers.
    pub(super) fn reserve(&self, local_bytes: u32, calls: bool) -> Result<(), DeviceError> {
        let mut reserved = self.stack.reserved.lock();
        let more = u64::from(local_bytes.saturating_sub(reserved.local_bytes)).saturating_mul(self.threads);
        self.payer.take(more).map_err(|status| {
            let text = format!("{local_bytes} bytes of local memory for each of {} threads", self.threads);
            DeviceError::new(status, format!("{text} do not fit into the tenant's memory quota"))
        })?;
        self.stack.grow(&mut reserved, local_bytes, calls).inspect_err(|_| self.payer.give(more))
    }
}

#[derive(Debug)]
struct Reserved {
    /// Local memory of a thread without its call stack, in bytes.
    local_bytes: u32,
    /// Call stack of a thread that the guest counts on, in bytes: the driver's start value, or what it set.
    limit_bytes: u64,
    has_stack: bool,
}

impl Stack {
    /// Trims a new context. May block.
    pub(super) fn trim(handle: &Arc<Handle>) -> Result<Self, DeviceError> {
        let default_bytes = handle.limit(LIMIT_STACK)?;
        handle.set_limit(LIMIT_STACK, 0)?;
        let stack = Self {
            default_bytes,
            stream: Stream::new(handle, false, 0)?,
            reserved: Mutex::new(Reserved { local_bytes: 0, limit_bytes: default_bytes, has_stack: false }),
        };
        stack.launch(0)?;
        Ok(stack)
    }

    /// Sets aside what is not there yet. May block.
    fn grow(&self, reserved: &mut Reserved, local_bytes: u32, calls: bool) -> Result<(), DeviceError> {
        let grows = local_bytes > reserved.local_bytes;
        let stacks = calls && !reserved.has_stack;
        if stacks {
            self.stream.handle().set_limit(LIMIT_STACK, reserved.limit_bytes)?;
        }
        if grows || stacks {
            let most = local_bytes.max(reserved.local_bytes);
            self.launch(most)?;
            *reserved = Reserved { local_bytes: most, has_stack: reserved.has_stack || calls, ..*reserved };
        }
        Ok(())
    }

    /// Call stack of a thread that the guest counts on, in bytes.
    pub(super) fn limit_bytes(&self) -> u64 {
        self.reserved.lock().limit_bytes
    }

    /// Sets it. Set aside it is only once a module has functions that are called; then this waits until the context is
    /// idle, as a launch behind it would. May block.
    pub(super) fn set_limit(&self, bytes: u64) -> Result<(), DeviceError> {
        if bytes > LOCAL_BYTES_MAX {
            let text = format!("a stack of {bytes} bytes: a thread has {LOCAL_BYTES_MAX} of local memory");
            return Err(DeviceError::new(Status::ERROR_INVALID_VALUE, text));
        }
        let mut reserved = self.reserved.lock();
        if reserved.has_stack && bytes != reserved.limit_bytes {
            self.stream.handle().set_limit(LIMIT_STACK, bytes)?;
            self.launch(reserved.local_bytes)?;
        }
        reserved.limit_bytes = bytes;
        Ok(())
    }

    /// Gives the stack its start value, for a guest's next context. Nothing runs, so no launch has to wait.
    pub(super) fn restore(&self) {
        let _ = self.set_limit(self.default_bytes);
    }

    /// Runs a kernel with so much local memory.
    fn launch(&self, local_bytes: u32) -> Result<(), DeviceError> {
        let internal = |text: &str| DeviceError::new(Status::ERROR_UNKNOWN, text);
        let text = CString::new(kernel(local_bytes)).map_err(|_| internal("the text holds no zero"))?;
        let handle = self.stream.handle();
        let image = link_ptx(handle, text, &[])?.image;
        check_elf(&image).map_err(internal)?;
        // SAFETY: the image's headers were checked against its length.
        let module = Arc::new(unsafe { Module::load(handle, &image) }?);
        let function = module.functions()?.pop().ok_or_else(|| internal("the module has one kernel"))?;
        let one = Dimensions { grid: [1; 3], block: [1; 3], shared_bytes: 0 };
        // SAFETY: the kernel has no parameters and touches no memory.
        unsafe { function.launch(&self.stream, one, &[], &[]) }?;
        wait::until(|| match self.stream.is_idle() {
            Ok(true) => Some(Ok(())),
            Ok(false) => None,
            Err(error) => Some(Err(error)),
        })
    }
}

/// A kernel with an array in local memory; the compiler keeps it in the kernel's frame though nothing uses it. Turing is the
/// oldest target of CUDA 13.
fn kernel(local_bytes: u32) -> String {
    let array = match local_bytes {
        0 => String::new(),
        bytes => format!(".local .align 8 .b8 space[{bytes}];"),
    };
    format!(
        ".version 7.5\n.target sm_75\n.address_size 64\n.visible .entry reserve()\n{{\n{array}\nret;\n}}\n"
    )
}
