//! The lease's gate: what waits for it, what is in flight at most, and what the broker is told.

use std::sync::atomic::Ordering;

use vgpu_proto::{StreamId, body};
use vgpu_sched::{Duration, Instant};

use super::graphs::{EVENT, event, instantiate, launch, wait};
use super::guest::LEGACY;
use super::leased::Leased;
use crate::lease::{Grant, Held, InFlight};

#[test]
fn kernels_wait_for_the_lease_and_copies_do_not() {
    let mut leased = Leased::new();
    let other = leased.guest.stream(1, body::STREAM_NON_BLOCKING);
    leased.fill(LEGACY, 3);
    assert!(leased.claims().wants && leased.kicks() == 1);
    let copy =
        body::MemcpyFromStaging { destination: 4096.into(), staging_offset: 0.into(), bytes: 8.into() };
    leased.guest.send(other.raw(), None, &copy, &[]);
    leased.turn();
    assert_eq!(leased.device.take(), [(1, "copy 8".into())]);
    leased.fill(other, 4);
    assert_eq!(leased.kicks(), 0, "the broker knows");
    leased.grant(1, true, false);
    assert_eq!(leased.went(), [3, 4]);
    let claims = leased.claims();
    assert_eq!((claims.using, claims.in_flight), (1, InFlight::Running));
}

#[test]
fn a_lease_is_drained_when_the_gpu_is_done() {
    let mut leased = Leased::new();
    leased.grant(1, true, true);
    leased.fill(LEGACY, 3);
    leased.grant(1, false, true);
    leased.fill(LEGACY, 4);
    let claims = leased.claims();
    assert_eq!((claims.closed, claims.drained, claims.in_flight), (1, 0, InFlight::Running));
    assert_eq!(leased.went(), [3]);
    leased.kicks();
    leased.complete(1_000);
    let claims = leased.claims();
    assert_eq!((claims.drained, claims.in_flight, claims.wants), (1, InFlight::Nothing, true));
    assert!(leased.kicks() > 0);
    leased.grant(2, true, true);
    assert_eq!((leased.went(), leased.claims().using), (vec![4], 2));
}

#[test]
fn a_lease_that_was_not_used_has_nothing_to_drain() {
    let mut leased = Leased::new();
    leased.grant(1, true, true);
    leased.grant(1, false, true);
    let claims = leased.claims();
    assert_eq!((claims.using, claims.closed, claims.drained), (0, 0, 0));
    assert_eq!(leased.kicks(), 0);
}

#[test]
fn a_gate_that_closed_between_two_turns_holds_the_next_command() {
    let mut leased = Leased::new();
    leased.grant(1, true, true);
    // Closed between two turns: the next command must find that.
    leased.grant.publish(Grant { epoch: 1, open: false, contended: true, held: Held::default() });
    leased.fill(LEGACY, 3);
    assert_eq!(leased.went(), [0_u32; 0]);
}

#[test]
fn what_is_in_flight_is_bounded_by_what_it_takes() {
    let mut leased = Leased::new();
    leased.grant(1, true, true);
    (0..3).for_each(|_| leased.fill(LEGACY, 3));
    assert_eq!(leased.went(), [3], "nothing is known of it: one at a time");
    leased.complete(200_000);
    assert_eq!(leased.went(), [3, 3], "200 us each, and 500 us are the bound");
    leased.fill(LEGACY, 3);
    assert_eq!(leased.went(), [0_u32; 0]);
    leased.pass(150_000);
    leased.turn();
    assert_eq!(leased.went(), [3], "what is in flight is 50 us from the bound by now");
    leased.fill(LEGACY, 3);
    assert_eq!(leased.went(), [0_u32; 0]);
    leased.grant(1, true, false);
    assert_eq!(leased.went(), [3], "alone it may have 10 ms");
}

