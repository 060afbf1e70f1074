//! Order within and between streams, over real processes: each case with random delays in the device and without.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::sync::Arc;
use std::thread;

use support::delays::with_and_without_delays;
use support::fixture::ptx;
use vgpu_client::{Context, DeviceBuffer, LaunchConfig, Stream, StreamOptions, WaitCondition, args};

fn word(context: &Context, stream: &Stream, value: u32) -> DeviceBuffer<u32> {
    let buffer = context.alloc::<u32>(1).unwrap();
    stream.copy_to_device(&buffer, &[value]).unwrap();
    stream.synchronize().unwrap();
    buffer
}

fn read(stream: &Stream, buffer: &DeviceBuffer<u32>) -> u32 {
    let mut value = [0];
    stream.copy_to_host(buffer, &mut value).unwrap();
    value[0]
}

/// One thread queues 5,000 launches behind a wait that only a later copy of another thread satisfies.
#[test]
fn five_thousand_launches_wait_for_a_later_copy_of_another_thread() {
    with_and_without_delays(|client| {
        let context = client.context().unwrap();
        let increment = context.load_module(ptx("tiny")).unwrap().function("increment").unwrap();
        let [a, b] = [(); 2].map(|()| {
            context.stream_with(StreamOptions { non_blocking: true, ..Default::default() }).unwrap()
        });
        let (count, gate) = (word(&context, &a, 0), word(&context, &a, 0));
        // The first launch of a kernel waits for its submission, which the gate would hold up.
        a.launch(&increment, LaunchConfig::default(), args![&count]).unwrap();
        a.wait_value32(&gate, 1, WaitCondition::Equal).unwrap();
        thread::scope(|scope| {
            let writer = scope.spawn(|| {
                for _ in 0..4_999 {
                    a.launch(&increment, LaunchConfig::default(), args![&count]).unwrap();
                }
                a.synchronize().unwrap();
            });
            // The other thread comes later: when the first one is surely stuck behind its full stream.
            scope.spawn(|| {
                thread::sleep(std::time::Duration::from_millis(100));
                b.copy_to_device(&gate, &[1]).unwrap();
                b.synchronize().unwrap();
            });
            writer.join().unwrap();
        });
        assert_eq!(read(&a, &count), 5_000);
    });
}

#[test]
fn the_same_behind_an_event() {
    with_and_without_delays(|client| {
        let context = client.context().unwrap();
        let increment = context.load_module(ptx("tiny")).unwrap().function("increment").unwrap();
        let options = || StreamOptions { non_blocking: true, ..Default::default() };
        let [a, b] = [(); 2].map(|()| context.stream_with(options()).unwrap());
        let (count, gate) = (word(&context, &a, 0), word(&context, &a, 0));
        a.launch(&increment, LaunchConfig::default(), args![&count]).unwrap();
        let event = context.event().unwrap();
        // The event's record waits in stream b for a value that comes last of all.
        b.wait_value32(&gate, 1, WaitCondition::Equal).unwrap();
        event.record(&b).unwrap();
        a.wait_event(&event).unwrap();
        thread::scope(|scope| {
            let writer = scope.spawn(|| {
                for _ in 0..4_999 {
                    a.launch(&increment, LaunchConfig::default(), args![&count]).unwrap();
                }
                a.synchronize().unwrap();
            });
            let c = context.stream_with(options()).unwrap();
            c.copy_to_device(&gate, &[1]).unwrap();
            writer.join().unwrap();
        });
        assert!(event.query().unwrap());
        assert_eq!(read(&a, &count), 5_000);
    });
}

#[test]
fn kernels_on_two_streams_that_spin_for_each_other() {
    with_and_without_delays(|client| {
        let context = client.context().unwrap();
        let module = context.load_module(ptx("producer_consumer")).unwrap();
        let [ping, pong] = ["ping", "pong"].map(|name| module.function(name).unwrap());
        let [a, b] = [(); 2].map(|()| context.stream().unwrap());
        let flags = context.alloc::<u32>(2).unwrap();
        a.copy_to_device(&flags, &[0, 0]).unwrap();
        let value = word(&context, &a, 3);
        let rounds = 20;
        a.launch(&ping, LaunchConfig::default(), args![&flags, &value, rounds]).unwrap();
        b.launch(&pong, LaunchConfig::default(), args![&flags, &value, rounds]).unwrap();
        a.synchronize().unwrap();
        b.synchronize().unwrap();
        let expected = (0..rounds).fold(3u32, |value, _| value.wrapping_mul(2).wrapping_add(1));
        assert_eq!(read(&a, &value), expected);
    });
}

