//! Instantiated graphs, and launches of them.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use vgpu_proto::Status;

use super::event::Record;
use super::exec::Env;
use super::function::Function;
use super::launch::LaunchJob;
use super::memory::AddressSpace;
use super::rows::Rows;
use super::stream::Command;
use super::transfer::{Transfer, Word, check_range};
use crate::device::{DeviceError, GraphKey, GraphLaunch, GraphPlan, LaunchConfig, NodeWork, Place, Ranges};

/// A kernel of a node, with what the fault plan orders for it.
pub(super) struct NodeKernel {
    pub(super) function: Arc<Function>,
    pub(super) delay: Option<Duration>,
    pub(super) endless: bool,
}

/// A checked graph. Launches that run keep theirs, whatever becomes of the graph.
pub(super) struct Plan {
    nodes: Vec<NodeWork>,
    /// Kernels of the kernel nodes.
    kernels: HashMap<u32, NodeKernel>,
    /// Where each node's successors begin in `targets`; one more at the end.
    first: Vec<u32>,
    targets: Vec<u32>,
    /// Predecessors of each node.
    waiting: Vec<u32>,
    ranges: Ranges,
    /// Nodes that a launch names an event for, in their order.
    event_nodes: Vec<u32>,
    /// Threads of the device.
    threads: u32,
}

impl Plan {
    /// Checks a plan. `kernel` checks a launch and finds its kernel.
    pub(super) fn new(
        plan: GraphPlan,
        memory: &AddressSpace,
        threads: u32,
        kernel: impl Fn(&LaunchConfig) -> Result<NodeKernel, DeviceError>,
    ) -> Result<Self, DeviceError> {
        let GraphPlan { nodes, mut edges } = plan;
        let ranges = Ranges::new(&nodes, memory.generation(), |at, bytes| check_range(memory, at, bytes))?;
        let (mut kernels, mut event_nodes) = (HashMap::new(), Vec::new());
        for (index, node) in (0..).zip(&nodes) {
            if let NodeWork::Kernel(config) = node {
                kernels.insert(index, kernel(config)?);
            } else if node.takes_event() {
                event_nodes.push(index);
            }
        }
        edges.sort_unstable();
        let mut waiting = vec![0_u32; nodes.len()];
        let mut first = vec![0_u32; nodes.len() + 1];
        let outside = || DeviceError::new(Status::ERROR_INVALID_VALUE, "an edge of the graph has no node");
        for edge in &edges {
            *first.get_mut(edge.from as usize + 1).ok_or_else(outside)? += 1;
            *waiting.get_mut(edge.to as usize).ok_or_else(outside)? += 1;
        }
        for at in 1..first.len() {
            first[at] += first[at - 1];
        }
        let targets = edges.iter().map(|edge| edge.to).collect();
        Ok(Self { nodes, kernels, first, targets, waiting, ranges, event_nodes, threads })
    }

    fn successors(&self, node: u32) -> &[u32] {
        let (start, end) = (self.first[node as usize], self.first[node as usize + 1]);
        &self.targets[start as usize..end as usize]
    }
}

/// The graphs of a context.
#[derive(Debug, Default)]
pub(super) struct Graphs(Mutex<HashMap<GraphKey, Entry>>);

#[derive(Debug)]
struct Entry {
    plan: Arc<Plan>,
    /// The end of the latest launch.
    last: Option<Arc<Record>>,
}

impl Graphs {
    pub(super) fn add(&self, key: GraphKey, plan: Plan) {
        self.0.lock().insert(key, Entry { plan: Arc::new(plan), last: None });
    }

    /// Gives later launches another plan.
    pub(super) fn replace(&self, key: GraphKey, plan: Plan) -> Result<(), DeviceError> {
        let mut graphs = self.0.lock();
        graphs.get_mut(&key).ok_or_else(unknown)?.plan = Arc::new(plan);
        Ok(())
    }

