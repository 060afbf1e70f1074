//! Well-formed but wrong: CUDA's error, and the session goes on.

use std::sync::Arc;

use vgpu_proto::{ContextId, EventId, FunctionId, ModuleId, Status, StreamId, body};

use super::guest::{CONTEXT, Guest, LEGACY};
use super::mock::MockDevice;
use super::{session, session_with};
use crate::device::DeviceError;

fn guest() -> (Arc<MockDevice>, Guest) {
    let device = Arc::new(MockDevice::default());
    let guest = session(&device).with_context();
    (device, guest)
}

#[track_caller]
fn goes_on(guest: &mut Guest) {
    assert_eq!(guest.call(0, &body::Ping {}, &[]).0, Status::SUCCESS, "the session goes on");
}

fn load(guest: &mut Guest, image: &[u8]) -> Status {
    guest.session.staging.write(0, image).unwrap();
    let body = body::ModuleLoad {
        context: CONTEXT.raw().into(),
        module: ModuleId::new(0, 1).raw().into(),
        image_bytes: (image.len() as u64).into(),
        image_region: 1.into(),
        reply_offset: 4096.into(),
        reply_bytes: 1024.into(),
        ..Default::default()
    };
    guest.call(0, &body, &[]).0
}

fn function(guest: &mut Guest, name: &str) -> Status {
    let body = body::ModuleGetFunction {
        module: ModuleId::new(0, 1).raw().into(),
        function: FunctionId::new(0, 1).raw().into(),
        reply_bytes: 1024.into(),
        ..Default::default()
    };
    guest.call(0, &body, name.as_bytes()).0
}

fn launch(grid: u32) -> body::LaunchKernel {
    body::LaunchKernel {
        function: FunctionId::new(0, 1).raw().into(),
        grid: [grid.into(), 1.into(), 1.into()],
        block: [1.into(); 3],
        ..Default::default()
    }
}

#[test]
fn unknown_names_answer_cuda_errors() {
    let (_, mut guest) = guest();
    let other = ContextId::new(3, 1).raw();
    assert_eq!(
        guest.call(0, &body::MemGetInfo { context: other.into() }, &[]).0,
        Status::ERROR_INVALID_CONTEXT
    );
    let alloc = body::MemAlloc { context: other.into(), bytes: 8.into() };
    assert_eq!(guest.call(0, &alloc, &[]).0, Status::ERROR_INVALID_CONTEXT);
    let unload = body::ModuleUnload { module: ModuleId::new(1, 1).raw().into() };
    assert_eq!(guest.call(0, &unload, &[]).0, Status::ERROR_INVALID_HANDLE);
    let event = body::EventSynchronize { event: EventId::new(1, 1).raw().into() };
    assert_eq!(guest.call(0, &event, &[]).0, Status::ERROR_INVALID_HANDLE);
    goes_on(&mut guest);
}

#[test]
fn commands_of_unknown_streams_leave_a_deferred_error_and_return_their_credit() {
    let (device, mut guest) = guest();
    let stream = StreamId::new(9, 4);
    guest.send(
        stream.raw(),
        None,
        &body::Memset { count: 1.into(), element_bytes: 1.into(), ..Default::default() },
        &[],
    );
    assert_eq!(guest.run(), None);
    assert_eq!(guest.deferred(), Status::ERROR_INVALID_HANDLE);
    assert_eq!((guest.retired(stream), guest.completed(stream)), (1, 1));
    assert!(device.take().is_empty());
    goes_on(&mut guest);
}

#[test]
fn a_destroyed_stream_is_no_name_any_more_and_its_slot_serves_again() {
    let (device, mut guest) = guest();
    let stream = guest.stream(1, 0);
    guest.send(stream.raw(), None, &body::StreamDestroy {}, &[]);
    guest.send(stream.raw(), None, &body::StreamSynchronize {}, &[]);
    assert_eq!(guest.run(), None);
    assert_eq!(guest.deferred(), Status::ERROR_INVALID_HANDLE);
    assert!(device.take().iter().any(|(_, work)| work == "destroy"));
    let next = StreamId::new(1, 2);
    let body = body::StreamCreate { context: CONTEXT.raw().into(), ..Default::default() };
    assert_eq!(guest.call(next.raw(), &body, &[]).0, Status::SUCCESS);
}

#[test]
fn the_legacy_stream_cannot_be_destroyed() {
    let (_, mut guest) = guest();
    guest.send(LEGACY.raw(), None, &body::StreamDestroy {}, &[]);
    assert_eq!(guest.run(), None);
    assert_eq!(guest.deferred(), Status::ERROR_INVALID_HANDLE);
    let reply = guest.reply(1);
    guest.send(LEGACY.raw(), Some(reply), &body::StreamSynchronize {}, &[]);
    assert_eq!(guest.run(), None);
    assert_eq!(guest.answer(reply).map(|answer| answer.0), Some(Status::SUCCESS));
}

