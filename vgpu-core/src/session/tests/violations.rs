//! What no honest client sends: each breach ends the session with its own reason.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use vgpu_proto::frame::{RawHeader, ReplyTo};
use vgpu_proto::limits::{self, RING_BYTES, STAGING_BYTES, STREAMS_MAX};
use vgpu_proto::{EventId, Op, Status, StreamId, Violation, body, window};
use vgpu_window::{CountingRegion, Region};
use zerocopy::IntoBytes;

use super::guest::{CONTEXT, Guest, LEGACY};
use super::mock::MockDevice;
use super::session;
use crate::session::reader::Reader;

fn guest() -> Guest {
    session(&Arc::new(MockDevice::default())).with_context()
}

/// The guest's latest frames end the session, and every later call answers the error.
#[track_caller]
fn ends(mut guest: Guest, violation: Violation) {
    let ended = guest.run().expect("the session ends");
    assert_eq!(ended.closing.reason, violation.to_string());
    let word = guest.control.atomic_u32(window::SESSION_ERROR).unwrap();
    assert_eq!(word.load(Ordering::Acquire), Status::ERROR_UNKNOWN.0);
}

/// A frame of 64 bytes with that header.
fn raw(op: Op, change: impl FnOnce(&mut RawHeader)) -> Vec<u8> {
    let mut header = RawHeader {
        length_bytes: 64.into(),
        op: op.number().into(),
        reply_slot: u32::MAX.into(),
        ..RawHeader::default()
    };
    change(&mut header);
    let mut bytes = header.as_bytes().to_vec();
    bytes.resize(64, 0);
    bytes
}

#[test]
fn ring_index() {
    for tail in [31, RING_BYTES * 2, u64::MAX - 31] {
        let guest = guest();
        guest.publish(guest.tail.wrapping_add(tail));
        ends(guest, Violation::RingIndex);
    }
}

#[test]
fn frame_length() {
    for length in [0u32, 16, 33, limits::FRAME_BYTES_MAX + 32, 96] {
        let mut guest = guest();
        guest.send_bytes(&raw(Op::StreamSynchronize, |header| header.length_bytes = length.into()));
        ends(guest, Violation::FrameLength);
    }
}

#[test]
fn frame_wraps() {
    let mut guest = guest();
    // A padding frame up to 32 bytes before the end, then a frame of 64 there.
    while guest.tail % RING_BYTES < RING_BYTES - 32 {
        let left = RING_BYTES - 32 - guest.tail % RING_BYTES;
        let bytes = left.min(u64::from(limits::FRAME_BYTES_MAX));
        let mut padding =
            RawHeader { length_bytes: u32::try_from(bytes).unwrap().into(), ..Default::default() }
                .as_bytes()
                .to_vec();
        padding.resize(bytes.try_into().unwrap(), 0);
        guest.send_bytes(&padding);
        assert_eq!(guest.run(), None);
    }
    let frame = raw(Op::StreamSynchronize, |_| {});
    guest.control.write(window::RING + guest.tail % RING_BYTES, &frame[..32]).unwrap();
    guest.publish(guest.tail + 64);
    ends(guest, Violation::FrameWraps);
}

#[test]
fn operations() {
    let mut unknown = guest();
    unknown.send_bytes(&raw(Op::Ping, |header| header.op = 0xffff.into()));
    ends(unknown, Violation::UnknownOperation);
    let mut local = guest();
    local.send_bytes(&raw(Op::StreamQuery, |_| {}));
    ends(local, Violation::LocalOperation);
}

#[test]
fn payload_length() {
    let mut guest = guest();
    guest.send_bytes(&raw(Op::LaunchKernel, |header| header.payload_bytes = 4_000.into()));
    ends(guest, Violation::PayloadLength);
}

#[test]
fn payload_limit() {
    let mut guest = guest();
    let params = [0; limits::PARAMS_BYTES_MAX as usize + 1];
    guest.send(LEGACY.raw(), None, &body::LaunchKernel::default(), &params);
    ends(guest, Violation::PayloadLimit);
}

#[test]
fn reserved_bits() {
    let mut flags = guest();
    flags.send_bytes(&raw(Op::Memset, |header| header.flags = 1.into()));
    ends(flags, Violation::ReservedBits);
    let mut launch = guest();
    let body = body::LaunchKernel { flags: 2.into(), ..Default::default() };
    launch.send(LEGACY.raw(), None, &body, &[]);
    ends(launch, Violation::ReservedBits);
    let mut stream = guest();
    let reply = stream.reply(0);
    let body = body::StreamCreate { context: CONTEXT.raw().into(), flags: 2.into(), ..Default::default() };
    stream.send(StreamId::new(7, 1).raw(), Some(reply), &body, &[]);
    ends(stream, Violation::ReservedBits);
}

