//! The control region as the host writes it: answers, counters, errors.
//!
//! The host keeps the truth in private memory and only publishes here; of what a guest can write it reads the ring's
//! tail, its need-wake words, and the frames themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};

use vgpu_proto::frame::ReplyTo;
use vgpu_proto::limits::REPLY_SLOTS;
use vgpu_proto::window::{self, REPLY_VALUE_COUNT};
use vgpu_proto::{Status, Violation};
use vgpu_window::{Region, futex};

use super::notice::Notice;
use crate::device::Mark;

const IN_LAYOUT: &str = "the layout places every word inside the control region";

/// The control region of a session.
#[derive(Debug)]
pub(super) struct Words {
    region: Arc<Region>,
    /// Reply slots that wait for an answer. Private: a guest cannot make an answer go astray.
    busy: Vec<AtomicBool>,
}

impl Words {
    pub(super) fn new(region: Arc<Region>) -> Self {
        let words = Self { region, busy: (0..REPLY_SLOTS).map(|_| AtomicBool::new(false)).collect() };
        words.word64(window::MAGIC_OFFSET).store(window::MAGIC, Ordering::Release);
        words
    }

    pub(super) fn region(&self) -> &Arc<Region> {
        &self.region
    }

    pub(super) fn word32(&self, offset: u64) -> &AtomicU32 {
        self.region.atomic_u32(offset).expect(IN_LAYOUT)
    }

    pub(super) fn word64(&self, offset: u64) -> &AtomicU64 {
        self.region.atomic_u64(offset).expect(IN_LAYOUT)
    }

    /// Takes a reply slot for a frame.
    pub(super) fn claim(&self, reply: ReplyTo) -> Result<(), Violation> {
        match self.busy[reply.slot as usize].swap(true, Ordering::AcqRel) {
            true => Err(Violation::ReplySlotBusy),
            false => Ok(()),
        }
    }

    /// Answers a frame whose slot was claimed.
    pub(super) fn answer(&self, reply: ReplyTo, status: Status, values: [u64; REPLY_VALUE_COUNT]) {
        for (at, value) in (0u64..).zip(values) {
            self.word64(window::reply(reply.slot, window::REPLY_VALUES + 8 * at))
                .store(value, Ordering::Relaxed);
        }
        self.word32(window::reply(reply.slot, window::REPLY_STATUS)).store(status.0, Ordering::Relaxed);
        // The slot is free before the guest can see the tag: an honest guest may use it again at once.
        self.busy[reply.slot as usize].store(false, Ordering::Release);
        let tag = self.word32(window::reply(reply.slot, window::REPLY_TAG));
        tag.store(reply.tag, Ordering::Release);
        fence(Ordering::SeqCst);
        // Looked at before it is swapped: the guest polls this cache line, and a swap would take it away from there.
        let need = self.word32(window::reply(reply.slot, window::REPLY_NEED_WAKE));
        if need.load(Ordering::SeqCst) != 0 && need.swap(0, Ordering::SeqCst) != 0 {
            futex::wake_all(tag);
        }
    }

    /// Publishes how far the ring was read, and wakes guests that wait for room.
    pub(super) fn publish_head(&self, head: u64) {
        self.word64(window::RING_HEAD).store(head, Ordering::Release);
        fence(Ordering::SeqCst);
        let need = self.word32(window::RING_NEED_WAKE);
        if need.load(Ordering::SeqCst) != 0 && need.swap(0, Ordering::SeqCst) != 0 {
            futex::wake_all(need);
        }
    }

    /// Returns a stream's credit, and wakes guests that wait for it.
    pub(super) fn publish_retired(&self, stream: u32, commands: u64, bytes: u64) {
        self.word64(window::stream(stream, window::STREAM_RETIRED)).store(commands, Ordering::Release);
        self.word64(window::stream(stream, window::STREAM_RETIRED_BYTES)).store(bytes, Ordering::Release);
        self.wake_stream(stream);
    }

