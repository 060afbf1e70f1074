//! Takes frames out of the ring. Each byte of the window is read once, into private memory, and checked there.

use std::ops::Range;

use vgpu_proto::frame::{FrameHeader, HEADER_BYTES, Request};
use vgpu_proto::limits::{FRAME_BYTES_MAX, RING_BYTES};
use vgpu_proto::window::RING;
use vgpu_proto::{Violation, ring};
use vgpu_window::ReadOnce;

/// Bytes that are read ahead, at most. The frames of a busy guest lie in its processor's cache; read in one go, their lines
/// come side by side instead of one after the other.
const READ_AHEAD_BYTES: usize = 4096;

const BUFFER_BYTES: usize = FRAME_BYTES_MAX as usize + READ_AHEAD_BYTES;

/// The consumer's end of a ring.
#[derive(Debug)]
pub struct Reader {
    head: u64,
    /// Private copies of what lies in the ring from `head` on.
    buffer: Box<[u8; BUFFER_BYTES]>,
    /// Where in `buffer` they are.
    ahead: Range<usize>,
}

/// A frame in private memory.
#[derive(Debug)]
#[expect(clippy::exhaustive_structs, reason = "readers take it apart")]
pub struct Frame<'a> {
    /// Its header.
    pub header: FrameHeader,
    /// Its decoded body.
    pub request: Request,
    /// Its payload.
    pub payload: &'a [u8],
}

impl Default for Reader {
    fn default() -> Self {
        Self { head: 0, buffer: Box::new([0; BUFFER_BYTES]), ahead: 0..0 }
    }
}

impl Reader {
    /// Bytes read so far, padding included.
    pub fn head(&self) -> u64 {
        self.head
    }

    /// The next frame before `tail`, which the guest published; `None` when everything was read.
    ///
    /// # Errors
    /// The breach that ends the session.
    pub fn next(&mut self, window: &impl ReadOnce, tail: u64) -> Result<Option<Frame<'_>>, Violation> {
        loop {
            let published = ring::published(self.head, tail)?;
            if published == 0 {
                return Ok(None);
            }
            self.fill(window, published, HEADER_BYTES as usize)?;
            let (head, _) =
                self.buffer[self.ahead.clone()].split_first_chunk().ok_or(Violation::RingIndex)?;
            let header = FrameHeader::parse(*head)?;
            ring::contains(self.head, published, header.length_bytes)?;
            let length = header.length_bytes as usize;
            if let Some(op) = header.op {
                self.fill(window, published, length)?;
                let rest = self.take(length).start + HEADER_BYTES as usize..self.ahead.start;
                let (request, payload) = Request::decode(op, header.payload_bytes, &self.buffer[rest])?;
                return Ok(Some(Frame { header, request, payload }));
            }
            self.take(length);
        }
    }

    /// Moves past `bytes` bytes; returns where they lie, those of them that were read.
    fn take(&mut self, bytes: usize) -> Range<usize> {
        self.head += bytes as u64;
        let end = self.ahead.end.min(self.ahead.start + bytes);
        let taken = self.ahead.start..end;
        self.ahead.start = end;
        taken
    }

    /// Sees to it that `needed` bytes from the head on are in private memory; reads some more if it reads.
    fn fill(&mut self, window: &impl ReadOnce, published: u64, needed: usize) -> Result<(), Violation> {
        let have = self.ahead.len();
        if have >= needed {
            return Ok(());
        }
        self.buffer.copy_within(self.ahead.clone(), 0);
        self.ahead = 0..have;
        let at = (self.head + have as u64) % RING_BYTES;
        // No frame goes on behind the ring's end.
        let readable = published.saturating_sub(have as u64).min(RING_BYTES - at);
        let ahead = usize::try_from(readable).map_or(READ_AHEAD_BYTES, |bytes| bytes.min(READ_AHEAD_BYTES));
        let bytes = ahead.max(needed - have);
        let free = self.buffer.get_mut(have..have + bytes).ok_or(Violation::FrameLength)?;
        window.read(RING + at, free).map_err(|_| Violation::FrameLength)?;
        self.ahead.end += bytes;
        Ok(())
    }
}
