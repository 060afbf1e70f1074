//! What operators change while guests run.
#![allow(clippy::unwrap_used, reason = "a test may")]

use rustix::process::Signal;
use support::{HostBuilder, eventually};

#[test]
fn a_hangup_reads_the_configuration_again_and_a_broken_one_changes_nothing() {
    let host = HostBuilder::default().tenant("alice", 64 << 20, "").start();
    let mut guest = host.guest("alice", &["vector-add-until-end"]);
    guest.until("running");
    let text = std::fs::read_to_string(host.config()).unwrap();
    let weight = || host.tenant("alice")["settings"]["weight"].as_u64().unwrap();
    let is_told = |kind: &str| host.events().iter().any(|event| event["kind"] == kind);
    std::fs::write(host.config(), format!("{text}\nwheight = 7\n")).unwrap();
    host.daemon.signal(Signal::HUP);
    eventually("the broken configuration is told", || is_told("change_refused").then_some(()));
    assert_eq!(weight(), 100);
    std::fs::write(host.config(), format!("{text}\nweight = 7\n")).unwrap();
    host.daemon.signal(Signal::HUP);
    eventually("the new weight holds", || (weight() == 7).then_some(()));
    assert!(is_told("change"));
    drop(guest.child().stdin.take());
    let output = guest.finish();
    assert!(String::from_utf8_lossy(&output.stdout).ends_with("ok\n"), "its guest noticed nothing");
}

#[test]
fn what_ctl_sets_is_there_after_the_daemon_was_killed() {
    let mut host = HostBuilder::default().tenant("alice", 64 << 20, "").start();
    let output = host.ctl(&["set", "alice", "weight=7", "memory_bytes=1048576"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "changed: alice\n");
    let refused = host.ctl(&["set", "alice", "weight=0"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("weight = 0"), "{refused:?}");
    let usage = host.ctl(&["set", "alice", "wheight=1"]);
    assert!(String::from_utf8_lossy(&usage.stderr).contains("weight, class"), "{usage:?}");
    host.restart();
    let alice = host.tenant("alice");
    assert_eq!((&alice["settings"]["weight"], &alice["memory_bytes"]), (&7.into(), &1_048_576.into()));
    let output = host.ctl(&["reset", "alice"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(host.tenant("alice")["settings"]["weight"], 100);
}
