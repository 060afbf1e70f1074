//! Graphs: order inside, order outside, events, updates, ends.

use std::sync::atomic::Ordering;

use vgpu_proto::Status;
use vgpu_proto::graph::{GRAPH_DEVICE_LAUNCH, GraphEdge, UpdateResult};

use super::rig::{
    Param, Rig, TINY, Told, VECTOR_ADD, WILD_ACCESS, copy, fill_words, launch_config, wait_value, write_value,
};
use super::{Make, case_list};
use crate::device::{
    BoxCopy, BoxEnd, EventKey, FunctionKey, GraphKey, GraphLaunch, GraphPlan, NodeWork, RowFill,
    WaitCondition, Work,
};

case_list!(
    a_chain_runs_in_order,
    a_diamond_joins_its_branches,
    graphs_without_work_pass,
    rows_and_boxes_are_moved,
    a_launch_is_one_unit_of_its_stream,
    a_launch_follows_the_legacy_streams_rule,
    launches_of_a_graph_follow_one_another,
    many_launches_run_in_order,
    a_record_inside_holds_its_waits,
    a_wait_inside_is_for_the_event_that_the_launch_names,
    a_wait_for_a_value_inside_sees_what_the_host_writes,
    an_update_changes_later_launches_only,
    a_graph_destroyed_while_it_runs_ends_its_work,
    addresses_and_kernels_are_checked,
    memory_that_was_freed_is_not_reached,
    a_fault_inside_is_sticky,
    a_context_with_a_held_graph_can_be_dropped,
);

fn plan(nodes: Vec<NodeWork>, edges: &[(u32, u32)]) -> GraphPlan {
    GraphPlan { nodes, edges: edges.iter().map(|(from, to)| GraphEdge::plain(*from, *to)).collect() }
}

/// Each node behind the one before.
fn chain(nodes: Vec<NodeWork>) -> GraphPlan {
    let edges: Vec<(u32, u32)> = (1..nodes.len() as u32).map(|to| (to - 1, to)).collect();
    plan(nodes, &edges)
}

fn instantiate(rig: &Rig, plan: GraphPlan) -> GraphKey {
    rig.context.graph_instantiate(plan, 0).expect("the graph is instantiated")
}

fn graph(key: GraphKey) -> Work {
    graph_with(key, &[])
}

fn graph_with(key: GraphKey, events: &[Option<EventKey>]) -> Work {
    Work::Graph(GraphLaunch { graph: key, events: events.to_vec() })
}

fn kernel(function: FunctionKey, blocks: u32, threads: u32, params: &[Param]) -> NodeWork {
    NodeWork::Kernel(launch_config(function, blocks, threads, params))
}

fn write(address: u64, value: u32) -> NodeWork {
    NodeWork::WriteValue { address, value }
}

fn hold(address: u64) -> NodeWork {
    NodeWork::WaitValue { address, value: 1, condition: WaitCondition::GreaterOrEqual }
}

fn fill(destination: u64, value: u32, words: u64) -> NodeWork {
    NodeWork::Fill(RowFill { destination, value, element_bytes: 4, width: words, height: 1, pitch: 0 })
}

fn move_words(destination: u64, source: u64, words: u64) -> NodeWork {
    let end = |address| BoxEnd { address, pitch: 0, slice: 0 };
    NodeWork::Copy(BoxCopy {
        destination: end(destination),
        source: end(source),
        width_bytes: words * 4,
        height: 1,
        depth: 1,
    })
}

fn a_chain_runs_in_order(make: &Make) {
    let rig = Rig::new(make);
    let increment = rig.kernel(TINY, "increment");
    let words = rig.alloc(64);
    let one_more = || kernel(increment, 1, 1, &[Param::Address(words)]);
    let nodes = vec![
        write(words, 5),
        one_more(),
        move_words(words + 4, words, 1),
        one_more(),
        move_words(words + 8, words, 1),
        fill(words, 1, 1),
        one_more(),
        move_words(words + 12, words, 1),
        write(words, 77),
    ];
    let key = instantiate(&rig, chain(nodes));
    let stream = rig.stream();
    for _ in 0..3 {
        rig.submit(stream, graph(key));
        rig.wait(stream);
        assert_eq!(rig.download_words(words, 4), [77, 6, 7, 2]);
        rig.submit(stream, fill_words(words, 0, 4));
    }
}

