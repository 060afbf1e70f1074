//! A host on a card: what holds without one, and, where there is one, the whole way of a kernel on it.
//!
//! The tests in `gpu` run on a machine without cargo too: `VGPU_BIN_DIR` names the folder of the binaries, and
//! `VGPU_FIXTURE_DIR` that of the fixtures. `VGPU_CARD` names another card than `cuda:0`.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::process::{Command, Output};

use support::artifacts;
use support::host::Folder;
use support::process::{Process, piped};

/// Runs the host's binary where the driver is not found, whether or not there is one.
fn without_driver(arguments: &[&str]) -> Output {
    let mut command = Command::new(&artifacts().host);
    // No card is shown: a driver that is there finds none.
    command.args(arguments).env("CUDA_VISIBLE_DEVICES", "");
    Process::new(piped(&mut command).spawn().unwrap()).finish()
}

#[test]
fn a_probe_of_what_is_not_there_says_why_in_one_line() {
    for card in ["cuda:0", "cuda:GPU-00112233-4455-6677-8899-aabbccddeeff"] {
        let output = without_driver(&["worker", "--probe", card]);
        assert_eq!(output.status.code(), Some(69));
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["device"], card);
        assert!(line["card"].is_null(), "{line}");
        assert!(["no-driver", "no-device", "driver"].contains(&line["cause"].as_str().unwrap()), "{line}");
        assert!(!line["error"].as_str().unwrap().is_empty());
    }
    let output = without_driver(&["worker", "--probe", "gpu7"]);
    assert!(!output.status.success() && output.stdout.is_empty());
}

#[test]
fn a_host_whose_card_is_not_there_does_not_start_and_says_why() {
    let folder = Folder::new();
    let config = folder.path().join("vgpu.toml");
    let run = folder.path().join("run");
    let text = format!(
        "[host]\nruntime_dir = {run:?}\nstate_dir = {run:?}\n[[gpu]]\nname = \"g\"\ndevice = \"cuda:0\"\n\
         [[tenant]]\nname = \"alice\"\ngpu = \"g\"\nmemory_bytes = 1048576\n"
    );
    std::fs::write(&config, text).unwrap();
    let output = without_driver(&["serve", "--config", config.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(69));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("cuda:0") && said.lines().any(|line| line.starts_with("vgpu-host:")), "{said}");
    assert!(!run.join("control.sock").exists(), "nothing is left behind");
}

#[test]
fn a_demo_without_a_card_runs_on_the_software_gpu_and_says_why() {
    let output =
        without_driver(&["demo", "--json", "--device", "auto", "--seconds", "1", "--contended-seconds", "2"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("software GPU (soft); no card: "), "{said}");
    let line: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&line["ok"], &line["device"]), (&true.into(), &"soft".into()), "{line}\n{said}");
    assert_eq!(output.status.code(), Some(0));
}

mod gpu {
    use std::process::Command;

    use rustix::process::Signal;
    use support::process::{Process, is_alive, piped};
    use support::{Host, HostBuilder, artifacts, eventually};

    fn card() -> String {
        std::env::var("VGPU_CARD").unwrap_or_else(|_| "cuda:0".into())
    }

    fn host(tenants: &[&str]) -> Host {
        let builder = HostBuilder::default().card(&card());
        tenants.iter().fold(builder, |host, name| host.tenant(name, 512 << 20, "")).start()
    }

    /// The last line that a guest printed, and all it said for messages.
    #[track_caller]
    fn outcome(guest: Process) -> (String, String) {
        let output = guest.finish();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let last = text.lines().last().unwrap_or_default().to_owned();
        (last, format!("{text}{}", String::from_utf8_lossy(&output.stderr)))
    }

    /// All sessions end by themselves, and all memory comes back.
    #[track_caller]
    fn ends_well(host: &Host) {
        host.wait_until_empty();
        let output = host.ctl(&["tenants", "--json"]);
        let body: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        for tenant in body["tenants"].as_array().unwrap() {
            assert_eq!(tenant["device"], card());
            assert_eq!(tenant["memory_lent_bytes"], 0, "{tenant}");
            assert_eq!(tenant["workers_lost"], 0, "{tenant}\n{}", host.log());
        }
    }

    #[track_caller]
    fn is_fine(host: &Host, guest: Process) {
        let (last, said) = outcome(guest);
        assert_eq!(last, "ok", "{said}\n{}", host.log());
    }

    #[test]
    #[ignore = "needs an NVIDIA GPU"]
    fn a_guest_adds_vectors_and_leaves_nothing() {
        let host = host(&["alice"]);
        is_fine(&host, host.guest("alice", &["vector-add", "20"]));
        ends_well(&host);
        assert!(host.log().contains("card found"), "{}", host.log());
    }

    #[test]
    #[ignore = "needs an NVIDIA GPU"]
    fn the_probe_tells_the_card_and_its_uuid_names_it_too() {
        let probe = |name: &str| {
            let mut command = Command::new(&artifacts().host);
            command.args(["worker", "--probe", name]);
            let output = Process::new(piped(&mut command).spawn().unwrap()).finish();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
            serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()["card"].clone()
        };
        let found = probe(&card());
        assert!(found["memory_bytes"].as_u64().unwrap() > 1 << 30, "{found}");
        assert_eq!(probe(&format!("cuda:{}", found["uuid"].as_str().unwrap())), found);
    }

