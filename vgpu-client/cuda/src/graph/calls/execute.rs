//! Executable graphs: instantiating, launching, updating.

use std::sync::Arc;

use crate::driver::driver;
use crate::fail::{Call, Fail, INVALID_VALUE, NOT_SUPPORTED};
use crate::graph::{self, Exec, UPLOAD, Work, capture};
use crate::pointers::{HostPointer, Out};
use crate::stream::{self, DefaultStream};

use DefaultStream::{Legacy, PerThread};

/// `CUDA_GRAPH_INSTANTIATE_FLAG_DEVICE_LAUNCH`, and all flags there are.
const DEVICE_LAUNCH: u64 = 4;
const FLAGS_KNOWN: u64 = 15;

/// `CUDA_GRAPH_INSTANTIATE_SUCCESS`, `ERROR` and `INVALID_STRUCTURE`.
const INSTANTIATED: u32 = 0;
const ERROR: u32 = 1;
const INVALID_STRUCTURE: u32 = 2;

/// `CUDA_GRAPH_INSTANTIATE_PARAMS`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct InstantiateParams {
    flags: u64,
    upload_stream: u64,
    error_node: u64,
    result: u32,
}

/// `CUgraphExecUpdateResultInfo`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct UpdateInfo {
    result: u32,
    error_node: u64,
    error_from_node: u64,
}

/// Why a graph is not instantiated: the error, its `CUgraphInstantiateResult`, and the node at fault.
type Refusal = (Fail, u32, u64);

fn instantiate(out: Out<u64>, handle: u64, flags: u64) -> Result<Arc<Exec>, Refusal> {
    let plain = |fail| (fail, ERROR, 0);
    let driver = driver().map_err(plain)?;
    out.required().map_err(plain)?;
    if flags & !FLAGS_KNOWN != 0 {
        return Err(plain(INVALID_VALUE));
    }
    if flags & DEVICE_LAUNCH != 0 {
        return Err(plain(NOT_SUPPORTED));
    }
    let graph = graph::find(driver, handle).map_err(plain)?;
    // A graph is not whole while it is captured into.
    if capture::is_into(&graph) {
        return Err(plain(INVALID_VALUE));
    }
    let exec = Exec::new(driver, &graph, flags).map_err(|wrong| {
        let result = if wrong.cycle { INVALID_STRUCTURE } else { ERROR };
        (wrong.fail, result, wrong.node)
    })?;
    let (exec, name) = (Arc::new(exec), driver.execs.mint());
    driver.execs.insert(name, Arc::clone(&exec));
    out.set(name);
    Ok(exec)
}

/// The flags without the one that only the form with parameters takes.
fn with_flags(out: Out<u64>, graph: u64, flags: u64) -> Call {
    if flags & UPLOAD != 0 {
        return Err(INVALID_VALUE);
    }
    instantiate(out, graph, flags).map(drop).map_err(|(fail, ..)| fail)
}

/// The older forms, which name the node at fault and have room for a text.
fn with_log(out: Out<u64>, graph: u64, node: Out<u64>, log: HostPointer, room: u64) -> Call {
    if !log.is_null() && room > 0 {
        log.out::<u8>().set(0);
    }
    instantiate(out, graph, 0).map(drop).map_err(|(fail, _, at_fault)| {
        node.set(at_fault);
        fail
    })
}

fn with_params(out: Out<u64>, graph: u64, params: Out<InstantiateParams>, default: DefaultStream) -> Call {
    let given = params.get()?;
    let outcome = instantiate(out, graph, given.flags);
    let (result, error_node) = match &outcome {
        Ok(_) => (INSTANTIATED, 0),
        Err((_, result, node)) => (*result, *node),
    };
    params.set(InstantiateParams { result, error_node, ..given });
    let exec = outcome.map_err(|(fail, ..)| fail)?;
    if given.flags & UPLOAD != 0 {
        let driver = driver()?;
        exec.upload(driver, &stream::resolve(driver, given.upload_stream, default)?)?;
    }
    Ok(())
}

fn launch(handle: u64, stream: u64, default: DefaultStream) -> Call {
    let driver = driver()?;
    let exec = Exec::find(driver, handle)?;
    let target = stream::resolve(driver, stream, default)?;
    if capture::record(driver, &target, || exec.duplicate(driver).map(Work::Child))? {
        return Ok(());
    }
    exec.launch(driver, &target)
}

