//! Events: what a wait binds to, times, and ends.

use std::thread;

use vgpu_proto::Status;

use super::rig::{Rig, Told, let_it_block, wait_value, write_value};
use super::{Make, case_list};
use crate::device::{EventKey, Work};

case_list!(
    a_wait_for_no_record_passes,
    a_wait_holds_until_the_record,
    a_wait_keeps_the_record_it_saw,
    a_destroyed_event_still_holds_its_waits,
    waits_cross_contexts,
    synchronise_waits_for_the_latest_record,
    times_go_forward,
    times_that_are_not_there_are_told_apart,
    unknown_events_are_refused,
    a_refused_record_is_none,
);

fn a_wait_for_no_record_passes(make: &Make) {
    let rig = Rig::new(make);
    let (stream, event) = (rig.stream(), rig.event());
    rig.submit(stream, Work::Wait(event));
    rig.mark(stream, 1);
    rig.ears.wait_for(&Told::Mark(1));
    rig.context.event_synchronize(event).expect("nothing to wait for");
}

fn a_wait_holds_until_the_record(make: &Make) {
    let rig = Rig::new(make);
    let (gate, event) = (rig.alloc(4), rig.event());
    let (records, waits, other) = (rig.stream(), rig.stream(), rig.stream());
    rig.submit(records, wait_value(gate, 1));
    rig.mark(records, 1);
    rig.submit(records, Work::Record(event));
    rig.submit(waits, Work::Wait(event));
    rig.mark(waits, 2);
    rig.mark(other, 3);
    rig.ears.wait_for(&Told::Mark(3));
    assert_eq!(rig.ears.marks(), [3]);
    rig.submit(other, write_value(gate, 1));
    rig.ears.wait_for(&Told::Mark(2));
    assert_eq!(rig.ears.marks(), [3, 1, 2]);
}

fn a_wait_keeps_the_record_it_saw(make: &Make) {
    let rig = Rig::new(make);
    let (gates, event) = (rig.alloc(8), rig.event());
    let (records, early, late, other) = (rig.stream(), rig.stream(), rig.stream(), rig.stream());
    rig.submit(records, wait_value(gates, 1));
    rig.submit(records, Work::Record(event));
    rig.submit(early, Work::Wait(event));
    rig.mark(early, 1);
    rig.submit(records, wait_value(gates + 4, 1));
    rig.submit(records, Work::Record(event));
    rig.submit(late, Work::Wait(event));
    rig.mark(late, 2);
    rig.submit(other, write_value(gates, 1));
    rig.ears.wait_for(&Told::Mark(1));
    rig.wait(other);
    assert!(!rig.ears.marks().contains(&2), "the second record is not complete");
    rig.submit(other, write_value(gates + 4, 1));
    rig.ears.wait_for(&Told::Mark(2));
}

fn a_destroyed_event_still_holds_its_waits(make: &Make) {
    let rig = Rig::new(make);
    let (gate, event) = (rig.alloc(4), rig.event());
    let (records, waits, other) = (rig.stream(), rig.stream(), rig.stream());
    rig.submit(records, wait_value(gate, 1));
    rig.submit(records, Work::Record(event));
    rig.submit(waits, Work::Wait(event));
    rig.mark(waits, 1);
    rig.context.event_destroy(event);
    rig.mark(other, 2);
    rig.ears.wait_for(&Told::Mark(2));
    assert_eq!(rig.ears.marks(), [2]);
    rig.submit(other, write_value(gate, 1));
    rig.ears.wait_for(&Told::Mark(1));
}

fn waits_cross_contexts(make: &Make) {
    let device = make();
    let (rig, other) = (Rig::on(device.clone()), Rig::on(device));
    let (gate, event) = (rig.alloc(4), rig.event());
    let (records, waits) = (rig.stream(), other.stream());
    rig.submit(records, wait_value(gate, 1));
    rig.submit(records, Work::Record(event));
    other.submit(waits, Work::Wait(event));
    other.mark(waits, 1);
    other.wait(other.stream());
    assert!(!other.ears.marks().contains(&1));
    rig.submit(rig.stream(), write_value(gate, 1));
    other.ears.wait_for(&Told::Mark(1));
}

