//! What a session asks of a GPU, and the GPUs that answer.
//!
//! A [`Device`] makes [`Context`]s; a context owns memory, streams, events and modules, as a CUDA context does. The
//! dispatcher calls [`Context::submit`] and the other calls that say "never blocks"; everything that may block runs on
//! pool threads. A device answers only for objects that it made: the session checks every guest handle before it gets
//! here, and a device never sees one.

#[cfg(any(test, feature = "test-util"))]
pub mod conformance;
pub mod cuda;
mod graph;
mod launch;
mod occupancy;
mod payer;
mod ranges;
pub mod soft;
mod tensor_map;
mod virtual_memory;

use std::fmt;
use std::sync::Arc;

use vgpu_proto::Status;
use vgpu_proto::control::{CompileReport, FunctionDescription, OutputStream};
use vgpu_proto::graph::UpdateResult;
use vgpu_proto::handshake::DeviceDescription;
use vgpu_window::{Region, Reservation};

pub use self::virtual_memory::{MemoryAccess, MemoryKey, VirtualMemory};

pub(crate) use self::graph::Ranges;
pub use self::graph::{BoxCopy, BoxEnd, GraphLaunch, GraphPlan, NodeWork, RowFill};
pub use self::launch::LaunchConfig;
pub use self::occupancy::Occupancy;
pub use self::payer::Payer;
pub use self::tensor_map::{TENSOR_MAP_BYTES, TensorMap, TensorMapKind};
use vgpu_proto::jit::{JitOption, LinkInput};

/// A GPU of one worker.
pub trait Device: VirtualMemory + Send + Sync + fmt::Debug {
    /// What the card is.
    fn description(&self) -> &DeviceDescription;

    /// Bytes of the card's memory that a context takes by itself where the session has another one already. What the first
    /// one takes the device has from its start.
    fn further_context_bytes(&self) -> u64 {
        0
    }

    /// Bytes of the card's memory that a graph takes while it is there, at most.
    fn graph_bytes(&self, _plan: &GraphPlan) -> u64 {
        0
    }

    /// Whether a fault is the end of all contexts of this process. Then the device takes no memory back before the process
    /// ends.
    fn fault_ends_process(&self) -> bool {
        false
    }

    /// Makes a context. May block.
    ///
    /// `events` hears of the context's faults, output and progress until the context is dropped.
    ///
    /// # Errors
    /// Out of memory, or the device is lost.
    fn context_create(
        &self,
        flags: u32,
        events: Arc<dyn DeviceEvents>,
    ) -> Result<Arc<dyn Context>, DeviceError>;

    /// Says where device memory is to lie: in the first [`ARENA_HOST_BYTES`](vgpu_proto::limits::ARENA_HOST_BYTES) of
    /// the session's arena, which this process holds. Called before memory is allocated; again, with the same arena, it does nothing. May block.
    ///
    /// # Errors
    /// `INVALID_VALUE` when memory lies elsewhere already, `OUT_OF_MEMORY` when it cannot lie there; another arena may be
    /// tried then.
    fn arena_set(&self, arena: &Arc<Reservation>) -> Result<(), DeviceError>;

    /// Makes a region of pinned host memory reachable by kernels and copies of every context, at `address`, which is
    /// where it is mapped in this process. May block.
    ///
    /// # Errors
    /// The range overlaps one that is there, or the driver refuses it.
    fn host_region_add(&self, address: u64, region: &Arc<Region>) -> Result<(), DeviceError>;

    /// Takes such a region back. The session has waited for the work that uses it. May block.
    ///
    /// # Errors
    /// No region was added there.
    fn host_region_remove(&self, address: u64) -> Result<(), DeviceError>;
}

/// What a context tells its session, from any thread. Implementations do little and never block.
pub trait DeviceEvents: Send + Sync + fmt::Debug {
    /// The context met a sticky error. Told before any completion of work that was queued behind it.
    fn fault(&self, error: &DeviceError);

    /// An asynchronous command failed by itself; the context goes on.
    fn failed(&self, error: &DeviceError);

    /// Kernels printed something: `printf` to standard output, a failed assertion to standard error.
    fn output(&self, stream: OutputStream, bytes: &[u8]);

    /// The driver has written what kernels printed so far to this process's own output: whoever catches it there passes
    /// it on before this returns. Devices that call [`DeviceEvents::output`] have no use for it.
    fn flush(&self) {}

    /// A stream has half of the commands that [`Context::stream_pending`] last answered, or fewer.
    fn progress(&self);
}

