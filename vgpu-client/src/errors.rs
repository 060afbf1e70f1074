//! What can go wrong, sorted by whose fault it is, and what a program should see of it.

use std::io;
use std::path::PathBuf;

use vgpu_proto::control::Closing;
use vgpu_proto::handshake::{Refusal, RefusalCause};
use vgpu_proto::{Op, Status};
use vgpu_window::WindowError;

pub use crate::misuse::Misuse;

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
