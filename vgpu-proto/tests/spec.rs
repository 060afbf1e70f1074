//! `SPEC.md` and the code say the same.

use vgpu_proto::{Class, Op, Order, Violation, limits, window};

const SPEC: &str = include_str!("../SPEC.md");

#[test]
fn every_operation_stands_in_the_spec_as_in_the_table() {
    for op in Op::ALL {
        let class = match op.class() {
            Class::Local => "local",
            Class::Async => "async",
            Class::Quick => "quick",
            Class::Blocking => "blocking",
        };
        let order = match op.order() {
            Order::Free => "free",
            Order::Stream => "stream",
            Order::Context => "context",
        };
        let lease = if op.needs_lease() { "yes" } else { "no" };
        let row = format!("| {:#04x} | {op} | {class} | {order} | {lease} | {} |", op.number(), op.since());
        assert!(SPEC.contains(&row), "SPEC.md lacks: {row}");
    }
}

#[test]
fn every_violation_stands_in_the_spec() {
    for violation in Violation::ALL {
        let row = format!("| `{violation}` |");
        assert!(SPEC.contains(&row), "SPEC.md lacks: {row}");
    }
}

#[test]
fn the_layout_stands_in_the_spec() {
    let offsets = [
        window::RING_TAIL,
        window::RING_HEAD,
        window::RING_NEED_WAKE,
        window::NEED_KICK,
        window::ATTENTION,
        window::DEFERRED_ERROR,
        window::DEFERRED_COUNT,
        window::SESSION_ERROR,
        window::OUTPUT_BYTES,
        window::CONTEXT_ERRORS,
    ];
    for offset in offsets {
        assert!(SPEC.contains(&format!("| 0x{offset:03x} | ")), "SPEC.md lacks the word at {offset:#x}");
    }
    for (offset, size) in [
        (window::REPLIES, format!("{} × {}", limits::REPLY_SLOTS, window::REPLY_SLOT_BYTES)),
        (window::STREAMS, format!("1,024 × {}", window::STREAM_SLOT_BYTES)),
        (window::RING, "1 MiB".to_owned()),
    ] {
        assert!(SPEC.contains(&format!("| {offset:#x} | {size} |")), "SPEC.md lacks {offset:#x} | {size}");
    }
    assert_eq!(limits::STREAMS_MAX, 1_024);
    assert_eq!(limits::RING_BYTES, 1 << 20);
}
