//! Graphs of a session: hostile descriptions, stale names, bounds.

use std::sync::Arc;

use vgpu_proto::graph::{GraphDescription, GraphEdge, GraphNode, GraphWork, UpdateResult};
use vgpu_proto::limits::{GRAPH_BYTES_MAX, GRAPH_NODES_MAX, GRAPHS_MAX, SESSION_GRAPH_NODES_MAX};
use vgpu_proto::{
    ContextId, EventId, FunctionId, GraphId, LaunchAttribute, ModuleId, RegionId, Status, StreamId,
    Violation, body,
};

use super::guest::{CONTEXT, Guest, LEGACY};
use super::mock::MockDevice;
use super::session;
use crate::device::DeviceError;

pub(super) const GRAPH: GraphId = GraphId::new(0, 1);
pub(super) const EVENT: EventId = EventId::new(0, 1);
const FUNCTION: FunctionId = FunctionId::new(0, 1);
pub(super) const MODULE: ModuleId = ModuleId::new(0, 1);

pub(super) fn guest() -> (Arc<MockDevice>, Guest) {
    let device = Arc::new(MockDevice::default());
    let guest = session(&device).with_context();
    (device, guest)
}

pub(super) fn graph(works: Vec<GraphWork>) -> GraphDescription {
    let nodes: Vec<_> = works.into_iter().map(|work| GraphNode { context: CONTEXT.raw(), work }).collect();
    let edges = (1..nodes.len() as u32).map(|to| GraphEdge::plain(to - 1, to)).collect();
    GraphDescription { nodes, edges }
}

pub(super) fn kernel(params: usize) -> GraphWork {
    GraphWork::Kernel {
        function: FUNCTION.raw(),
        grid: [1; 3],
        block: [1; 3],
        shared_bytes: 0,
        cooperative: false,
        attributes: vec![],
        params: vec![0; params],
    }
}

pub(super) fn record() -> GraphWork {
    GraphWork::EventRecord { event: EVENT.raw() }
}

pub(super) fn wait() -> GraphWork {
    GraphWork::EventWait { event: EVENT.raw() }
}

pub(super) fn instantiation(graph: GraphId, bytes: u64) -> body::GraphInstantiate {
    body::GraphInstantiate {
        context: CONTEXT.raw().into(),
        graph: graph.raw().into(),
        bytes: bytes.into(),
        region: RegionId::STAGING.0.into(),
        ..Default::default()
    }
}

pub(super) fn place(guest: &Guest, description: &GraphDescription) -> u64 {
    let bytes = description.encode().unwrap();
    guest.session.staging.write(0, &bytes).unwrap();
    bytes.len() as u64
}

pub(super) fn instantiate_as(guest: &mut Guest, id: GraphId, description: &GraphDescription) -> Status {
    let bytes = place(guest, description);
    guest.call(0, &instantiation(id, bytes), &[]).0
}

pub(super) fn instantiate(guest: &mut Guest, works: Vec<GraphWork>) -> Status {
    instantiate_as(guest, GRAPH, &graph(works))
}

pub(super) fn update(guest: &mut Guest, description: &GraphDescription) -> (Status, UpdateResult) {
    let body = body::GraphUpdate {
        graph: GRAPH.raw().into(),
        bytes: place(guest, description).into(),
        region: RegionId::STAGING.0.into(),
        ..Default::default()
    };
    let (status, result) = guest.call(0, &body, &[]);
    (status, UpdateResult::from_number(result))
}

pub(super) fn launch(guest: &mut Guest, stream: StreamId) {
    guest.send(stream.raw(), None, &body::GraphLaunch { graph: GRAPH.raw().into() }, &[]);
}

/// Launches and tells how that went.
pub(super) fn launched(guest: &mut Guest) -> Status {
    let reply = guest.reply(9);
    guest.send(LEGACY.raw(), Some(reply), &body::GraphLaunch { graph: GRAPH.raw().into() }, &[]);
    assert_eq!(guest.run(), None);
    guest.answer(reply).expect("an answer").0
}

pub(super) fn event(guest: &mut Guest, id: EventId) {
    let body =
        body::EventCreate { context: CONTEXT.raw().into(), event: id.raw().into(), ..Default::default() };
    guest.send(0, None, &body, &[]);
    assert_eq!(guest.run(), None);
}

