//! The calls of capture.

use std::sync::Arc;

use super::mode::Mode;
use super::state::{Begin, Ended, Info, Shown};
use super::{status, thread, with};
use crate::current;
use crate::driver::driver;
use crate::fail::{Call, Fail, INVALID_VALUE, NOT_SUPPORTED};
use crate::graph::calls::edges::dependencies;
use crate::graph::{self, EdgeData, Graph};
use crate::pointers::{In, Out};
use crate::stream::{self, DefaultStream, Resolved};

use DefaultStream::{Legacy, PerThread};

/// `CU_STREAM_CAPTURE_STATUS_NONE`, `ACTIVE` and `INVALIDATED`.
const NONE: u32 = 0;
const ACTIVE: u32 = 1;
const SPOILT: u32 = 2;

/// `CU_STREAM_SET_CAPTURE_DEPENDENCIES`; 0 adds to them.
const SET: u32 = 1;

/// `CUDA_ERROR_LOSSY_QUERY`.
const LOSSY_QUERY: Fail = Fail(vgpu_client::Status(402));

fn begin(stream: u64, mode: u32, default: DefaultStream) -> Call {
    let driver = driver()?;
    let mode = Mode::new(mode)?;
    let target = stream::resolve(driver, stream, default)?;
    let graph = Graph::create(driver);
    let begin = Begin {
        graph: Arc::clone(&graph),
        own_graph: true,
        dependencies: Vec::new(),
        mode,
        thread: thread(),
    };
    let began = with(|captures| captures.begin(target.capture_key(), begin));
    if began.is_err() {
        graph.retire(driver);
    }
    began
}

fn begin_into(
    (stream, default): (u64, DefaultStream),
    graph: u64,
    (nodes, edges, count): (In<u64>, In<EdgeData>, u64),
    mode: u32,
) -> Call {
    let driver = driver()?;
    let mode = Mode::new(mode)?;
    let target = stream::resolve(driver, stream, default)?;
    let graph = graph::find(driver, graph)?;
    // What is captured may be a graph again, so only graphs of the program's own are captured into.
    if graph.level > 0 {
        return Err(NOT_SUPPORTED);
    }
    let dependencies = dependencies(nodes, edges, count)?;
    if dependencies.iter().any(|(node, _)| graph.lock().node(*node).is_none()) {
        return Err(INVALID_VALUE);
    }
    let begin = Begin { graph, own_graph: false, dependencies, mode, thread: thread() };
    with(|captures| captures.begin(target.capture_key(), begin))
}

fn end(stream: u64, out: Out<u64>, default: DefaultStream) -> Call {
    let driver = driver()?;
    let target = stream::resolve(driver, stream, default)?;
    out.required()?;
    let ended = with(|captures| captures.end(target.capture_key(), thread()));
    let Ended { graph, outcome, own_graph } = ended.inspect_err(|_| out.set(0))?;
    out.set(if outcome.is_ok() { graph.handle } else { 0 });
    if outcome.is_err() && own_graph {
        graph.retire(driver);
    }
    outcome
}

/// What is to be told of a stream.
///
/// # Errors
/// `STREAM_CAPTURE_IMPLICIT` for the legacy stream while a blocking stream captures, which stays as it is.
fn info(target: &Resolved) -> Call<Option<Info>> {
    if !super::is_active() {
        return Ok(None);
    }
    let key = target.capture_key();
    with(|captures| {
        if key.legacy && !captures.blocking_in(key.context).is_empty() {
            return Err(status::IMPLICIT);
        }
        Ok(captures.info(key))
    })
}

fn number(info: Option<&Info>) -> u32 {
    info.map_or(NONE, |info| if info.valid { ACTIVE } else { SPOILT })
}

fn is_capturing(stream: u64, out: Out<u32>, default: DefaultStream) -> Call {
    let target = stream::resolve(driver()?, stream, default)?;
    out.required()?.set(number(info(&target)?.as_ref()));
    Ok(())
}

/// Where the figures of a capture go; callers of the older forms ask for less.
#[derive(Clone, Copy, Debug)]
struct Outs {
    id: Out<u64>,
    graph: Option<Out<u64>>,
    nodes: Option<Out<u64>>,
    /// Nothing: a caller that knows no edges, and must not be told of less than there is.
    edges: Option<Out<u64>>,
    count: Option<Out<u64>>,
}

impl Outs {
    fn nothing(self) {
        self.id.set(0);
        for out in [self.graph, self.nodes, self.edges, self.count].into_iter().flatten() {
            out.set(0);
        }
    }
}

