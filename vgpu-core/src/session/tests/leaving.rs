//! What a guest destroys is paid for as long as it is there: while a call of its own still has it, after a fault for good.

use std::sync::Arc;

use vgpu_proto::limits::CONTROL_BYTES_MAX;
use vgpu_proto::{ContextId, FunctionId, ModuleId, Status, StreamId, body};

use crate::device::DeviceError;

use super::guest::{CONTEXT, Guest, LEGACY};
use super::mock::MockDevice;
use super::{session, session_with};

fn guest() -> Guest {
    session(&Arc::new(MockDevice::default())).with_context()
}

fn alloc(bytes: u64) -> body::MemAlloc {
    body::MemAlloc { context: CONTEXT.raw().into(), bytes: bytes.into() }
}

fn free(address: u64) -> body::MemFree {
    body::MemFree { context: CONTEXT.raw().into(), address: address.into() }
}

fn destroy() -> body::CtxDestroy {
    body::CtxDestroy { context: CONTEXT.raw().into() }
}

/// Memory of a context goes when the last call that has the context is over, and such a call does nothing to the charges
/// of a later context, though the guest gave that one the same name.
#[test]
fn a_context_is_paid_for_until_no_call_has_it() {
    let mut guest = guest();
    let used = |guest: &Guest| guest.session.counts().memory_bytes;
    assert_eq!(guest.call(0, &alloc(4_096), &[]).0, Status::SUCCESS);
    let late = guest.reply(1);
    guest.send(0, Some(late), &alloc(256), &[]);
    assert_eq!(guest.turns(), None);
    let held = std::mem::take(&mut guest.jobs);
    assert_eq!(held.len(), 1);
    assert_eq!(guest.call(0, &destroy(), &[]).0, Status::SUCCESS);
    assert_eq!(used(&guest), 4_096, "the call still has the context, and so its memory is there");
    let again = body::CtxCreate {
        context: CONTEXT.raw().into(),
        legacy_stream: LEGACY.raw().into(),
        ..Default::default()
    };
    assert_eq!(guest.call(0, &again, &[]).0, Status::SUCCESS);
    assert_eq!(guest.call(0, &alloc(8_192), &[]).0, Status::SUCCESS);
    assert_eq!(used(&guest), 4_096 + 8_192);
    held.into_iter().for_each(super::super::Job::run);
    assert_eq!(guest.answer(late).map(|(status, _)| status), Some(Status::ERROR_INVALID_CONTEXT));
    assert_eq!(used(&guest), 8_192, "what the second context has, and nothing more or less");
    assert_eq!(guest.call(0, &destroy(), &[]).0, Status::SUCCESS);
    assert_eq!(used(&guest), 0);
}

#[test]
fn a_region_is_paid_for_until_no_call_reads_it() {
    let mut guest = guest();
    let (region, _) = guest.session.region_add(5_000).unwrap();
    let load = body::ModuleLoad {
        context: CONTEXT.raw().into(),
        module: ModuleId::new(0, 1).raw().into(),
        image_bytes: 4.into(),
        image_region: region.id.into(),
        reply_bytes: CONTROL_BYTES_MAX.into(),
        ..Default::default()
    };
    let reply = guest.reply(1);
    guest.send(0, Some(reply), &load, &[]);
    assert_eq!(guest.turns(), None);
    assert_eq!(guest.session.region_remove(region.id), Ok(()));
    assert_eq!(guest.session.counts().pinned_bytes, 8_192);
    assert_eq!(guest.run(), None);
    assert_eq!(guest.answer(reply).map(|(status, _)| status), Some(Status::SUCCESS));
    assert_eq!(guest.session.counts().pinned_bytes, 0);
}

/// A device hands parts of the arena out and takes them back, and nothing is mapped there in between.
#[test]
fn no_region_lies_where_device_memory_goes() {
    let guest = guest();
    let arena = &guest.session.arena;
    arena.cede(4_096, 4_096).unwrap();
    let refused = guest.session.region_add_at(arena.base() + 4_096, 4_096);
    assert_eq!(refused.unwrap_err(), Status::ERROR_NOT_SUPPORTED);
    arena.reclaim(4_096).unwrap();
}