#[test]
fn credit() {
    let device = Arc::new(MockDevice::default());
    let mut commands = session(&device).with_context();
    device.set_pending(u32::MAX);
    for _ in 0..=2 * limits::STREAM_COMMANDS_MAX {
        commands.send(LEGACY.raw(), None, &body::StreamSynchronize {}, &[]);
    }
    ends(commands, Violation::CreditCommands);

    let device = Arc::new(MockDevice::default());
    let mut bytes = session(&device).with_context();
    device.set_pending(u32::MAX);
    // The device takes the first commands without being asked how much it holds.
    for _ in 0..limits::STREAM_COMMANDS_MAX {
        bytes.send(LEGACY.raw(), None, &body::StreamSynchronize {}, &[]);
        assert_eq!(bytes.run(), None);
    }
    for _ in 0..=8 {
        bytes.send(LEGACY.raw(), None, &body::LaunchKernel::default(), &[0; 32_000]);
    }
    ends(bytes, Violation::CreditBytes);
}

#[test]
fn reply_slots() {
    let mut outside = guest();
    outside.send(0, Some(ReplyTo { slot: limits::REPLY_SLOTS, tag: 1 }), &body::Ping {}, &[]);
    ends(outside, Violation::ReplySlot);
    let mut busy = guest();
    let reply = busy.reply(9);
    let body = body::MemAlloc { context: CONTEXT.raw().into(), bytes: 8.into() };
    busy.send(0, Some(reply), &body, &[]);
    busy.send(0, Some(reply), &body, &[]);
    ends(busy, Violation::ReplySlotBusy);
}

#[test]
fn handles() {
    let mut index = guest();
    index.send(StreamId::new(STREAMS_MAX, 1).raw(), None, &body::StreamSynchronize {}, &[]);
    ends(index, Violation::HandleIndex);
    let mut event = guest();
    let created = body::EventCreate {
        context: CONTEXT.raw().into(),
        event: EventId::new(0, 1).raw().into(),
        ..Default::default()
    };
    event.send(0, None, &created, &[]);
    event.send(0, None, &created, &[]);
    ends(event, Violation::HandleInUse);
    let mut stream = guest();
    let reply = stream.reply(0);
    let body = body::StreamCreate { context: CONTEXT.raw().into(), ..Default::default() };
    stream.send(LEGACY.raw(), Some(reply), &body, &[]);
    ends(stream, Violation::HandleInUse);
}

#[test]
fn regions() {
    let load = |region: u32, offset: u64, reply_offset: u64| body::ModuleLoad {
        context: CONTEXT.raw().into(),
        module: 1u64.into(),
        image_offset: offset.into(),
        image_bytes: 8.into(),
        reply_offset: reply_offset.into(),
        reply_bytes: 64.into(),
        image_region: region.into(),
    };
    for (body, violation) in [
        (load(77, 0, 0), Violation::UnknownRegion),
        (load(1, STAGING_BYTES - 7, 0), Violation::RegionBounds),
        (load(1, u64::MAX, 0), Violation::RegionBounds),
        (load(1, 0, STAGING_BYTES - 63), Violation::RegionBounds),
        (body::ModuleLoad { reply_bytes: u32::MAX.into(), ..load(1, 0, 0) }, Violation::PayloadLimit),
    ] {
        let mut guest = guest();
        let reply = guest.reply(0);
        guest.send(0, Some(reply), &body, &[]);
        ends(guest, violation);
    }
    for offset in [STAGING_BYTES - 7, u64::MAX] {
        let mut guest = guest();
        let body =
            body::MemcpyFromStaging { staging_offset: offset.into(), bytes: 8.into(), ..Default::default() };
        guest.send(LEGACY.raw(), None, &body, &[]);
        ends(guest, Violation::RegionBounds);
    }
}

#[test]
fn every_byte_of_a_frame_is_read_once() {
    let mut guest = guest();
    let start = guest.tail;
    guest.send(LEGACY.raw(), None, &body::LaunchKernel::default(), &[7; 300]);
    guest.send(LEGACY.raw(), None, &body::StreamSynchronize {}, &[]);
    // Counting needs a region of its own; the bytes are the same.
    let copy = Region::anonymous(guest.control.len()).unwrap();
    guest.control.copy_to(0, &copy, 0, copy.len()).unwrap();
    let counting = CountingRegion::new(copy);
    let mut reader = Reader::default();
    // The reader begins at the start of the ring, where the context's creation lies.
    while reader.next(&counting, guest.tail).unwrap().is_some() {}
    let counts = counting.counts();
    let ring = usize::try_from(window::RING).unwrap();
    let frames = usize::try_from(start).unwrap()..usize::try_from(guest.tail).unwrap();
    assert!(counts[ring..][frames].iter().all(|count| *count == 1), "each byte once");
    assert_eq!(counting.most_reads(), 1, "and nothing else more often");
}
