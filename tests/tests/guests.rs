//! Guest processes run real kernels through the host.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::io::Write;

use support::process::Process;
use support::{Host, HostBuilder};

/// The last line that a guest printed.
#[track_caller]
fn outcome(guest: Process) -> String {
    let output = guest.finish();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let last = text.lines().last().unwrap_or_default().to_owned();
    assert!(!last.is_empty(), "no outcome: {}", String::from_utf8_lossy(&output.stderr));
    last
}

#[test]
fn a_guest_runs_a_kernel_and_leaves_nothing() {
    let host = Host::with_alice();
    assert_eq!(outcome(host.guest("alice", &["vector-add", "3"])), "ok");
    host.wait_until_empty();
}

#[test]
fn four_tenants_at_once() {
    let names = ["ann", "ben", "cleo", "dan"];
    let builder = names.iter().fold(HostBuilder::default(), |host, name| host.tenant(name, 64 << 20, ""));
    let host = builder.start();
    let guests: Vec<_> = names.iter().map(|name| host.guest(name, &["vector-add", "20"])).collect();
    for guest in guests {
        assert_eq!(outcome(guest), "ok");
    }
    host.wait_until_empty();
}

#[test]
fn the_operator_sees_sessions_and_closes_one() {
    let host = Host::with_alice();
    let mut guest = host.guest("alice", &["hold"]);
    guest.until("running");
    let sessions = host.sessions();
    assert_eq!(sessions.len(), 1);
    assert_eq!(sessions[0]["tenant"], "alice");
    assert_eq!(sessions[0]["guest"]["pid"], guest.pid());
    assert!(sessions[0]["memory_lent_bytes"].as_u64().unwrap() >= 1 << 20);
    let id = sessions[0]["id"].to_string();
    let closed = host.ctl(&["close", &id]);
    assert!(closed.status.success(), "{}", String::from_utf8_lossy(&closed.stderr));
    host.wait_until_empty();
    let unknown = host.ctl(&["close", &id]);
    assert!(!unknown.status.success(), "a session that is gone cannot be closed");
    drop(guest.child().stdin.take());
    assert!(outcome(guest).starts_with("error "));
}

#[test]
fn kernel_output_reaches_the_guests_own_output_before_the_synchronise_returns() {
    let host = Host::with_alice();
    let output = host.guest("alice", &["print"]).finish();
    let text = String::from_utf8_lossy(&output.stdout);
    let printed = text.find("printed").expect("the program went on");
    for thread in 0..4 {
        let line = format!("thread {thread} of print_values: {}.500000", thread);
        let at = text.find(&line).unwrap_or_else(|| panic!("no {line:?} in:\n{text}"));
        assert!(at < printed, "printed after the synchronise:\n{text}");
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("thread: [0,0,0] Assertion `values[i] < limit` failed."), "{errors}");
    assert!(text.trim_end().ends_with("error 710 assert"), "{text}");
}

#[test]
fn the_quota_is_the_tenants_over_all_its_sessions() {
    let host = HostBuilder::default().tenant("alice", 128 << 20, "").start();
    let alone = outcome_line(host.guest("alice", &["allocate-all"]), "blocks");
    assert_eq!(alone, "blocks 8", "all of 128 MiB in blocks of 16 MiB");
    let mut holder = host.guest("alice", &["hold"]);
    holder.until("running");
    let beside = outcome_line(host.guest("alice", &["allocate-all"]), "blocks");
    assert_eq!(beside, "blocks 4", "the other session holds a step of 64 MiB");
    drop(holder.child().stdin.take());
    host.wait_until_empty();
}

#[track_caller]
fn outcome_line(guest: Process, start: &str) -> String {
    let output = guest.finish();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.ends_with("ok\n"), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text.lines().find(|line| line.starts_with(start)).expect("the line").to_owned()
}

#[test]
fn a_session_above_the_tenants_limit_is_refused_and_says_so() {
    let host = HostBuilder::default().tenant("alice", 64 << 20, "sessions_max = 1").start();
    let mut holder = host.guest("alice", &["hold"]);
    holder.until("running");
    let output = host.guest("alice", &["vector-add", "1"]).finish();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "error 46 connect");
    assert_eq!(output.status.code(), Some(75));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("session"), "cause and remedy: {said}");
    holder.child().stdin.take().unwrap().flush().unwrap();
    assert_eq!(outcome(holder), "ok");
}
