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

use super::bounds::check_elf;
use super::driver::{Dimensions, Handle, Module, Stream, link_ptx};
use super::wait;
use crate::device::DeviceError;

#[derive(Debug)]
pub(super) struct Stack {
    default_bytes: usize,
    stream: Stream,
    reserved: Mutex<Reserved>,
}

#[derive(Debug)]
struct Reserved {
    /// Local memory of a thread without its call stack, in bytes.
    local_bytes: u32,
    has_stack: bool,
}

impl Stack {
    /// Trims a new context. May block.
    pub(super) fn trim(handle: &Arc<Handle>) -> Result<Self, DeviceError> {
        let default_bytes = handle.stack_bytes()?;
        handle.set_stack_bytes(0)?;
        let stack = Self {
            default_bytes,
            stream: Stream::new(handle, false, 0)?,
            reserved: Mutex::new(Reserved { local_bytes: 0, has_stack: false }),
        };
        stack.launch(0)?;
        Ok(stack)
    }

    /// Sets aside what kernels with so much local memory need. Kernels that call functions through pointers or recurse
    /// rely on the default stack; `calls` gives it back. May block.
    pub(super) fn reserve(&self, local_bytes: u32, calls: bool) -> Result<(), DeviceError> {
        let mut reserved = self.reserved.lock();
        let grows = local_bytes > reserved.local_bytes;
        let stacks = calls && !reserved.has_stack;
        if stacks {
            self.stream.handle().set_stack_bytes(self.default_bytes)?;
        }
        if grows || stacks {
            let most = local_bytes.max(reserved.local_bytes);
            self.launch(most)?;
            *reserved = Reserved { local_bytes: most, has_stack: reserved.has_stack || calls };
        }
        Ok(())
    }

    /// Runs a kernel with so much local memory.
    fn launch(&self, local_bytes: u32) -> Result<(), DeviceError> {
        let internal = |text: &str| DeviceError::new(Status::ERROR_UNKNOWN, text);
        let text = CString::new(kernel(local_bytes)).map_err(|_| internal("the text holds no zero"))?;
        let handle = self.stream.handle();
        let image = link_ptx(handle, &text)?;
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
