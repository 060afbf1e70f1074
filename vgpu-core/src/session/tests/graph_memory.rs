//! The device memory of graphs is the tenant's.

use std::sync::Arc;

use vgpu_proto::graph::{GraphWork, UpdateResult};
use vgpu_proto::{GraphId, Status, body};

use super::graphs::{GRAPH, MODULE, function, graph, instantiate, instantiate_as, kernel, launched, update};
use super::guest::{CONTEXT, Guest};
use super::mock::MockDevice;
use super::session_with;
use crate::device::DeviceError;

const NODE: u64 = 1 << 10;
const SECOND: GraphId = GraphId::new(1, 1);

fn guest(credit_bytes: u64) -> (Arc<MockDevice>, Guest) {
    let device = Arc::new(MockDevice::default());
    device.set_node_bytes(NODE);
    let guest = session_with(&device, credit_bytes).with_context();
    (device, guest)
}

fn used(guest: &Guest) -> u64 {
    guest.session.counts().memory_bytes
}

fn destroy(guest: &mut Guest, id: GraphId) -> Status {
    guest.call(0, &body::GraphDestroy { graph: id.raw().into() }, &[]).0
}

#[test]
fn graphs_are_paid_for_until_they_are_destroyed() {
    let (device, mut guest) = guest(10 * NODE);
    let nodes = |count| graph(vec![GraphWork::Empty; count]);
    assert_eq!(instantiate_as(&mut guest, GRAPH, &nodes(6)), Status::SUCCESS);
    assert_eq!(used(&guest), 6 * NODE);
    assert_eq!(instantiate_as(&mut guest, SECOND, &nodes(5)), Status::ERROR_OUT_OF_MEMORY);
    assert_eq!((used(&guest), device.graphs()), (6 * NODE, vec![6]), "the device never heard of it");
    assert_eq!(instantiate_as(&mut guest, SECOND, &nodes(4)), Status::SUCCESS);
    assert_eq!(update(&mut guest, &nodes(6)), (Status::SUCCESS, UpdateResult::SUCCESS), "it takes no more");
    assert_eq!(used(&guest), 10 * NODE);
    assert_eq!((destroy(&mut guest, GRAPH), used(&guest)), (Status::SUCCESS, 4 * NODE));
    assert_eq!(instantiate_as(&mut guest, GRAPH, &nodes(6)), Status::SUCCESS);
}

#[test]
fn a_graph_that_the_device_refuses_costs_nothing() {
    let (_, mut guest) = guest(10 * NODE);
    let bytes = super::graphs::place(&guest, &graph(vec![GraphWork::Empty]));
    let body = body::GraphInstantiate {
        flags: vgpu_proto::graph::GRAPH_DEVICE_LAUNCH.into(),
        ..super::graphs::instantiation(GRAPH, bytes)
    };
    assert_eq!(guest.call(0, &body, &[]).0, Status::ERROR_NOT_SUPPORTED);
    assert_eq!(used(&guest), 0);
}

#[test]
fn what_a_graph_takes_goes_with_its_module_and_its_context() {
    let (_, mut guest) = guest(u64::MAX);
    function(&mut guest);
    let before = used(&guest);
    assert_eq!(instantiate(&mut guest, vec![kernel(8)]), Status::SUCCESS);
    assert_eq!(instantiate_as(&mut guest, SECOND, &graph(vec![GraphWork::Empty; 2])), Status::SUCCESS);
    assert_eq!(used(&guest), before + 3 * NODE);
    assert_eq!(guest.call(0, &body::ModuleUnload { module: MODULE.raw().into() }, &[]).0, Status::SUCCESS);
    assert_eq!(launched(&mut guest), Status::ERROR_INVALID_HANDLE);
    assert_eq!(used(&guest), 2 * NODE);
    assert_eq!((destroy(&mut guest, GRAPH), used(&guest)), (Status::SUCCESS, 2 * NODE), "it was given back");
    let context = body::CtxDestroy { context: CONTEXT.raw().into() };
    assert_eq!((guest.call(0, &context, &[]).0, used(&guest)), (Status::SUCCESS, 0));
}

/// A card takes nothing back after a fault.
#[test]
fn graphs_of_a_device_that_faulted_stay_paid_for() {
    let (device, mut guest) = guest(u64::MAX);
    device.set_brittle();
    assert_eq!(instantiate(&mut guest, vec![GraphWork::Empty]), Status::SUCCESS);
    device.events().fault(&DeviceError::new(Status::ERROR_ILLEGAL_ADDRESS, "wild"));
    let _ = destroy(&mut guest, GRAPH);
    assert_eq!(used(&guest), NODE);
}
