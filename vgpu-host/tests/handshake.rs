//! The way from a guest's connection to an open session and its end, over the real daemon and real workers.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use vgpu_host::api::{SessionState, SessionsBody, TenantBody, TenantsBody};
use vgpu_host::config::Config;
use vgpu_host::{Host, HostError, RunningHost, WorkerCommand, ctl};
use vgpu_proto::codec;
use vgpu_proto::control::{Closing, GuestMessage, HostMessage};
use vgpu_proto::handshake::{
    AddressPlan, Answer, FEATURE_COHERENT, GuestProcess, Hello, Refusal, RefusalCause, Welcome,
};
use vgpu_proto::limits::{self, CONTROL_BYTES_MAX};
use vgpu_window::link::{Link, LinkError};

/// Everything that must happen happens within this.
const SOON: Duration = Duration::from_secs(20);

struct Fixture {
    host: Option<RunningHost>,
    dir: PathBuf,
}

impl Fixture {
    fn start(host_keys: &str, tenant_keys: &str) -> Self {
        let dir = fresh_dir();
        let host = host(&dir, host_keys, tenant_keys).start().unwrap();
        Self { host: Some(host), dir }
    }

    fn connect(&self) -> Link {
        let socket = self.dir.join("tenants/alice/vgpu.sock");
        Link::new(UnixStream::connect(socket).unwrap(), CONTROL_BYTES_MAX)
    }

    fn ctl(&self, request: ctl::Request) -> String {
        ctl::run(&self.dir.join("control.sock"), request, true).unwrap()
    }

    fn tenant(&self) -> TenantBody {
        let body: TenantsBody = serde_json::from_str(&self.ctl(ctl::Request::Tenants)).unwrap();
        body.tenants.into_iter().next().unwrap()
    }

    fn sessions(&self) -> SessionsBody {
        serde_json::from_str(&self.ctl(ctl::Request::Sessions)).unwrap()
    }

    fn until(&self, what: &str, holds: impl Fn(&TenantBody) -> bool) {
        let start = Instant::now();
        while !holds(&self.tenant()) {
            assert!(start.elapsed() < SOON, "{what}: {:?}", self.tenant());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        drop(self.host.take());
        assert!(!self.dir.join("control.sock").exists(), "the sockets are removed");
        std::fs::remove_dir_all(&self.dir).unwrap();
    }
}

fn fresh_dir() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let dir = std::env::temp_dir().join(format!("vgpu-{}-{number}", std::process::id()));
    std::fs::create_dir(&dir).unwrap();
    dir
}

fn host(dir: &std::path::Path, host_keys: &str, tenant_keys: &str) -> Host {
    let state = dir.join("state");
    let text = format!(
        "[host]\nruntime_dir = {dir:?}\nstate_dir = {state:?}\n{host_keys}\n\
         [[gpu]]\nname = \"gpu0\"\ndevice = \"soft\"\nsoft = {{ threads = 1 }}\n\
         [[tenant]]\nname = \"alice\"\ngpu = \"gpu0\"\nmemory_bytes = 1073741824\n{tenant_keys}"
    );
    let worker = WorkerCommand::new(env!("CARGO_BIN_EXE_vgpu-host")).arg("worker");
    Host::new(Config::from_toml(&text).unwrap()).worker(worker)
}

fn hello() -> Hello {
    Hello {
        version_min: 1,
        version_max: 1,
        features: FEATURE_COHERENT,
        plans: AddressPlan::CANDIDATES[..limits::PLANS_MAX].to_vec(),
        variables: vec![],
        process: GuestProcess { pid: 7, name: "test".into() },
    }
}

fn greet(link: &Link, hello: &Hello) -> (Answer, usize) {
    // A host that refuses may have closed already; its answer is there all the same.
    let _ = link.send(&codec::encode(hello).unwrap(), &[]);
    let message = link.recv_timeout(SOON).unwrap();
    (codec::decode(&message.body).unwrap(), message.fds.len())
}

fn welcomed(link: &Link) -> Welcome {
    match greet(link, &hello()) {
        (Answer::Welcome(welcome), fds) => {
            assert_eq!((welcome.regions.len(), fds), (2, 2));
            welcome
        }
        other => panic!("{other:?}"),
    }
}

