//! `libcuda.so.1` of a guest: the CUDA driver API, spoken to a vgpu host.
//!
//! NVIDIA's runtime and libraries run on it as they are. Every name that the driver exports is here (`exports`); what
//! is not implemented answers `CUDA_ERROR_NOT_SUPPORTED`, is logged once and counted.
//!
//! It is not the guest library: programs of one's own link `vgpu-client`, whose symbols do not hide a real driver.
//!
//! # How a call runs
//! Each group of calls has a file. Its `driver_calls!` block makes the C functions, which do nothing but
//! `entry::enter` a safe Rust function: arguments are read and results written through the types of `pointers`,
//! panics stop at the edge, and failures become the CUDA error of the guest library.
//!
//! # Variables
//! Those of `vgpu_client::Builder`; `VGPU_LOG=debug`: every call with its arguments on standard error; `VGPU_CALLS=FOLDER`:
//! how often each function was called, left there when the process ends (`calls`).
#![deny(unsafe_op_in_unsafe_fn)]
#![allow(non_snake_case, non_upper_case_globals, non_camel_case_types, reason = "the driver's own names")]

#[macro_use]
mod entry;

mod advice;
mod attributes;
mod boxes;
mod callback;
mod calls;
mod context;
mod copy;
mod copy_batch;
mod current;
mod debugger;
mod device;
mod driver;
mod elf;
mod errors;
mod event;
mod export_clusters;
mod export_kernels;
mod export_table;
mod exports;
mod fail;
mod fatbin;
mod function;
mod graph;
mod hint;
mod image;
mod integrity;
mod jit;
mod kernel;
mod launch;
mod launch_attribute;
mod library;
mod limits;
mod link;
mod log;
mod managed;
mod memory;
mod memset;
mod module;
mod occupancy;
mod output;
mod pinned;
mod pointer;
mod pointers;
mod pool;
mod pool_cache;
mod pool_calls;
mod pool_order;
mod pools;
mod primary;
mod proc_address;
mod register;
mod stream;
mod stream_attribute;
mod stream_word;
mod table;
mod tensor_map;
mod vmm;
mod wrapper;

/// Version of what this library promises to the rest of vgpu. A library with this symbol is a guest's: a host that finds
/// it where it looks for its driver refuses it, because it would call itself.
#[unsafe(no_mangle)]
pub static vgpu_shim_abi: u32 = 1;