    fn wake_stream(&self, stream: u32) {
        fence(Ordering::SeqCst);
        let need = self.word32(window::stream(stream, window::STREAM_NEED_WAKE));
        if need.load(Ordering::SeqCst) != 0 && need.swap(0, Ordering::SeqCst) != 0 {
            let epoch = self.word32(window::stream(stream, window::STREAM_EPOCH));
            epoch.fetch_add(1, Ordering::SeqCst);
            futex::wake_all(epoch);
        }
    }

    /// Leaves an error that the guest's next call takes.
    pub(super) fn defer(&self, status: Status) {
        // The first error wins, as natively; the count tells that there were more.
        let deferred = self.word32(window::DEFERRED_ERROR);
        let _ = deferred.compare_exchange(0, status.0, Ordering::AcqRel, Ordering::Relaxed);
        self.word32(window::DEFERRED_COUNT).fetch_add(1, Ordering::Relaxed);
        self.attend();
    }

    /// Makes an error stick to a context.
    pub(super) fn stick(&self, context: u32, status: Status) {
        self.word32(window::context_error(context)).store(status.0, Ordering::Release);
        self.attend();
    }

    /// Forgets the error of the context that a slot held before. No reason to look at the error words: a guest that
    /// looks at none is right, and one that looks at this one finds it clean.
    pub(super) fn unstick(&self, context: u32) {
        self.word32(window::context_error(context)).store(Status::SUCCESS.0, Ordering::Release);
    }

    /// Ends the session for every later call, and wakes every sleeper.
    pub(super) fn end(&self, status: Status) {
        self.word32(window::SESSION_ERROR).store(status.0, Ordering::Release);
        self.attend();
        for slot in 0..REPLY_SLOTS {
            futex::wake_all(self.word32(window::reply(slot, window::REPLY_TAG)));
        }
        for stream in 0..vgpu_proto::limits::STREAMS_MAX {
            futex::wake_all(self.word32(window::stream(stream, window::STREAM_EPOCH)));
        }
        futex::wake_all(self.word32(window::RING_NEED_WAKE));
    }

    fn attend(&self) {
        self.word32(window::ATTENTION).fetch_add(1, Ordering::AcqRel);
    }
}

/// The completion mark of one stream slot.
#[derive(Debug)]
pub(super) struct StreamMark {
    words: Arc<Words>,
    stream: u32,
    /// The latest number that was reached. The guest can write the word in the window, not this one.
    reached: AtomicU64,
    notice: Arc<Notice>,
}

impl StreamMark {
    pub(super) fn new(words: Arc<Words>, stream: u32, notice: Arc<Notice>) -> Self {
        Self { words, stream, reached: AtomicU64::new(0), notice }
    }

    /// The latest number that was reached.
    pub(super) fn reached(&self) -> u64 {
        self.reached.load(Ordering::Acquire)
    }

    fn note(&self, value: u64) {
        self.reached.fetch_max(value, Ordering::AcqRel);
        self.notice.reached();
    }
}

impl Mark for StreamMark {
    fn signal(&self, value: u64) {
        let (_, offset) = self.word();
        // Never backwards: the GPU may have written a later mark by itself before this one, which the CPU tells, is told.
        self.words.word64(offset).fetch_max(value, Ordering::AcqRel);
        self.words.wake_stream(self.stream);
        self.note(value);
    }

    fn word(&self) -> (&Arc<Region>, u64) {
        (&self.words.region, window::stream(self.stream, window::STREAM_COMPLETED))
    }

    fn wake(&self, value: u64) {
        self.words.wake_stream(self.stream);
        self.note(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn completion_never_goes_backwards() {
        let words = Words::new(Arc::new(Region::anonymous(window::CONTROL_BYTES).unwrap()));
        let mark = StreamMark::new(Arc::new(words), 3, Arc::new(Notice::of_nobody()));
        let word = || mark.words.word64(window::stream(3, window::STREAM_COMPLETED)).load(Ordering::Acquire);
        mark.signal(2);
        mark.signal(1);
        assert_eq!(word(), 2, "the GPU had written the later one before the earlier one was told");
        mark.signal(5);
        assert_eq!((word(), mark.reached()), (5, 5));
        mark.wake(6);
        assert_eq!(mark.reached(), 6, "the GPU wrote the word by itself");
    }
}
