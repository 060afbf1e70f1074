//! Workers that are ready before their guests, and workers that begin anew with a guest's variables.
#![allow(clippy::unwrap_used, reason = "a test may")]

use rustix::process::Signal;
use support::process::{Process, children, is_alive, kill};
use support::{Host, HostBuilder, eventually};

fn host(spares: u32) -> Host {
    HostBuilder::default().spares(spares).tenant("alice", 512 << 20, "").start()
}

/// Waits until the one spare is ready; its process id.
#[track_caller]
fn ready(host: &Host) -> u32 {
    eventually("a spare is ready", || (host.device()["spares_ready"] == 1).then_some(()));
    let workers: Vec<u32> = host.sessions().iter().map(worker).collect();
    let spares = children(host.daemon.pid()).into_iter().filter(|child| !workers.contains(child));
    spares.collect::<Vec<_>>()[0]
}

fn worker(session: &serde_json::Value) -> u32 {
    session["worker_pid"].as_u64().unwrap().try_into().unwrap()
}

#[track_caller]
fn ends_well(mut guest: Process, host: &Host) {
    drop(guest.child().stdin.take());
    let output = guest.finish();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.ends_with("ok\n"), "{said}{}\n{}", String::from_utf8_lossy(&output.stderr), host.log());
}

#[test]
fn a_guest_takes_the_spare_and_another_one_takes_its_place() {
    let mut host = host(1);
    let first = ready(&host);
    assert!(host.sessions().is_empty(), "a spare is no session");
    let mut guests = vec![];
    let mut workers = vec![first];
    for round in 1..=3 {
        let mut guest = host.guest("alice", &["hold"]);
        guest.until("running");
        assert_eq!(host.sessions().iter().map(worker).collect::<Vec<_>>(), workers, "round {round}");
        guests.push(guest);
        workers.push(ready(&host));
    }
    assert_eq!(host.device()["spares_taken"], 3);
    for guest in guests {
        ends_well(guest, &host);
    }
    host.wait_until_empty();
    let spare = ready(&host);
    assert_eq!(
        (host.device()["spares_lost"].as_u64(), host.device()["sessions"].as_u64()),
        (Some(0), Some(0))
    );
    host.daemon.signal(Signal::TERM);
    assert!(host.daemon.wait().success());
    assert!(!is_alive(spare), "spares end with the host");
}

#[test]
fn a_spare_that_dies_is_replaced() {
    let host = host(1);
    kill(ready(&host));
    eventually("it is missed", || (host.device()["spares_lost"] == 1).then_some(()));
    ready(&host);
    assert!(host.sessions().is_empty());
    let tenants = host.ctl(&["tenants", "--json"]);
    assert!(String::from_utf8_lossy(&tenants.stdout).contains("\"workers_lost\":0"), "it was no session's");
    assert!(String::from_utf8_lossy(&host.ctl(&["devices"]).stdout).contains("1/1"));
    ends_well(host.guest("alice", &["vector-add", "2"]), &host);
}

#[test]
fn spares_end_with_a_daemon_that_was_killed() {
    let mut host = host(1);
    let spare = ready(&host);
    host.daemon.signal(Signal::KILL);
    host.daemon.wait();
    eventually("the spare ends", || (!is_alive(spare)).then_some(()));
}

#[test]
fn a_guests_variables_reach_its_worker_and_what_it_serves_stays() {
    // Of a worker in a sandbox only root sees the environment. With one it is the same way (`tests/sandbox.rs`).
    let sandbox = if rustix::process::geteuid().is_root() { "auto" } else { "off" };
    for spares in [0, 1] {
        let builder = HostBuilder::default().host(&format!("sandbox = {sandbox:?}"));
        let host = builder.spares(spares).tenant("alice", 512 << 20, "").start();
        let spare = (spares == 1).then(|| ready(&host));
        let variables = [("CUDA_SCALE_LAUNCH_QUEUES", "2x"), ("CUDA_LAUNCH_BLOCKING", "1"), ("SECRET", "x")];
        let mut guest = host.guest_with("alice", &["vector-add-until-end"], &variables);
        guest.until("running");
        let worker = worker(&host.sessions()[0]);
        assert!(spare.is_none_or(|spare| spare == worker), "it stays the same process");
        let environment = std::fs::read(format!("/proc/{worker}/environ")).unwrap();
        let has = |text: &str| environment.split(|byte| *byte == 0).any(|entry| entry == text.as_bytes());
        assert!(has("CUDA_SCALE_LAUNCH_QUEUES=2x"));
        assert!(!has("SECRET=x") && !has("CUDA_LAUNCH_BLOCKING=1"));
        assert_eq!(host.sessions()[0]["guest"]["name"], "vgpu-guest");
        ends_well(guest, &host);
        host.wait_until_empty();
    }
}