pub(super) fn function(guest: &mut Guest) {
    function_of(guest, MODULE, FUNCTION);
}

fn function_of(guest: &mut Guest, module: ModuleId, function: FunctionId) {
    let load = body::ModuleLoad {
        context: CONTEXT.raw().into(),
        module: module.raw().into(),
        image_bytes: 4.into(),
        image_region: 1.into(),
        reply_offset: 4096.into(),
        reply_bytes: 1024.into(),
        ..Default::default()
    };
    assert_eq!(guest.call(0, &load, &[]).0, Status::SUCCESS);
    let find = body::ModuleGetFunction {
        module: module.raw().into(),
        function: function.raw().into(),
        reply_bytes: 1024.into(),
        ..Default::default()
    };
    assert_eq!(guest.call(0, &find, b"kernel").0, Status::SUCCESS);
}

#[track_caller]
fn goes_on(guest: &mut Guest) {
    assert_eq!(guest.call(0, &body::Ping {}, &[]).0, Status::SUCCESS, "the session goes on");
}

#[track_caller]
fn ends(mut guest: Guest, violation: Violation) {
    assert_eq!(guest.run().expect("the session ends").closing.reason, violation.to_string());
}

#[test]
fn a_graph_lives_from_its_instantiation_to_its_destruction() {
    let (device, mut guest) = guest();
    function(&mut guest);
    assert_eq!(instantiate(&mut guest, vec![kernel(8), GraphWork::Empty, kernel(8)]), Status::SUCCESS);
    assert_eq!(device.graphs(), [3]);
    guest.send(LEGACY.raw(), None, &body::GraphUpload { graph: GRAPH.raw().into() }, &[]);
    assert_eq!(launched(&mut guest), Status::SUCCESS);
    assert_eq!(device.take(), [(0, "upload".to_owned()), (0, "graph []".to_owned())]);
    let destroy = body::GraphDestroy { graph: GRAPH.raw().into() };
    assert_eq!(guest.call(0, &destroy, &[]).0, Status::SUCCESS);
    assert_eq!(device.graphs(), [] as [usize; 0]);
    assert_eq!(guest.call(0, &destroy, &[]).0, Status::ERROR_INVALID_HANDLE);
    assert_eq!(launched(&mut guest), Status::ERROR_INVALID_HANDLE);
    guest.send(LEGACY.raw(), None, &body::GraphUpload { graph: GRAPH.raw().into() }, &[]);
    assert_eq!(guest.run(), None);
    assert_eq!(guest.deferred(), Status::ERROR_INVALID_HANDLE);
    let again = GraphId::new(0, 2);
    assert_eq!(instantiate_as(&mut guest, again, &graph(vec![])), Status::SUCCESS, "the slot serves again");
}

#[test]
fn descriptions_that_are_none_answer_invalid_value() {
    let (device, mut guest) = guest();
    guest.session.staging.write(0, &[0xff; 64]).unwrap();
    assert_eq!(guest.call(0, &instantiation(GRAPH, 64), &[]).0, Status::ERROR_INVALID_VALUE);
    assert_eq!(guest.call(0, &instantiation(GRAPH, 0), &[]).0, Status::ERROR_INVALID_VALUE);
    let bytes = place(&guest, &graph(vec![GraphWork::Empty; 3]));
    for wrong in [bytes - 1, bytes + 1] {
        assert_eq!(guest.call(0, &instantiation(GRAPH, wrong), &[]).0, Status::ERROR_INVALID_VALUE);
    }
    // A rule that only the check knows: 251 nodes further on there is none.
    let sound = graph(vec![GraphWork::Empty; 2]).encode().unwrap();
    let at = sound.len() - 5 + 1;
    guest.session.staging.write(0, &sound).unwrap();
    guest.session.staging.write(at as u64, &[250]).unwrap();
    assert_eq!(guest.call(0, &instantiation(GRAPH, sound.len() as u64), &[]).0, Status::ERROR_INVALID_VALUE);
    for flags in [2, 16, u32::MAX] {
        let body = body::GraphInstantiate { flags: flags.into(), ..instantiation(GRAPH, bytes) };
        assert_eq!(guest.call(0, &body, &[]).0, Status::ERROR_INVALID_VALUE);
    }
    place(&guest, &graph(vec![GraphWork::Empty; 3]));
    let body = body::GraphInstantiate { flags: 4.into(), ..instantiation(GRAPH, bytes) };
    assert_eq!(guest.call(0, &body, &[]).0, Status::ERROR_NOT_SUPPORTED);
    assert_eq!(device.graphs(), [] as [usize; 0]);
    let body = body::GraphInstantiate { flags: (1 | 8).into(), ..instantiation(GRAPH, bytes) };
    assert_eq!(guest.call(0, &body, &[]).0, Status::SUCCESS, "the name stayed free");
    goes_on(&mut guest);
}

