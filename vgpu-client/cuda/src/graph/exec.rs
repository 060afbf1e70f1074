//! Executable graphs.

use std::sync::Arc;

use parking_lot::Mutex;
use vgpu_client::{EventOptions, Status, UpdateResult};

use super::flat::{self, Flat, Wrong};
use super::memory::AllocWork;
use super::service::Held;
use super::update::{self, Misfit};
use super::{Graph, Node, Work};
use crate::callback;
use crate::context::Context;
use crate::driver::Driver;
use crate::fail::{Call, Fail, INVALID_VALUE};
use crate::stream::Resolved;

/// `CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE`.
const UPDATE_FAILURE: Fail = Fail(Status(910));

/// `CUDA_GRAPH_INSTANTIATE_FLAG_UPLOAD`: a call of its own, which follows.
pub(crate) const UPLOAD: u64 = 2;

/// The flags of CUDA that the host is to know. Unknown ones were refused, and the known ones have few bits.
fn sent(flags: u64) -> u32 {
    (flags & !UPLOAD) as u32
}

/// An executable graph. It has a copy of its own of the graph that it was made of, with the same names of nodes.
#[derive(Debug)]
pub(crate) struct Exec {
    pub(crate) flags: u64,
    /// Number of its context.
    pub(crate) context: u64,
    owner: Arc<Context>,
    parts: Mutex<Parts>,
}

#[derive(Debug)]
struct Parts {
    graph: Arc<Graph>,
    inner: vgpu_client::Graph,
    held: Arc<Held>,
    /// What it allocates and does not free: the program may free it after each launch.
    allocated: Vec<AllocWork>,
    /// Whether `graph` has changed since the host heard of it: it is told before the next launch, of all changes at once.
    changed: bool,
}

impl Exec {
    /// The executable graph of that handle.
    pub(crate) fn find(driver: &Driver, handle: u64) -> Call<Arc<Self>> {
        driver.execs.get(handle).ok_or(INVALID_VALUE)
    }

    /// Instantiates a graph. `flags` are those of CUDA.
    ///
    /// # Errors
    /// [`Wrong`], with the error that the program is to see.
    pub(crate) fn new(driver: &Driver, graph: &Graph, flags: u64) -> Result<Self, Wrong> {
        let graph = graph.snapshot();
        let owner = flat::context_of(driver, &graph)?;
        let Flat { description, objects, held } = flat::flatten(driver, &owner, &graph)?;
        let inner = owner.inner.graph(&description, objects, sent(flags)).map_err(Fail::from)?;
        let allocated = left_allocated(&graph);
        let parts = Mutex::new(Parts { graph, inner, held: Arc::new(held), allocated, changed: false });
        Ok(Self { flags: flags & !UPLOAD, context: owner.id, owner, parts })
    }

    /// A copy of what it does, for a node of another graph.
    ///
    /// # Errors
    /// As [`Graph::duplicate`].
    pub(crate) fn duplicate(&self, driver: &Driver) -> Call<Arc<Graph>> {
        self.parts.lock().graph.duplicate(driver, 1)
    }

    /// Launches it.
    ///
    /// # Errors
    /// What changes since the last launch, or the launch itself, fail with.
    pub(crate) fn launch(&self, driver: &Driver, target: &Resolved) -> Call {
        let mut parts = self.parts.lock();
        self.settle(driver, &mut parts)?;
        parts.allocated.iter().for_each(|work| work.show(driver));
        if parts.held.is_empty() {
            return Ok(target.stream.launch_graph(&parts.inner)?);
        }
        let event = self.owner.inner.event_with(EventOptions { timing: false, blocking_sync: false })?;
        // Before the launch, which may have to be served to return.
        let flight = callback::depart(&parts.held)?;
        target.stream.launch_graph(&parts.inner)?;
        event.record(&target.stream)?;
        flight.until(event);
        Ok(())
    }

    /// Prepares the first launch.
    ///
    /// # Errors
    /// As [`Exec::launch`].
    pub(crate) fn upload(&self, driver: &Driver, target: &Resolved) -> Call {
        let mut parts = self.parts.lock();
        self.settle(driver, &mut parts)?;
        Ok(target.stream.upload_graph(&parts.inner)?)
    }

