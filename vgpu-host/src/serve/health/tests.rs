//! Cards on paper, and workers that are shells.

use std::io::Read as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use super::*;
use crate::api::{DevicesBody, EventsBody, SessionsBody, TenantBody};
use crate::config::Config;
use crate::ctl;
use crate::health::{FakeCards, PciAddress, RemappedRows};
use crate::serve::tests::{SOON, established, fresh_dir, say, tenants};
use crate::serve::{Host, RunningHost, WorkerCommand};
use crate::wire::FromWorker;

/// The software GPU's, as the host sees it.
const CARD: [u8; 16] = *b"vgpu-software-00";

struct Rig {
    cards: FakeCards,
    host: Option<RunningHost>,
    dir: PathBuf,
}

impl Drop for Rig {
    fn drop(&mut self) {
        drop(self.host.take());
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

impl Rig {
    /// A host of one card that is well. `$dir` in the script is the rig's folder.
    fn new(script: &str) -> Self {
        let (cards, dir) = (FakeCards::default(), fresh_dir());
        cards.set_health(CARD, CardHealth { temperature_celsius: Some(41), ..CardHealth::default() });
        let text = format!(
            "host = {{ runtime_dir = {dir:?}, state_dir = {dir:?}, health = {{ period_ms = 100, context_bytes = 536870912 }} }}\n\
             gpu = [{{ name = \"g\", device = \"soft\" }}]\n\
             tenant = [{{ name = \"t\", gpu = \"g\", memory_bytes = 1048576 }}]"
        );
        let script = format!("dir={dir:?}; {} {script} exec sleep 1000", say(&established()));
        let worker = WorkerCommand::new("/bin/sh").arg("-c").arg(script);
        let host = Host::new(Config::from_toml(&text).unwrap()).worker(worker).monitor(cards.monitor());
        Self { cards, host: Some(host.start().unwrap()), dir }
    }

    fn ask<T: serde::de::DeserializeOwned>(&self, request: ctl::Request) -> T {
        let socket = self.host.as_ref().unwrap().control_socket();
        serde_json::from_str(&ctl::run(&socket, request, true).unwrap()).unwrap()
    }

    fn health(&self) -> Option<HealthOf> {
        self.ask::<DevicesBody>(ctl::Request::Devices).devices.remove(0).health.map(Into::into)
    }

    fn tenant(&self) -> TenantBody {
        tenants(self.host.as_ref().unwrap()).tenants.remove(0)
    }

    fn connect(&self) -> UnixStream {
        let guest = UnixStream::connect(self.host.as_ref().unwrap().tenant_socket("t")).unwrap();
        guest.set_read_timeout(Some(SOON)).unwrap();
        guest
    }

    /// What a guest that may not begin is told.
    fn refused(&self) -> String {
        let mut told = vec![];
        self.connect().read_to_end(&mut told).unwrap();
        String::from_utf8_lossy(&told).into_owned()
    }

    /// Connects, and waits until the worker has greeted. Returns its process as well.
    fn begin(&self) -> (UnixStream, u32) {
        let before: Vec<_> = self.pids();
        let guest = self.connect();
        let pid = self.until("a session", || self.pids().into_iter().find(|pid| !before.contains(pid)));
        (guest, pid)
    }

    fn pids(&self) -> Vec<u32> {
        let sessions = self.ask::<SessionsBody>(ctl::Request::Sessions).sessions;
        sessions.iter().filter(|session| session.guest.is_some()).map(|session| session.worker_pid).collect()
    }

    fn events(&self, kind: EventKind) -> Vec<String> {
        let events = self.ask::<EventsBody>(ctl::Request::Events(0)).events;
        events.into_iter().filter(|event| event.kind == kind).map(|event| event.reason).collect()
    }

    fn until<T>(&self, what: &str, mut done: impl FnMut() -> Option<T>) -> T {
        let start = std::time::Instant::now();
        loop {
            if let Some(done) = done() {
                return done;
            }
            let (tenant, health) = (self.tenant(), self.health());
            assert!(start.elapsed() < SOON, "{what}: {tenant:?} {health:?}");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }

    fn until_standing(&self, standing: &str) -> HealthOf {
        self.until(standing, || self.health().filter(|health| health.standing == standing))
    }
}

/// What the tests look at.
#[derive(Debug)]
struct HealthOf {
    standing: String,
    reason: Option<String>,
    temperature: Option<u32>,
    last_xid: Option<u32>,
}

impl From<crate::api::HealthBody> for HealthOf {
    fn from(body: crate::api::HealthBody) -> Self {
        let (standing, reason, last_xid) = (body.standing, body.reason, body.last_xid);
        Self { standing, reason, temperature: body.temperature_celsius, last_xid }
    }
}

fn pending() -> CardHealth {
    CardHealth {
        rows: Some(RemappedRows { pending: true, ..RemappedRows::default() }),
        ..CardHealth::default()
    }
}

#[test]
fn operators_see_how_a_card_is() {
    let rig = Rig::new("");
    assert_eq!(rig.until_standing("good").temperature, Some(41));
    rig.cards.set_health(CARD, CardHealth { temperature_celsius: Some(90), ..CardHealth::default() });
    rig.until("the newest reading", || (rig.health()?.temperature == Some(90)).then_some(()));
}

#[test]
fn nobody_begins_on_a_card_that_waits_for_a_reset_and_who_runs_runs_on() {
    let rig = Rig::new("");
    let (_guest, pid) = rig.begin();
    rig.cards.set_health(CARD, pending());
    rig.until_standing("closed");
    let told = rig.refused();
    assert!(told.contains("bad rows of memory") && told.contains("operator"), "{told}");
    assert_eq!(rig.tenant().refused.unavailable, 1);
    assert_eq!(rig.pids(), [pid]);
    rig.cards.set_health(CARD, CardHealth::default());
    rig.until_standing("good");
    let _second = rig.begin();
    assert!(rig.events(EventKind::Card).iter().any(|reason| reason.contains("reset it")));
}

#[test]
fn a_card_that_is_lost_is_fenced() {
    let rig = Rig::new("");
    rig.cards.lose(CARD);
    let health = rig.until_standing("fenced");
    assert_eq!(health.reason.as_deref(), Some("the driver does not reach the card"));
    assert!(rig.refused().contains("does not reach"));
}

#[test]
fn a_worker_that_the_driver_blames_and_that_says_nothing_is_killed_and_is_one_strike() {
    // The first worker tells of its fault once it may.
    let fault = say(&FromWorker::Faulted { status: 700, text: "wild".into() });
    let rig = Rig::new(&format!(
        "if mkdir $dir/first 2>/dev/null; then while ! test -e $dir/go; do sleep 0.05; done; {fault} fi;"
    ));
    let (_honest, honest) = rig.begin();
    let (_other, other) = rig.begin();
    std::fs::write(rig.dir.join("go"), "").unwrap();
    rig.until("its strike", || (rig.tenant().quarantine.strikes == 1).then_some(()));
    rig.cards.xid(CARD, 31, Some(honest));
    rig.cards.xid(CARD, 31, Some(other));
    // Both had as long, so the first one was spared.
    rig.until("one is killed", || (rig.pids() == [honest]).then_some(()));
    rig.until("it is told", || (rig.tenant().workers_lost == 1).then_some(()));
    assert_eq!(rig.tenant().quarantine.strikes, 2, "one for each session");
    let kills = rig.events(EventKind::Kill);
    assert!(kills.len() == 1 && kills[0].starts_with("Xid 31"), "{kills:?}");
    assert_eq!(rig.events(EventKind::Xid).len(), 2);
}

#[test]
fn an_error_that_names_nobody_is_told_and_held_against_nobody() {
    let rig = Rig::new("");
    let (_guest, pid) = rig.begin();
    rig.cards.xid(CARD, 31, None);
    rig.cards.xid(CARD, 13, Some(u32::MAX));
    rig.cards.xid(CARD, 48, None);
    assert_eq!(rig.until_standing("reset-at-drain").last_xid, Some(48));
    assert_eq!((rig.pids(), rig.tenant().quarantine.strikes), (vec![pid], 0));
    assert_eq!(rig.events(EventKind::Xid).len(), 3);
}

#[test]
fn who_costs_everybody_the_gpu_is_quarantined_at_once() {
    let rig = Rig::new("");
    let (mut guest, pid) = rig.begin();
    rig.cards.xid(CARD, 109, Some(pid));
    assert_eq!(guest.read(&mut [0; 256]).unwrap(), 0, "its session ends");
    rig.until_standing("reset");
    rig.until("its quarantine", || (!rig.events(EventKind::Quarantine).is_empty()).then_some(()));
    assert_eq!(rig.tenant().quarantine.strikes, 1, "its end is no second one");
}

#[test]
fn a_program_that_is_gone_when_the_log_names_it_is_blamed_all_the_same() {
    let ended = say(&FromWorker::Ended { reason: "done".into() });
    let rig = Rig::new(&format!("while ! test -e $dir/go; do sleep 0.05; done; {ended} exit 0;"));
    let (_guest, pid) = rig.begin();
    std::fs::write(rig.dir.join("go"), "").unwrap();
    rig.until("its end", || (rig.tenant().sessions == 0).then_some(()));
    rig.cards.xid(CARD, 31, Some(pid));
    rig.cards.xid(CARD, 13, Some(pid));
    rig.until("both are told", || (rig.events(EventKind::Xid).len() == 2).then_some(()));
    assert_eq!(rig.tenant().quarantine.strikes, 1);
}

#[test]
fn a_worker_with_memory_that_it_was_not_lent_is_killed() {
    let rig = Rig::new("");
    let (mut guest, pid) = rig.begin();
    let holds = |bytes| ProcessUse { pid, memory_bytes: Some(bytes), sm: None };
    let other = ProcessUse { pid: u32::MAX, ..holds(u64::MAX) };
    rig.cards.set_processes(CARD, vec![other, holds((512 << 20) + 1)]);
    assert_eq!(guest.read(&mut [0; 256]).unwrap(), 0, "its session ends");
    rig.until("its strike", || (rig.tenant().quarantine.strikes > 0).then_some(()));
    rig.until("its end", || (rig.tenant().workers_lost == 1).then_some(()));
    assert_eq!(rig.tenant().quarantine.strikes, 1, "its end is no second one");
    let told = rig.events(EventKind::Audit);
    assert!(told.len() == 1 && told[0].contains("536870913 bytes"), "{told:?}");
}

#[test]
fn the_log_names_a_card_by_its_place_and_a_process_where_that_is_not_known() {
    let place = |bus| PciAddress { domain: 0, bus, device: 0 };
    let here = CardHealth { pci: Some(place(0x3b)), ..CardHealth::default() };
    let mut health = Health::new(&Config::from_toml(CONFIG).unwrap());
    assert_eq!(health.sits(place(0x3b)), None);
    health.cards[1].newest = Some((Instant::from_nanos(0), here));
    assert_eq!((health.sits(place(0x3b)), health.sits(place(0x3c))), (Some(1), None));
}

const CONFIG: &str = r#"
    host = { runtime_dir = "/r" }
    gpu = [{ name = "a", device = "soft" }, { name = "b", device = "soft" }]
    tenant = [{ name = "t", gpu = "a", memory_bytes = 1 }]
"#;
