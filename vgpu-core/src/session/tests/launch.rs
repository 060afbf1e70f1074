//! Launch attributes: what reaches the device, what is refused, and that nothing comes between kernels that may overlap.

use std::sync::Arc;
use std::time::Duration;

use vgpu_proto::body::{self, EVENT_DISABLE_TIMING};
use vgpu_proto::limits::{LAUNCH_ATTRIBUTE_BYTES_MAX, STREAM_PENDING_MAX};
use vgpu_proto::{EventId, FunctionId, LaunchAttribute, ModuleId, Status, Violation};

use super::guest::{CONTEXT, Guest, LEGACY};
use super::mock::MockDevice;
use super::session;
use crate::session::closing_for;

const EVENT: EventId = EventId::new(4, 1);

/// A guest with a kernel of 8 bytes of parameters.
fn guest() -> (Arc<MockDevice>, Guest) {
    let device = Arc::new(MockDevice::default());
    let mut guest = session(&device).with_context();
    guest.session.staging.write(0, b"fine").unwrap();
    let load = body::ModuleLoad {
        context: CONTEXT.raw().into(),
        module: ModuleId::new(0, 1).raw().into(),
        image_bytes: 4.into(),
        image_region: 1.into(),
        reply_offset: 4096.into(),
        reply_bytes: 1024.into(),
        ..Default::default()
    };
    assert_eq!(guest.call(0, &load, &[]).0, Status::SUCCESS);
    let find = body::ModuleGetFunction {
        module: ModuleId::new(0, 1).raw().into(),
        function: FunctionId::new(0, 1).raw().into(),
        reply_bytes: 1024.into(),
        ..Default::default()
    };
    assert_eq!(guest.call(0, &find, b"kernel").0, Status::SUCCESS);
    (device, guest)
}

/// A launch with parameters and, behind them, those bytes as its attributes.
fn launch(attributes: &[u8]) -> (body::LaunchKernel, Vec<u8>) {
    let body = body::LaunchKernel {
        function: FunctionId::new(0, 1).raw().into(),
        grid: [1.into(); 3],
        block: [1.into(); 3],
        attribute_bytes: u32::try_from(attributes.len()).unwrap().into(),
        ..Default::default()
    };
    (body, [&[0; 8], attributes].concat())
}

fn encoded(attributes: &[LaunchAttribute]) -> Vec<u8> {
    let mut bytes = Vec::new();
    attributes.iter().for_each(|attribute| attribute.encode(&mut bytes));
    bytes
}

fn send(guest: &mut Guest, attributes: &[LaunchAttribute]) {
    let (body, payload) = launch(&encoded(attributes));
    guest.send(LEGACY.raw(), None, &body, &payload);
    assert_eq!(guest.run(), None);
}

fn event(guest: &mut Guest, flags: u32) {
    let body = body::EventCreate {
        context: CONTEXT.raw().into(),
        event: EVENT.raw().into(),
        flags: flags.into(),
        reserved: 0.into(),
    };
    guest.send(0, None, &body, &[]);
    assert_eq!(guest.run(), None);
}

#[test]
fn attributes_reach_the_device_in_their_order() {
    let (device, mut guest) = guest();
    let given = [LaunchAttribute::ClusterDimension([2, 1, 1]), LaunchAttribute::Priority(-1)];
    send(&mut guest, &given);
    let [(_, text)] = &device.take()[..] else { panic!("one launch") };
    assert_eq!(text, "launch [1, 1, 1] with [ClusterDimension([2, 1, 1]), Priority(-1)]");
    assert_eq!(guest.deferred(), Status::SUCCESS);
}

#[test]
fn what_does_not_travel_is_not_supported_and_what_is_no_record_ends_the_session() {
    let (device, mut guest) = guest();
    let mut unknown = encoded(&[LaunchAttribute::Priority(0)]);
    unknown[0] = 15;
    for (bytes, status) in [
        (unknown.clone(), Status::ERROR_NOT_SUPPORTED),
        (encoded(&[LaunchAttribute::MemSyncDomain(2)]), Status::ERROR_INVALID_VALUE),
    ] {
        let (body, payload) = launch(&bytes);
        assert_eq!(guest.call(LEGACY.raw(), &body, &payload).0, status);
    }
    assert!(device.take().is_empty());
    for (body, payload, violation) in [
        (launch(&unknown[..12]).0, launch(&unknown[..12]).1, Violation::PayloadLength),
        (launch(&unknown).0, vec![0; 8], Violation::PayloadLength),
        {
            let attribute_bytes = (LAUNCH_ATTRIBUTE_BYTES_MAX + 1).into();
            let body = body::LaunchKernel { attribute_bytes, ..launch(&[]).0 };
            (body, vec![0; 2_000], Violation::PayloadLimit)
        },
    ] {
        let (_, mut guest) = self::guest();
        guest.send(LEGACY.raw(), None, &body, &payload);
        assert_eq!(guest.run().map(|ended| ended.closing), Some(closing_for(violation)));
    }
}

