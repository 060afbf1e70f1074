//! The other process of a ping-pong: this executable again, told by a hidden argument what to be.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use rustix::process::{Signal, set_parent_process_death_signal};
use support::process::Process;
use vgpu_window::link::{Link, Message};

/// First argument of a process that is somebody's peer; the second says what kind.
const PEER: &str = "--vgpu-bench-peer";

/// Longest message between a benchmark and its peer, in bytes: a command with a number.
const MESSAGE_BYTES_MAX: u32 = 64;

/// A peer process and the socket to it. Ended when dropped.
#[derive(Debug)]
pub struct Peer {
    link: Link,
    _process: Process,
}

impl Peer {
    /// Starts this executable as a peer of that kind.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(kind: &str) -> Self {
        let (ours, theirs) = UnixStream::pair().expect("a descriptor is free");
        let executable = std::env::current_exe().expect("the system tells where the executable is");
        let mut command = Command::new(executable);
        command.args([PEER, kind]).stdin(Stdio::from(OwnedFd::from(theirs)));
        let process = Process::new(command.spawn().expect("the benchmark's own executable runs"));
        Self { link: Link::new(ours, MESSAGE_BYTES_MAX), _process: process }
    }

    /// Sends a command.
    ///
    /// # Panics
    /// When the peer is gone.
    pub fn send(&self, body: &[u8], fds: &[BorrowedFd<'_>]) {
        self.link.send(body, fds).expect("the peer lives as long as the benchmark");
    }

    /// Receives an answer.
    ///
    /// # Panics
    /// When the peer is gone.
    pub fn recv(&self) -> Message {
        self.link.recv().expect("the peer lives as long as the benchmark")
    }
}

/// In a peer process: the kind that it was started as, and the socket to the benchmark. `None` in the benchmark itself.
///
/// # Panics
/// When it was started by hand and standard input is no socket.
pub fn asked() -> Option<(String, Link)> {
    let mut arguments = std::env::args().skip(1);
    if arguments.next()? != PEER {
        return None;
    }
    let kind = arguments.next().unwrap_or_default();
    // A benchmark that is killed must not leave a process behind that spins for ever.
    set_parent_process_death_signal(Some(Signal::KILL)).expect("the kernel knows the call");
    let socket = std::io::stdin().as_fd().try_clone_to_owned().expect("standard input is a socket");
    Some((kind, Link::new(UnixStream::from(socket), MESSAGE_BYTES_MAX)))
}