#[test]
fn long_kernels_follow_one_another_without_a_gap() {
    let mut leased = Leased::new();
    leased.grant(1, true, true);
    leased.fill(LEGACY, 3);
    leased.complete(3_000_000);
    leased.fill(LEGACY, 3);
    leased.fill(LEGACY, 3);
    assert_eq!(leased.went(), [3, 3], "each by itself is beyond the bound");
    leased.pass(2_700_000);
    leased.turn();
    assert_eq!(leased.went(), [0_u32; 0]);
    leased.pass(100_000);
    leased.turn();
    assert_eq!(leased.went(), [3], "the first is nearly done");
}

#[test]
fn work_that_stands_still_may_wait_for_another_stream() {
    let mut leased = Leased::new();
    let other = leased.guest.stream(1, body::STREAM_NON_BLOCKING);
    leased.grant(1, true, true);
    leased.fill(LEGACY, 3);
    leased.fill(LEGACY, 3);
    leased.fill(other, 4);
    leased.fill(other, 4);
    assert_eq!(leased.went(), [3]);
    leased.pass(1_999_999);
    leased.turn();
    assert_eq!(leased.went(), [0_u32; 0]);
    leased.pass(1);
    leased.turn();
    assert_eq!(leased.went(), [4], "one, of the stream that has none");
}

#[test]
fn without_a_sign_of_the_broker_work_goes_on() {
    let mut leased = Leased::new();
    leased.fill(LEGACY, 3);
    for _ in 0..10 {
        leased.pass(90_000_000);
        leased.turn();
    }
    assert_eq!(leased.went(), [0_u32; 0], "the broker lives");
    leased.world.nanos.fetch_add(100_000_001, Ordering::SeqCst);
    leased.turn();
    leased.turn();
    assert_eq!(leased.went(), [0_u32; 0], "the whole machine may have paused");
    leased.world.nanos.fetch_add(20_000_000, Ordering::SeqCst);
    leased.turn();
    leased.turn();
    assert_eq!(leased.went(), [3]);
    leased.world.nanos.fetch_add(7_000, Ordering::SeqCst);
    leased.device.complete();
    leased.turn();
    leased.fill(LEGACY, 3);
    assert_eq!((leased.went(), leased.claims().ungated), (vec![3], Duration::from_nanos(7_000)));
    // It is back, and somebody else has the lease.
    leased.complete(3_000);
    assert_eq!(leased.claims().ungated, Duration::from_nanos(10_000));
    leased.fill(LEGACY, 3);
    assert_eq!(leased.went(), [0_u32; 0]);
    leased.pass(1_000_000);
    leased.turn();
    assert_eq!(leased.claims().ungated, Duration::from_nanos(10_000));
}

#[test]
fn what_waits_for_the_guest_is_neither_running_nor_wanted() {
    let mut leased = Leased::new();
    let other = leased.guest.stream(1, body::STREAM_NON_BLOCKING);
    leased.grant(1, true, true);
    let wait = body::StreamWaitValue32 { address: 4096.into(), value: 1.into(), condition: 0.into() };
    leased.guest.send(other.raw(), None, &wait, &[]);
    leased.fill(other, 3);
    assert_eq!(leased.device.take(), [(1, "wait value 1".into())]);
    assert!(!leased.claims().wants, "it is the guest's turn");
    leased.complete(10);
    assert_eq!(leased.went(), [3]);
    assert!(leased.claims().wants);
}

#[test]
fn a_kernel_in_front_of_a_wait_runs_and_keeps_its_lease() {
    let mut leased = Leased::new();
    leased.grant(1, true, false);
    leased.fill(LEGACY, 3);
    let wait = body::StreamWaitValue32 { address: 4096.into(), value: 1.into(), condition: 0.into() };
    leased.guest.send(LEGACY.raw(), None, &wait, &[]);
    leased.fill(LEGACY, 4);
    assert_eq!(leased.went(), [3], "what is behind the wait is not submitted, also alone");
    let marks = leased.device.take_marks();
    assert_eq!(
        marks.iter().map(|(_, value)| *value).collect::<Vec<_>>(),
        [1, 2],
        "before the wait, and behind it"
    );
    leased.grant(1, false, true);
    let claims = leased.claims();
    assert_eq!((claims.in_flight, claims.drained), (InFlight::Running, 0));
    marks[0].0.signal(marks[0].1);
    leased.turn();
    assert_eq!(leased.claims().drained, 1, "the wait itself is nobody's lease");
}

