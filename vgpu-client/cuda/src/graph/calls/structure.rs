//! Graphs and nodes as such: making, cloning, destroying, listing.

use super::edges::Arrays;
use crate::driver::driver;
use crate::fail::{Call, INVALID_VALUE, NOT_FOUND};
use crate::graph::{self, EdgeData, Graph, Work, capture};
use crate::pointers::Out;

fn create(out: Out<u64>, flags: u32) -> Call {
    let driver = driver()?;
    out.required()?;
    if flags != 0 {
        return Err(INVALID_VALUE);
    }
    out.set(Graph::create(driver).handle);
    Ok(())
}

fn destroy(handle: u64) -> Call {
    let driver = driver()?;
    let graph = graph::find(driver, handle)?;
    // A graph inside another goes with it, one that a capture goes into with that.
    if graph.level > 0 || capture::is_into(&graph) {
        return Err(INVALID_VALUE);
    }
    graph.retire(driver);
    Ok(())
}

fn clone(out: Out<u64>, handle: u64) -> Call {
    let driver = driver()?;
    out.required()?;
    out.set(graph::find(driver, handle)?.duplicate(driver, 0)?.handle);
    Ok(())
}

fn find_in_clone(out: Out<u64>, original: u64, clone: u64) -> Call {
    let driver = driver()?;
    out.required()?;
    let graph = graph::find(driver, clone)?;
    let found = graph.lock().nodes().find(|(_, node)| node.origin == original).map(|(handle, _)| handle);
    out.set(found.filter(|_| original != 0).ok_or(NOT_FOUND)?);
    Ok(())
}

fn nodes(handle: u64, out: Out<u64>, count: Out<u64>, roots_only: bool) -> Call {
    let graph = graph::find(driver()?, handle)?;
    let rows: Vec<_> = {
        let state = graph.lock();
        let chosen = state.nodes().filter(|(_, node)| !roots_only || node.dependencies().next().is_none());
        chosen.map(|(handle, _)| ([handle], EdgeData::default())).collect()
    };
    Arrays { handles: [out], edges: None, count }.write(&rows)
}

fn destroy_node(handle: u64) -> Call {
    let driver = driver()?;
    let graph = graph::owner(driver, handle)?;
    let node = graph.lock().remove(handle).ok_or(INVALID_VALUE)?;
    driver.nodes.remove(handle);
    if let Work::Child(child) = &node.work {
        child.retire(driver);
    }
    Ok(())
}

driver_calls! {
    fn cuGraphCreate(out: Out<u64>, flags: u32) { create(out, flags) }
    fn cuGraphDestroy(graph: u64) { destroy(graph) }
    fn cuGraphClone(out: Out<u64>, graph: u64) { clone(out, graph) }
    fn cuGraphNodeFindInClone(out: Out<u64>, original: u64, clone: u64) {
        find_in_clone(out, original, clone)
    }
    fn cuGraphGetNodes(graph: u64, out: Out<u64>, count: Out<u64>) { nodes(graph, out, count, false) }
    fn cuGraphGetRootNodes(graph: u64, out: Out<u64>, count: Out<u64>) { nodes(graph, out, count, true) }
    fn cuGraphNodeGetType(node: u64, out: Out<u32>) {
        out.required()?.set(graph::look(driver()?, node, |node| Ok(node.work.kind()))?);
        Ok(())
    }
    fn cuGraphDestroyNode(node: u64) { destroy_node(node) }
}