#[test]
fn a_synchronise_covers_commands_that_are_still_held() {
    with_and_without_delays(|client| {
        let context = client.context().unwrap();
        let increment = context.load_module(ptx("tiny")).unwrap().function("increment").unwrap();
        let stream = context.stream().unwrap();
        let count = word(&context, &stream, 0);
        for _ in 0..3_000 {
            stream.launch(&increment, LaunchConfig::default(), args![&count]).unwrap();
        }
        stream.synchronize().unwrap();
        assert!(stream.query().unwrap());
        assert_eq!(read(&stream, &count), 3_000);
        for _ in 0..1_500 {
            stream.launch(&increment, LaunchConfig::default(), args![&count]).unwrap();
        }
        context.synchronize().unwrap();
        assert!(stream.query().unwrap());
        assert_eq!(read(&stream, &count), 4_500);
    });
}

/// Pageable sources may change as soon as the copy returns, pinned ones once it is complete; a pinned source is read
/// when the stream gets there, not at the call.
#[test]
fn sources_of_copies() {
    with_and_without_delays(|client| {
        let context = client.context().unwrap();
        let stream = context.stream_with(StreamOptions { non_blocking: true, ..Default::default() }).unwrap();
        let other = context.stream_with(StreamOptions { non_blocking: true, ..Default::default() }).unwrap();
        let gate = word(&context, &stream, 0);
        let target = context.alloc::<u32>(200_000).unwrap();
        let pinned = context.pinned::<u32>(1_000).unwrap();
        let pinned_target = context.alloc::<u32>(1_000).unwrap();

        stream.wait_value32(&gate, 1, WaitCondition::Equal).unwrap();
        let mut pageable = vec![5u32; 200_000];
        stream.copy_to_device(&target, &pageable).unwrap();
        pageable.fill(6);
        pinned.write(0, &[7; 1_000]).unwrap();
        stream.copy(&pinned_target, &pinned, 4_000).unwrap();
        pinned.write(0, &[8; 1_000]).unwrap();
        other.copy_to_device(&gate, &[1]).unwrap();
        stream.synchronize().unwrap();
        pinned.write(0, &[9; 1_000]).unwrap();

        stream.copy_to_host(&target, &mut pageable).unwrap();
        assert!(pageable.iter().all(|value| *value == 5), "pageable bytes are those of the call");
        let mut found = vec![0; 1_000];
        stream.copy_to_host(&pinned_target, &mut found).unwrap();
        assert!(
            found.iter().all(|value| *value == 8),
            "pinned bytes are those of the copy's turn: {}",
            found[0]
        );
    });
}

#[test]
fn memory_freed_while_work_that_uses_it_is_queued() {
    with_and_without_delays(|client| {
        let context = client.context().unwrap();
        let fill = context.load_module(ptx("tiny")).unwrap().function("fill").unwrap();
        let stream = context.stream().unwrap();
        let kept = context.alloc::<u32>(1_000).unwrap();
        for round in 0..30u32 {
            let passing = context.alloc::<u32>(1_000).unwrap();
            stream.launch(&fill, LaunchConfig::linear(1_000, 128), args![&passing, round, 1_000i32]).unwrap();
            stream.copy(&kept, &passing, 4_000).unwrap();
            let pinned = context.pinned::<u32>(1_000).unwrap();
            stream.copy(&pinned, &passing, 4_000).unwrap();
            drop(passing);
            drop(pinned);
        }
        let mut found = vec![0; 1_000];
        stream.copy_to_host(&kept, &mut found).unwrap();
        assert!(found.iter().all(|value| *value == 29));
    });
}

