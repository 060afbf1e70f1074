//! A graph as text for people, in the language DOT (`cuGraphDebugDotPrint`).

use std::fmt::Write;

use crate::driver::{Driver, driver};
use crate::fail::Fail;
use crate::graph::{self, Graph, State, Work};
use crate::pointers::Text;

/// `CUDA_ERROR_OPERATING_SYSTEM`: the file cannot be written.
const OPERATING_SYSTEM: Fail = Fail(vgpu_client::Status(304));

/// What a node does, in a few words.
fn label(driver: &Driver, work: &Work) -> String {
    match work {
        Work::Empty => "empty".into(),
        Work::Kernel(kernel) => {
            let name = driver.functions.get(kernel.function).map(|entry| entry.function.name().to_owned());
            let name = name.unwrap_or_else(|| "(unloaded)".into());
            format!("kernel {name}\\ngrid {:?} block {:?}", kernel.config.grid, kernel.config.block)
        }
        Work::Copy(copy) => {
            let [width, height, depth] = copy.boxes.extent;
            let (to, from) = (copy.boxes.to.base, copy.boxes.from.base);
            format!("memcpy {width} x {height} x {depth}\\n{from:#x} to {to:#x}")
        }
        Work::Fill(fill) => {
            let params = &fill.params;
            format!("memset {} x {}\\n{:#x}", params.width, params.height, params.destination)
        }
        Work::Host(host) => format!("host {:#x}", host.function as usize),
        Work::Child(child) => format!("graph {:#x}", child.handle),
        Work::EventRecord(event) => format!("record event {event:#x}"),
        Work::EventWait(event) => format!("wait for event {event:#x}"),
        Work::Alloc(work) => format!("allocate {} bytes at {:#x}", work.bytes(), work.address()),
        Work::Free(address) => format!("free {address:#x}"),
        Work::MemOps(ops) => format!("{} memory operations", ops.operations.len()),
    }
}

fn print(driver: &Driver, graph: &Graph, out: &mut String) {
    let state = graph.lock();
    let _ = writeln!(out, "subgraph cluster_{:x} {{\nlabel=\"graph {:#x}\"", graph.handle, graph.handle);
    for (handle, node) in state.nodes() {
        let text = label(driver, &node.work).replace('"', "'");
        let _ = writeln!(out, "n{handle:x} [shape=box label=\"{text}\"]");
    }
    print_edges(&state, out);
    let _ = writeln!(out, "}}");
    for (_, node) in state.nodes() {
        if let Work::Child(child) = &node.work {
            print(driver, child, out);
        }
    }
}

fn print_edges(state: &State, out: &mut String) {
    for (from, to, data) in state.edges() {
        let style = if data.is_full() { "" } else { " [style=dashed]" };
        let _ = writeln!(out, "n{from:x} -> n{to:x}{style}");
    }
}

driver_calls! {
    // The flags choose among details, of which all there are are printed.
    fn cuGraphDebugDotPrint(graph: u64, path: Text, flags: u32) {
        let _ = flags;
        let driver = driver()?;
        let graph = graph::find(driver, graph)?;
        let mut text = String::from("digraph {\n");
        print(driver, &graph, &mut text);
        text.push_str("}\n");
        std::fs::write(path.read()?, text).map_err(|_| OPERATING_SYSTEM)
    }
}
