//! CUDA graphs as a guest ships them: the whole graph in one message that lies in a region.
//!
//! A guest records graphs by itself, captured or node by node, and sends one [`GraphDescription`] when it instantiates
//! or updates. Every rule that needs no session state is in [`GraphDescription::check`]; [`GraphDescription::decode`]
//! applies it, so what a host decodes keeps the rules. Addresses and names are checked by the session.

mod check;
mod error;
mod seq;
#[cfg(test)]
mod tests;

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

pub use self::check::span;
pub use self::error::{EdgeRule, GraphError, NodeRule};
use crate::codec::{self, Message};
use crate::limits::{GRAPH_BYTES_MAX, GRAPH_EDGES_MAX, GRAPH_NODES_MAX};

/// Flag of `GraphInstantiate`: memory of allocation nodes is freed at the next launch. There are no such nodes, so it
/// changes nothing (`CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH`).
pub const GRAPH_AUTO_FREE_ON_LAUNCH: u32 = 1;
/// Flag of `GraphInstantiate`: upload after the instantiation (`CUDA_GRAPH_INSTANTIATE_FLAG_UPLOAD`). The guest follows
/// with a `GraphUpload` on the stream it wants, so the flag never travels.
pub const GRAPH_UPLOAD: u32 = 2;
/// Flag of `GraphInstantiate`: kernels could launch the graph (`CUDA_GRAPH_INSTANTIATE_FLAG_DEVICE_LAUNCH`). Answers
/// `NOT_SUPPORTED`.
pub const GRAPH_DEVICE_LAUNCH: u32 = 4;
/// Flag of `GraphInstantiate`: a kernel's priority is that of its node, not of the stream
/// (`CUDA_GRAPH_INSTANTIATE_FLAG_USE_NODE_PRIORITY`).
pub const GRAPH_USE_NODE_PRIORITY: u32 = 8;

/// [`GraphEdge::kind`]: the node behind the edge starts when the one before is complete.
pub const EDGE_DEFAULT: u8 = 0;
/// [`GraphEdge::kind`]: a kernel starts early and waits inside for the kernel before (`cudaGridDependencySynchronize`).
pub const EDGE_PROGRAMMATIC: u8 = 1;
/// Largest [`GraphEdge::from_port`]: 0 completion, 1 programmatic trigger, 2 launch order
/// (`CU_GRAPH_KERNEL_NODE_PORT_*`).
pub const EDGE_PORT_MAX: u8 = 2;

/// A graph: nodes in a topological order, and the edges between them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "a message of the protocol")]
pub struct GraphDescription {
    /// Nodes, at most [`crate::limits::GRAPH_NODES_MAX`].
    #[serde(deserialize_with = "seq::nodes")]
    pub nodes: Vec<GraphNode>,
    /// Edges, at most [`crate::limits::GRAPH_EDGES_MAX`]; each goes from a lower to a higher index of `nodes`.
    #[serde(deserialize_with = "seq::edges")]
    pub edges: Vec<GraphEdge>,
}

impl Message for GraphDescription {}

/// A node of a graph.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "a message of the protocol")]
pub struct GraphNode {
    /// [`crate::ContextId`] in which the work runs.
    pub context: u64,
    /// What it does.
    pub work: GraphWork,
}

/// What a node does. Host functions have no variant: a guest makes them of three word nodes on pinned memory that one
/// of its threads serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_enums, reason = "a message of the protocol")]
pub enum GraphWork {
    /// Nothing: a point where edges meet.
    Empty,
    /// Runs a kernel.
    Kernel {
        /// [`crate::FunctionId`].
        function: u64,
        /// Blocks of the grid in x, y, z.
        grid: [u32; 3],
        /// Threads of a block in x, y, z.
        block: [u32; 3],
        /// Dynamic shared memory of a block, in bytes.
        shared_bytes: u32,
        /// All blocks resident at once.
        cooperative: bool,
        /// Launch attributes in the coding of `LaunchKernel`'s payload, at most
        /// [`crate::limits::LAUNCH_ATTRIBUTE_BYTES_MAX`].
        attributes: Vec<u8>,
        /// Parameter block, laid out as the kernel's description says; at most [`crate::limits::PARAMS_BYTES_MAX`].
        params: Vec<u8>,
    },
    /// Copies a box of bytes between device and pinned memory. A plain copy has height and depth 1.
    Memcpy {
        /// Device or pinned address.
        destination: u64,
        /// Device or pinned address.
        source: u64,
        /// Bytes of a row, not 0.
        width_bytes: u64,
        /// Rows of a slice, not 0.
        height: u64,
        /// Slices, not 0.
        depth: u64,
        /// Bytes from row to row; counts only where there is more than one row in all.
        destination_pitch: u64,
        /// As `destination_pitch`.
        source_pitch: u64,
        /// Bytes from slice to slice, a multiple of the pitch; counts only where there is more than one slice.
        destination_slice: u64,
        /// As `destination_slice`.
        source_slice: u64,
    },
    /// Fills rows of device or pinned memory.
    Memset {
        /// Device or pinned address, aligned to the element.
        destination: u64,
        /// The element, in its lowest bytes.
        value: u32,
        /// 1, 2 or 4.
        element_bytes: u32,
        /// Elements of a row, not 0.
        width: u64,
        /// Rows, not 0.
        height: u64,
        /// Bytes from row to row, a multiple of the element; counts only where there is more than one row.
        pitch: u64,
    },
    /// Records an event.
    EventRecord {
        /// [`crate::EventId`].
        event: u64,
    },
    /// Waits for the record that was the event's latest when the graph was launched.
    EventWait {
        /// [`crate::EventId`].
        event: u64,
    },
    /// Writes a word.
    WriteValue32 {
        /// Device or pinned address, 4-byte aligned.
        address: u64,
        /// Value to write.
        value: u32,
    },
    /// Waits for a value in memory.
    WaitValue32 {
        /// Device or pinned address, 4-byte aligned.
        address: u64,
        /// Value to compare with.
        value: u32,
        /// `CU_STREAM_WAIT_VALUE_*`: 0 GEQ (signed difference), 1 EQ, 2 AND, 3 NOR.
        condition: u32,
    },
}

