//! A live window, mutated at random: whatever the bytes, the dispatcher ends the session or goes on; it never panics
//! and never hangs.

use std::sync::Arc;

use vgpu_proto::frame::ReplyTo;
use vgpu_proto::limits::{KEPT_IMAGE_BYTES_MIN, RING_BYTES};
use vgpu_proto::{EventId, FunctionId, GraphId, ModuleId, StreamId, body, window};

use super::guest::{CONTEXT, Guest, LEGACY};
use super::mock::MockDevice;
use super::session;

/// xorshift64*: small, seeded, good enough to choose bytes.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

const MUTATIONS: u64 = 10_000;

/// Mutations that one session lives through, so that they meet a state with objects in it.
const PER_SESSION: u64 = 25;

#[test]
fn ten_thousand_mutations_end_or_go_on() {
    let seed = std::env::var("VGPU_TEST_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    println!("VGPU_TEST_SEED={seed}");
    let mut random = Random(seed | 1);
    let (mut ended, mut lived) = (0, 0);
    let mut done = 0;
    while done < MUTATIONS {
        let device = Arc::new(MockDevice::default());
        let mut guest = session(&device).with_context();
        guest.stream(1, 0);
        for _ in 0..PER_SESSION {
            done += 1;
            populate(&mut guest, &mut random);
            mutate(&mut guest, &mut random);
            device.complete();
            if guest.run().is_some() {
                ended += 1;
                break;
            }
            lived += 1;
        }
    }
    println!("{ended} ended, {lived} lived on");
    assert!(ended > MUTATIONS / 20, "mutations hardly ever break the protocol: are they seen?");
    assert!(lived > MUTATIONS / 20, "every mutation ends the session: are frames read at all?");
}

/// Frames of every kind, most of them sound.
fn populate(guest: &mut Guest, random: &mut Random) {
    let context = CONTEXT.raw();
    let stream = [LEGACY, StreamId::new(1, 1)][(random.next() % 2) as usize].raw();
    let event = EventId::new((random.below(4)) as u32, 1).raw();
    let reply = guest.reply((random.below(200)) as u32 + 8);
    match random.below(15) {
        0 => guest.send(0, Some(reply), &body::Ping {}, &[]),
        1 => guest.send(stream, None, &body::StreamSynchronize {}, &[]),
        2 => guest.send(stream, None, &body::EventRecord { event: event.into() }, &[]),
        3 => guest.send(stream, None, &body::StreamWaitEvent { event: event.into() }, &[]),
        4 => guest.send(0, Some(reply), &body::MemAlloc { context: context.into(), bytes: 64.into() }, &[]),
        5 | 6 | 9 | 10 => modules(guest, random, reply),
        7 => {
            let one = [1.into(); 3];
            let body = body::LaunchKernel {
                function: FunctionId::new(0, 1).raw().into(),
                grid: one,
                block: one,
                ..Default::default()
            };
            guest.send(stream, None, &body, &[0; 8]);
        }
        8 => {
            guest.send(
                stream,
                None,
                &body::MemcpyFromStaging { bytes: 64.into(), ..Default::default() },
                &[],
            );
        }
        11..14 => graph(guest, random, stream),
        _ => guest.send(
            stream,
            None,
            &body::Memset { count: 3.into(), element_bytes: 4.into(), ..Default::default() },
            &[],
        ),
    }
}

/// Frames about modules.
fn modules(guest: &mut Guest, random: &mut Random, reply: ReplyTo) {
    match random.below(5) {
        0 => {
            let body = body::ModuleLoad {
                context: CONTEXT.raw().into(),
                module: ModuleId::new((random.below(8)) as u32, 1).raw().into(),
                image_bytes: 16.into(),
                image_region: 1.into(),
                reply_bytes: 512.into(),
                ..Default::default()
            };
            guest.send(0, Some(reply), &body, &[]);
        }
        1 => {
            let body = body::ModuleGetFunction {
                module: ModuleId::new(0, 1).raw().into(),
                function: FunctionId::new((random.below(8)) as u32, 1).raw().into(),
                reply_bytes: 512.into(),
                ..Default::default()
            };
            guest.send(0, Some(reply), &body, b"kernel");
        }
        2 => {
            let body = body::ModuleEnumerateFunctions {
                module: ModuleId::new(0, 1).raw().into(),
                reply_bytes: 512.into(),
                ..Default::default()
            };
            guest.send(0, Some(reply), &body, &[]);
        }
        3 => {
            let body = body::ModuleLoadKept {
                context: CONTEXT.raw().into(),
                module: ModuleId::new((random.below(8)) as u32, 1).raw().into(),
                image_bytes: KEPT_IMAGE_BYTES_MIN.into(),
                reply_bytes: 512.into(),
                ..Default::default()
            };
            guest.send(0, Some(reply), &body, &[]);
        }
        _ => {
            let body = body::ModuleLink {
                context: CONTEXT.raw().into(),
                input_bytes: 16.into(),
                room_bytes: 64.into(),
                reply_bytes: 512.into(),
                region: 1.into(),
                ..Default::default()
            };
            guest.send(0, Some(reply), &body, &[7, 0, 0, 0, 3, 0, 0, 0]);
        }
    }
}

/// Frames about graphs.
fn graph(guest: &mut Guest, random: &mut Random, stream: u64) {
    let reply = guest.reply((random.below(200)) as u32 + 8);
    let graph = GraphId::new(random.below(4) as u32, 1).raw();
    match random.below(4) {
        0 => {
            let body = body::GraphInstantiate {
                context: CONTEXT.raw().into(),
                graph: graph.into(),
                bytes: (1 + random.below(64)).into(),
                region: 1.into(),
                ..Default::default()
            };
            guest.send(0, Some(reply), &body, &[]);
        }
        1 => {
            let body = body::GraphUpdate {
                graph: graph.into(),
                bytes: (1 + random.below(64)).into(),
                region: 1.into(),
                ..Default::default()
            };
            guest.send(0, Some(reply), &body, &[]);
        }
        2 => guest.send(stream, None, &body::GraphLaunch { graph: graph.into() }, &[]),
        _ => guest.send(0, Some(reply), &body::GraphDestroy { graph: graph.into() }, &[]),
    }
}

/// Changes bytes of the frames that were just published, of the counters, or of anything at all.
fn mutate(guest: &mut Guest, random: &mut Random) {
    let value = random.next().to_le_bytes();
    let bytes = (1 + random.below(8)) as usize;
    let frame = guest.tail.saturating_sub(random.below(256));
    let offset = match random.below(8) {
        0 => window::RING_TAIL,
        1 => random.below(window::RING),
        2 => window::RING + random.below(RING_BYTES),
        _ => window::RING + frame % RING_BYTES,
    };
    let room = (guest.control.len() - offset).min(bytes as u64) as usize;
    guest.control.write(offset, &value[..room]).unwrap();
}
