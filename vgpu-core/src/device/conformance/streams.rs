//! Streams: order within one, independence of others, their ends.

use std::thread;

use vgpu_proto::Status;
use vgpu_proto::limits::STREAM_PENDING_MAX;

use super::rig::{Rig, Told, copy, fill_words, let_it_block, wait_value, write_value};
use super::{Make, case_list};
use crate::device::StreamKey;

case_list!(
    marks_come_in_order,
    commands_run_in_order,
    a_held_stream_holds_up_no_other,
    a_large_copy_holds_up_no_other,
    synchronise_covers_every_stream,
    a_synchronise_sees_only_what_was_submitted_before,
    a_destroyed_stream_finishes_its_work,
    unknown_streams_are_refused,
    a_full_stream_tells_of_progress,
    priorities_are_hints,
);

fn marks_come_in_order(make: &Make) {
    let rig = Rig::new(make);
    let stream = rig.stream();
    for value in 1..=1_000 {
        rig.make_room(stream);
        rig.mark(stream, value);
    }
    rig.ears.wait_for(&Told::Mark(1_000));
    assert_eq!(rig.ears.marks(), (1..=1_000).collect::<Vec<_>>());
}

fn commands_run_in_order(make: &Make) {
    let rig = Rig::new(make);
    let stream = rig.stream();
    let words = rig.alloc(400);
    for round in 1..=100 {
        rig.submit(stream, fill_words(words, round, 1));
        rig.submit(stream, copy(words + u64::from(round) * 4 - 4, words, 4));
    }
    rig.wait(stream);
    let mut expected: Vec<u32> = (1..=100).collect();
    expected[0] = 100;
    assert_eq!(rig.download_words(words, 100), expected);
}

fn a_held_stream_holds_up_no_other(make: &Make) {
    let rig = Rig::new(make);
    let gate = rig.alloc(4);
    let held: Vec<StreamKey> = (0..20).map(|_| rig.stream()).collect();
    for (stream, value) in held.iter().zip(100..) {
        rig.submit(*stream, wait_value(gate, 1));
        rig.mark(*stream, value);
    }
    let free = rig.stream();
    rig.mark(free, 1);
    rig.ears.wait_for(&Told::Mark(1));
    assert_eq!(rig.ears.marks(), [1]);
    rig.submit(free, write_value(gate, 1));
    rig.synchronize();
    let mut marks = rig.ears.marks();
    marks.sort_unstable();
    assert_eq!(marks, [1].into_iter().chain(100..120).collect::<Vec<_>>());
}

fn a_large_copy_holds_up_no_other(make: &Make) {
    let rig = Rig::new(make);
    let (from, to) = (rig.alloc(16 << 20), rig.alloc(16 << 20));
    let (large, small) = (rig.stream(), rig.stream());
    for _ in 0..32 {
        rig.submit(large, copy(to, from, 16 << 20));
    }
    rig.mark(large, 1);
    rig.mark(small, 2);
    rig.ears.wait_for(&Told::Mark(1));
    assert_eq!(rig.ears.marks(), [2, 1]);
}

fn synchronise_covers_every_stream(make: &Make) {
    let rig = Rig::new(make);
    let gate = rig.alloc(4);
    let (first, second) = (rig.stream(), rig.context.stream_create(false, 0).expect("a stream"));
    thread::scope(|scope| {
        rig.submit(first, wait_value(gate, 1));
        rig.mark(first, 1);
        rig.submit(second, wait_value(gate, 1));
        rig.mark(second, 2);
        let waits = scope.spawn(|| {
            rig.synchronize();
            rig.ears.marks().len()
        });
        let_it_block();
        rig.submit(rig.context.stream_create(false, 0).expect("a stream"), write_value(gate, 1));
        assert_eq!(waits.join().expect("no panic"), 2);
    });
}

fn a_synchronise_sees_only_what_was_submitted_before(make: &Make) {
    let rig = Rig::new(make);
    let (early, late) = (rig.alloc(4), rig.alloc(4));
    let (first, second) = (rig.stream(), rig.stream());
    rig.submit(first, wait_value(early, 1));
    thread::scope(|scope| {
        let waits = scope.spawn(|| rig.context.synchronize());
        let_it_block();
        rig.submit(second, write_value(early, 1));
        waits.join().expect("no panic").expect("no sticky error");
    });
    rig.submit(second, wait_value(late, 1));
    rig.mark(first, 1);
    rig.ears.wait_for(&Told::Mark(1));
    rig.submit(first, write_value(late, 1));
    rig.synchronize();
}

fn a_destroyed_stream_finishes_its_work(make: &Make) {
    let rig = Rig::new(make);
    let gate = rig.alloc(4);
    let (held, other) = (rig.stream(), rig.stream());
    rig.submit(held, wait_value(gate, 1));
    rig.mark(held, 1);
    rig.context.stream_destroy(held);
    assert_eq!(rig.refused(held, write_value(gate, 1)), Status::ERROR_INVALID_HANDLE);
    rig.submit(other, write_value(gate, 1));
    rig.ears.wait_for(&Told::Mark(1));
    rig.synchronize();
    assert_eq!(rig.context.stream_pending(held), 0);
}

fn unknown_streams_are_refused(make: &Make) {
    let device = make();
    let (rig, other) = (Rig::on(device.clone()), Rig::on(device));
    let word = rig.alloc(4);
    let gone = rig.stream();
    rig.context.stream_destroy(gone);
    for stream in [gone, other.stream(), other.context.legacy_stream(), StreamKey(u64::MAX)] {
        assert_eq!(rig.refused(stream, write_value(word, 1)), Status::ERROR_INVALID_HANDLE, "{stream:?}");
    }
    rig.context.stream_destroy(StreamKey(u64::MAX));
    rig.context.stream_destroy(other.context.legacy_stream());
    other.wait(other.context.legacy_stream());
    rig.synchronize();
    assert_eq!(rig.word(word), 0);
}

fn a_full_stream_tells_of_progress(make: &Make) {
    // A session may want fewer than the limit, where its commands hold much.
    for wanted in [20, STREAM_PENDING_MAX] {
        let rig = Rig::new(make);
        let gate = rig.alloc(4);
        let (full, other) = (rig.stream(), rig.stream());
        rig.submit(full, wait_value(gate, 1));
        let mut last = 0;
        while rig.context.stream_pending(full) < wanted {
            last += 1;
            rig.mark(full, last);
        }
        assert_eq!(rig.ears.told(), []);
        rig.submit(other, write_value(gate, 1));
        rig.ears.wait_for(&Told::Progress);
        rig.ears.wait_for(&Told::Mark(last));
        rig.synchronize();
        assert_eq!(rig.context.stream_pending(full), 0);
    }
}

fn priorities_are_hints(make: &Make) {
    let rig = Rig::new(make);
    let word = rig.alloc(4);
    let urgent = rig.context.stream_create(true, i32::MIN).expect("any priority is taken");
    let patient = rig.context.stream_create(true, i32::MAX).expect("any priority is taken");
    rig.submit(urgent, wait_value(word, 1));
    rig.mark(urgent, 1);
    rig.submit(patient, write_value(word, 1));
    rig.ears.wait_for(&Told::Mark(1));
}
