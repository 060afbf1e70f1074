//! A guest that breaks each rule of the protocol once. Every time the host ends that session, says why, and serves the
//! next one as if nothing had happened.
//!
//! Needs a host; see README.md in this folder.

use std::error::Error;
use std::io::stdin;
use std::os::fd::AsFd;
use std::path::PathBuf;

use vgpu_client::Client;
use vgpu_examples::raw::{CONTEXT, RawGuest, STREAM};
use vgpu_proto::control::GuestMessage;
use vgpu_proto::frame::{NO_REPLY, RawHeader, ReplyTo};
use vgpu_proto::limits::{
    CONTROL_BYTES_MAX, PARAMS_BYTES_MAX, RING_BYTES, STAGING_BYTES, STREAM_COMMANDS_MAX,
};
use vgpu_proto::{FunctionId, ModuleId, Op, StreamId, Violation, body, codec};

const SLOT: ReplyTo = ReplyTo { slot: 9, tag: 1 };

/// More requests than the host keeps for a guest that does not read its answers.
const FLOOD: u32 = 1_000;

fn main() -> Result<(), Box<dyn Error>> {
    let socket = PathBuf::from(std::env::var_os("VGPU_SOCKET").ok_or("VGPU_SOCKET says where the host is")?);
    for violation in Violation::ALL {
        let mut guest = RawGuest::connect(&socket)?;
        commit(*violation, &mut guest)?;
        let closing = guest.closing()?;
        println!("{:<18} -> {}: {}", violation.what(), closing.reason, closing.text);
        assert_eq!(closing.reason, violation.to_string());
    }
    Client::builder().socket(&socket).connect()?.ping()?;
    println!("the host is as well as before: an honest guest is served");
    Ok(())
}

/// The header of a frame without an answer.
fn header(op: Op) -> RawHeader {
    let (op, reply_slot) = (op.number().into(), NO_REPLY.into());
    RawHeader { length_bytes: 64.into(), op, reply_slot, ..Default::default() }
}

/// Breaks one rule.
fn commit(violation: Violation, guest: &mut RawGuest) -> Result<(), Box<dyn Error>> {
    let sync = body::StreamSynchronize {};
    let question = codec::encode(&GuestMessage::RegionRemove { request: 1, id: 99 })?;
    match violation {
        Violation::RingIndex => guest.publish(2 * RING_BYTES),
        Violation::FrameLength => guest.send_header(RawHeader { length_bytes: 7.into(), ..header(Op::Ping) }),
        Violation::FrameWraps => {
            guest.pad_until(32)?;
            guest.send_header(header(Op::StreamSynchronize))
        }
        Violation::PayloadLength => {
            guest.send_header(RawHeader { payload_bytes: 999.into(), ..header(Op::LaunchKernel) })
        }
        Violation::UnknownOperation => guest.send_header(RawHeader { op: 0xffff.into(), ..header(Op::Ping) }),
        Violation::LocalOperation => guest.send_header(header(Op::StreamQuery)),
        Violation::ReservedBits => guest.send_header(RawHeader { flags: 1.into(), ..header(Op::Memset) }),
        Violation::ReplySlot => guest.send_header(header(Op::Ping)),
        Violation::CreditCommands | Violation::CreditBytes => {
            // The first 512 commands go on to the device and wait there; the rest waits in the host, on credit that a
            // guest without manners does not have.
            guest.block_stream()?;
            let large = vec![0; PARAMS_BYTES_MAX as usize];
            let (count, payload) =
                if violation == Violation::CreditBytes { (16, &large[..]) } else { (600, &[][..]) };
            for _ in 0..STREAM_COMMANDS_MAX {
                guest.send(STREAM.raw(), None, &sync, &[])?;
            }
            (0..count)
                .try_for_each(|_| guest.send(STREAM.raw(), None, &body::LaunchKernel::default(), payload))
        }
        Violation::ReplySlotBusy => {
            guest.block_stream()?;
            // This one is not answered before the stream is through, which is never.
            guest.send(0, Some(SLOT), &body::CtxSynchronize { context: CONTEXT.raw().into() }, &[])?;
            guest.send(0, Some(ReplyTo { tag: 2, ..SLOT }), &body::Ping {}, &[])
        }
        Violation::HandleIndex => guest.send(StreamId::new(u32::MAX, 1).raw(), None, &sync, &[]),
        Violation::HandleInUse => {
            guest.create_context()?;
            let again = body::StreamCreate { context: CONTEXT.raw().into(), ..Default::default() };
            guest.send(STREAM.raw(), Some(SLOT), &again, &[])
        }
        Violation::UnknownRegion => {
            guest.create_context()?;
            let mut load = body::ModuleLoad { context: CONTEXT.raw().into(), ..Default::default() };
            (load.module, load.image_bytes) = (ModuleId::new(0, 1).raw().into(), 1.into());
            (load.image_region, load.reply_bytes) = (99.into(), CONTROL_BYTES_MAX.into());
            guest.send(0, Some(SLOT), &load, &[])
        }
        Violation::RegionBounds => {
            guest.create_context()?;
            let copy = body::MemcpyFromStaging {
                staging_offset: STAGING_BYTES.into(),
                bytes: 1.into(),
                ..Default::default()
            };
            guest.send(STREAM.raw(), None, &copy, &[])
        }
        Violation::PayloadLimit => {
            let find = body::ModuleGetFunction {
                function: FunctionId::new(0, 1).raw().into(),
                ..Default::default()
            };
            guest.send(0, Some(SLOT), &find, &[b'x'; 20_000])
        }
        Violation::ControlMessage => Ok(guest.link.send(&[0xff; 9], &[])?),
        Violation::ControlLength => Ok(guest.link.send(&question, &[stdin().as_fd()])?),
        Violation::ControlRate => {
            // The host does not take all of them: it closes in between.
            let _ = (0..FLOOD).try_for_each(|_| guest.link.send(&question, &[]));
            Ok(())
        }
        other => Err(format!("this example does not know {other}").into()),
    }
}