#[test]
fn too_large_descriptions_are_refused_unread() {
    let (_, mut guest) = guest();
    let (region, _) = guest.session.region_add(GRAPH_BYTES_MAX + 4096).unwrap();
    let body = |bytes| body::GraphInstantiate { region: region.id.into(), ..instantiation(GRAPH, bytes) };
    assert_eq!(guest.call(0, &body(GRAPH_BYTES_MAX + 1), &[]).0, Status::ERROR_INVALID_VALUE);
    let update = body::GraphUpdate {
        graph: GRAPH.raw().into(),
        bytes: (GRAPH_BYTES_MAX + 1).into(),
        region: region.id.into(),
        ..Default::default()
    };
    assert_eq!(guest.call(0, &update, &[]).0, Status::ERROR_INVALID_HANDLE);
    goes_on(&mut guest);
}

#[test]
fn breaches_end_the_session() {
    let with = |change: &dyn Fn(&mut body::GraphInstantiate)| {
        let (_, mut guest) = guest();
        let bytes = place(&guest, &graph(vec![]));
        let mut body = instantiation(GRAPH, bytes);
        change(&mut body);
        let reply = guest.reply(1);
        guest.send(0, Some(reply), &body, &[]);
        guest
    };
    ends(with(&|body| body.region = 77.into()), Violation::UnknownRegion);
    ends(with(&|body| body.offset = u64::MAX.into()), Violation::RegionBounds);
    ends(with(&|body| body.bytes = (1 << 40).into()), Violation::RegionBounds);
    ends(with(&|body| body.graph = GraphId::new(GRAPHS_MAX, 1).raw().into()), Violation::HandleIndex);
    ends(with(&|body| body.graph = GraphId::new(0, 0).raw().into()), Violation::HandleIndex);
    ends(with(&|body| body.context = ContextId::new(99, 1).raw().into()), Violation::HandleIndex);

    let (_, mut twice) = guest();
    assert_eq!(instantiate(&mut twice, vec![]), Status::SUCCESS);
    let (bytes, reply) = (place(&twice, &graph(vec![])), twice.reply(1));
    twice.send(0, Some(reply), &instantiation(GRAPH, bytes), &[]);
    ends(twice, Violation::HandleInUse);

    let (_, mut reserved) = guest();
    let reply = reserved.reply(1);
    let body = body::GraphUpdate { region: 1.into(), reserved: 1.into(), ..Default::default() };
    reserved.send(0, Some(reply), &body, &[]);
    ends(reserved, Violation::ReservedBits);

    let (_, mut outside) = guest();
    let beyond = GraphId::new(GRAPHS_MAX, 1);
    outside.send(LEGACY.raw(), None, &body::GraphLaunch { graph: beyond.raw().into() }, &[]);
    ends(outside, Violation::HandleIndex);
}

#[test]
fn names_that_are_not_there_are_found_at_the_instantiation() {
    let (_, mut guest) = guest();
    assert_eq!(instantiate(&mut guest, vec![kernel(8)]), Status::ERROR_INVALID_HANDLE);
    assert_eq!(instantiate(&mut guest, vec![record()]), Status::ERROR_INVALID_HANDLE);
    let beyond = GraphWork::EventWait { event: EventId::new(u32::MAX, 1).raw() };
    assert_eq!(instantiate(&mut guest, vec![beyond]), Status::ERROR_INVALID_HANDLE);
    function(&mut guest);
    event(&mut guest, EVENT);
    assert_eq!(instantiate(&mut guest, vec![kernel(4)]), Status::ERROR_INVALID_VALUE, "its parameters");
    let older = GraphWork::EventRecord { event: EventId::new(0, 7).raw() };
    assert_eq!(instantiate(&mut guest, vec![older]), Status::ERROR_INVALID_HANDLE);
    let mut foreign = graph(vec![GraphWork::Empty]);
    foreign.nodes[0].context = ContextId::new(1, 1).raw();
    assert_eq!(instantiate_as(&mut guest, GRAPH, &foreign), Status::ERROR_NOT_SUPPORTED);
    let elsewhere = body::GraphInstantiate { context: (9 | 1 << 32).into(), ..instantiation(GRAPH, 1) };
    assert_eq!(guest.call(0, &elsewhere, &[]).0, Status::ERROR_INVALID_CONTEXT);
    assert_eq!(instantiate(&mut guest, vec![kernel(8), record()]), Status::SUCCESS);
}

