//! What kernels print, on its way to the guest.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use rustix::event::{PollFd, PollFlags};
use vgpu_core::session::SessionSink;
use vgpu_proto::control::{HostMessage, OutputStream};
use vgpu_proto::limits::{OUTPUT_BUFFER_BYTES, OUTPUT_CHUNK_BYTES_MAX};
use vgpu_proto::window::{CONTROL_BYTES, OUTPUT_BYTES};
use vgpu_window::link::Link;
use vgpu_window::{Region, WindowError};

use super::catch::Caught;
use super::guest;

/// A bounded buffer between kernels, which never wait, and a guest, which may not read.
#[derive(Debug, Default)]
pub(super) struct Output {
    buffer: Mutex<Buffer>,
    filled: Condvar,
    /// The control region, where the guest reads how much there is.
    window: OnceLock<Region>,
    /// Where a card's driver writes.
    caught: OnceLock<[Caught; 2]>,
}

#[derive(Debug, Default)]
struct Buffer {
    waiting: VecDeque<u8>,
    /// Whose those bytes are, in their order: a guest counts bytes of both streams to know that it has heard all. No
    /// run is empty, so there are never more than bytes.
    runs: VecDeque<(OutputStream, usize)>,
    /// Bytes ever taken in.
    accepted: u64,
    /// Bytes that found no room.
    dropped: u64,
}

impl Output {
    /// Publishes the count of bytes in the control region, the first of the session's `regions`, over a mapping of our
    /// own: the session does not lend its own out.
    pub(super) fn publish_to(&self, regions: &[OwnedFd]) -> Result<(), WindowError> {
        let control = regions.first().expect("a session has a control region");
        // Called once, before anything runs.
        let _ = self.window.set(Region::map_shared(control.as_fd(), CONTROL_BYTES)?);
        Ok(())
    }

    /// Takes over what comes out of pipes, once in the process's life.
    pub(super) fn take_over(&self, caught: [Caught; 2]) {
        let _ = self.caught.set(caught);
    }

    pub(super) fn caught(&self) -> &[Caught] {
        self.caught.get().map_or(&[], |caught| &caught[..])
    }

    /// Bytes that found no room so far.
    pub(super) fn dropped_bytes(&self) -> u64 {
        self.buffer.lock().dropped
    }

    fn take_chunk(&self) -> (OutputStream, Vec<u8>) {
        let mut buffer = self.buffer.lock();
        let (stream, run) = loop {
            match buffer.runs.pop_front() {
                Some(first) => break first,
                None => self.filled.wait(&mut buffer),
            }
        };
        let bytes = run.min(OUTPUT_CHUNK_BYTES_MAX);
        if run > bytes {
            buffer.runs.push_front((stream, run - bytes));
        }
        (stream, buffer.waiting.drain(..bytes).collect())
    }
}

impl SessionSink for Output {
    fn output(&self, stream: OutputStream, bytes: &[u8]) {
        let mut buffer = self.buffer.lock();
        let room = OUTPUT_BUFFER_BYTES - buffer.waiting.len();
        let taken = bytes.len().min(room);
        buffer.waiting.extend(&bytes[..taken]);
        match buffer.runs.back_mut() {
            Some((last, run)) if *last == stream => *run += taken,
            _ if taken > 0 => buffer.runs.push_back((stream, taken)),
            _ => {}
        }
        buffer.accepted += taken as u64;
        buffer.dropped += (bytes.len() - taken) as u64;
        // Published before the mark of the kernel that printed, so that a guest that has synchronised knows how much
        // to wait for. The value is ours: what the guest wrote there does not matter.
        if let Some(word) = self.window.get().and_then(|window| window.atomic_u64(OUTPUT_BYTES).ok()) {
            word.store(buffer.accepted, Ordering::Release);
        }
        drop(buffer);
        self.filled.notify_one();
    }

    fn flush(&self) {
        for caught in self.caught() {
            caught.drain(|stream, bytes| self.output(stream, bytes));
        }
    }
}

/// Starts the thread that sends output to the guest.
pub(super) fn start(output: &Arc<Output>, link: &Arc<Link>) -> io::Result<()> {
    let (output, link) = (output.clone(), link.clone());
    std::thread::Builder::new().name("output".into()).spawn(move || pump(&output, &link)).map(drop)
}

fn pump(output: &Output, link: &Link) {
    loop {
        let (stream, bytes) = output.take_chunk();
        // Waited for without the link's lock, so that answers about regions pass a guest that reads no output.
        if !wait_writable(link, None)
            || guest::send(link, &HostMessage::Output { stream, bytes }, &[]).is_err()
        {
            // The listener sees the same end and acts on it.
            return;
        }
    }
}

/// Waits until the guest's socket takes a message; false when the time passes first or the socket is at its end.
pub(super) fn wait_writable(link: &Link, timeout: Option<Duration>) -> bool {
    let timeout = timeout.and_then(|timeout| timeout.try_into().ok());
    loop {
        let mut fds = [PollFd::new(link, PollFlags::OUT)];
        match rustix::event::poll(&mut fds, timeout.as_ref()) {
            Ok(_) => return fds[0].revents() == PollFlags::OUT,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_dropped_and_counted() {
        let output = Output::default();
        let (control, fd) = Region::create_shared("control", CONTROL_BYTES).unwrap();
        output.publish_to(&[fd]).unwrap();
        let published = || control.atomic_u64(OUTPUT_BYTES).unwrap().load(Ordering::Acquire);
        output.output(OutputStream::Stdout, b"hello");
        assert_eq!(published(), 5);
        output.output(OutputStream::Stdout, &vec![b'x'; OUTPUT_BUFFER_BYTES - 5]);
        output.output(OutputStream::Stderr, b"error");
        assert_eq!((published(), output.dropped_bytes()), (OUTPUT_BUFFER_BYTES as u64, 5));
        let (stream, chunk) = output.take_chunk();
        assert_eq!(stream, OutputStream::Stdout);
        assert_eq!(chunk.len(), OUTPUT_CHUNK_BYTES_MAX);
        assert!(chunk.starts_with(b"hellox"));
        output.output(OutputStream::Stderr, b"more");
        assert_eq!(output.dropped_bytes(), 5, "there is room again");
    }

    #[test]
    fn both_streams_keep_one_order() {
        let (output, long) = (Output::default(), vec![b'x'; OUTPUT_CHUNK_BYTES_MAX + 1]);
        let told = [
            (OutputStream::Stdout, &b"one "[..]),
            (OutputStream::Stdout, b"two"),
            (OutputStream::Stderr, b"fails"),
            (OutputStream::Stdout, &long),
        ];
        for (stream, bytes) in told {
            output.output(stream, bytes);
        }
        output.output(OutputStream::Stderr, b"");
        assert_eq!(output.take_chunk(), (OutputStream::Stdout, b"one two".to_vec()));
        assert_eq!(output.take_chunk(), (OutputStream::Stderr, b"fails".to_vec()));
        assert_eq!(output.take_chunk().1.len(), OUTPUT_CHUNK_BYTES_MAX);
        assert_eq!(output.take_chunk(), (OutputStream::Stdout, b"x".to_vec()));
        assert!(output.buffer.lock().runs.is_empty());
    }
}