#[test]
fn a_wait_that_passes_just_before_the_dispatcher_sleeps_is_not_missed() {
    let mut leased = Leased::new();
    leased.grant(1, true, true);
    let wait = body::StreamWaitValue32 { address: 4096.into(), value: 1.into(), condition: 0.into() };
    leased.guest.send(LEGACY.raw(), None, &wait, &[]);
    leased.fill(LEGACY, 3);
    assert_eq!(leased.went(), [0_u32; 0]);
    assert!(leased.guest.dispatcher.would_sleep());
    leased.turn();
    // After the turn, and before the mark's thread could see that the dispatcher wants to know.
    leased.device.complete();
    assert!(!leased.guest.dispatcher.would_sleep());
    leased.turn();
    assert_eq!(leased.went(), [3]);
}

#[test]
fn nobody_waits_for_the_answer_to_what_waits_for_the_guest() {
    let mut leased = Leased::new();
    leased.grant(1, true, false);
    let wait = body::StreamWaitValue32 { address: 4096.into(), value: 1.into(), condition: 0.into() };
    let fill = |count: u64| body::Memset {
        destination: 4096.into(),
        value: 0.into(),
        element_bytes: 1.into(),
        count: count.into(),
    };
    leased.guest.send(LEGACY.raw(), None, &wait, &[]);
    for count in [1, 2] {
        assert_eq!(leased.guest.call(LEGACY.raw(), &fill(count), &[]).0, vgpu_proto::Status::SUCCESS);
    }
    assert_eq!(leased.went(), [0_u32; 0]);
    // Nor where the wait is held itself, behind what has no lease.
    let other = leased.guest.stream(1, body::STREAM_NON_BLOCKING);
    leased.grant(1, false, true);
    leased.guest.send(other.raw(), None, &fill(4), &[]);
    leased.guest.send(other.raw(), None, &wait, &[]);
    assert_eq!(leased.guest.call(other.raw(), &fill(8), &[]).0, vgpu_proto::Status::SUCCESS);
    // What only waits for its turn is answered when it has it.
    let third = leased.guest.stream(2, body::STREAM_NON_BLOCKING);
    let reply = leased.guest.reply(7);
    leased.guest.send(third.raw(), Some(reply), &fill(16), &[]);
    leased.turn();
    assert_eq!(leased.guest.answer(reply), None);
    leased.grant(2, true, false);
    assert!(leased.guest.answer(reply).is_some());
    leased.complete(10);
    assert_eq!(leased.went(), [2, 4, 0, 1, 3]);
}

#[test]
fn a_graph_that_waits_for_an_event_behind_a_wait_is_not_submitted() {
    let mut leased = Leased::new();
    let other = leased.guest.stream(1, body::STREAM_NON_BLOCKING);
    leased.grant(1, true, true);
    event(&mut leased.guest, EVENT);
    assert_eq!(instantiate(&mut leased.guest, vec![wait()]), vgpu_proto::Status::SUCCESS);
    let value = body::StreamWaitValue32 { address: 4096.into(), value: 1.into(), condition: 0.into() };
    leased.guest.send(other.raw(), None, &value, &[]);
    leased.guest.send(other.raw(), None, &body::EventRecord { event: EVENT.raw().into() }, &[]);
    launch(&mut leased.guest, LEGACY);
    leased.turn();
    let launches =
        |leased: &Leased| leased.device.take().iter().filter(|(_, work)| work.starts_with("graph")).count();
    assert_eq!(launches(&leased), 0);
    leased.complete(10);
    assert_eq!(launches(&leased), 1);
}