/// A CUDA context. Dropping it frees all that it owns; work that still runs is abandoned.
pub trait Context: Send + Sync + fmt::Debug {
    /// The stream with legacy semantics: it waits for blocking streams, and they for it. Never blocks.
    fn legacy_stream(&self) -> StreamKey;

    /// Makes a stream. May block.
    ///
    /// # Errors
    /// Out of memory, or the context's sticky error.
    fn stream_create(&self, blocking: bool, priority: i32) -> Result<StreamKey, DeviceError>;

    /// Destroys a stream once its work is done. Never blocks.
    fn stream_destroy(&self, stream: StreamKey);

    /// Commands submitted to the stream that may not have run yet; an upper bound. Never blocks. A caller that gets
    /// more than it wants, however much that is, hears [`DeviceEvents::progress`] later.
    fn stream_pending(&self, stream: StreamKey) -> u32;

    /// Hands work to a stream. Never blocks. Work runs in order within a stream, asynchronously to everything else but
    /// the legacy stream's rule, in the order of submission.
    ///
    /// # Errors
    /// What can be known at once: arguments, addresses, the context's sticky error. Nothing was submitted then.
    fn submit(&self, stream: StreamKey, work: Work) -> Result<(), DeviceError>;

    /// Waits for all work submitted so far. May block.
    ///
    /// # Errors
    /// The context's sticky error.
    fn synchronize(&self) -> Result<(), DeviceError>;

    /// Makes an event. Never blocks.
    ///
    /// # Errors
    /// Out of memory.
    fn event_create(&self, timing: bool) -> Result<EventKey, DeviceError>;

    /// Destroys an event; waits on it that were submitted before stay valid. Never blocks.
    fn event_destroy(&self, event: EventKey);

    /// Waits until the event's latest submitted record is complete. May block.
    ///
    /// # Errors
    /// The context's sticky error.
    fn event_synchronize(&self, event: EventKey) -> Result<(), DeviceError>;

    /// Nanoseconds from one record to another. Never blocks.
    ///
    /// # Errors
    /// `NOT_READY` when one of them is not complete, `INVALID_HANDLE` when one has no time or was never recorded.
    fn event_elapsed_ns(&self, start: EventKey, end: EventKey) -> Result<i64, DeviceError>;

    /// Most bytes of the card's memory that an allocation of `bytes` bytes takes: devices hand memory out in pieces of their
    /// own size, and a tenant pays for all of them. `None` where no card has so much. Never blocks.
    fn memory_cost(&self, bytes: u64) -> Option<u64>;

    /// Bytes of the card's memory that this context's allocations take now. Never blocks.
    fn memory_taken(&self) -> u64;

    /// Allocates device memory, 256-byte aligned, zeroed or not, so that no earlier tenant's data shows. May block.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`.
    fn memory_alloc(&self, bytes: u64) -> Result<u64, DeviceError>;

    /// Frees it after all work submitted so far. May block.
    ///
    /// # Errors
    /// `INVALID_VALUE` when nothing was allocated at that address.
    fn memory_free(&self, address: u64) -> Result<(), DeviceError>;

    /// Loads a module from an image that nobody else can change. `options` tune the compiler, where there is something to
    /// compile. May block.
    ///
    /// # Errors
    /// `INVALID_PTX` with line and cause, `NO_BINARY_FOR_GPU`, `INVALID_IMAGE`, `OUT_OF_MEMORY`.
    fn module_load(&self, image: &[u8], options: &[JitOption]) -> Result<LoadedModule, DeviceError>;

    /// Names of a module's kernels, in an order that stays the same. May block.
    ///
    /// # Errors
    /// `INVALID_HANDLE` for a module that is not there.
    fn module_functions(&self, module: ModuleKey) -> Result<Vec<String>, DeviceError>;

    /// Finds and describes a kernel: the same key at each call. Puts its code on the device, so that no launch has to, and
    /// sets aside the local memory of all threads that run it at once, for which `payer` pays. May block.
    ///
    /// # Errors
    /// `NOT_FOUND`, `INVALID_HANDLE` for a module that is not there, `OUT_OF_MEMORY`.
    fn module_function(
        &self,
        module: ModuleKey,
        name: &str,
        payer: &dyn Payer,
    ) -> Result<(FunctionKey, FunctionDescription), DeviceError>;