fn refused(link: &Link, hello: &Hello) -> Refusal {
    match greet(link, hello) {
        (Answer::Refused(refusal), 0) => refusal,
        other => panic!("{other:?}"),
    }
}

fn closing(link: &Link) -> Closing {
    let message = link.recv_timeout(SOON).unwrap();
    match codec::decode(&message.body).unwrap() {
        HostMessage::Closing(closing) => closing,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_session_opens_and_ends_with_its_guest() {
    let fixture = Fixture::start("", "");
    let link = fixture.connect();
    let welcome = welcomed(&link);
    let sessions = fixture.sessions().sessions;
    assert_eq!(sessions.len(), 1);
    let session = &sessions[0];
    assert_eq!((session.id, session.state), (welcome.session, SessionState::Open));
    assert_eq!(session.guest.as_ref().unwrap().name, "test");
    assert!(session.counts.is_some(), "the worker answered");
    drop(link);
    fixture.until("the session ends", |tenant| tenant.sessions == 0);
    let tenant = fixture.tenant();
    assert_eq!((tenant.opened, tenant.workers_lost), (1, 0));
}

#[test]
fn regions_are_lent_and_return() {
    let fixture = Fixture::start("", "pinned_bytes = 8388608");
    let link = fixture.connect();
    welcomed(&link);
    let ask = |message: GuestMessage| {
        link.send(&codec::encode(&message).unwrap(), &[]).unwrap();
        let answer = link.recv_timeout(SOON).unwrap();
        (codec::decode::<HostMessage>(&answer.body).unwrap(), answer.fds.len())
    };
    let (HostMessage::RegionAdded { request: 1, region }, 1) =
        ask(GuestMessage::RegionAdd { request: 1, bytes: 4 << 20 })
    else {
        panic!("no region")
    };
    assert_eq!(fixture.tenant().pinned_lent_bytes, 8 << 20, "a step, cut to the quota");
    let refused = ask(GuestMessage::RegionAdd { request: 2, bytes: 5 << 20 });
    assert!(matches!(refused, (HostMessage::RegionRefused { request: 2, .. }, 0)), "{refused:?}");
    let address = region.address;
    let refused = ask(GuestMessage::RegionAddAt { request: 5, address, bytes: 4096 });
    assert!(matches!(refused, (HostMessage::RegionRefused { request: 5, status: 801 }, 0)), "{refused:?}");
    let removed = ask(GuestMessage::RegionRemove { request: 3, id: region.id });
    assert!(matches!(removed, (HostMessage::RegionRemoved { request: 3 }, 0)), "{removed:?}");
    drop(link);
    fixture.until("the credit returns", |tenant| tenant.pinned_lent_bytes == 0 && tenant.sessions == 0);
}

#[test]
fn a_bad_greeting_is_refused_with_its_cause() {
    let fixture = Fixture::start("", "");
    let newer = Hello { version_min: 7, version_max: 9, ..hello() };
    let refusal = refused(&fixture.connect(), &newer);
    assert_eq!(refusal.cause, RefusalCause::Version);
    assert!(refusal.text.contains("7 to 9") && refusal.text.contains("1 to 1"), "{}", refusal.text);
    let refusal = refused(&fixture.connect(), &Hello { plans: vec![], ..hello() });
    assert_eq!(refusal.cause, RefusalCause::Protocol);
    let refusal = {
        let link = fixture.connect();
        link.send(&[0xff; 40], &[]).unwrap();
        let Answer::Refused(refusal) = codec::decode(&link.recv_timeout(SOON).unwrap().body).unwrap() else {
            panic!("welcomed")
        };
        refusal
    };
    assert_eq!(refusal.cause, RefusalCause::Protocol);
    fixture.until("both are counted", |tenant| {
        (tenant.refused.version, tenant.refused.protocol, tenant.sessions) == (1, 2, 0)
    });
    assert_eq!(fixture.tenant().workers_lost, 0);
}

#[test]
fn a_silent_peer_is_closed_and_counted() {
    let fixture = Fixture::start("", "");
    let link = fixture.connect();
    assert!(matches!(link.recv_timeout(SOON), Err(LinkError::Closed)));
    fixture.until("it is counted", |tenant| (tenant.refused.silent, tenant.sessions) == (1, 0));
}

#[test]
fn a_session_over_the_limit_is_refused() {
    let fixture = Fixture::start("", "sessions_max = 1");
    let first = fixture.connect();
    welcomed(&first);
    let refusal = refused(&fixture.connect(), &hello());
    assert_eq!(refusal.cause, RefusalCause::SessionLimit);
    assert_eq!(fixture.tenant().refused.session_limit, 1);
    drop(first);
    fixture.until("the place is free", |tenant| tenant.sessions == 0);
    welcomed(&fixture.connect());
}

#[test]
fn a_message_that_does_not_decode_ends_the_session_with_its_reason() {
    let fixture = Fixture::start("", "");
    let link = fixture.connect();
    welcomed(&link);
    link.send(&[0xff; 9], &[]).unwrap();
    assert_eq!(closing(&link).reason, "protocol:control-message");
    assert!(matches!(link.recv_timeout(SOON), Err(LinkError::Closed)));
    fixture.until("the session ends", |tenant| (tenant.sessions, tenant.workers_lost) == (0, 0));
}

#[test]
fn an_operator_closes_a_session() {
    let fixture = Fixture::start("", "");
    let link = fixture.connect();
    let id = welcomed(&link).session;
    assert_eq!(fixture.ctl(ctl::Request::Close(id)), "");
    assert_eq!(closing(&link).reason, "operator");
    fixture.until("the session ends", |tenant| tenant.sessions == 0);
    let again = ctl::run(&fixture.dir.join("control.sock"), ctl::Request::Close(id), true);
    assert!(matches!(again, Err(ctl::CtlError::Host { status: 404, .. })), "{again:?}");
}

#[test]
fn a_killed_worker_is_reaped_and_counted() {
    let fixture = Fixture::start("", "");
    let link = fixture.connect();
    welcomed(&link);
    let pid = fixture.sessions().sessions[0].worker_pid;
    let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    assert!(matches!(link.recv_timeout(SOON), Err(LinkError::Closed)));
    fixture.until("it is counted", |tenant| (tenant.sessions, tenant.workers_lost) == (0, 1));
}

#[test]
fn a_draining_host_refuses_waits_and_closes() {
    let mut fixture = Fixture::start("drain_timeout_ms = 1500", "");
    let link = fixture.connect();
    welcomed(&link);
    let late = fixture.connect();
    let host = fixture.host.take().unwrap();
    let stopping = std::thread::spawn(move || host.shutdown());
    let start = Instant::now();
    // The connection made before drains as one made after it, unless its worker was already started.
    let refusal = loop {
        let Ok(stream) = UnixStream::connect(fixture.dir.join("tenants/alice/vgpu.sock")) else {
            panic!("the host closed before it refused")
        };
        match greet(&Link::new(stream, CONTROL_BYTES_MAX), &hello()) {
            (Answer::Refused(refusal), _) => break refusal,
            (Answer::Welcome(_), _) => assert!(start.elapsed() < SOON, "it does not drain"),
        }
    };
    assert_eq!(refusal.cause, RefusalCause::Draining);
    drop(late);
    assert_eq!(closing(&link).reason, "draining");
    stopping.join().unwrap();
}

#[test]
fn a_runtime_folder_has_one_host() {
    let fixture = Fixture::start("", "");
    let second = host(&fixture.dir, "", "").start();
    assert!(matches!(second, Err(HostError::AlreadyRunning { .. })), "{second:?}");
    welcomed(&fixture.connect());
}

#[test]
fn another_user_is_refused() {
    let mine = rustix::process::geteuid();
    if !mine.is_root() {
        let fixture = Fixture::start("", &format!("uid = {}", mine.as_raw() + 1));
        let refusal = refused(&fixture.connect(), &hello());
        assert_eq!(refusal.cause, RefusalCause::Permission);
        return;
    }
    // Root may open any socket; the check of credentials refuses it all the same.
    let fixture = Fixture::start("", "uid = 12345");
    let refusal = refused(&fixture.connect(), &hello());
    assert_eq!(refusal.cause, RefusalCause::Permission);
    assert_eq!(fixture.tenant().refused.permission, 1);
}
