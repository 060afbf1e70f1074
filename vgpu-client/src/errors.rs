//! What can go wrong, sorted by whose fault it is, and what a program should see of it.

use std::io;
use std::path::PathBuf;

use vgpu_proto::control::Closing;
use vgpu_proto::graph::GraphError;
use vgpu_proto::handshake::{Refusal, RefusalCause};
use vgpu_proto::limits::{JIT_OPTIONS_MAX, LINK_INPUTS_MAX};
use vgpu_proto::{Op, Status};
use vgpu_window::WindowError;

/// Result of this crate's calls.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call failed. Each variant says whose fault it is; [`Error::status`] is the CUDA error for it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No session could be opened.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The session is over; every later call fails the same way.
    #[error(transparent)]
    Ended(#[from] Ended),
    /// The call itself is wrong; nothing was sent to the host.
    #[error(transparent)]
    Misuse(#[from] Misuse),
    /// A limit of the session is reached; drop objects of that kind and try again.
    #[error("the session holds {max} {what}, as many as it may: drop some first")]
    Limit {
        /// Which objects, in the plural.
        what: &'static str,
        /// How many there may be.
        max: u32,
    },
    /// The host or the device refused or failed this call.
    #[error("{op} failed: {status}{}", .text.as_deref().map(|text| format!(": {text}")).unwrap_or_default())]
    Call {
        /// The operation.
        op: Op,
        /// What it answered.
        status: Status,
        /// The host's explanation, where it gave one (a compiler's message, for example).
        text: Option<String>,
    },
    /// An earlier asynchronous command failed. The call that reports it did nothing itself, unless it is one that
    /// waits for earlier work.
    #[error("an earlier command failed: {status}; set VGPU_SYNC=1 to see which one")]
    Earlier {
        /// The earlier command's error.
        status: Status,
    },
    /// A fault made the context unusable: each of its calls answers this. Other contexts go on.
    #[error("the context is lost to an earlier fault: {status}; create a new context or session")]
    Sticky {
        /// The fault.
        status: Status,
    },
    /// The host sent what no honest host sends.
    #[error("the host broke the protocol: {0}; are guest and host of the same release?")]
    Host(#[from] HostFault),
    /// The operating system refused something.
    #[error("{what}: {source}")]
    Os {
        /// What was tried.
        what: &'static str,
        /// The reason.
        source: io::Error,
    },
}

/// Why no session could be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// Nobody listens on the socket.
    #[error("no vgpu host at {}: {source}; start `vgpu-host serve` or set VGPU_SOCKET", .path.display())]
    NoHost {
        /// The socket tried.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// This user may not open the socket.
    #[error("no permission to use {}: ask for this user's `uid` in the tenant's configuration", .path.display())]
    Permission {
        /// The socket tried.
        path: PathBuf,
    },
    /// The host did not answer in time.
    #[error("the host did not answer within {timeout_ms} ms; see its log, or raise the answer timeout")]
    Silent {
        /// How long this guest waited.
        timeout_ms: u64,
    },
    /// The host closed the connection instead of answering.
    #[error("the host closed the connection during the greeting; see its log")]
    ClosedEarly,
    /// The host refused, and said why.
    #[error("the host refused the session: {}", .0.text)]
    Refused(Refusal),
    /// No address plan is free in this process.
    #[error(
        "the address ranges that a session needs are taken in this process ({tried} tried): close other clients"
    )]
    AddressesTaken {
        /// How many plans were tried.
        tried: usize,
    },
    /// The host speaks another version of the protocol.
    #[error(
        "the host chose protocol version {version}, this guest speaks {min} to {max}: update the older of the two"
    )]
    Version {
        /// The host's choice.
        version: u16,
        /// Oldest version here.
        min: u16,
        /// Newest version here.
        max: u16,
    },
}

impl ConnectError {
    fn status(&self) -> Status {
        match self {
            Self::NoHost { .. } | Self::Silent { .. } | Self::ClosedEarly | Self::AddressesTaken { .. } => {
                Status::ERROR_NO_DEVICE
            }
            Self::Permission { .. } => Status::ERROR_NOT_PERMITTED,
            Self::Refused(refusal) => refusal.cause.status(),
            Self::Version { .. } => Status::ERROR_SYSTEM_DRIVER_MISMATCH,
        }
    }
}

/// How a session ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Ended {
    /// The host closed it and said why.
    #[error("the host ended the session ({reason}): {text}")]
    Closed {
        /// CUDA error of every later call.
        status: Status,
        /// Stable name of the cause, such as `draining`.
        reason: String,
        /// Cause and remedy in a sentence.
        text: String,
    },
    /// The worker is gone without a word.
    #[error("the connection to the worker was lost; see the host's log, then connect again")]
    WorkerLost,
    /// The host broke the protocol, so this guest closed the session.
    #[error("the host broke the protocol: {0}; are guest and host of the same release?")]
    HostFault(HostFault),
    /// This process is a child of `fork`: the session is its parent's, where it goes on.
    #[error(
        "this process was forked from one that uses the GPU, and cannot use it: start a process of its own (in Python, \
         multiprocessing's \"spawn\"), or fork before the first call"
    )]
    Forked,
}

