//! A process that enters the sandbox of a worker and then tries what it must not be able to do; one line for each try.
//!
//! It is both ends: `hold` enters a sandbox, says where it keeps a secret and stays, as a neighbour or a daemon would;
//! `try` attacks such a process.

mod attempts;

use std::io::{Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::sync::mpsc::channel;

use clap::{Parser, Subcommand, ValueEnum};
use rustix::process::{Gid, Uid};
use vgpu_host::sandbox::{Purpose, Sandbox, Survey, WORKER_UID_FIRST, Wanted};

use self::attempts::Target;

/// What the process that is attacked keeps in its memory.
const SECRET: &[u8; 16] = b"a secret of mine";

#[derive(Debug, Parser)]
struct Arguments {
    /// The level to enter.
    #[arg(long)]
    level: Level,
    /// For which device.
    #[arg(long, default_value = "software")]
    purpose: Device,
    /// Be that user first.
    #[arg(long)]
    uid: Option<u32>,
    /// After the files are closed, execute this program once more, as a worker does whose guest brings variables.
    #[arg(long)]
    again: bool,
    /// The sandbox that it found the first time, in JSON: what could be found may not be found again in it.
    #[arg(long)]
    sandbox: Option<String>,
    #[command(subcommand)]
    role: Role,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Level {
    Auto,
    Full,
    Basic,
    Off,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Device {
    Software,
    Card,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// Stay until standard input ends.
    Hold,
    /// Try everything.
    Try(Target),
}

fn main() {
    let Arguments { level, purpose, uid, again, sandbox, role } = Arguments::parse();
    if let Some(uid) = uid {
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(uid));
        rustix::thread::set_thread_groups(&[]).expect("root may leave its groups");
        rustix::thread::set_thread_res_gid(gid, gid, gid).expect("root may take a group");
        rustix::thread::set_thread_res_uid(uid, uid, uid).expect("root may take a user");
    }
    let wanted = match level {
        Level::Auto => Wanted::Auto,
        Level::Full => Wanted::Full,
        Level::Basic => Wanted::Basic,
        Level::Off => Wanted::Off,
    };
    let purpose = match purpose {
        Device::Software => Purpose::Software,
        Device::Card => Purpose::Card,
    };
    let secret = Box::new(*SECRET);
    let sandbox: Sandbox = match sandbox {
        Some(found) => serde_json::from_str(&found).expect("it is one of ours"),
        None => Survey::new(wanted, WORKER_UID_FIRST, purpose, None).expect("it can be held").sandbox,
    };
    sandbox.give_up_rights().expect("rights are given up");
    sandbox.close_files(purpose).expect("files are closed");
    if again {
        let words = std::env::args_os().skip(1).filter(|word| word != "--again");
        let found = serde_json::to_string(&sandbox).expect("it has only words and numbers");
        panic!("{}", Command::new("/proc/self/exe").args(["--sandbox", &found]).args(words).exec());
    }
    // A thread that is there before the calls are closed, as a driver's are.
    let (begin, begun) = channel();
    let thread = std::thread::spawn(move || begun.recv().ok().map(|()| attempts::of_thread()));
    sandbox.close_calls(purpose).expect("calls are closed");
    let _ = begin.send(());
    let of_thread = thread.join().expect("it does not panic").expect("it was told to begin");
    say(&format!("level {} uid {}", sandbox.level(), rustix::process::geteuid().as_raw()));
    match role {
        Role::Hold => {
            say(&format!("holding {}", secret.as_ptr().addr()));
            let _ = std::io::stdin().read(&mut [0]);
        }
        Role::Try(target) => attempts::all(&target, of_thread, |line| say(&line)),
    }
    std::hint::black_box(secret);
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // A test that is gone does not want it.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
