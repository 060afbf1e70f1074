//! The command line tools and the demo, as a person or a script meets them.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::path::Path;
use std::process::{Command, Output};

use support::artifacts::shim;
use support::host::Folder;
use support::process::{Process, piped};
use support::wheels::compile_c;
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
fn programs_leave_what_they_called_if_they_are_asked_to() {
    let (host, folder) = (Host::with_alice(), Folder::new());
    let program = compile_c("driver.c", &folder);
    let left = folder.path().join("calls");
    std::fs::create_dir(&left).unwrap();
    let client = |arguments: &[&str]| {
        let mut command = Command::new(&artifacts().client);
        command.args(arguments).env("VGPU_SOCKET", host.socket("alice")).env("VGPU_CALLS", &left);
        command.env("VGPU_LIB_DIR", shim().parent().unwrap());
        Process::new(piped(&mut command).spawn().unwrap()).finish()
    };
    let saxpy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../vgpu-core/fixtures/saxpy.ptx");
    let ran = client(&["run", "--", program.to_str().unwrap(), saxpy.to_str().unwrap()]);
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let output = client(&["info", "--calls", "--json"]);
    let info: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let process = &info["processes"][0];
    assert_eq!(process["program"], "driver", "{info}");
    let calls = process["calls"].as_array().unwrap();
    let found = |name: &str| calls.iter().find(|call| call["function"] == name);
    assert!(found("cuInit").unwrap()["count"].as_u64().unwrap() > 0);
    assert!(found("cuMemAlloc_v2").is_some_and(|call| call["supported"] == true));
    let text = client(&["info", "--calls"]);
    assert!(String::from_utf8_lossy(&text.stdout).contains("(driver)"));
}

#[test]
fn a_guest_is_installed_to_and_back() {
    let (folder, shims) = (Folder::new(), shim().parent().unwrap());
    let install = |more: &[&str]| {
        let mut command = Command::new(&artifacts().client);
        command.args(["install", "--prefix"]).arg(folder.path()).args(more).env("VGPU_LIB_DIR", shims);
        Process::new(piped(&mut command).spawn().unwrap()).finish()
    };
    let links = folder.path().join("usr/local/lib/vgpu/driver");
    for _ in 0..2 {
        assert_eq!(install(&[]).status.code(), Some(0));
        assert_eq!(links.join("libcuda.so.1").canonicalize().unwrap(), shim().canonicalize().unwrap());
    }
    assert_eq!(install(&["--undo"]).status.code(), Some(0));
    assert!(!links.exists() && !folder.path().join("etc/ld.so.conf.d/00-vgpu.conf").exists());
    std::fs::create_dir_all(folder.path().join("usr/lib64")).unwrap();
    std::fs::write(folder.path().join("usr/lib64/libcuda.so.1"), "NVIDIA's").unwrap();
    let refused = install(&[]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--force") && !links.exists());
    assert_eq!(install(&["--force"]).status.code(), Some(0));
    // Our own shim under that name is no driver that would be hidden.
    std::fs::copy(shim(), folder.path().join("usr/lib64/libcuda.so.1")).unwrap();
    assert_eq!(install(&[]).status.code(), Some(0));
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
    command.args(["demo", "--json", "--device", "soft", "--seconds", "1", "--contended-seconds", "2"]);
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
        assert_eq!(guest["ungated_ms"], 0.0, "{guest}");
        // How far it may be off is the demo's own matter: it says `ok`.
        assert!(guest["share"].as_f64().unwrap() > 0.0, "{guest}");
    }
    let entitled: Vec<_> = guests.iter().map(|guest| guest["entitled"].as_f64().unwrap()).collect();
    assert_eq!(entitled, [0.5, 0.25, 0.125, 0.125]);
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
