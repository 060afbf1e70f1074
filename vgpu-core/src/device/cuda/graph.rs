//! Graphs of a context.
//!
//! The driver gets a graph once, when it is instantiated, and is told at each launch only which events its event nodes
//! concern, where those changed. It uploads at the instantiation, so that no launch waits for that; after an update the next
//! launch does, because an upload waits for the launches before it, and nothing here may wait for those. So a guest that asks
//! for an upload finds it done, or has it done by its next launch. The local memory that a kernel needs was set aside when it
//! was found by its name (`stack`), so a graph needs none of its own.
//!
//! A launch names no addresses, so it could reach memory that was freed since the graph was made. [`Ranges`] looks for all
//! of them again at the first launch after something was freed. The look and the launch are one to everything that takes
//! memory away, which waits in between (`Space::hold`): it comes first, and the launch is refused, or the driver has the
//! launch, and what is true of other work then is true of it (`space`). A free waits for the context's launches, too; what
//! the guest unmaps does not.
//!
//! A graph is made without that hold, since making it may take long. The driver looks at a node's addresses when it is
//! added, and would take those of memory that went for the process's own; so the memory must be the same afterwards.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;
use vgpu_proto::Status;
use vgpu_proto::graph::{GRAPH_DEVICE_LAUNCH, GRAPH_USE_NODE_PRIORITY, UpdateResult};

use super::context::Shared;
use super::device::Recorded;
use super::driver::{Event, Exec, NodeLaunch, Stream, Template};
use super::function::Kernel;
use super::launch::{dimensions, driver_attributes};
use super::module::next_key;
use super::space::Space;
use crate::device::{
    DeviceError, EventKey, GraphKey, GraphLaunch, GraphPlan, LaunchConfig, NodeWork, Ranges,
};

/// What the driver takes of the card for an uploaded graph, in bytes: by itself, for each node, and for each chain of nodes
/// that may run beside others. Measured on an H200 (driver 580.159.04): 10,000 kernels one behind the other took 20 MiB,
/// 1,000 side by side 108 MiB. A test on a card holds the sums against the card (`cuda_gpu`: `graphs_cost_what_is_charged`).
const GRAPH_BYTES: u64 = 256 << 10;
const NODE_BYTES: u64 = 4 << 10;
const CHAIN_BYTES: u64 = 128 << 10;

/// Device memory that a graph takes, at most.
pub(super) fn device_bytes(plan: &GraphPlan) -> u64 {
    GRAPH_BYTES + NODE_BYTES * plan.nodes.len() as u64 + CHAIN_BYTES * chains(plan)
}

/// Into how many chains the nodes fall, where each node goes on with the first of its predecessors that nobody has gone on
/// with yet.
fn chains(plan: &GraphPlan) -> u64 {
    let (mut goes_on, mut joined) = (vec![false; plan.nodes.len()], vec![false; plan.nodes.len()]);
    let mut joins = 0;
    for edge in &plan.edges {
        let (from, to) = (edge.from as usize, edge.to as usize);
        // The session has checked the indices; an edge that names no node joins nothing.
        if let (Some(goes_on @ false), Some(joined @ false)) = (goes_on.get_mut(from), joined.get_mut(to)) {
            (*goes_on, *joined) = (true, true);
            joins += 1;
        }
    }
    plan.nodes.len() as u64 - joins
}

/// Updates that may fail one after another before the graph is no longer launched. Of each the graph may have a part, so
/// that what it names is kept; programs make a new graph after the first.
const FAILED_UPDATES_MAX: usize = 4;

/// An instantiated graph.
#[derive(Debug)]
pub(super) struct Graph {
    state: Mutex<State>,
    /// Its first kernel, for the text of a fault.
    name: Arc<str>,
}

/// What launches and updates change. Fields are dropped in their order: the driver's objects before what they name.
#[derive(Debug)]
struct State {
    exec: Exec,
    /// Kept for the names of its nodes where some take events; what was instantiated from it is told of others by them.
    template: Option<Template>,
    slots: Vec<Slot>,
    /// What event nodes hold before a launch names an event: never recorded, so a wait passes.
    placeholder: Option<Arc<Event>>,
    /// Of what it was made of, or updated to. Behind them those of the updates that failed since: CUDA says that such an
    /// update is not performed, but nothing of nodes that come before the one that it failed at.
    parts: Vec<Parts>,
    /// Nobody can say any more what it would do.
    lost: bool,
}

