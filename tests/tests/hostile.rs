//! Peers without manners, end to end: the session ends with its reason, and the host serves the next one.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::time::Instant;

use support::raw::{CONTEXT, LEGACY, RawGuest, connect, greet, hello};
use support::{DEADLINE, Host, eventually};
use vgpu_proto::frame::RawHeader;
use vgpu_proto::handshake::{Hello, RefusalCause, Variable};
use vgpu_proto::limits::{RING_BYTES, STAGING_BYTES, STREAM_COMMANDS_MAX};
use vgpu_proto::{Op, Status, StreamId, Violation, body, window};
use vgpu_window::link::LinkError;
use zerocopy::IntoBytes;

/// Figures of the tenant `alice`.
fn refused(host: &Host, cause: &str) -> u64 {
    let output = host.ctl(&["tenants", "--json"]);
    let body: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    body["tenants"][0]["refused"][cause].as_u64().unwrap()
}

/// The host still serves.
#[track_caller]
fn still_serves(host: &Host) {
    let output = host.guest("alice", &["vector-add", "1"]).finish();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_silent_peer_is_closed_and_counted() {
    let host = Host::with_alice();
    let silent = connect(&host.socket("alice"));
    let start = Instant::now();
    // The host may say why before it closes.
    loop {
        match silent.recv_timeout(DEADLINE) {
            Ok(_) => {}
            Err(LinkError::Closed) => break,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(start.elapsed().as_millis() >= 1_900, "a slow guest gets its 2 s: {:?}", start.elapsed());
    eventually("it is counted", || (refused(&host, "silent") == 1).then_some(()));
    still_serves(&host);
}

#[test]
fn a_wrong_version_is_refused_with_both_ranges() {
    let host = Host::with_alice();
    let refusal =
        greet(&host.socket("alice"), &Hello { version_min: 7, version_max: 9, ..hello() }).unwrap_err();
    assert_eq!(refusal.cause, RefusalCause::Version);
    assert_eq!((refusal.version_min, refusal.version_max), (1, 1));
    assert!(refusal.text.contains("7 to 9") && refusal.text.contains("1 to 1"), "{}", refusal.text);
    eventually("it is counted", || (refused(&host, "version") == 1).then_some(()));
    still_serves(&host);
}

#[test]
fn greetings_that_break_the_protocol() {
    let host = Host::with_alice();
    let preload = Variable { name: "LD_PRELOAD".into(), value: "x".into() };
    for bad in [
        Hello { plans: vec![], ..hello() },
        Hello { variables: vec![preload], ..hello() },
        Hello { process: vgpu_proto::handshake::GuestProcess { pid: 1, name: "x".repeat(2_000) }, ..hello() },
    ] {
        let refusal = greet(&host.socket("alice"), &bad).unwrap_err();
        assert_eq!(refusal.cause, RefusalCause::Protocol);
    }
    let garbage = connect(&host.socket("alice"));
    garbage.send(&[0xff; 100], &[]).unwrap();
    eventually("garbage is closed", || {
        matches!(garbage.recv_timeout(DEADLINE), Err(LinkError::Closed)).then_some(())
    });
    still_serves(&host);
}

/// A frame of 64 bytes with that header.
fn raw(op: u16, change: impl FnOnce(&mut RawHeader)) -> Vec<u8> {
    let mut header = RawHeader {
        length_bytes: 64.into(),
        op: op.into(),
        reply_slot: u32::MAX.into(),
        ..RawHeader::default()
    };
    change(&mut header);
    let mut bytes = header.as_bytes().to_vec();
    bytes.resize(64, 0);
    bytes
}

#[test]
fn each_breach_ends_its_session_with_its_own_reason() {
    type Breach = (Violation, fn(&mut RawGuest));
    let breaches: [Breach; 12] = [
        (Violation::RingIndex, |guest| guest.publish(guest.tail() + 2 * RING_BYTES)),
        (Violation::FrameLength, |guest| guest.send_bytes(&raw(1, |header| header.length_bytes = 7.into()))),
        (Violation::PayloadLength, |guest| {
            guest.send_bytes(&raw(Op::LaunchKernel.number(), |header| header.payload_bytes = 999.into()));
        }),
        (Violation::UnknownOperation, |guest| guest.send_bytes(&raw(0xfff0, |_| {}))),
        (Violation::LocalOperation, |guest| guest.send_bytes(&raw(Op::EventQuery.number(), |_| {}))),
        (Violation::ReservedBits, |guest| {
            guest.send_bytes(&raw(Op::Memset.number(), |header| header.flags = 1.into()));
        }),
        (Violation::CreditCommands, |guest| {
            let alloc = body::MemAlloc { context: CONTEXT.raw().into(), bytes: 64.into() };
            let (status, address) = guest.call(0, &alloc, &[]);
            assert_eq!(status, Status::SUCCESS);
            // A wait that nobody satisfies holds the stream; the device's own queue takes some commands first.
            let wait =
                body::StreamWaitValue32 { address: address.into(), value: 1.into(), condition: 1.into() };
            guest.send(LEGACY.raw(), None, &wait, &[]);
            for _ in 0..3 * STREAM_COMMANDS_MAX {
                guest.send(LEGACY.raw(), None, &body::StreamSynchronize {}, &[]);
            }
        }),
        (Violation::ReplySlot, |guest| guest.send_bytes(&raw(Op::Ping.number(), |_| {}))),
        (Violation::HandleIndex, |guest| {
            guest.send(StreamId::new(u32::MAX, 1).raw(), None, &body::StreamSynchronize {}, &[]);
        }),
        (Violation::HandleInUse, |guest| {
            let reply = guest.reply(1);
            let body = body::StreamCreate { context: CONTEXT.raw().into(), ..Default::default() };
            guest.send(LEGACY.raw(), Some(reply), &body, &[]);
        }),
        (Violation::RegionBounds, |guest| {
            let body = body::MemcpyFromStaging {
                staging_offset: STAGING_BYTES.into(),
                bytes: 1.into(),
                ..Default::default()
            };
            guest.send(LEGACY.raw(), None, &body, &[]);
        }),
        (Violation::ControlMessage, |guest| guest.link.send(&[0xff; 9], &[]).unwrap()),
    ];
    let host = Host::with_alice();
    for (violation, breach) in breaches {
        let mut guest = RawGuest::with_context(&host.socket("alice"));
        breach(&mut guest);
        let closing = guest.closing();
        assert_eq!(closing.reason, violation.to_string());
        assert_eq!(closing.status, Status::ERROR_UNKNOWN.0);
        assert!(!closing.text.is_empty());
    }
    host.wait_until_empty();
    still_serves(&host);
}

#[test]
fn a_control_message_over_the_limit_ends_the_session() {
    use std::io::Write;
    use std::os::fd::AsFd;
    let host = Host::with_alice();
    let guest = RawGuest::open(&host.socket("alice"));
    let stream = std::os::unix::net::UnixStream::from(guest.link.as_fd().try_clone_to_owned().unwrap());
    (&stream).write_all(&u32::MAX.to_le_bytes()).unwrap();
    assert_eq!(guest.closing().reason, Violation::ControlLength.to_string());
    host.wait_until_empty();
    still_serves(&host);
}

/// xorshift64*: small, seeded, good enough to choose bytes.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

#[test]
fn fifty_mutated_windows_end_or_go_on_beside_a_neighbour() {
    let host = Host::with_alice();
    let mut neighbour = host.guest("alice", &["vector-add-until-end"]);
    neighbour.until("running");
    let seed = std::env::var("VGPU_TEST_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(7);
    println!("VGPU_TEST_SEED={seed}");
    let mut random = Random(seed | 1);
    for _ in 0..50 {
        let mut guest = RawGuest::with_context(&host.socket("alice"));
        for _ in 0..20 {
            guest.send(LEGACY.raw(), None, &body::StreamSynchronize {}, &[]);
            let reply = guest.reply((random.next() % 256) as u32);
            guest.send(
                0,
                Some(reply),
                &body::MemAlloc { context: CONTEXT.raw().into(), bytes: 64.into() },
                &[],
            );
            let offset = match random.next() % 4 {
                0 => random.next() % window::RING,
                1 => window::RING_TAIL,
                _ => window::RING + guest.tail().saturating_sub(random.next() % 200) % RING_BYTES,
            };
            guest.control.write(offset & !7, &random.next().to_le_bytes()).unwrap();
            guest.kick();
            if guest.is_over() {
                break;
            }
        }
    }
    assert!(neighbour.is_running());
    drop(neighbour.child().stdin.take());
    let output = neighbour.finish();
    assert!(String::from_utf8_lossy(&output.stdout).ends_with("ok\n"));
    host.wait_until_empty();
    still_serves(&host);
}
