//! The worker's sandbox: each thing that it denies is tried in it, and sessions run in it.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::io::Read as _;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};

use support::host::Folder;
use support::process::{Process, piped};
use support::{Host, HostBuilder, artifacts, eventually};

/// What each process needs, and must be able to do in any sandbox.
const NEEDED: [&str; 3] = ["own-thread", "own-signal", "own-memory"];

/// What none may do, whatever its device.
const DENIED: [&str; 20] = [
    "old-thread",
    "read-file",
    "write-file",
    "make-file",
    "change-mode",
    "connect-unix",
    "connect-inet",
    "listen-inet",
    "udp-inet",
    "datagram-unix",
    "signal",
    "pidfd",
    "read-memory",
    "read-proc-mem",
    "read-environment",
    "trace",
    "unshare",
    "mount",
    "fork",
    "exec",
];

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The levels that this user can hold.
fn levels() -> &'static [&'static str] {
    if is_root() { &["basic", "full"] } else { &["basic"] }
}

fn sandboxed(level: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vgpu-sandboxed"));
    command.args(["--level", level]);
    command
}

/// A process with a secret, at that level, and where the secret lies.
struct Holder {
    process: Process,
    address: String,
    uid: String,
}

impl Holder {
    fn new(level: &str) -> Self {
        let mut command = sandboxed(level);
        let child = piped(command.arg("hold")).stdin(Stdio::piped()).spawn().unwrap();
        let mut process = Process::new(child);
        let uid = process.until("level ").split(' ').next_back().unwrap().trim().to_owned();
        let address = process.until("holding ").split(' ').next_back().unwrap().trim().to_owned();
        Self { process, address, uid }
    }
}

/// Lets an attacker try everything on a holder; the outcome of each try.
#[track_caller]
fn outcomes(mut attacker: Command, holder: &Holder) -> BTreeMap<String, String> {
    let folder = Folder::new();
    let (file, socket) = (folder.path().join("file"), folder.path().join("socket"));
    std::fs::write(&file, "").unwrap();
    let unix = UnixListener::bind(&socket).unwrap();
    let inet = TcpListener::bind("0.0.0.0:0").unwrap();
    // Whoever may not do it here may not because of the sandbox.
    for (path, mode) in [(folder.path(), 0o777), (&file, 0o666), (&socket, 0o777)] {
        std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }
    attacker.arg("try").args(["--pid", &holder.process.pid().to_string(), "--address", &holder.address]);
    attacker.arg("--file").arg(&file).arg("--socket").arg(&socket);
    attacker.args(["--port", &inet.local_addr().unwrap().port().to_string()]);
    let output = Process::new(piped(&mut attacker).spawn().unwrap()).finish();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(
        said.contains("exec "),
        "it did not come to its end: {said}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    drop((unix, inet));
    said.lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(try_, how)| (try_.into(), how.into()))
        .collect()
}

fn of<'a>(outcomes: &'a BTreeMap<String, String>, name: &str) -> &'a str {
    outcomes.get(name).map_or("not tried", String::as_str)
}

/// A denied try fails for want of a right, and for no other reason.
#[track_caller]
fn is_denied(outcomes: &BTreeMap<String, String>, name: &str, whose: &str) {
    assert!(["EPERM", "EACCES"].contains(&of(outcomes, name)), "{whose}: {name}: {}", of(outcomes, name));
}

#[test]
fn without_a_sandbox_everything_can_be_done() {
    let outcomes = outcomes(sandboxed("off"), &Holder::new("off"));
    for name in NEEDED.iter().chain(&DENIED) {
        // A system may keep these from users other than root.
        let for_root = ["mount", "unshare", "trace", "read-memory", "read-proc-mem"].contains(name);
        // Without a network nobody is reached, but that is tried.
        let done = ["done", if *name == "connect-inet" { "ENETUNREACH" } else { "done" }];
        assert!(
            done.contains(&of(&outcomes, name)) || for_root && !is_root(),
            "{name}: {}",
            of(&outcomes, name)
        );
    }
}

#[test]
fn in_a_sandbox_each_thing_is_denied() {
    for level in levels() {
        for purpose in ["software", "card"] {
            // The neighbour is not confined: what is denied is so by the attacker's own sandbox.
            let holder = Holder::new("off");
            let mut attacker = sandboxed(level);
            attacker.args(["--purpose", purpose]);
            let outcomes = outcomes(attacker, &holder);
            let whose = format!("{level}, {purpose}");
            for name in NEEDED {
                assert_eq!(of(&outcomes, name), "done", "{whose}: {name}");
            }
            for name in DENIED {
                is_denied(&outcomes, name, &whose);
            }
            // A driver reads what the system says of its process; the software GPU opens nothing at all.
            match purpose {
                "card" => assert_eq!(of(&outcomes, "read-maps"), "done", "{whose}"),
                _ => is_denied(&outcomes, "read-maps", &whose),
            }
        }
    }
}

/// A worker on a card whose guest brings variables executes itself again, with its files closed already.
#[test]
fn a_program_can_be_executed_again_before_its_calls_are_closed() {
    for level in levels() {
        let mut attacker = sandboxed(level);
        attacker.args(["--purpose", "card", "--again"]);
        let outcomes = outcomes(attacker, &Holder::new("off"));
        for name in DENIED {
            is_denied(&outcomes, name, level);
        }
    }
}