/// A node that takes an event.
#[derive(Debug)]
struct Slot {
    /// Index in the template.
    node: usize,
    records: bool,
    /// The event that the driver has for it now; kept for that long.
    bound: Option<(EventKey, Arc<Recorded>)>,
    /// Whether the driver has just that.
    sure: bool,
}

/// What a plan's nodes refer to.
#[derive(Debug)]
struct Parts {
    ranges: Ranges,
    /// Ranges that the session's space had been added when these were found.
    added: u64,
    /// Kept while the graph may be launched.
    kernels: Vec<Arc<Kernel>>,
}

/// A launch with its events found.
#[derive(Debug)]
pub(super) struct CheckedGraph {
    pub(super) graph: Arc<Graph>,
    events: Vec<Option<(EventKey, Arc<Recorded>)>>,
}

impl Graph {
    pub(super) fn name(&self) -> Arc<str> {
        Arc::clone(&self.name)
    }
}

impl CheckedGraph {
    /// Looks for the graph's memory again if some was freed.
    fn check_memory(&self, state: &State, space: &Space) -> Result<(), DeviceError> {
        if self.events.len() != state.slots.len() {
            let text = "the launch names another number of events than the graph has event nodes";
            return Err(DeviceError::new(Status::ERROR_INVALID_VALUE, text));
        }
        if state.lost {
            let text = "updates of the graph have failed: instantiate it anew";
            return Err(DeviceError::new(Status::ERROR_ILLEGAL_STATE, text));
        }
        let generation = space.generation();
        let found = |parts: &Parts| parts.ranges.check(generation, |at, bytes| space.check(at, bytes));
        state.parts.iter().try_for_each(found)
    }

    /// Submits the launch. The caller holds `space`, the session's.
    pub(super) fn submit(&self, stream: &Stream, space: &Space) -> Result<(), DeviceError> {
        let mut state = self.graph.state.lock();
        self.check_memory(&state, space)?;
        state.bind(&self.events)?;
        // SAFETY: `check_memory` found all memory of the nodes, which no update changes while the graph is locked, and
        // nothing takes any of it away before this call is over: the submitter holds the session's space (`Space::hold`).
        // For what goes later see `space`.
        unsafe { state.exec.launch(stream) }.map_err(|error| {
            let text = format!("launch of a graph ({}): {}", self.graph.name, error.text);
            DeviceError::new(error.status, text)
        })?;
        for (slot, (_, event)) in
            state.slots.iter().zip(&self.events).filter_map(|(slot, event)| Some((slot, event.as_ref()?)))
        {
            if slot.records {
                event.recorded().store(true, Ordering::Release);
            }
        }
        Ok(())
    }
}

impl State {
    /// Tells the driver of events that are not those of the launch before.
    fn bind(&mut self, events: &[Option<(EventKey, Arc<Recorded>)>]) -> Result<(), DeviceError> {
        let Self { exec, template, slots, placeholder, .. } = self;
        let (Some(template), Some(placeholder)) = (template, placeholder) else { return Ok(()) };
        for (slot, event) in slots.iter_mut().zip(events) {
            let key = |event: &Option<(EventKey, Arc<Recorded>)>| event.as_ref().map(|(key, _)| *key);
            if slot.sure && key(&slot.bound) == key(event) {
                continue;
            }
            let raw = event.as_ref().map_or(&**placeholder, |(_, event)| event.event());
            if slot.records {
                exec.set_record(template, slot.node, raw)?;
            } else {
                exec.set_wait(template, slot.node, raw)?;
            }
            slot.bound.clone_from(event);
            slot.sure = true;
        }
        Ok(())
    }

    /// Notes how an update to other parts ended, and whether their memory is the same as before it.
    fn updated(&mut self, parts: Parts, done: bool, same: bool) {
        self.lost |= !same || self.parts.len() > FAILED_UPDATES_MAX;
        if done && same {
            self.lost = false;
            self.parts.clear();
            // The driver has the placeholder for every event node again.
            self.slots.iter_mut().for_each(|slot| (slot.bound, slot.sure) = (None, true));
        } else {
            self.slots.iter_mut().for_each(|slot| slot.sure = false);
        }
        if !self.lost {
            self.parts.push(parts);
        }
    }
}

