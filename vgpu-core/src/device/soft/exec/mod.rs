//! Executes parsed kernels: lanes, warps, blocks, grids.
//!
//! A [`Program`] is a module decoded for the interpreter, with its variables placed in memory. A [`Grid`] is
//! one launched kernel of it, which any number of threads may run at once, in slices.

mod barrier;
mod block;
mod budget;
mod call;
mod collective;
mod decode;
mod fault;
mod grid;
mod image;
mod inst;
mod kernel;
mod lanes;
mod launch;
mod machine;
mod matrix;
mod memory;
mod opcode;
mod ops;
mod print;
mod print_float;
mod program;
mod schedule;
mod warp;

#[cfg(test)]
pub(in crate::device::soft) use budget::Share;
pub use budget::{Budget, KERNEL_BYTES_MAX};
pub use call::{CALL_DEPTH_MAX, LOCAL_BYTES_MAX};
pub use fault::{Fault, FaultKind};
pub use grid::{Grid, Progress};
pub use kernel::{Kernel, KernelAttributes, Param};
pub use launch::{
    BLOCK_EXTENT_MAX, BLOCK_THREADS_MAX, COOPERATIVE_BLOCKS_MAX, COOPERATIVE_BYTES_MAX, ClockNs, Env,
    GRID_EXTENT_MAX, Launch, LaunchError, Output, SHARED_BYTES_MAX, SM_COUNT,
};
pub use program::{LoadError, Program};
