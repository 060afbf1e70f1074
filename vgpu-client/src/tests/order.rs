//! Credit, a full ring, sleeping and waking, and many threads at once.

use std::sync::atomic::{AtomicU32, Ordering};

use vgpu_proto::frame::Request;
use vgpu_proto::limits::STREAM_COMMANDS_MAX;

use super::eventually;
use super::fake_host::{open, open_with};
use crate::{Builder, LaunchConfig, Op, args};

#[test]
fn a_full_stream_holds_up_its_own_writer_only() {
    let (host, client) = open();
    let context = client.context().unwrap();
    let (full, free) = (context.stream().unwrap(), context.stream().unwrap());
    let buffer = context.alloc::<u32>(1).unwrap();
    host.orders().hold.store(true, Ordering::Relaxed);
    let queued = AtomicU32::new(0);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for value in 0..2_000 {
                full.write_value32(&buffer, value).unwrap();
                queued.fetch_add(1, Ordering::Relaxed);
            }
        });
        eventually("the stream fills", || u64::from(queued.load(Ordering::Relaxed)) == STREAM_COMMANDS_MAX);
        // Other streams and calls go on meanwhile.
        for _ in 0..100 {
            free.write_value32(&buffer, 1).unwrap();
            client.ping().unwrap();
        }
        assert_eq!(u64::from(queued.load(Ordering::Relaxed)), STREAM_COMMANDS_MAX);
        host.orders().hold.store(false, Ordering::Relaxed);
        writer.join().unwrap();
    });
    full.synchronize().unwrap();
}

#[test]
fn a_full_ring_holds_writers_up_and_wakes_them() {
    let (host, client) = open_with(Builder::new().spin_ns(0), |_| {});
    let context = client.context().unwrap();
    let module = context.load_module("// ptx").unwrap();
    let nothing = module.function("nothing").unwrap();
    let streams: Vec<_> = (0..8).map(|_| context.stream().unwrap()).collect();
    for stream in &streams {
        stream.launch(&nothing, LaunchConfig::default(), args![]).unwrap();
    }
    host.orders().stall.store(true, Ordering::Relaxed);
    let event = context.event().unwrap();
    let calls = |op: Op| client.calls().into_iter().find(|(known, _)| *known == op).unwrap().1;
    std::thread::scope(|scope| {
        // Events need no credit, so nothing but the ring's size stops them.
        let writer = scope.spawn(|| {
            for _ in 0..20_000 {
                drop(context.event().unwrap());
            }
        });
        let mut before = 0;
        eventually("the ring fills", || {
            std::thread::sleep(std::time::Duration::from_millis(20));
            let now = calls(Op::EventCreate);
            std::mem::replace(&mut before, now) == now && now > 1_000
        });
        host.orders().stall.store(false, Ordering::Relaxed);
        writer.join().unwrap();
    });
    drop(event);
    context.synchronize().unwrap();
}

#[test]
fn threads_that_share_a_session_do_not_lose_or_mix_anything() {
    let (_host, client) = open_with(Builder::new().spin_ns(1_000), |_| {});
    let context = client.context().unwrap();
    std::thread::scope(|scope| {
        for seed in 0..6_u32 {
            let (context, client) = (&context, &client);
            scope.spawn(move || {
                let stream = context.stream().unwrap();
                let buffer = context.alloc::<u32>(256).unwrap();
                let mut out = [0; 256];
                for round in 0..200_u32 {
                    let values: [u32; 256] = std::array::from_fn(|at| seed << 16 | round << 8 | at as u32);
                    stream.copy_to_device(&buffer, &values).unwrap();
                    if round.is_multiple_of(7) {
                        client.ping().unwrap();
                    }
                    stream.copy_to_host(&buffer, &mut out).unwrap();
                    assert_eq!(out, values);
                }
            });
        }
    });
}

#[test]
fn a_waiter_sleeps_and_is_woken() {
    let (host, client) = open_with(Builder::new().spin_ns(0), |_| {});
    let context = client.context().unwrap();
    let stream = context.stream().unwrap();
    let buffer = context.alloc::<u8>(8).unwrap();
    host.orders().hold.store(true, Ordering::Relaxed);
    stream.memset(&buffer, 1_u8, 8).unwrap();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| stream.synchronize().unwrap());
        eventually("the waiter sleeps", || {
            let slot = vgpu_proto::window::stream(stream.id().index(), vgpu_proto::window::STREAM_NEED_WAKE);
            host.machine.word32(slot).load(Ordering::SeqCst) == 1
        });
        assert!(!waiter.is_finished());
        host.orders().hold.store(false, Ordering::Relaxed);
        waiter.join().unwrap();
    });
}

