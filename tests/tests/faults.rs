//! Processes that die, kernels that go wild: the one concerned is told, the others do not notice, all comes back.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;

use rustix::process::Signal;
use support::process::{Process, children, is_alive, kill, piped};
use support::{Host, HostBuilder, artifacts, eventually};

/// A host with two tenants, and a neighbour at work.
fn with_neighbour() -> (Host, Process) {
    let host = HostBuilder::default().tenant("alice", 256 << 20, "").tenant("bob", 256 << 20, "").start();
    let mut neighbour = host.guest("bob", &["vector-add-until-end"]);
    neighbour.until("running");
    (host, neighbour)
}

/// The neighbour has gone on all the time, and ends when it is told to.
#[track_caller]
fn neighbour_is_fine(host: &Host, mut neighbour: Process) {
    assert!(neighbour.is_running(), "the neighbour ended");
    drop(neighbour.child().stdin.take());
    let output = neighbour.finish();
    assert!(
        String::from_utf8_lossy(&output.stdout).ends_with("ok\n"),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    host.wait_until_empty();
    let output = host.ctl(&["tenants", "--json"]);
    let tenants: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    for tenant in tenants["tenants"].as_array().unwrap() {
        assert_eq!(tenant["memory_lent_bytes"], 0, "all credit came back: {tenant}");
        assert_eq!(tenant["pinned_lent_bytes"], 0, "all credit came back: {tenant}");
    }
}

/// Process id of the worker of a tenant's only session.
#[track_caller]
fn worker_of(host: &Host, tenant: &str) -> u32 {
    let sessions = host.sessions();
    let session = sessions.iter().find(|session| session["tenant"] == tenant).expect("a session");
    session["worker_pid"].as_u64().unwrap().try_into().unwrap()
}

#[track_caller]
fn only_the_neighbour_is_left(host: &Host) {
    eventually("the dead session is reaped", || {
        let sessions = host.sessions();
        (sessions.len() == 1 && sessions[0]["tenant"] == "bob").then_some(())
    });
}

#[test]
fn a_guest_killed_in_a_kernel() {
    let (host, neighbour) = with_neighbour();
    let mut guest = host.guest("alice", &["endless"]);
    guest.until("running");
    let worker = worker_of(&host, "alice");
    guest.signal(Signal::KILL);
    guest.wait();
    eventually("its worker ends, endless kernel or not", || (!is_alive(worker)).then_some(()));
    only_the_neighbour_is_left(&host);
    neighbour_is_fine(&host, neighbour);
}

#[test]
fn a_guest_killed_in_a_copy() {
    let (host, neighbour) = with_neighbour();
    let mut guest = host.guest("alice", &["copy"]);
    guest.until("running");
    guest.signal(Signal::KILL);
    guest.wait();
    only_the_neighbour_is_left(&host);
    neighbour_is_fine(&host, neighbour);
}

/// Ctrl-C, as a terminal sends it: the signal ends the guest in the middle of a kernel, and nothing of it stays.
#[test]
fn an_interrupted_guest_leaves_nothing() {
    let (host, neighbour) = with_neighbour();
    let mut command = Command::new(&artifacts().client);
    command.args(["run", "--"]).arg(&artifacts().guest).arg("endless");
    command.env("VGPU_SOCKET", host.socket("alice"));
    let mut guest = Process::new(piped(&mut command).spawn().unwrap());
    guest.until("running");
    let worker = worker_of(&host, "alice");
    guest.signal(Signal::INT);
    assert_eq!(guest.wait().signal(), Some(Signal::INT.as_raw()), "its end is the signal's own");
    eventually("its worker ends", || (!is_alive(worker)).then_some(()));
    only_the_neighbour_is_left(&host);
    neighbour_is_fine(&host, neighbour);
}

#[test]
fn a_worker_killed_in_a_kernel() {
    let (host, neighbour) = with_neighbour();
    let mut guest = host.guest("alice", &["endless"]);
    guest.until("running");
    kill(worker_of(&host, "alice"));
    let output = guest.finish();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("enqueue 709\n"), "the first enqueue after it tells: {text}");
    assert!(text.ends_with("error 709 synchronise\n"), "the synchronise under way tells: {text}");
    assert_eq!(output.status.code(), Some(70));
    only_the_neighbour_is_left(&host);
    neighbour_is_fine(&host, neighbour);
}

#[test]
fn a_worker_killed_in_a_copy() {
    let (host, neighbour) = with_neighbour();
    let mut guest = host.guest("alice", &["copy"]);
    guest.until("running");
    kill(worker_of(&host, "alice"));
    let output = guest.finish();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("error 709"), "{text}");
    only_the_neighbour_is_left(&host);
    neighbour_is_fine(&host, neighbour);
}

#[test]
fn the_daemon_killed() {
    let (mut host, mut guest) = with_neighbour();
    let worker = worker_of(&host, "bob");
    host.daemon.signal(Signal::KILL);
    host.daemon.wait();
    assert!(is_alive(worker), "the session goes on without the daemon");
    drop(guest.child().stdin.take());
    let output = guest.finish();
    assert!(String::from_utf8_lossy(&output.stdout).ends_with("ok\n"), "the guest ends with right results");
    eventually("its worker leaves with it", || (!is_alive(worker)).then_some(()));
}