#[test]
fn attributes_of_kernel_nodes_are_read() {
    let (_, mut guest) = guest();
    function(&mut guest);
    let mut status = |attributes: &[LaunchAttribute]| {
        let mut bytes = Vec::new();
        attributes.iter().for_each(|attribute| attribute.encode(&mut bytes));
        let mut node = kernel(8);
        if let GraphWork::Kernel { attributes, .. } = &mut node {
            *attributes = bytes;
        }
        let status = instantiate(&mut guest, vec![node]);
        if status.is_success() {
            let destroy = body::GraphDestroy { graph: GRAPH.raw().into() };
            assert_eq!(guest.call(0, &destroy, &[]).0, Status::SUCCESS);
        }
        status
    };
    let serial = LaunchAttribute::ProgrammaticStreamSerialization;
    assert_eq!(status(&[LaunchAttribute::Priority(-1), serial(false)]), Status::SUCCESS);
    assert_eq!(status(&[serial(true)]), Status::ERROR_INVALID_VALUE, "an edge says so");
    let event = LaunchAttribute::LaunchCompletionEvent { event: EVENT, flags: 0 };
    assert_eq!(status(&[event]), Status::ERROR_NOT_SUPPORTED);
    let mut node = kernel(8);
    for (bytes, wrong) in [(vec![2; 16], Status::ERROR_INVALID_VALUE), (vec![1], Status::ERROR_INVALID_VALUE)]
    {
        if let GraphWork::Kernel { attributes, .. } = &mut node {
            *attributes = bytes;
        }
        assert_eq!(instantiate(&mut guest, vec![node.clone()]), wrong);
    }
}

#[test]
fn a_graph_does_not_outlive_its_kernels_and_events() {
    let (device, mut guest) = guest();
    function(&mut guest);
    event(&mut guest, EVENT);
    assert_eq!(instantiate(&mut guest, vec![kernel(8), record()]), Status::SUCCESS);
    guest.send(0, None, &body::EventDestroy { event: EVENT.raw().into() }, &[]);
    assert_eq!(launched(&mut guest), Status::ERROR_INVALID_HANDLE, "its event is gone");
    event(&mut guest, EventId::new(0, 2));
    assert_eq!(launched(&mut guest), Status::ERROR_INVALID_HANDLE, "another event is not its own");
    let same = graph(vec![kernel(8), GraphWork::EventRecord { event: EventId::new(0, 2).raw() }]);
    assert_eq!(update(&mut guest, &same), (Status::SUCCESS, UpdateResult::SUCCESS));
    assert_eq!(launched(&mut guest), Status::SUCCESS);
    let unload = body::ModuleUnload { module: MODULE.raw().into() };
    assert_eq!(guest.call(0, &unload, &[]).0, Status::SUCCESS);
    assert_eq!(device.graphs(), [] as [usize; 0], "the device's graph went with the module");
    assert_eq!(launched(&mut guest), Status::ERROR_INVALID_HANDLE);
    assert_eq!(update(&mut guest, &same), (Status::ERROR_INVALID_HANDLE, UpdateResult::ERROR));
    let destroy = body::GraphDestroy { graph: GRAPH.raw().into() };
    assert_eq!(guest.call(0, &destroy, &[]).0, Status::SUCCESS, "the name is still one");
}

