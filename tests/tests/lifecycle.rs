//! Starting, draining, stopping, and very many sessions.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;
use support::fixture::ptx;
use support::process::{Process, anonymous_bytes, children, descriptors, piped, pss_bytes};
use support::raw::{greet, hello};
use support::{DEADLINE, Host, HostBuilder, artifacts, eventually};
use vgpu_client::{Client, LaunchConfig, args};
use vgpu_proto::handshake::RefusalCause;

#[test]
fn the_first_signal_drains_and_sessions_may_end_by_themselves() {
    let mut host =
        HostBuilder::default().host("drain_timeout_ms = 15000").tenant("alice", 64 << 20, "").start();
    let mut guest = host.guest("alice", &["vector-add-until-end"]);
    guest.until("running");
    host.daemon.signal(Signal::TERM);
    let cause = eventually("new sessions are refused", || match greet(&host.socket("alice"), &hello()) {
        Err(refusal) => Some(refusal.cause),
        Ok(_) => None,
    });
    assert_eq!(cause, RefusalCause::Draining);
    drop(guest.child().stdin.take());
    let output = guest.finish();
    assert!(String::from_utf8_lossy(&output.stdout).ends_with("ok\n"), "the session was left to end");
    assert!(host.daemon.wait().success());
    assert!(!host.socket("alice").exists() && !host.control_socket().exists(), "sockets are removed");
}

#[test]
fn sessions_that_outlast_the_drain_are_closed_with_a_reason() {
    let mut host =
        HostBuilder::default().host("drain_timeout_ms = 100").tenant("alice", 64 << 20, "").start();
    let mut guest = host.guest("alice", &["hold"]);
    guest.until("running");
    host.daemon.signal(Signal::INT);
    assert!(host.daemon.wait().success());
    drop(guest.child().stdin.take());
    let output = guest.finish();
    assert!(String::from_utf8_lossy(&output.stdout).ends_with("error 802 ping\n"));
    assert_eq!(output.status.code(), Some(75));
}

#[test]
fn a_second_signal_closes_at_once() {
    let mut host =
        HostBuilder::default().host("drain_timeout_ms = 600000").tenant("alice", 64 << 20, "").start();
    let mut guest = host.guest("alice", &["endless"]);
    guest.until("running");
    host.daemon.signal(Signal::TERM);
    host.daemon.signal(Signal::TERM);
    // Two signals of one kind at once may arrive as one.
    eventually("the daemon ends", || {
        let running = host.daemon.is_running();
        if running {
            host.daemon.signal(Signal::TERM);
        }
        (!running).then_some(())
    });
    let output = guest.finish();
    assert!(String::from_utf8_lossy(&output.stdout).contains("error 802"), "the guest is told why");
}

#[test]
fn a_second_daemon_on_the_same_folder_is_refused() {
    let host = Host::with_alice();
    let mut command = Command::new(&artifacts().host);
    command.args(["serve", "--config"]).arg(host.config());
    let output = Process::new(piped(&mut command).spawn().unwrap()).finish();
    assert!(!output.status.success());
    assert!(!String::from_utf8_lossy(&output.stderr).is_empty(), "it says why");
    assert_eq!(host.sessions().len(), 0, "the first one still serves");
}

