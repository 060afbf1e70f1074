//! Pageable copies: through staging, in chunks, both ends copying at the same time, large ones by several threads.

use std::collections::VecDeque;
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;

use vgpu_proto::limits::STAGING_CHUNK_BYTES;
use vgpu_proto::{StreamId, body};

use crate::errors::Result;
use crate::ring::Ticket;
use crate::session::Session;
use crate::staging::Chunk;

/// Chunks of one copy that are under way at once: enough that neither side waits for the other, few enough that they
/// stay in the cache that both sides share.
const CHUNKS_UNDER_WAY: usize = 8;

/// Chunks between two completion marks of a long copy. Half of those under way, so that the next mark
/// is on its way while the guest waits for one.
const CHUNKS_PER_MARK: usize = CHUNKS_UNDER_WAY / 2;

/// Bytes of a copy for each thread that takes part, at least. A thread starts in some 30 us, in which one that runs copies
/// 300 KiB.
const THREAD_BYTES_MIN: usize = 4 << 20;

/// Threads of one copy, at most. Each keeps [`CHUNKS_UNDER_WAY`], so that all of them find room in staging; more add little,
/// as memory is what they wait for.
pub(crate) const COPIERS_MAX: usize = 4;

/// Processors for each thread of a copy: those of a program have work of their own.
pub(crate) const PROCESSORS_PER_COPIER: usize = 4;

/// Pause of a copy that found the reserve in use. Everything in it moves on its own, within a few chunks' time.
const RESERVE_PAUSE: Duration = Duration::from_micros(100);

/// A pageable copy on a stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Transfer<'a> {
    pub(crate) session: &'a Session,
    pub(crate) context: u32,
    pub(crate) stream: StreamId,
}

impl<'a> Transfer<'a> {
    /// Copies to the device. Returns once the source was read; the copy itself is asynchronous, up to the command that
    /// is returned (`None` where there is nothing to copy).
    pub(crate) fn to_device(self, destination: u64, source: &[u8]) -> Result<Option<Ticket>> {
        let piece_bytes = self.piece_bytes(source.len());
        let lasts = in_turn_or_at_once(source.chunks(piece_bytes).enumerate().collect(), |(at, piece)| {
            self.piece_to_device(destination + (at * piece_bytes) as u64, piece)
        })?;
        Ok(lasts.into_iter().flatten().max_by_key(|ticket| ticket.number))
    }

    /// Copies to the host. Returns once all is there.
    pub(crate) fn to_host(self, source: u64, destination: &mut [u8]) -> Result<()> {
        let piece_bytes = self.piece_bytes(destination.len());
        let pieces = destination.chunks_mut(piece_bytes).enumerate().collect();
        in_turn_or_at_once(pieces, |(at, piece)| {
            self.piece_to_host(source + (at * piece_bytes) as u64, piece)
        })
        .map(drop)
    }

    /// Bytes of a copy that one thread copies: a multiple of a chunk.
    fn piece_bytes(self, bytes: usize) -> usize {
        let threads = self.session.copiers.min(bytes / THREAD_BYTES_MIN).max(1);
        bytes.div_ceil(threads).next_multiple_of(STAGING_CHUNK_BYTES as usize).max(1)
    }

    fn piece_to_device(self, destination: u64, source: &[u8]) -> Result<Option<Ticket>> {
        let chunk_bytes = STAGING_CHUNK_BYTES as usize;
        let mut under_way: VecDeque<Ticket> = VecDeque::new();
        let mut address = destination;
        let mut last = None;
        for (at, bytes) in source.chunks(chunk_bytes).enumerate() {
            if under_way.len() == CHUNKS_UNDER_WAY
                && let Some(oldest) = under_way.pop_front()
            {
                self.session.wait_complete(Some(self.context), oldest)?;
            }
            let mut chunk = self.stage(bytes.len() as u64, || match under_way.pop_front() {
                Some(oldest) => {
                    self.mark()?;
                    self.session.wait_complete(Some(self.context), oldest).map(|()| true)
                }
                None => Ok(false),
            })?;
            chunk.write(0, bytes);
            let body = body::MemcpyFromStaging {
                destination: address.into(),
                staging_offset: chunk.offset.into(),
                bytes: chunk.bytes.into(),
            };
            let ticket = self.session.send(self.stream.raw(), None, &body, &[])?;
            chunk.attach(ticket);
            under_way.push_back(ticket);
            last = Some(ticket);
            address += bytes.len() as u64;
            if (at + 1) % CHUNKS_PER_MARK == 0 {
                self.mark()?;
            }
        }
        Ok(last)
    }

