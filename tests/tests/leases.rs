//! Tenants that take turns on one GPU, over real processes: shares, gates, what becomes of those in the way.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use support::fixture::ptx;
use support::{DEADLINE, Host, HostBuilder, eventually};
use vgpu_client::{Client, Context, DeviceBuffer, Function, LaunchConfig, Stream, args};

/// Words that a launch fills: about a millisecond's work of the software GPU.
const WORDS: usize = 1 << 16;

/// Launches that a greedy guest keeps queued: so much work that it has some left when the machine lets it wait for a while.
const QUEUED: u32 = 32;

/// Held by each test: they share out the machine's processors, of which others would take some.
static ALONE: Mutex<()> = Mutex::new(());

/// A guest that has a kernel ready.
struct Guest {
    stream: Stream,
    fill: Function,
    words: DeviceBuffer<u32>,
    _context: Context,
    _client: Client,
}

impl Guest {
    fn connect(socket: &PathBuf) -> Self {
        let client = Client::builder().socket(socket).answer_timeout(DEADLINE).connect().unwrap();
        let context = client.context().unwrap();
        let fill = context.load_module(ptx("tiny")).unwrap().function("fill").unwrap();
        let (stream, words) = (context.stream().unwrap(), context.alloc(WORDS).unwrap());
        Self { stream, fill, words, _context: context, _client: client }
    }

    fn launch(&self) {
        let shape = LaunchConfig::linear(WORDS as u32, 256);
        self.stream.launch(&self.fill, shape, args![&self.words, 7_u32, WORDS as i32]).unwrap();
    }

    /// Keeps launches queued until told to stop; how many were done.
    fn greedy(&self, stop: &AtomicBool) -> u64 {
        let mut launches = 0;
        let batch = || {
            (0..QUEUED).for_each(|_| self.launch());
            let done = self._context.event().unwrap();
            done.record(&self.stream).unwrap();
            done
        };
        let mut before = batch();
        while !stop.load(Ordering::Relaxed) {
            let next = batch();
            before.synchronize().unwrap();
            before = next;
            launches += u64::from(QUEUED);
        }
        self.stream.synchronize().unwrap();
        launches
    }
}

fn figure(host: &Host, tenant: &str, name: &str) -> u64 {
    host.tenant(tenant)[name].as_u64().unwrap()
}

fn two_tenants(alice: &str, bob: &str) -> Host {
    let builder = HostBuilder::default().soft("memory_bytes = 1073741824, threads = 1");
    builder.tenant("alice", 256 << 20, alice).tenant("bob", 256 << 20, bob).start()
}

#[test]
fn two_tenants_share_the_gpu_by_weight() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let host = two_tenants("weight = 300", "weight = 100");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let run = |name: &str| {
            let guest = Guest::connect(&host.socket(name));
            guest.launch();
            guest.stream.synchronize().unwrap();
            guest
        };
        let guests = [run("alice"), run("bob")];
        let stop = &stop;
        let threads: Vec<ScopedJoinHandle<'_, u64>> =
            guests.into_iter().map(|guest| scope.spawn(move || guest.greedy(stop))).collect();
        let read = || ["alice", "bob"].map(|name| figure(&host, name, "gpu_time_ns"));
        // Both have work from here on.
        let leases = || figure(&host, "bob", "leases");
        let before = leases();
        eventually("both had leases beside each other", || (leases() > before + 5).then_some(()));
        let (start, begun) = (read(), Instant::now());
        eventually("many leases passed", || {
            let passed = leases() > before + 30 && begun.elapsed() > Duration::from_secs(2);
            passed.then_some(())
        });
        let end = read();
        stop.store(true, Ordering::Relaxed);
        let done: Vec<u64> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        let [alice, bob] = [0, 1].map(|at| end[at] - start[at]);
        let permille = alice * 1_000 / (alice + bob);
        assert!(permille.abs_diff(750) <= 50, "{alice} {bob} ns were billed: {permille} of 1000");
        assert!(done.iter().all(|launches| *launches > 0));
    });
    for name in ["alice", "bob"] {
        assert_eq!(figure(&host, name, "ungated_ns"), 0, "{name} never ran without a lease");
    }
}

