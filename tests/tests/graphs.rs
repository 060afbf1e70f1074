//! Graphs through the guest library, over real processes: each case with random delays in the device and without.
#![allow(clippy::unwrap_used, reason = "a test may")]

use support::delays::with_and_without_delays;
use support::fixture::ptx;
use vgpu_client::{
    Context, Error, Function, GraphDescription, GraphEdge, GraphNode, GraphObjects, GraphWork, LaunchConfig,
    Misuse, Status, UpdateResult, args,
};

/// Each node behind the one before.
fn chain(context: &Context, works: Vec<GraphWork>) -> GraphDescription {
    let node = |work| GraphNode { context: context.wire_name(), work };
    let nodes: Vec<_> = works.into_iter().map(node).collect();
    let edges = (1..nodes.len() as u32).map(|to| GraphEdge::plain(to - 1, to)).collect();
    GraphDescription { nodes, edges }
}

fn increment(function: &Function, address: u64) -> GraphWork {
    GraphWork::Kernel {
        function: function.wire_name(),
        grid: [1; 3],
        block: [1; 3],
        shared_bytes: 0,
        cooperative: false,
        attributes: vec![],
        params: address.to_le_bytes().to_vec(),
    }
}

fn write(address: u64, value: u32) -> GraphWork {
    GraphWork::WriteValue32 { address, value }
}

#[test]
fn a_graph_is_launched_updated_and_destroyed() {
    with_and_without_delays(|client| {
        let context = client.context().unwrap();
        let function = context.load_module(ptx("tiny")).unwrap().function("increment").unwrap();
        let stream = context.stream().unwrap();
        let word = context.alloc::<u32>(1).unwrap();
        let objects = || GraphObjects { functions: vec![function.clone()], ..Default::default() };
        let address = word.address().0;
        let three = |start| {
            let step = || increment(&function, address);
            chain(&context, vec![write(address, start), step(), step(), step()])
        };
        let graph = context.graph(&three(10), objects(), 0).unwrap();
        stream.upload_graph(&graph).unwrap();
        let read = || {
            let mut value = [0];
            stream.copy_to_host(&word, &mut value).unwrap();
            value[0]
        };
        for _ in 0..3 {
            stream.launch_graph(&graph).unwrap();
            stream.launch(&function, LaunchConfig::default(), args![&word]).unwrap();
            assert_eq!(read(), 14);
        }
        assert_eq!(graph.update(&three(20), objects()).unwrap(), UpdateResult::SUCCESS);
        stream.launch_graph(&graph).unwrap();
        assert_eq!(read(), 23);
        let longer = chain(&context, vec![write(address, 1); 5]);
        assert_eq!(graph.update(&longer, objects()).unwrap(), UpdateResult::TOPOLOGY_CHANGED);
        stream.launch_graph(&graph).unwrap();
        drop(graph);
        assert_eq!(read(), 23, "a launch outlives its graph");
    });
}

#[test]
fn events_of_a_graph_order_other_streams() {
    with_and_without_delays(|client| {
        let context = client.context().unwrap();
        let (stream, other) = (context.stream().unwrap(), context.stream().unwrap());
        let event = context.event().unwrap();
        let pinned = context.pinned::<u32>(16).unwrap();
        let at = |index| pinned.at(index).0;
        let hold = GraphWork::WaitValue32 { address: at(0), value: 1, condition: 1 };
        let record = GraphWork::EventRecord { event: event.wire_name() };
        let description = chain(&context, vec![hold, write(at(1), 5), record]);
        let objects = GraphObjects { events: vec![event.clone()], ..Default::default() };
        let graph = context.graph(&description, objects, 0).unwrap();
        stream.launch_graph(&graph).unwrap();
        assert!(!event.query().unwrap(), "the launch records it");
        other.wait_event(&event).unwrap();
        other.copy(pinned.at(2), pinned.at(1), 4).unwrap();
        pinned.write(0, &[1]).unwrap();
        other.synchronize().unwrap();
        event.synchronize().unwrap();
        let mut out = [0];
        pinned.read(2, &mut out).unwrap();
        assert_eq!(out, [5]);
    });
}

#[test]
fn what_is_wrong_with_a_graph_is_told() {
    with_and_without_delays(|client| {
        let context = client.context().unwrap();
        let stream = context.stream().unwrap();
        let broken = chain(&context, vec![write(2, 1)]);
        let refused = context.graph(&broken, GraphObjects::default(), 0).unwrap_err();
        assert!(matches!(refused, Error::Misuse(Misuse::Graph(_))), "{refused}");
        assert_eq!(refused.status(), Status::ERROR_INVALID_VALUE);
        let outside = chain(&context, vec![write(4096, 1)]);
        let refused = context.graph(&outside, GraphObjects::default(), 0).unwrap_err();
        assert_eq!(refused.status(), Status::ERROR_INVALID_VALUE);
        let word = context.alloc::<u32>(1).unwrap();
        let graph = context
            .graph(&chain(&context, vec![write(word.address().0, 1)]), GraphObjects::default(), 0)
            .unwrap();
        stream.launch_graph(&graph).unwrap();
        stream.synchronize().unwrap();
        drop(word);
        stream.launch_graph(&graph).unwrap();
        let error = stream.synchronize().unwrap_err();
        assert_eq!(error.status(), Status::ERROR_INVALID_VALUE, "its memory was freed");
        stream.synchronize().unwrap();
    });
}

/// Longer than what goes through staging at once.
#[test]
fn a_graph_of_many_nodes_travels() {
    with_and_without_delays(|client| {
        let context = client.context().unwrap();
        let stream = context.stream().unwrap();
        let words = context.alloc::<u32>(16).unwrap();
        let count = 60_000_u32;
        let works = (0..count).map(|at| write(words.address().0 + u64::from(at % 16) * 4, at)).collect();
        let graph = context.graph(&chain(&context, works), GraphObjects::default(), 0).unwrap();
        stream.launch_graph(&graph).unwrap();
        let mut out = [0; 16];
        stream.copy_to_host(&words, &mut out).unwrap();
        let expected: Vec<u32> = (count - 16..count).collect();
        assert_eq!(out[..], expected[..]);
    });
}