impl Shared {
    /// Instantiates a graph. May block.
    pub(super) fn graph_instantiate(&self, plan: &GraphPlan, flags: u32) -> Result<GraphKey, DeviceError> {
        self.fault().check()?;
        if flags & GRAPH_DEVICE_LAUNCH != 0 {
            let text = "graphs that kernels launch are not supported";
            return Err(DeviceError::new(Status::ERROR_NOT_SUPPORTED, text));
        }
        let graph = self.judge(self.make_graph(plan, flags & GRAPH_USE_NODE_PRIORITY != 0))?;
        let key = GraphKey(next_key());
        self.graphs().lock().insert(key, Arc::new(graph));
        Ok(key)
    }

    fn make_graph(&self, plan: &GraphPlan, priorities: bool) -> Result<Graph, DeviceError> {
        let parts = self.graph_parts(plan)?;
        let nodes = plan.nodes.iter().enumerate().filter(|(_, node)| node.takes_event());
        let slots: Vec<Slot> = nodes
            .map(|(node, work)| Slot {
                node,
                records: matches!(work, NodeWork::Record),
                bound: None,
                sure: true,
            })
            .collect();
        let placeholder =
            if slots.is_empty() { None } else { Some(Arc::new(Event::new(self.handle(), false)?)) };
        let template = self.template(plan, &parts, placeholder.as_deref())?;
        let mut exec = template.instantiate(priorities)?;
        exec.upload(self.own_stream())?;
        self.check_same(&parts)?;
        let first = parts.kernels.first().map(|kernel| format!("graph with {}", kernel.name));
        let name = first.unwrap_or_else(|| "graph without kernels".to_owned());
        let template = (!slots.is_empty()).then_some(template);
        let state = State { exec, template, slots, placeholder, parts: vec![parts], lost: false };
        Ok(Graph { state: Mutex::new(state), name: name.into() })
    }

    /// Checks a plan's addresses and kernels.
    fn graph_parts(&self, plan: &GraphPlan) -> Result<Parts, DeviceError> {
        let space = self.card().space();
        let added = space.added();
        let ranges = Ranges::new(&plan.nodes, space.generation(), |at, bytes| space.check(at, bytes))?;
        let mut kernels = Vec::new();
        for node in &plan.nodes {
            if let NodeWork::Kernel(config) = node {
                let kernel = self.launched_kernel(config)?;
                // Launches of the graph do not look at its kernels again.
                self.printing().launched(&kernel.name);
                kernels.push(kernel);
            }
        }
        Ok(Parts { ranges, added, kernels })
    }

    /// Checks that the memory that was found is there still, and never was away.
    fn check_same(&self, parts: &Parts) -> Result<(), DeviceError> {
        let space = self.card().space();
        parts.ranges.check(space.generation(), |at, bytes| space.check_older(at, bytes, parts.added))
    }

    /// The driver's graph of a checked plan.
    fn template(
        &self,
        plan: &GraphPlan,
        parts: &Parts,
        placeholder: Option<&Event>,
    ) -> Result<Template, DeviceError> {
        let mut template = Template::new(self.handle())?;
        let mut kernels = parts.kernels.iter();
        for (index, node) in plan.nodes.iter().enumerate() {
            add_node(&mut template, node, &mut kernels, placeholder).map_err(|error| {
                DeviceError::new(error.status, format!("node {index} of the graph: {}", error.text))
            })?;
        }
        template.add_edges(&plan.edges)?;
        Ok(template)
    }

    /// Gives a graph the parameters of another plan. May block.
    pub(super) fn graph_update(&self, key: GraphKey, plan: &GraphPlan) -> Result<UpdateResult, DeviceError> {
        self.fault().check()?;
        let graph = self.graph(key)?;
        let parts = self.judge(self.graph_parts(plan))?;
        let updated = self.update_graph(&graph, plan, parts);
        self.judge(updated)
    }

    fn update_graph(
        &self,
        graph: &Graph,
        plan: &GraphPlan,
        parts: Parts,
    ) -> Result<UpdateResult, DeviceError> {
        // Made without the lock, which a launch waits for. The session makes one update at a time.
        let placeholder = graph.state.lock().placeholder.clone();
        let template = self.template(plan, &parts, placeholder.as_deref())?;
        self.check_same(&parts)?;
        let mut state = graph.state.lock();
        let result = state.exec.update(&template);
        // The driver may have looked at the addresses again.
        let same = self.check_same(&parts);
        state.updated(parts, result == Ok(UpdateResult::SUCCESS), same.is_ok());
        same.and(result)
    }