#[test]
fn the_control_socket_is_its_owners_only() {
    let host = Host::with_alice();
    let mode = std::fs::metadata(host.control_socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_socket_path_that_is_too_long_is_refused_at_start() {
    let folder = support::host::Folder::new();
    let runtime = folder.path().join("r".repeat(90));
    let config = format!(
        "[host]\nruntime_dir = {runtime:?}\nstate_dir = {:?}\n[[gpu]]\nname = \"gpu0\"\ndevice = \"soft\"\n\
         [[tenant]]\nname = \"alice\"\ngpu = \"gpu0\"\nmemory_bytes = 1048576\n",
        folder.path().join("state")
    );
    let file = folder.path().join("vgpu.toml");
    std::fs::write(&file, config).unwrap();
    let mut command = Command::new(&artifacts().host);
    command.args(["serve", "--config"]).arg(&file);
    let output = Process::new(piped(&mut command).spawn().unwrap()).finish();
    assert!(!output.status.success());
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("107"),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn a_worker_that_is_started_by_hand_refuses_to_work() {
    let mut command = Command::new(&artifacts().host);
    command.arg("worker");
    let output = Process::new(piped(&mut command).spawn().unwrap()).finish();
    assert!(!output.status.success());
    assert!(!String::from_utf8_lossy(&output.stderr).is_empty(), "it says why");
}

/// 2,000 sessions, opened and closed, leave no process, descriptor or memory.
#[test]
fn two_thousand_sessions_come_and_go() {
    let host = Host::with_alice();
    let socket = host.socket("alice");
    two_thousand_leave_nothing(&host, |sessions| {
        for _ in 0..sessions {
            drop(greet(&socket, &hello()).unwrap());
        }
    });
}

/// Opens and closes 2,000 sessions by `open`, which is told how many: the daemon keeps no process, descriptor or memory.
#[track_caller]
fn two_thousand_leave_nothing(host: &Host, open: impl Fn(u32)) {
    let round = |sessions: u32| {
        open(sessions);
        host.wait_until_empty();
        eventually("workers are reaped", || children(host.daemon.pid()).is_empty().then_some(()));
    };
    // The daemon's heap finds its size in the first rounds.
    round(200);
    let (before, bytes_before) = (descriptors(host.daemon.pid()), anonymous_bytes(host.daemon.pid()));
    round(1_800);
    // The connection of the last question to the daemon may still be closing, before or after.
    eventually("descriptors are closed", || (descriptors(host.daemon.pid()) <= before).then_some(()));
    let bytes = anonymous_bytes(host.daemon.pid());
    assert!(bytes < bytes_before + (2 << 20), "memory grew from {bytes_before} to {bytes} bytes");
}

/// As above, with work in each: memory, a copy, a kernel, and a wait for it.
#[test]
fn two_thousand_sessions_with_work_come_and_go() {
    const AT_ONCE: usize = 4;
    let host = Host::with_alice();
    let (socket, image) = (host.socket("alice"), ptx("tiny"));
    two_thousand_leave_nothing(&host, |sessions| {
        std::thread::scope(|scope| {
            for _ in 0..AT_ONCE {
                scope.spawn(|| (0..sessions / AT_ONCE as u32).for_each(|at| work(&socket, &image, at)));
            }
        });
    });
    let tenants = host.ctl(&["tenants", "--json"]);
    let body: serde_json::Value = serde_json::from_slice(&tenants.stdout).unwrap();
    let tenant = &body["tenants"][0];
    assert_eq!((&tenant["opened"], &tenant["workers_lost"]), (&2_000.into(), &0.into()));
    assert_eq!((&tenant["memory_lent_bytes"], &tenant["pinned_lent_bytes"]), (&0.into(), &0.into()));
}

/// A session that fills memory by a kernel and reads it.
fn work(socket: &Path, image: &str, value: u32) {
    const WORDS: usize = 64;
    let client = Client::builder().socket(socket).answer_timeout(DEADLINE).connect().unwrap();
    let context = client.context().unwrap();
    let fill = context.load_module(image).unwrap().function("fill").unwrap();
    let stream = context.stream().unwrap();
    let words = context.alloc::<u32>(WORDS).unwrap();
    let shape = LaunchConfig::linear(WORDS as u32, 32);
    stream.launch(&fill, shape, args![&words, value, WORDS as i32]).unwrap();
    let mut found = [0; WORDS];
    stream.copy_to_host(&words, &mut found).unwrap();
    assert_eq!(found, [value; WORDS]);
}

/// 100 sessions at once do work, with daemon and workers together under 2 GiB.
#[test]
fn a_hundred_sessions_at_once() {
    const BOUND_BYTES: u64 = 2 << 30;
    let builder = HostBuilder::default()
        .soft("memory_bytes = 8589934592, threads = 1")
        .tenant("alice", 4 << 30, "sessions_max = 64")
        .tenant("bob", 4 << 30, "sessions_max = 64");
    let host = builder.start();
    let mut guests: Vec<_> = (0..100)
        .map(|at| host.guest(if at % 2 == 0 { "alice" } else { "bob" }, &["vector-add-until-end"]))
        .collect();
    for guest in &mut guests {
        guest.until("running");
    }
    assert_eq!(host.sessions().len(), 100);
    let daemon = host.daemon.pid();
    let sum: u64 = children(daemon).into_iter().chain([daemon]).map(pss_bytes).sum();
    println!("PSS of the daemon and 100 workers: {} MiB", sum >> 20);
    assert!(sum < BOUND_BYTES, "{sum} bytes");
    for guest in &mut guests {
        drop(guest.child().stdin.take());
    }
    for guest in guests {
        let output = guest.finish();
        assert!(
            String::from_utf8_lossy(&output.stdout).ends_with("ok\n"),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    host.wait_until_empty();
}