fn a_diamond_joins_its_branches(make: &Make) {
    let rig = Rig::new(make);
    let add = rig.kernel(VECTOR_ADD, "vector_add");
    let count = 1_000_u32;
    let bytes = u64::from(count) * 4;
    let [start, left, right, sum] = [(); 4].map(|()| rig.alloc(bytes));
    let params = [Param::Address(left), Param::Address(right), Param::Address(sum), Param::Word(count)];
    let nodes = |value: f32| {
        vec![
            fill(start, value.to_bits(), count.into()),
            move_words(left, start, count.into()),
            move_words(right, start, count.into()),
            NodeWork::Empty,
            kernel(add, count.div_ceil(256), 256, &params),
        ]
    };
    let edges = [(0, 1), (0, 2), (1, 3), (2, 3), (3, 4)];
    let stream = rig.stream();
    for round in 1..=20_u16 {
        let value = f32::from(round);
        let key = instantiate(&rig, plan(nodes(value), &edges));
        rig.submit(stream, graph(key));
        rig.wait(stream);
        assert_eq!(rig.download_words(sum, count as usize), vec![(2.0 * value).to_bits(); count as usize]);
        rig.context.graph_destroy(key);
    }
}

fn graphs_without_work_pass(make: &Make) {
    let rig = Rig::new(make);
    let nothing = instantiate(&rig, plan(vec![], &[]));
    let empty = instantiate(&rig, plan(vec![NodeWork::Empty; 100], &[(0, 99), (1, 50), (50, 99)]));
    let stream = rig.stream();
    for key in [nothing, empty, nothing] {
        rig.submit(stream, Work::GraphUpload(key));
        rig.submit(stream, graph(key));
    }
    rig.wait(stream);
    let refused = rig.context.graph_instantiate(plan(vec![], &[]), GRAPH_DEVICE_LAUNCH);
    assert_eq!(refused.expect_err("no launches by kernels").status, Status::ERROR_NOT_SUPPORTED);
    rig.context.graph_destroy(nothing);
    rig.context.graph_destroy(nothing);
    assert_eq!(rig.refused(stream, graph(nothing)), Status::ERROR_INVALID_HANDLE);
    assert_eq!(rig.refused(stream, Work::GraphUpload(nothing)), Status::ERROR_INVALID_HANDLE);
    assert_eq!(rig.refused(stream, graph(GraphKey(u64::MAX))), Status::ERROR_INVALID_HANDLE);
}

/// Two slices of three rows of eight bytes, at pitches and slices of their own.
fn rows_and_boxes_are_moved(make: &Make) {
    let rig = Rig::new(make);
    let (from, to) = (rig.alloc(4096), rig.alloc(4096));
    let words: Vec<u32> = (0..256).collect();
    rig.upload_words(from, &words);
    let fill = RowFill { destination: to, value: 0xab, element_bytes: 1, width: 6, height: 4, pitch: 512 };
    let copy = BoxCopy {
        destination: BoxEnd { address: to + 8, pitch: 64, slice: 256 },
        source: BoxEnd { address: from + 4, pitch: 32, slice: 96 },
        width_bytes: 8,
        height: 3,
        depth: 2,
    };
    let key =
        instantiate(&rig, chain(vec![self::fill(to, 9, 1024), NodeWork::Fill(fill), NodeWork::Copy(copy)]));
    let stream = rig.stream();
    rig.submit(stream, graph(key));
    rig.wait(stream);
    let mut expected: Vec<u8> = std::iter::repeat_n([9, 0, 0, 0], 1024).flatten().collect();
    for row in 0..4 {
        expected[row * 512..row * 512 + 6].fill(0xab);
    }
    let source: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    for (slice, row) in (0..2).flat_map(|slice| (0..3).map(move |row| (slice, row))) {
        let (at, source_at) = (8 + slice * 256 + row * 64, 4 + slice * 96 + row * 32);
        expected[at..at + 8].copy_from_slice(&source[source_at..source_at + 8]);
    }
    assert_eq!(rig.download(to, 4096), expected);
}

