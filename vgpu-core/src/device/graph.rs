//! Graphs as a session hands them to a device: nodes without any name of a guest, and the rule that keeps a launch away
//! from memory that was freed since.

use std::sync::atomic::{AtomicU64, Ordering};

use vgpu_proto::graph::{GraphEdge, span};
use vgpu_proto::{LaunchAttribute, Status};

use super::{DeviceError, EventKey, GraphKey, LaunchConfig, WaitCondition};

/// A graph to instantiate. The session has checked it by the rules of [`vgpu_proto::graph`]; a device checks addresses
/// and kernels.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "sessions build it, devices take it apart")]
pub struct GraphPlan {
    /// Nodes in a topological order.
    pub nodes: Vec<NodeWork>,
    /// Edges, each from a lower to a higher index.
    pub edges: Vec<GraphEdge>,
}

/// What a node does.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_enums, reason = "every device handles each kind")]
pub enum NodeWork {
    /// Nothing.
    Empty,
    /// Runs a kernel, whose attributes name no events.
    Kernel(LaunchConfig),
    /// Copies a box of bytes.
    Copy(BoxCopy),
    /// Fills rows.
    Fill(RowFill),
    /// Records the event that the launch names for this node.
    Record,
    /// Waits for the record of the event that the launch names for this node; passes at once where it names none.
    Wait,
    /// Writes a 32-bit word.
    WriteValue {
        /// Aligned address.
        address: u64,
        /// The word.
        value: u32,
    },
    /// Waits until a 32-bit word meets the condition.
    WaitValue {
        /// Aligned address.
        address: u64,
        /// What to compare with.
        value: u32,
        /// How.
        condition: WaitCondition,
    },
}

/// A copy of `depth` slices of `height` rows of `width_bytes` bytes, within device and pinned memory. No count is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "sessions build it, devices take it apart")]
pub struct BoxCopy {
    /// Where to.
    pub destination: BoxEnd,
    /// Where from.
    pub source: BoxEnd,
    /// Bytes of a row.
    pub width_bytes: u64,
    /// Rows of a slice.
    pub height: u64,
    /// Slices.
    pub depth: u64,
}

/// One end of a [`BoxCopy`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "sessions build it, devices take it apart")]
pub struct BoxEnd {
    /// Address of the first byte.
    pub address: u64,
    /// Bytes from row to row.
    pub pitch: u64,
    /// Bytes from slice to slice, a multiple of the pitch where there are several slices.
    pub slice: u64,
}

impl BoxEnd {
    /// Address of row `row` of slice `slice`, both below the counts that were checked.
    pub(crate) const fn row(&self, row: u64, slice: u64) -> u64 {
        self.address.wrapping_add(slice.wrapping_mul(self.slice)).wrapping_add(row.wrapping_mul(self.pitch))
    }
}

/// A fill of `height` rows of `width` elements. No count is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "sessions build it, devices take it apart")]
pub struct RowFill {
    /// Address of the first element, aligned to the element.
    pub destination: u64,
    /// The element, in its lowest bytes.
    pub value: u32,
    /// 1, 2 or 4.
    pub element_bytes: u32,
    /// Elements of a row.
    pub width: u64,
    /// Rows.
    pub height: u64,
    /// Bytes from row to row, a multiple of the element where there are several rows.
    pub pitch: u64,
}

/// A launch of an instantiated graph.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "sessions build it, devices take it apart")]
pub struct GraphLaunch {
    /// The graph.
    pub graph: GraphKey,
    /// The event of each [`NodeWork::Record`] and [`NodeWork::Wait`], in the order of the nodes.
    pub events: Vec<Option<EventKey>>,
}

impl NodeWork {
    /// Whether a launch names an event for it.
    pub const fn takes_event(&self) -> bool {
        matches!(self, Self::Record | Self::Wait)
    }

    /// Adds the ranges of memory that it names, but for what a kernel does.
    fn ranges(&self, out: &mut Vec<(u64, u64)>) -> Result<(), DeviceError> {
        let overflow = |_| DeviceError::new(Status::ERROR_INVALID_VALUE, "a node reaches beyond all memory");
        match self {
            Self::Copy(copy) => {
                for end in [&copy.destination, &copy.source] {
                    let (rows, slices) = ((copy.height, end.pitch), (copy.depth, end.slice));
                    let bytes = span(end.address, copy.width_bytes, rows, slices).map_err(overflow)?;
                    out.push((end.address, bytes));
                }
            }
            Self::Fill(fill) => {
                let row = fill.width.saturating_mul(u64::from(fill.element_bytes));
                let bytes =
                    span(fill.destination, row, (fill.height, fill.pitch), (1, 0)).map_err(overflow)?;
                out.push((fill.destination, bytes));
            }
            Self::WriteValue { address, .. } | Self::WaitValue { address, .. } => out.push((*address, 4)),
            Self::Kernel(launch) => {
                for attribute in &launch.attributes {
                    if let LaunchAttribute::AccessPolicyWindow(window) = attribute
                        && window.bytes > 0
                    {
                        out.push((window.base, window.bytes));
                    }
                }
            }
            Self::Empty | Self::Record | Self::Wait => {}
        }
        Ok(())
    }
}

