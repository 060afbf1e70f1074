//! What can be wrong with a graph by itself.

use core::fmt;

use crate::codec::CodecError;
use crate::limits::{
    GRAPH_EDGES_MAX, GRAPH_EVENTS_MAX, GRAPH_NODES_MAX, LAUNCH_ATTRIBUTE_BYTES_MAX, PARAMS_BYTES_MAX,
};

/// Why a graph is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GraphError {
    /// The bytes are no description, or it is too long.
    Codec(CodecError),
    /// More than [`GRAPH_NODES_MAX`] nodes.
    Nodes {
        /// How many there are.
        count: usize,
    },
    /// More than [`GRAPH_EDGES_MAX`] edges.
    Edges {
        /// How many there are.
        count: usize,
    },
    /// More than [`GRAPH_EVENTS_MAX`] nodes that record an event or wait for one.
    Events {
        /// How many there are.
        count: usize,
    },
    /// A node breaks a rule.
    Node {
        /// Its index.
        node: usize,
        /// The rule.
        rule: NodeRule,
    },
    /// An edge breaks a rule.
    Edge {
        /// Its index.
        edge: usize,
        /// The rule.
        rule: EdgeRule,
    },
}

macro_rules! rules {
    ($(#[$doc:meta])* $name:ident { $($(#[$rule_doc:meta])* $rule:ident => $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$rule_doc])* $rule,)*
        }

        impl $name {
            /// What the rule asks.
            pub const fn text(self) -> &'static str {
                match self { $(Self::$rule => $text,)* }
            }
        }
    };
}

rules! {
    /// A rule of nodes.
    NodeRule {
        /// Grid and block have no zero.
        Dimensions => "every dimension of grid and block is 1 or more",
        /// The parameter block is within its limit.
        Params => "a parameter block is within its limit",
        /// The launch attributes are within their limit.
        Attributes => "launch attributes are within their limit",
        /// Width, height and depth are not zero; a guest sends an empty node instead.
        Extent => "width, height and depth are 1 or more",
        /// Pitches and slices hold their rows, and the whole is within the address space.
        Strides => "a pitch holds its row, a slice is whole pitches and holds its rows, and all lies below 2^64",
        /// An element is 1, 2 or 4 bytes.
        ElementSize => "an element is 1, 2 or 4 bytes",
        /// Addresses, and pitches where they count, are aligned.
        Alignment => "address and pitch are aligned to the element or word",
        /// The condition of a wait is known.
        Condition => "a wait's condition is 0 to 3",
    }
}

rules! {
    /// A rule of edges.
    EdgeRule {
        /// An edge goes from a lower to a higher index.
        Ascending => "an edge goes from a lower to a higher index",
        /// Both ends exist.
        Range => "both ends of an edge exist",
        /// The same edge is not there twice.
        Duplicate => "no edge is there twice",
        /// Kind and ports are known, and ports other than 0 and programmatic edges join kernels.
        Kind => "kind and ports are known, and what is not plain joins kernels",
    }
}

impl fmt::Display for GraphError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Codec(error) => write!(f, "no graph description: {error}"),
            Self::Nodes { count } => {
                write!(f, "a graph of {count} nodes; the limit is {GRAPH_NODES_MAX}: split it")
            }
            Self::Edges { count } => {
                write!(f, "a graph of {count} edges; the limit is {GRAPH_EDGES_MAX}: split it")
            }
            Self::Events { count } => {
                write!(f, "a graph of {count} event nodes; the limit is {GRAPH_EVENTS_MAX}: split it")
            }
            Self::Node { node, rule: rule @ NodeRule::Params } => {
                write!(f, "node {node}: {} ({PARAMS_BYTES_MAX} bytes)", rule.text())
            }
            Self::Node { node, rule: rule @ NodeRule::Attributes } => {
                write!(f, "node {node}: {} ({LAUNCH_ATTRIBUTE_BYTES_MAX} bytes)", rule.text())
            }
            Self::Node { node, rule } => write!(f, "node {node} breaks a rule: {}", rule.text()),
            Self::Edge { edge, rule } => write!(f, "edge {edge} breaks a rule: {}", rule.text()),
        }
    }
}

impl core::error::Error for GraphError {}

impl From<CodecError> for GraphError {
    fn from(error: CodecError) -> Self {
        Self::Codec(error)
    }
}
