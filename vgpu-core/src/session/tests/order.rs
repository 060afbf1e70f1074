//! The order in which commands reach the device.

use std::sync::Arc;

use vgpu_proto::body::{self, STREAM_NON_BLOCKING};
use vgpu_proto::limits::{STREAM_COMMANDS_MAX, STREAM_PENDING_MAX};
use vgpu_proto::{EventId, Status, StreamId};

use super::guest::{CONTEXT, Guest, LEGACY};
use super::mock::MockDevice;
use super::session;
use crate::session::Turn;

fn memset(count: u64) -> body::Memset {
    body::Memset { count: count.into(), element_bytes: 1.into(), ..Default::default() }
}

/// A guest whose stream `held` holds its next command: its device queue is full.
pub(super) fn held(held: StreamId) -> (Arc<MockDevice>, Guest) {
    let device = Arc::new(MockDevice::default());
    let mut guest = session(&device).with_context();
    for index in 1..4 {
        let flags = if index == 3 { STREAM_NON_BLOCKING } else { 0 };
        guest.stream(index, flags);
    }
    for _ in 0..STREAM_PENDING_MAX {
        guest.send(held.raw(), None, &memset(0), &[]);
        guest.send(held.raw(), None, &memset(1), &[]);
        assert_eq!(guest.run(), None);
    }
    device.set_pending(STREAM_PENDING_MAX);
    guest.send(held.raw(), None, &memset(77), &[]);
    assert_eq!(guest.run(), None);
    assert!(!device.take().iter().any(|(_, work)| work == "memset 77"), "it is held");
    (device, guest)
}

/// Lets the device have room again, as it tells through its events.
pub(super) fn drain(device: &MockDevice, guest: &mut Guest) {
    device.set_pending(0);
    device.events().progress();
    assert_eq!(guest.run(), None);
}

pub(super) const BLOCKING: StreamId = StreamId::new(1, 1);
pub(super) const OTHER: StreamId = StreamId::new(2, 1);
pub(super) const NON_BLOCKING: StreamId = StreamId::new(3, 1);

fn position(work: &[(u64, String)], text: &str) -> usize {
    work.iter()
        .position(|(_, work)| work == text)
        .unwrap_or_else(|| panic!("{text} was not submitted: {work:?}"))
}

#[test]
fn a_full_stream_holds_only_itself() {
    let (device, mut guest) = held(BLOCKING);
    guest.send(OTHER.raw(), None, &memset(5), &[]);
    assert_eq!(guest.run(), None);
    assert_eq!(position(&device.take(), "memset 5"), 0);
    drain(&device, &mut guest);
    assert_eq!(position(&device.take(), "memset 77"), 0);
}

#[test]
fn the_legacy_stream_waits_for_what_blocking_streams_hold() {
    let (device, mut guest) = held(BLOCKING);
    guest.send(LEGACY.raw(), None, &memset(5), &[]);
    guest.send(OTHER.raw(), None, &memset(6), &[]);
    guest.send(NON_BLOCKING.raw(), None, &memset(7), &[]);
    assert_eq!(guest.run(), None);
    let early = device.take();
    assert_eq!(early.len(), 1, "only the non-blocking stream goes: {early:?}");
    assert_eq!(position(&early, "memset 7"), 0);
    drain(&device, &mut guest);
    let late = device.take();
    assert!(position(&late, "memset 77") < position(&late, "memset 5"));
    assert!(
        position(&late, "memset 5") < position(&late, "memset 6"),
        "blocking streams wait for the legacy one"
    );
}

#[test]
fn a_wait_follows_the_record_that_it_was_bound_to() {
    let (device, mut guest) = held(BLOCKING);
    let event = EventId::new(0, 1);
    let create =
        body::EventCreate { context: CONTEXT.raw().into(), event: event.raw().into(), ..Default::default() };
    guest.send(0, None, &create, &[]);
    guest.send(BLOCKING.raw(), None, &body::EventRecord { event: event.raw().into() }, &[]);
    guest.send(OTHER.raw(), None, &body::StreamWaitEvent { event: event.raw().into() }, &[]);
    guest.send(OTHER.raw(), None, &memset(5), &[]);
    // A second record, on a free stream, must not satisfy the wait that came before it.
    guest.send(NON_BLOCKING.raw(), None, &body::EventRecord { event: event.raw().into() }, &[]);
    assert_eq!(guest.run(), None);
    let early = device.take();
    assert_eq!(early.len(), 1, "only the second record goes: {early:?}");
    drain(&device, &mut guest);
    let late = device.take();
    let record = late.iter().position(|(_, work)| work.starts_with("record")).unwrap();
    let wait = late.iter().position(|(_, work)| work.starts_with("wait")).unwrap();
    assert!(record < wait && wait < position(&late, "memset 5"));
    assert_eq!(
        late[record].1.replace("record", "wait"),
        late[wait].1,
        "the wait names the first record's version"
    );
    assert_ne!(late[record].1, early[0].1, "each record has a version of its own");
}