/// The memory that a graph's nodes name, checked when it is instantiated and again at the first launch after some memory
/// of the device was freed. What was freed and allocated again since is the session's own memory, so that is no harm.
#[derive(Debug)]
pub(crate) struct Ranges {
    /// Start and length in bytes, each once.
    list: Vec<(u64, u64)>,
    /// Generation of the address space in which all were found.
    checked: AtomicU64,
}

impl Ranges {
    /// The ranges of a graph, each of which `find` finds. `generation` was read before.
    ///
    /// # Errors
    /// `INVALID_VALUE` of the first that is not there.
    pub(crate) fn new(
        nodes: &[NodeWork],
        generation: u64,
        find: impl Fn(u64, u64) -> Result<(), DeviceError>,
    ) -> Result<Self, DeviceError> {
        let mut ranges = Vec::new();
        for (index, node) in nodes.iter().enumerate() {
            let first = ranges.len();
            node.ranges(&mut ranges)?;
            for (address, bytes) in &ranges[first..] {
                find(*address, *bytes).map_err(|error| {
                    DeviceError::new(error.status, format!("node {index} of the graph: {}", error.text))
                })?;
            }
        }
        ranges.sort_unstable();
        ranges.dedup();
        Ok(Self { list: ranges, checked: AtomicU64::new(generation) })
    }

    /// Checks that all are there still. Costs a comparison while nothing was freed.
    ///
    /// # Errors
    /// `INVALID_VALUE` of the first that is gone.
    pub(crate) fn check(
        &self,
        generation: u64,
        find: impl Fn(u64, u64) -> Result<(), DeviceError>,
    ) -> Result<(), DeviceError> {
        if self.checked.load(Ordering::Acquire) == generation {
            return Ok(());
        }
        for (address, bytes) in &self.list {
            find(*address, *bytes).map_err(|error| {
                let text = format!("memory of the graph was freed: {}", error.text);
                DeviceError::new(error.status, text)
            })?;
        }
        self.checked.store(generation, Ordering::Release);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn write(address: u64) -> NodeWork {
        NodeWork::WriteValue { address, value: 1 }
    }

    #[test]
    fn ranges_are_looked_for_again_only_after_a_change() {
        let looks = Cell::new(0);
        let gone = Cell::new(false);
        let find = |address, _| {
            looks.set(looks.get() + 1);
            match gone.get() && address == 8 {
                true => Err(DeviceError::new(Status::ERROR_INVALID_VALUE, "gone")),
                false => Ok(()),
            }
        };
        let ranges = Ranges::new(&[write(4), write(8), write(4), NodeWork::Empty], 1, find).unwrap();
        assert_eq!(looks.replace(0), 3);
        assert_eq!(ranges.check(1, find), Ok(()));
        assert_eq!(looks.get(), 0, "nothing was freed");
        assert_eq!(ranges.check(2, find), Ok(()));
        assert_eq!(looks.replace(0), 2, "each range once");
        gone.set(true);
        assert_eq!(ranges.check(2, find), Ok(()));
        let refused = ranges.check(3, find).unwrap_err();
        assert_eq!(refused.status, Status::ERROR_INVALID_VALUE);
        assert!(ranges.check(3, find).is_err(), "it stays refused");
    }

    #[test]
    fn a_box_is_one_range_from_its_first_byte_to_its_last() {
        let end = |address| BoxEnd { address, pitch: 32, slice: 128 };
        let copy =
            BoxCopy { destination: end(0x1000), source: end(0x2000), width_bytes: 16, height: 3, depth: 2 };
        let mut ranges = Vec::new();
        NodeWork::Copy(copy).ranges(&mut ranges).unwrap();
        assert_eq!(ranges, [(0x1000, 128 + 64 + 16), (0x2000, 128 + 64 + 16)]);
        assert_eq!(copy.source.row(2, 1), 0x2000 + 128 + 64);
        let fill = RowFill { destination: 64, value: 0, element_bytes: 4, width: 4, height: 2, pitch: 64 };
        ranges.clear();
        NodeWork::Fill(fill).ranges(&mut ranges).unwrap();
        assert_eq!(ranges, [(64, 80)]);
    }
}
