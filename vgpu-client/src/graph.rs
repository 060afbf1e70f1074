//! Graphs: work that is described once and launched as one command.

use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use vgpu_proto::graph::{GraphDescription, GraphWork, UpdateResult};
use vgpu_proto::{GraphId, RegionId, Status, body};

use crate::context::Context;
use crate::errors::{Error, Misuse, Result};
use crate::event::Event;
use crate::function::Function;
use crate::heap::PinnedAllocation;
use crate::ring::Ticket;
use crate::session::Session;
use crate::staging::Chunk;
use crate::stream::Stream;
use crate::uses::Pinned;

/// Descriptions up to this size travel through staging, larger ones in pinned memory of their own.
const STAGED_BYTES: u64 = 1 << 20;

/// An instantiated graph (`CUgraphExec`). Clones are the same graph; dropping the last one destroys it, after the host
/// has submitted what was queued in its context. Launches that run go on.
#[derive(Clone, Debug)]
pub struct Graph {
    inner: Arc<Inner>,
}

/// The kernels and events that a description names: a graph keeps them alive.
#[derive(Clone, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "made by literal, with defaults")]
pub struct GraphObjects {
    /// Kernels, each once.
    pub functions: Vec<Function>,
    /// Events, each once.
    pub events: Vec<Event>,
}

#[derive(Debug)]
struct Inner {
    context: Context,
    id: GraphId,
    uses: Mutex<Uses>,
}

/// What a launch uses of what the guest may drop.
#[derive(Debug)]
struct Uses {
    /// Events that a launch records.
    recorded: Vec<Event>,
    /// Pinned memory of copies, fills and words: not kept, but not freed under a launch either.
    pinned: Vec<Weak<dyn Pinned>>,
    _kept: GraphObjects,
}

impl Uses {
    fn of(session: &Session, description: &GraphDescription, objects: GraphObjects) -> Self {
        let mut recorded: Vec<u64> = Vec::new();
        let mut pinned: Vec<Weak<dyn Pinned>> = Vec::new();
        let mut note = |address: u64| {
            if let Ok(Some(allocation)) = session.addresses.locate(address, 1)
                && !pinned.iter().any(|known| std::ptr::addr_eq(known.as_ptr(), Arc::as_ptr(&allocation)))
            {
                pinned.push(Arc::downgrade(&allocation));
            }
        };
        for node in &description.nodes {
            match node.work {
                GraphWork::EventRecord { event } => recorded.push(event),
                GraphWork::Memcpy { destination, source, .. } => {
                    note(destination);
                    note(source);
                }
                GraphWork::Memset { destination, .. } => note(destination),
                GraphWork::WriteValue32 { address, .. } | GraphWork::WaitValue32 { address, .. } => {
                    note(address);
                }
                GraphWork::Empty | GraphWork::Kernel { .. } | GraphWork::EventWait { .. } => {}
            }
        }
        let is_recorded = |event: &&Event| recorded.contains(&event.id().raw());
        let recorded = objects.events.iter().filter(is_recorded).cloned().collect();
        Self { recorded, pinned, _kept: objects }
    }

    fn launched(&self, ticket: Ticket) {
        for event in &self.recorded {
            event.recorded_by(ticket);
        }
        for allocation in self.pinned.iter().filter_map(Weak::upgrade) {
            allocation.uses().note(ticket);
        }
    }
}

/// Where a description lies while the host reads it.
#[derive(Debug)]
enum Shipment<'a> {
    Staged(Chunk<'a>),
    Pinned(Arc<PinnedAllocation>),
}

impl<'a> Shipment<'a> {
    fn new(session: &'a Arc<Session>, description: &[u8]) -> Result<Self> {
        let bytes = description.len() as u64;
        // An update may have to wait for what streams hold, so it takes no part of staging's reserve; and it never waits
        // for staging, since pinned memory does as well.
        if bytes <= STAGED_BYTES
            && let Some(chunk) = session.try_stage(0, bytes, false)
        {
            chunk.write(0, description);
            return Ok(Self::Staged(chunk));
        }
        let pinned = PinnedAllocation::new(session, bytes)?;
        pinned.region().write(pinned.offset(), description).expect("an allocation lies in its region");
        Ok(Self::Pinned(pinned))
    }

    fn place(&self) -> (RegionId, u64) {
        match self {
            Self::Staged(chunk) => (RegionId::STAGING, chunk.offset),
            Self::Pinned(allocation) => (RegionId(allocation.region_id()), allocation.offset()),
        }
    }
}

