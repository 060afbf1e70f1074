//! Graphs among a session's commands: the order in which launches, updates and records reach the device.

use vgpu_proto::graph::GraphWork;
use vgpu_proto::{GraphId, Status, body};

use super::graphs::{
    EVENT, GRAPH, event, graph, guest, instantiate, instantiate_as, launch, launched, place, record, wait,
};
use super::guest::LEGACY;
use super::order::{BLOCKING, NON_BLOCKING, OTHER, drain, held};

#[test]
fn an_update_waits_for_earlier_launches_and_excludes_another() {
    let (device, mut guest) = held(BLOCKING);
    assert_eq!(instantiate(&mut guest, vec![GraphWork::Empty]), Status::SUCCESS);
    launch(&mut guest, BLOCKING);
    let bytes = place(&guest, &graph(vec![GraphWork::Empty]));
    let body = body::GraphUpdate {
        graph: GRAPH.raw().into(),
        bytes: bytes.into(),
        region: 1.into(),
        ..Default::default()
    };
    let (first, second, gone) = (guest.reply(1), guest.reply(2), guest.reply(3));
    guest.send(0, Some(first), &body, &[]);
    guest.send(0, Some(second), &body, &[]);
    let destroy = body::GraphDestroy { graph: GRAPH.raw().into() };
    guest.send(0, Some(gone), &destroy, &[]);
    assert_eq!(guest.run(), None);
    assert_eq!(guest.answer(first), None);
    assert_eq!(guest.answer(gone), None);
    assert_eq!(guest.answer(second).map(|answer| answer.0), Some(Status::ERROR_ILLEGAL_STATE));
    assert_eq!(device.graphs(), [1], "the launch is held, so the graph is there");
    drain(&device, &mut guest);
    assert!(device.take().iter().any(|(_, work)| work == "graph []"));
    assert_eq!(guest.answer(first).map(|answer| answer.0), Some(Status::ERROR_INVALID_HANDLE));
    assert_eq!(guest.answer(gone).map(|answer| answer.0), Some(Status::SUCCESS));
    assert_eq!(device.graphs(), [] as [usize; 0]);
}

#[test]
fn launches_of_one_graph_reach_the_device_in_their_order() {
    let (device, mut guest) = held(BLOCKING);
    assert_eq!(instantiate(&mut guest, vec![GraphWork::Empty]), Status::SUCCESS);
    let other = GraphId::new(1, 1);
    assert_eq!(instantiate_as(&mut guest, other, &graph(vec![])), Status::SUCCESS);
    launch(&mut guest, BLOCKING);
    launch(&mut guest, NON_BLOCKING);
    launch(&mut guest, OTHER);
    assert_eq!(guest.run(), None);
    assert_eq!(device.take(), [], "all of them wait for the first");
    drain(&device, &mut guest);
    let late: Vec<u64> =
        device.take().into_iter().filter(|(_, work)| work == "graph []").map(|(stream, _)| stream).collect();
    assert_eq!(late.len(), 3);
    assert!(late[0] < late[1].min(late[2]), "the stream that was held comes first: {late:?}");
}

#[test]
fn a_graph_follows_the_legacy_streams_rule() {
    let (device, mut guest) = held(BLOCKING);
    assert_eq!(instantiate(&mut guest, vec![GraphWork::Empty]), Status::SUCCESS);
    launch(&mut guest, LEGACY);
    assert_eq!(guest.run(), None);
    assert_eq!(device.take(), []);
    drain(&device, &mut guest);
    let late: Vec<String> = device.take().into_iter().map(|(_, work)| work).collect();
    assert_eq!(late, ["memset 77", "graph []"]);
}

#[test]
fn a_record_inside_a_graph_is_a_version_from_the_launch_on() {
    let (device, mut guest) = held(BLOCKING);
    event(&mut guest, EVENT);
    assert_eq!(instantiate(&mut guest, vec![record()]), Status::SUCCESS);
    launch(&mut guest, BLOCKING);
    guest.send(OTHER.raw(), None, &body::StreamWaitEvent { event: EVENT.raw().into() }, &[]);
    // A later record on a free stream must not satisfy that wait.
    guest.send(NON_BLOCKING.raw(), None, &body::EventRecord { event: EVENT.raw().into() }, &[]);
    assert_eq!(guest.run(), None);
    let early = device.take();
    assert_eq!(early.len(), 1, "only the later record goes: {early:?}");
    drain(&device, &mut guest);
    let late: Vec<String> = device.take().into_iter().map(|(_, work)| work).collect();
    let graph = late.iter().position(|work| work.starts_with("graph")).unwrap();
    let wait = late.iter().position(|work| work.starts_with("wait")).unwrap();
    assert!(graph < wait);
    assert_eq!(late[graph].replace("graph [", "wait ").replace(']', ""), late[wait]);
    assert_ne!(early[0].1.replace("record", "wait"), late[wait]);
}

#[test]
fn a_wait_inside_a_graph_holds_its_launch_until_the_record_is_submitted() {
    let (device, mut guest) = held(BLOCKING);
    event(&mut guest, EVENT);
    assert_eq!(instantiate(&mut guest, vec![wait(), record(), wait()]), Status::SUCCESS);
    launch(&mut guest, NON_BLOCKING);
    assert_eq!(guest.run(), None);
    let first = device.take();
    assert!(first[0].1.starts_with("graph [0, "), "no record to wait for: {first:?}");
    guest.send(BLOCKING.raw(), None, &body::EventRecord { event: EVENT.raw().into() }, &[]);
    launch(&mut guest, NON_BLOCKING);
    assert_eq!(guest.run(), None);
    assert_eq!(device.take(), [], "the record is held, and with it the launch");
    drain(&device, &mut guest);
    let late: Vec<String> = device.take().into_iter().map(|(_, work)| work).collect();
    let recorded = late.iter().position(|work| work.starts_with("record")).unwrap();
    let graph = late.iter().position(|work| work.starts_with("graph")).unwrap();
    assert!(recorded < graph);
    let key = late[recorded].trim_start_matches("record ").to_owned();
    assert!(late[graph].starts_with(&format!("graph [{key}, ")), "{late:?}");
    assert!(!late[graph].ends_with(&format!(" {key}]")), "the second wait is for the graph's own record");
}

#[test]
fn a_refused_launch_leaves_no_record_to_wait_for() {
    let (device, mut guest) = guest();
    event(&mut guest, EVENT);
    assert_eq!(instantiate(&mut guest, vec![record()]), Status::SUCCESS);
    device.refuse(Some(Status::ERROR_INVALID_VALUE));
    assert_eq!(launched(&mut guest), Status::ERROR_INVALID_VALUE);
    device.refuse(None);
    assert_eq!(guest.call(0, &body::EventSynchronize { event: EVENT.raw().into() }, &[]).0, Status::SUCCESS);
}
