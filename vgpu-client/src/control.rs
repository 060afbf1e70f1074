//! The control region's words, as a guest uses them. The only module that knows their offsets.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use vgpu_proto::limits::REPLY_SLOTS;
use vgpu_proto::{Status, window};
use vgpu_window::{Region, futex};

/// Why the accessors cannot fail.
const SIZED: &str = "the handshake checked that the control region has CONTROL_BYTES bytes";

/// The control region of a session.
#[derive(Debug)]
pub(crate) struct Control {
    region: Region,
}

/// Where a thread sleeps: the word that it sets before, and the word that it sleeps on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bed<'a> {
    pub(crate) need_wake: &'a AtomicU32,
    pub(crate) futex: &'a AtomicU32,
}

impl Control {
    /// Takes a region of `CONTROL_BYTES` bytes; `None` where it is of another size.
    pub(crate) fn new(region: Region) -> Option<Self> {
        (region.len() == window::CONTROL_BYTES).then_some(Self { region })
    }

    fn word32(&self, offset: u64) -> &AtomicU32 {
        self.region.atomic_u32(offset).expect(SIZED)
    }

    fn word64(&self, offset: u64) -> &AtomicU64 {
        self.region.atomic_u64(offset).expect(SIZED)
    }

    pub(crate) fn magic(&self) -> u64 {
        self.word64(window::MAGIC_OFFSET).load(Ordering::Acquire)
    }

    /// Copies a frame to its place in the ring. The caller holds the producer's lock.
    pub(crate) fn write_ring(&self, offset: u64, frame: &[u8]) {
        self.region.write(window::RING + offset, frame).expect("ring::place keeps a frame inside the ring");
    }

    pub(crate) fn ring_head(&self) -> u64 {
        self.word64(window::RING_HEAD).load(Ordering::Acquire)
    }

    pub(crate) fn publish_tail(&self, tail: u64) {
        self.word64(window::RING_TAIL).store(tail, Ordering::Release);
    }

    /// Wakes the worker if it sleeps. The fence orders the tail before the look at the word; the worker does the
    /// mirror image, so one of the two sees the other.
    pub(crate) fn kick(&self) {
        fence(Ordering::SeqCst);
        let word = self.word32(window::NEED_KICK);
        if word.load(Ordering::Relaxed) != 0 && word.swap(0, Ordering::SeqCst) != 0 {
            futex::wake_all(word);
        }
    }

    /// Whether no error word was ever set: what each call reads first.
    pub(crate) fn is_quiet(&self) -> bool {
        self.word32(window::ATTENTION).load(Ordering::Acquire) == 0
    }

    pub(crate) fn session_error(&self) -> Status {
        Status(self.word32(window::SESSION_ERROR).load(Ordering::Acquire))
    }

    pub(crate) fn context_error(&self, context: u32) -> Status {
        Status(self.word32(window::context_error(context)).load(Ordering::Acquire))
    }

    /// Takes the deferred error, so that it is reported once.
    pub(crate) fn take_deferred(&self) -> Status {
        let word = self.word32(window::DEFERRED_ERROR);
        match word.load(Ordering::Relaxed) {
            0 => Status::SUCCESS,
            _ => Status(word.swap(0, Ordering::AcqRel)),
        }
    }

    pub(crate) fn output_bytes(&self) -> u64 {
        self.word64(window::OUTPUT_BYTES).load(Ordering::Acquire)
    }

    pub(crate) fn completed(&self, stream: u32) -> u64 {
        self.word64(window::stream(stream, window::STREAM_COMPLETED)).load(Ordering::Acquire)
    }

    /// Commands and bytes whose credit came back.
    pub(crate) fn retired(&self, stream: u32) -> (u64, u64) {
        (
            self.word64(window::stream(stream, window::STREAM_RETIRED)).load(Ordering::Acquire),
            self.word64(window::stream(stream, window::STREAM_RETIRED_BYTES)).load(Ordering::Acquire),
        )
    }

    pub(crate) fn reply_tag(&self, slot: u32) -> u32 {
        self.word32(window::reply(slot, window::REPLY_TAG)).load(Ordering::Acquire)
    }

    /// Status and values of an answer. Read after its tag was seen.
    pub(crate) fn reply(&self, slot: u32) -> (Status, [u64; window::REPLY_VALUE_COUNT]) {
        let status = self.word32(window::reply(slot, window::REPLY_STATUS)).load(Ordering::Relaxed);
        let mut values = [0; window::REPLY_VALUE_COUNT];
        for (at, value) in values.iter_mut().enumerate() {
            let offset = window::reply(slot, window::REPLY_VALUES + at as u64 * 8);
            *value = self.word64(offset).load(Ordering::Relaxed);
        }
        (Status(status), values)
    }

    pub(crate) fn stream_bed(&self, stream: u32) -> Bed<'_> {
        Bed {
            need_wake: self.word32(window::stream(stream, window::STREAM_NEED_WAKE)),
            futex: self.word32(window::stream(stream, window::STREAM_EPOCH)),
        }
    }

    pub(crate) fn reply_bed(&self, slot: u32) -> Bed<'_> {
        Bed {
            need_wake: self.word32(window::reply(slot, window::REPLY_NEED_WAKE)),
            futex: self.word32(window::reply(slot, window::REPLY_TAG)),
        }
    }

    /// Both words of this bed are the same one.
    pub(crate) fn ring_bed(&self) -> Bed<'_> {
        let word = self.word32(window::RING_NEED_WAKE);
        Bed { need_wake: word, futex: word }
    }

    /// Wakes every thread that sleeps on a word of the window.
    pub(crate) fn wake_everyone(&self) {
        futex::wake_all(self.ring_bed().futex);
        for slot in 0..REPLY_SLOTS {
            futex::wake_all(self.reply_bed(slot).futex);
        }
        for stream in 0..vgpu_proto::limits::STREAMS_MAX {
            futex::wake_all(self.stream_bed(stream).futex);
        }
    }
}
