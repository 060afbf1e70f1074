//! The command line tools and the demo, as a person or a script meets them.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::path::Path;
use std::process::{Command, Output};

use support::process::{Process, piped};
use support::{Host, artifacts};

fn run(binary: &Path, arguments: &[&str], socket: &Path) -> Output {
    let mut command = Command::new(binary);
    command.args(arguments).env("VGPU_SOCKET", socket);
    Process::new(piped(&mut command).spawn().unwrap()).finish()
}

#[test]
fn info_tells_the_device_and_the_round_trip() {
    let host = Host::with_alice();
    let output = run(&artifacts().client, &["info", "--json"], &host.socket("alice"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let info: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(info.to_string().contains("compute"), "{info}");
    let text = run(&artifacts().client, &["info", "--calls"], &host.socket("alice"));
    assert!(String::from_utf8_lossy(&text.stdout).contains("cuLaunchKernel"));
}

#[test]
fn without_a_host_the_tools_say_so_and_exit_69() {
    let output = run(&artifacts().client, &["info"], Path::new("/nonexistent/vgpu.sock"));
    assert_eq!(output.status.code(), Some(69));
    assert_eq!(
        String::from_utf8_lossy(&output.stderr).trim().lines().count(),
        1,
        "one line: cause and remedy"
    );
    let mut command = Command::new(&artifacts().host);
    command.args(["ctl", "--socket", "/nonexistent/control.sock", "tenants"]);
    let output = Process::new(piped(&mut command).spawn().unwrap()).finish();
    assert_eq!(output.status.code(), Some(69));
}

#[test]
fn run_passes_the_programs_exit_status_through() {
    let host = Host::with_alice();
    let output = run(&artifacts().client, &["run", "--", "sh", "-c", "exit 7"], &host.socket("alice"));
    assert_eq!(output.status.code(), Some(7), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn ctl_prints_tables_for_people_and_bodies_for_scripts() {
    let host = Host::with_alice();
    let table = host.ctl(&["tenants"]);
    assert!(String::from_utf8_lossy(&table.stdout).contains("alice"));
    let body: serde_json::Value = serde_json::from_slice(&host.ctl(&["tenants", "--json"]).stdout).unwrap();
    assert_eq!(body["tenants"][0]["name"], "alice");
    assert_eq!(body["tenants"][0]["memory_bytes"], 512 << 20);
}

#[test]
fn the_demo_prints_one_line_of_json_and_is_right() {
    let mut command = Command::new(&artifacts().host);
    command.args(["demo", "--json", "--device", "soft", "--seconds", "1"]);
    let output = Process::new(piped(&mut command).spawn().unwrap()).finish();
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(text.lines().count(), 1, "{text}");
    let line: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(line["schema"], 1);
    assert_eq!(line["ok"], true, "{line}\n{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(line["device"], "soft");
    let guests = line["guests"].as_array().unwrap();
    assert_eq!(guests.len(), 4);
    for guest in guests {
        assert_eq!(guest["verified"], true, "{guest}");
        assert!(guest["kernels"].as_u64().unwrap() > 0);
        for figure in ["launches_per_s", "launch_us_p50", "launch_us_p99", "sync_us_p50", "sync_us_p99"] {
            assert!(guest[figure].as_f64().unwrap() > 0.0, "{figure}: {guest}");
        }
    }
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn a_demo_that_cannot_run_says_so_in_json_and_exits_2() {
    let mut command = Command::new(&artifacts().host);
    command.args(["demo", "--json", "--device", "cuda:99"]);
    let output = Process::new(piped(&mut command).spawn().unwrap()).finish();
    let line: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(line["ok"], false);
    assert!(!line["error"].as_str().unwrap().is_empty());
    assert_eq!(output.status.code(), Some(2));
}