fn a_launch_is_one_unit_of_its_stream(make: &Make) {
    let rig = Rig::new(make);
    let words = rig.alloc(64);
    let (before, inside) = (words, words + 4);
    let out = words + 8;
    // The second branch is held; what follows in the stream must wait for it too.
    let nodes = vec![write(out, 1), hold(inside), write(out + 4, 1)];
    let key = instantiate(&rig, plan(nodes, &[(1, 2)]));
    let (stream, other) = (rig.stream(), rig.stream());
    rig.submit(stream, wait_value(before, 1));
    rig.submit(stream, graph(key));
    rig.submit(stream, copy(out + 8, out, 8));
    rig.mark(stream, 1);
    rig.wait(other);
    assert_eq!(rig.download_words(out, 4), [0; 4], "earlier work of the stream is not complete");
    rig.submit(other, write_value(before, 1));
    rig.wait(other);
    assert_eq!(rig.word(out + 4), 0);
    assert_eq!(rig.word(out + 8), 0, "the launch is not complete");
    assert!(!rig.ears.marks().contains(&1));
    rig.submit(other, write_value(inside, 1));
    rig.ears.wait_for(&Told::Mark(1));
    assert_eq!(rig.download_words(out, 4), [1; 4]);
}

fn a_launch_follows_the_legacy_streams_rule(make: &Make) {
    let rig = Rig::new(make);
    let words = rig.alloc(64);
    let (gate, out) = (words, words + 8);
    let key = instantiate(&rig, plan(vec![hold(gate), write(out, 7)], &[(0, 1)]));
    let free = rig.context.stream_create(false, 0).expect("a stream");
    let blocking = rig.stream();
    rig.submit(rig.context.legacy_stream(), graph(key));
    rig.submit(blocking, copy(out + 4, out, 4));
    rig.mark(blocking, 1);
    rig.submit(free, fill_words(words + 32, 1, 1));
    rig.mark(free, 2);
    rig.ears.wait_for(&Told::Mark(2));
    assert!(!rig.ears.marks().contains(&1), "a blocking stream waits for the graph");
    rig.submit(free, write_value(gate, 1));
    rig.ears.wait_for(&Told::Mark(1));
    assert_eq!(rig.word(out + 4), 7);
}

fn launches_of_a_graph_follow_one_another(make: &Make) {
    let rig = Rig::new(make);
    let words = rig.alloc(64);
    let key = instantiate(&rig, plan(vec![write(words + 8, 1)], &[]));
    let (first, second, other) = (rig.stream(), rig.stream(), rig.stream());
    rig.submit(first, wait_value(words, 1));
    rig.submit(first, graph(key));
    rig.submit(second, graph(key));
    rig.mark(second, 1);
    rig.mark(other, 2);
    rig.ears.wait_for(&Told::Mark(2));
    assert!(!rig.ears.marks().contains(&1), "the first launch is not complete");
    assert_eq!(rig.word(words + 8), 0);
    rig.submit(other, write_value(words, 1));
    rig.ears.wait_for(&Told::Mark(1));
    assert_eq!(rig.word(words + 8), 1);
}

fn many_launches_run_in_order(make: &Make) {
    let rig = Rig::new(make);
    let increment = rig.kernel(TINY, "increment");
    let words = rig.alloc(64);
    // Not atomic: two at once would lose a step.
    let step = || kernel(increment, 1, 1, &[Param::Address(words)]);
    let key = instantiate(&rig, chain(vec![step(), NodeWork::Empty, step()]));
    let streams = [rig.stream(), rig.stream(), rig.stream()];
    for round in 0..300 {
        let stream = streams[round % 3];
        rig.make_room(stream);
        rig.submit(stream, graph(key));
    }
    rig.synchronize();
    assert_eq!(rig.word(words), 600);
}

fn a_record_inside_holds_its_waits(make: &Make) {
    let rig = Rig::new(make);
    let words = rig.alloc(64);
    let (event, other_event) = (rig.event(), rig.event());
    let key = instantiate(&rig, chain(vec![hold(words), write(words + 8, 3), NodeWork::Record]));
    let (stream, waits, other) = (rig.stream(), rig.stream(), rig.stream());
    rig.submit(stream, graph_with(key, &[Some(event)]));
    rig.submit(waits, Work::Wait(event));
    rig.submit(waits, copy(words + 12, words + 8, 4));
    rig.mark(waits, 1);
    rig.mark(other, 2);
    rig.ears.wait_for(&Told::Mark(2));
    assert!(!rig.ears.marks().contains(&1));
    rig.submit(other, write_value(words, 1));
    rig.ears.wait_for(&Told::Mark(1));
    assert_eq!(rig.word(words + 12), 3);
    rig.context.event_synchronize(event).expect("it is complete");
    // The next launch is told of another event.
    rig.submit(stream, graph_with(key, &[Some(other_event)]));
    rig.context.event_synchronize(other_event).expect("it is complete");
    let elapsed = rig.context.event_elapsed_ns(event, other_event).expect("both are complete");
    assert!(elapsed >= 0, "{elapsed}");
    assert_eq!(rig.refused(stream, graph(key)), Status::ERROR_INVALID_VALUE, "an event is missing");
}