fn synchronise_waits_for_the_latest_record(make: &Make) {
    let rig = Rig::new(make);
    let (gate, event) = (rig.alloc(4), rig.event());
    let (records, other) = (rig.stream(), rig.stream());
    rig.submit(other, Work::Record(event));
    rig.submit(records, wait_value(gate, 1));
    rig.mark(records, 1);
    rig.submit(records, Work::Record(event));
    thread::scope(|scope| {
        let waits = scope.spawn(|| {
            rig.context.event_synchronize(event).expect("no sticky error");
            rig.ears.marks()
        });
        let_it_block();
        rig.submit(other, write_value(gate, 1));
        assert_eq!(waits.join().expect("no panic"), [1]);
    });
}

fn times_go_forward(make: &Make) {
    let rig = Rig::new(make);
    let stream = rig.stream();
    let (start, end) = (rig.event(), rig.event());
    rig.submit(stream, Work::Record(start));
    rig.wait(stream);
    rig.submit(stream, Work::Record(end));
    rig.context.event_synchronize(end).expect("no sticky error");
    let forward = rig.context.event_elapsed_ns(start, end).expect("both are complete");
    let back = rig.context.event_elapsed_ns(end, start).expect("both are complete");
    assert!(forward >= 0, "{forward}");
    assert_eq!(forward, -back);
    assert_eq!(rig.context.event_elapsed_ns(start, start).expect("it is complete"), 0);
}

fn times_that_are_not_there_are_told_apart(make: &Make) {
    let rig = Rig::new(make);
    let (gate, stream) = (rig.alloc(4), rig.stream());
    let (done, never, held) = (rig.event(), rig.event(), rig.event());
    let timeless = rig.context.event_create(false).expect("an event");
    rig.submit(stream, Work::Record(done));
    rig.submit(stream, Work::Record(timeless));
    rig.submit(stream, wait_value(gate, 1));
    rig.submit(stream, Work::Record(held));
    rig.context.event_synchronize(timeless).expect("no sticky error");
    let status = |start, end| rig.context.event_elapsed_ns(start, end).expect_err("no time").status;
    assert_eq!(status(done, never), Status::ERROR_INVALID_HANDLE);
    assert_eq!(status(timeless, done), Status::ERROR_INVALID_HANDLE);
    assert_eq!(status(done, held), Status::ERROR_NOT_READY);
    rig.submit(rig.stream(), write_value(gate, 1));
    rig.synchronize();
    rig.context.event_elapsed_ns(done, held).expect("now both are complete");
}

fn unknown_events_are_refused(make: &Make) {
    let rig = Rig::new(make);
    let stream = rig.stream();
    let gone = rig.event();
    rig.context.event_destroy(gone);
    rig.context.event_destroy(gone);
    for event in [gone, EventKey(u64::MAX)] {
        assert_eq!(rig.refused(stream, Work::Record(event)), Status::ERROR_INVALID_HANDLE);
        assert_eq!(rig.refused(stream, Work::Wait(event)), Status::ERROR_INVALID_HANDLE);
        let error = rig.context.event_synchronize(event).expect_err("no such event");
        assert_eq!(error.status, Status::ERROR_INVALID_HANDLE);
    }
    rig.wait(stream);
}

fn a_refused_record_is_none(make: &Make) {
    let rig = Rig::new(make);
    let (gone, stream, event) = (rig.stream(), rig.stream(), rig.event());
    rig.context.stream_destroy(gone);
    assert_eq!(rig.refused(gone, Work::Record(event)), Status::ERROR_INVALID_HANDLE);
    rig.submit(stream, Work::Wait(event));
    rig.mark(stream, 1);
    rig.ears.wait_for(&Told::Mark(1));
}