#[test]
fn modules_and_launches() {
    let (device, mut guest) = guest();
    assert_eq!(load(&mut guest, b"bad image"), Status::ERROR_INVALID_PTX);
    assert_eq!(load(&mut guest, b"fine"), Status::SUCCESS);
    assert_eq!(function(&mut guest, "absent"), Status::ERROR_NOT_FOUND);
    assert_eq!(function(&mut guest, "kernel"), Status::SUCCESS);
    let wrong = [(0, 8), (1, 4)].map(|(grid, params)| (launch(grid), vec![0; params]));
    for (body, params) in wrong {
        let reply = guest.reply(2);
        guest.send(LEGACY.raw(), Some(reply), &body, &params);
        assert_eq!(guest.run(), None);
        assert_eq!(guest.answer(reply).map(|answer| answer.0), Some(Status::ERROR_INVALID_VALUE));
    }
    guest.send(LEGACY.raw(), None, &launch(3), &[0; 8]);
    assert_eq!(guest.run(), None);
    assert_eq!(device.take(), [(0, "launch [3, 1, 1]".to_owned())]);
    let unload = body::ModuleUnload { module: ModuleId::new(0, 1).raw().into() };
    assert_eq!(guest.call(0, &unload, &[]).0, Status::SUCCESS);
    guest.send(LEGACY.raw(), None, &launch(3), &[0; 8]);
    assert_eq!(guest.run(), None);
    assert_eq!(guest.deferred(), Status::ERROR_INVALID_HANDLE, "the kernel went with its module");
    assert_eq!(guest.session.counts().memory_bytes, 0);
}

#[test]
fn memory_is_bounded_by_credit_and_comes_back() {
    let device = Arc::new(MockDevice::default());
    let mut guest = session_with(&device, 1_000).with_context();
    let alloc = |bytes: u64| body::MemAlloc { context: CONTEXT.raw().into(), bytes: bytes.into() };
    assert_eq!(guest.call(0, &alloc(0), &[]).0, Status::ERROR_INVALID_VALUE);
    let (status, address) = guest.call(0, &alloc(512), &[]);
    assert_eq!(status, Status::SUCCESS);
    assert_eq!(guest.call(0, &alloc(512), &[]).0, Status::ERROR_OUT_OF_MEMORY);
    assert_eq!(guest.call(0, &alloc(u64::MAX), &[]).0, Status::ERROR_OUT_OF_MEMORY);
    let free = body::MemFree { context: CONTEXT.raw().into(), address: address.into() };
    assert_eq!(guest.call(0, &free, &[]).0, Status::SUCCESS);
    assert_eq!(guest.call(0, &free, &[]).0, Status::ERROR_INVALID_VALUE, "freed twice");
    assert_eq!(guest.call(0, &alloc(512), &[]).0, Status::SUCCESS);
    goes_on(&mut guest);
}

#[test]
fn a_destroyed_context_takes_its_objects_and_returns_its_memory() {
    let (_, mut guest) = guest();
    let stream = guest.stream(1, 0);
    assert_eq!(load(&mut guest, b"fine"), Status::SUCCESS);
    let alloc = body::MemAlloc { context: CONTEXT.raw().into(), bytes: 512.into() };
    assert_eq!(guest.call(0, &alloc, &[]).0, Status::SUCCESS);
    let destroy = body::CtxDestroy { context: CONTEXT.raw().into() };
    assert_eq!(guest.call(0, &destroy, &[]).0, Status::SUCCESS);
    assert_eq!(guest.call(0, &destroy, &[]).0, Status::ERROR_INVALID_CONTEXT);
    guest.send(stream.raw(), None, &body::StreamSynchronize {}, &[]);
    assert_eq!(guest.run(), None);
    assert_eq!(guest.deferred(), Status::ERROR_INVALID_HANDLE);
    let counts = guest.session.counts();
    assert_eq!((counts.memory_bytes, counts.contexts, counts.streams), (0, 0, 0));
}

#[test]
fn what_a_destroyed_context_has_done_is_complete_without_its_marks() {
    let (_, mut guest) = guest();
    guest.send(LEGACY.raw(), None, &body::Memcpy { bytes: 8.into(), ..Default::default() }, &[]);
    let destroy = body::CtxDestroy { context: CONTEXT.raw().into() };
    assert_eq!(guest.call(0, &destroy, &[]).0, Status::SUCCESS);
    // The device was never told to signal the mark that it had: a guest must not wait for it.
    assert_eq!((guest.retired(LEGACY), guest.completed(LEGACY)), (1, 1));
}

