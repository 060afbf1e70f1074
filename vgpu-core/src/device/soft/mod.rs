//! The software GPU: runs PTX on the CPU, as a library in each worker.
//!
//! Data goes one way: a context checks a command and queues it (`queue`), the executor's threads choose what runs
//! next (`turn`) and run it, as slices of a transfer or of a kernel ([`exec`]), against one address space
//! ([`memory`]).

mod arena;
mod attribute;
mod attributes;
mod card;
mod config;
mod context;
mod delay;
mod device;
mod event;
pub mod exec;
mod executor;
mod faults;
mod function;
mod graph;
mod graph_turn;
mod image;
mod launch;
mod limits;
mod load;
pub mod memory;
mod modules;
pub mod num;
mod occupancy;
pub mod ptx;
mod queue;
mod rows;
mod stream;
#[cfg(test)]
mod tests;
mod transfer;
mod turn;
mod virtual_memory;

pub use config::{
    COMPUTE_CAPABILITY_MAX, COMPUTE_CAPABILITY_MIN, ComputeCapability, ComputeCapabilityError, ConfigError,
    MEMORY_BYTES_MAX, MEMORY_BYTES_MIN, SoftConfig, THREADS_MAX,
};
pub use device::SoftDevice;
pub use faults::{FaultPlan, FaultPlanError, KERNELS_MAX, SLOW_MAX, SlowKernel};
