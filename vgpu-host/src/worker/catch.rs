//! Catching what a card's driver writes to this process's own output: kernels' `printf` and failed assertions.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use vgpu_core::session::SessionSink as _;

use super::output::Output;

/// Bytes that are read at once: what a pipe holds by default.
const PIPE_BYTES: usize = 64 << 10;

/// The end of a pipe at which the driver's text comes out. The system bounds the pipe; a full one makes the driver wait for
/// [`pump`], which waits for nobody.
#[derive(Debug)]
pub(super) struct Caught(Mutex<End>);

#[derive(Debug)]
struct End {
    pipe: OwnedFd,
    buffer: Box<[u8]>,
}

/// Puts a pipe in the place of this process's standard output and standard error, before the driver starts. Its end has to
/// be given to a thread of its own, [`pump`].
pub(super) fn catch() -> io::Result<Caught> {
    let (end, begin) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    rustix::stdio::dup2_stdout(&begin)?;
    rustix::stdio::dup2_stderr(&begin)?;
    Caught::new(end)
}

impl Caught {
    fn new(end: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&end, true)?;
        let buffer = vec![0; PIPE_BYTES].into_boxed_slice();
        Ok(Self(Mutex::new(End { pipe: end, buffer })))
    }

    /// Passes on all that is in the pipe; false at its end.
    pub(super) fn drain(&self, pass: impl Fn(&[u8])) -> bool {
        // Held while it is passed on, so that what two threads read keeps its order, and who finds the pipe empty knows
        // that all was passed on.
        let mut end = self.0.lock();
        let End { pipe, buffer } = &mut *end;
        loop {
            match rustix::io::read(&*pipe, &mut buffer[..]) {
                Ok(0) => return false,
                Ok(count) => pass(&buffer[..count]),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return true,
                Err(_) => return false,
            }
        }
    }

    fn watched(&self) -> io::Result<OwnedFd> {
        self.0.lock().pipe.try_clone()
    }
}

/// Starts the thread that passes text on when nobody asks for it.
pub(super) fn start(output: &Arc<Output>) -> io::Result<()> {
    let output = Arc::clone(output);
    let watched = output.caught().map(Caught::watched).transpose()?;
    let Some(watched) = watched else { return Ok(()) };
    std::thread::Builder::new().name("caught".into()).spawn(move || pump(&output, &watched)).map(drop)
}

fn pump(output: &Output, watched: &OwnedFd) {
    loop {
        match rustix::event::poll(&mut [PollFd::new(watched, PollFlags::IN)], None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return,
        }
        let passed = output.caught().is_some_and(|caught| caught.drain(|bytes| output.output(bytes)));
        if !passed {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn what_is_in_the_pipe_is_passed_on_before_drain_returns() {
        let (end, begin) = io::pipe().unwrap();
        let caught = Caught::new(end.into()).unwrap();
        let seen = Mutex::new(Vec::new());
        let drain = || caught.drain(|bytes| seen.lock().extend_from_slice(bytes));
        assert!(drain(), "an empty pipe is no end");
        (&begin).write_all(b"one ").unwrap();
        (&begin).write_all(b"two").unwrap();
        assert!(drain());
        assert_eq!(*seen.lock(), b"one two");
        drop(begin);
        assert!(!drain());
    }
}