#[test]
fn a_module_unloaded_while_its_graph_is_made_takes_it_along() {
    let (device, mut guest) = guest();
    function(&mut guest);
    let bytes = place(&guest, &graph(vec![kernel(8)]));
    let (made, unloaded) = (guest.reply(1), guest.reply(2));
    guest.send(0, Some(made), &instantiation(GRAPH, bytes), &[]);
    assert_eq!(guest.turns(), None);
    // The description is read, and its names are found; then the module goes before the device has the graph.
    std::mem::take(&mut guest.jobs).into_iter().for_each(crate::session::Job::run);
    assert_eq!(guest.turns(), None);
    let instantiating = std::mem::take(&mut guest.jobs);
    guest.send(0, Some(unloaded), &body::ModuleUnload { module: MODULE.raw().into() }, &[]);
    assert_eq!(guest.run(), None);
    instantiating.into_iter().for_each(crate::session::Job::run);
    assert_eq!(guest.run(), None);
    assert_eq!(guest.answer(unloaded).map(|answer| answer.0), Some(Status::SUCCESS));
    assert_eq!(guest.answer(made).map(|answer| answer.0), Some(Status::ERROR_INVALID_HANDLE));
    assert_eq!(device.graphs(), [] as [usize; 0]);
}

#[test]
fn updates_keep_the_shape() {
    let (device, mut guest) = guest();
    let write = |value| GraphWork::WriteValue32 { address: 4, value };
    assert_eq!(instantiate(&mut guest, vec![write(1), write(2)]), Status::SUCCESS);
    let failed = |result| (Status::ERROR_GRAPH_EXEC_UPDATE_FAILURE, result);
    let longer = graph(vec![write(1); 3]);
    assert_eq!(update(&mut guest, &longer), failed(UpdateResult::TOPOLOGY_CHANGED));
    let mut loose = graph(vec![write(1); 2]);
    loose.edges.clear();
    assert_eq!(update(&mut guest, &loose), failed(UpdateResult::TOPOLOGY_CHANGED));
    let other = graph(vec![write(1), GraphWork::Empty]);
    assert_eq!(update(&mut guest, &other), failed(UpdateResult::NODE_TYPE_CHANGED));
    assert_eq!(update(&mut guest, &graph(vec![write(5); 2])), (Status::SUCCESS, UpdateResult::SUCCESS));
    assert_eq!(device.graphs(), [2]);
}

/// The device may have done a part of it: what it named counts as the graph's.
#[test]
fn a_graph_is_launched_after_an_update_that_failed_as_long_as_both_kernels_are_there() {
    let (device, mut guest) = guest();
    function(&mut guest);
    let (module, function) = (ModuleId::new(1, 1), FunctionId::new(1, 1));
    function_of(&mut guest, module, function);
    assert_eq!(instantiate(&mut guest, vec![kernel(8)]), Status::SUCCESS);
    let mut other = kernel(8);
    if let GraphWork::Kernel { function: named, .. } = &mut other {
        *named = function.raw();
    }
    let failed = UpdateResult::UNSUPPORTED_FUNCTION_CHANGE;
    device.fail_updates(failed);
    let answer = update(&mut guest, &graph(vec![other]));
    assert_eq!(answer, (Status::ERROR_GRAPH_EXEC_UPDATE_FAILURE, failed));
    assert_eq!((launched(&mut guest), device.graphs()), (Status::SUCCESS, vec![1]));
    assert_eq!(guest.call(0, &body::ModuleUnload { module: module.raw().into() }, &[]).0, Status::SUCCESS);
    assert_eq!(device.graphs(), [] as [usize; 0]);
    assert_eq!(launched(&mut guest), Status::ERROR_INVALID_HANDLE);
}

