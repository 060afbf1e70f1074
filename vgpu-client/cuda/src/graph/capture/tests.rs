//! The rules of capture, without a device.

use std::sync::Arc;
use std::thread::{self, ThreadId};

use super::mode::Mode;
use super::state::{Begin, Captures, Ended, StreamKey};
use super::status::{
    CAPTURED_EVENT, ILLEGAL_STATE, INVALIDATED, ISOLATION, MERGE, UNJOINED, UNMATCHED, UNSUPPORTED,
    WRONG_THREAD,
};
use crate::fail::Call;
use crate::graph::{EdgeData, Graph, Work};

const EVENT: u64 = 77;

/// Captures with numbers for what a driver names.
#[derive(Default)]
struct Rig {
    captures: Captures,
    last_node: u64,
}

fn stream(stream: u64) -> StreamKey {
    StreamKey { stream, context: 1, blocking: false, legacy: false }
}

fn legacy() -> StreamKey {
    StreamKey { stream: 100, context: 1, blocking: false, legacy: true }
}

fn other_thread() -> ThreadId {
    thread::spawn(|| thread::current().id()).join().unwrap()
}

impl Rig {
    fn begin(&mut self, key: StreamKey, mode: Mode) -> Call<Arc<Graph>> {
        let graph = Arc::new(Graph::default());
        let thread = thread::current().id();
        let own = Arc::clone(&graph);
        let begin = Begin { graph: own, own_graph: true, dependencies: Vec::new(), mode, thread };
        self.captures.begin(key, begin).map(|()| graph)
    }

    fn work(&mut self, key: StreamKey) -> u64 {
        self.last_node += 1;
        self.captures.add(key, self.last_node, Work::Empty, false).unwrap();
        self.last_node
    }

    fn end(&mut self, key: StreamKey) -> Call {
        self.captures.end(key, thread::current().id()).and_then(|Ended { outcome, .. }| outcome)
    }
}

fn edges(graph: &Graph) -> Vec<(u64, u64)> {
    graph.lock().edges().map(|(from, to, _)| (from, to)).collect()
}

#[test]
fn a_stream_is_captured_in_its_order() {
    let mut rig = Rig::default();
    let graph = rig.begin(stream(1), Mode::Global).unwrap();
    assert_eq!(rig.begin(stream(1), Mode::Global).unwrap_err(), ILLEGAL_STATE);
    let nodes = [rig.work(stream(1)), rig.work(stream(1)), rig.work(stream(1))];
    assert_eq!(edges(&graph), [(nodes[0], nodes[1]), (nodes[1], nodes[2])]);
    rig.end(stream(1)).unwrap();
    assert_eq!(rig.end(stream(1)), Err(ILLEGAL_STATE));
    assert_eq!(rig.captures.sequences(), 0);
}

#[test]
fn events_fork_and_join() {
    let mut rig = Rig::default();
    let graph = rig.begin(stream(1), Mode::Global).unwrap();
    let first = rig.work(stream(1));
    rig.captures.mark(EVENT, stream(1)).unwrap();
    assert_eq!(rig.captures.wait(stream(2), EVENT), Ok(true));
    let (left, right) = (rig.work(stream(1)), rig.work(stream(2)));
    rig.captures.mark(EVENT, stream(2)).unwrap();
    assert_eq!(rig.captures.wait(stream(1), EVENT), Ok(true));
    let last = rig.work(stream(1));
    let mut found = edges(&graph);
    found.sort_unstable();
    assert_eq!(found, [(first, left), (first, right), (left, last), (right, last)]);
    rig.end(stream(1)).unwrap();
}

#[test]
fn work_that_does_not_lead_back_is_unjoined() {
    let mut rig = Rig::default();
    rig.begin(stream(1), Mode::Global).unwrap();
    rig.work(stream(1));
    rig.captures.mark(EVENT, stream(1)).unwrap();
    rig.captures.wait(stream(2), EVENT).unwrap();
    // Joined without work of its own, the stream needs no way back.
    rig.work(stream(2));
    assert_eq!(rig.end(stream(2)), Err(UNMATCHED));
    assert_eq!(rig.end(stream(1)), Err(UNJOINED));
    assert_eq!(rig.captures.sequence_of(stream(2)), Ok(None));
    let _ = rig.begin(stream(1), Mode::Global).unwrap();
    rig.captures.mark(EVENT, stream(1)).unwrap();
    rig.captures.wait(stream(2), EVENT).unwrap();
    rig.end(stream(1)).unwrap();
}

#[test]
fn only_a_relaxed_capture_may_end_in_another_thread() {
    let mut rig = Rig::default();
    for (mode, outcome) in
        [(Mode::Global, Err(WRONG_THREAD)), (Mode::ThreadLocal, Err(WRONG_THREAD)), (Mode::Relaxed, Ok(()))]
    {
        rig.begin(stream(1), mode).unwrap();
        let ended = rig.captures.end(stream(1), other_thread());
        assert_eq!(ended.and_then(|ended| ended.outcome), outcome, "{mode:?}");
        let _ = rig.end(stream(1));
    }
}