    /// Links code into an image that a load takes. Nobody else can change the inputs. May block.
    ///
    /// # Errors
    /// `NOT_SUPPORTED` for inputs that the device cannot link, or what its compiler answers.
    fn module_link(
        &self,
        inputs: &[LinkInput<'_>],
        options: &[JitOption],
    ) -> Result<LinkedImage, DeviceError>;

    /// Unloads it after all work submitted so far. May block.
    fn module_unload(&self, module: ModuleKey);

    /// Address and size in bytes of a module's variable. Never blocks.
    ///
    /// # Errors
    /// `NOT_FOUND`.
    fn module_global(&self, module: ModuleKey, name: &str) -> Result<(u64, u64), DeviceError>;

    /// Sets an attribute of a kernel (`CU_FUNC_ATTRIBUTE_*`). Never blocks.
    ///
    /// # Errors
    /// `INVALID_VALUE`, `NOT_SUPPORTED`.
    fn function_set_attribute(
        &self,
        function: FunctionKey,
        attribute: u32,
        value: i32,
    ) -> Result<(), DeviceError>;

    /// Instantiates a graph, ready to be launched without blocking. `flags` are those of [`vgpu_proto::graph`]. May block.
    ///
    /// # Errors
    /// `INVALID_VALUE` for an address outside the session's memory, `INVALID_HANDLE` for a kernel that is not there, what
    /// a launch of a node would answer, `OUT_OF_MEMORY`, `NOT_SUPPORTED`.
    fn graph_instantiate(&self, plan: GraphPlan, flags: u32) -> Result<GraphKey, DeviceError>;

    /// Gives a graph the parameters of another plan of the same shape. Launches submitted before keep theirs. May block.
    ///
    /// # Errors
    /// As [`Context::graph_instantiate`], with the graph as it was. A result other than success leaves it so too.
    fn graph_update(&self, graph: GraphKey, plan: GraphPlan) -> Result<UpdateResult, DeviceError>;

    /// Destroys a graph; launches submitted before run on. May block.
    fn graph_destroy(&self, graph: GraphKey);
    /// How much of a kernel fits onto the card, as its attributes are now. Never blocks.
    ///
    /// # Errors
    /// `INVALID_VALUE` for a shape that no launch has, `NOT_SUPPORTED` for clusters where there are none.
    fn occupancy(&self, function: FunctionKey, query: &Occupancy) -> Result<u64, DeviceError>;

    /// A limit of the context (`CUlimit`). Never blocks.
    ///
    /// # Errors
    /// `UNSUPPORTED_LIMIT`.
    fn limit(&self, limit: u32) -> Result<u64, DeviceError>;

    /// Sets a limit, and answers what is in force then. The session has the credit for what it takes. May block until the
    /// context's work is done.
    ///
    /// # Errors
    /// `UNSUPPORTED_LIMIT`, `INVALID_VALUE`, `OUT_OF_MEMORY`.
    fn set_limit(&self, limit: u32, value: u64) -> Result<u64, DeviceError>;

    /// Makes what the second-level cache was asked to keep normal again. May block.
    ///
    /// # Errors
    /// The context's sticky error.
    fn reset_persisting_l2(&self) -> Result<(), DeviceError>;

    /// Encodes a tensor map. Never blocks, and looks at no memory of the device.
    ///
    /// # Errors
    /// `INVALID_VALUE`, `NOT_SUPPORTED` where kernels have no tensor maps.
    fn tensor_map(&self, map: &TensorMap) -> Result<[u8; TENSOR_MAP_BYTES], DeviceError>;

    /// The sticky error, if there is one. Never blocks.
    fn sticky_error(&self) -> Option<DeviceError>;
}

macro_rules! keys {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
            pub struct $name(pub u64);
        )*
    };
}

keys! {
    /// A stream of a context. Never used again once destroyed.
    StreamKey,
    /// An event of a context. Never used again once destroyed.
    EventKey,
    /// A module of a context. Never used again once unloaded.
    ModuleKey,
    /// A kernel of a context's modules. Never used again once its module is unloaded.
    FunctionKey,
    /// An instantiated graph of a context. Never used again once destroyed.
    GraphKey,
}

/// What a load found.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "devices build it, sessions take it apart")]
pub struct LoadedModule {
    /// The module.
    pub module: ModuleKey,
    /// How many kernels it has.
    pub functions: u32,
    /// Device memory that code and variables take, in bytes; charged to the tenant.
    pub memory_bytes: u64,
    /// What the compiler told, where it was used.
    pub report: CompileReport,
}

/// What a link made.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "devices build it, sessions take it apart")]
pub struct LinkedImage {
    /// An image that [`Context::module_load`] takes.
    pub image: Vec<u8>,
    /// What the compiler told.
    pub report: CompileReport,
}