#[test]
fn a_stopped_daemon_holds_nobody_up_and_takes_over_again() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let host = two_tenants("", "");
    let guests = ["alice", "bob"].map(|name| Guest::connect(&host.socket(name)));
    let (stop, frozen) = (AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let threads = guests.each_ref().map(|guest| {
            let (stop, frozen) = (&stop, &frozen);
            scope.spawn(move || {
                let mut alone = 0;
                while !stop.load(Ordering::Relaxed) {
                    guest.launch();
                    guest.stream.synchronize().unwrap();
                    alone += u64::from(frozen.load(Ordering::Relaxed));
                }
                alone
            })
        });
        eventually("both have work", || (figure(&host, "bob", "leases") > 3).then_some(()));
        host.daemon.signal(Signal::STOP);
        frozen.store(true, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(500));
        frozen.store(false, Ordering::Relaxed);
        host.daemon.signal(Signal::CONT);
        eventually("the daemon knows that they ran without it", || {
            let ungated = ["alice", "bob"].map(|name| figure(&host, name, "ungated_ns"));
            (ungated.iter().sum::<u64>() > 0).then_some(())
        });
        let before = figure(&host, "bob", "leases");
        eventually("they take turns again", || (figure(&host, "bob", "leases") > before + 3).then_some(()));
        stop.store(true, Ordering::Relaxed);
        for thread in threads {
            assert!(thread.join().unwrap() > 0, "each went on while the daemon stood still");
        }
    });
}

#[test]
fn an_endless_kernel_is_ended_when_another_tenant_waits() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let host = two_tenants("max_kernel_ms = 300", "");
    let mut hog = host.guest("alice", &["endless"]);
    hog.until("running");
    let guest = Guest::connect(&host.socket("bob"));
    let stop = AtomicBool::new(false);
    let output = std::thread::scope(|scope| {
        scope.spawn(|| guest.greedy(&stop));
        let output = hog.finish();
        stop.store(true, Ordering::Relaxed);
        output
    });
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("error 702"), "{text}");
    assert_eq!(output.status.code(), Some(70), "{text}");
    let kinds: Vec<String> = host.events().iter().map(|event| event["kind"].to_string()).collect();
    assert!(["\"hang\"", "\"strike\""].iter().all(|kind| kinds.iter().any(|k| k == kind)), "{kinds:?}");
    guest.launch();
    guest.stream.synchronize().unwrap();
}

#[test]
fn a_stream_that_waits_for_its_guest_is_no_hang() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let host = two_tenants("max_kernel_ms = 100", "");
    let parked = Guest::connect(&host.socket("alice"));
    let flag = parked._context.alloc::<u32>(1).unwrap();
    parked.stream.memset(&flag, 0_u32, 1).unwrap();
    parked.stream.wait_value32(&flag, 1, vgpu_client::WaitCondition::Equal).unwrap();
    parked.launch();
    let guest = Guest::connect(&host.socket("bob"));
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(600) {
        guest.launch();
        guest.stream.synchronize().unwrap();
    }
    let other = parked._context.stream().unwrap();
    other.write_value32(&flag, 1).unwrap();
    parked.stream.synchronize().unwrap();
}

#[test]
fn without_leases_the_hardware_serves_all() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let host = HostBuilder::default().gpu("leases = false").tenant("alice", 64 << 20, "").start();
    let guest = Guest::connect(&host.socket("alice"));
    guest.launch();
    guest.stream.synchronize().unwrap();
    assert_eq!(figure(&host, "alice", "leases"), 0);
}

#[test]
fn a_tenants_rate_holds_over_its_sessions() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let host = two_tenants("launches_per_s = 50\nlaunches_burst = 10", "");
    let guests = [0, 1].map(|_| Guest::connect(&host.socket("alice")));
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for guest in &guests {
            scope.spawn(|| {
                for _ in 0..50 {
                    guest.launch();
                    guest.stream.synchronize().unwrap();
                }
            });
        }
    });
    // A hundred at fifty a second, of which the burst and what two workers had not told yet may pass at once.
    assert!(begun.elapsed() >= Duration::from_millis(1_000), "{:?}", begun.elapsed());
}