#[test]
fn captures_do_not_merge_and_do_not_depend_on_what_is_outside() {
    let mut rig = Rig::default();
    rig.begin(stream(1), Mode::Relaxed).unwrap();
    rig.begin(stream(2), Mode::Relaxed).unwrap();
    rig.captures.mark(EVENT, stream(1)).unwrap();
    assert_eq!(rig.captures.wait(stream(2), EVENT), Err(MERGE));
    assert_eq!(rig.captures.sequence_of(stream(1)), Err(INVALIDATED));
    assert_eq!(rig.end(stream(1)), Err(INVALIDATED));
    assert_eq!(rig.end(stream(2)), Err(INVALIDATED));

    rig.begin(stream(1), Mode::Relaxed).unwrap();
    assert_eq!(rig.captures.wait(stream(1), EVENT + 1), Err(ISOLATION));
    assert_eq!(rig.captures.add(stream(1), 900, Work::Empty, false).unwrap_err(), INVALIDATED);
    assert_eq!(rig.end(stream(1)), Err(INVALIDATED));
}

#[test]
fn a_captured_event_answers_no_question() {
    let mut rig = Rig::default();
    rig.begin(stream(1), Mode::Relaxed).unwrap();
    rig.captures.mark(EVENT, stream(1)).unwrap();
    rig.end(stream(1)).unwrap();
    assert_eq!(rig.captures.check_event(EVENT), Err(CAPTURED_EVENT));
    assert_eq!(rig.captures.wait(stream(2), EVENT), Err(CAPTURED_EVENT));
    rig.captures.unmark(EVENT);
    assert_eq!(rig.captures.check_event(EVENT), Ok(()));
    assert_eq!(rig.captures.wait(stream(2), EVENT), Ok(false));
    rig.begin(stream(1), Mode::Relaxed).unwrap();
    rig.captures.mark(EVENT, stream(1)).unwrap();
    assert_eq!(rig.captures.check_event(EVENT), Err(CAPTURED_EVENT));
    assert_eq!(rig.end(stream(1)), Err(INVALIDATED));
}

#[test]
fn the_legacy_stream_neither_captures_nor_joins() {
    let mut rig = Rig::default();
    assert_eq!(rig.begin(legacy(), Mode::Global).unwrap_err(), UNSUPPORTED);
    rig.begin(stream(1), Mode::Global).unwrap();
    assert!(rig.captures.blocking_in(1).is_empty());
    rig.captures.mark(EVENT, stream(1)).unwrap();
    assert_eq!(rig.captures.wait(legacy(), EVENT), Err(UNSUPPORTED));
    assert_eq!(rig.end(stream(1)), Err(INVALIDATED));
    let blocking = StreamKey { blocking: true, ..stream(1) };
    rig.begin(blocking, Mode::Global).unwrap();
    assert_eq!(rig.captures.blocking_in(1).len(), 1);
    assert!(rig.captures.blocking_in(2).is_empty());
}

#[test]
fn a_destroyed_stream_takes_its_capture_along() {
    let mut rig = Rig::default();
    rig.begin(stream(1), Mode::Relaxed).unwrap();
    rig.captures.mark(EVENT, stream(1)).unwrap();
    rig.captures.wait(stream(2), EVENT).unwrap();
    assert!(rig.captures.forget_stream(2).is_none());
    assert_eq!(rig.captures.sequence_of(stream(1)), Err(INVALIDATED));
    assert!(rig.captures.forget_stream(1).is_some());
    assert_eq!(rig.captures.sequences(), 0);
}

#[test]
fn dependencies_can_be_read_and_replaced() {
    let mut rig = Rig::default();
    let graph = rig.begin(stream(1), Mode::Relaxed).unwrap();
    let (first, second) = (rig.work(stream(1)), rig.work(stream(1)));
    let shown = rig.captures.info(stream(1)).unwrap().shown;
    assert_eq!((&*shown.nodes, &*shown.edges), (&[second][..], &[EdgeData::default()][..]));
    let before = [(first, EdgeData::default())];
    rig.captures.update(stream(1), &before, true).unwrap();
    let third = rig.work(stream(1));
    assert_eq!(edges(&graph), [(first, second), (first, third)]);
    rig.captures.update(stream(1), &before, false).unwrap();
    assert_eq!(rig.captures.info(stream(1)).unwrap().shown.nodes.len(), 2);
    assert!(rig.captures.update(stream(1), &[(9_999, EdgeData::default())], true).is_err());
    assert!(rig.captures.info(stream(2)).is_none());
}
