//! The device trait on a real GPU, through NVIDIA's driver library (`libcuda.so.1`), loaded when it is first asked for.
//!
//! Three floors, each in small files:
//!
//! 1. `cudarc::driver::sys`: the driver's functions as they are.
//! 2. [`driver`]: owners of the driver's objects, each call a `Result`. All that can be safe is.
//! 3. The rest: the device, its contexts, and what a session may rely on.
//!
//! A machine without the driver, an old driver, or one that lacks a function that is used here gives a [`CudaError`];
//! nothing panics. A library that says it is vgpu's own shim is refused, or the worker would call itself.
//!
//! # How completion is seen
//! The GPU counts for us. Each stream has a 64-bit word in pinned memory of this process (`counter`). Behind a mark the
//! stream writes to it how many of its commands are done, in the same driver call in which it writes the word that the
//! guest polls ([`super::Mark::word`]); both are stream memory operations, so no interrupt, event or CPU thread stands
//! between the end of a kernel and the guest. One thread for each context (`watch`) reads the counters, wakes sleepers,
//! and finds faults. It polls, with pauses that grow with what it waits for: a thread that blocks on one stream's
//! event would not hear of the other streams, and one of those may be what the first one waits for.
//!
//! A counter write is a command of its stream, so it must not come where it would make streams wait that do not wait
//! natively: behind a command of the legacy stream that a blocking stream follows, and the other way round. Before a
//! stream of one kind gets work, the streams of the other kind write their counters for what they have; a mark that comes
//! later refers to that write and adds none (`order`).
//!
//! # What is not as the trait would like it
//! Measured on an H100 with driver 580; `tests/conformance_cuda.rs` lists the cases.
//! - Addresses of a module's variables are the driver's choice; all other device memory lies in the session's arena.
//! - A fault in one context ends every context of its process. Each tells its own session.
//! - A fault is told only once the context's other kernels have ended, and the driver loads modules only then. Beside an
//!   endless kernel the watchdog must end the process.
//! - A module is charged for all its code when it is loaded, though the driver puts a kernel's code on the GPU only when it
//!   is asked for.
//! - A context that is dropped while work runs is freed when the work ends, or with the process.
//! - Memory just outside an allocation, or freed, may still be mapped: the driver maps 2 MiB at a time.
//! - A kernel's `printf` goes to this process's standard output, its `assert` to standard error; whoever runs the
//!   process catches them for the guest and passes them on when [`super::DeviceEvents::flush`] is called. Once a
//!   kernel was launched that may print, completion is told by the CPU, behind the text (`output`).
//! - The first use of a region by a mark or a staged copy registers it, which may take some milliseconds.
//! - Copies between two pinned places may be done by the driver in the caller's thread.
#![allow(unsafe_code)]

mod arena;
mod bounds;
mod context;
mod counter;
mod device;
pub mod driver;
mod elf;
mod fault;
mod function;
mod graph;
mod image;
mod launch;
mod limits;
mod memory;
mod module;
mod order;
mod output;
mod pinned;
mod placement;
mod printing;
mod queue;
mod space;
mod stack;
mod streams;
mod submit;
mod transfer;
mod virtual_memory;
mod wait;
mod watch;

#[cfg(test)]
mod tests;

pub use self::device::CudaDevice;
pub use self::driver::CudaError;