    #[test]
    #[ignore = "needs an NVIDIA GPU"]
    fn a_wild_access_is_told_and_the_neighbour_goes_on() {
        let host = host(&["alice", "bob"]);
        let mut neighbour = host.guest("bob", &["vector-add-until-end"]);
        neighbour.until("running");
        let (last, said) = outcome(host.guest("alice", &["wild"]));
        assert!(said.contains("sticky 700\n"), "{said}\n{}", host.log());
        assert_eq!(last, "error 700 synchronise", "{said}");
        assert!(neighbour.is_running(), "the neighbour ended");
        drop(neighbour.child().stdin.take());
        is_fine(&host, neighbour);
        ends_well(&host);
    }

    #[test]
    #[ignore = "needs an NVIDIA GPU"]
    fn two_tenants_at_once() {
        let host = host(&["alice", "bob"]);
        let guests: Vec<_> = ["alice", "bob", "alice", "bob"]
            .iter()
            .map(|name| host.guest(name, &["vector-add", "50"]))
            .collect();
        for guest in guests {
            is_fine(&host, guest);
        }
        ends_well(&host);
    }

    #[test]
    #[ignore = "needs an NVIDIA GPU"]
    fn the_quota_is_the_tenants_over_all_its_sessions() {
        let host = HostBuilder::default().card(&card()).tenant("alice", 128 << 20, "").start();
        let blocks = |guest: Process| {
            let (last, said) = outcome(guest);
            assert_eq!(last, "ok", "{said}\n{}", host.log());
            said.lines().find(|line| line.starts_with("blocks")).unwrap_or_default().to_owned()
        };
        assert_eq!(blocks(host.guest("alice", &["allocate-all"])), "blocks 8", "128 MiB in blocks of 16 MiB");
        let mut holder = host.guest("alice", &["hold"]);
        holder.until("running");
        assert_eq!(blocks(host.guest("alice", &["allocate-all"])), "blocks 4", "a step of 64 MiB is held");
        drop(holder.child().stdin.take());
        is_fine(&host, holder);
        ends_well(&host);
    }

    #[test]
    #[ignore = "needs an NVIDIA GPU"]
    fn a_guest_killed_in_an_endless_kernel_takes_its_worker_along() {
        let host = host(&["alice", "bob"]);
        let mut guest = host.guest("alice", &["endless"]);
        guest.until("running");
        let worker = host.sessions()[0]["worker_pid"].as_u64().unwrap().try_into().unwrap();
        guest.signal(Signal::KILL);
        guest.wait();
        eventually("its worker ends, endless kernel or not", || (!is_alive(worker)).then_some(()));
        host.wait_until_empty();
        is_fine(&host, host.guest("bob", &["vector-add", "3"]));
        ends_well(&host);
    }

    #[test]
    #[ignore = "needs an NVIDIA GPU"]
    fn an_operator_closes_a_session_in_an_endless_kernel() {
        let host = host(&["alice"]);
        let mut guest = host.guest("alice", &["endless"]);
        guest.until("running");
        let id = host.sessions()[0]["id"].to_string();
        assert!(host.ctl(&["close", &id]).status.success());
        let (last, said) = outcome(guest);
        assert_eq!(last, "error 709 synchronise", "{said}");
        ends_well(&host);
    }

    #[test]
    #[ignore = "needs an NVIDIA GPU"]
    fn what_kernels_print_is_with_the_guest_when_it_has_synchronised() {
        let host = host(&["alice"]);
        let (last, said) = outcome(host.guest("alice", &["print"]));
        assert_eq!(last, "error 710 assert", "{said}\n{}", host.log());
        let (before, after) = said.split_once("printed\n").unwrap();
        assert_eq!(before.matches("thread ").count(), 4, "{said}");
        assert!(after.contains("Assertion"), "{said}");
        ends_well(&host);
    }

    #[test]
    #[ignore = "needs an NVIDIA GPU"]
    fn a_guest_finds_a_spare_and_one_that_brings_variables_gets_its_own() {
        let host = host(&["alice"]);
        let ready = || eventually("a spare is ready", || (host.device()["spares_ready"] == 1).then_some(()));
        ready();
        is_fine(&host, host.guest("alice", &["vector-add", "3"]));
        assert_eq!(host.device()["spares_taken"], 1);
        ready();
        let variables = [("CUDA_DEVICE_MAX_CONNECTIONS", "1")];
        let mut guest = host.guest_with("alice", &["vector-add-until-end"], &variables);
        guest.until("running");
        let worker = host.sessions()[0]["worker_pid"].to_string();
        let environment = std::fs::read(format!("/proc/{worker}/environ")).unwrap();
        assert!(String::from_utf8_lossy(&environment).contains("CUDA_DEVICE_MAX_CONNECTIONS=1\0"));
        drop(guest.child().stdin.take());
        is_fine(&host, guest);
        assert_eq!(host.device()["spares_lost"], 0, "{}", host.log());
        ends_well(&host);
    }

    #[test]
    #[ignore = "needs an NVIDIA GPU"]
    fn the_demo_is_right_by_itself_and_on_order() {
        for device in [card(), "auto".into()] {
            let mut command = Command::new(&artifacts().host);
            command.args([
                "demo",
                "--json",
                "--seconds",
                "1",
                "--contended-seconds",
                "2",
                "--device",
                &device,
            ]);
            let output = Process::new(piped(&mut command).spawn().unwrap()).finish();
            let said = String::from_utf8_lossy(&output.stderr);
            let line: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
            assert_eq!(line["ok"], true, "{line}\n{said}");
            assert_ne!(line["device"], "soft", "{line}\n{said}");
        }
    }
}
