//! Each check of a header has its own violation; each test here fails when its check is gone.

use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;

fn header(op: Op) -> RawHeader {
    let reply = op.needs_reply();
    RawHeader {
        length_bytes: 64.into(),
        op: op.number().into(),
        reply_slot: if reply { 3 } else { NO_REPLY }.into(),
        reply_tag: u32::from(reply).into(),
        ..RawHeader::default()
    }
}

fn parse(raw: RawHeader) -> Result<FrameHeader, Violation> {
    FrameHeader::parse(zerocopy::transmute!(raw))
}

#[test]
fn lengths_are_checked() {
    for bad in [0, 1, 31, 33, FRAME_BYTES_MAX + 32, u32::MAX] {
        assert_eq!(
            parse(RawHeader { length_bytes: bad.into(), ..header(Op::Ping) }),
            Err(Violation::FrameLength)
        );
    }
    assert!(parse(RawHeader { length_bytes: FRAME_BYTES_MAX.into(), ..header(Op::Ping) }).is_ok());
}

#[test]
fn unknown_and_local_operations_are_refused() {
    assert_eq!(parse(RawHeader { op: 0xffff.into(), ..header(Op::Ping) }), Err(Violation::UnknownOperation));
    assert_eq!(parse(header(Op::StreamQuery)), Err(Violation::LocalOperation));
}

#[test]
fn reserved_bits_must_be_zero() {
    assert_eq!(parse(RawHeader { flags: 1.into(), ..header(Op::Ping) }), Err(Violation::ReservedBits));
    assert_eq!(parse(RawHeader { reserved: 1.into(), ..header(Op::Ping) }), Err(Violation::ReservedBits));
    assert_eq!(parse(RawHeader { stream: 1.into(), ..header(Op::Ping) }), Err(Violation::ReservedBits));
}

#[test]
fn a_reply_slot_is_there_where_one_is_needed_and_inside_the_table() {
    let none = RawHeader { reply_slot: NO_REPLY.into(), reply_tag: 0.into(), ..header(Op::Ping) };
    assert_eq!(parse(none), Err(Violation::ReplySlot));
    let outside = RawHeader { reply_slot: REPLY_SLOTS.into(), ..header(Op::Ping) };
    assert_eq!(parse(outside), Err(Violation::ReplySlot));
    let untagged = RawHeader { reply_tag: 0.into(), ..header(Op::Ping) };
    assert_eq!(parse(untagged), Err(Violation::ReplySlot));
    let half = RawHeader { reply_tag: 7.into(), ..header(Op::LaunchKernel) };
    assert_eq!(parse(half), Err(Violation::ReplySlot));
}

#[test]
fn body_and_payload_must_add_up() {
    let short = Request::decode(Op::MemAlloc, 0, &[0; 8]);
    assert_eq!(short, Err(Violation::PayloadLength));
    let past = Request::decode(Op::LaunchKernel, 100, &[0; 96]);
    assert_eq!(past, Err(Violation::PayloadLength));
    let slack = Request::decode(Op::LaunchKernel, 8, &[0; 96]);
    assert_eq!(slack, Err(Violation::PayloadLength));
}

#[test]
fn the_largest_parameter_block_fits_and_one_frame_more_does_not() {
    let params = [7; crate::limits::PARAMS_BYTES_MAX as usize];
    let mut out = [0; FRAME_BYTES_MAX as usize];
    assert!(encode(&mut out, 1, None, &body::LaunchKernel::default(), &params).is_ok());
    let over = [0; FRAME_BYTES_MAX as usize];
    let refused = encode(&mut out, 1, None, &body::LaunchKernel::default(), &over);
    assert_eq!(refused, Err(Violation::PayloadLimit));
}

proptest! {
    #[test]
    fn a_frame_comes_back_as_it_was(stream: u64, function: u64, shared: u32, payload in proptest::collection::vec(any::<u8>(), 0..2_000)) {
        let body = body::LaunchKernel { function: function.into(), shared_bytes: shared.into(), ..Default::default() };
        let mut out = [0xaa; FRAME_BYTES_MAX as usize];
        let frame: Vec<u8> = encode(&mut out, stream, None, &body, &payload).unwrap().to_vec();
        let header = FrameHeader::parse(frame[..32].try_into().unwrap()).unwrap();
        prop_assert_eq!(header.stream, stream);
        prop_assert_eq!(header.length_bytes as usize, frame.len());
        let (request, rest) = Request::decode(header.op.unwrap(), header.payload_bytes, &frame[32..]).unwrap();
        prop_assert_eq!(request, Request::LaunchKernel(body));
        prop_assert_eq!(rest, &payload[..]);
    }

    #[test]
    fn any_bytes_parse_or_are_refused(bytes: [u8; 32], rest in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(FrameHeader { op: Some(op), payload_bytes, .. }) = FrameHeader::parse(bytes) {
            let _ = Request::decode(op, payload_bytes, &rest);
        }
    }
}