/// The device may be waiting for a context's work while it sets a limit, and that work for the dispatcher.
#[test]
fn the_dispatcher_reads_no_limits_itself() {
    let mut guest = guest();
    let body = body::CtxGetLimit { context: CONTEXT.raw().into(), limit: 0.into(), reserved: 0.into() };
    let reply = guest.reply(1);
    guest.send(0, Some(reply), &body, &[]);
    assert_eq!(guest.turns(), None);
    assert_eq!((guest.answer(reply), guest.jobs.len()), (None, 1));
    assert_eq!(guest.run(), None);
    assert_eq!(guest.answer(reply), Some((Status::SUCCESS, 1_024)));
}

/// A card takes nothing back from a process in which a context failed. The guest may stay, and so does its charge.
#[test]
fn after_a_fault_that_ends_all_contexts_nothing_is_given_back() {
    for (brittle, left) in [(false, 0), (true, 4_096)] {
        let device = Arc::new(MockDevice::default());
        let mut guest = session(&device).with_context();
        if brittle {
            device.set_brittle();
        }
        let (status, address) = guest.call(0, &alloc(4_096), &[]);
        assert_eq!(status, Status::SUCCESS);
        device.events().fault(&DeviceError::new(Status::ERROR_ILLEGAL_ADDRESS, "kernel x"));
        assert_eq!(guest.call(0, &free(address), &[]).0, Status::SUCCESS);
        assert_eq!(guest.call(0, &destroy(), &[]).0, Status::SUCCESS);
        assert_eq!(guest.session.counts().memory_bytes, left);
    }
}

#[test]
fn local_memory_of_kernels_is_paid_for_before_it_is_taken() {
    let device = Arc::new(MockDevice::default());
    let mut guest = session_with(&device, 100_000).with_context();
    guest.session.staging.write(0, b"fine").unwrap();
    let module = ModuleId::new(0, 1).raw();
    let load = body::ModuleLoad {
        context: CONTEXT.raw().into(),
        module: module.into(),
        image_bytes: 4.into(),
        image_region: 1.into(),
        reply_offset: 64.into(),
        reply_bytes: CONTROL_BYTES_MAX.into(),
        ..Default::default()
    };
    assert_eq!(guest.call(0, &load, &[]).0, Status::SUCCESS);
    let before = guest.session.counts().memory_bytes;
    let find = |index| body::ModuleGetFunction {
        module: module.into(),
        function: FunctionId::new(index, 1).raw().into(),
        reply_offset: 64.into(),
        reply_bytes: CONTROL_BYTES_MAX.into(),
        ..Default::default()
    };
    device.set_local(1 << 40);
    assert_eq!(guest.call(0, &find(0), b"kernel").0, Status::ERROR_OUT_OF_MEMORY);
    assert_eq!(guest.session.counts().memory_bytes, before);
    device.set_local(50_000);
    assert_eq!(guest.call(0, &find(0), b"kernel").0, Status::SUCCESS);
    assert_eq!(guest.session.counts().memory_bytes, before + 50_000);
}

#[test]
fn contexts_after_the_first_are_paid_for() {
    let device = Arc::new(MockDevice::default());
    device.set_context_bytes(60_000);
    let mut guest = session_with(&device, 100_000).with_context();
    let used = |guest: &Guest| guest.session.counts().memory_bytes;
    assert_eq!(used(&guest), 0, "the device has it from its start");
    let create = |guest: &mut Guest, index| {
        let body = body::CtxCreate {
            context: ContextId::new(index, 1).raw().into(),
            legacy_stream: StreamId::new(index, 1).raw().into(),
            ..Default::default()
        };
        guest.call(0, &body, &[]).0
    };
    assert_eq!(create(&mut guest, 1), Status::SUCCESS);
    assert_eq!(used(&guest), 60_000);
    assert_eq!(create(&mut guest, 2), Status::ERROR_OUT_OF_MEMORY);
    assert_eq!(used(&guest), 60_000);
    let destroy = body::CtxDestroy { context: ContextId::new(1, 1).raw().into() };
    assert_eq!(guest.call(0, &destroy, &[]).0, Status::SUCCESS);
    assert_eq!(used(&guest), 0);
    assert_eq!(create(&mut guest, 2), Status::SUCCESS);
}