#[test]
fn a_stream_that_always_has_more_does_not_keep_others_out() {
    let mut leased = Leased::new();
    let other = leased.guest.stream(1, body::STREAM_NON_BLOCKING);
    leased.grant(1, true, true);
    leased.fill(LEGACY, 3);
    leased.complete(200_000);
    (0..4).for_each(|_| leased.fill(LEGACY, 3));
    leased.fill(other, 4);
    leased.fill(other, 4);
    let mut went = leased.went();
    // What is done makes room, of which the first stream would take all.
    for _ in 0..8 {
        (0..4).for_each(|_| leased.fill(LEGACY, 3));
        leased.complete(400_000);
        went.extend(leased.went());
    }
    assert!(went.iter().filter(|kind| **kind == 4).count() == 2, "{went:?}");
    assert!(went.iter().filter(|kind| **kind == 3).count() > 6, "{went:?}");
}

#[test]
fn work_of_a_destroyed_stream_counts_until_it_is_done() {
    let mut leased = Leased::new();
    let first = leased.guest.stream(1, body::STREAM_NON_BLOCKING);
    leased.grant(1, true, true);
    leased.fill(first, 3);
    leased.guest.send(first.raw(), None, &body::StreamDestroy {}, &[]);
    leased.turn();
    // The GPU has not got there yet; marks of the stream that follows must not stand for it.
    let marks = leased.device.take_marks();
    let second = StreamId::new(1, 2);
    let create = body::StreamCreate {
        context: super::guest::CONTEXT.raw().into(),
        flags: body::STREAM_NON_BLOCKING.into(),
        ..Default::default()
    };
    assert_eq!(leased.guest.call(second.raw(), &create, &[]).0, vgpu_proto::Status::SUCCESS);
    leased.grant(1, true, false);
    leased.fill(second, 4);
    leased.grant(1, false, true);
    leased.complete(10);
    let claims = leased.claims();
    assert_eq!((claims.in_flight, claims.drained), (InFlight::Running, 0));
    marks.into_iter().for_each(|(mark, value)| mark.signal(value));
    leased.turn();
    let claims = leased.claims();
    assert_eq!((claims.in_flight, claims.drained), (InFlight::Nothing, 1));
}

#[test]
fn what_was_never_seen_goes_by_few_even_alone() {
    let mut leased = Leased::new();
    leased.grant(1, true, false);
    for kind in 1..=20 {
        leased.fill(LEGACY, kind);
    }
    assert_eq!(leased.went().len(), 16);
    leased.complete(1_000);
    assert_eq!(leased.went().len(), 4);
}

#[test]
fn only_copies_that_the_device_took_are_counted() {
    let mut leased = Leased::new();
    let copy =
        |bytes: u64| body::Memcpy { destination: 4096.into(), source: 8192.into(), bytes: bytes.into() };
    leased.grant(1, true, false);
    leased.device.refuse(Some(vgpu_proto::Status::ERROR_INVALID_VALUE));
    leased.guest.send(LEGACY.raw(), None, &copy(u64::MAX - 7), &[]);
    leased.turn();
    leased.device.refuse(None);
    leased.guest.send(LEGACY.raw(), None, &copy(8), &[]);
    leased.turn();
    assert_eq!(leased.claims().counts.copied_bytes, 8);
}

#[test]
fn an_event_behind_a_wait_parks_whoever_waits_for_it() {
    let wait = body::StreamWaitValue32 { address: 4096.into(), value: 1.into(), condition: 0.into() };
    let mut leased = Leased::new();
    let (other, third) = (
        leased.guest.stream(1, body::STREAM_NON_BLOCKING),
        leased.guest.stream(2, body::STREAM_NON_BLOCKING),
    );
    leased.grant(1, true, true);
    let event = body::EventCreate {
        context: super::guest::CONTEXT.raw().into(),
        event: vgpu_proto::EventId::new(0, 1).raw().into(),
        ..Default::default()
    };
    leased.guest.send(0, None, &event, &[]);
    leased.guest.send(other.raw(), None, &wait, &[]);
    leased.guest.send(other.raw(), None, &body::EventRecord { event: event.event }, &[]);
    leased.guest.send(third.raw(), None, &body::StreamWaitEvent { event: event.event }, &[]);
    leased.fill(third, 3);
    assert_eq!(leased.went(), [0_u32; 0]);
    leased.complete(10);
    assert_eq!(leased.went(), [3]);
}