    /// Tells the host of what has changed. What it cannot update, such as a node that is switched off, makes it a new
    /// graph, which takes the old one's place.
    fn settle(&self, driver: &Driver, parts: &mut Parts) -> Call {
        if !parts.changed {
            return Ok(());
        }
        let flat = self.flatten(driver, &parts.graph)?;
        if parts.inner.update(&flat.description, flat.objects.clone())? != UpdateResult::SUCCESS {
            parts.inner = self.owner.inner.graph(&flat.description, flat.objects, sent(self.flags))?;
        }
        parts.held = Arc::new(flat.held);
        parts.changed = false;
        Ok(())
    }

    fn flatten(&self, driver: &Driver, graph: &Graph) -> Call<Flat> {
        flat::flatten(driver, &self.owner, graph).map_err(|wrong| wrong.fail)
    }

    /// Changes a node, in this graph or one inside it.
    ///
    /// # Errors
    /// `INVALID_VALUE` where it has no such node; what `change` fails with.
    pub(crate) fn change(&self, node: u64, change: impl FnOnce(&mut Node) -> Call) -> Call {
        let mut parts = self.parts.lock();
        let mut change = Some(change);
        let found = visit(&parts.graph, node, &mut |node| match change.take() {
            Some(change) => change(node),
            None => Err(INVALID_VALUE),
        });
        found.unwrap_or(Err(INVALID_VALUE))?;
        parts.changed = true;
        Ok(())
    }

    /// Gives a child graph the parameters of another.
    ///
    /// # Errors
    /// `INVALID_VALUE` where there is no such node; `GRAPH_EXEC_UPDATE_FAILURE` where the two differ in more.
    pub(crate) fn change_child(&self, node: u64, new: &Graph) -> Call {
        self.change(node, |node| match &mut node.work {
            Work::Child(child) => {
                *child = update::updated(child, new).map_err(|_| UPDATE_FAILURE)?;
                Ok(())
            }
            _ => Err(INVALID_VALUE),
        })
    }

    /// Whether a node does what it says.
    ///
    /// # Errors
    /// `INVALID_VALUE` where there is no such node.
    pub(crate) fn is_enabled(&self, node: u64) -> Call<bool> {
        let parts = self.parts.lock();
        let mut enabled = false;
        visit(&parts.graph, node, &mut |node| {
            enabled = node.enabled;
            Ok(())
        })
        .ok_or(INVALID_VALUE)??;
        Ok(enabled)
    }

    /// Gives it the parameters of another graph.
    ///
    /// # Errors
    /// The error that the program is to see, and what is wrong with the other graph.
    pub(crate) fn update(&self, driver: &Driver, new: &Graph) -> Result<(), (Fail, Misfit)> {
        let mut parts = self.parts.lock();
        let failed = |fail| (fail, Misfit { result: UpdateResult::ERROR, node: 0 });
        let graph = update::updated(&parts.graph, new).map_err(|misfit| (UPDATE_FAILURE, misfit))?;
        let flat = self.flatten(driver, &graph).map_err(failed)?;
        let updated = parts.inner.update(&flat.description, flat.objects);
        match updated.map_err(|error| failed(error.into()))? {
            UpdateResult::SUCCESS => {
                parts.held = Arc::new(flat.held);
                parts.allocated = left_allocated(&graph);
                parts.graph = graph;
                parts.changed = false;
                Ok(())
            }
            result => Err((UPDATE_FAILURE, Misfit { result, node: 0 })),
        }
    }
}

/// What nodes of a graph allocate, and none of them frees.
fn left_allocated(graph: &Graph) -> Vec<AllocWork> {
    let state = graph.lock();
    let works = || state.nodes().map(|(_, node)| &node.work);
    let is_freed = |address| works().any(|work| matches!(work, Work::Free(other) if *other == address));
    let allocated = works().filter_map(|work| if let Work::Alloc(work) = work { Some(work) } else { None });
    allocated.filter(|work| !is_freed(work.address())).cloned().collect()
}

/// Shows a node of a graph, or of one inside it, to `act`; nothing where there is none of that name.
fn visit(graph: &Graph, name: u64, act: &mut dyn FnMut(&mut Node) -> Call) -> Option<Call> {
    let mut state = graph.lock();
    if let Some(node) = state.node_mut(name) {
        return Some(act(node));
    }
    state.nodes().find_map(|(_, node)| match &node.work {
        Work::Child(child) => visit(child, name, act),
        _ => None,
    })
}