#[test]
fn a_wild_access_sticks_in_its_context_and_nowhere_else() {
    let (host, neighbour) = with_neighbour();
    let output = host.guest("alice", &["wild"]).finish();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("sticky 700\n"), "{text}");
    assert!(text.ends_with("error 700 synchronise\n"), "{text}");
    only_the_neighbour_is_left(&host);
    neighbour_is_fine(&host, neighbour);
}

#[test]
fn a_fault_leaves_other_contexts_of_the_same_session_alone() {
    use vgpu_client::{DevicePtr, LaunchConfig, args};
    let host = Host::with_alice();
    let client = vgpu_client::Client::builder().socket(host.socket("alice")).connect().unwrap();
    let [bad, good] = [(); 2].map(|()| client.create_context().unwrap());
    let module = bad.load_module(support::fixture::ptx("wild_access")).unwrap();
    let wild = module.function("write_anywhere").unwrap();
    let stream = bad.stream().unwrap();
    let launched = stream.launch(&wild, LaunchConfig::default(), args![DevicePtr(16), 1i32]);
    let error = launched.and_then(|()| stream.synchronize()).unwrap_err();
    assert_eq!(error.status().0, 700);
    assert_eq!(bad.alloc::<u8>(16).unwrap_err().status().0, 700, "sticky");
    let buffer = good.alloc::<u32>(4).unwrap();
    let stream = good.stream().unwrap();
    stream.copy_to_device(&buffer, &[1, 2, 3, 4]).unwrap();
    let mut back = [0; 4];
    stream.copy_to_host(&buffer, &mut back).unwrap();
    assert_eq!(back, [1, 2, 3, 4]);
}

#[test]
fn bad_ptx_is_told_with_its_line_and_an_unknown_opcode_with_its_name() {
    let host = Host::with_alice();
    let client = vgpu_client::Client::builder().socket(host.socket("alice")).connect().unwrap();
    let context = client.context().unwrap();
    let head = ".version 9.0\n.target sm_80\n.address_size 64\n.visible .entry k()\n{\n  .reg .b32 %r<2>;\n";
    let broken = context.load_module(format!("{head}  mov.u32 %r1 5;\n  ret;\n}}\n")).unwrap_err();
    assert_eq!(broken.status().0, 218, "{broken}");
    assert!(broken.to_string().contains("line 7"), "{broken}");
    let unknown = context.load_module(format!("{head}  frobnicate.u32 %r1, 5;\n  ret;\n}}\n")).unwrap_err();
    assert!(unknown.to_string().contains("frobnicate"), "{unknown}");
    let cubin = context.load_module([0x7f, b'E', b'L', b'F', 2, 1, 1, 0]).unwrap_err();
    assert_eq!(cubin.status().0, 209, "{cubin}");
    client.ping().unwrap();
}

#[test]
fn an_ordered_out_of_memory_is_told() {
    let builder =
        HostBuilder::default().soft("memory_bytes = 1073741824, threads = 2, faults = \"oom-after=2\"");
    let host = builder.tenant("alice", 512 << 20, "").start();
    let client = vgpu_client::Client::builder().socket(host.socket("alice")).connect().unwrap();
    let context = client.context().unwrap();
    let kept: Vec<_> = (0..2).map(|_| context.alloc::<u8>(1_000).unwrap()).collect();
    assert_eq!(context.alloc::<u8>(1_000).unwrap_err().status().0, 2);
    drop(kept);
    client.ping().unwrap();
}

#[test]
fn a_lost_device_is_told_and_stays_lost() {
    use vgpu_client::{LaunchConfig, args};
    let builder =
        HostBuilder::default().soft("memory_bytes = 1073741824, threads = 2, faults = \"lost-after=2\"");
    let host = builder.tenant("alice", 512 << 20, "").start();
    let client = vgpu_client::Client::builder().socket(host.socket("alice")).connect().unwrap();
    let context = client.context().unwrap();
    let empty = context.load_module(support::fixture::ptx("tiny")).unwrap().function("empty").unwrap();
    let stream = context.stream().unwrap();
    for _ in 0..2 {
        stream.launch(&empty, LaunchConfig::default(), args![]).unwrap();
        stream.synchronize().unwrap();
    }
    let lost = stream.launch(&empty, LaunchConfig::default(), args![]).and_then(|()| stream.synchronize());
    assert_eq!(lost.unwrap_err().status().0, 46);
    assert_eq!(context.alloc::<u8>(16).unwrap_err().status().0, 46, "it stays lost");
}

#[test]
fn no_worker_is_left_behind() {
    let host = Host::with_alice();
    let guests: Vec<_> = (0..4).map(|_| host.guest("alice", &["vector-add", "2"])).collect();
    for guest in guests {
        assert!(guest.finish().status.success());
    }
    host.wait_until_empty();
    eventually("workers are reaped", || children(host.daemon.pid()).is_empty().then_some(()));
}
