//! A socket for messages with descriptors, over a Unix stream.
//!
//! A message is its length (32 bits, little-endian, not counting itself) and its body. Descriptors travel with the
//! first byte of the length. The peer may be hostile: lengths are checked before anything is allocated, and
//! descriptors that were not expected are closed.

mod error;
mod receive;
mod send;
mod wait;

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::net::Shutdown;

pub use error::LinkError;
use receive::Partial;

/// How many descriptors one message carries at most. A message introduces at most a few regions at a time; the
/// kernel's own limit is 253.
pub const FDS_MAX: usize = 8;

/// How long [`Link::send`] waits for a peer that does not read, unless told otherwise. An honest peer reads its
/// socket between any two other things, so this much means that it hangs.
pub const SEND_TIMEOUT: Duration = Duration::from_secs(5);

/// The length before each body.
const HEADER_BYTES: usize = size_of::<u32>();

/// What was sent by one [`Link::send`].
#[derive(Debug)]
pub struct Message {
    /// The bytes; at most as many as the link allows.
    pub body: Vec<u8>,
    /// The descriptors, at most [`FDS_MAX`], closed on exec. Their number and kind are up to the peer: check both.
    pub fds: Vec<OwnedFd>,
}

/// One end of a message socket.
///
/// All methods take `&self`: one thread may receive while others send. Several threads that receive take turns, and
/// time spent waiting for the turn does not count towards a timeout.
pub struct Link {
    stream: UnixStream,
    bytes_max: usize,
    send_timeout: Duration,
    /// Held for a whole message, so that messages of several threads do not mix.
    sending: Mutex<()>,
    /// What has arrived of the message that is due.
    receiving: Mutex<Partial>,
    /// Set by `shutdown`, and when the stream can no longer be made sense of.
    closed: AtomicBool,
}

impl Link {
    /// A link over a connected stream, with bodies of at most `bytes_max` bytes in either direction.
    pub fn new(stream: UnixStream, bytes_max: u32) -> Link {
        Link {
            stream,
            bytes_max: bytes_max as usize,
            send_timeout: SEND_TIMEOUT,
            sending: Mutex::new(()),
            receiving: Mutex::default(),
            closed: AtomicBool::new(false),
        }
    }

    /// Two links that are connected to each other.
    ///
    /// # Errors
    ///
    /// [`Os`](LinkError::Os) if no descriptors are left.
    pub fn pair(bytes_max: u32) -> Result<(Link, Link), LinkError> {
        let (one, other) =
            UnixStream::pair().map_err(|source| LinkError::Os { call: "socketpair", source })?;
        Ok((Link::new(one, bytes_max), Link::new(other, bytes_max)))
    }

    /// Sets how long `send` waits for a peer that does not read; [`SEND_TIMEOUT`] otherwise. With zero, it never
    /// waits.
    #[must_use]
    pub fn with_send_timeout(mut self, timeout: Duration) -> Link {
        self.send_timeout = timeout;
        self
    }

    /// Sends one message with descriptors, which stay the caller's.
    ///
    /// # Errors
    ///
    /// - [`TooLong`](LinkError::TooLong) or [`TooManyDescriptors`](LinkError::TooManyDescriptors): nothing was sent.
    /// - [`TimedOut`](LinkError::TimedOut): the peer did not read. If part of the message was sent already, the link
    ///   is closed, as the rest would be taken for another message.
    /// - [`Closed`](LinkError::Closed): by either end.
    /// - [`Os`](LinkError::Os): the kernel refused, for example as too many descriptors are under way.
    pub fn send(&self, body: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), LinkError> {
        self.check_length(body.len())?;
        if fds.len() > FDS_MAX {
            return Err(LinkError::TooManyDescriptors { max: FDS_MAX });
        }
        // The time starts before the lock, so that threads queueing behind a full socket do not add up.
        let deadline = Instant::now().checked_add(self.send_timeout);
        let _turn = self.sending.lock().unwrap_or_else(PoisonError::into_inner);
        self.check_open()?;
        send::message(self, body, fds, deadline)
    }

    /// Receives the next message, waiting for it as long as it takes.
    ///
    /// # Errors
    ///
    /// - [`Closed`](LinkError::Closed): by either end, also in the middle of a message. What the peer sent before it
    ///   closed is received first.
    /// - [`TooLong`](LinkError::TooLong), [`TooManyDescriptors`](LinkError::TooManyDescriptors),
    ///   [`UnexpectedDescriptors`](LinkError::UnexpectedDescriptors): the peer broke the rules.
    /// - [`DescriptorsLost`](LinkError::DescriptorsLost): this process has no room for the descriptors.
    /// - [`Os`](LinkError::Os): the kernel refused.
    ///
    /// After any of these nothing is received any more. Sending goes on, unless the link is closed, so that the peer
    /// can be told why.
    pub fn recv(&self) -> Result<Message, LinkError> {
        self.receive(&mut self.lock_receiving(), None)
    }

    /// As [`recv`](Link::recv), waiting at most `timeout` for the whole message.
    ///
    /// # Errors
    ///
    /// Also [`TimedOut`](LinkError::TimedOut). What has arrived of a message is kept for the next call.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<Message, LinkError> {
        let mut partial = self.lock_receiving();
        self.receive(&mut partial, Instant::now().checked_add(timeout))
    }

    /// Closes both directions. Calls under way in other threads and all later ones return
    /// [`Closed`](LinkError::Closed), as do the peer's once it has received what was sent before.
    pub fn shutdown(&self) {
        self.closed.store(true, Ordering::Release);
        // It can only fail because the peer is gone, which is as good.
        let _ = rustix::net::shutdown(&self.stream, Shutdown::Both);
    }

    fn receive(&self, partial: &mut Partial, deadline: Option<Instant>) -> Result<Message, LinkError> {
        let result = receive::message(self, partial, deadline);
        match &result {
            // The stream is intact, and the next call goes on where this one stopped.
            Ok(_) | Err(LinkError::TimedOut) => {}
            Err(LinkError::Closed) => {
                *partial = Partial::default();
                self.shutdown();
            }
            // After anything else nobody knows where the next message begins. The other direction stays open, so that
            // the peer can be told why.
            Err(_) => {
                *partial = Partial::default();
                let _ = rustix::net::shutdown(&self.stream, Shutdown::Read);
            }
        }
        result
    }

    fn lock_receiving(&self) -> MutexGuard<'_, Partial> {
        // A partial message is consistent between any two calls of the kernel.
        self.receiving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check_open(&self) -> Result<(), LinkError> {
        if self.closed.load(Ordering::Acquire) { Err(LinkError::Closed) } else { Ok(()) }
    }

    fn check_length(&self, bytes: usize) -> Result<(), LinkError> {
        if bytes > self.bytes_max {
            return Err(LinkError::TooLong { bytes: bytes as u64, max: self.bytes_max as u64 });
        }
        Ok(())
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("stream", &self.stream)
            .field("bytes_max", &self.bytes_max)
            .field("closed", &self.closed)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
