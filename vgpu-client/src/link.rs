//! The socket beside the window: a thread that reads what the host says, and questions about regions.

use std::io::Write;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use vgpu_proto::codec;
use vgpu_proto::control::{GuestMessage, HostMessage, OutputStream};
use vgpu_proto::handshake::RegionDescription;
use vgpu_proto::{Op, Status};
use vgpu_window::fork;
use vgpu_window::link::{Link, LinkError, Message};

use crate::control::Control;
use crate::errors::{Ended, Error, HostFault, Result};
use crate::fate::Fate;

/// How often a thread that waits for the link thread looks whether the session is over.
const LOOK: Duration = Duration::from_millis(50);

/// Where kernels' output goes.
pub(crate) struct Sinks {
    pub(crate) stdout: Box<dyn Write + Send>,
    pub(crate) stderr: Box<dyn Write + Send>,
}

/// The link and its thread. Dropping it closes the session.
#[derive(Debug)]
pub(crate) struct HostLink {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    /// Questions are asked one at a time, so the host's bound on open ones is never reached.
    turn: Mutex<u32>,
}

#[derive(Debug)]
struct Shared {
    link: Link,
    control: Arc<Control>,
    fate: Arc<Fate>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// The question that waits for its answer.
    asked: Option<u32>,
    answer: Option<Answer>,
    /// Bytes of kernel output that were written.
    printed: u64,
}

#[derive(Debug)]
enum Answer {
    Added(RegionDescription, OwnedFd),
    Removed,
    Refused(Status),
}

impl HostLink {
    /// Starts the thread.
    pub(crate) fn start(link: Link, control: Arc<Control>, fate: Arc<Fate>, sinks: Sinks) -> Result<Self> {
        let shared =
            Arc::new(Shared { link, control, fate, state: Mutex::default(), changed: Condvar::new() });
        let for_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("vgpu-link".into())
            .spawn(move || for_thread.serve(sinks))
            .map_err(|source| Error::Os { what: "starting the link thread", source })?;
        Ok(Self { shared, thread: Some(thread), turn: Mutex::new(0) })
    }

    /// Asks for a region of the pinned heap of `bytes` bytes.
    pub(crate) fn region_add(&self, bytes: u64) -> Result<(RegionDescription, OwnedFd)> {
        Self::added(self.ask(|request| GuestMessage::RegionAdd { request, bytes })?)
    }

    /// Asks for a region at an address where this process has memory already.
    pub(crate) fn region_add_at(&self, address: u64, bytes: u64) -> Result<(RegionDescription, OwnedFd)> {
        Self::added(self.ask(|request| GuestMessage::RegionAddAt { request, address, bytes })?)
    }

    fn added(answer: Answer) -> Result<(RegionDescription, OwnedFd)> {
        match answer {
            Answer::Added(region, descriptor) => Ok((region, descriptor)),
            // A pinned allocation has no operation of its own; to a caller it is an allocation.
            Answer::Refused(status) => Err(Error::call(Op::MemAlloc, status)),
            Answer::Removed => Err(HostFault::UnexpectedAnswer.into()),
        }
    }

    /// Gives a region back.
    pub(crate) fn region_remove(&self, id: u32) -> Result<()> {
        match self.ask(|request| GuestMessage::RegionRemove { request, id })? {
            Answer::Removed => Ok(()),
            Answer::Refused(status) => Err(Error::call(Op::MemFree, status)),
            Answer::Added(..) => Err(HostFault::UnexpectedAnswer.into()),
        }
    }

