//! Each rule of a description has its own error; each test here fails when its rule is gone.

use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::codec::CodecError;
use crate::limits::{
    GRAPH_EDGES_MAX, GRAPH_EVENTS_MAX, GRAPH_NODES_MAX, LAUNCH_ATTRIBUTE_BYTES_MAX, PARAMS_BYTES_MAX,
};

fn node(work: GraphWork) -> GraphNode {
    GraphNode { context: 1 << 32, work }
}

fn kernel(params: usize, attributes: usize) -> GraphWork {
    GraphWork::Kernel {
        function: 1 << 32,
        grid: [1; 3],
        block: [32, 1, 1],
        shared_bytes: 0,
        cooperative: false,
        attributes: vec![0; attributes],
        params: vec![7; params],
    }
}

/// A copy of `depth` slices of `height` rows of 16 bytes.
fn copy(height: u64, depth: u64, pitch: u64, slice: u64) -> GraphWork {
    GraphWork::Memcpy {
        destination: 0x1000,
        source: 0x2000,
        width_bytes: 16,
        height,
        depth,
        destination_pitch: pitch,
        source_pitch: pitch,
        destination_slice: slice,
        source_slice: slice,
    }
}

fn memset(element_bytes: u32, height: u64, pitch: u64) -> GraphWork {
    GraphWork::Memset { destination: 0x1000, value: 1, element_bytes, width: 8, height, pitch }
}

fn graph(works: Vec<GraphWork>, edges: Vec<GraphEdge>) -> GraphDescription {
    GraphDescription { nodes: works.into_iter().map(node).collect(), edges }
}

fn broken_node(work: GraphWork) -> NodeRule {
    match graph(vec![GraphWork::Empty, work], vec![]).check() {
        Err(GraphError::Node { node: 1, rule }) => rule,
        other => panic!("{other:?}"),
    }
}

