//! Calls of a guest against a real host with the software GPU, beside a bare ping-pong between two processes.

use std::time::{Duration, Instant};

use support::HostBuilder;
use vgpu_bench::guest::Guest;
use vgpu_bench::ping_pong::{PingPong, Way, play_if_asked};
use vgpu_bench::{Against, Bench, Goal, Quantity, is_asked_for};
use vgpu_client::WaitCondition;

/// Launches of one burst: half of what a stream may hold, so that no launch waits for credit.
const BURST: u64 = 256;

/// Synchronous calls between two readings of the clock.
const CALLS: u64 = 64;

/// Pause before a base is measured. The worker polls for a moment after its last command; on a machine with two cores
/// that would be a third process beside the two of the ping-pong.
const SETTLE: Duration = Duration::from_millis(1);

fn main() {
    play_if_asked();
    if !is_asked_for("calls") {
        return;
    }
    // One thread of the device: with the guest and the dispatcher, both cores have something to do.
    let host = HostBuilder::default()
        .soft("memory_bytes = 1073741824, threads = 1")
        .tenant("alice", 512 << 20, "")
        .start();
    let guest = Guest::open(&host.socket("alice"));
    let mut calls = Calls {
        bench: Bench::new("calls"),
        spin: PingPong::start(Way::Spin),
        stream: PingPong::start(Way::Stream),
        guest,
    };
    calls.enqueue();
    calls.synchronous();
    calls.events();
    calls.memory();
    calls.bench.finish();
}

struct Calls {
    bench: Bench,
    spin: PingPong,
    stream: PingPong,
    guest: Guest,
}

impl Calls {
    fn compare(
        &mut self,
        figure: &'static str,
        burst: u64,
        goal: Goal,
        value: impl Fn(&Guest, u64) -> Duration,
    ) {
        let (spin, guest) = (&mut self.spin, &self.guest);
        let mut measure = || settled(spin);
        let mut bases = [Against { name: "ping-pong", goal, measure: &mut measure }];
        self.bench.compare(figure, (Quantity::Time, burst), &mut bases, |count| value(guest, count));
    }

    fn enqueue(&mut self) {
        self.compare("enqueue a launch", BURST, Goal::RatioAtMost(1.0), |guest, count| {
            guest.client.ping().expect("the session lives");
            let elapsed = timed(count, || guest.launch());
            guest.synchronize();
            elapsed
        });
        // The same while the stream is held up, so that neither the device nor its threads take part.
        let gate = self.guest.context.pinned::<u32>(1).expect("pinned memory is left");
        self.compare("enqueue a launch, stream held", BURST, Goal::None, |guest, count| {
            gate.write(0, &[0]).expect("the word lies in the buffer");
            guest.stream.wait_value32(&gate, 1, WaitCondition::Equal).expect("the session lives");
            guest.client.ping().expect("the session lives");
            let elapsed = timed(count, || guest.launch());
            gate.write(0, &[1]).expect("the word lies in the buffer");
            guest.synchronize();
            elapsed
        });
    }

    fn synchronous(&mut self) {
        let (spin, stream, guest) = (&mut self.spin, &mut self.stream, &self.guest);
        let mut spinning = || settled(spin);
        let mut streaming = || settled(stream);
        let mut bases = [
            Against { name: "ping-pong", goal: Goal::RatioAtMost(2.0), measure: &mut spinning },
            Against { name: "Unix stream ping-pong", goal: Goal::None, measure: &mut streaming },
        ];
        self.bench.compare("ping", (Quantity::Time, CALLS), &mut bases, |count| {
            timed(count, || guest.client.ping().expect("the session lives"))
        });
        self.compare("launch and synchronise", CALLS, Goal::None, |guest, count| {
            timed(count, || {
                guest.launch();
                guest.synchronize();
            })
        });
        let word = self.guest.context.alloc::<u32>(1).expect("memory is left");
        self.compare("4 bytes to the host", CALLS, Goal::None, |guest, count| {
            let mut out = [0u32];
            timed(count, || guest.stream.copy_to_host(&word, &mut out).expect("the session lives"))
        });
    }

    fn events(&mut self) {
        let event = self.guest.context.event().expect("an event is left");
        self.compare("record and query an event", BURST / 2, Goal::None, |guest, count| {
            guest.client.ping().expect("the session lives");
            let elapsed = timed(count, || {
                event.record(&guest.stream).expect("the session lives");
                std::hint::black_box(event.query().expect("the session lives"));
            });
            guest.synchronize();
            elapsed
        });
    }

    fn memory(&mut self) {
        self.compare("allocate and free 1 MiB", CALLS / 4, Goal::None, |guest, count| {
            timed(count, || drop(guest.context.alloc_bytes(1 << 20).expect("memory is left")))
        });
    }
}

fn timed(count: u64, mut call: impl FnMut()) -> Duration {
    let start = Instant::now();
    for _ in 0..count {
        call();
    }
    start.elapsed()
}

fn settled(pair: &mut PingPong) -> Duration {
    std::thread::sleep(SETTLE);
    pair.round_trip()
}