    fn ask(&self, question: impl FnOnce(u32) -> GuestMessage) -> Result<Answer> {
        let mut turn = self.turn.lock();
        *turn = turn.wrapping_add(1);
        let shared = &self.shared;
        {
            let mut state = shared.state.lock();
            state.asked = Some(*turn);
            state.answer = None;
        }
        let bytes = codec::encode(&question(*turn)).expect("a question is far below the limit");
        if shared.link.send(&bytes, &[]).is_err() {
            // The link thread finds the end of the connection, with its cause if the host gave one.
            return Err(self.wait_end());
        }
        let mut state = shared.state.lock();
        loop {
            if let Some(answer) = state.answer.take() {
                return Ok(answer);
            }
            if shared.fate.is_over() {
                return Err(shared.fate.error());
            }
            shared.changed.wait_for(&mut state, LOOK);
        }
    }

    fn wait_end(&self) -> Error {
        let mut state = self.shared.state.lock();
        while !self.shared.fate.is_over() {
            self.shared.changed.wait_for(&mut state, LOOK);
        }
        self.shared.fate.error()
    }

    /// Waits until `bytes` bytes of kernel output were written, so that what a kernel printed is out when the
    /// synchronising call behind it returns.
    pub(crate) fn wait_output(&self, fate: &Fate, bytes: u64) {
        if bytes == 0 {
            return;
        }
        let mut state = self.shared.state.lock();
        while state.printed < bytes && !fate.is_over() {
            self.shared.changed.wait_for(&mut state, LOOK);
        }
    }
}

impl Drop for HostLink {
    fn drop(&mut self) {
        if fork::is_child() {
            // The connection is the parent's, and so is the thread, which is not here.
            return;
        }
        self.shared.link.shutdown();
        if let Some(thread) = self.thread.take() {
            // It ends at the socket's end. A panic in it was printed already.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn serve(&self, mut sinks: Sinks) {
        let cause = loop {
            let message = match self.link.recv() {
                Ok(message) => message,
                Err(LinkError::Closed | LinkError::Os { .. }) => break Ended::WorkerLost,
                Err(_) => break Ended::HostFault(HostFault::Message),
            };
            match self.handle(message, &mut sinks) {
                Ok(None) => {}
                Ok(Some(ended)) => break ended,
                Err(fault) => break Ended::HostFault(fault),
            }
        };
        self.fate.end(cause);
        self.changed.notify_all();
        self.link.shutdown();
        self.fate.wake_sleepers(&self.control);
    }

    fn handle(&self, message: Message, sinks: &mut Sinks) -> Result<Option<Ended>, HostFault> {
        let Message { body, mut fds, .. } = message;
        let decoded = codec::decode(&body).map_err(|_| HostFault::Message)?;
        let expected = usize::from(matches!(decoded, HostMessage::RegionAdded { .. }));
        if fds.len() != expected {
            return Err(HostFault::Descriptors { found: fds.len(), expected });
        }
        match decoded {
            HostMessage::RegionAdded { request, region } => {
                let descriptor = fds.pop().ok_or(HostFault::Descriptors { found: 0, expected })?;
                self.answer(request, Answer::Added(region, descriptor))?;
            }
            HostMessage::RegionRemoved { request } => self.answer(request, Answer::Removed)?,
            HostMessage::RegionRefused { request, status } => {
                self.answer(request, Answer::Refused(Status(status)))?;
            }
            HostMessage::Output { stream, bytes } => {
                let sink = match stream {
                    OutputStream::Stdout => &mut sinks.stdout,
                    OutputStream::Stderr => &mut sinks.stderr,
                };
                // A program that closed its standard output loses what kernels print, as it loses what it prints.
                let _ = sink.write_all(&bytes).and_then(|()| sink.flush());
                self.state.lock().printed += bytes.len() as u64;
                self.changed.notify_all();
            }
            HostMessage::Closing(closing) => return Ok(Some(closing.into())),
        }
        Ok(None)
    }

    fn answer(&self, request: u32, answer: Answer) -> Result<(), HostFault> {
        let mut state = self.state.lock();
        if state.asked != Some(request) {
            return Err(HostFault::UnexpectedAnswer);
        }
        state.asked = None;
        state.answer = Some(answer);
        self.changed.notify_all();
        Ok(())
    }
}
