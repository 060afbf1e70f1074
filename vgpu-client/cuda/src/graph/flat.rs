//! Flattening: a graph with all its children as the one list of nodes that a host takes.
//!
//! A node becomes a chain of the host's nodes: word operations one each, host functions three (`service`), copies of
//! pageable memory the copy of their shadow with the service before or after it. A child graph lies between two empty
//! nodes. A node that is off has as many empty nodes as it would have otherwise.

use std::collections::HashMap;
use std::sync::Arc;

use vgpu_client::{GraphDescription, GraphEdge, GraphNode, GraphObjects, GraphWork};

use super::service::{Held, Served, Service, Shadow};
use super::{CopyWork, EdgeData, Graph, KernelWork, State, Work};
use crate::context::{self, Context};
use crate::copy::{self, Side};
use crate::driver::Driver;
use crate::fail::{Call, Fail, INVALID_HANDLE, INVALID_VALUE};

/// A graph for the host.
#[derive(Debug)]
pub(crate) struct Flat {
    pub(crate) description: GraphDescription,
    pub(crate) objects: GraphObjects,
    pub(crate) held: Held,
}

/// Why a graph cannot be flattened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wrong {
    pub(crate) fail: Fail,
    /// Handle of the node at fault, 0 for none.
    pub(crate) node: u64,
    /// Whether the edges make a cycle.
    pub(crate) cycle: bool,
}

impl From<Fail> for Wrong {
    fn from(fail: Fail) -> Self {
        Self { fail, node: 0, cycle: false }
    }
}

/// The context of a graph: that of its first node that has one, else the current one.
pub(crate) fn context_of(driver: &Driver, graph: &Graph) -> Call<Arc<Context>> {
    let state = graph.lock();
    for (_, node) in state.nodes() {
        let handle = match &node.work {
            Work::Kernel(kernel) => {
                let entry = driver.functions.get(kernel.function).ok_or(INVALID_HANDLE)?;
                let module = driver.modules.get(entry.module).ok_or(INVALID_HANDLE)?;
                return Ok(Arc::clone(&module.context));
            }
            Work::Copy(copy) => copy.context,
            Work::Fill(fill) => fill.context,
            Work::MemOps(ops) => ops.context,
            _ => continue,
        };
        return context::find(driver, handle);
    }
    crate::current::context()
}

/// Flattens a graph.
///
/// # Errors
/// [`Wrong`], with the error that the program is to see.
pub(crate) fn flatten(driver: &Driver, context: &Context, graph: &Graph) -> Result<Flat, Wrong> {
    let mut builder = Builder {
        driver,
        context,
        description: GraphDescription::default(),
        functions: HashMap::new(),
        events: HashMap::new(),
        served: Vec::new(),
    };
    let state = graph.lock();
    builder.state(&state)?;
    let Builder { description, functions, events, served, .. } = builder;
    let objects =
        GraphObjects { functions: functions.into_values().collect(), events: events.into_values().collect() };
    Ok(Flat { description, objects, held: Held { served, references: state.references.clone() } })
}

struct Builder<'a> {
    driver: &'a Driver,
    context: &'a Context,
    description: GraphDescription,
    functions: HashMap<u64, vgpu_client::Function>,
    events: HashMap<u64, vgpu_client::Event>,
    served: Vec<Served>,
}

/// The first and last of the host's nodes that a node became.
type Ends = (u32, u32);

