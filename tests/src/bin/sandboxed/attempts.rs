//! The tries, each with the system call that it comes down to.

use std::fs::{File, Permissions};
use std::io::{self, IoSliceMut};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use clap::Args;
use nix::mount::MsFlags;
use nix::sched::CloneFlags;
use nix::sys::uio::RemoteIoVec;
use nix::unistd::Pid;
use rustix::process::PidfdFlags;

use crate::SECRET;

/// What is attacked.
#[derive(Debug, Args)]
pub(crate) struct Target {
    /// A process.
    #[arg(long)]
    pid: i32,
    /// Where its secret lies.
    #[arg(long)]
    address: usize,
    /// A file, in a folder that everybody may write to.
    #[arg(long)]
    file: PathBuf,
    /// A unix socket on which somebody listens.
    #[arg(long)]
    socket: PathBuf,
    /// A port of this machine on which somebody listens.
    #[arg(long)]
    port: u16,
}

/// What a thread tries that was there before.
pub(crate) fn of_thread() -> io::Result<()> {
    UnixDatagram::unbound().map(drop)
}

/// Makes all tries, one after the other.
pub(crate) fn all(target: &Target, of_thread: io::Result<()>, mut say: impl FnMut(String)) {
    let mut tried = |name: &str, result: io::Result<()>| {
        let outcome = match result {
            Ok(()) => "done".to_owned(),
            Err(error) => error.raw_os_error().map_or_else(
                || error.to_string(),
                |number| format!("{:?}", nix::errno::Errno::from_raw(number)),
            ),
        };
        say(format!("{name} {outcome}"));
    };
    // What a worker needs, so that not everything fails.
    tried("own-thread", std::thread::Builder::new().spawn(|| ()).map(|thread| drop(thread.join())));
    tried("own-signal", signal(std::process::id().cast_signed()));
    tried("own-memory", memory_file());
    tried("read-maps", File::open("/proc/self/maps").map(drop));
    tried("old-thread", of_thread);
    tried("read-file", File::open(&target.file).map(drop));
    tried("write-file", File::options().write(true).open(&target.file).map(drop));
    tried("make-file", File::create(target.file.with_extension("made")).map(drop));
    tried("change-mode", std::fs::set_permissions(&target.file, Permissions::from_mode(0o666)));
    tried("connect-unix", UnixStream::connect(&target.socket).map(drop));
    tried("connect-inet", TcpStream::connect(("127.0.0.1", target.port)).map(drop));
    tried("listen-inet", TcpListener::bind("0.0.0.0:0").map(drop));
    tried("udp-inet", UdpSocket::bind("0.0.0.0:0").map(drop));
    tried("datagram-unix", UnixDatagram::unbound().map(drop));
    tried("signal", signal(target.pid));
    tried("pidfd", pidfd(target.pid));
    tried("read-memory", read_memory(target));
    tried("read-proc-mem", read_proc_mem(target));
    tried("read-environment", std::fs::read(format!("/proc/{}/environ", target.pid)).map(drop));
    tried("trace", trace(target.pid));
    tried("mount", mount());
    tried("unshare", nix::sched::unshare(CloneFlags::CLONE_NEWUSER).map_err(io::Error::from));
    tried("fork", Command::new("true").spawn().and_then(|mut child| child.wait()).map(drop));
    // Last, because it does not return where it may be done.
    tried("exec", Err(Command::new("echo").arg("exec done").exec()));
}

fn signal(pid: i32) -> io::Result<()> {
    nix::sys::signal::kill(Pid::from_raw(pid), nix::sys::signal::Signal::SIGCONT).map_err(io::Error::from)
}

fn pidfd(pid: i32) -> io::Result<()> {
    let pid = rustix::process::Pid::from_raw(pid).expect("a process id is not 0");
    let fd = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
    Ok(rustix::process::pidfd_send_signal(fd, rustix::process::Signal::CONT)?)
}

fn memory_file() -> io::Result<()> {
    let (region, _fd) = vgpu_window::Region::create_shared("own", 4096).map_err(io::Error::other)?;
    region.atomic_u64(0).map(drop).map_err(io::Error::other)
}

/// Whether those bytes are the secret.
fn found(bytes: &[u8]) -> io::Result<()> {
    if bytes == SECRET { Ok(()) } else { Err(io::Error::other("something-else")) }
}

fn read_memory(target: &Target) -> io::Result<()> {
    let mut bytes = [0; SECRET.len()];
    let there = [RemoteIoVec { base: target.address, len: bytes.len() }];
    nix::sys::uio::process_vm_readv(Pid::from_raw(target.pid), &mut [IoSliceMut::new(&mut bytes)], &there)?;
    found(&bytes)
}

fn read_proc_mem(target: &Target) -> io::Result<()> {
    let mut bytes = [0; SECRET.len()];
    let memory = File::open(format!("/proc/{}/mem", target.pid))?;
    memory.read_exact_at(&mut bytes, target.address as u64)?;
    found(&bytes)
}

fn trace(pid: i32) -> io::Result<()> {
    let pid = Pid::from_raw(pid);
    nix::sys::ptrace::seize(pid, nix::sys::ptrace::Options::empty())?;
    // Only who stops can be let go again, and the end of this process does it.
    Ok(())
}

fn mount() -> io::Result<()> {
    // In a folder that only root has, where nothing is mounted for long.
    let at = "/proc/self/fdinfo";
    nix::mount::mount(Some("none"), at, Some("tmpfs"), MsFlags::empty(), None::<&str>)?;
    Ok(nix::mount::umount(at)?)
}