    pub(super) fn graph(&self, key: GraphKey) -> Result<Arc<Graph>, DeviceError> {
        let unknown = || DeviceError::new(Status::ERROR_INVALID_HANDLE, "no such graph in this context");
        self.graphs().lock().get(&key).cloned().ok_or_else(unknown)
    }

    /// Finds a launch's graph and events.
    pub(super) fn check_graph(&self, launch: &GraphLaunch) -> Result<CheckedGraph, DeviceError> {
        let find = |key: &Option<EventKey>| match key {
            Some(key) => Ok(Some((*key, self.card().event(*key)?))),
            None => Ok(None),
        };
        let events = launch.events.iter().map(find).collect::<Result<_, DeviceError>>()?;
        Ok(CheckedGraph { graph: self.graph(launch.graph)?, events })
    }
}

fn add_node<'a>(
    template: &mut Template,
    node: &NodeWork,
    kernels: &mut impl Iterator<Item = &'a Arc<Kernel>>,
    placeholder: Option<&Event>,
) -> Result<(), DeviceError> {
    match (node, placeholder) {
        (NodeWork::Kernel(config), _) => match kernels.next() {
            Some(kernel) => add_kernel(template, kernel, config),
            None => template.add_empty(),
        },
        // SAFETY: the memory was found, and is looked for again when the graph is made, before anything launches it, and
        // when it is launched.
        (NodeWork::Copy(copy), _) => unsafe { template.add_copy(copy) },
        // SAFETY: as for copies.
        (NodeWork::Fill(fill), _) => unsafe { template.add_fill(fill) },
        // SAFETY: as for copies; the session checked that the address is aligned.
        (NodeWork::WriteValue { address, value }, _) => unsafe { template.add_write(*address, *value) },
        (NodeWork::WaitValue { address, value, condition }, _) => {
            // SAFETY: as for copies; the session checked that the address is aligned.
            unsafe { template.add_wait_value(*address, *value, *condition) }
        }
        (NodeWork::Record, Some(event)) => template.add_record(event),
        (NodeWork::Wait, Some(event)) => template.add_wait(event),
        (NodeWork::Empty | NodeWork::Record | NodeWork::Wait, _) => template.add_empty(),
    }
}

fn add_kernel(template: &mut Template, kernel: &Kernel, config: &LaunchConfig) -> Result<(), DeviceError> {
    let launch = NodeLaunch {
        function: &kernel.function,
        dimensions: dimensions(config),
        attributes: &driver_attributes(config, &[]),
        layout: &kernel.params,
        params: &config.params,
    };
    // SAFETY: the layout is the driver's, and the length of the parameters was checked against it. A policy window is
    // among the graph's ranges, which every launch checks.
    unsafe { template.add_kernel(launch) }
        .map_err(|error| DeviceError::new(error.status, format!("{}: {}", kernel.name, error.text)))
}

#[cfg(test)]
mod tests {
    use vgpu_proto::graph::GraphEdge;

    use super::*;
    use crate::device::NodeWork;

    #[test]
    fn what_may_run_side_by_side_is_counted() {
        let plan = |nodes, edges: &[(u32, u32)]| GraphPlan {
            nodes: vec![NodeWork::Empty; nodes],
            edges: edges.iter().map(|(from, to)| GraphEdge::plain(*from, *to)).collect(),
        };
        for (nodes, edges, wanted) in [
            (0, &[][..], 0),
            (3, &[], 3),
            (3, &[(0, 1), (1, 2)], 1),
            // A fork and a join.
            (4, &[(0, 1), (0, 2), (1, 3), (2, 3)], 2),
            // An edge twice, and one to nowhere.
            (2, &[(0, 1), (0, 1), (1, 7)], 1),
        ] {
            assert_eq!(chains(&plan(nodes, edges)), wanted, "{edges:?}");
        }
        assert_eq!(device_bytes(&plan(2, &[(0, 1)])), GRAPH_BYTES + 2 * NODE_BYTES + CHAIN_BYTES);
    }
}