fn upload(handle: u64, stream: u64, default: DefaultStream) -> Call {
    let driver = driver()?;
    let exec = Exec::find(driver, handle)?;
    let target = stream::resolve(driver, stream, default)?;
    capture::refuse(&target)?;
    exec.upload(driver, &target)
}

fn update(handle: u64, graph: u64) -> Result<(), (Fail, UpdateInfo)> {
    let failed = |fail| (fail, UpdateInfo { result: ERROR, error_node: 0, error_from_node: 0 });
    let driver = driver().map_err(failed)?;
    let exec = Exec::find(driver, handle).map_err(failed)?;
    let graph = graph::find(driver, graph).map_err(failed)?;
    exec.update(driver, &graph).map_err(|(fail, misfit)| {
        (fail, UpdateInfo { result: misfit.result.0, error_node: misfit.node, error_from_node: 0 })
    })
}

/// Success, as `CUgraphExecUpdateResultInfo` says it.
const UPDATED: UpdateInfo = UpdateInfo { result: 0, error_node: 0, error_from_node: 0 };

fn set_enabled(exec: u64, node: u64, enabled: u32) -> Call {
    let exec = Exec::find(driver()?, exec)?;
    if enabled > 1 {
        return Err(INVALID_VALUE);
    }
    exec.change(node, |node| match node.work {
        Work::Kernel(_) | Work::Copy(_) | Work::Fill(_) => {
            node.enabled = enabled != 0;
            Ok(())
        }
        // Other nodes cannot be switched, as natively.
        _ => Err(INVALID_VALUE),
    })
}

driver_calls! {
    fn cuGraphInstantiate(out: Out<u64>, graph: u64, node: Out<u64>, log: HostPointer, room: u64) {
        with_log(out, graph, node, log, room)
    }
    fn cuGraphInstantiate_v2(out: Out<u64>, graph: u64, node: Out<u64>, log: HostPointer, room: u64) {
        with_log(out, graph, node, log, room)
    }
    fn cuGraphInstantiateWithFlags(out: Out<u64>, graph: u64, flags: u64) { with_flags(out, graph, flags) }
    fn cuGraphInstantiateWithParams(out: Out<u64>, graph: u64, params: Out<InstantiateParams>) {
        with_params(out, graph, params, Legacy)
    }
    fn cuGraphInstantiateWithParams_ptsz(out: Out<u64>, graph: u64, params: Out<InstantiateParams>) {
        with_params(out, graph, params, PerThread)
    }
    fn cuGraphExecGetFlags(exec: u64, out: Out<u64>) {
        out.required()?.set(Exec::find(driver()?, exec)?.flags);
        Ok(())
    }
    fn cuGraphExecDestroy(exec: u64) {
        driver()?.execs.remove(exec).map(drop).ok_or(INVALID_VALUE)
    }
    fn cuGraphLaunch(exec: u64, stream: u64) { launch(exec, stream, Legacy) }
    fn cuGraphLaunch_ptsz(exec: u64, stream: u64) { launch(exec, stream, PerThread) }
    fn cuGraphUpload(exec: u64, stream: u64) { upload(exec, stream, Legacy) }
    fn cuGraphUpload_ptsz(exec: u64, stream: u64) { upload(exec, stream, PerThread) }
    fn cuGraphExecUpdate(exec: u64, graph: u64, node: Out<u64>, result: Out<u32>) {
        let outcome = update(exec, graph);
        let info = outcome.map_or_else(|(_, info)| info, |()| UPDATED);
        node.set(info.error_node);
        result.set(info.result);
        outcome.map_err(|(fail, _)| fail)
    }
    fn cuGraphExecUpdate_v2(exec: u64, graph: u64, info: Out<UpdateInfo>) {
        let outcome = update(exec, graph);
        info.set(outcome.map_or_else(|(_, info)| info, |()| UPDATED));
        outcome.map_err(|(fail, _)| fail)
    }
    fn cuGraphNodeSetEnabled(exec: u64, node: u64, enabled: u32) { set_enabled(exec, node, enabled) }
    fn cuGraphNodeGetEnabled(exec: u64, node: u64, out: Out<u32>) {
        out.required()?.set(u32::from(Exec::find(driver()?, exec)?.is_enabled(node)?));
        Ok(())
    }
}
