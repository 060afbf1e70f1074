//! Parameters of nodes: reading them, and changing them in graphs and in executable graphs.

use super::add::{HostParams, MemOpParams, copy, event, fill, host, mem_ops, widen};
use crate::driver::{Driver, driver};
use crate::fail::{Call, INVALID_VALUE};
use crate::graph::kernel::{KernelParams, KernelParamsV1};
use crate::graph::transfer::{CopyParams, FillParams};
use crate::graph::{self, Exec, KernelWork, MemOps, Work, service};
use crate::pointers::{HostPointer, In, Out};

/// Changes the work of a node.
pub(crate) fn set(node: u64, work: impl FnOnce(&Driver) -> Call<Work>) -> Call {
    let driver = driver()?;
    let new = work(driver)?;
    graph::change(driver, node, |old| old.replace(new))
}

/// Changes the work of a node in an executable graph.
pub(crate) fn set_in(exec: u64, node: u64, work: impl FnOnce(&Driver) -> Call<Work>) -> Call {
    let driver = driver()?;
    let exec = Exec::find(driver, exec)?;
    let new = work(driver)?;
    exec.change(node, |node| node.work.replace(new))
}

/// Writes what `show` makes of a node's work, which is nothing for another kind of node.
fn get<T>(node: u64, out: Out<T>, show: impl FnOnce(&Work) -> Option<T>) -> Call {
    out.required()?;
    out.set(graph::look(driver()?, node, |node| show(&node.work).ok_or(INVALID_VALUE))?);
    Ok(())
}

/// The structure of a host node.
pub(crate) fn host_params(work: &service::HostWork) -> HostParams {
    HostParams { function: Some(work.function), data: work.data }
}

/// The structure of a node of word operations. The array stays where it is until the node changes.
pub(crate) fn mem_op_params(work: &MemOps) -> MemOpParams {
    MemOpParams {
        context: work.context,
        // They came as so many.
        count: work.operations.len() as u32,
        operations: HostPointer::unified(work.operations.as_ptr() as u64).array(),
        flags: work.flags,
    }
}

/// Handle of a child graph, where the work is one.
fn child(work: &Work) -> Option<u64> {
    if let Work::Child(graph) = work { Some(graph.handle) } else { None }
}

macro_rules! getters {
    ($($name:ident $type:ty: $kind:ident $show:expr;)*) => {
        driver_calls! {
            $(fn $name(node: u64, out: Out<$type>) {
                get(node, out, |work| if let Work::$kind(work) = work { Some(($show)(work)) } else { None })
            })*
        }
    };
}

getters! {
    cuGraphKernelNodeGetParams KernelParamsV1: Kernel |work: &KernelWork| work.to_params_v1();
    cuGraphKernelNodeGetParams_v2 KernelParams: Kernel |work: &KernelWork| work.to_params();
    cuGraphMemcpyNodeGetParams CopyParams: Copy |work: &graph::CopyWork| work.params;
    cuGraphMemsetNodeGetParams FillParams: Fill |work: &graph::FillWork| work.params;
    cuGraphHostNodeGetParams HostParams: Host host_params;
    cuGraphBatchMemOpNodeGetParams MemOpParams: MemOps mem_op_params;
    cuGraphEventRecordNodeGetEvent u64: EventRecord |event: &u64| *event;
    cuGraphEventWaitNodeGetEvent u64: EventWait |event: &u64| *event;
}

driver_calls! {
    fn cuGraphChildGraphNodeGetGraph(node: u64, out: Out<u64>) { get(node, out, child) }
    fn cuGraphExecChildGraphNodeSetParams(exec: u64, node: u64, graph: u64) {
        let driver = driver()?;
        let new = graph::find(driver, graph)?.snapshot();
        Exec::find(driver, exec)?.change_child(node, &new)
    }
    // The context of a copy or fill cannot change, so that of the graph's node stays.
    fn cuGraphMemcpyNodeSetParams(node: u64, params: In<CopyParams>) {
        let context = graph::look(driver()?, node, |node| match &node.work {
            Work::Copy(work) => Ok(work.context),
            _ => Err(INVALID_VALUE),
        })?;
        set(node, |_| copy(params.read()?, context))
    }
    fn cuGraphMemsetNodeSetParams(node: u64, params: In<FillParams>) {
        let context = graph::look(driver()?, node, |node| match &node.work {
            Work::Fill(work) => Ok(work.context),
            _ => Err(INVALID_VALUE),
        })?;
        set(node, |_| fill(params.read()?, context))
    }
    fn cuGraphExecMemcpyNodeSetParams(exec: u64, node: u64, params: In<CopyParams>, context: u64) {
        set_in(exec, node, |_| copy(params.read()?, context))
    }
    fn cuGraphExecMemsetNodeSetParams(exec: u64, node: u64, params: In<FillParams>, context: u64) {
        set_in(exec, node, |_| fill(params.read()?, context))
    }
}

macro_rules! setters {
    ($($name:ident $in_exec:ident $type:ty: $work:expr;)*) => {
        driver_calls! {
            $(
                fn $name(node: u64, params: $type) { set(node, |driver| ($work)(driver, params)) }
                fn $in_exec(exec: u64, node: u64, params: $type) {
                    set_in(exec, node, |driver| ($work)(driver, params))
                }
            )*
        }
    };
}

setters! {
    cuGraphKernelNodeSetParams cuGraphExecKernelNodeSetParams In<KernelParamsV1>:
        |driver: &Driver, params: In<KernelParamsV1>| {
            KernelWork::from_params(driver, widen(params.read()?)).map(Work::Kernel)
        };
    cuGraphKernelNodeSetParams_v2 cuGraphExecKernelNodeSetParams_v2 In<KernelParams>:
        |driver: &Driver, params: In<KernelParams>| {
            KernelWork::from_params(driver, params.read()?).map(Work::Kernel)
        };
    cuGraphHostNodeSetParams cuGraphExecHostNodeSetParams In<HostParams>:
        |_: &Driver, params: In<HostParams>| host(params.read()?);
    cuGraphBatchMemOpNodeSetParams cuGraphExecBatchMemOpNodeSetParams In<MemOpParams>:
        |_: &Driver, params: In<MemOpParams>| mem_ops(params.read()?);
    cuGraphEventRecordNodeSetEvent cuGraphExecEventRecordNodeSetEvent u64:
        |driver: &Driver, handle: u64| Ok(Work::EventRecord(event(driver, handle)?));
    cuGraphEventWaitNodeSetEvent cuGraphExecEventWaitNodeSetEvent u64:
        |driver: &Driver, handle: u64| Ok(Work::EventWait(event(driver, handle)?));
}