    fn piece_to_host(self, source: u64, destination: &mut [u8]) -> Result<()> {
        let mut under_way: VecDeque<(Chunk<'a>, &mut [u8])> = VecDeque::new();
        let mut address = source;
        let chunks = destination.len().div_ceil(STAGING_CHUNK_BYTES as usize);
        for (at, out) in (1..).zip(destination.chunks_mut(STAGING_CHUNK_BYTES as usize)) {
            if under_way.len() == CHUNKS_UNDER_WAY {
                self.collect(under_way.pop_front())?;
            }
            let mut chunk = self.stage(out.len() as u64, || {
                self.mark()?;
                self.collect(under_way.pop_front())
            })?;
            let body = body::MemcpyToStaging {
                source: address.into(),
                staging_offset: chunk.offset.into(),
                bytes: chunk.bytes.into(),
            };
            chunk.attach(self.session.send(self.stream.raw(), None, &body, &[])?);
            if at % CHUNKS_PER_MARK == 0 || at == chunks {
                // Whoever waits for the last chunk waits for its mark too: once the copy returned, nothing of it is
                // left on the stream that a query could find unfinished.
                chunk.attach(self.mark()?);
            }
            address += out.len() as u64;
            under_way.push_back((chunk, out));
        }
        while self.collect(under_way.pop_front())? {}
        Ok(())
    }

    /// Waits for the oldest chunk and copies it out; says whether there was one.
    fn collect(self, oldest: Option<(Chunk<'a>, &mut [u8])>) -> Result<bool> {
        let Some((chunk, out)) = oldest else { return Ok(false) };
        if let Some(ticket) = chunk.ticket() {
            self.session.wait_complete(Some(self.context), ticket)?;
        }
        chunk.read(0, out);
        Ok(true)
    }

    /// Asks the host to publish what is complete when the stream gets here.
    fn mark(self) -> Result<Ticket> {
        self.session.send(self.stream.raw(), None, &body::StreamSynchronize {}, &[])
    }

    /// Takes a chunk. Where there is none, waits for chunks of this copy (`free_own` waits for one and says whether
    /// there was one), and after that for the stream, so that the copy may use the reserve.
    fn stage(self, bytes: u64, mut free_own: impl FnMut() -> Result<bool>) -> Result<Chunk<'a>> {
        let stream = self.stream.index();
        loop {
            if let Some(chunk) = self.session.try_stage(stream, bytes, false) {
                return Ok(chunk);
            }
            if !free_own()? {
                break;
            }
        }
        self.session.synchronize_stream(self.context, self.stream)?;
        self.session.stage_privileged(stream, bytes)
    }
}

/// Does all pieces of a copy, each by a thread; where the system starts no more threads, those there are do the rest.
fn in_turn_or_at_once<P: Send, T: Send>(
    pieces: Vec<P>,
    copy: impl Fn(P) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let helpers = pieces.len().saturating_sub(1);
    let pieces = Mutex::new(pieces);
    let work = || {
        let mut done = Vec::new();
        loop {
            // A statement of its own, so that the lock is not held for the copy.
            let piece = pieces.lock().pop();
            match piece {
                Some(piece) => done.push(copy(piece)?),
                None => return Ok(done),
            }
        }
    };
    thread::scope(|scope| {
        let start = |_| thread::Builder::new().name("vgpu-copy".into()).spawn_scoped(scope, work);
        let started: Vec<_> = (0..helpers).map_while(|at| start(at).ok()).collect();
        let mut all = work();
        for helper in started {
            let done = helper.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            all = all.and_then(|mut all| {
                all.extend(done?);
                Ok(all)
            });
        }
        all
    })
}

impl Session {
    /// Takes a chunk for a command that nothing holds up; waits for others of that kind.
    pub(crate) fn stage_privileged(&self, stream: u32, bytes: u64) -> Result<Chunk<'_>> {
        loop {
            if let Some(chunk) = self.try_stage(stream, bytes, true) {
                return Ok(chunk);
            }
            self.fate.gate(&self.control)?;
            std::thread::sleep(RESERVE_PAUSE);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Instant;

    use super::*;

    #[test]
    fn pieces_are_copied_at_the_same_time() {
        const DEADLINE: Duration = Duration::from_secs(20);
        let begun = AtomicUsize::new(0);
        let done = in_turn_or_at_once(vec![1, 2, 3], |piece| {
            begun.fetch_add(1, Ordering::SeqCst);
            let start = Instant::now();
            while begun.load(Ordering::SeqCst) < 3 {
                assert!(start.elapsed() < DEADLINE, "each piece waits for the others to begin");
                thread::yield_now();
            }
            Ok(piece)
        });
        let mut done = done.unwrap();
        done.sort_unstable();
        assert_eq!(done, [1, 2, 3]);
    }
}