fn broken_edge(edge: GraphEdge) -> EdgeRule {
    let nodes = vec![kernel(0, 0), kernel(0, 0), GraphWork::Empty];
    match graph(nodes, vec![GraphEdge::plain(0, 1), edge]).check() {
        Err(GraphError::Edge { edge: 1, rule }) => rule,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_graph_of_every_kind_comes_back() {
    let works = vec![
        GraphWork::Empty,
        kernel(PARAMS_BYTES_MAX as usize, LAUNCH_ATTRIBUTE_BYTES_MAX as usize),
        copy(1, 1, 0, 0),
        copy(3, 1, 32, 0),
        copy(3, 2, 32, 128),
        memset(4, 2, 64),
        GraphWork::EventRecord { event: 1 << 32 },
        GraphWork::EventWait { event: 1 << 32 },
        GraphWork::WriteValue32 { address: 0x1000, value: 1 },
        GraphWork::WaitValue32 { address: 0x1000, value: 1, condition: 3 },
        kernel(8, 0),
    ];
    let early = GraphEdge { from: 1, to: 10, from_port: 1, to_port: 0, kind: EDGE_PROGRAMMATIC };
    let sent = graph(works, vec![GraphEdge::plain(0, 1), GraphEdge::plain(1, 10), early]);
    let bytes = sent.encode().unwrap();
    assert_eq!(GraphDescription::decode(&bytes), Ok(sent));
    assert_eq!(
        GraphDescription::decode(&GraphDescription::default().encode().unwrap()).unwrap().nodes.len(),
        0
    );
}

#[test]
fn counts_are_bounded_in_values_and_while_decoding() {
    let count = GRAPH_NODES_MAX as usize + 1;
    let many = graph(vec![GraphWork::Empty; count], vec![]);
    assert_eq!(many.check(), Err(GraphError::Nodes { count }));
    let bytes = codec::encode_within::<_, BYTES_MAX>(&many).unwrap();
    assert_eq!(GraphDescription::decode(&bytes), Err(GraphError::Codec(CodecError::Malformed)));

    let count = GRAPH_EDGES_MAX as usize + 1;
    let many = graph(vec![GraphWork::Empty; 2], vec![GraphEdge::plain(0, 1); count]);
    assert_eq!(many.check(), Err(GraphError::Edges { count }));
    let bytes = codec::encode_within::<_, BYTES_MAX>(&many).unwrap();
    assert_eq!(GraphDescription::decode(&bytes), Err(GraphError::Codec(CodecError::Malformed)));

    let count = GRAPH_EVENTS_MAX as usize + 1;
    let mut works = vec![GraphWork::EventRecord { event: 1 << 32 }; count];
    works[0] = GraphWork::EventWait { event: 1 << 32 };
    assert_eq!(graph(works, vec![]).check(), Err(GraphError::Events { count }));
}

#[test]
fn a_list_that_claims_more_than_is_there_is_malformed() {
    for claim in [[0xfb, 0xff, 0xff], [0xfd, 0xff, 0xff]] {
        let refused = GraphDescription::decode(&claim);
        assert_eq!(refused, Err(GraphError::Codec(CodecError::Malformed)), "{claim:?}");
    }
    let mut bytes = graph(vec![GraphWork::Empty], vec![]).encode().unwrap();
    bytes.push(0);
    assert_eq!(GraphDescription::decode(&bytes), Err(GraphError::Codec(CodecError::Trailing { bytes: 1 })));
}

#[test]
fn kernels_are_checked() {
    for at in 0..3 {
        for in_grid in [true, false] {
            let mut work = kernel(0, 0);
            if let GraphWork::Kernel { grid, block, .. } = &mut work {
                if in_grid { grid[at] = 0 } else { block[at] = 0 }
            }
            assert_eq!(broken_node(work), NodeRule::Dimensions);
        }
    }
    assert_eq!(broken_node(kernel(PARAMS_BYTES_MAX as usize + 1, 0)), NodeRule::Params);
    assert_eq!(broken_node(kernel(0, LAUNCH_ATTRIBUTE_BYTES_MAX as usize + 1)), NodeRule::Attributes);
}

#[test]
fn copies_are_checked() {
    assert_eq!(broken_node(copy(0, 1, 16, 16)), NodeRule::Extent);
    assert_eq!(broken_node(copy(1, 0, 16, 16)), NodeRule::Extent);
    assert_eq!(broken_node(copy(2, 1, 15, 0)), NodeRule::Strides, "rows overlap");
    assert_eq!(broken_node(copy(2, 2, 16, 16)), NodeRule::Strides, "slices overlap");
    assert_eq!(broken_node(copy(2, 2, 16, 40)), NodeRule::Strides, "a slice of two and a half rows");
    assert_eq!(broken_node(copy(1, 2, 0, 16)), NodeRule::Strides, "a slice without a row");
    assert_eq!(broken_node(copy(u64::MAX, 1, 16, 0)), NodeRule::Strides);
    assert_eq!(broken_node(copy(2, u64::MAX, 16, 32)), NodeRule::Strides);
    let mut high = copy(1, 1, 0, 0);
    if let GraphWork::Memcpy { source, .. } = &mut high {
        *source = u64::MAX - 8;
    }
    assert_eq!(broken_node(high), NodeRule::Strides);
}

#[test]
fn fills_and_words_are_checked() {
    assert_eq!(broken_node(memset(3, 1, 0)), NodeRule::ElementSize);
    assert_eq!(broken_node(memset(4, 0, 0)), NodeRule::Extent);
    assert_eq!(broken_node(memset(4, 2, 34)), NodeRule::Alignment);
    assert_eq!(broken_node(memset(4, 2, 28)), NodeRule::Strides);
    let odd = GraphWork::Memset { destination: 2, value: 0, element_bytes: 4, width: 1, height: 1, pitch: 0 };
    assert_eq!(broken_node(odd), NodeRule::Alignment);
    assert_eq!(broken_node(GraphWork::WriteValue32 { address: 2, value: 0 }), NodeRule::Alignment);
    let wait = |address, condition| GraphWork::WaitValue32 { address, value: 0, condition };
    assert_eq!(broken_node(wait(2, 0)), NodeRule::Alignment);
    assert_eq!(broken_node(wait(4, 4)), NodeRule::Condition);
}

#[test]
fn edges_are_checked() {
    assert_eq!(broken_edge(GraphEdge::plain(1, 1)), EdgeRule::Ascending);
    assert_eq!(broken_edge(GraphEdge::plain(1, 0)), EdgeRule::Ascending);
    assert_eq!(broken_edge(GraphEdge::plain(1, 3)), EdgeRule::Range);
    assert_eq!(broken_edge(GraphEdge::plain(0, 1)), EdgeRule::Duplicate);
    let edge = GraphEdge { from: 0, to: 1, from_port: 1, to_port: 0, kind: EDGE_PROGRAMMATIC };
    for wrong in [
        GraphEdge { kind: 2, ..edge },
        GraphEdge { from_port: 3, ..edge },
        GraphEdge { from_port: 0, ..edge },
        GraphEdge { to_port: 1, ..edge },
        GraphEdge { to: 2, ..edge },
    ] {
        assert_eq!(broken_edge(wrong), EdgeRule::Kind, "{wrong:?}");
    }
    let behind_empty = GraphEdge { from: 0, to: 1, from_port: 2, to_port: 0, kind: EDGE_DEFAULT };
    let refused = graph(vec![GraphWork::Empty, kernel(0, 0)], vec![behind_empty]).check();
    assert_eq!(refused, Err(GraphError::Edge { edge: 0, rule: EdgeRule::Kind }));
}

#[test]
fn errors_name_the_place_and_the_limit() {
    let text = alloc::format!("{}", GraphError::Nodes { count: 70_000 });
    assert!(text.contains("70000") && text.contains("65536"), "{text}");
    let text = alloc::format!("{}", GraphError::Node { node: 4, rule: NodeRule::Params });
    assert!(text.contains("node 4") && text.contains("32764"), "{text}");
}

proptest! {
    #[test]
    fn any_bytes_decode_or_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = GraphDescription::decode(&bytes);
    }

    #[test]
    fn a_changed_byte_never_breaks_a_rule(at in 0usize..200, value in any::<u8>()) {
        let works = vec![kernel(16, 0), copy(3, 2, 32, 128), memset(4, 2, 64), kernel(8, 0)];
        let mut bytes = graph(works, vec![GraphEdge::plain(0, 1), GraphEdge::plain(1, 2)]).encode().unwrap();
        let at = at % bytes.len();
        bytes[at] = value;
        if let Ok(decoded) = GraphDescription::decode(&bytes) {
            prop_assert_eq!(decoded.check(), Ok(()));
        }
    }
}