#[test]
fn a_launch_records_the_event_that_it_names() {
    let (device, mut guest) = guest();
    event(&mut guest, EVENT_DISABLE_TIMING);
    let attribute = LaunchAttribute::LaunchCompletionEvent { event: EVENT, flags: 0 };
    send(&mut guest, &[attribute]);
    let other = guest.stream(1, 1);
    guest.send(other.raw(), None, &body::StreamWaitEvent { event: EVENT.raw().into() }, &[]);
    assert_eq!(guest.run(), None);
    let work = device.take();
    let (launched, waited) = (&work[0].1, &work[1].1);
    let key = waited.strip_prefix("wait ").expect("the wait is submitted");
    assert!(launched.contains(&format!("event: EventKey({key})")), "{launched}");
}

#[test]
fn events_with_times_or_unknown_ones_are_refused() {
    let (device, mut guest) = guest();
    let (body, payload) =
        launch(&encoded(&[LaunchAttribute::LaunchCompletionEvent { event: EVENT, flags: 0 }]));
    assert_eq!(guest.call(LEGACY.raw(), &body, &payload).0, Status::ERROR_INVALID_HANDLE);
    event(&mut guest, 0);
    assert_eq!(guest.call(LEGACY.raw(), &body, &payload).0, Status::ERROR_INVALID_VALUE);
    assert!(device.take().is_empty());
}

const OVERLAPS: LaunchAttribute = LaunchAttribute::ProgrammaticStreamSerialization(true);

/// What the guest sees complete once the device has done all that it has.
fn completed(device: &MockDevice, guest: &Guest) -> u64 {
    device.complete();
    guest.completed(LEGACY)
}

#[test]
fn no_mark_comes_between_kernels_that_may_overlap() {
    let (device, mut guest) = guest();
    send(&mut guest, &[]);
    assert_eq!(completed(&device, &guest), 1, "a plain launch is marked at its batch's end");
    send(&mut guest, &[OVERLAPS]);
    send(&mut guest, &[OVERLAPS]);
    assert_eq!(completed(&device, &guest), 1, "the next one may be on its way");
    event(&mut guest, 0);
    guest.send(LEGACY.raw(), None, &body::EventRecord { event: EVENT.raw().into() }, &[]);
    assert_eq!(guest.run(), None);
    assert_eq!(completed(&device, &guest), 4, "a record is marked at once");
}

#[test]
fn the_last_of_such_kernels_is_marked_in_the_end() {
    let (device, mut guest) = guest();
    send(&mut guest, &[OVERLAPS]);
    guest.dispatcher.sleep(Some(Duration::ZERO));
    assert_eq!(completed(&device, &guest), 1, "before the dispatcher sleeps");
    send(&mut guest, &[OVERLAPS]);
    for _ in 0..300 {
        assert_eq!(guest.turns(), None);
    }
    assert_eq!(completed(&device, &guest), 2, "after some turns");
    send(&mut guest, &[OVERLAPS]);
    guest.send(LEGACY.raw(), None, &body::StreamSynchronize {}, &[]);
    assert_eq!(guest.run(), None);
    assert_eq!(completed(&device, &guest), 4, "where someone waits");
}

#[test]
fn a_long_row_of_such_kernels_is_marked_before_the_device_is_full() {
    let (device, mut guest) = guest();
    for _ in 0..STREAM_PENDING_MAX {
        send(&mut guest, &[OVERLAPS]);
    }
    assert!(completed(&device, &guest) >= u64::from(STREAM_PENDING_MAX / 4));
}

#[test]
fn occupancy_is_asked_of_the_device() {
    let (_, mut guest) = guest();
    let function = FunctionId::new(0, 1).raw();
    let ask = |kind: u32| body::Occupancy {
        function: function.into(),
        kind: kind.into(),
        grid: [3.into(); 3],
        block: [256.into(), 1.into(), 1.into()],
        ..Default::default()
    };
    let attributes = encoded(&[LaunchAttribute::ClusterDimension([2, 1, 1])]);
    assert_eq!(guest.call(0, &ask(body::OCCUPANCY_ACTIVE_BLOCKS), &[]), (Status::SUCCESS, 8));
    assert_eq!(guest.call(0, &ask(body::OCCUPANCY_DYNAMIC_SHARED), &[]), (Status::SUCCESS, 3 << 10));
    assert_eq!(guest.call(0, &ask(body::OCCUPANCY_ACTIVE_CLUSTERS), &attributes), (Status::SUCCESS, 1));
    let size = ask(body::OCCUPANCY_CLUSTER_SIZE);
    assert_eq!(guest.call(0, &size, &attributes).0, Status::ERROR_NOT_SUPPORTED);
    let event = encoded(&[LaunchAttribute::LaunchCompletionEvent { event: EVENT, flags: 0 }]);
    assert_eq!(guest.call(0, &size, &event).0, Status::ERROR_INVALID_VALUE, "a launch that is not made");
    let wide = body::Occupancy { shared_bytes: (1 << 32).into(), ..size };
    assert_eq!(guest.call(0, &wide, &[]).0, Status::ERROR_INVALID_VALUE);
    let unknown = body::Occupancy { function: FunctionId::new(9, 1).raw().into(), ..size };
    assert_eq!(guest.call(0, &unknown, &[]).0, Status::ERROR_INVALID_HANDLE);
    let reply = guest.reply(7);
    guest.send(0, Some(reply), &ask(4), &[]);
    assert_eq!(guest.run().map(|ended| ended.closing), Some(closing_for(Violation::ReservedBits)));
}
