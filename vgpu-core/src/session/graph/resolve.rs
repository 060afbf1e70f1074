//! From a description's names to the objects of a device.

use vgpu_proto::attribute::AttributeError;
use vgpu_proto::graph::{GraphDescription, GraphEdge, GraphWork, UpdateResult};
use vgpu_proto::{ContextId, EventId, FunctionId, LaunchAttribute, ModuleId, Status};

use crate::device::{
    BoxCopy, BoxEnd, EventKey, FunctionKey, GraphPlan, LaunchConfig, NodeWork, RowFill, WaitCondition,
};
use crate::session::dispatcher::Core;

/// What the session keeps of a graph.
#[derive(Debug)]
pub(super) struct Links {
    /// The events of its event nodes, in their order; `true` for a record.
    pub(super) events: Vec<(EventId, bool)>,
    /// The modules of its kernels, sorted, each once.
    pub(super) modules: Vec<ModuleId>,
}

impl Links {
    /// Adds modules.
    pub(super) fn join(&mut self, modules: Vec<ModuleId>) {
        self.modules.extend(modules);
        self.modules.sort_unstable();
        self.modules.dedup();
    }
}

/// What an update must keep: the kind of each node, and the edges.
#[derive(Debug)]
pub(super) struct Shape {
    kinds: Vec<std::mem::Discriminant<GraphWork>>,
    /// Sorted.
    edges: Vec<GraphEdge>,
}

impl Shape {
    pub(super) fn of(description: &GraphDescription) -> Self {
        let mut edges = description.edges.clone();
        edges.sort_unstable();
        let kinds = description.nodes.iter().map(|node| std::mem::discriminant(&node.work)).collect();
        Self { kinds, edges }
    }

    /// Whether a graph of this shape can take the parameters of one of another.
    pub(super) fn takes(&self, other: &Self) -> UpdateResult {
        if self.kinds.len() != other.kinds.len() || self.edges != other.edges {
            UpdateResult::TOPOLOGY_CHANGED
        } else if self.kinds != other.kinds {
            UpdateResult::NODE_TYPE_CHANGED
        } else {
            UpdateResult::SUCCESS
        }
    }
}

impl Core {
    /// Finds what a graph of a context names. A name outside its table is one that is not there: the description is
    /// read on another thread, when its frame has long passed.
    pub(super) fn resolve(
        &self,
        context: ContextId,
        description: GraphDescription,
    ) -> Result<(GraphPlan, Links), Status> {
        let mut links = Links { events: Vec::new(), modules: Vec::new() };
        let mut nodes = Vec::with_capacity(description.nodes.len());
        for node in description.nodes {
            // Graphs over several contexts are not supported; nothing may pretend that they were.
            if node.context != context.raw() {
                return Err(Status::ERROR_NOT_SUPPORTED);
            }
            nodes.push(self.resolve_node(context.index(), node.work, &mut links)?);
        }
        links.join(Vec::new());
        Ok((GraphPlan { nodes, edges: description.edges }, links))
    }

    fn resolve_node(&self, context: u32, work: GraphWork, links: &mut Links) -> Result<NodeWork, Status> {
        Ok(match work {
            GraphWork::Empty => NodeWork::Empty,
            GraphWork::Kernel { function, grid, block, shared_bytes, cooperative, attributes, params } => {
                let (key, params_bytes) = self.resolve_kernel(context, function, links)?;
                if params.len() != params_bytes as usize {
                    return Err(Status::ERROR_INVALID_VALUE);
                }
                NodeWork::Kernel(LaunchConfig {
                    function: key,
                    grid,
                    block,
                    shared_bytes,
                    cooperative,
                    attributes: node_attributes(&attributes)?,
                    params: params.into(),
                })
            }
            GraphWork::Memcpy {
                destination,
                source,
                width_bytes,
                height,
                depth,
                destination_pitch,
                source_pitch,
                destination_slice,
                source_slice,
            } => NodeWork::Copy(BoxCopy {
                destination: BoxEnd {
                    address: destination,
                    pitch: destination_pitch,
                    slice: destination_slice,
                },
                source: BoxEnd { address: source, pitch: source_pitch, slice: source_slice },
                width_bytes,
                height,
                depth,
            }),
            GraphWork::Memset { destination, value, element_bytes, width, height, pitch } => {
                NodeWork::Fill(RowFill { destination, value, element_bytes, width, height, pitch })
            }
            GraphWork::EventRecord { event } => {
                links.events.push((self.resolve_event(context, event)?, true));
                NodeWork::Record
            }
            GraphWork::EventWait { event } => {
                links.events.push((self.resolve_event(context, event)?, false));
                NodeWork::Wait
            }
            GraphWork::WriteValue32 { address, value } => NodeWork::WriteValue { address, value },
            GraphWork::WaitValue32 { address, value, condition } => {
                let condition = WaitCondition::from_number(condition).ok_or(Status::ERROR_INVALID_VALUE)?;
                NodeWork::WaitValue { address, value, condition }
            }
        })
    }

    fn resolve_kernel(
        &self,
        context: u32,
        function: u64,
        links: &mut Links,
    ) -> Result<(FunctionKey, u32), Status> {
        let id = FunctionId::from_raw(function);
        match self.functions.get(id.index(), id.generation()) {
            Ok(Ok(function)) if function.context == context => {
                if links.modules.last() != Some(&function.module) {
                    links.modules.push(function.module);
                }
                Ok((function.key, function.params_bytes))
            }
            _ => Err(Status::ERROR_INVALID_HANDLE),
        }
    }

    fn resolve_event(&self, context: u32, event: u64) -> Result<EventId, Status> {
        let id = EventId::from_raw(event);
        match self.events.get(id.index(), id.generation()) {
            Ok(Ok(event)) if event.context == context => Ok(id),
            Ok(Ok(_)) => Err(Status::ERROR_NOT_SUPPORTED),
            _ => Err(Status::ERROR_INVALID_HANDLE),
        }
    }
}

/// The attributes of a kernel node. Events are recorded by nodes of their own, and edges say what may overlap.
fn node_attributes(bytes: &[u8]) -> Result<Vec<LaunchAttribute<EventKey>>, Status> {
    let attributes = LaunchAttribute::decode_all(bytes).map_err(|error| match error {
        AttributeError::Unknown { .. } => Status::ERROR_NOT_SUPPORTED,
        _ => Status::ERROR_INVALID_VALUE,
    })?;
    if attributes.iter().any(LaunchAttribute::is_programmatic) {
        return Err(Status::ERROR_INVALID_VALUE);
    }
    let named =
        attributes.into_iter().map(|attribute| attribute.try_map_event(|_| Err(Status::ERROR_NOT_SUPPORTED)));
    named
        .filter(|attribute| !matches!(attribute, Ok(LaunchAttribute::ProgrammaticStreamSerialization(_))))
        .collect()
}
