//! What 1, 10 and 100 sessions cost: the time to open one, memory, and launches of all together.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use support::process::{children, pss_bytes};
use support::{Host, HostBuilder};
use vgpu_bench::bench::median;
use vgpu_bench::guest::Guest;
use vgpu_bench::peer::{self, Peer};
use vgpu_bench::{Figure, Goal, Report, is_asked_for};
use vgpu_window::link::Link;

/// Numbers of sessions. Each step keeps the sessions of the one before.
const STEPS: [usize; 3] = [1, 10, 100];

/// Tenants: a hundred sessions are more than one may have.
const TENANTS: [&str; 2] = ["alice", "bob"];

/// The card, and what a tenant may have of it: each session borrows at least one step of 64 MiB.
const SOFT: &str = "memory_bytes = 17179869184, threads = 2";
const QUOTA_BYTES: u64 = 8 << 30;

/// How long all sessions launch together.
const LAUNCHING: Duration = Duration::from_secs(2);

/// Launches between two synchronisations: less than a stream may hold.
const BURST: u64 = 128;

/// Memory that a hundred sessions may take, daemon and workers together, in MiB.
const MEMORY_GOAL_MIB: f64 = 2048.0;

const MIB: f64 = 1048576.0;

fn main() {
    if serve_if_asked() || !is_asked_for("sessions") {
        return;
    }
    let tenants = TENANTS.into_iter().fold(HostBuilder::default().soft(SOFT), |host, name| {
        host.tenant(name, QUOTA_BYTES, "sessions_max = 64")
    });
    let host = tenants.start();
    let start = process_start();
    let bare = pss_bytes(host.daemon.pid()) as f64 / MIB;
    let mut report = Report::new("sessions");
    let mut guests: Vec<Peer> = Vec::new();
    let mut alone = 0.0;
    for count in STEPS {
        let opened: Vec<f64> = (guests.len()..count).map(|at| open(&host, at, &mut guests)).collect();
        report.add(Figure::new(
            format!("sessions/open, up to {count}"),
            (median(opened), "ms"),
            ("start and end of a process", start),
            Goal::None,
        ));
        let rate = launch_together(&guests);
        if count == 1 {
            alone = rate;
        }
        report.add(Figure::new(
            format!("sessions/launches of {count} together"),
            (rate, "launches/s"),
            ("one session", alone),
            Goal::None,
        ));
        let memory = memory_mib(&host);
        report.add(Figure::new(
            format!("sessions/memory of daemon and {count} workers"),
            (memory, "MiB"),
            ("the daemon alone", bare),
            if count == 100 { Goal::ValueAtMost(MEMORY_GOAL_MIB) } else { Goal::None },
        ));
    }
    report.finish();
}

/// Milliseconds from a guest's first call to its first kernel's end.
fn open(host: &Host, at: usize, guests: &mut Vec<Peer>) -> f64 {
    let socket = host.socket(TENANTS[at % TENANTS.len()]);
    let guest = Peer::start(&format!("guest {}", socket.display()));
    let taken = number(&guest.recv().body);
    guests.push(guest);
    taken as f64 / 1e6
}

/// Launches per second of all guests together.
fn launch_together(guests: &[Peer]) -> f64 {
    guests.iter().for_each(|guest| guest.send(&(LAUNCHING.as_millis() as u64).to_le_bytes(), &[]));
    let launches: u64 = guests.iter().map(|guest| number(&guest.recv().body)).sum();
    launches as f64 / LAUNCHING.as_secs_f64()
}

fn memory_mib(host: &Host) -> f64 {
    let workers = children(host.daemon.pid());
    let bytes = workers.into_iter().chain([host.daemon.pid()]).map(pss_bytes).sum::<u64>();
    bytes as f64 / MIB
}

/// Milliseconds that this executable takes to start and to end at once.
fn process_start() -> f64 {
    median((0..10).map(|_| {
        let start = Instant::now();
        let idle = Peer::start("end");
        idle.recv();
        start.elapsed().as_secs_f64() * 1e3
    }))
}

/// In a guest's process: opens a session, says how long it took, and launches whenever it is told.
fn serve_if_asked() -> bool {
    let Some((kind, link)) = peer::asked() else { return false };
    match kind.strip_prefix("guest ") {
        Some(socket) => serve(&PathBuf::from(socket), &link),
        // Somebody measures the start of a process.
        None => link.send(&[], &[]).expect("the benchmark listens"),
    }
    true
}

fn serve(socket: &Path, link: &Link) {
    let start = Instant::now();
    let guest = Guest::open(socket);
    let say = |number: u64| link.send(&number.to_le_bytes(), &[]).expect("the benchmark listens");
    say(start.elapsed().as_nanos() as u64);
    while let Ok(message) = link.recv() {
        let end = Instant::now() + Duration::from_millis(number(&message.body));
        let mut launches = 0;
        while Instant::now() < end {
            (0..BURST).for_each(|_| guest.launch());
            guest.synchronize();
            launches += BURST;
        }
        say(launches);
    }
}

fn number(body: &[u8]) -> u64 {
    u64::from_le_bytes(body.try_into().expect("messages are numbers"))
}
