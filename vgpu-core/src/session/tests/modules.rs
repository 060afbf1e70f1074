//! Kernels of modules, and links.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use vgpu_proto::control::{CompileReport, FunctionNames, ModuleDescription};
use vgpu_proto::jit::{JitKind, JitOption, LinkInput, LinkKind, encode_input, encode_options};
use vgpu_proto::limits::{CONTROL_BYTES_MAX, JIT_OPTIONS_MAX, STAGING_BYTES};
use vgpu_proto::{FunctionId, ModuleId, Status, Violation, body, codec, window};

use super::guest::{CONTEXT, Guest};
use super::mock::MockDevice;
use super::session;

/// Where answers go, behind the images and inputs.
const ANSWER: u64 = 1 << 20;

const MODULE: ModuleId = ModuleId::new(0, 1);
const OPTION: JitOption = JitOption { kind: JitKind::MaxRegisters, value: 32 };

fn guest() -> Guest {
    session(&Arc::new(MockDevice::default())).with_context()
}

fn load() -> body::ModuleLoad {
    body::ModuleLoad {
        context: CONTEXT.raw().into(),
        module: MODULE.raw().into(),
        image_bytes: 4.into(),
        image_region: 1.into(),
        reply_offset: ANSWER.into(),
        reply_bytes: CONTROL_BYTES_MAX.into(),
        ..Default::default()
    }
}

fn loaded() -> Guest {
    let mut guest = guest();
    guest.session.staging.write(0, b"fine").unwrap();
    let (status, length) = guest.call(0, &load(), &encode_options(&[OPTION]));
    assert_eq!(status, Status::SUCCESS);
    let description: ModuleDescription = codec::decode(&told(&guest, length)).unwrap();
    assert_eq!(description.functions, 1);
    guest
}

fn told(guest: &Guest, length: u64) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(length).unwrap()];
    guest.session.staging.read(ANSWER, &mut bytes).unwrap();
    bytes
}

#[test]
fn names_of_kernels_come_in_pages() {
    let mut guest = loaded();
    let mut enumerate = |first: usize, reply_bytes: u32| {
        let body = body::ModuleEnumerateFunctions {
            module: MODULE.raw().into(),
            reply_offset: ANSWER.into(),
            first: u32::try_from(first).unwrap().into(),
            reply_bytes: reply_bytes.into(),
        };
        let (status, length) = guest.call(0, &body, &[]);
        status.ok().map(|()| codec::decode::<FunctionNames>(&told(&guest, length)).unwrap().names)
    };
    let mut names: Vec<String> = Vec::new();
    let mut pages = 0;
    while names.len() < 1_000 {
        names.extend(enumerate(names.len(), CONTROL_BYTES_MAX).unwrap());
        pages += 1;
    }
    assert!(pages > 1, "they are more than fit an answer");
    assert!(names.iter().enumerate().all(|(at, name)| *name == format!("kernel_{at:0>100}")));
    assert_eq!(enumerate(1_000, 1_024), Ok(Vec::new()));
    assert_eq!(enumerate(u32::MAX as usize, 1_024), Ok(Vec::new()));
    assert_eq!(enumerate(0, 64), Err(Status::ERROR_INVALID_VALUE), "no room for one");
}

#[test]
fn a_kernel_of_a_module_that_goes_meanwhile_is_not_found() {
    let mut guest = loaded();
    let get = body::ModuleGetFunction {
        module: MODULE.raw().into(),
        function: FunctionId::new(0, 1).raw().into(),
        reply_offset: ANSWER.into(),
        reply_bytes: 1_024.into(),
        ..Default::default()
    };
    let (looked_up, unloaded) = (guest.reply(1), guest.reply(2));
    guest.send(0, Some(looked_up), &get, b"kernel");
    guest.send(0, Some(unloaded), &body::ModuleUnload { module: MODULE.raw().into() }, &[]);
    assert_eq!(guest.run(), None);
    assert_eq!(guest.answer(unloaded).map(|answer| answer.0), Some(Status::SUCCESS));
    assert_eq!(guest.answer(looked_up).map(|answer| answer.0), Some(Status::ERROR_INVALID_HANDLE));
    // The name is free again.
    assert_eq!(guest.call(0, &load(), &[]).0, Status::SUCCESS);
    assert_eq!(guest.call(0, &get, b"kernel").0, Status::SUCCESS);
}