/// A dependency, with the fields of `CUgraphEdgeData`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "a message of the protocol")]
pub struct GraphEdge {
    /// Index of the node that comes first.
    pub from: u32,
    /// Index of the node that waits; greater than `from`.
    pub to: u32,
    /// At most [`EDGE_PORT_MAX`]; not 0 only behind a kernel.
    pub from_port: u8,
    /// 0.
    pub to_port: u8,
    /// [`EDGE_DEFAULT`] or [`EDGE_PROGRAMMATIC`].
    pub kind: u8,
}

impl GraphEdge {
    /// The edge of plain dependency: `to` starts when `from` is complete.
    pub const fn plain(from: u32, to: u32) -> Self {
        Self { from, to, from_port: 0, to_port: 0, kind: EDGE_DEFAULT }
    }
}

/// How an update went (`CUgraphExecUpdateResult`). Numbers that this build does not know pass through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a number of CUDA")]
pub struct UpdateResult(pub u32);

impl UpdateResult {
    /// The graph has the new parameters.
    pub const SUCCESS: Self = Self(0);
    /// The update failed for a reason of its own, such as an address; see the status.
    pub const ERROR: Self = Self(1);
    /// Nodes or edges were added or removed.
    pub const TOPOLOGY_CHANGED: Self = Self(2);
    /// A node became one of another kind.
    pub const NODE_TYPE_CHANGED: Self = Self(3);
    /// A kernel changed its parameters in a way that cannot be updated.
    pub const PARAMETERS_CHANGED: Self = Self(5);
    /// The device cannot do this update.
    pub const NOT_SUPPORTED: Self = Self(6);
    /// A kernel became one that cannot take its place.
    pub const UNSUPPORTED_FUNCTION_CHANGE: Self = Self(7);

    /// The result in an answer's value.
    pub fn from_number(number: u64) -> Self {
        Self(u32::try_from(number).unwrap_or(Self::ERROR.0))
    }
}

const BYTES_MAX: usize = GRAPH_BYTES_MAX as usize;

/// What a decoder may claim, in bytes: the description itself, and the most nodes and edges at their sizes in memory.
const CLAIM_MAX: usize = BYTES_MAX
    + GRAPH_NODES_MAX as usize * size_of::<GraphNode>()
    + GRAPH_EDGES_MAX as usize * size_of::<GraphEdge>();

impl GraphDescription {
    /// The description as it lies in a region.
    ///
    /// # Errors
    /// The first rule that it breaks, or [`GraphError::Codec`] where it is longer than [`GRAPH_BYTES_MAX`].
    pub fn encode(&self) -> Result<Vec<u8>, GraphError> {
        self.check()?;
        Ok(codec::encode_within::<Self, BYTES_MAX>(self)?)
    }

    /// Takes a description from bytes that nobody else can change, and checks it.
    ///
    /// What hostile bytes make it allocate is bounded by the limits of nodes and edges and by the bytes' own length.
    ///
    /// # Errors
    /// [`GraphError::Codec`] where the bytes are no description, or the first rule that it breaks.
    pub fn decode(bytes: &[u8]) -> Result<Self, GraphError> {
        let description = codec::decode_within::<Self, BYTES_MAX, CLAIM_MAX>(bytes)?;
        description.check()?;
        Ok(description)
    }
}