impl Context {
    /// Its name on the wire, for [`vgpu_proto::graph::GraphNode::context`].
    pub fn wire_name(&self) -> u64 {
        self.inner.id.raw()
    }

    /// Instantiates a graph whose nodes lie in this context. `objects` are the kernels and events that the description
    /// names by [`Function::wire_name`] and [`Event::wire_name`]; `flags` are those of [`vgpu_proto::graph`].
    ///
    /// # Errors
    /// [`Misuse::Graph`] where the description breaks a rule; [`Error::Limit`]; what the host answers (out of memory,
    /// `INVALID_VALUE` for an address that is not the session's, `NOT_SUPPORTED`); a fault of the context; or the
    /// session's end.
    pub fn graph(&self, description: &GraphDescription, objects: GraphObjects, flags: u32) -> Result<Graph> {
        self.check()?;
        let session = self.session();
        let bytes = description.encode().map_err(Misuse::Graph)?;
        let shipment = Shipment::new(session, &bytes)?;
        let (index, generation) = session.tables.graphs.mint()?;
        let id = GraphId::new(index, generation);
        let (region, offset) = shipment.place();
        let body = body::GraphInstantiate {
            context: self.inner.id.raw().into(),
            graph: id.raw().into(),
            offset: offset.into(),
            bytes: (bytes.len() as u64).into(),
            region: region.0.into(),
            flags: flags.into(),
        };
        session.call(0, &body, &[]).inspect_err(|error| {
            // Only where the host said no is the name free.
            if matches!(error, Error::Call { .. }) {
                session.tables.graphs.release(index);
            }
        })?;
        let uses = Mutex::new(Uses::of(session, description, objects));
        Ok(Graph { inner: Arc::new(Inner { context: self.clone(), id, uses }) })
    }
}

impl Graph {
    /// The context of its nodes.
    pub fn context(&self) -> &Context {
        &self.inner.context
    }

    /// Gives it the parameters of another description of the same shape. Launches that were queued before keep theirs.
    /// Any result but [`UpdateResult::SUCCESS`] means that the graph is as it was.
    ///
    /// # Errors
    /// As [`Context::graph`].
    pub fn update(&self, description: &GraphDescription, objects: GraphObjects) -> Result<UpdateResult> {
        let Inner { context, id, uses } = self.inner.as_ref();
        context.check()?;
        let session = context.session();
        let bytes = description.encode().map_err(Misuse::Graph)?;
        let shipment = Shipment::new(session, &bytes)?;
        let (region, offset) = shipment.place();
        let body = body::GraphUpdate {
            graph: id.raw().into(),
            offset: offset.into(),
            bytes: (bytes.len() as u64).into(),
            region: region.0.into(),
            reserved: 0.into(),
        };
        // Held, so that a launch by another thread notes the uses of the parameters that it launches with.
        let mut uses = uses.lock();
        let (status, [result, ..]) = session.ask(0, &body, &[])?;
        match (status, UpdateResult::from_number(result)) {
            (Status::SUCCESS, _) => {
                *uses = Uses::of(session, description, objects);
                Ok(UpdateResult::SUCCESS)
            }
            (Status::ERROR_GRAPH_EXEC_UPDATE_FAILURE, result) => Ok(result),
            (status, _) => Err(Error::call(vgpu_proto::Op::GraphUpdate, status)),
        }
    }
}

impl Stream {
    /// Launches a graph: one command, in the order of this stream. Launches of one graph never overlap.
    ///
    /// # Errors
    /// [`Misuse::Foreign`], or what [`Stream::synchronize`] reports.
    pub fn launch_graph(&self, graph: &Graph) -> Result<()> {
        self.context().is_same(graph.context(), "graph")?;
        {
            let uses = graph.inner.uses.lock();
            let ticket = self.enqueue(&body::GraphLaunch { graph: graph.inner.id.raw().into() })?;
            // Before anything can fail: the command is on its way.
            uses.launched(ticket);
        }
        self.settle()
    }

    /// Prepares a graph for its launch in this stream, so that the first one costs no more than the next.
    ///
    /// # Errors
    /// As [`Stream::launch_graph`].
    pub fn upload_graph(&self, graph: &Graph) -> Result<()> {
        self.context().is_same(graph.context(), "graph")?;
        self.submit(&body::GraphUpload { graph: graph.inner.id.raw().into() }).map(drop)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // As for device memory: waiting for what a panicking thread queued could last for ever.
        if std::thread::panicking() {
            return;
        }
        let session = self.context.session();
        if session.call(0, &body::GraphDestroy { graph: self.id.raw().into() }, &[]).is_ok() {
            session.tables.graphs.release(self.id.index());
        }
    }
}