/// The legacy stream waits for blocking streams and they for it; a non-blocking stream does neither.
#[test]
fn the_legacy_stream() {
    with_and_without_delays(|client| {
        let context = client.context().unwrap();
        let increment = context.load_module(ptx("tiny")).unwrap().function("increment").unwrap();
        let legacy = context.legacy_stream();
        let blocking: Vec<_> = (0..3).map(|_| context.stream().unwrap()).collect();
        let free = context.stream_with(StreamOptions { non_blocking: true, ..Default::default() }).unwrap();
        let (count, gate, copy) =
            (word(&context, &free, 0), word(&context, &free, 0), word(&context, &free, 0));
        legacy.launch(&increment, LaunchConfig::default(), args![&count]).unwrap();
        blocking[0].wait_value32(&gate, 1, WaitCondition::Equal).unwrap();
        for stream in &blocking {
            // One after the other: increments of several streams at once would race.
            stream.launch(&increment, LaunchConfig::default(), args![&count]).unwrap();
            legacy.launch(&increment, LaunchConfig::default(), args![&count]).unwrap();
        }
        blocking[2].copy(&copy, &count, 4).unwrap();
        // All of that waits for the gate; the non-blocking stream does not.
        assert!(!legacy.query().unwrap());
        assert_eq!(read(&free, &copy), 0);
        free.copy_to_device(&gate, &[1]).unwrap();
        context.synchronize().unwrap();
        assert_eq!(read(&free, &count), 7);
        assert_eq!(read(&free, &copy), 7);
        // Who waits for the legacy stream waits for theirs, too, where it has nothing of its own.
        for _ in 0..300 {
            blocking[1].launch(&increment, LaunchConfig::default(), args![&count]).unwrap();
        }
        legacy.synchronize().unwrap();
        assert_eq!(read(&free, &count), 307);
    });
}

#[test]
fn each_thread_has_a_stream_of_its_own() {
    with_and_without_delays(|client| {
        let context = client.context().unwrap();
        let increment = Arc::new(context.load_module(ptx("tiny")).unwrap().function("increment").unwrap());
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let (context, increment) = (context.clone(), increment.clone());
                thread::spawn(move || {
                    let stream = context.per_thread_stream().unwrap();
                    let count = word(&context, &stream, 0);
                    for _ in 0..200 {
                        stream.launch(&increment, LaunchConfig::default(), args![&count]).unwrap();
                    }
                    read(&context.per_thread_stream().unwrap(), &count)
                })
            })
            .collect();
        for thread in threads {
            assert_eq!(thread.join().unwrap(), 200);
        }
    });
}

/// xorshift64*: small, seeded, good enough to choose operations.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % bound
    }
}

/// Eight threads on eight streams do seeded work on memory of their own; a model says what must come out.
#[test]
fn eight_threads_on_eight_streams_against_a_model() {
    const WORDS: usize = 512;
    with_and_without_delays(|client| {
        let context = client.context().unwrap();
        let module = context.load_module(ptx("tiny")).unwrap();
        let [fill, increment] = ["fill", "increment"].map(|name| module.function(name).unwrap());
        let seed = std::env::var("VGPU_TEST_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(3u64);
        println!("VGPU_TEST_SEED={seed}");
        thread::scope(|scope| {
            for thread in 0..8u64 {
                let (context, fill, increment) = (&context, &fill, &increment);
                scope.spawn(move || {
                    let mut random = Random((seed + thread * 77) | 1);
                    let stream = context.stream().unwrap();
                    let buffers = [(); 3].map(|()| context.alloc::<u32>(WORDS).unwrap());
                    let mut model = vec![[0u32; WORDS]; 3];
                    for buffer in &buffers {
                        stream.memset(buffer, 0u32, WORDS as u64).unwrap();
                    }
                    for step in 0..150u32 {
                        let (to, from) = (random.below(3) as usize, random.below(3) as usize);
                        match random.below(6) {
                            0 => {
                                let shape = LaunchConfig::linear(WORDS as u32, 64);
                                stream.launch(fill, shape, args![&buffers[to], step, WORDS as i32]).unwrap();
                                model[to] = [step; WORDS];
                            }
                            1 => {
                                stream
                                    .launch(increment, LaunchConfig::default(), args![&buffers[to]])
                                    .unwrap();
                                model[to][0] += 1;
                            }
                            2 if to != from => {
                                stream.copy(&buffers[to], &buffers[from], 4 * WORDS as u64).unwrap();
                                model[to] = model[from];
                            }
                            3 => {
                                stream.memset(buffers[to].at(WORDS / 2), step, 100).unwrap();
                                model[to][WORDS / 2..][..100].fill(step);
                            }
                            4 => {
                                let bytes: Vec<u32> = (0..WORDS as u32).map(|at| at ^ step).collect();
                                stream.copy_to_device(&buffers[to], &bytes).unwrap();
                                model[to].copy_from_slice(&bytes);
                            }
                            _ => {
                                let mut found = vec![0; WORDS];
                                stream.copy_to_host(&buffers[to], &mut found).unwrap();
                                assert_eq!(found, model[to], "thread {thread}, step {step}");
                            }
                        }
                    }
                    for (buffer, model) in buffers.iter().zip(&model) {
                        let mut found = vec![0; WORDS];
                        stream.copy_to_host(buffer, &mut found).unwrap();
                        assert_eq!(found, model, "thread {thread}");
                    }
                });
            }
        });
    });
}
