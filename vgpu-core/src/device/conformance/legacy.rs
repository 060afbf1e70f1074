//! The legacy stream against blocking streams, non-blocking streams and other contexts.

use super::rig::{Rig, Told, wait_value, write_value};
use super::{Make, case_list};

case_list!(
    legacy_work_waits_for_blocking_streams,
    blocking_streams_wait_for_legacy_work,
    blocking_streams_do_not_wait_for_each_other,
    a_non_blocking_stream_is_exempt,
    another_context_is_exempt,
    a_chain_through_the_legacy_stream_keeps_its_order,
);

fn legacy_work_waits_for_blocking_streams(make: &Make) {
    let rig = Rig::new(make);
    let (gate, out) = (rig.pin(4096), rig.alloc(8));
    let legacy = rig.context.legacy_stream();
    let streams = [rig.stream(), rig.stream(), rig.stream()];
    rig.submit(streams[1], wait_value(gate.address(), 1));
    rig.mark(streams[1], 1);
    // A mark alone is no work: a stream without work is complete, whatever others do.
    rig.submit(legacy, write_value(out + 4, 1));
    rig.mark(legacy, 2);
    // The third stream has no work of before, but its work of after waits for the legacy stream's.
    rig.submit(streams[2], write_value(out, 1));
    rig.mark(streams[2], 3);
    let exempt = rig.context.stream_create(false, 0).expect("a stream");
    rig.mark(exempt, 4);
    rig.ears.wait_for(&Told::Mark(4));
    assert_eq!(rig.ears.marks(), [4]);
    rig.submit(exempt, write_value(gate.address(), 1));
    rig.ears.wait_for(&Told::Mark(3));
    assert_eq!(rig.ears.marks(), [4, 1, 2, 3]);
}

fn blocking_streams_wait_for_legacy_work(make: &Make) {
    let rig = Rig::new(make);
    let gate = rig.alloc(8);
    let (legacy, blocking) = (rig.context.legacy_stream(), rig.stream());
    let exempt = rig.context.stream_create(false, 0).expect("a stream");
    rig.submit(legacy, wait_value(gate, 1));
    rig.mark(legacy, 1);
    rig.submit(blocking, write_value(gate + 4, 1));
    rig.mark(blocking, 2);
    rig.mark(exempt, 3);
    rig.ears.wait_for(&Told::Mark(3));
    assert_eq!(rig.ears.marks(), [3]);
    rig.submit(exempt, write_value(gate, 1));
    rig.ears.wait_for(&Told::Mark(2));
    assert_eq!(rig.ears.marks(), [3, 1, 2]);
}

fn blocking_streams_do_not_wait_for_each_other(make: &Make) {
    let rig = Rig::new(make);
    let gate = rig.alloc(4);
    let (first, second) = (rig.stream(), rig.stream());
    rig.submit(first, wait_value(gate, 1));
    rig.mark(first, 1);
    rig.mark(second, 2);
    rig.ears.wait_for(&Told::Mark(2));
    rig.submit(second, write_value(gate, 1));
    rig.ears.wait_for(&Told::Mark(1));
    assert_eq!(rig.ears.marks(), [2, 1]);
}

fn a_non_blocking_stream_is_exempt(make: &Make) {
    let rig = Rig::new(make);
    let gate = rig.alloc(4);
    let exempt = rig.context.stream_create(false, 0).expect("a stream");
    rig.submit(exempt, wait_value(gate, 1));
    rig.mark(exempt, 1);
    rig.mark(rig.context.legacy_stream(), 2);
    rig.ears.wait_for(&Told::Mark(2));
    rig.submit(rig.context.legacy_stream(), write_value(gate, 1));
    rig.ears.wait_for(&Told::Mark(1));
    assert_eq!(rig.ears.marks(), [2, 1]);
}

fn another_context_is_exempt(make: &Make) {
    let device = make();
    let (rig, other) = (Rig::on(device.clone()), Rig::on(device));
    let gate = rig.alloc(4);
    rig.submit(rig.context.legacy_stream(), wait_value(gate, 1));
    rig.submit(rig.stream(), wait_value(gate, 1));
    other.wait(other.context.legacy_stream());
    other.wait(other.stream());
    let exempt = rig.context.stream_create(false, 0).expect("a stream");
    rig.submit(exempt, write_value(gate, 1));
    rig.synchronize();
}

fn a_chain_through_the_legacy_stream_keeps_its_order(make: &Make) {
    let rig = Rig::new(make);
    let legacy = rig.context.legacy_stream();
    let streams = [rig.stream(), rig.stream(), rig.stream(), rig.stream()];
    for round in 0..40_u64 {
        rig.mark(streams[(round % 4) as usize], 2 * round);
        rig.mark(legacy, 2 * round + 1);
    }
    rig.synchronize();
    assert_eq!(rig.ears.marks(), (0..80).collect::<Vec<_>>());
}