    pub(super) fn remove(&self, key: GraphKey) {
        let removed = self.0.lock().remove(&key);
        drop(removed);
    }

    pub(super) fn plan(&self, key: GraphKey) -> Result<Arc<Plan>, DeviceError> {
        self.0.lock().get(&key).map(|entry| Arc::clone(&entry.plan)).ok_or_else(unknown)
    }

    /// The plan of a launch, if its memory is there.
    pub(super) fn check(&self, launch: &GraphLaunch, memory: &AddressSpace) -> Result<(), DeviceError> {
        let plan = self.plan(launch.graph)?;
        if launch.events.len() != plan.event_nodes.len() {
            let text = "the launch names another number of events than the graph has event nodes";
            return Err(DeviceError::new(Status::ERROR_INVALID_VALUE, text));
        }
        plan.ranges.check(memory.generation(), |at, bytes| check_range(memory, at, bytes))
    }

    /// A launch behind all earlier ones of the graph. `records` belong to its event nodes, in their order.
    pub(super) fn launch(
        &self,
        key: GraphKey,
        env: Env,
        records: impl FnOnce(&[NodeKind]) -> Result<Vec<Option<Arc<Record>>>, DeviceError>,
    ) -> Result<GraphJob, DeviceError> {
        let mut graphs = self.0.lock();
        let entry = graphs.get_mut(&key).ok_or_else(unknown)?;
        let plan = Arc::clone(&entry.plan);
        let kinds: Vec<NodeKind> = plan.event_nodes.iter().map(|node| plan.kind(*node)).collect();
        let records = records(&kinds)?;
        let records = plan.event_nodes.iter().copied().zip(records).collect();
        let done = Arc::new(Record::default());
        let after = entry.last.replace(Arc::clone(&done));
        Ok(GraphJob { plan, records, env, after, done })
    }
}

/// What an event node does with its event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NodeKind {
    Records,
    Waits,
}

impl Plan {
    fn kind(&self, node: u32) -> NodeKind {
        match self.nodes[node as usize] {
            NodeWork::Record => NodeKind::Records,
            _ => NodeKind::Waits,
        }
    }
}

fn unknown() -> DeviceError {
    DeviceError::new(Status::ERROR_INVALID_HANDLE, "no such graph in this context")
}

/// A launch that waits for its turn.
pub(super) struct GraphJob {
    plan: Arc<Plan>,
    /// Records of the event nodes: made by the launch, or waited for.
    records: HashMap<u32, Option<Arc<Record>>>,
    env: Env,
    /// The end of the launch before.
    after: Option<Arc<Record>>,
    done: Arc<Record>,
}

impl GraphJob {
    /// Whether the launch before is complete.
    pub(super) fn may_begin(&self) -> bool {
        self.after.as_ref().is_none_or(|after| after.is_done())
    }

    /// Completes all that others may wait for: at the end, or when the launch is dropped.
    pub(super) fn finish(&self, now_ns: u64) {
        for (node, record) in &self.records {
            if self.plan.kind(*node) == NodeKind::Records
                && let Some(record) = record
            {
                record.complete(now_ns);
            }
        }
        self.done.complete(now_ns);
    }

