//! Workers that lie: each rule of the daemon is broken by a shell that says what no worker says.

use std::fmt::Write as _;
use std::io::Read as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use vgpu_proto::codec;
use vgpu_proto::handshake::GuestProcess;

use super::*;
use crate::api::{DevicesBody, SessionsBody, TenantsBody};
use crate::ctl;
use crate::wire::{Credit, FromWorker, HandshakeFailure, SessionCounts};

pub(super) const SOON: Duration = Duration::from_secs(20);

pub(super) fn fresh_dir() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let dir = std::env::temp_dir().join(format!("vgpu-lies-{}-{number}", std::process::id()));
    std::fs::create_dir(&dir).unwrap();
    dir
}

/// A host whose workers run a shell script with the control socket as its standard input.
fn host(dir: &Path, script: &str) -> RunningHost {
    let state = dir.join("state");
    let text = format!(
        "host = {{ runtime_dir = {dir:?}, state_dir = {state:?} }}\n\
         gpu = [{{ name = \"g\", device = \"soft\" }}]\n\
         tenant = [{{ name = \"t\", gpu = \"g\", memory_bytes = 1048576 }}]"
    );
    let worker = WorkerCommand::new("/bin/sh").arg("-c").arg(script);
    Host::new(Config::from_toml(&text).unwrap()).worker(worker).start().unwrap()
}

/// A command that sends these bytes as one message.
fn says(bytes: &[u8]) -> String {
    let mut command = String::from("printf '");
    for byte in bytes {
        write!(command, "\\{byte:03o}").unwrap();
    }
    command + "' >&0; "
}

pub(super) fn say(message: &FromWorker) -> String {
    says(&codec::encode(message).unwrap())
}

pub(super) fn tenants(host: &RunningHost) -> TenantsBody {
    let answer = ctl::run(&host.control_socket(), ctl::Request::Tenants, true).unwrap();
    serde_json::from_str(&answer).unwrap()
}

pub(super) fn established() -> FromWorker {
    FromWorker::Established { guest: GuestProcess::default(), version: 1 }
}

/// As [`ends`], of a worker that has greeted, so that nothing but its breach is against it.
fn is_killed(script: &str) {
    ends(&(say(&established()) + script));
}

