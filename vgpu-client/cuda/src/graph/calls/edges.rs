//! Edges: reading, adding and removing them.

use crate::driver::driver;
use crate::fail::{Call, Fail, INVALID_VALUE};
use crate::graph::{self, Dependency, Edge, EdgeData};
use crate::pointers::{In, Out};

use vgpu_client::Status;
use vgpu_proto::limits::GRAPH_EDGES_MAX;

/// `CUDA_ERROR_LOSSY_QUERY`: there are edges that a caller of the older forms would not be told of.
const LOSSY_QUERY: Fail = Fail(Status(402));

fn length(count: u64) -> Call<usize> {
    if count <= GRAPH_EDGES_MAX.into() { Ok(count as usize) } else { Err(INVALID_VALUE) }
}

fn data(edges: In<EdgeData>, at: usize) -> Call<EdgeData> {
    if edges.is_null() { Ok(EdgeData::default()) } else { edges.at(at) }
}

/// Dependencies as a caller gives them. No edge data stands for full dependencies.
///
/// # Errors
/// `INVALID_VALUE` for an array that is missing or too long.
pub(crate) fn dependencies(nodes: In<u64>, edges: In<EdgeData>, count: u64) -> Call<Vec<Dependency>> {
    (0..length(count)?).map(|at| Ok((nodes.at(at)?, data(edges, at)?))).collect()
}

fn pairs(from: In<u64>, to: In<u64>, edges: In<EdgeData>, count: u64) -> Call<Vec<Edge>> {
    (0..length(count)?).map(|at| Ok((from.at(at)?, to.at(at)?, data(edges, at)?))).collect()
}

/// Arrays for a caller, and their length: without an array the number there is, otherwise what was written, and zeros
/// where there is room for more.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrays<const N: usize> {
    pub(crate) handles: [Out<u64>; N],
    /// Nothing: a caller that knows no edge data.
    pub(crate) edges: Option<Out<EdgeData>>,
    pub(crate) count: Out<u64>,
}

impl<const N: usize> Arrays<N> {
    /// # Errors
    /// `INVALID_VALUE` without a place for the length; `LOSSY_QUERY`.
    pub(crate) fn write(self, rows: &[([u64; N], EdgeData)]) -> Call {
        self.count.required()?;
        let edges = self.edges.filter(|edges| !edges.is_null());
        let wanted = self.handles.iter().any(|out| !out.is_null());
        if wanted && edges.is_none() && rows.iter().any(|(_, data)| !data.is_full()) {
            return Err(LOSSY_QUERY);
        }
        if !wanted && edges.is_none() {
            self.count.set(rows.len() as u64);
            return Ok(());
        }
        let room = self.count.get()?;
        let written = rows.len().min(usize::try_from(room).unwrap_or(usize::MAX));
        for (at, (handles, data)) in rows[..written].iter().enumerate() {
            for (out, handle) in self.handles.iter().zip(handles) {
                if !out.is_null() {
                    out.at(at).set(*handle);
                }
            }
            if let Some(edges) = edges {
                edges.at(at).set(*data);
            }
        }
        // A caller whose array is longer than it says would be written beyond it, so only up to what it says.
        for at in written..length(room).unwrap_or(written) {
            for out in self.handles.iter().filter(|out| !out.is_null()) {
                out.at(at).set(0);
            }
        }
        self.count.set(written as u64);
        Ok(())
    }
}

fn edges(graph: u64, from: Out<u64>, to: Out<u64>, edges: Option<Out<EdgeData>>, count: Out<u64>) -> Call {
    let graph = graph::find(driver()?, graph)?;
    // One of the two alone makes no edge.
    if from.is_null() != to.is_null() {
        return Err(INVALID_VALUE);
    }
    let rows: Vec<_> = graph.lock().edges().map(|(from, to, data)| ([from, to], data)).collect();
    Arrays { handles: [from, to], edges, count }.write(&rows)
}

fn before(node: u64, out: Out<u64>, edges: Option<Out<EdgeData>>, count: Out<u64>) -> Call {
    let rows = graph::look(driver()?, node, |node| {
        Ok(node.dependencies().map(|(from, data)| ([from], data)).collect::<Vec<_>>())
    })?;
    Arrays { handles: [out], edges, count }.write(&rows)
}

fn behind(node: u64, out: Out<u64>, edges: Option<Out<EdgeData>>, count: Out<u64>) -> Call {
    let graph = graph::owner(driver()?, node)?;
    let rows: Vec<_> = {
        let state = graph.lock();
        let dependents = state.node(node).ok_or(INVALID_VALUE)?.dependents();
        let data = |to| {
            let edge = state.node(to)?.dependencies().find(|(from, _)| *from == node)?;
            Some(([to], edge.1))
        };
        dependents.filter_map(data).collect()
    };
    Arrays { handles: [out], edges, count }.write(&rows)
}

fn connect(graph: u64, edges: &[Edge]) -> Call {
    graph::find(driver()?, graph)?.lock().connect(edges)
}

fn disconnect(graph: u64, edges: &[Edge]) -> Call {
    graph::find(driver()?, graph)?.lock().disconnect(edges)
}

driver_calls! {
    fn cuGraphGetEdges(graph: u64, from: Out<u64>, to: Out<u64>, count: Out<u64>) {
        edges(graph, from, to, None, count)
    }
    fn cuGraphGetEdges_v2(graph: u64, from: Out<u64>, to: Out<u64>, data: Out<EdgeData>, count: Out<u64>) {
        edges(graph, from, to, Some(data), count)
    }
    fn cuGraphNodeGetDependencies(node: u64, out: Out<u64>, count: Out<u64>) { before(node, out, None, count) }
    fn cuGraphNodeGetDependencies_v2(node: u64, out: Out<u64>, data: Out<EdgeData>, count: Out<u64>) {
        before(node, out, Some(data), count)
    }
    fn cuGraphNodeGetDependentNodes(node: u64, out: Out<u64>, count: Out<u64>) {
        behind(node, out, None, count)
    }
    fn cuGraphNodeGetDependentNodes_v2(node: u64, out: Out<u64>, data: Out<EdgeData>, count: Out<u64>) {
        behind(node, out, Some(data), count)
    }
    fn cuGraphAddDependencies(graph: u64, from: In<u64>, to: In<u64>, count: u64) {
        connect(graph, &pairs(from, to, In::null(), count)?)
    }
    fn cuGraphAddDependencies_v2(graph: u64, from: In<u64>, to: In<u64>, data: In<EdgeData>, count: u64) {
        connect(graph, &pairs(from, to, data, count)?)
    }
    fn cuGraphRemoveDependencies(graph: u64, from: In<u64>, to: In<u64>, count: u64) {
        disconnect(graph, &pairs(from, to, In::null(), count)?)
    }
    fn cuGraphRemoveDependencies_v2(graph: u64, from: In<u64>, to: In<u64>, data: In<EdgeData>, count: u64) {
        disconnect(graph, &pairs(from, to, data, count)?)
    }
}
