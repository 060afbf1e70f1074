//! Adding nodes.

use super::edges::dependencies;
use crate::context::find_or_current;
use crate::driver::{Driver, driver};
use crate::fail::{Call, INVALID_HANDLE, INVALID_VALUE};
use crate::graph::kernel::{KernelParams, KernelParamsV1};
use crate::graph::memop::Operation;
use crate::graph::service::HostWork;
use crate::graph::transfer::{CopyParams, FillParams};
use crate::graph::{self, CopyWork, EdgeData, FillWork, Graph, KernelWork, MemOps, Work};
use crate::pointers::{In, Out};

/// `CUDA_HOST_NODE_PARAMS`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct HostParams {
    pub(crate) function: Option<extern "C" fn(data: u64)>,
    pub(crate) data: u64,
}

/// `CUDA_BATCH_MEM_OP_NODE_PARAMS`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct MemOpParams {
    pub(crate) context: u64,
    pub(crate) count: u32,
    pub(crate) operations: In<Operation>,
    pub(crate) flags: u32,
}

/// Graph, dependencies and where the node's handle goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) out: Out<u64>,
    pub(crate) graph: u64,
    pub(crate) nodes: In<u64>,
    pub(crate) edges: In<EdgeData>,
    pub(crate) count: u64,
}

/// Adds a node, whose work is made once its place is known to be there.
pub(crate) fn add(place: Place, work: impl FnOnce(&Driver, &Graph) -> Call<Work>) -> Call {
    let driver = driver()?;
    let Place { out, graph, nodes, edges, count } = place;
    out.required()?;
    let graph = graph::find(driver, graph)?;
    let before = dependencies(nodes, edges, count)?;
    out.set(graph.add(driver, work(driver, &graph)?, &before)?);
    Ok(())
}

/// Handle of the context of a node, which must be there; 0 stands for the current one.
pub(crate) fn context(handle: u64) -> Call<u64> {
    Ok(find_or_current(handle)?.handle)
}

/// The work of a host node.
pub(crate) fn host(params: HostParams) -> Call<Work> {
    let function = params.function.ok_or(INVALID_VALUE)?;
    Ok(Work::Host(HostWork { function, data: params.data }))
}

/// The work of a node of word operations.
pub(crate) fn mem_ops(params: MemOpParams) -> Call<Work> {
    let MemOpParams { context: handle, count, operations, flags } = params;
    Ok(Work::MemOps(MemOps::read(context(handle)?, count, operations, flags)?))
}

/// The work of a copy node.
pub(crate) fn copy(params: CopyParams, handle: u64) -> Call<Work> {
    let work = CopyWork::new(context(handle)?, params)?;
    if work.boxes.is_empty() { Err(INVALID_VALUE) } else { Ok(Work::Copy(work)) }
}

/// The work of a fill node.
pub(crate) fn fill(params: FillParams, handle: u64) -> Call<Work> {
    Ok(Work::Fill(FillWork::new(context(handle)?, params)?))
}

/// Handle of an event that is there.
pub(crate) fn event(driver: &Driver, handle: u64) -> Call<u64> {
    driver.events.get(handle).map(|_| handle).ok_or(INVALID_HANDLE)
}

/// The work of a child node: a clone of the graph, which the node owns.
pub(crate) fn child(driver: &Driver, handle: u64, into: &Graph) -> Call<Work> {
    // A graph in itself would have no end.
    if handle == into.handle {
        return Err(INVALID_VALUE);
    }
    Ok(Work::Child(graph::find(driver, handle)?.duplicate(driver, into.level + 1)?))
}

/// `CUDA_KERNEL_NODE_PARAMS` of the first form as one of the second.
pub(crate) fn widen(first: KernelParamsV1) -> KernelParams {
    KernelParams { first, kernel: 0, context: 0 }
}

macro_rules! adds {
    ($($name:ident ($($argument:ident: $type:ty),*) $work:expr;)*) => {
        driver_calls! {
            $(fn $name(out: Out<u64>, graph: u64, nodes: In<u64>, count: u64 $(, $argument: $type)*) {
                add(Place { out, graph, nodes, edges: In::null(), count }, |driver, graph| ($work)(driver, graph $(, $argument)*))
            })*
        }
    };
}

adds! {
    cuGraphAddKernelNode(params: In<KernelParamsV1>) |driver: &Driver, _: &Graph, params: In<KernelParamsV1>| {
        KernelWork::from_params(driver, widen(params.read()?)).map(Work::Kernel)
    };
    cuGraphAddKernelNode_v2(params: In<KernelParams>) |driver: &Driver, _: &Graph, params: In<KernelParams>| {
        KernelWork::from_params(driver, params.read()?).map(Work::Kernel)
    };
    cuGraphAddMemcpyNode(params: In<CopyParams>, handle: u64) |_: &Driver, _: &Graph, params: In<CopyParams>, handle| {
        copy(params.read()?, handle)
    };
    cuGraphAddMemsetNode(params: In<FillParams>, handle: u64) |_: &Driver, _: &Graph, params: In<FillParams>, handle| {
        fill(params.read()?, handle)
    };
    cuGraphAddHostNode(params: In<HostParams>) |_: &Driver, _: &Graph, params: In<HostParams>| host(params.read()?);
    cuGraphAddBatchMemOpNode(params: In<MemOpParams>) |_: &Driver, _: &Graph, params: In<MemOpParams>| mem_ops(params.read()?);
    cuGraphAddEventRecordNode(handle: u64) |driver: &Driver, _: &Graph, handle| Ok(Work::EventRecord(event(driver, handle)?));
    cuGraphAddEventWaitNode(handle: u64) |driver: &Driver, _: &Graph, handle| Ok(Work::EventWait(event(driver, handle)?));
    cuGraphAddChildGraphNode(handle: u64) |driver: &Driver, graph: &Graph, handle| child(driver, handle, graph);
    cuGraphAddEmptyNode() |_: &Driver, _: &Graph| Ok(Work::Empty);
}