/// Work of a stream.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "every device handles each kind")]
pub enum Work {
    /// Runs a kernel.
    Launch(LaunchConfig),
    /// Copies bytes. Source and destination may overlap only if they are the same.
    Copy {
        /// Where to.
        destination: Place,
        /// Where from.
        source: Place,
        /// How many.
        bytes: u64,
    },
    /// Fills memory with `count` elements.
    Memset {
        /// Device or pinned address, aligned to the element.
        destination: u64,
        /// The element, in its lowest bytes.
        value: u32,
        /// 1, 2 or 4.
        element_bytes: u32,
        /// How many elements.
        count: u64,
    },
    /// Records an event.
    Record(EventKey),
    /// Waits for the record of an event that was submitted last; passes at once where there is none.
    Wait(EventKey),
    /// Waits until a 32-bit word of device or pinned memory meets the condition.
    WaitValue {
        /// Aligned address.
        address: u64,
        /// What to compare with.
        value: u32,
        /// How.
        condition: WaitCondition,
    },
    /// Writes a 32-bit word of device or pinned memory.
    WriteValue {
        /// Aligned address.
        address: u64,
        /// The word.
        value: u32,
    },
    /// Launches a graph: it begins when earlier work of the stream and earlier launches of the graph are complete, and later
    /// work of the stream begins when all its nodes are. Fails with `INVALID_VALUE` where memory of its nodes is gone.
    Graph(GraphLaunch),
    /// Prepares a graph for its launch.
    GraphUpload(GraphKey),
    /// As [`Work::WaitValue`], for a 64-bit word.
    WaitValue64 {
        /// Aligned address.
        address: u64,
        /// What to compare with.
        value: u64,
        /// How.
        condition: WaitCondition,
    },
    /// As [`Work::WriteValue`], for a 64-bit word.
    WriteValue64 {
        /// Aligned address.
        address: u64,
        /// The word.
        value: u64,
    },
    /// Tells that all earlier work of the stream is complete. Signalled even after a fault, and then after
    /// [`DeviceEvents::fault`], so that a waiter never hangs.
    Mark(Arc<dyn Mark>, u64),
}

/// Where a mark goes.
pub trait Mark: Send + Sync + fmt::Debug {
    /// Publishes `value` and wakes who sleeps for it. For devices whose completions run on a CPU thread.
    fn signal(&self, value: u64);

    /// The 64-bit word that `signal` stores to, for devices that write it themselves.
    fn word(&self) -> (&Arc<Region>, u64);

    /// Wakes who sleeps for it, after the device wrote `value` itself. A mark that would store again overrides this:
    /// the device may have written a later value meanwhile.
    fn wake(&self, value: u64) {
        self.signal(value);
    }
}

/// One end of a copy.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_enums, reason = "every device handles each kind")]
pub enum Place {
    /// Device memory or pinned memory, by its address.
    Address(u64),
    /// A part of a region that has no device address: staging.
    Region(Arc<Region>, u64),
}

/// How [`Work::WaitValue`] compares memory with its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "every device handles each kind")]
pub enum WaitCondition {
    /// Signed difference of memory and value is 0 or more.
    GreaterOrEqual,
    /// Equal.
    Equal,
    /// A bit of the value is set in memory.
    And,
    /// A bit of the value is clear in the complement of memory or value: `!(memory | value) != 0`.
    Nor,
}

impl WaitCondition {
    /// The condition of that number (`CU_STREAM_WAIT_VALUE_*`).
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            0 => Some(Self::GreaterOrEqual),
            1 => Some(Self::Equal),
            2 => Some(Self::And),
            3 => Some(Self::Nor),
            _ => None,
        }
    }

    /// Whether the word in memory lets the stream pass.
    pub const fn holds(self, memory: u32, value: u32) -> bool {
        match self {
            Self::GreaterOrEqual => memory.wrapping_sub(value).cast_signed() >= 0,
            Self::Equal => memory == value,
            Self::And => memory & value != 0,
            Self::Nor => !(memory | value) != 0,
        }
    }

    /// As [`WaitCondition::holds`], for 64-bit words.
    pub const fn holds_64(self, memory: u64, value: u64) -> bool {
        match self {
            Self::GreaterOrEqual => memory.wrapping_sub(value).cast_signed() >= 0,
            Self::Equal => memory == value,
            Self::And => memory & value != 0,
            Self::Nor => !(memory | value) != 0,
        }
    }
}

/// What a device answers instead of a result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{status}: {text}")]
#[expect(clippy::exhaustive_structs, reason = "devices build it, sessions take it apart")]
pub struct DeviceError {
    /// The CUDA error that the guest sees.
    pub status: Status,
    /// Cause, for the guest's log and the operator's.
    pub text: String,
}

impl DeviceError {
    /// An error with its cause.
    pub fn new(status: Status, text: impl Into<String>) -> Self {
        Self { status, text: text.into() }
    }
}
