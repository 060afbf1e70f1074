//! Control messages of an open session, and descriptions that answers carry. They are rare; the ring is for the rest.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::codec::Message;
use crate::handshake::RegionDescription;

/// Guest → host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_enums, reason = "a message of the protocol")]
pub enum GuestMessage {
    /// Asks for a region of the pinned heap.
    RegionAdd {
        /// The guest's number for the question; comes back with the answer.
        request: u32,
        /// Size in bytes; the host rounds up to pages.
        bytes: u64,
    },
    /// Gives a region back. The guest has waited for the work that uses it.
    RegionRemove {
        /// The guest's number for the question; comes back with the answer.
        request: u32,
        /// [`crate::RegionId`] of a region of the pinned heap, or of one at an address of the guest's.
        id: u32,
    },
    /// Asks for a region at an address of the guest's, outside the address plan: memory that a program has already and
    /// wants pinned. The host maps it there too, or refuses where that is not possible.
    RegionAddAt {
        /// The guest's number for the question; comes back with the answer.
        request: u32,
        /// A multiple of the page size, [`crate::limits::REGION_ADDRESS_MIN`] at least.
        address: u64,
        /// Size in bytes; the host rounds up to pages.
        bytes: u64,
    },
}

impl Message for GuestMessage {}

/// Host → guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_enums, reason = "a message of the protocol")]
pub enum HostMessage {
    /// A region was added. The message carries its descriptor.
    RegionAdded {
        /// Number of the question.
        request: u32,
        /// The region, with the address at which both ends map it.
        region: RegionDescription,
    },
    /// A region was removed.
    RegionRemoved {
        /// Number of the question.
        request: u32,
    },
    /// A question about regions was refused.
    RegionRefused {
        /// Number of the question.
        request: u32,
        /// `CUresult`.
        status: u32,
    },
    /// What kernels printed.
    Output {
        /// Where a program on the same machine would see it.
        stream: OutputStream,
        /// At most [`crate::limits::OUTPUT_CHUNK_BYTES_MAX`] bytes.
        bytes: Vec<u8>,
    },
    /// The session ends; the host closes after this.
    Closing(Closing),
}

impl Message for HostMessage {}

/// A stream that kernels' text belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_enums, reason = "part of a message of the protocol")]
pub enum OutputStream {
    /// `printf`.
    Stdout,
    /// Failed assertions, and what else the driver has to say.
    Stderr,
}

/// Why a session ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "a message of the protocol")]
pub struct Closing {
    /// `CUresult` of every later call.
    pub status: u32,
    /// Stable name of the cause, such as `protocol:ring-index` or `draining`.
    pub reason: String,
    /// Cause and remedy in a sentence.
    pub text: String,
}

/// What a compiler told, where it was used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "a message of the protocol")]
pub struct CompileReport {
    /// Its log, of at most [`crate::limits::JIT_LOG_BYTES_MAX`] bytes.
    pub log: String,
    /// How long it took, in microseconds; 0 where it was not asked.
    pub wall_time_us: u32,
    /// Threads of a block that the code allows; 0 where it was not asked.
    pub threads_per_block: u32,
}

impl Message for CompileReport {}

/// What a loaded module holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "a message of the protocol")]
pub struct ModuleDescription {
    /// How many kernels. A kernel is described when it is asked for: a library has thousands.
    pub functions: u32,
    /// What the compiler told.
    pub report: CompileReport,
}

impl Message for ModuleDescription {}

/// Names of a module's kernels, as many as fit the room that the guest gave: at least one, where one is left.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "a message of the protocol")]
pub struct FunctionNames {
    /// In an order that stays the same.
    pub names: Vec<String>,
}

impl Message for FunctionNames {}

/// A kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "a message of the protocol")]
pub struct FunctionDescription {
    /// Name in the module.
    pub name: String,
    /// Parameters in their order.
    pub params: Vec<ParamDescription>,
    /// Threads of a block, at most.
    pub threads_per_block_max: u32,
    /// Static shared memory of a block, in bytes.
    pub shared_bytes: u32,
    /// Constant memory, in bytes.
    pub constant_bytes: u32,
    /// Local memory of a thread, in bytes.
    pub local_bytes: u32,
    /// 32-bit registers of a thread.
    pub registers: u32,
    /// Dynamic shared memory that a launch may ask for, in bytes.
    pub dynamic_shared_bytes_max: u32,
    /// Every `CU_FUNC_ATTRIBUTE_*` by its number, from 0; at most [`crate::limits::FUNCTION_ATTRIBUTES_MAX`].
    pub attributes: Vec<i32>,
}

impl Message for FunctionDescription {}

/// A kernel parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "a message of the protocol")]
pub struct ParamDescription {
    /// Offset in the parameter block, in bytes.
    pub offset_bytes: u32,
    /// Size in bytes.
    pub size_bytes: u32,
}

impl FunctionDescription {
    /// Size of the parameter block, in bytes.
    pub fn params_bytes(&self) -> u32 {
        self.params.iter().map(|param| param.offset_bytes.saturating_add(param.size_bytes)).max().unwrap_or(0)
    }
}