/// The second command may wait for what the first thread does once it is through, so the two must not share a mark.
#[test]
fn a_command_behind_one_that_is_waited_for_comes_after_a_mark() {
    for whole_context in [false, true] {
        let (host, client) = open_with(Builder::new().spin_ns(0), |_| {});
        let context = client.context().unwrap();
        let stream = context.stream().unwrap();
        let buffer = context.alloc::<u32>(1).unwrap();
        host.orders().hold.store(true, Ordering::Relaxed);
        stream.write_value32(&buffer, 1).unwrap();
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| match whole_context {
                true => context.synchronize().unwrap(),
                false => stream.synchronize().unwrap(),
            });
            eventually("the waiter sleeps", || {
                let slot =
                    vgpu_proto::window::stream(stream.id().index(), vgpu_proto::window::STREAM_NEED_WAKE);
                host.machine.word32(slot).load(Ordering::SeqCst) == 1
            });
            stream.write_value32(&buffer, 2).unwrap();
            stream.write_value32(&buffer, 3).unwrap();
            host.orders().hold.store(false, Ordering::Relaxed);
            waiter.join().unwrap();
        });
        stream.synchronize().unwrap();
        let asks = |request: &Request| matches!(request, Request::StreamSynchronize(_));
        let order: Vec<bool> =
            host.machine.executed.lock().iter().map(|(_, request)| asks(request)).collect();
        assert_eq!(order, [false, true, false, false]);
    }
}

#[test]
fn a_copy_to_the_host_leaves_nothing_unfinished() {
    let (host, client) = open();
    let stream = client.context().unwrap().stream().unwrap();
    let buffer = stream.context().alloc::<u32>(4).unwrap();
    host.orders().hold_marks.store(true, Ordering::Relaxed);
    std::thread::scope(|scope| {
        let copier = scope.spawn(|| {
            stream.copy_to_host(&buffer, &mut [0; 4]).unwrap();
            stream.query().unwrap()
        });
        eventually("the bytes are there", || !host.machine.executed.lock().is_empty());
        // Nothing tells that the copier goes on without the mark; where it does later, the test passes.
        std::thread::sleep(std::time::Duration::from_millis(20));
        host.orders().hold_marks.store(false, Ordering::Relaxed);
        assert!(copier.join().unwrap(), "the copy returned before its mark was complete");
    });
}

#[test]
fn small_copies_of_stuck_streams_leave_staging_to_others() {
    let (host, client) = open();
    let context = client.context().unwrap();
    let stuck = context.stream().unwrap();
    let target = context.alloc_bytes(15 << 20).unwrap();
    host.orders().hold.store(true, Ordering::Relaxed);
    std::thread::scope(|scope| {
        let copier = scope.spawn(|| {
            for _ in 0..100 {
                stuck.copy_to_device(&target, &[1; 200 << 10]).unwrap();
            }
        });
        eventually("the general part is full", || {
            client.calls().into_iter().any(|(op, count)| op == Op::StreamSynchronize && count == 1)
        });
        // A load uses the reserve and goes through.
        context.load_module("// ptx").unwrap();
        host.orders().hold.store(false, Ordering::Relaxed);
        copier.join().unwrap();
    });
    // The fake host frees memory at once, so its copies must be through.
    stuck.synchronize().unwrap();
}

#[test]
fn destroying_a_full_stream_does_not_wait() {
    let (host, client) = open();
    let context = client.context().unwrap();
    let buffer = context.alloc::<u32>(1).unwrap();
    let stream = context.stream().unwrap();
    host.orders().hold.store(true, Ordering::Relaxed);
    for value in 0..STREAM_COMMANDS_MAX as u32 {
        stream.write_value32(&buffer, value).unwrap();
    }
    drop(stream);
    host.orders().hold.store(false, Ordering::Relaxed);
    let destroyed = || {
        let executed = host.machine.executed.lock();
        executed.iter().any(|(_, request)| matches!(request, vgpu_proto::Request::StreamDestroy(_)))
    };
    eventually("the stream is destroyed later", || {
        context.synchronize().unwrap();
        destroyed()
    });
}

#[test]
fn a_load_that_waits_for_staging_holds_none() {
    let (_host, client) = open();
    let context = client.context().unwrap();
    let session = context.session();
    let image = vec![b' '; 1 << 20];
    // Leaves room for the image and too little for the answer.
    let left = image.len() as u64 + 4096;
    let all = session.try_stage(0, session.staging.region.len() - left, true).unwrap();
    std::thread::scope(|scope| {
        let loader = scope.spawn(|| context.load_module(&image).map(drop));
        // Nothing tells that it waits; where it has not begun yet, the test passes without it.
        std::thread::sleep(std::time::Duration::from_millis(20));
        let rest = session.try_stage(0, left, true);
        drop((rest.expect("the rest is free"), all));
        loader.join().unwrap().unwrap();
    });
}
