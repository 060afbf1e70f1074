//! Nodes of any kind by one structure (`CUgraphNodeParams`).

use super::add::{self, HostParams, MemOpParams, Place};
use super::memory::AllocParams;
use super::params::{set, set_in};
use crate::driver::{Driver, driver};
use crate::fail::{Call, INVALID_VALUE, NOT_SUPPORTED};
use crate::graph::kernel::KernelParams;
use crate::graph::transfer::{CopyParams, FillParams};
use crate::graph::{self, EdgeData, Graph, KernelWork, Work};
use crate::pointers::{HostPointer, In, Out};

/// Offsets in `CUgraphNodeParams`: the kind, three reserved words, and the structure of that kind.
const KIND: u64 = 0;
const RESERVED: u64 = 4;
const STRUCTURE: u64 = 16;

/// `CUDA_MEMCPY_NODE_PARAMS` and `CUDA_MEMSET_NODE_PARAMS_v2`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct CopyNodeParams {
    flags: [u32; 2],
    context: u64,
    params: CopyParams,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct FillNodeParams {
    params: FillParams,
    context: u64,
}

/// `CU_GRAPH_CHILD_GRAPH_OWNERSHIP_CLONE`; 1 would move the graph into the node.
const OWNERSHIP_CLONE: u32 = 0;

/// Last kind of node of CUDA 13.0, the conditional one.
const KIND_LAST: u32 = 13;

/// The work of a node whose parameters cannot change: child graphs, allocations and frees.
fn new_only(driver: &Driver, structure: HostPointer, kind: u32, into: &Graph) -> Call<Work> {
    match kind {
        10 => AllocParams::work(driver, into, structure.out()),
        11 => super::memory::free(driver, into, structure.array::<u64>().read()?),
        _ => {
            if structure.offset(8).array::<u32>().read()? != OWNERSHIP_CLONE {
                return Err(NOT_SUPPORTED);
            }
            let work = add::child(driver, structure.array::<u64>().read()?, into)?;
            if let Work::Child(child) = &work {
                structure.out::<u64>().set(child.handle);
            }
            Ok(work)
        }
    }
}

/// The work that the structure describes, for a new node of graph `into`; without, for one that takes its parameters.
fn work(driver: &Driver, given: HostPointer, into: Option<&Graph>) -> Call<Work> {
    if given.is_null() || given.offset(RESERVED).array::<[u32; 3]>().read()? != [0; 3] {
        return Err(INVALID_VALUE);
    }
    let structure = given.offset(STRUCTURE);
    let kind = given.offset(KIND).array::<u32>().read()?;
    if let Some(into) = into
        && let 4 | 10 | 11 = kind
    {
        return new_only(driver, structure, kind, into);
    }
    match kind {
        0 => Ok(Work::Kernel(KernelWork::from_params(driver, structure.array::<KernelParams>().read()?)?)),
        1 => {
            let CopyNodeParams { flags, context, params } = structure.array::<CopyNodeParams>().read()?;
            if flags == [0; 2] { add::copy(params, context) } else { Err(INVALID_VALUE) }
        }
        2 => {
            let FillNodeParams { params, context } = structure.array::<FillNodeParams>().read()?;
            add::fill(params, context)
        }
        3 => add::host(structure.array::<HostParams>().read()?),
        5 => Ok(Work::Empty),
        6 => Ok(Work::EventWait(add::event(driver, structure.array::<u64>().read()?)?)),
        7 => Ok(Work::EventRecord(add::event(driver, structure.array::<u64>().read()?)?)),
        12 => add::mem_ops(structure.array::<MemOpParams>().read()?),
        4 | 8..=KIND_LAST => Err(NOT_SUPPORTED),
        _ => Err(INVALID_VALUE),
    }
}

fn set_exec(exec: u64, node: u64, given: HostPointer) -> Call {
    let driver = driver()?;
    if !given.is_null() && given.offset(KIND).array::<u32>().read()? == 4 {
        let new = graph::find(driver, given.offset(STRUCTURE).array::<u64>().read()?)?.snapshot();
        return graph::Exec::find(driver, exec)?.change_child(node, &new);
    }
    set_in(exec, node, |driver| work(driver, given, None))
}

driver_calls! {
    fn cuGraphAddNode(out: Out<u64>, graph: u64, nodes: In<u64>, count: u64, params: HostPointer) {
        let place = Place { out, graph, nodes, edges: In::null(), count };
        add::add(place, |driver, graph| work(driver, params, Some(graph)))
    }
    fn cuGraphAddNode_v2(
        out: Out<u64>, graph: u64, nodes: In<u64>, edges: In<EdgeData>, count: u64, params: HostPointer
    ) {
        let place = Place { out, graph, nodes, edges, count };
        add::add(place, |driver, graph| work(driver, params, Some(graph)))
    }
    fn cuGraphNodeSetParams(node: u64, params: HostPointer) { set(node, |driver| work(driver, params, None)) }
    fn cuGraphExecNodeSetParams(exec: u64, node: u64, params: HostPointer) { set_exec(exec, node, params) }
}