fn a_wait_inside_is_for_the_event_that_the_launch_names(make: &Make) {
    let rig = Rig::new(make);
    let words = rig.alloc(64);
    let event = rig.event();
    let key = instantiate(&rig, chain(vec![NodeWork::Wait, move_words(words + 8, words + 4, 1)]));
    let (records, stream, other) = (rig.stream(), rig.stream(), rig.stream());
    rig.submit(stream, graph_with(key, &[None]));
    rig.wait(stream);
    rig.submit(records, wait_value(words, 1));
    rig.submit(records, fill_words(words + 4, 5, 1));
    rig.submit(records, Work::Record(event));
    rig.submit(stream, graph_with(key, &[Some(event)]));
    rig.mark(stream, 1);
    rig.mark(other, 2);
    rig.ears.wait_for(&Told::Mark(2));
    assert!(!rig.ears.marks().contains(&1));
    rig.submit(other, write_value(words, 1));
    rig.ears.wait_for(&Told::Mark(1));
    assert_eq!(rig.word(words + 8), 5);
}

/// As host functions in graphs are done: the stream asks, the host answers.
fn a_wait_for_a_value_inside_sees_what_the_host_writes(make: &Make) {
    let rig = Rig::new(make);
    let pinned = rig.pin(4096);
    let (asked, done) = (pinned.address(), pinned.address() + 4);
    let word = |offset| pinned.atomic_u32(offset).expect("in range");
    let out = rig.alloc(4);
    let nodes = vec![write(asked, 1), hold(done), write(done, 0), write(out, 9)];
    let key = instantiate(&rig, chain(nodes));
    let stream = rig.stream();
    for value in 1..=2 {
        rig.submit(stream, graph(key));
        rig.mark(stream, value);
        while word(0).load(Ordering::Acquire) == 0 {
            std::thread::yield_now();
        }
        assert!(!rig.ears.marks().contains(&value));
        word(0).store(0, Ordering::Release);
        word(4).store(1, Ordering::Release);
        rig.ears.wait_for(&Told::Mark(value));
        assert_eq!(word(4).load(Ordering::Acquire), 0);
    }
    assert_eq!(rig.word(out), 9);
}

fn an_update_changes_later_launches_only(make: &Make) {
    let rig = Rig::new(make);
    let fill_kernel = rig.kernel(TINY, "fill");
    let words = rig.alloc(64);
    let nodes = |value| {
        let params = [Param::Address(words + 4), Param::Word(value), Param::Word(1)];
        chain(vec![kernel(fill_kernel, 1, 32, &params), fill(words + 8, value, 1)])
    };
    let key = instantiate(&rig, nodes(1));
    let (stream, other) = (rig.stream(), rig.stream());
    rig.submit(stream, wait_value(words, 1));
    rig.submit(stream, graph(key));
    rig.submit(stream, copy(words + 16, words + 4, 8));
    assert_eq!(rig.context.graph_update(key, nodes(2)), Ok(UpdateResult::SUCCESS));
    rig.submit(stream, graph(key));
    rig.submit(stream, copy(words + 24, words + 4, 8));
    rig.submit(other, write_value(words, 1));
    rig.wait(stream);
    assert_eq!(rig.download_words(words + 16, 4), [1, 1, 2, 2]);
    let gone = rig.context.graph_update(GraphKey(u64::MAX), nodes(3));
    assert_eq!(gone.expect_err("no such graph").status, Status::ERROR_INVALID_HANDLE);
}

fn a_graph_destroyed_while_it_runs_ends_its_work(make: &Make) {
    let rig = Rig::new(make);
    let words = rig.alloc(64);
    let key = instantiate(&rig, chain(vec![hold(words), write(words + 8, 1)]));
    let (stream, other) = (rig.stream(), rig.stream());
    rig.submit(stream, graph(key));
    rig.submit(stream, graph(key));
    rig.mark(stream, 1);
    rig.context.graph_destroy(key);
    assert_eq!(rig.refused(stream, graph(key)), Status::ERROR_INVALID_HANDLE);
    rig.mark(other, 2);
    rig.ears.wait_for(&Told::Mark(2));
    assert!(!rig.ears.marks().contains(&1));
    rig.submit(other, write_value(words, 1));
    rig.ears.wait_for(&Told::Mark(1));
    assert_eq!(rig.word(words + 8), 1);
}