fn inputs(parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for data in parts {
        encode_input(&LinkInput { kind: LinkKind::Ptx, name: b"part", data }, &mut bytes);
    }
    bytes
}

fn link(input_bytes: usize, room_bytes: u64) -> body::ModuleLink {
    body::ModuleLink {
        context: CONTEXT.raw().into(),
        input_bytes: (input_bytes as u64).into(),
        room_bytes: room_bytes.into(),
        reply_offset: ANSWER.into(),
        reply_bytes: CONTROL_BYTES_MAX.into(),
        region: 1.into(),
        ..Default::default()
    }
}

/// Status, what was told, and the size of the result.
fn call_link(guest: &mut Guest, inputs: &[u8], room_bytes: u64) -> (Status, Vec<u8>, u64) {
    guest.session.staging.write(0, inputs).unwrap();
    let body = link(inputs.len(), room_bytes);
    let (status, length) = guest.call(0, &body, &encode_options(&[OPTION]));
    let second = guest.control.atomic_u64(window::reply(5, window::REPLY_VALUES) + 8).unwrap();
    (status, told(guest, length), second.load(Ordering::Relaxed))
}

#[test]
fn a_link_leaves_its_result_where_there_is_room() {
    let mut guest = guest();
    let first = |guest: &Guest| {
        let mut bytes = [0; 8];
        guest.session.staging.read(0, &mut bytes).unwrap();
        bytes
    };
    let (status, report, bytes) = call_link(&mut guest, &inputs(&[b"four", b"more"]), 8);
    assert_eq!((status, bytes, &first(&guest)), (Status::SUCCESS, 8, b"fourmore"));
    let report: CompileReport = codec::decode(&report).unwrap();
    assert_eq!(report.log, "1 options");
    let parts = inputs(&[b"four", b"more"]);
    let (status, _, bytes) = call_link(&mut guest, &parts, 7);
    assert_eq!((status, bytes), (Status::SUCCESS, 8), "it says how much room it needs");
    assert_eq!(first(&guest), parts[..8], "and writes nothing");
    let (status, text, bytes) = call_link(&mut guest, &inputs(&[b"bad"]), 8);
    assert_eq!((status, text.as_slice(), bytes), (Status::ERROR_INVALID_PTX, &b"line 1: bad"[..], 0));
    for wrong in [&b"half an input"[..], &[0xff; 64], &inputs(&[b"four"])[..16]] {
        assert_eq!(call_link(&mut guest, wrong, 8).0, Status::ERROR_INVALID_VALUE);
    }
    assert_eq!(guest.call(0, &link(0, 8), &[]).0, Status::ERROR_INVALID_VALUE);
}

#[test]
fn links_and_options_out_of_bounds_end_the_session() {
    let sound = link(64, 64);
    for (body, options, violation) in [
        (sound, vec![0; 8 * (JIT_OPTIONS_MAX + 1)], Violation::PayloadLimit),
        (sound, vec![0; 7], Violation::PayloadLength),
        (sound, vec![3, 0, 0, 0, 0, 0, 0, 0], Violation::ReservedBits),
        (body::ModuleLink { region: 77.into(), ..sound }, vec![], Violation::UnknownRegion),
        (body::ModuleLink { input_bytes: u64::MAX.into(), ..sound }, vec![], Violation::RegionBounds),
        (
            body::ModuleLink { room_bytes: (STAGING_BYTES + 1).into(), ..sound },
            vec![],
            Violation::RegionBounds,
        ),
        (body::ModuleLink { offset: (STAGING_BYTES - 63).into(), ..sound }, vec![], Violation::RegionBounds),
        (body::ModuleLink { reply_bytes: u32::MAX.into(), ..sound }, vec![], Violation::PayloadLimit),
    ] {
        let mut guest = guest();
        let reply = guest.reply(0);
        guest.send(0, Some(reply), &body, &options);
        let ended = guest.run().expect("the session ends");
        assert_eq!(ended.closing.reason, violation.to_string());
    }
    let mut guest = guest();
    let reply = guest.reply(0);
    guest.send(0, Some(reply), &load(), &[0xff; 8]);
    assert_eq!(guest.run().expect("the session ends").closing.reason, Violation::ReservedBits.to_string());
}
