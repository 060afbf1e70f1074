//! Takes frames out of the ring. Each byte of the window is read once, into private memory, and checked there.

use vgpu_proto::frame::{FrameHeader, HEADER_BYTES, Request};
use vgpu_proto::limits::{FRAME_BYTES_MAX, RING_BYTES};
use vgpu_proto::window::RING;
use vgpu_proto::{Violation, ring};
use vgpu_window::ReadOnce;

/// The consumer's end of a ring.
#[derive(Debug)]
pub struct Reader {
    head: u64,
    frame: Box<[u8; FRAME_BYTES_MAX as usize]>,
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
        Self { head: 0, frame: Box::new([0; FRAME_BYTES_MAX as usize]) }
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
            let start = RING + self.head % RING_BYTES;
            let mut head = [0; HEADER_BYTES as usize];
            window.read(start, &mut head).map_err(|_| Violation::RingIndex)?;
            let header = FrameHeader::parse(head)?;
            ring::contains(self.head, published, header.length_bytes)?;
            self.head += u64::from(header.length_bytes);
            let Some(op) = header.op else { continue };
            let rest = &mut self.frame[..(header.length_bytes - HEADER_BYTES) as usize];
            window.read(start + u64::from(HEADER_BYTES), rest).map_err(|_| Violation::FrameLength)?;
            let (request, payload) = Request::decode(op, header.payload_bytes, rest)?;
            return Ok(Some(Frame { header, request, payload }));
        }
    }
}
