//! What an edge of a graph means (`CUgraphEdgeData`).

use crate::fail::{Call, INVALID_VALUE};

/// `CU_GRAPH_KERNEL_NODE_PORT_PROGRAMMATIC` and `CU_GRAPH_KERNEL_NODE_PORT_LAUNCH_ORDER`.
const PORT_PROGRAMMATIC: u8 = 1;
const PORT_LAUNCH_ORDER: u8 = 2;

/// `CU_GRAPH_DEPENDENCY_TYPE_PROGRAMMATIC`.
const KIND_PROGRAMMATIC: u8 = 1;

/// `CUgraphEdgeData`. The default is a full dependency: the node behind starts when the one before is complete.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct EdgeData {
    pub(crate) from_port: u8,
    pub(crate) to_port: u8,
    pub(crate) kind: u8,
    reserved: [u8; 5],
}

impl EdgeData {
    /// The node behind is a kernel that starts early and waits inside for the one before.
    pub(crate) const PROGRAMMATIC: Self =
        Self { from_port: PORT_PROGRAMMATIC, to_port: 0, kind: KIND_PROGRAMMATIC, reserved: [0; 5] };

    /// The node behind starts once all blocks of the kernel have started.
    pub(crate) const LAUNCH_ORDER: Self =
        Self { from_port: PORT_LAUNCH_ORDER, to_port: 0, kind: 0, reserved: [0; 5] };

    /// Whether it is a full dependency, which callers of the older forms of the API take each edge for.
    pub(crate) fn is_full(self) -> bool {
        self == Self::default()
    }

    /// Checks it between two nodes, of which the caller says whether they are kernels.
    ///
    /// # Errors
    /// `INVALID_VALUE` where only kernels may have such an edge, or CUDA has none of that kind.
    pub(crate) fn check(self, from_kernel: bool, to_kernel: bool) -> Call {
        let port = match self.from_port {
            0 => true,
            PORT_PROGRAMMATIC => from_kernel && self.kind == KIND_PROGRAMMATIC,
            PORT_LAUNCH_ORDER => from_kernel,
            _ => false,
        };
        let kind = match self.kind {
            0 => true,
            KIND_PROGRAMMATIC => from_kernel && to_kernel && self.from_port != 0,
            _ => false,
        };
        if port && kind && self.to_port == 0 && self.reserved == [0; 5] { Ok(()) } else { Err(INVALID_VALUE) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programmatic_edges_join_kernels_only() {
        EdgeData::default().check(false, false).unwrap();
        EdgeData::PROGRAMMATIC.check(true, true).unwrap();
        EdgeData::PROGRAMMATIC.check(true, false).unwrap_err();
        EdgeData::PROGRAMMATIC.check(false, true).unwrap_err();
        EdgeData::LAUNCH_ORDER.check(true, false).unwrap();
        EdgeData::LAUNCH_ORDER.check(false, false).unwrap_err();
        EdgeData { kind: 2, ..Default::default() }.check(true, true).unwrap_err();
        EdgeData { to_port: 1, ..Default::default() }.check(true, true).unwrap_err();
        EdgeData { kind: KIND_PROGRAMMATIC, ..Default::default() }.check(true, true).unwrap_err();
    }
}