/// Connects a guest to a host whose worker does that and then hangs; the daemon must kill it and forget it.
fn ends(script: &str) {
    let dir = fresh_dir();
    let host = host(&dir, &format!("{script} exec sleep 1000"));
    let mut guest = UnixStream::connect(host.tenant_socket("t")).unwrap();
    guest.set_read_timeout(Some(SOON)).unwrap();
    assert_eq!(guest.read(&mut [0]).unwrap(), 0, "the guest's connection is closed: {script}");
    let start = Instant::now();
    loop {
        let tenant = &tenants(&host).tenants[0];
        if tenant.workers_lost == 1 && tenant.sessions == 0 {
            assert_eq!((tenant.memory_lent_bytes, tenant.pinned_lent_bytes), (0, 0));
            break;
        }
        assert!(start.elapsed() < SOON, "{script}: {tenant:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
    drop(host);
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_worker_that_sends_nonsense_is_killed() {
    is_killed(&says(&[0xff, 1, 2, 3]));
}

#[test]
fn a_worker_that_says_too_much_is_killed() {
    let guest = GuestProcess { pid: 1, name: "x".repeat(2_000) };
    ends(&say(&FromWorker::Established { guest, version: 1 }));
}

#[test]
fn a_worker_that_greets_twice_is_killed() {
    is_killed(&say(&established()));
    let failed = FromWorker::HandshakeFailed { cause: HandshakeFailure::Silent, text: String::new() };
    is_killed(&say(&failed));
}

#[test]
fn a_worker_that_lies_about_faults_is_killed() {
    let faulted = say(&FromWorker::Faulted { status: 700, text: "wild".into() });
    ends(&faulted);
    is_killed(&faulted.repeat(2));
    ends(&say(&FromWorker::Faulted { status: 700, text: "x".repeat(2_000) }));
}

#[test]
fn a_worker_that_answers_what_nobody_asked_is_killed() {
    is_killed(&say(&FromWorker::Counts(SessionCounts::default())));
}

#[test]
fn a_worker_that_gives_back_more_than_it_holds_is_killed_and_loses_what_it_holds() {
    let request = FromWorker::CreditRequest { request: 1, kind: Credit::Device, bytes: 4_096, minimum: 1 };
    let release = FromWorker::CreditReleased { kind: Credit::Device, bytes: 4_097 };
    is_killed(&(say(&request) + &say(&release)));
}

#[test]
fn a_worker_that_lets_go_of_its_channel_is_killed() {
    is_killed("exec <&-;");
}

#[test]
fn a_worker_that_says_the_end_and_stays_is_killed() {
    is_killed(&say(&FromWorker::Ended { reason: "bye".into() }));
}

#[test]
fn a_worker_that_says_the_end_again_and_again_gets_no_more_time() {
    let ended = say(&FromWorker::Ended { reason: "bye".into() });
    is_killed(&format!("while sleep 0.1; do {ended} done;"));
}

#[test]
fn a_worker_that_does_not_answer_delays_a_list_and_nothing_else() {
    let dir = fresh_dir();
    let host = host(&dir, &(say(&established()) + "exec sleep 1000"));
    let _guest = UnixStream::connect(host.tenant_socket("t")).unwrap();
    let start = Instant::now();
    loop {
        let answer = ctl::run(&host.control_socket(), ctl::Request::Sessions, true).unwrap();
        let body: SessionsBody = serde_json::from_str(&answer).unwrap();
        if body.sessions.first().is_some_and(|session| session.guest.is_some()) {
            assert_eq!(body.sessions[0].counts, None);
            break;
        }
        assert!(start.elapsed() < SOON, "{body:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
    let start = Instant::now();
    drop(host);
    assert!(start.elapsed() < SOON, "a worker that ignores its orders is killed at the end");
    std::fs::remove_dir_all(dir).unwrap();
}

/// Starts a host whose spares do that, and waits until one of them is lost.
fn spare_is_lost(script: &str) {
    let dir = fresh_dir();
    let text = format!(
        "host = {{ runtime_dir = {dir:?}, state_dir = {dir:?} }}\ngpu = [{{ name = \"g\", device = \"soft\", spares = 1 }}]\n\
         tenant = [{{ name = \"t\", gpu = \"g\", memory_bytes = 1 }}]"
    );
    let worker = WorkerCommand::new("/bin/sh").arg("-c").arg(format!("{script} exec sleep 1000"));
    let host = Host::new(Config::from_toml(&text).unwrap()).worker(worker).start().unwrap();
    let start = Instant::now();
    loop {
        let answer = ctl::run(&host.control_socket(), ctl::Request::Devices, true).unwrap();
        let body: DevicesBody = serde_json::from_str(&answer).unwrap();
        if body.devices[0].spares_lost > 0 {
            break;
        }
        assert!(start.elapsed() < SOON, "{script}: {body:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(tenants(&host).tenants[0].workers_lost, 0);
    drop(host);
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_spare_that_lies_is_killed() {
    let ready = say(&FromWorker::Ready);
    spare_is_lost(&ready.repeat(2));
    spare_is_lost(&say(&established()));
    spare_is_lost(&says(&[0xff, 1]));
    spare_is_lost(&(ready + "exit 3;"));
    spare_is_lost(&say(&FromWorker::NotReady { text: "no card".into() }));
}

#[test]
fn a_worker_that_makes_ready_with_its_guest_there_is_killed() {
    is_killed(&say(&FromWorker::Ready));
}

#[test]
fn a_worker_that_does_not_start_is_a_refusal() {
    let dir = fresh_dir();
    let text = format!(
        "host = {{ runtime_dir = {dir:?}, state_dir = {dir:?} }}\ngpu = [{{ name = \"g\", device = \"soft\" }}]\n\
         tenant = [{{ name = \"t\", gpu = \"g\", memory_bytes = 1 }}]"
    );
    let worker = WorkerCommand::new("/nonexistent/worker");
    let host = Host::new(Config::from_toml(&text).unwrap()).worker(worker).start().unwrap();
    let mut guest = UnixStream::connect(host.tenant_socket("t")).unwrap();
    let mut answer = vec![];
    guest.read_to_end(&mut answer).unwrap();
    assert!(String::from_utf8_lossy(&answer).contains("/nonexistent/worker"));
    let tenant = &tenants(&host).tenants[0];
    assert_eq!((tenant.sessions, tenant.refused.unavailable), (0, 1));
    drop(host);
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn what_is_in_the_way_is_left_alone() {
    let dir = fresh_dir();
    let text = |dir: &Path| {
        format!(
            "host = {{ runtime_dir = {dir:?}, state_dir = {dir:?} }}\ngpu = [{{ name = \"g\", device = \"soft\" }}]\n\
             tenant = [{{ name = \"t\", gpu = \"g\", memory_bytes = 1 }}]"
        )
    };
    let start = || Host::new(Config::from_toml(&text(&dir)).unwrap()).start();
    let control = dir.join("control.sock");
    std::fs::write(&control, "precious").unwrap();
    assert!(matches!(start(), Err(HostError::NotASocket { .. })));
    std::fs::remove_file(&control).unwrap();
    let somebody = std::os::unix::net::UnixListener::bind(&control).unwrap();
    assert!(matches!(start(), Err(HostError::SomebodyListens { .. })));
    drop(somebody);
    drop(start().expect("a stale socket is replaced"));
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_folder_that_others_may_change_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;

    let (dir, state) = (fresh_dir(), fresh_dir());
    let text = format!(
        "host = {{ runtime_dir = {dir:?}, state_dir = {state:?} }}\ngpu = [{{ name = \"g\", device = \"soft\" }}]\n\
         tenant = [{{ name = \"t\", gpu = \"g\", memory_bytes = 1 }}]"
    );
    let start = || Host::new(Config::from_toml(&text).unwrap()).start();
    let open_to = |folder: &Path, mode| {
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    open_to(&dir, 0o777);
    assert!(matches!(start(), Err(HostError::UnsafeFolder { path, .. }) if path == dir));
    open_to(&dir, 0o755);
    drop(start().unwrap());
    let tenant = dir.join("tenants").join("t");
    open_to(&tenant, 0o1777);
    assert!(matches!(start(), Err(HostError::UnsafeFolder { path, .. }) if path == tenant));
    std::fs::remove_dir_all(dir).unwrap();
    std::fs::remove_dir_all(state).unwrap();
}
