//! What the graphs of a session may take together.

use std::sync::Arc;

use parking_lot::Mutex;
use vgpu_proto::Status;
use vgpu_proto::graph::GraphDescription;
use vgpu_proto::limits::{SESSION_GRAPH_BYTES_MAX, SESSION_GRAPH_EDGES_MAX, SESSION_GRAPH_NODES_MAX};

use crate::device::{DeviceError, GraphPlan};
use crate::session::CreditKind;
use crate::session::state::Session;

/// Sums over the graphs of a session.
#[derive(Debug, Default)]
pub(in crate::session) struct GraphBudget {
    sums: Mutex<Sums>,
    /// Held while a description is decoded, so that only one at a time takes memory that is not counted yet.
    pub(super) decoding: Mutex<()>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sums {
    nodes: u64,
    edges: u64,
    bytes: u64,
}

impl Sums {
    fn plus(self, other: Self) -> Self {
        Self {
            nodes: self.nodes.saturating_add(other.nodes),
            edges: self.edges.saturating_add(other.edges),
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }

    fn minus(self, other: Self) -> Self {
        Self {
            nodes: self.nodes.saturating_sub(other.nodes),
            edges: self.edges.saturating_sub(other.edges),
            bytes: self.bytes.saturating_sub(other.bytes),
        }
    }

    const fn fits(self) -> bool {
        self.nodes <= SESSION_GRAPH_NODES_MAX
            && self.edges <= SESSION_GRAPH_EDGES_MAX
            && self.bytes <= SESSION_GRAPH_BYTES_MAX
    }
}

/// Device memory that one graph takes. Dropping it gives it back.
#[derive(Debug)]
pub(super) struct Memory {
    session: Arc<Session>,
    bytes: u64,
}

impl Memory {
    /// Takes what a graph needs of the tenant's memory. May block.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY` where the tenant has not so much.
    pub(super) fn take(session: &Arc<Session>, plan: &GraphPlan) -> Result<Self, DeviceError> {
        let bytes = session.device.graph_bytes(plan);
        session.ledger.take(CreditKind::Device, bytes).map_err(|status| {
            DeviceError::new(status, "the graph does not fit into the tenant's memory quota")
        })?;
        Ok(Self { session: session.clone(), bytes })
    }

    /// Hands its bytes to who gives them back with something else.
    pub(super) fn leave(mut self) -> u64 {
        std::mem::take(&mut self.bytes)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.session.freed(self.bytes);
    }
}

/// What one graph takes of the budget. Dropping it gives it back.
#[derive(Debug)]
pub(super) struct Charge {
    session: Arc<Session>,
    sums: Sums,
}

impl Charge {
    /// Takes what a graph with a description of `bytes` bytes needs.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY` when the session's graphs have it all.
    pub(super) fn take(
        session: &Arc<Session>,
        description: &GraphDescription,
        bytes: u64,
    ) -> Result<Self, Status> {
        let sums =
            Sums { nodes: description.nodes.len() as u64, edges: description.edges.len() as u64, bytes };
        let mut all = session.graphs.sums.lock();
        let with = all.plus(sums);
        if !with.fits() {
            return Err(Status::ERROR_OUT_OF_MEMORY);
        }
        *all = with;
        Ok(Self { session: session.clone(), sums })
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        let mut all = self.session.graphs.sums.lock();
        *all = all.minus(self.sums);
    }
}