fn capture_info(stream: u64, state: Out<u32>, outs: Outs, default: DefaultStream) -> Call {
    let target = stream::resolve(driver()?, stream, default)?;
    state.required()?;
    let info = info(&target)?;
    state.set(number(info.as_ref()));
    let Some(info) = info.filter(|info| info.valid) else {
        // Callers that look all the same find nothing, rather than what their stack held.
        outs.nothing();
        return Ok(());
    };
    let Shown { nodes, edges } = &info.shown;
    let wants_edges = outs.edges.is_some_and(|out| !out.is_null());
    let wants_nodes = outs.nodes.is_some_and(|out| !out.is_null());
    if wants_nodes && !wants_edges && edges.iter().any(|edge| !edge.is_full()) {
        return Err(LOSSY_QUERY);
    }
    outs.id.set(info.id);
    for (out, value) in [
        (outs.graph, info.graph),
        (outs.nodes, nodes.as_ptr() as u64),
        (outs.edges, edges.as_ptr() as u64),
        (outs.count, nodes.len() as u64),
    ] {
        if let Some(out) = out {
            out.set(value);
        }
    }
    Ok(())
}

fn update(
    (stream, default): (u64, DefaultStream),
    (nodes, edges, count): (In<u64>, In<EdgeData>, u64),
    flags: u32,
) -> Call {
    let target = stream::resolve(driver()?, stream, default)?;
    let before = dependencies(nodes, edges, count)?;
    if flags > SET {
        return Err(INVALID_VALUE);
    }
    with(|captures| captures.update(target.capture_key(), &before, flags == SET))
}

fn exchange_mode(mode: Out<u32>) -> Call {
    let new = Mode::new(mode.get()?)?;
    mode.set(current::exchange_capture_mode(new) as u32);
    Ok(())
}

macro_rules! captures {
    ($($default:ident: $begin:ident $begin_v2:ident $begin_into:ident $end:ident $is:ident $info:ident $info_v2:ident
        $info_v3:ident $update:ident $update_v2:ident;)*) => {
        $(driver_calls! {
            fn $begin(stream: u64) { begin(stream, 0, $default) }
            fn $begin_v2(stream: u64, mode: u32) { begin(stream, mode, $default) }
            fn $begin_into(
                stream: u64, graph: u64, nodes: In<u64>, edges: In<EdgeData>, count: u64, mode: u32
            ) {
                begin_into((stream, $default), graph, (nodes, edges, count), mode)
            }
            fn $end(stream: u64, out: Out<u64>) { end(stream, out, $default) }
            fn $is(stream: u64, out: Out<u32>) { is_capturing(stream, out, $default) }
            fn $info(stream: u64, state: Out<u32>, id: Out<u64>) {
                let outs = Outs { id, graph: None, nodes: None, edges: None, count: None };
                capture_info(stream, state, outs, $default)
            }
            fn $info_v2(
                stream: u64, state: Out<u32>, id: Out<u64>, graph: Out<u64>, nodes: Out<u64>, count: Out<u64>
            ) {
                let outs = Outs { id, graph: Some(graph), nodes: Some(nodes), edges: None, count: Some(count) };
                capture_info(stream, state, outs, $default)
            }
            fn $info_v3(
                stream: u64, state: Out<u32>, id: Out<u64>, graph: Out<u64>, nodes: Out<u64>, edges: Out<u64>,
                count: Out<u64>
            ) {
                let (graph, nodes, edges, count) = (Some(graph), Some(nodes), Some(edges), Some(count));
                capture_info(stream, state, Outs { id, graph, nodes, edges, count }, $default)
            }
            fn $update(stream: u64, nodes: In<u64>, count: u64, flags: u32) {
                update((stream, $default), (nodes, In::null(), count), flags)
            }
            fn $update_v2(stream: u64, nodes: In<u64>, edges: In<EdgeData>, count: u64, flags: u32) {
                update((stream, $default), (nodes, edges, count), flags)
            }
        })*
    };
}

captures! {
    Legacy: cuStreamBeginCapture cuStreamBeginCapture_v2 cuStreamBeginCaptureToGraph cuStreamEndCapture
        cuStreamIsCapturing cuStreamGetCaptureInfo cuStreamGetCaptureInfo_v2 cuStreamGetCaptureInfo_v3
        cuStreamUpdateCaptureDependencies cuStreamUpdateCaptureDependencies_v2;
    PerThread: cuStreamBeginCapture_ptsz cuStreamBeginCapture_v2_ptsz cuStreamBeginCaptureToGraph_ptsz
        cuStreamEndCapture_ptsz cuStreamIsCapturing_ptsz cuStreamGetCaptureInfo_ptsz
        cuStreamGetCaptureInfo_v2_ptsz cuStreamGetCaptureInfo_v3_ptsz cuStreamUpdateCaptureDependencies_ptsz
        cuStreamUpdateCaptureDependencies_v2_ptsz;
}

driver_calls! {
    fn cuThreadExchangeStreamCaptureMode(mode: Out<u32>) { exchange_mode(mode) }
}
