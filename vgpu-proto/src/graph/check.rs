//! The rules of a graph that need no session state.

use super::{
    EDGE_DEFAULT, EDGE_PORT_MAX, EDGE_PROGRAMMATIC, EdgeRule, GraphDescription, GraphEdge, GraphError,
    GraphNode, GraphWork, NodeRule,
};
use crate::limits::{
    GRAPH_EDGES_MAX, GRAPH_EVENTS_MAX, GRAPH_NODES_MAX, LAUNCH_ATTRIBUTE_BYTES_MAX, PARAMS_BYTES_MAX,
};

/// Number of the last `CU_STREAM_WAIT_VALUE_*` condition.
const CONDITION_MAX: u32 = 3;

impl GraphDescription {
    /// Checks every rule that needs no session state.
    ///
    /// # Errors
    /// The first rule that is broken: counts, then nodes, then edges.
    pub fn check(&self) -> Result<(), GraphError> {
        let (nodes, edges) = (&self.nodes, &self.edges);
        if nodes.len() > GRAPH_NODES_MAX as usize {
            return Err(GraphError::Nodes { count: nodes.len() });
        }
        if edges.len() > GRAPH_EDGES_MAX as usize {
            return Err(GraphError::Edges { count: edges.len() });
        }
        let takes_event = |node: &&GraphNode| {
            matches!(node.work, GraphWork::EventRecord { .. } | GraphWork::EventWait { .. })
        };
        let count = nodes.iter().filter(takes_event).count();
        if count > GRAPH_EVENTS_MAX as usize {
            return Err(GraphError::Events { count });
        }
        for (node, GraphNode { work, .. }) in nodes.iter().enumerate() {
            work.check().map_err(|rule| GraphError::Node { node, rule })?;
        }
        for (edge, ends) in edges.iter().enumerate() {
            ends.check(nodes).map_err(|rule| GraphError::Edge { edge, rule })?;
        }
        let mut sorted: alloc::vec::Vec<(GraphEdge, usize)> = edges.iter().copied().zip(0..).collect();
        sorted.sort_unstable();
        match sorted.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            Some(pair) => Err(GraphError::Edge { edge: pair[1].1, rule: EdgeRule::Duplicate }),
            None => Ok(()),
        }
    }
}

impl GraphEdge {
    fn check(&self, nodes: &[GraphNode]) -> Result<(), EdgeRule> {
        if self.from >= self.to {
            return Err(EdgeRule::Ascending);
        }
        let is_kernel = |at: u32| match nodes.get(at as usize) {
            Some(node) => Ok(matches!(node.work, GraphWork::Kernel { .. })),
            None => Err(EdgeRule::Range),
        };
        let (from_kernel, to_kernel) = (is_kernel(self.from)?, is_kernel(self.to)?);
        let ports = self.from_port <= EDGE_PORT_MAX && self.to_port == 0;
        let fits = match self.kind {
            EDGE_DEFAULT => self.from_port == 0 || from_kernel,
            EDGE_PROGRAMMATIC => self.from_port != 0 && from_kernel && to_kernel,
            _ => false,
        };
        if ports && fits { Ok(()) } else { Err(EdgeRule::Kind) }
    }
}

impl GraphWork {
    fn check(&self) -> Result<(), NodeRule> {
        match self {
            Self::Empty | Self::EventRecord { .. } | Self::EventWait { .. } => Ok(()),
            Self::Kernel { grid, block, attributes, params, .. } => {
                if grid.contains(&0) || block.contains(&0) {
                    Err(NodeRule::Dimensions)
                } else if params.len() > PARAMS_BYTES_MAX as usize {
                    Err(NodeRule::Params)
                } else if attributes.len() > LAUNCH_ATTRIBUTE_BYTES_MAX as usize {
                    Err(NodeRule::Attributes)
                } else {
                    Ok(())
                }
            }
            Self::Memcpy { .. } => self.check_copy(),
            Self::Memset { destination, element_bytes, width, height, pitch, .. } => {
                if !matches!(element_bytes, 1 | 2 | 4) {
                    return Err(NodeRule::ElementSize);
                }
                let element = u64::from(*element_bytes);
                if *width == 0 || *height == 0 {
                    return Err(NodeRule::Extent);
                }
                if destination % element != 0 || (*height > 1 && pitch % element != 0) {
                    return Err(NodeRule::Alignment);
                }
                let row = width.checked_mul(element).ok_or(NodeRule::Strides)?;
                span(*destination, row, (*height, *pitch), (1, 0)).map(|_| ())
            }
            Self::WriteValue32 { address, .. } => word(*address),
            Self::WaitValue32 { address, condition, .. } => {
                word(*address)?;
                if *condition > CONDITION_MAX { Err(NodeRule::Condition) } else { Ok(()) }
            }
        }
    }

    fn check_copy(&self) -> Result<(), NodeRule> {
        let &Self::Memcpy {
            destination,
            source,
            width_bytes,
            height,
            depth,
            destination_pitch,
            source_pitch,
            destination_slice,
            source_slice,
        } = self
        else {
            return Ok(());
        };
        if width_bytes == 0 || height == 0 || depth == 0 {
            return Err(NodeRule::Extent);
        }
        span(destination, width_bytes, (height, destination_pitch), (depth, destination_slice))?;
        span(source, width_bytes, (height, source_pitch), (depth, source_slice))?;
        Ok(())
    }
}

fn word(address: u64) -> Result<(), NodeRule> {
    if address.is_multiple_of(4) { Ok(()) } else { Err(NodeRule::Alignment) }
}

/// Bytes from the first to behind the last that a box of rows touches: `width + (height - 1) * pitch + (depth - 1) *
/// slice`. Rows are `(height, pitch)`, slices `(depth, slice)`; no count is 0.
///
/// # Errors
/// [`NodeRule::Strides`] where rows or slices overlap, a slice is not whole pitches, or an address passes 2^64.
pub fn span(
    base: u64,
    width: u64,
    (height, pitch): (u64, u64),
    (depth, slice): (u64, u64),
) -> Result<u64, NodeRule> {
    // Where there are several slices of one row each, the pitch still gives the slice its unit.
    let rows_count = height > 1 || depth > 1;
    if rows_count && pitch < width {
        return Err(NodeRule::Strides);
    }
    let rows = if height > 1 { (height - 1).checked_mul(pitch) } else { Some(0) };
    let one_slice = rows.and_then(|rows| rows.checked_add(width)).ok_or(NodeRule::Strides)?;
    let slices = if depth > 1 {
        if slice < one_slice || !slice.is_multiple_of(pitch) {
            return Err(NodeRule::Strides);
        }
        (depth - 1).checked_mul(slice)
    } else {
        Some(0)
    };
    let bytes = slices.and_then(|slices| slices.checked_add(one_slice)).ok_or(NodeRule::Strides)?;
    base.checked_add(bytes).ok_or(NodeRule::Strides)?;
    Ok(bytes)
}
