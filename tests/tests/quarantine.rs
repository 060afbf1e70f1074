//! Tenants whose work fails are held back and put into quarantine, by rules and by hand; their neighbours do not notice.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::process::{Command, Output};

use rustix::process::{Pid, Signal};
use serde_json::Value;
use support::process::{Process, piped};
use support::{Host, HostBuilder, artifacts, eventually};

/// A host with two tenants and these rules.
fn host(rules: &str) -> Host {
    let builder = HostBuilder::default().host(&format!("quarantine = {{ {rules} }}"));
    builder.tenant("alice", 256 << 20, "").tenant("bob", 256 << 20, "").start()
}

/// Runs alice's guest to its end, and waits until the host has seen that end.
#[track_caller]
fn fault(host: &Host) {
    let output = host.guest("alice", &["wild"]).finish();
    assert_eq!(text(&output.stdout).lines().next(), Some("running"), "{output:?}");
    assert!(!output.status.success());
    eventually("its session ends", || (host.tenant("alice")["sessions"] == 0).then_some(()));
}

/// Lets a guest that waits for its standard input go on to its end.
#[track_caller]
fn let_go(mut guest: Process) -> Output {
    drop(guest.child().stdin.take());
    guest.finish()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What a guest is told that may not begin a session: the error, the status, and one line with cause and remedy.
#[track_caller]
fn is_refused(output: &Output, causes: &[&str]) {
    assert_eq!(text(&output.stdout), "error 46 connect\n", "{output:?}");
    assert_eq!(output.status.code(), Some(75));
    let line = text(&output.stderr);
    assert_eq!(line.lines().count(), 1, "{line}");
    for cause in causes {
        assert!(line.contains(cause), "no {cause:?} in: {line}");
    }
}

#[track_caller]
fn works(host: &Host, tenant: &str) {
    let output = host.guest(tenant, &["vector-add", "1"]).finish();
    assert!(output.status.success(), "{output:?}");
}

/// Alice's events, without the kinds that this is not about.
fn kinds(host: &Host, without: &[&str]) -> Vec<String> {
    let events = host.events().into_iter().filter(|event| event["tenant"] == "alice");
    let kinds = events.map(|event| event["kind"].as_str().unwrap().to_owned());
    kinds.filter(|kind| !without.contains(&kind.as_str())).collect()
}

fn last(host: &Host, kind: &str) -> Value {
    let mut events = host.events().into_iter().rev();
    events.find(|event| event["kind"] == kind).unwrap_or_else(|| panic!("no event {kind}"))
}

#[track_caller]
fn ctl(host: &Host, arguments: &[&str]) -> String {
    let output = host.ctl(arguments);
    assert!(output.status.success(), "{output:?}");
    text(&output.stdout)
}

#[test]
fn three_faults_are_a_quarantine_and_nobody_else_notices() {
    let host = host("back_off_ms = 0");
    let mut neighbour = host.guest("bob", &["vector-add-until-end"]);
    neighbour.until("running");
    let mut holder = host.guest("alice", &["hold"]);
    holder.until("running");
    for strikes in 1..=3 {
        let output = host.guest("alice", &["wild"]).finish();
        assert!(!output.status.success());
        eventually("it is a strike", || {
            (host.tenant("alice")["quarantine"]["strikes"] == strikes).then_some(())
        });
    }
    let output = let_go(holder);
    assert_eq!(text(&output.stdout), "error 46 ping\n", "its other sessions end: {output:?}");
    assert_eq!(output.status.code(), Some(75));
    is_refused(
        &host.guest("alice", &["hold"]).finish(),
        &["quarantined for", "CUDA_ERROR_ILLEGAL_ADDRESS", "ask the host's operator"],
    );
    let alice = host.tenant("alice");
    assert_eq!(alice["quarantine"]["standing"], "quarantined", "{alice}");
    let left_ms = alice["quarantine"]["left_ms"].as_u64().unwrap();
    assert!(left_ms <= 30_000, "{left_ms}");
    assert_eq!((&alice["refused"]["quarantined"], &alice["workers_lost"]), (&1.into(), &0.into()), "{alice}");
    eventually("her memory is freed", || {
        let alice = host.tenant("alice");
        (alice["sessions"] == 0 && alice["memory_lent_bytes"] == 0).then_some(())
    });
    let steps = kinds(&host, &["refused", "back_off_over"]);
    assert_eq!(steps, ["strike", "strike", "strike", "quarantine"]);
    let strike = last(&host, "strike");
    assert_eq!((&strike["fields"]["fault"], &strike["fields"]["strikes"]), (&"kernel".into(), &3.into()));
    assert!(strike["session"].is_u64() && strike["reason"].as_str().unwrap().contains("700"), "{strike}");
    assert_eq!(last(&host, "quarantine")["fields"]["by"], "faults");

    assert!(neighbour.is_running());
    assert!(text(&let_go(neighbour).stdout).ends_with("ok\n"));
    works(&host, "bob");

    assert!(ctl(&host, &["release", "alice"]).contains("alice"));
    works(&host, "alice");
    assert_eq!(last(&host, "release")["fields"]["by"], "operator");
    assert_eq!(host.tenant("alice")["quarantine"]["strikes"], 0);
}

#[test]
fn the_first_fault_holds_new_sessions_back() {
    let host = host("back_off_ms = 600000");
    fault(&host);
    is_refused(&host.guest("alice", &["hold"]).finish(), &["held back for", "700", "try again"]);
    assert_eq!(host.tenant("alice")["quarantine"]["standing"], "back_off");
    assert_eq!(last(&host, "strike")["fields"]["back_off_ms"], 600_000);
    works(&host, "bob");
    ctl(&host, &["release", "alice"]);
    works(&host, "alice");
}

#[test]
fn timers_end_back_off_and_quarantine() {
    let host = host("back_off_ms = 100, strikes_short = 2, min_ms = 100");
    let good = |what| {
        eventually(what, || (host.tenant("alice")["quarantine"]["standing"] == "good").then_some(()));
    };
    fault(&host);
    good("the back-off ends");
    fault(&host);
    good("the quarantine ends");
    works(&host, "alice");
    assert_eq!(kinds(&host, &[]), ["strike", "back_off_over", "strike", "quarantine", "release"]);
    assert_eq!(last(&host, "release")["fields"]["by"], "timer");
    assert_eq!(last(&host, "quarantine")["fields"]["lasts_ms"], 100);
}

#[test]
fn an_operators_quarantine_ends_sessions_and_holds_until_released() {
    let host = host("");
    let mut holder = host.guest("alice", &["hold"]);
    holder.until("running");
    assert!(ctl(&host, &["quarantine", "alice"]).contains("alice"));
    let output = let_go(holder);
    assert_eq!((text(&output.stdout).as_str(), output.status.code()), ("error 46 ping\n", Some(75)));
    assert!(text(&output.stderr).contains("an operator put the tenant into quarantine"), "{output:?}");
    is_refused(&host.guest("alice", &["hold"]).finish(), &["operator", "release"]);
    let mut tool = Command::new(&artifacts().client);
    tool.arg("info").env("VGPU_SOCKET", host.socket("alice"));
    let output = Process::new(piped(&mut tool).spawn().unwrap()).finish();
    assert_eq!((output.status.code(), text(&output.stderr).lines().count()), (Some(75), 1), "{output:?}");
    let alice = host.tenant("alice");
    assert_eq!(alice["quarantine"]["standing"], "quarantined_by_hand");
    assert_eq!((&alice["quarantine"]["left_ms"], &alice["workers_lost"]), (&Value::Null, &0.into()));
    assert!(ctl(&host, &["tenants"]).contains("quarantined by hand"));
    works(&host, "bob");
    ctl(&host, &["quarantine", "alice"]);
    ctl(&host, &["release", "alice"]);
    works(&host, "alice");
    assert_eq!(kinds(&host, &["refused"]), ["quarantine", "quarantine", "release"]);
    for nobody in ["carol", "Alice", "a/b", ""] {
        let output = host.ctl(&["quarantine", nobody]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(text(&output.stderr).contains("there is no tenant"), "{output:?}");
    }
}

#[test]
fn a_lost_worker_is_a_strike_and_one_that_was_told_to_end_is_none() {
    let host = host("back_off_ms = 0");
    let hold = |host: &Host| {
        let mut guest = host.guest("alice", &["hold"]);
        guest.until("running");
        let session = host.sessions().swap_remove(0);
        (guest, session)
    };
    let (guest, session) = hold(&host);
    let signal = |session: &Value, signal| {
        let pid = session["worker_pid"].as_u64().and_then(|pid| Pid::from_raw(pid.try_into().ok()?)).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    };
    signal(&session, Signal::ABORT);
    let_go(guest);
    eventually("it is a strike", || (host.tenant("alice")["quarantine"]["strikes"] == 1).then_some(()));
    assert_eq!(kinds(&host, &["back_off_over"]), ["worker_lost", "strike"]);
    assert_eq!(last(&host, "strike")["fields"]["fault"], "worker");
    assert_eq!(last(&host, "worker_lost")["session"], session["id"]);
    // One that somebody else killed, as a machine without memory does, is nobody's fault.
    let (guest, session) = hold(&host);
    signal(&session, Signal::KILL);
    let_go(guest);
    eventually("it is told", || (kinds(&host, &["back_off_over"]).len() == 4).then_some(()));
    assert_eq!(kinds(&host, &["back_off_over"]), ["worker_lost", "strike", "worker_lost", "fault"]);
    assert_eq!(host.tenant("alice")["quarantine"]["strikes"], 1);
    let (guest, session) = hold(&host);
    ctl(&host, &["close", &session["id"].to_string()]);
    let_go(guest);
    host.wait_until_empty();
    let all = ["worker_lost", "strike", "worker_lost", "fault", "close"];
    assert_eq!(kinds(&host, &["back_off_over"]), all);
}

#[test]
fn what_was_answered_outlasts_a_killed_daemon_and_so_do_strikes() {
    let mut host = host("back_off_ms = 600000");
    fault(&host);
    ctl(&host, &["quarantine", "bob"]);
    host.restart();
    let [alice, bob] = ["alice", "bob"].map(|name| host.tenant(name)["quarantine"].clone());
    assert_eq!((&alice["standing"], &alice["strikes"]), (&"back_off".into(), &1.into()), "{alice}");
    is_refused(&host.guest("alice", &["hold"]).finish(), &["held back for", "700"]);
    assert_eq!(bob["standing"], "quarantined_by_hand");
    assert!(!host.guest("bob", &["hold"]).finish().status.success());
    for name in ["alice", "bob"] {
        ctl(&host, &["release", name]);
    }
    host.restart();
    works(&host, "alice");
    works(&host, "bob");
}

#[test]
fn what_cannot_be_kept_is_told_and_an_order_is_not_obeyed() {
    let host = host("back_off_ms = 600000");
    // In the way of the file that is to be put into the old one's place.
    let in_the_way = host.state_dir().join("state.json.new");
    std::fs::create_dir(&in_the_way).unwrap();
    let output = host.ctl(&["quarantine", "bob"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(text(&output.stderr).contains("nothing was changed"), "{output:?}");
    assert_eq!(last(&host, "not_saved")["tenant"], "bob");
    works(&host, "bob");
    fault(&host);
    assert_eq!(kinds(&host, &[]), ["strike", "not_saved"]);
    is_refused(&host.guest("alice", &["hold"]).finish(), &["held back for"]);
    std::fs::remove_dir(&in_the_way).unwrap();
    ctl(&host, &["quarantine", "bob"]);
    assert!(!host.guest("bob", &["hold"]).finish().status.success());
}

#[test]
fn events_are_followed_as_they_come() {
    let host = host("");
    let mut command = Command::new(&artifacts().host);
    command.arg("ctl").arg("--socket").arg(host.control_socket()).args(["events", "--follow", "--json"]);
    let mut follower = Process::new(piped(&mut command).spawn().unwrap());
    let first: Value = serde_json::from_str(&follower.until("{")).unwrap();
    assert_eq!((&first["sequence"], &first["kind"]), (&1.into(), &"phase".into()));
    ctl(&host, &["quarantine", "bob"]);
    let second: Value = serde_json::from_str(&follower.until("{")).unwrap();
    assert_eq!((&second["sequence"], &second["kind"]), (&2.into(), &"quarantine".into()));
    let lines = ctl(&host, &["events", "--after", "1"]);
    assert_eq!(lines.lines().count(), 1, "{lines}");
    assert!(
        lines.contains("quarantine") && lines.contains("bob") && lines.contains("by=operator"),
        "{lines}"
    );
}
