//! The guest library of vgpu: CUDA work on a GPU that the host shares among many guests.
//!
//! It is typed and blocking, and it needs no CUDA installation: commands travel over shared memory to a worker on the
//! host, which owns the real (or the software) GPU. It is not a CUDA driver: programs that call `libcuda` need the
//! shim that is built upon this crate.
//!
//! ```no_run
//! use vgpu_client::{Client, LaunchConfig, args};
//!
//! # fn main() -> Result<(), vgpu_client::Error> {
//! let client = Client::connect()?;
//! let context = client.context()?;
//! let module = context.load_module(include_bytes!("lib.rs"))?; // PTX, in a real program
//! let double = module.function("double_it")?;
//!
//! let stream = context.stream()?;
//! let numbers = context.alloc::<f32>(1024)?;
//! stream.copy_to_device(&numbers, &[1.0; 1024])?;
//! stream.launch(&double, LaunchConfig::linear(1024, 256), args![&numbers, 1024u32])?;
//! let mut doubled = [0.0; 1024];
//! stream.copy_to_host(&numbers, &mut doubled)?; // waits for the kernel
//! # Ok(())
//! # }
//! ```
//!
//! # Order and errors
//! Commands of one stream run in their order; [`Event`]s order streams among one another, as in CUDA. Launches, fills
//! and copies return before they are done. What this library can check by itself (dimensions, lengths, pointers,
//! parameter sizes) fails at once, as [`Misuse`]. What the host finds later is reported by the next call that looks:
//! as [`Error::Earlier`] once, or as [`Error::Sticky`] by each call of a context that a fault has ended.
//! `VGPU_SYNC=1` makes each call wait for its own work.
//!
//! # Threads
//! All types are `Send` and `Sync`, and clones are handles of the same object. A stream whose queue is full holds up
//! the threads that write to it, no others.
//!
//! # Forks
//! A session belongs to the process that opened it. In a child made by `fork` every call is [`Ended::Forked`], a new
//! session too, as CUDA has it; what it inherited may be dropped there and stays the parent's. A program that the child
//! executes begins anew.
#![forbid(unsafe_code)]

mod addresses;
mod args;
mod builder;
mod calls;
mod client;
mod connect;
mod context;
mod context_limits;
mod control;
mod errors;
mod event;
mod fate;
mod foreign;
mod free_list;
mod function;
mod graph;
mod handles;
mod heap;
mod image;
mod launch;
mod layout;
mod link;
mod linker;
mod memory;
mod misuse;
mod module;
mod occupancy;
mod per_thread;
mod pinned;
mod point;
mod registered;
mod reply;
mod report;
mod ring;
mod session;
mod staging;
mod stream;
mod tensor_map;
#[cfg(test)]
mod tests;
mod transfer;
mod uses;
mod virtual_memory;

pub use args::{KernelArg, Packer, Raw};
pub use builder::{Builder, DEFAULT_SOCKET};
pub use calls::driver_calls;
pub use client::{Client, MemoryKind, PointerAttributes};
pub use context::{Context, MemoryInfo};
pub use errors::{ConnectError, Ended, Error, HostFault, Misuse, Result};
pub use event::{Event, EventOptions};
pub use function::{Function, FunctionAttributes};
pub use graph::{Graph, GraphObjects};
#[doc(hidden)]
pub use image::ImageName;
pub use launch::LaunchConfig;
pub use linker::Linked;
pub use memory::{DeviceBuffer, DevicePtr, Element};
pub use module::{Global, Module};
pub use occupancy::Occupancy;
pub use pinned::PinnedBuffer;
pub use point::StreamPoint;
pub use registered::HostRegistration;
pub use report::{GpuReport, SessionReport, TenantReport, report, report_from, report_socket};
pub use stream::{Stream, StreamOptions, WaitCondition};
pub use vgpu_proto::attribute::{AccessPolicyWindow, LaunchAttribute};
#[doc(hidden)]
pub use vgpu_proto::body::{TENSOR_MAP_BYTES, TensorMapEncode};
pub use vgpu_proto::control::{CompileReport, ParamDescription};
pub use vgpu_proto::graph::{GraphDescription, GraphEdge, GraphError, GraphNode, GraphWork, UpdateResult};
pub use vgpu_proto::handshake::{DeviceDescription, Limits};
pub use vgpu_proto::jit::{JitKind, JitOption, LinkInput, LinkKind};
pub use vgpu_proto::{Class, EventId, Op, Order, Status};
pub use vgpu_window::{ProgramPages, Unmovable};
pub use virtual_memory::VirtualMemory;

/// Whether this process was forked from one that had a session, and so can have none.
pub fn is_forked() -> bool {
    vgpu_window::fork::is_child()
}
