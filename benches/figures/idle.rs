//! What a session costs that does nothing: CPU time of the guest, its worker and the daemon together.

use std::time::Duration;

use support::Host;
use support::process::{children, cpu_time};
use vgpu_bench::{Figure, Goal, Report, is_asked_for};

/// How long the session is watched.
const WATCHED: Duration = Duration::from_secs(10);

/// Pause before: the session's start is not part of its rest, and threads that served it leave after a second.
const SETTLE: Duration = Duration::from_secs(2);

fn main() {
    if !is_asked_for("idle") {
        return;
    }
    let host = Host::with_alice();
    let mut guest = host.guest("alice", &["hold"]);
    let waiting = guest.child().stdin.take();
    guest.until("running");
    std::thread::sleep(SETTLE);
    let mut processes = vec![guest.pid(), host.daemon.pid()];
    processes.extend(children(host.daemon.pid()));
    assert_eq!(processes.len(), 3, "guest, daemon and one worker");
    let used = |time: fn(u32) -> Duration| processes.iter().map(|process| time(*process)).sum::<Duration>();
    let before = (used(cpu_time), used(run_time));
    std::thread::sleep(WATCHED);
    // Ticks are 10 ms long. Run time is exact, but only the threads that live at the end count in it.
    let idle = (used(cpu_time) - before.0).max(used(run_time).saturating_sub(before.1));
    drop(waiting);

    let mut report = Report::new("idle");
    report.add(Figure::new(
        "idle/CPU time of a session in 10 s",
        (idle.as_secs_f64() * 1e3, "ms"),
        ("the time passed", WATCHED.as_secs_f64() * 1e3),
        Goal::ValueAtMost(50.0),
    ));
    report.finish();
}

/// Time on a CPU of all living threads of a process, to the nanosecond.
fn run_time(process: u32) -> Duration {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let times = tasks.filter_map(|task| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(times.sum())
}