fn addresses_and_kernels_are_checked(make: &Make) {
    let rig = Rig::new(make);
    let words = rig.alloc(256);
    let increment = rig.kernel(TINY, "increment");
    let refused = |node| {
        let made = rig.context.graph_instantiate(plan(vec![NodeWork::Empty, node], &[(0, 1)]), 0);
        made.expect_err("the graph is refused").status
    };
    let outside = 1 << 20;
    for node in [
        write(outside, 1),
        hold(outside),
        fill(outside, 1, 1),
        fill(words, 1, 1 << 40),
        move_words(outside, words, 1),
        move_words(words, outside, 1),
        NodeWork::Fill(RowFill {
            destination: words,
            value: 0,
            element_bytes: 1,
            width: 1,
            height: 1 << 20,
            pitch: 1 << 20,
        }),
        kernel(increment, 1, 1, &[]),
    ] {
        let text = format!("{node:?}");
        assert_eq!(refused(node), Status::ERROR_INVALID_VALUE, "{text}");
    }
    let unknown = kernel(FunctionKey(u64::MAX), 1, 1, &[Param::Address(words)]);
    assert_eq!(refused(unknown), Status::ERROR_INVALID_HANDLE);
    rig.synchronize();
}

fn memory_that_was_freed_is_not_reached(make: &Make) {
    let rig = Rig::new(make);
    let (kept, freed) = (rig.alloc(4096), rig.alloc(4096));
    let both = instantiate(&rig, chain(vec![fill(kept, 1, 4), move_words(freed, kept, 4)]));
    let one = instantiate(&rig, chain(vec![fill(kept, 2, 4)]));
    let stream = rig.stream();
    rig.submit(stream, graph(both));
    rig.wait(stream);
    rig.context.memory_free(freed).expect("it was allocated");
    assert_eq!(rig.refused(stream, graph(both)), Status::ERROR_INVALID_VALUE);
    assert_eq!(rig.refused(stream, graph(both)), Status::ERROR_INVALID_VALUE, "it stays so");
    rig.submit(stream, graph(one));
    rig.wait(stream);
    assert_eq!(rig.download_words(kept, 4), [2; 4]);
    assert_eq!(rig.context.sticky_error(), None);
}

fn a_fault_inside_is_sticky(make: &Make) {
    let rig = Rig::new(make);
    let wild = rig.kernel(WILD_ACCESS, "write_anywhere");
    let words = rig.alloc(64);
    let nodes = vec![
        write(words, 1),
        kernel(wild, 1, 1, &[Param::Address(64), Param::Word(1)]),
        write(words + 4, 1),
        NodeWork::Record,
    ];
    let key = instantiate(&rig, chain(nodes));
    let (stream, event) = (rig.stream(), rig.event());
    rig.submit(stream, graph_with(key, &[Some(event)]));
    rig.mark(stream, 1);
    let error = rig.context.synchronize().expect_err("the kernel faults");
    assert_eq!(error.status, Status::ERROR_ILLEGAL_ADDRESS);
    rig.ears.wait_for(&Told::Mark(1));
    let told = rig.ears.told();
    let position = |wanted: &Told| told.iter().position(|one| one == wanted).expect("it was told");
    assert!(position(&Told::Fault(error.status)) < position(&Told::Mark(1)), "{told:?}");
    assert_eq!(rig.refused(stream, graph_with(key, &[Some(event)])), error.status);
    let made = rig.context.graph_instantiate(plan(vec![], &[]), 0);
    assert_eq!(made.expect_err("the context is lost").status, error.status);
    rig.context.graph_destroy(key);
}

fn a_context_with_a_held_graph_can_be_dropped(make: &Make) {
    let device = make();
    let (rig, other) = (Rig::on(device.clone()), Rig::on(device));
    let (words, event) = (rig.alloc(64), rig.event());
    let nodes = vec![hold(words), hold(words + 4), NodeWork::Record];
    let key = instantiate(&rig, plan(nodes, &[(0, 2), (1, 2)]));
    let (stream, waits) = (rig.stream(), other.stream());
    rig.submit(stream, graph_with(key, &[Some(event)]));
    rig.submit(stream, graph_with(key, &[Some(event)]));
    other.submit(waits, Work::Wait(event));
    other.mark(waits, 1);
    drop(rig);
    other.ears.wait_for(&Told::Mark(1));
}
