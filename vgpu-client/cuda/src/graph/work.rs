//! What a node of a graph does.

use std::sync::Arc;

use super::memory::AllocWork;
use super::service::HostWork;
use super::{CopyWork, FillWork, Graph, KernelWork, MemOps};
use crate::fail::{Call, INVALID_VALUE};

/// The work of a node. Functions and events are named by their handles: a graph keeps none of them alive, and one that
/// is gone is found when the graph is instantiated.
#[derive(Clone, Debug)]
pub(crate) enum Work {
    Empty,
    Kernel(KernelWork),
    Copy(CopyWork),
    Fill(FillWork),
    Host(HostWork),
    /// A graph of its own, which this node owns.
    Child(Arc<Graph>),
    EventRecord(u64),
    EventWait(u64),
    MemOps(MemOps),
    Alloc(AllocWork),
    /// What frees the memory at an address, of a node of the same graph.
    Free(u64),
}

impl Work {
    /// `CUgraphNodeType`.
    pub(crate) fn kind(&self) -> u32 {
        match self {
            Self::Kernel(_) => 0,
            Self::Copy(_) => 1,
            Self::Fill(_) => 2,
            Self::Host(_) => 3,
            Self::Child(_) => 4,
            Self::Empty => 5,
            Self::EventWait(_) => 6,
            Self::EventRecord(_) => 7,
            Self::Alloc(_) => 10,
            Self::Free(_) => 11,
            Self::MemOps(_) => 12,
        }
    }

    /// Takes the parameters of other work of the same kind. A kernel keeps its attributes.
    ///
    /// # Errors
    /// `INVALID_VALUE` where the kinds differ.
    pub(crate) fn replace(&mut self, new: Self) -> Call {
        if self.kind() != new.kind() {
            return Err(INVALID_VALUE);
        }
        *self = match (&*self, new) {
            (Self::Kernel(old), Self::Kernel(new)) => Self::Kernel(new.with_attributes_of(old)),
            (_, new) => new,
        };
        Ok(())
    }

    pub(crate) fn is_kernel(&self) -> bool {
        matches!(self, Self::Kernel(_))
    }

    /// Nodes of its child graph.
    pub(crate) fn nested(&self) -> usize {
        if let Self::Child(graph) = self { graph.lock().total() } else { 0 }
    }
}