impl Builder<'_> {
    /// Appends the nodes of a graph and their edges; gives their ends.
    fn state(&mut self, state: &State) -> Result<HashMap<u64, Ends>, Wrong> {
        let order = state.order().ok_or(Wrong { fail: INVALID_VALUE, node: 0, cycle: true })?;
        let mut ends: HashMap<u64, Ends> = HashMap::new();
        for handle in order {
            let Some(node) = state.node(handle) else { continue };
            let own = match &node.work {
                Work::Child(child) => self.child(child)?,
                work => {
                    let chain =
                        self.chain(work).map_err(|fail| Wrong { fail, node: handle, cycle: false })?;
                    let chain = if node.enabled { chain } else { vec![GraphWork::Empty; chain.len()] };
                    self.append(chain)
                }
            };
            for (from, data) in node.dependencies() {
                // Sorted, so what comes first is there.
                if let Some((_, last)) = ends.get(&from) {
                    self.edge(*last, own.0, data);
                }
            }
            ends.insert(handle, own);
        }
        Ok(ends)
    }

    /// Appends a child graph between two empty nodes.
    fn child(&mut self, child: &Graph) -> Result<Ends, Wrong> {
        let state = child.lock();
        let (begin, _) = self.append(vec![GraphWork::Empty]);
        let ends = self.state(&state)?;
        let (end, _) = self.append(vec![GraphWork::Empty]);
        self.edge(begin, end, EdgeData::default());
        for (handle, node) in state.nodes() {
            let Some((first, last)) = ends.get(&handle) else { continue };
            if node.dependencies().next().is_none() {
                self.edge(begin, *first, EdgeData::default());
            }
            if node.dependents().next().is_none() {
                self.edge(*last, end, EdgeData::default());
            }
        }
        Ok((begin, end))
    }

    fn append(&mut self, chain: Vec<GraphWork>) -> Ends {
        let context = self.context.inner.wire_name();
        let first = self.description.nodes.len() as u32;
        for (at, work) in (first..).zip(chain) {
            self.description.nodes.push(GraphNode { context, work });
            if at > first {
                self.edge(at - 1, at, EdgeData::default());
            }
        }
        (first, self.description.nodes.len() as u32 - 1)
    }

    fn edge(&mut self, from: u32, to: u32, data: EdgeData) {
        let is_kernel = |at: u32| {
            let node = self.description.nodes.get(at as usize);
            node.is_some_and(|node| matches!(node.work, GraphWork::Kernel { .. }))
        };
        // A kernel that is off is no kernel; then the edge is a full one.
        let data =
            if data.check(is_kernel(from), is_kernel(to)).is_ok() { data } else { EdgeData::default() };
        let EdgeData { from_port, to_port, kind, .. } = data;
        self.description.edges.push(GraphEdge { from, to, from_port, to_port, kind });
    }

    /// The host's nodes for a node, at least one.
    fn chain(&mut self, work: &Work) -> Call<Vec<GraphWork>> {
        Ok(match work {
            Work::Empty | Work::Child(_) | Work::Alloc(_) | Work::Free(_) => vec![GraphWork::Empty],
            Work::Kernel(kernel) => vec![self.kernel(kernel)?],
            Work::Copy(copy) => self.copy(copy)?,
            Work::Fill(fill) => {
                self.reachable(fill.params.destination)?;
                vec![fill.work()]
            }
            Work::Host(host) => self.serve(Service::Function(*host))?.into(),
            Work::EventRecord(handle) => vec![GraphWork::EventRecord { event: self.event(*handle)? }],
            Work::EventWait(handle) => vec![GraphWork::EventWait { event: self.event(*handle)? }],
            Work::MemOps(ops) if ops.operations.is_empty() => vec![GraphWork::Empty],
            Work::MemOps(ops) => ops.works().collect::<Call<_>>()?,
        })
    }

    fn kernel(&mut self, kernel: &KernelWork) -> Call<GraphWork> {
        let entry = self.driver.functions.get(kernel.function).ok_or(INVALID_HANDLE)?;
        let function = entry.function.wire_name();
        self.functions.entry(function).or_insert_with(|| entry.function.clone());
        Ok(GraphWork::Kernel {
            function,
            grid: kernel.config.grid,
            block: kernel.config.block,
            shared_bytes: kernel.config.shared_bytes,
            cooperative: kernel.config.cooperative,
            attributes: kernel.attribute_records()?,
            params: kernel.arguments.block().to_vec(),
        })
    }

    fn copy(&mut self, copy: &CopyWork) -> Call<Vec<GraphWork>> {
        let (mut from, mut to, extent) = (copy.boxes.from, copy.boxes.to, copy.boxes.extent);
        let mut chain = Vec::new();
        if copy::side(self.driver, from.base)? == Side::Pageable {
            let shadow = Shadow::new(self.context, from, extent)?;
            from = shadow.packed();
            chain.extend(self.serve(Service::Gather(shadow))?);
        }
        let behind = if copy::side(self.driver, to.base)? == Side::Pageable {
            let shadow = Shadow::new(self.context, to, extent)?;
            to = shadow.packed();
            Some(self.serve(Service::Scatter(shadow))?)
        } else {
            None
        };
        let [width_bytes, height, depth] = extent;
        chain.push(GraphWork::Memcpy {
            destination: to.base,
            source: from.base,
            width_bytes,
            height,
            depth,
            destination_pitch: to.pitch,
            source_pitch: from.pitch,
            destination_slice: to.slice,
            source_slice: from.slice,
        });
        chain.extend(behind.into_iter().flatten());
        Ok(chain)
    }

    fn serve(&mut self, service: Service) -> Call<[GraphWork; 3]> {
        let served = Served::new(self.context, service)?;
        let works = served.works();
        self.served.push(served);
        Ok(works)
    }

    fn event(&mut self, handle: u64) -> Call<u64> {
        let entry = self.driver.events.get(handle).ok_or(INVALID_HANDLE)?;
        let name = entry.event.wire_name();
        self.events.entry(name).or_insert_with(|| entry.event.clone());
        Ok(name)
    }

    /// Fails for memory that the device does not reach.
    fn reachable(&self, address: u64) -> Call {
        match copy::side(self.driver, address)? {
            Side::Pageable => Err(INVALID_VALUE),
            Side::Device | Side::Pinned => Ok(()),
        }
    }
}
