//! CUDA graphs: recorded in the guest, shipped whole when they are instantiated.
//!
//! A graph is data of this process (`state`): nodes that say what is to be done (`work`) and edges. It is made node by
//! node (`calls`) or by capture (`capture`), where operations of streams become nodes instead of running. Nothing of
//! it reaches the host before `exec` flattens it (`flat`) into one description. What only the guest can do, host
//! functions and copies of pageable memory, is done by a thread of the guest when the graph gets there (`service`).

pub(crate) mod calls;
pub(crate) mod capture;
mod edge;
mod exec;
mod flat;
mod kernel;
mod memop;
pub(crate) mod memory;
pub(crate) mod object;
pub(crate) mod service;
mod state;
mod transfer;
mod update;
mod work;

use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

pub(crate) use self::edge::EdgeData;
pub(crate) use self::exec::{Exec, UPLOAD};
pub(crate) use self::kernel::{KernelWork, Named};
pub(crate) use self::memop::{MemOps, Operation};
pub(crate) use self::state::{Dependency, Edge, Node, State};
pub(crate) use self::transfer::{CopyWork, FillParams, FillWork};
pub(crate) use self::work::Work;
use crate::driver::Driver;
use crate::fail::{Call, INVALID_VALUE, NOT_SUPPORTED};

/// Graphs inside one another, at most: enough for any program, and every walk down is one of this thread's stack.
pub(crate) const LEVELS_MAX: u32 = 64;

/// A graph.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    /// 0 for one that the program cannot name.
    pub(crate) handle: u64,
    /// How many graphs it lies in: 0 for one of the program's own. What a node of another graph owns, the program may
    /// change, but not destroy.
    level: u32,
    state: Mutex<State>,
}

impl Graph {
    /// Makes an empty graph that the program can name.
    pub(crate) fn create(driver: &Driver) -> Arc<Self> {
        let handle = driver.graphs.mint();
        let graph = Arc::new(Self { handle, ..Self::default() });
        driver.graphs.insert(handle, Arc::clone(&graph));
        graph
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Adds a node and returns its handle.
    pub(crate) fn add(self: &Arc<Self>, driver: &Driver, work: Work, before: &[Dependency]) -> Call<u64> {
        let handle = driver.nodes.mint();
        let child = if let Work::Child(child) = &work { Some(Arc::clone(child)) } else { None };
        let added = self.lock().add(handle, work, before);
        match (added, child) {
            (Ok(()), _) => driver.nodes.insert(handle, Arc::clone(self)),
            (Err(error), child) => {
                // A child graph was cloned for this node alone.
                if let Some(child) = child {
                    child.retire(driver);
                }
                return Err(error);
            }
        }
        Ok(handle)
    }

    /// A clone with handles of its own, that lies in `level` graphs.
    ///
    /// # Errors
    /// `NOT_SUPPORTED` for a graph that allocates, as two could not have one memory, and beyond [`LEVELS_MAX`].
    pub(crate) fn duplicate(&self, driver: &Driver, level: u32) -> Call<Arc<Self>> {
        let allocates = |work: &Work| matches!(work, Work::Alloc(_) | Work::Free(_));
        let has_memory = self.lock().nodes().any(|(_, node)| allocates(&node.work));
        if has_memory || level + self.depth() > LEVELS_MAX {
            return Err(NOT_SUPPORTED);
        }
        Ok(self.renamed(driver, level))
    }

    /// How many graphs lie in one another below it.
    fn depth(&self) -> u32 {
        let state = self.lock();
        let below = state.nodes().map(|(_, node)| match &node.work {
            Work::Child(child) => 1 + child.depth(),
            _ => 0,
        });
        below.max().unwrap_or(0)
    }

    fn renamed(&self, driver: &Driver, level: u32) -> Arc<Self> {
        let handle = driver.graphs.mint();
        let state = self.lock().copy(|_| driver.nodes.mint(), |child| child.renamed(driver, level + 1));
        let names: Vec<u64> = state.nodes().map(|(name, _)| name).collect();
        let graph = Arc::new(Self { handle, level, state: Mutex::new(state) });
        for name in names {
            driver.nodes.insert(name, Arc::clone(&graph));
        }
        driver.graphs.insert(handle, Arc::clone(&graph));
        graph
    }

    /// A copy that keeps the names of its nodes and that the program cannot reach: what an executable graph works with.
    pub(crate) fn snapshot(&self) -> Arc<Self> {
        let state = self.lock().copy(|name| name, Self::snapshot);
        Arc::new(Self { handle: self.handle, level: self.level, state: Mutex::new(state) })
    }

    /// Takes it and its nodes out of the tables: no handle leads to them any more.
    pub(crate) fn retire(&self, driver: &Driver) {
        driver.graphs.remove(self.handle);
        // Taken out whole: what it references may run destructors, which must not find its lock held.
        let state = std::mem::take(&mut *self.lock());
        for (name, node) in state.nodes() {
            driver.nodes.remove(name);
            if let Work::Child(child) = &node.work {
                child.retire(driver);
            }
        }
    }
}

/// The graph of that handle.
pub(crate) fn find(driver: &Driver, handle: u64) -> Call<Arc<Graph>> {
    driver.graphs.get(handle).ok_or(INVALID_VALUE)
}

/// The graph that a node belongs to.
pub(crate) fn owner(driver: &Driver, node: u64) -> Call<Arc<Graph>> {
    driver.nodes.get(node).ok_or(INVALID_VALUE)
}

/// Shows a node to `look`.
pub(crate) fn look<T>(driver: &Driver, node: u64, look: impl FnOnce(&Node) -> Call<T>) -> Call<T> {
    let graph = owner(driver, node)?;
    let state = graph.lock();
    look(state.node(node).ok_or(INVALID_VALUE)?)
}

/// Changes the work of a node.
pub(crate) fn change(driver: &Driver, node: u64, change: impl FnOnce(&mut Work) -> Call) -> Call {
    let graph = owner(driver, node)?;
    let mut state = graph.lock();
    change(&mut state.node_mut(node).ok_or(INVALID_VALUE)?.work)
}