/// The guest destroys a graph while it is updated, and makes another one of the same name, which it updates as well.
#[test]
fn an_update_is_of_the_graph_that_had_the_name_then() {
    let (_, mut guest) = guest();
    let word = |value| vec![GraphWork::WriteValue32 { address: 4, value }];
    assert_eq!(instantiate(&mut guest, word(1)), Status::SUCCESS);
    let ask = |guest: &mut Guest, slot| {
        let reply = guest.reply(slot);
        let body = body::GraphUpdate {
            graph: GRAPH.raw().into(),
            bytes: place(guest, &graph(word(2))).into(),
            region: RegionId::STAGING.0.into(),
            ..Default::default()
        };
        guest.send(0, Some(reply), &body, &[]);
        assert_eq!(guest.turns(), None);
        (reply, std::mem::take(&mut guest.jobs))
    };
    let (first, first_jobs) = ask(&mut guest, 1);
    let destroy = body::GraphDestroy { graph: GRAPH.raw().into() };
    assert_eq!(guest.call(0, &destroy, &[]).0, Status::SUCCESS);
    assert_eq!(instantiate(&mut guest, word(1)), Status::SUCCESS);
    let (second, second_jobs) = ask(&mut guest, 2);
    first_jobs.into_iter().for_each(crate::session::Job::run);
    assert_eq!(guest.run(), None);
    assert_eq!(guest.answer(first).map(|(status, _)| status), Some(Status::ERROR_INVALID_HANDLE));
    let (third, _) = ask(&mut guest, 3);
    let refused = guest.answer(third).map(|(status, _)| status);
    assert_eq!(refused, Some(Status::ERROR_ILLEGAL_STATE), "the second update is under way still");
    second_jobs.into_iter().for_each(crate::session::Job::run);
    assert_eq!(guest.run(), None);
    assert_eq!(guest.answer(second).map(|(status, _)| status), Some(Status::SUCCESS));
}

#[test]
fn nodes_of_a_session_are_bounded_and_come_back() {
    let (device, mut guest) = guest();
    let largest = graph(vec![GraphWork::Empty; GRAPH_NODES_MAX as usize]);
    let count = (SESSION_GRAPH_NODES_MAX / u64::from(GRAPH_NODES_MAX)) as u32;
    for index in 0..count {
        assert_eq!(instantiate_as(&mut guest, GraphId::new(index, 1), &largest), Status::SUCCESS);
    }
    let one = graph(vec![GraphWork::Empty]);
    assert_eq!(instantiate_as(&mut guest, GraphId::new(count, 1), &one), Status::ERROR_OUT_OF_MEMORY);
    // An update needs room for both while it is under way.
    assert_eq!(update(&mut guest, &largest).0, Status::ERROR_OUT_OF_MEMORY);
    let destroy = body::GraphDestroy { graph: GraphId::new(1, 1).raw().into() };
    assert_eq!(guest.call(0, &destroy, &[]).0, Status::SUCCESS);
    assert_eq!(instantiate_as(&mut guest, GraphId::new(count, 1), &one), Status::SUCCESS);
    let context = body::CtxDestroy { context: CONTEXT.raw().into() };
    assert_eq!(guest.call(0, &context, &[]).0, Status::SUCCESS);
    let body = body::GraphDestroy { graph: GRAPH.raw().into() };
    assert_eq!(guest.call(0, &body, &[]).0, Status::ERROR_INVALID_HANDLE, "they went with the context");
    drop(device);
    goes_on(&mut guest);
}

#[test]
fn a_context_that_goes_while_its_graph_is_made_keeps_it() {
    let (device, mut guest) = guest();
    let bytes = place(&guest, &graph(vec![GraphWork::Empty]));
    let (made, destroyed) = (guest.reply(1), guest.reply(2));
    guest.send(0, Some(made), &instantiation(GRAPH, bytes), &[]);
    guest.send(0, Some(destroyed), &body::CtxDestroy { context: CONTEXT.raw().into() }, &[]);
    assert_eq!(guest.run(), None);
    assert_eq!(guest.answer(made).map(|answer| answer.0), Some(Status::ERROR_INVALID_CONTEXT));
    assert_eq!(guest.answer(destroyed).map(|answer| answer.0), Some(Status::SUCCESS));
    assert_eq!(device.graphs(), [] as [usize; 0]);
}

#[test]
fn a_fault_told_by_the_device_sticks_and_graphs_of_the_context_answer_it() {
    let (device, mut guest) = guest();
    assert_eq!(instantiate(&mut guest, vec![GraphWork::Empty]), Status::SUCCESS);
    device.events().fault(&DeviceError::new(Status::ERROR_ILLEGAL_ADDRESS, "a kernel of the graph"));
    device.refuse(Some(Status::ERROR_ILLEGAL_ADDRESS));
    assert_eq!(launched(&mut guest), Status::ERROR_ILLEGAL_ADDRESS);
    launch(&mut guest, LEGACY);
    assert_eq!(guest.run(), None);
    assert_eq!(guest.deferred(), Status::SUCCESS, "a sticky error stands in its context's word only");
}
