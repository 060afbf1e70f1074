//! Limits of contexts are paid for; tensor maps come back through staging.

use std::sync::Arc;

use vgpu_proto::handshake::DeviceDescription;
use vgpu_proto::limits::STAGING_BYTES;
use vgpu_proto::{ContextId, Status, Violation, body};

use super::guest::{CONTEXT, Guest};
use super::mock::MockDevice;
use super::session_with;
use crate::session::closing_for;

/// A device of ten resident threads, and a guest with that much credit.
fn guest(credit_bytes: u64) -> Guest {
    let description = DeviceDescription {
        multiprocessor_count: 2,
        threads_per_multiprocessor_max: 5,
        ..Default::default()
    };
    let device = Arc::new(MockDevice::with(description));
    session_with(&device, credit_bytes).with_context()
}

fn set(guest: &mut Guest, limit: u32, value: u64) -> Status {
    let body = body::CtxSetLimit {
        context: CONTEXT.raw().into(),
        value: value.into(),
        limit: limit.into(),
        reserved: 0.into(),
    };
    guest.call(0, &body, &[]).0
}

#[test]
fn what_a_limit_sets_aside_is_the_tenants() {
    let mut guest = guest(100_000);
    let used = |guest: &Guest| guest.session.counts().memory_bytes;
    let body = body::CtxGetLimit { context: CONTEXT.raw().into(), limit: 0.into(), reserved: 0.into() };
    assert_eq!(guest.call(0, &body, &[]), (Status::SUCCESS, 1_024));
    assert_eq!(set(&mut guest, 0, 2_024), Status::SUCCESS);
    assert_eq!(used(&guest), 10 * 1_000, "beyond the start value, for each thread");
    assert_eq!(set(&mut guest, 2, 1_024 + 50_000), Status::SUCCESS);
    assert_eq!(used(&guest), 60_000);
    assert_eq!(set(&mut guest, 2, 1 << 40), Status::ERROR_OUT_OF_MEMORY);
    assert_eq!(set(&mut guest, 0, u64::MAX), Status::ERROR_OUT_OF_MEMORY);
    assert_eq!(used(&guest), 60_000, "what was refused is not paid for");
    assert_eq!(set(&mut guest, 2, 0), Status::SUCCESS);
    assert_eq!(set(&mut guest, 0, 1_024), Status::SUCCESS);
    assert_eq!(used(&guest), 0);
    for limit in [3, 4, 7, u32::MAX] {
        assert_eq!(set(&mut guest, limit, 1), Status::ERROR_UNSUPPORTED_LIMIT);
    }
}

#[test]
fn tensor_maps_are_checked_and_written_to_staging() {
    let mut guest = guest(0);
    let map = body::TensorMapEncode {
        context: CONTEXT.raw().into(),
        reply_offset: 64.into(),
        rank: 3.into(),
        ..Default::default()
    };
    assert_eq!(guest.call(0, &map, &[]), (Status::SUCCESS, 128));
    let mut bytes = [0; 130];
    guest.session.staging.read(63, &mut bytes).unwrap();
    assert!(bytes[0] == 0 && bytes[1..129].iter().all(|byte| *byte == 3) && bytes[129] == 0);
    for wrong in [
        body::TensorMapEncode { rank: 0.into(), ..map },
        body::TensorMapEncode { rank: 6.into(), ..map },
        body::TensorMapEncode { kind: 3.into(), ..map },
        body::TensorMapEncode { data_type: 16.into(), ..map },
        body::TensorMapEncode { swizzle: u32::MAX.into(), ..map },
    ] {
        assert_eq!(guest.call(0, &wrong, &[]).0, Status::ERROR_INVALID_VALUE);
    }
    let unknown = body::TensorMapEncode { context: ContextId::new(3, 1).raw().into(), ..map };
    assert_eq!(guest.call(0, &unknown, &[]).0, Status::ERROR_INVALID_CONTEXT);
    let replace = body::TensorMapReplaceAddress { context: CONTEXT.raw().into(), ..Default::default() };
    assert_eq!(guest.call(0, &replace, &[9; 128]), (Status::SUCCESS, 128));
    let reply = guest.reply(1);
    guest.send(0, Some(reply), &replace, &[9; 127]);
    assert_eq!(guest.run().map(|ended| ended.closing), Some(closing_for(Violation::PayloadLength)));
    let mut guest = self::guest(0);
    let reply = guest.reply(1);
    let outside = body::TensorMapEncode { reply_offset: (STAGING_BYTES - 127).into(), ..map };
    guest.send(0, Some(reply), &outside, &[]);
    assert_eq!(guest.run().map(|ended| ended.closing), Some(closing_for(Violation::RegionBounds)));
}
