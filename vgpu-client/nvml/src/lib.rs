//! `libnvidia-ml.so.1` of a guest: NVIDIA's management library (NVML), as far as a tenant may look.
//!
//! There is one device: the tenant's share of a GPU. Its memory is the tenant's quota, its processes are the tenant's
//! sessions, its name and UUID are the card's. What belongs to the card as a whole (temperature, power, clocks, links)
//! is reported as not supported; what would change it is not there. See `exports` for the whole list.
//!
//! Every question is asked of the host anew (`vgpu_client::report`), which costs no session and no GPU memory.
//!
//! # Variables
//! `VGPU_SOCKET`: the host's socket, as for the CUDA library. `VGPU_LOG=debug`: every call on standard error.
#![deny(unsafe_op_in_unsafe_fn)]
#![allow(non_snake_case, non_upper_case_globals, reason = "the library's own names")]

#[macro_use]
mod entry;

mod calls;
mod exports;
mod fail;
// The pointer arguments of C callers are the same in both libraries of a guest; this one uses a part.
#[allow(dead_code, reason = "shared with the CUDA library, which uses all of it")]
#[path = "../../cuda/src/pointers.rs"]
mod pointers;
mod state;

/// See the CUDA library's: a host that finds this symbol in what it takes for NVIDIA's library refuses it.
#[unsafe(no_mangle)]
pub static vgpu_shim_abi: u32 = 1;