/// The memory of a session is closed to others of the same user who are in no sandbox, such as a guest on the host itself.
#[test]
fn a_confined_process_is_closed_to_its_own_user() {
    let level = levels().last().unwrap();
    let holder = Holder::new(level);
    let mut attacker = sandboxed("off");
    if is_root() {
        attacker.args(["--uid", &holder.uid]);
    }
    let outcomes = outcomes(attacker, &holder);
    assert_eq!(of(&outcomes, "signal"), "done", "it is the same user");
    for name in ["read-memory", "read-proc-mem", "read-environment", "trace"] {
        is_denied(&outcomes, name, level);
    }
}

#[test]
fn each_worker_is_a_user_of_its_own_where_the_level_says_so() {
    for level in levels() {
        let (one, other) = (Holder::new(level), Holder::new(level));
        assert_eq!(one.uid == other.uid, *level == "basic", "{level}: {} and {}", one.uid, other.uid);
    }
}

/// The fields of a process's status, which everybody may read.
fn status(pid: u64) -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let fields = text.lines().filter_map(|line| line.split_once(':'));
    fields.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect()
}

fn host(sandbox: &str, spares: u32) -> Host {
    let line = format!("sandbox = {sandbox:?}");
    HostBuilder::default().host(&line).spares(spares).tenant("alice", 512 << 20, "").start()
}

#[track_caller]
fn is_confined(level: &str, pid: u64) {
    let status = status(pid);
    assert_eq!((&*status["Seccomp"], &*status["NoNewPrivs"]), ("2", "1"), "{level}");
    assert!(["CapEff", "CapPrm", "CapInh"].iter().all(|set| status[*set] == "0000000000000000"), "{level}");
    let host = rustix::process::geteuid().as_raw();
    let uid = if level == "full" { 1_900_000_000 + pid } else { host.into() };
    assert_eq!(status["Uid"], vec![uid.to_string(); 4].join("\t"), "{level}");
}

#[track_caller]
fn ends_well(mut guest: Process, host: &Host, level: &str) {
    drop(guest.child().stdin.take());
    let output = guest.finish();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        said.ends_with("ok\n"),
        "{level}: {said}{}\n{}",
        String::from_utf8_lossy(&output.stderr),
        host.log()
    );
}

#[test]
fn a_session_runs_in_each_level_also_with_a_spare_and_variables() {
    for level in levels() {
        for (spares, variables) in [
            (0, &[][..]),
            (1, &[]),
            (0, &[("CUDA_SCALE_LAUNCH_QUEUES", "2x")]),
            (1, &[("CUDA_SCALE_LAUNCH_QUEUES", "2x")]),
        ] {
            let host = host(level, spares);
            if spares > 0 {
                eventually("a spare is ready", || (host.device()["spares_ready"] == 1).then_some(()));
            }
            let mut guest = host.guest_with("alice", &["vector-add-until-end"], variables);
            guest.until("running");
            is_confined(level, host.sessions()[0]["worker_pid"].as_u64().unwrap());
            ends_well(guest, &host, level);
        }
    }
}

#[test]
fn the_host_says_the_level_and_what_is_missing_in_it() {
    let auto = host("auto", 0).log();
    let level = if is_root() { "full" } else { "basic" };
    assert!(auto.contains(&format!("level={level}")), "{auto}");
    let off = host("off", 0);
    assert!(off.log().contains("level=off") && off.log().contains("not sandboxed"), "{}", off.log());
    let basic = host("basic", 0).log();
    assert!(basic.contains("level=basic") && !basic.contains("missing="), "{basic}");
}

#[test]
fn a_card_without_a_sandbox_is_refused() {
    let folder = Folder::new();
    let config = folder.path().join("vgpu.toml");
    let text = format!(
        "[host]\nruntime_dir = {:?}\nsandbox = \"off\"\n[[gpu]]\nname = \"g\"\ndevice = \"cuda:0\"\n\
         [[tenant]]\nname = \"alice\"\ngpu = \"g\"\nmemory_bytes = 1048576\n",
        folder.path().join("run")
    );
    std::fs::write(&config, text).unwrap();
    let mut serve = Command::new(&artifacts().host);
    serve.args(["serve", "--config"]).arg(&config);
    let mut child = piped(&mut serve).spawn().unwrap();
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    let status = Process::new(child).wait();
    assert_eq!(status.code(), Some(78), "{said}");
    assert!(said.contains("software GPU only") && said.contains("cuda:0"), "{said}");
}

mod gpu {
    use super::*;

    /// The driver compiles a kernel, maps memory and ends in each level, and its worker is confined as any other.
    #[test]
    #[ignore = "needs an NVIDIA GPU"]
    fn a_session_on_a_card_runs_in_each_level() {
        let card = std::env::var("VGPU_CARD").unwrap_or_else(|_| "cuda:0".into());
        for level in levels() {
            let builder = HostBuilder::default().card(&card).host(&format!("sandbox = {level:?}"));
            let host = builder.tenant("alice", 512 << 20, "").start();
            for variables in [&[][..], &[("CUDA_SCALE_LAUNCH_QUEUES", "2x")]] {
                let mut guest = host.guest_with("alice", &["vector-add-until-end"], variables);
                guest.until("running");
                let pid = host.sessions()[0]["worker_pid"].as_u64().unwrap();
                is_confined(level, pid);
                // Each of the driver's threads too.
                for thread in std::fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
                    let status = std::fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
                    assert!(status.contains("Seccomp:\t2\n"), "{status}");
                }
                ends_well(guest, &host, level);
            }
        }
    }
}