#[test]
fn errors_that_nobody_waits_for_are_left_for_the_next_call() {
    let (device, mut guest) = guest();
    device.refuse(Some(Status::ERROR_INVALID_VALUE));
    let copy = body::Memcpy { bytes: 8.into(), ..Default::default() };
    guest.send(LEGACY.raw(), None, &copy, &[]);
    let reply = guest.reply(3);
    guest.send(LEGACY.raw(), Some(reply), &copy, &[]);
    assert_eq!(guest.run(), None);
    assert_eq!(guest.deferred(), Status::ERROR_INVALID_VALUE);
    assert_eq!(guest.deferred(), Status::SUCCESS, "the second one was answered");
    assert_eq!(guest.answer(reply).map(|answer| answer.0), Some(Status::ERROR_INVALID_VALUE));
}

#[test]
fn faults_stick_to_their_context_and_are_no_deferred_errors() {
    use std::sync::atomic::Ordering;
    let (device, mut guest) = guest();
    let attention = guest.control.atomic_u32(vgpu_proto::window::ATTENTION).unwrap().load(Ordering::Acquire);
    assert_eq!(attention, 0, "nothing to look at while all is well");
    device.events().fault(&DeviceError::new(Status::ERROR_ILLEGAL_ADDRESS, "kernel x"));
    device.refuse(Some(Status::ERROR_ILLEGAL_ADDRESS));
    guest.send(LEGACY.raw(), None, &body::Memcpy { bytes: 8.into(), ..Default::default() }, &[]);
    assert_eq!(guest.run(), None);
    let word = guest.control.atomic_u32(vgpu_proto::window::context_error(0)).unwrap();
    assert_eq!(word.load(Ordering::Acquire), 700);
    assert_eq!(guest.deferred(), Status::SUCCESS);
    assert_eq!(guest.completed(LEGACY), guest.retired(LEGACY), "nobody waits for what never runs");
}

#[test]
fn regions_of_the_heap_come_and_go_within_their_quota() {
    let device = Arc::new(MockDevice::default());
    let guest = session_with(&device, 3 * 4096);
    let (first, _) = guest.session.region_add(5_000).unwrap();
    assert_eq!((first.bytes, first.id), (8_192, 2));
    assert_eq!(guest.session.region_add(4_097).unwrap_err(), Status::ERROR_OUT_OF_MEMORY);
    assert_eq!(guest.session.region_add(0).unwrap_err(), Status::ERROR_INVALID_VALUE);
    assert_eq!(guest.session.region_remove(1), Err(Status::ERROR_INVALID_VALUE), "staging stays");
    assert_eq!(guest.session.region_remove(first.id), Ok(()));
    assert_eq!(guest.session.region_remove(first.id), Err(Status::ERROR_INVALID_VALUE));
    let (again, _) = guest.session.region_add(3 * 4096).unwrap();
    assert_eq!(again.address, first.address);
}

#[test]
fn a_region_lies_where_the_guest_has_its_memory_or_nowhere() {
    let device = Arc::new(MockDevice::default());
    let guest = session_with(&device, 3 * 4096);
    let session = &guest.session;
    // Free addresses of this process, which is worker and guest at once here.
    let place = vgpu_window::Reservation::new_anywhere(4 * 4096).unwrap();
    let base = place.base();
    assert_eq!(session.region_add_at(base, 4096).unwrap_err(), Status::ERROR_NOT_SUPPORTED, "taken");
    drop(place);
    let (region, _) = session.region_add_at(base, 4_097).unwrap();
    assert_eq!((region.address, region.bytes, region.id), (base, 8_192, 2));
    for (address, bytes, status) in [
        (base + 4096, 4096, Status::ERROR_NOT_SUPPORTED),
        (base - 4096, 8192, Status::ERROR_NOT_SUPPORTED),
        (base + 100, 4096, Status::ERROR_INVALID_VALUE),
        (base, 0, Status::ERROR_INVALID_VALUE),
        (u64::MAX - 4095, 4096, Status::ERROR_INVALID_VALUE),
        (u64::MAX - 8191, 4096, Status::ERROR_OUT_OF_MEMORY),
        (0, 4096, Status::ERROR_NOT_SUPPORTED),
        (vgpu_proto::limits::REGION_ADDRESS_MIN - 4096, 4096, Status::ERROR_NOT_SUPPORTED),
        (base + 2 * 4096, 8192, Status::ERROR_OUT_OF_MEMORY),
    ] {
        assert_eq!(session.region_add_at(address, bytes).unwrap_err(), status, "{bytes} at {address:#x}");
    }
    let (heap, _) = session.region_add(4096).unwrap();
    assert_eq!(session.region_add_at(heap.address, 4096).unwrap_err(), Status::ERROR_NOT_SUPPORTED);
    assert_eq!(session.region_remove(heap.id), Ok(()));
    assert_eq!(session.region_remove(region.id), Ok(()));
    session.region_add_at(base, 3 * 4096).unwrap();
}
