//! Catching what a card's driver writes to this process's own output: kernels' `printf` and failed assertions.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use vgpu_core::session::SessionSink as _;
use vgpu_proto::control::OutputStream;

use super::output::Output;

/// Bytes that are read at once: what a pipe holds by default.
const PIPE_BYTES: usize = 64 << 10;

/// The end of a pipe at which the driver's text comes out. The system bounds the pipe; a full one makes the driver wait for
/// [`pump`], which waits for nobody.
#[derive(Debug)]
pub(super) struct Caught {
    /// The stream in whose place the pipe is.
    stream: OutputStream,
    end: Mutex<End>,
}

#[derive(Debug)]
struct End {
    pipe: OwnedFd,
    buffer: Box<[u8]>,
}

/// Puts pipes in the places of this process's standard output and standard error, before the driver starts. Each end has to
/// be given to a thread of its own, [`pump`].
pub(super) fn catch() -> io::Result<[Caught; 2]> {
    let (out, begin) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    rustix::stdio::dup2_stdout(&begin)?;
    let (error, begin) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    rustix::stdio::dup2_stderr(&begin)?;
    Ok([Caught::new(OutputStream::Stdout, out)?, Caught::new(OutputStream::Stderr, error)?])
}

impl Caught {
    fn new(stream: OutputStream, end: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&end, true)?;
        let buffer = vec![0; PIPE_BYTES].into_boxed_slice();
        Ok(Self { stream, end: Mutex::new(End { pipe: end, buffer }) })
    }

    /// Passes on all that is in the pipe; false at its end.
    pub(super) fn drain(&self, pass: impl Fn(OutputStream, &[u8])) -> bool {
        // Held while it is passed on, so that what two threads read keeps its order, and who finds the pipe empty knows
        // that all was passed on.
        let mut end = self.end.lock();
        let End { pipe, buffer } = &mut *end;
        loop {
            match rustix::io::read(&*pipe, &mut buffer[..]) {
                Ok(0) => return false,
                Ok(count) => pass(self.stream, &buffer[..count]),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return true,
                Err(_) => return false,
            }
        }
    }

    fn watched(&self) -> io::Result<OwnedFd> {
        self.end.lock().pipe.try_clone()
    }
}

/// Starts the threads that pass text on when nobody asks for it.
pub(super) fn start(output: &Arc<Output>) -> io::Result<()> {
    for (at, caught) in output.caught().iter().enumerate() {
        let (output, watched) = (Arc::clone(output), caught.watched()?);
        std::thread::Builder::new().name("caught".into()).spawn(move || pump(&output, at, &watched))?;
    }
    Ok(())
}

fn pump(output: &Output, at: usize, watched: &OwnedFd) {
    loop {
        match rustix::event::poll(&mut [PollFd::new(watched, PollFlags::IN)], None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return,
        }
        if !output.caught()[at].drain(|stream, bytes| output.output(stream, bytes)) {
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
        let caught = Caught::new(OutputStream::Stderr, end.into()).unwrap();
        let seen = Mutex::new(Vec::new());
        let drain = || caught.drain(|_, bytes| seen.lock().extend_from_slice(bytes));
        assert!(drain(), "an empty pipe is no end");
        (&begin).write_all(b"one ").unwrap();
        (&begin).write_all(b"two").unwrap();
        assert!(drain());
        assert_eq!(*seen.lock(), b"one two");
        drop(begin);
        assert!(!drain());
    }
}
