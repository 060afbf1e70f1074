//! Nodes that allocate and free, and what is told of the memory of graphs.

use super::add::{Place, add};
use crate::context::find_or_current;
use crate::driver::{Driver, check_device, driver};
use crate::fail::{Call, INVALID_VALUE, NOT_SUPPORTED};
use crate::graph::memory::{self, AllocWork};
use crate::graph::{self, Graph, Work};
use crate::pointers::{HostPointer, In, Out};

/// `CU_MEM_ALLOCATION_TYPE_PINNED` and `CU_MEM_LOCATION_TYPE_DEVICE`.
const TYPE_PINNED: u32 = 1;
const LOCATION_DEVICE: u32 = 1;

/// Words of `CUmemPoolProps`.
const PROPERTY_WORDS: usize = 22;

/// `CUDA_MEM_ALLOC_NODE_PARAMS`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct AllocParams {
    /// `CUmemPoolProps`: type, handle types, location (type and number), a pointer, a size, flags and padding.
    properties: [u32; PROPERTY_WORDS],
    /// Which devices may use it: the one there is may anyhow.
    access: HostPointer,
    access_count: u64,
    bytes: u64,
    address: u64,
}

impl AllocParams {
    /// The work of an allocation node; the address is written to the structure.
    ///
    /// # Errors
    /// `NOT_SUPPORTED` for memory that is not this device's, or is to be shared.
    pub(crate) fn work(driver: &Driver, into: &Graph, params: Out<Self>) -> Call<Work> {
        let given = params.get()?;
        check_level(into)?;
        let [kind, shared, location, device, ..] = given.properties;
        if kind != TYPE_PINNED || device != 0 {
            return Err(INVALID_VALUE);
        }
        if shared != 0 || location != LOCATION_DEVICE {
            return Err(NOT_SUPPORTED);
        }
        let work = AllocWork::new(driver, &find_or_current(0)?, given.bytes)?;
        params.set(Self { address: work.address(), ..given });
        Ok(Work::Alloc(work))
    }

    fn of(work: &AllocWork) -> Self {
        let mut properties = [0; PROPERTY_WORDS];
        properties[0] = TYPE_PINNED;
        properties[2] = LOCATION_DEVICE;
        Self {
            properties,
            access: HostPointer::unified(0),
            access_count: 0,
            bytes: work.bytes(),
            address: work.address(),
        }
    }
}

/// Checks that a graph is no child: those neither allocate nor free.
fn check_level(graph: &Graph) -> Call {
    if graph.level == 0 { Ok(()) } else { Err(INVALID_VALUE) }
}

/// The work of a node that frees what a node of the same graph has allocated, and nothing has freed.
///
/// # Errors
/// `INVALID_VALUE`.
pub(crate) fn free(driver: &Driver, graph: &Graph, address: u64) -> Call<Work> {
    check_level(graph)?;
    let state = graph.lock();
    let allocates =
        state.nodes().any(|(_, node)| matches!(&node.work, Work::Alloc(work) if work.address() == address));
    let freed = state.nodes().any(|(_, node)| matches!(node.work, Work::Free(other) if other == address));
    if !allocates || freed {
        return Err(INVALID_VALUE);
    }
    // The graph has it still; the program need not, and must not, free it.
    drop(driver.allocations.remove(address, |_| true));
    Ok(Work::Free(address))
}

/// `CU_GRAPH_MEM_ATTR_*`: used now, used at most, reserved now, reserved at most. All that is reserved is used.
const LAST: u32 = 3;

fn get(device: i32, attribute: u32, out: Out<u64>) -> Call {
    check_device(device)?;
    out.required()?;
    let (now, most) = memory::used_bytes();
    match attribute {
        0 | 2 => out.set(now),
        1 | LAST => out.set(most),
        _ => return Err(INVALID_VALUE),
    }
    Ok(())
}

fn set(device: i32, attribute: u32, value: In<u64>) -> Call {
    check_device(device)?;
    // Only the two that say how much it was at most can be set, to zero.
    if !matches!(attribute, 1 | LAST) || value.read()? != 0 {
        return Err(INVALID_VALUE);
    }
    memory::forget_most();
    Ok(())
}

driver_calls! {
    fn cuGraphAddMemAllocNode(
        out: Out<u64>, graph: u64, nodes: In<u64>, count: u64, params: Out<AllocParams>
    ) {
        let place = Place { out, graph, nodes, edges: In::null(), count };
        add(place, |driver, graph| AllocParams::work(driver, graph, params))
    }
    fn cuGraphAddMemFreeNode(out: Out<u64>, graph: u64, nodes: In<u64>, count: u64, address: u64) {
        let place = Place { out, graph, nodes, edges: In::null(), count };
        add(place, |driver, graph| free(driver, graph, address))
    }
    fn cuGraphMemAllocNodeGetParams(node: u64, out: Out<AllocParams>) {
        out.required()?;
        out.set(graph::look(driver()?, node, |node| match &node.work {
            Work::Alloc(work) => Ok(AllocParams::of(work)),
            _ => Err(INVALID_VALUE),
        })?);
        Ok(())
    }
    fn cuGraphMemFreeNodeGetParams(node: u64, out: Out<u64>) {
        out.required()?;
        out.set(graph::look(driver()?, node, |node| match node.work {
            Work::Free(address) => Ok(address),
            _ => Err(INVALID_VALUE),
        })?);
        Ok(())
    }
    // Memory goes with the nodes that have it, so none is kept that could be given back.
    fn cuDeviceGraphMemTrim(device: i32) { check_device(device).map(drop) }
    fn cuDeviceGetGraphMemAttribute(device: i32, attribute: u32, out: Out<u64>) {
        get(device, attribute, out)
    }
    fn cuDeviceSetGraphMemAttribute(device: i32, attribute: u32, value: In<u64>) {
        set(device, attribute, value)
    }
}
