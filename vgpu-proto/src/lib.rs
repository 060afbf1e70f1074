//! What is said between a guest and its host: frames, the one table of operations, the window's layout, ring indices as
//! pure arithmetic, handshake, control messages, ids and limits.
//!
//! Nothing here does I/O, reads a clock or holds a lock; every byte of the protocol is written down in `SPEC.md`. Both
//! ends use the same table ([`for_each_operation`]), so an operation that one of them does not handle does not compile.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod attribute;
pub mod body;
pub mod codec;
pub mod control;
pub mod frame;
pub mod graph;
pub mod handshake;
pub mod ids;
pub mod jit;
pub mod limits;
pub mod operation;
pub mod report;
pub mod ring;
pub mod status;
pub mod violation;
pub mod window;

pub use attribute::LaunchAttribute;
pub use frame::{FrameHeader, Request};
pub use ids::{ContextId, EventId, FunctionId, GraphId, ImageDigest, ModuleId, RegionId, StreamId};
pub use operation::{Class, Op, Operation, Order};
pub use status::Status;
pub use violation::Violation;