#[test]
fn a_synchronise_covers_held_commands() {
    let (device, mut guest) = held(BLOCKING);
    device.complete();
    let before = guest.completed(BLOCKING);
    guest.send(BLOCKING.raw(), None, &body::StreamSynchronize {}, &[]);
    assert_eq!(guest.run(), None);
    device.complete();
    assert_eq!(guest.completed(BLOCKING), before, "the held command is not complete, nor what follows it");
    drain(&device, &mut guest);
    device.complete();
    assert_eq!(guest.completed(BLOCKING), before + 2);
}

#[test]
fn a_context_wide_call_waits_for_held_commands() {
    let (device, mut guest) = held(BLOCKING);
    let reply = guest.reply(1);
    guest.send(0, Some(reply), &body::CtxSynchronize { context: CONTEXT.raw().into() }, &[]);
    assert_eq!(guest.run(), None);
    assert_eq!(guest.answer(reply), None);
    drain(&device, &mut guest);
    assert_eq!(guest.answer(reply).map(|answer| answer.0), Some(Status::SUCCESS));
}

#[test]
fn an_event_that_is_held_is_not_ready_and_is_waited_for() {
    let (device, mut guest) = held(BLOCKING);
    let event = EventId::new(0, 1);
    let create =
        body::EventCreate { context: CONTEXT.raw().into(), event: event.raw().into(), ..Default::default() };
    guest.send(0, None, &create, &[]);
    guest.send(BLOCKING.raw(), None, &body::EventRecord { event: event.raw().into() }, &[]);
    let elapsed = body::EventElapsedTime { start: event.raw().into(), end: event.raw().into() };
    assert_eq!(guest.call(0, &elapsed, &[]).0, Status::ERROR_NOT_READY);
    let reply = guest.reply(1);
    guest.send(0, Some(reply), &body::EventSynchronize { event: event.raw().into() }, &[]);
    assert_eq!(guest.run(), None);
    assert_eq!(guest.answer(reply), None);
    drain(&device, &mut guest);
    assert_eq!(guest.answer(reply).map(|answer| answer.0), Some(Status::SUCCESS));
}

#[test]
fn credit_comes_back_when_commands_are_submitted() {
    let device = Arc::new(MockDevice::default());
    let mut guest = session(&device).with_context();
    for round in 1..=4 {
        for _ in 0..STREAM_COMMANDS_MAX {
            guest.send(LEGACY.raw(), None, &memset(1), &[]);
        }
        assert_eq!(guest.run(), None);
        assert_eq!(guest.retired(LEGACY), round * STREAM_COMMANDS_MAX);
    }
    device.complete();
    assert_eq!(guest.completed(LEGACY), 4 * STREAM_COMMANDS_MAX);
}

#[test]
fn a_ring_that_stays_full_does_not_keep_marks_from_a_quiet_stream() {
    let device = Arc::new(MockDevice::default());
    let mut guest = session(&device).with_context();
    let (quiet, busy) = (guest.stream(1, 0), guest.stream(2, 0));
    guest.send(quiet.raw(), None, &memset(1), &[]);
    for _ in 0..200 {
        guest.send(busy.raw(), None, &memset(2), &[]);
    }
    for _ in 0..2 {
        assert!(matches!(guest.dispatcher.turn(&mut guest.jobs), Turn::Progress));
    }
    device.complete();
    assert!(guest.retired(busy) < 200, "the ring is not drained");
    assert_eq!(guest.completed(quiet), 1);
}

#[test]
fn a_guest_that_takes_wakes_away_cannot_keep_the_dispatcher_asleep() {
    let device = Arc::new(MockDevice::default());
    let mut guest = session(&device);
    assert_eq!(guest.run(), None);
    let (woke, up) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        guest.dispatcher.sleep(None);
        woke.send(())
    });
    assert_eq!(up.recv_timeout(std::time::Duration::from_secs(20)), Ok(()));
}
