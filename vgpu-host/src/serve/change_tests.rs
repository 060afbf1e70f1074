//! What operators change, over the control socket of a whole host.

use std::io::Read as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use vgpu_proto::codec;
use vgpu_proto::handshake::GuestProcess;

use super::*;
use crate::api::{ChangedBody, TenantBody, TenantsBody};
use crate::config::{ConfigError, Setting};
use crate::ctl::{self, CtlError, Request};
use crate::wire::{Credit, FromWorker};

const SOON: Duration = Duration::from_secs(20);

/// A folder with a configuration in it, which goes with its test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(tenants: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("vgpu-change-{}-{number}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        let scratch = Self(dir);
        scratch.write(tenants);
        scratch
    }

    fn file(&self) -> PathBuf {
        self.0.join("vgpu.toml")
    }

    fn write(&self, tenants: &str) {
        let dir = &self.0;
        let head = format!("[host]\nruntime_dir = {dir:?}\nstate_dir = {:?}\n", dir.join("state"));
        let gpu = "[[gpu]]\nname = \"g\"\ndevice = \"soft\"\n";
        std::fs::write(self.file(), format!("{head}{gpu}{tenants}")).unwrap();
    }

    /// A host whose workers say that they have greeted and want a mebibyte, and then hang.
    fn start(&self) -> RunningHost {
        self.host().start().unwrap()
    }

    fn host(&self) -> Host {
        let greeted = FromWorker::Established { guest: GuestProcess::default(), version: 1 };
        let wanted =
            FromWorker::CreditRequest { request: 1, kind: Credit::Device, bytes: 1 << 20, minimum: 1 };
        let script = say(&greeted) + &say(&wanted) + "exec sleep 1000";
        let worker = WorkerCommand::new("/bin/sh").arg("-c").arg(script);
        Host::new(Config::from_path(&self.file()).unwrap()).worker(worker)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

/// A shell command that sends a message to the daemon.
fn say(message: &FromWorker) -> String {
    let bytes = codec::encode(message).unwrap();
    let octal: String = bytes.iter().map(|byte| format!("\\{byte:03o}")).collect();
    format!("printf '{octal}' >&0; ")
}

fn section(name: &str, keys: &str) -> String {
    format!("[[tenant]]\nname = {name:?}\ngpu = \"g\"\nmemory_bytes = 4194304\n{keys}\n")
}

fn change(host: &RunningHost, request: Request) -> Result<ChangedBody, CtlError> {
    ctl::run(&host.control_socket(), request, true).map(|answer| serde_json::from_str(&answer).unwrap())
}

fn set(host: &RunningHost, tenant: &str, settings: &[&str]) -> Result<ChangedBody, CtlError> {
    let settings = settings.iter().map(|text| text.parse().unwrap()).collect();
    change(host, Request::Set(tenant.into(), settings))
}

/// The status and the texts of a refusal.
fn refused<T: std::fmt::Debug>(result: Result<T, CtlError>) -> (u16, String) {
    match result {
        Err(CtlError::Host { status, body }) => {
            assert!(!body.remedy.is_empty(), "{body:?}");
            (status, format!("{}; {}", body.error, body.remedy))
        }
        other => panic!("{other:?}"),
    }
}

fn tenants(host: &RunningHost) -> Vec<TenantBody> {
    let answer = ctl::run(&host.control_socket(), Request::Tenants, true).unwrap();
    serde_json::from_str::<TenantsBody>(&answer).unwrap().tenants
}

/// Waits until the tenant's first session has its mebibyte.
fn a_session(host: &RunningHost, tenant: &str) -> UnixStream {
    let guest = UnixStream::connect(host.tenant_socket(tenant)).unwrap();
    let start = Instant::now();
    while tenants(host).iter().any(|body| body.name == tenant && body.memory_lent_bytes == 0) {
        assert!(start.elapsed() < SOON, "no session");
        std::thread::sleep(Duration::from_millis(10));
    }
    guest
}

#[test]
fn what_is_set_holds_over_restarts_until_it_is_reset() {
    let scratch = Scratch::new(&(section("a", "weight = 3") + &section("b", "")));
    let host = scratch.start();
    let body = set(&host, "a", &["weight=7", "cap=0.5", "sessions_max=2"]).unwrap();
    assert_eq!((body.changed, body.notes), (vec!["a".to_owned()], vec![]));
    set(&host, "a", &["class=latency"]).unwrap();
    set(&host, "b", &["weight=9"]).unwrap();
    drop(host);
    let host = scratch.start();
    let [a, b] = &tenants(&host)[..] else { panic!("two tenants") };
    assert_eq!(a.overridden, ["sessions_max", "weight", "class", "cap"]);
    assert_eq!((a.settings.weight, a.sessions_max), (Some(7), 2));
    assert_eq!(a.settings.cap, Some(Setting::Value(0.5)));
    assert_eq!((b.overridden.len(), b.settings.weight), (1, Some(9)));
    change(&host, Request::Reset(Some("a".into()))).unwrap();
    drop(host);
    let host = scratch.start();
    let [a, b] = &tenants(&host)[..] else { panic!("two tenants") };
    assert_eq!((a.settings.weight, a.settings.cap, a.overridden.len()), (Some(3), Some(Setting::Nothing), 0));
    assert_eq!(b.settings.weight, Some(9));
    assert_eq!(change(&host, Request::Reset(None)).unwrap().changed, ["b"]);
    assert_eq!(tenants(&host)[1].settings.weight, Some(100));
    assert_eq!(change(&host, Request::Reset(None)).unwrap(), ChangedBody::default());
}

#[test]
fn a_change_is_all_or_nothing() {
    let scratch = Scratch::new(&(section("a", "") + &section("b", "reservation = 0.5")));
    let host = scratch.start();
    let before = tenants(&host);
    for settings in [
        &["weight=0"][..],
        &["weight=5", "cap=1.5"],
        &["weight=5", "cap=nan"],
        &["weight=5", "reservation=0.4", "cap=0.3"],
        &["weight=5", "launches_burst=3"],
        &["weight=5", "memory_bytes=99999999999999"],
        &["weight=5", "sessions_max=-1"],
        &["weight=5", "class=fast"],
    ] {
        assert_eq!(refused(set(&host, "a", settings)).0, 400, "{settings:?}");
    }
    let (status, text) = refused(set(&host, "a", &["weight=5", "reservation=0.400001"]));
    assert_eq!(status, 400);
    assert!(text.contains("0.900001") && text.contains("0.9;"), "the sum is told: {text}");
    let (status, text) = refused(set(&host, "carol", &["weight=5"]));
    assert!(status == 404 && text.contains("carol"), "{text}");
    assert_eq!(refused(change(&host, Request::Reset(Some("carol".into())))).0, 404);
    assert_eq!(refused(set(&host, "a", &[])).0, 400);
    assert_eq!(refused(set(&host, "../x", &["weight=5"])).0, 404);
    assert_eq!(tenants(&host), before);
}

#[test]
fn a_limit_below_what_is_in_use_holds_for_what_is_new() {
    let scratch = Scratch::new(&section("a", ""));
    let host = scratch.start();
    let _guest = a_session(&host, "a");
    let body = set(&host, "a", &["memory_bytes=4096", "streams_max=5"]).unwrap();
    let notes = body.notes.join("\n");
    assert!(notes.contains("memory_bytes is 4096 and 1048576 bytes are lent"), "{notes}");
    assert!(notes.contains("streams_max") && notes.contains("1 run with what was said before"), "{notes}");
    assert_eq!(tenants(&host)[0].memory_lent_bytes, 1 << 20, "what is lent stays");
    let _second = UnixStream::connect(host.tenant_socket("a")).unwrap();
    let start = Instant::now();
    while tenants(&host)[0].sessions < 2 {
        assert!(start.elapsed() < SOON);
        std::thread::sleep(Duration::from_millis(10));
    }
    let body = set(&host, "a", &["sessions_max=1"]).unwrap();
    assert!(body.notes.join("\n").contains("sessions_max is 1 and 2 run"), "{body:?}");
    let tenant = &tenants(&host)[0];
    assert_eq!((tenant.sessions, tenant.sessions_max, tenant.memory_bytes), (2, 1, 4096));
}

#[test]
fn what_cannot_be_kept_does_not_happen() {
    let scratch = Scratch::new(&section("a", ""));
    let host = scratch.start();
    set(&host, "a", &["weight=7"]).unwrap();
    let (state, aside) = (scratch.0.join("state"), scratch.0.join("aside"));
    std::fs::rename(&state, &aside).unwrap();
    std::fs::write(&state, "no folder").unwrap();
    let (status, text) = refused(set(&host, "a", &["weight=8"]));
    assert!(status == 500 && text.contains("host.state_dir"), "{text}");
    assert_eq!(tenants(&host)[0].settings.weight, Some(7));
    std::fs::remove_file(&state).unwrap();
    std::fs::rename(&aside, &state).unwrap();
    set(&host, "a", &["weight=8"]).unwrap();
}

#[test]
fn what_was_set_and_does_not_fit_a_new_configuration_stops_the_start() {
    let scratch = Scratch::new(&(section("a", "") + &section("b", "")));
    let host = scratch.start();
    set(&host, "a", &["reservation=0.5"]).unwrap();
    drop(host);
    scratch.write(&(section("a", "") + &section("b", "reservation = 0.5")));
    let error = scratch.host().start().unwrap_err();
    let fits =
        matches!(&error, HostError::Overrides { source: ConfigError::Reservations { sum: 1_000_000, .. } });
    assert!(fits, "{error}");
    assert!(error.to_string().contains("--forget-overrides"), "{error}");
    let host = scratch.host().forget_overrides().start().unwrap();
    assert!(tenants(&host)[0].overridden.is_empty());
    drop(host);
    drop(scratch.start());
    std::fs::write(scratch.0.join("state/state.json"), "{}").unwrap();
    let error = scratch.host().start().unwrap_err();
    assert!(matches!(error, HostError::State(crate::StateError::Torn { .. })), "{error}");
}

#[test]
fn a_reload_is_all_or_nothing() {
    let scratch = Scratch::new(&(section("a", "") + &section("b", "")));
    let host = scratch.start();
    set(&host, "a", &["cap=0.5"]).unwrap();
    assert_eq!(change(&host, Request::Reload).unwrap(), ChangedBody::default());
    scratch.write(&(section("a", "weight = 5\ncap = 0.25") + &section("b", "")));
    let body = change(&host, Request::Reload).unwrap();
    assert_eq!(body, ChangedBody { changed: vec!["a".into()], ..ChangedBody::default() });
    let a = &tenants(&host)[0];
    assert_eq!(
        (a.settings.weight, a.settings.cap),
        (Some(5), Some(Setting::Value(0.5))),
        "what was set stays"
    );
    let before = tenants(&host);
    let twice = section("a", "weight = 9") + &section("a", "");
    for (text, told) in [
        (twice, "two tenant sections"),
        (section("a", "weight = 9\nwheight = 1"), "wheight"),
        (section("a", "weight = 9") + "[[gpu]]\nname = \"h\"\ndevice = \"soft\"\n", "[[gpu]]"),
        (section("a", "weight = 9\nreservation = 0.95"), "0.95"),
        (section("a", "weight = 9\nuid = 12345"), "uid"),
        ("[[tenant".into(), "form"),
    ] {
        scratch.write(&text);
        let (status, refusal) = refused(change(&host, Request::Reload));
        assert!(status == 400 && refusal.contains(told), "{told}: {refusal}");
    }
    std::fs::remove_file(scratch.file()).unwrap();
    assert_eq!(refused(change(&host, Request::Reload)).0, 400);
    assert_eq!(tenants(&host), before);
}

#[test]
fn a_reload_adds_and_removes_tenants() {
    let scratch = Scratch::new(&(section("a", "") + &section("b", "reservation = 0.9")));
    let host = scratch.start();
    let guest = a_session(&host, "b");
    scratch.write(&(section("c", "reservation = 0.5") + &section("a", "")));
    let (status, text) = refused(change(&host, Request::Reload));
    assert!(status == 409 && text.contains("1 sessions"), "{text}");
    assert!(!host.tenant_socket("c").exists(), "nothing was done");
    drop(guest);
    ctl::run(&host.control_socket(), Request::Close(1), true).unwrap();
    let start = Instant::now();
    let body = loop {
        match change(&host, Request::Reload) {
            Ok(body) => break body,
            Err(error) => assert!(start.elapsed() < SOON, "{error}"),
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    assert_eq!((body.added, body.removed), (vec!["c".to_owned()], vec!["b".to_owned()]));
    assert!(!host.tenant_socket("b").exists() && !host.runtime_dir().join("tenants/b/report.sock").exists());
    let names: Vec<_> = tenants(&host).into_iter().map(|tenant| tenant.name).collect();
    assert_eq!(names, ["a", "c"]);
    let guest = a_session(&host, "c");
    assert_eq!(refused(set(&host, "b", &["weight=1"])).0, 404);
    scratch.write(&(section("a", "") + &section("b", "weight = 6") + &section("c", "")));
    let body = change(&host, Request::Reload).unwrap();
    assert_eq!((body.added, body.changed), (vec!["b".to_owned()], vec!["c".to_owned()]));
    let _again = a_session(&host, "b");
    let weights: Vec<_> = tenants(&host).iter().map(|tenant| tenant.settings.weight).collect();
    assert_eq!(weights, [Some(100), Some(6), Some(100)]);
    drop(guest);
}

#[test]
fn a_host_that_a_program_configured_has_nothing_to_reload() {
    let scratch = Scratch::new(&section("a", ""));
    let text = std::fs::read_to_string(scratch.file()).unwrap();
    let host = Host::new(Config::from_toml(&text).unwrap()).worker(WorkerCommand::new("/bin/true")).start();
    assert_eq!(refused(change(&host.unwrap(), Request::Reload)).0, 409);
}

#[test]
fn sessions_that_come_too_fast_are_told_when_to_try_again() {
    let scratch = Scratch::new(&section("a", "sessions_per_s = 1\nsessions_burst = 2"));
    let host = scratch.start();
    let _admitted: Vec<_> = (0..2).map(|_| a_session(&host, "a")).collect();
    // Ten at once, of which a busy machine may take seconds to look at.
    let guests: Vec<_> = (0..10).map(|_| UnixStream::connect(host.tenant_socket("a")).unwrap()).collect();
    let seen = || {
        let tenant = tenants(&host).remove(0);
        (tenant.opened, tenant.refused.session_rate)
    };
    let start = Instant::now();
    while seen().0 + seen().1 < 12 {
        assert!(start.elapsed() < SOON, "{:?}", seen());
        std::thread::sleep(Duration::from_millis(10));
    }
    let mut told = 0;
    for mut guest in guests {
        guest.set_nonblocking(true).unwrap();
        let mut answer = [0; 1_024];
        let bytes = guest.read(&mut answer).unwrap_or(0);
        let text = String::from_utf8_lossy(&answer[..bytes]);
        told += u64::from(text.contains("try again in") && text.contains("sessions_per_s"));
    }
    assert!(told > 0, "ten more at once passed a limit of one in a second");
    assert_eq!(seen().1, told);
    set(&host, "a", &["sessions_per_s=none"]).unwrap();
    let sessions = tenants(&host)[0].opened;
    let _guest = UnixStream::connect(host.tenant_socket("a")).unwrap();
    let start = Instant::now();
    while tenants(&host)[0].opened == sessions {
        assert!(start.elapsed() < SOON);
        std::thread::sleep(Duration::from_millis(10));
    }
}