    /// The node as a command of a stream of its own; `None` where it is complete at once.
    fn command(&self, node: u32, now_ns: u64) -> Option<Command> {
        let record = || self.records.get(&node).and_then(Option::as_ref);
        Some(match &self.plan.nodes[node as usize] {
            NodeWork::Empty => return None,
            NodeWork::Record => {
                record()?.complete(now_ns);
                return None;
            }
            NodeWork::Wait => Command::Wait(Arc::clone(record().filter(|record| !record.is_done())?)),
            NodeWork::Kernel(config) => {
                let NodeKernel { function, delay, endless } = self.plan.kernels.get(&node)?;
                Command::Launch(Box::new(LaunchJob {
                    function: Arc::clone(function),
                    config: config.clone(),
                    env: self.env.clone(),
                    threads: self.plan.threads,
                    delay: *delay,
                    endless: *endless,
                }))
            }
            NodeWork::Copy(copy) if copy.height == 1 && copy.depth == 1 => {
                let place = |end: crate::device::BoxEnd| Place::Address(end.address);
                let (destination, source) = (place(copy.destination), place(copy.source));
                Command::Transfer(Transfer::Copy { destination, source, bytes: copy.width_bytes, done: 0 })
            }
            NodeWork::Copy(copy) => Command::Transfer(Transfer::Rows(Rows::copy(*copy))),
            NodeWork::Fill(fill) => Command::Transfer(Transfer::Rows(Rows::fill(*fill))),
            NodeWork::WriteValue { address, value } => {
                Command::Transfer(Transfer::Word { address: *address, value: Word::Short(*value) })
            }
            NodeWork::WaitValue { address, value, condition } => {
                Command::WaitValue { address: *address, value: Word::Short(*value), condition: *condition }
            }
        })
    }
}

/// A launch whose nodes run.
pub(super) struct GraphRun {
    job: Box<GraphJob>,
    /// Predecessors of each node that are not complete.
    waiting: Vec<u32>,
    /// Nodes that are not complete.
    left: u32,
    /// Nodes that run, each in a stream of its own.
    running: u32,
}

impl GraphRun {
    pub(super) fn new(job: Box<GraphJob>) -> Self {
        let waiting = job.plan.waiting.clone();
        let left = u32::try_from(waiting.len()).unwrap_or(u32::MAX);
        Self { job, waiting, left, running: 0 }
    }

    /// Nodes without predecessors, as commands.
    pub(super) fn begin(&mut self, now_ns: u64) -> Vec<(u32, Command)> {
        let ready = (0..).zip(&self.waiting).filter(|(_, waiting)| **waiting == 0);
        let ready = ready.map(|(node, _)| node).collect();
        self.release(ready, now_ns)
    }

    /// A node that ran is complete. Tells what may run now.
    pub(super) fn complete(&mut self, node: u32, now_ns: u64) -> Vec<(u32, Command)> {
        self.running -= 1;
        let ready = self.passed(node);
        self.release(ready, now_ns)
    }

    /// A node that ran was dropped with its context's work.
    pub(super) const fn dropped(&mut self) {
        self.running -= 1;
    }

    fn passed(&mut self, node: u32) -> Vec<u32> {
        self.left -= 1;
        let mut ready = Vec::new();
        for successor in self.job.plan.successors(node) {
            let waiting = &mut self.waiting[*successor as usize];
            *waiting -= 1;
            if *waiting == 0 {
                ready.push(*successor);
            }
        }
        ready
    }

    /// Passes ready nodes that need no work, and those behind them; the rest are commands.
    fn release(&mut self, mut ready: Vec<u32>, now_ns: u64) -> Vec<(u32, Command)> {
        let mut commands = Vec::new();
        while let Some(node) = ready.pop() {
            match self.job.command(node, now_ns) {
                Some(command) => {
                    self.running += 1;
                    commands.push((node, command));
                }
                None => ready.extend(self.passed(node)),
            }
        }
        commands
    }

    /// Whether every node is complete, or none runs of a launch that was dropped.
    pub(super) const fn is_over(&self, drains: bool) -> bool {
        self.left == 0 || (drains && self.running == 0)
    }

    pub(super) fn finish(&self, now_ns: u64) {
        self.job.finish(now_ns);
    }
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan").field("nodes", &self.nodes.len()).finish_non_exhaustive()
    }
}

impl fmt::Debug for GraphJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GraphJob").field("plan", &self.plan).finish_non_exhaustive()
    }
}

impl fmt::Debug for GraphRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GraphRun").field("left", &self.left).field("running", &self.running).finish()
    }
}