impl Ended {
    /// CUDA error of every call after the end.
    pub fn status(&self) -> Status {
        match self {
            Self::Closed { status, .. } => *status,
            Self::WorkerLost => Status::ERROR_CONTEXT_IS_DESTROYED,
            Self::HostFault(_) => Status::ERROR_UNKNOWN,
            Self::Forked => Status::ERROR_NOT_INITIALIZED,
        }
    }
}

impl From<Closing> for Ended {
    fn from(closing: Closing) -> Self {
        // A session that ends "with success" would make every later call succeed: read that as unknown.
        let status = if closing.status == 0 { Status::ERROR_UNKNOWN } else { Status(closing.status) };
        Self::Closed { status, reason: closing.reason, text: closing.text }
    }
}

/// What no honest host sends. A host is trusted with the guest's data, but its bytes are checked all the same.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HostFault {
    /// A message does not decode.
    #[error("a message does not decode")]
    Message,
    /// A message carries too few or too many descriptors.
    #[error("a message carries {found} descriptors instead of {expected}")]
    Descriptors {
        /// How many came.
        found: usize,
        /// How many belong.
        expected: usize,
    },
    /// The start regions are not control and staging with their sizes.
    #[error("the start regions are not those of the protocol")]
    StartRegions,
    /// A region is not as described, not sealed, or not where it must be.
    #[error("a region cannot be mapped: {0}")]
    Region(String),
    /// The control region does not begin with the magic number.
    #[error("the control region lacks its magic number")]
    Magic,
    /// The chosen plan was not offered.
    #[error("plan {plan} of {offered} was chosen")]
    Plan {
        /// The choice.
        plan: u8,
        /// How many were offered.
        offered: usize,
    },
    /// A feature was agreed that was not offered, or one is missing that this guest needs.
    #[error("feature bits {features:#x} were agreed")]
    Features {
        /// What the host chose.
        features: u64,
    },
    /// A limit passes the protocol's bound, or is 0.
    #[error("the limit of {what} is out of bounds")]
    Limits {
        /// Which limit.
        what: &'static str,
    },
    /// An answer belongs to no question.
    #[error("an answer belongs to no question")]
    UnexpectedAnswer,
    /// A description of a module or kernel does not decode or contradicts itself.
    #[error("a description of a module or kernel is malformed")]
    Description,
    /// An answered address lies where it cannot.
    #[error("an allocation of {bytes} bytes at {address:#x} overlaps another or lies where none can be")]
    Address {
        /// The address.
        address: u64,
        /// The allocation's size.
        bytes: u64,
    },
    /// A variable lies, on the device, at addresses that this process uses already.
    #[error(
        "the GPU's driver placed a variable of {bytes} bytes at {address:#x}, where memory of this process lies: load the \
         module again, or start the program again"
    )]
    AddressTaken {
        /// The address.
        address: u64,
        /// The variable's size.
        bytes: u64,
    },
}

impl HostFault {
    pub(crate) fn region(error: &WindowError) -> Self {
        Self::Region(error.to_string())
    }
}

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
    fn status(&self) -> Status {
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

impl Error {
    /// The CUDA error that a driver would answer.
    pub fn status(&self) -> Status {
        match self {
            Self::Connect(error) => error.status(),
            Self::Ended(ended) => ended.status(),
            Self::Misuse(misuse) => misuse.status(),
            Self::Limit { .. } | Self::Os { .. } => Status::ERROR_OUT_OF_MEMORY,
            Self::Call { status, .. } | Self::Earlier { status } | Self::Sticky { status } => *status,
            Self::Host(_) => Status::ERROR_UNKNOWN,
        }
    }

    /// The exit status of a tool that stops because of this error, in the manner of `sysexits.h`; 1 for errors that
    /// have none of their own.
    pub fn exit_code(&self) -> u8 {
        match self.status() {
            Status::ERROR_NO_DEVICE => 69,
            Status::ERROR_NOT_PERMITTED => 77,
            Status::ERROR_SYSTEM_DRIVER_MISMATCH | Status::ERROR_UNKNOWN => 76,
            Status::ERROR_SYSTEM_NOT_READY | Status::ERROR_DEVICE_UNAVAILABLE => 75,
            Status::ERROR_LAUNCH_TIMEOUT | Status::ERROR_CONTEXT_IS_DESTROYED => 70,
            _ => 1,
        }
    }

    /// The cause of a refused greeting, where that is what happened.
    pub fn refusal(&self) -> Option<RefusalCause> {
        match self {
            Self::Connect(ConnectError::Refused(refusal)) => Some(refusal.cause),
            _ => None,
        }
    }

    pub(crate) fn call(op: Op, status: Status) -> Self {
        Self::Call { op, status, text: None }
    }

    /// An answer that came with the cause as text.
    pub(crate) fn explained(op: Op, status: Status, text: &[u8]) -> Self {
        let text = String::from_utf8_lossy(text).trim_end().to_owned();
        Self::Call { op, status, text: Some(text).filter(|text| !text.is_empty()) }
    }
}