#[test]
fn what_a_tenant_has_had_too_much_of_is_held_back() {
    let copy =
        body::MemcpyFromStaging { destination: 4096.into(), staging_offset: 0.into(), bytes: 8.into() };
    let hold = |leased: &mut Leased, launches, copies, calls| {
        let held = Held { launches, copies, calls };
        leased.grant.publish(Grant { epoch: 1, open: true, contended: false, held });
        leased.turn();
    };
    let mut leased = Leased::new();
    hold(&mut leased, true, false, false);
    leased.fill(LEGACY, 3);
    let other = leased.guest.stream(1, body::STREAM_NON_BLOCKING);
    leased.guest.send(other.raw(), None, &copy, &[]);
    leased.turn();
    assert_eq!(leased.device.take(), [(1, "copy 8".into())]);
    assert!(!leased.claims().wants, "what is held back for its rate does not want the GPU");
    hold(&mut leased, false, true, false);
    leased.guest.send(other.raw(), None, &copy, &[]);
    leased.turn();
    assert_eq!(leased.device.take(), [(0, "memset 8".into())]);
    hold(&mut leased, false, false, true);
    assert_eq!(leased.device.take(), [(1, "copy 8".into())]);
    leased.guest.send(other.raw(), None, &copy, &[]);
    leased.turn();
    assert_eq!(leased.device.take(), [], "nothing is read");
    hold(&mut leased, false, false, false);
    assert_eq!(leased.device.take(), [(1, "copy 8".into())]);
    // A broker that is gone holds nothing back.
    hold(&mut leased, true, true, true);
    leased.fill(LEGACY, 3);
    leased.world.nanos.fetch_add(100_000_001, Ordering::SeqCst);
    leased.turn();
    leased.world.nanos.fetch_add(20_000_000, Ordering::SeqCst);
    (0..3).for_each(|_| leased.turn());
    assert_eq!(leased.went(), [3]);
}

#[test]
fn the_broker_is_told_what_the_guest_asks_for() {
    let mut leased = Leased::new();
    leased.grant(1, true, false);
    let calls = leased.claims().counts.calls;
    leased.fill(LEGACY, 3);
    let copy =
        body::MemcpyFromStaging { destination: 4096.into(), staging_offset: 0.into(), bytes: 8.into() };
    leased.guest.send(LEGACY.raw(), None, &copy, &[]);
    leased.turn();
    leased.guest.stream(1, body::STREAM_NON_BLOCKING);
    let counts = leased.claims().counts;
    assert_eq!((counts.launches, counts.copied_bytes, counts.calls), (0, 8, calls + 1));
}

#[test]
fn the_broker_hears_of_idleness_after_the_grace() {
    let mut leased = Leased::new();
    leased.grant(1, true, true);
    leased.fill(LEGACY, 3);
    leased.complete(5_000);
    assert!(!leased.claims().wants && leased.kicks() == 0);
    leased.pass(149_999);
    leased.turn();
    assert_eq!(leased.kicks(), 0);
    leased.pass(1);
    leased.turn();
    assert_eq!(leased.kicks(), 1);
    assert_eq!(leased.claims().idle_since, Instant::from_nanos(5_001));
    leased.pass(1_000_000);
    leased.turn();
    assert_eq!(leased.kicks(), 0, "once");
    // Alone the grace is longer.
    leased.grant(1, true, false);
    leased.fill(LEGACY, 3);
    leased.complete(5_000);
    leased.pass(19_999_999);
    leased.turn();
    assert_eq!(leased.kicks(), 0);
    leased.pass(1);
    leased.turn();
    assert_eq!(leased.kicks(), 1);
}
