//! The driver's objects, each with an owner, and its calls, each with a result.
//!
//! A [`Driver`] shows that the library is loaded and has every function that is called here. Each object is destroyed
//! with its owner and keeps its context; each call makes its context current first. What could touch memory that is not
//! there is `unsafe` and says what it asks for.

mod api;
mod cluster;
mod error;
mod event;
mod function;
mod graph;
mod handle;
mod launch;
mod launch_attribute;
mod limit;
mod link;
mod load;
mod mapping;
mod memory;
mod module;
mod nvml;
mod occupancy;
mod query;
mod stream;
mod tensor_map;

pub use self::api::{FUNCTIONS, SHIM};
pub(super) use self::error::is_fault;
pub use self::error::{CudaError, Missing};
pub(super) use self::event::Event;
pub(super) use self::function::Function;
pub(super) use self::graph::{Exec, NodeLaunch, Template};
pub(super) use self::handle::Handle;
pub(super) use self::launch::Dimensions;
pub(super) use self::launch_attribute::DriverAttribute;
pub(super) use self::limit::LIMIT_STACK;
pub(super) use self::link::{Input, link, link_ptx};
pub use self::load::Driver;
pub(super) use self::mapping::{AddressRange, Physical, set_access, unmap};
pub(super) use self::memory::{Registration, copy, fill, is_device_memory};
pub(super) use self::module::Module;
pub use self::nvml::{NVML, NvmlLibrary};
pub(super) use self::query::{Property, describe};
pub(super) use self::stream::Stream;
