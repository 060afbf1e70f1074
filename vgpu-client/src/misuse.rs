//! Calls that are wrong in themselves.

use vgpu_proto::Status;
use vgpu_proto::graph::GraphError;
use vgpu_proto::limits::{JIT_OPTIONS_MAX, LINK_INPUTS_MAX};

/// A call that is wrong in itself. Nothing was sent; the session goes on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Misuse {
    /// An object of another client or context.
    #[error("the {what} belongs to another client or context")]
    Foreign {
        /// Which argument.
        what: &'static str,
    },
    /// An allocation of no bytes, or more than an address space holds.
    #[error("an allocation needs 1 to 2^63 bytes, not {bytes}")]
    AllocationSize {
        /// The size asked for; `u64::MAX` where it does not fit.
        bytes: u64,
    },
    /// Part of the memory is pinned already, or of one page with memory that is.
    #[error("the pages of {bytes} bytes at {address:#x} are pinned already, in whole or in part")]
    AlreadyPinned {
        /// Where the memory begins.
        address: u64,
        /// Its size.
        bytes: u64,
    },
    /// Memory that cannot become pinned memory where it is.
    #[error("{bytes} bytes at {address:#x} cannot be pinned in place: {cause}; use cuMemHostAlloc instead")]
    Unmovable {
        /// Where the memory begins.
        address: u64,
        /// Its size.
        bytes: u64,
        /// The reason.
        cause: String,
    },
    /// The two sides of a copy differ in length, or the host side is longer than the buffer.
    #[error("a copy of {bytes} bytes does not fit {room} bytes")]
    CopyLength {
        /// Length of the copy.
        bytes: u64,
        /// Room in the buffer.
        room: u64,
    },
    /// A range that does not lie inside one allocation of this client.
    #[error("{bytes} bytes at {address:#x} do not lie in one allocation of this client")]
    UnknownPointer {
        /// The address.
        address: u64,
        /// The length.
        bytes: u64,
    },
    /// A call about virtual memory that breaks its rules.
    #[error("{what}")]
    Mapping {
        /// Which rule.
        what: &'static str,
    },
    /// An address that is not a multiple of the element's size.
    #[error("address {address:#x} is not a multiple of {align} bytes")]
    Misaligned {
        /// The address.
        address: u64,
        /// What it must be a multiple of.
        align: u64,
    },
    /// A fill pattern that is not of 1, 2 or 4 bytes.
    #[error("a fill element has 1, 2 or 4 bytes, not {bytes}")]
    FillElement {
        /// Its size.
        bytes: usize,
    },
    /// A grid dimension of 0 or above the device's limit.
    #[error("grid dimension {axis} is {value}; the device takes 1 to {max}")]
    Grid {
        /// `x`, `y` or `z`.
        axis: char,
        /// What was asked.
        value: u32,
        /// The device's limit.
        max: u32,
    },
    /// A block dimension of 0 or above the device's limit.
    #[error("block dimension {axis} is {value}; the device takes 1 to {max}")]
    Block {
        /// `x`, `y` or `z`.
        axis: char,
        /// What was asked.
        value: u32,
        /// The device's limit.
        max: u32,
    },
    /// More threads in a block than the device takes.
    #[error("a block of {threads} threads; the device takes {max}")]
    BlockThreads {
        /// x times y times z.
        threads: u64,
        /// The device's limit.
        max: u32,
    },
    /// More threads in a block than this kernel takes.
    #[error(
        "a block of {threads} threads; this kernel takes {max}, because of its registers or launch bounds"
    )]
    FunctionThreads {
        /// x times y times z.
        threads: u64,
        /// The kernel's limit.
        max: u32,
    },
    /// More dynamic shared memory than the kernel may use.
    #[error("{bytes} bytes of dynamic shared memory; this kernel may use {max}: see set_max_dynamic_shared")]
    SharedBytes {
        /// What was asked.
        bytes: u32,
        /// The kernel's limit.
        max: u32,
    },
    /// More attributes than a launch may have.
    #[error("{count} launch attributes; a launch takes {max}")]
    LaunchAttributes {
        /// How many were given.
        count: usize,
        /// How many there may be.
        max: usize,
    },
    /// Another number of arguments than the kernel has parameters.
    #[error("{given} arguments for a kernel with {expected} parameters")]
    ArgumentCount {
        /// Arguments of the launch.
        given: usize,
        /// Parameters of the kernel.
        expected: usize,
    },
    /// An argument of another size than its parameter.
    #[error("argument {index} has {given} bytes; the kernel's parameter has {expected}")]
    ArgumentSize {
        /// Which argument, from 0.
        index: usize,
        /// Bytes of the argument.
        given: usize,
        /// Bytes of the parameter.
        expected: usize,
    },
    /// A module image of no bytes or over the limit.
    #[error("a module image needs 1 to {max} bytes, not {bytes}")]
    ImageSize {
        /// Its size.
        bytes: u64,
        /// The limit.
        max: u64,
    },
    /// A graph that breaks a rule.
    #[error("the graph cannot be instantiated: {0}")]
    Graph(GraphError),
    /// More inputs or options of a link than a host takes.
    #[error(
        "a link of {inputs} inputs and {options} options: {LINK_INPUTS_MAX} and {JIT_OPTIONS_MAX} are the most"
    )]
    LinkInputs {
        /// Inputs.
        inputs: usize,
        /// Options.
        options: usize,
    },
    /// A name that is empty, too long, or has a NUL.
    #[error("a kernel's or variable's name needs 1 to {max} bytes and no NUL, not {bytes} bytes")]
    Name {
        /// Its length.
        bytes: usize,
        /// The limit.
        max: u32,
    },
    /// Elapsed time of an event that takes no time stamp.
    #[error("the event was created without timing")]
    EventWithoutTiming,
    /// Elapsed time of an event that was never recorded.
    #[error("the event was never recorded")]
    EventNotRecorded,
    /// A destination that is smaller than the access, or an offset outside the buffer.
    #[error("{bytes} bytes at offset {offset} do not lie, aligned, in a buffer of {len} bytes")]
    BufferRange {
        /// Offset in bytes.
        offset: u64,
        /// Length in bytes.
        bytes: u64,
        /// Size of the buffer in bytes.
        len: u64,
    },
}

impl Misuse {
    pub(crate) fn status(&self) -> Status {
        match self {
            Self::Foreign { .. } | Self::EventWithoutTiming | Self::EventNotRecorded => {
                Status::ERROR_INVALID_HANDLE
            }
            Self::FunctionThreads { .. } => Status::ERROR_LAUNCH_OUT_OF_RESOURCES,
            Self::AlreadyPinned { .. } => Status::ERROR_HOST_MEMORY_ALREADY_REGISTERED,
            Self::Unmovable { .. } => Status::ERROR_NOT_SUPPORTED,
            _ => Status::ERROR_INVALID_VALUE,
        }
    }
}
