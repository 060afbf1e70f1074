//! The guest's end, as raw as a hostile one would have it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use vgpu_proto::frame::{self, ReplyTo};
use vgpu_proto::limits::{FRAME_BYTES_MAX, RING_BYTES};
use vgpu_proto::operation::Operation;
use vgpu_proto::{ContextId, Status, StreamId, body, ring, window};
use vgpu_window::Region;
use zerocopy::{Immutable, IntoBytes};

use crate::session::{Dispatcher, Ended, Job, Parts, Session, Turn};

/// A guest, with the worker's end beside it.
pub(super) struct Guest {
    pub(super) dispatcher: Dispatcher,
    pub(super) session: Arc<Session>,
    pub(super) control: Arc<Region>,
    pub(super) tail: u64,
    /// What the worker has surely read. Kept here, because a test may scribble over the word in the window.
    head: u64,
    tag: u32,
    /// Jobs that the dispatcher let go and no thread has run yet.
    pub(super) jobs: Vec<Job>,
}

pub(super) const CONTEXT: ContextId = ContextId::new(0, 1);
pub(super) const LEGACY: StreamId = StreamId::new(0, 1);

impl Guest {
    pub(super) fn new(parts: Parts) -> Self {
        let control = parts.session.words.region().clone();
        Self {
            dispatcher: parts.dispatcher,
            session: parts.session,
            control,
            tail: 0,
            head: 0,
            tag: 0,
            jobs: Vec::new(),
        }
    }

    /// With the first context and its legacy stream made.
    pub(super) fn with_context(mut self) -> Self {
        let body = body::CtxCreate {
            context: CONTEXT.raw().into(),
            legacy_stream: LEGACY.raw().into(),
            ..Default::default()
        };
        assert_eq!(self.call(0, &body, &[]).0, Status::SUCCESS);
        self
    }

    pub(super) fn stream(&mut self, index: u32, flags: u32) -> StreamId {
        let id = StreamId::new(index, 1);
        let body =
            body::StreamCreate { context: CONTEXT.raw().into(), flags: flags.into(), ..Default::default() };
        assert_eq!(self.call(id.raw(), &body, &[]).0, Status::SUCCESS);
        id
    }

    pub(super) fn reply(&mut self, slot: u32) -> ReplyTo {
        self.tag += 1;
        ReplyTo { slot, tag: self.tag }
    }

    pub(super) fn send<B: Operation + IntoBytes + Immutable>(
        &mut self,
        stream: u64,
        reply: Option<ReplyTo>,
        body: &B,
        payload: &[u8],
    ) {
        let mut out = [0; FRAME_BYTES_MAX as usize];
        let frame = frame::encode(&mut out, stream, reply, body, payload).unwrap();
        self.send_bytes(frame);
    }

    /// Puts a frame's bytes into the ring and publishes them.
    pub(super) fn send_bytes(&mut self, frame: &[u8]) {
        let slot =
            ring::place(self.tail, self.head, frame.len().try_into().unwrap()).expect("room in the ring");
        if slot.padding_bytes > 0 {
            let padding = vgpu_proto::FrameHeader {
                length_bytes: slot.padding_bytes,
                op: None,
                stream: 0,
                reply: None,
                payload_bytes: 0,
            };
            self.control.write(window::RING + self.tail % RING_BYTES, &padding.to_bytes()).unwrap();
        }
        self.control.write(window::RING + slot.offset, frame).unwrap();
        self.tail = slot.tail;
        self.publish(self.tail);
    }

    pub(super) fn publish(&self, tail: u64) {
        self.control.atomic_u64(window::RING_TAIL).unwrap().store(tail, Ordering::Release);
    }

    /// Takes turns until nothing moves; jobs are left for the caller.
    pub(super) fn turns(&mut self) -> Option<Ended> {
        loop {
            match self.dispatcher.turn(&mut self.jobs) {
                Turn::Progress => {}
                Turn::Idle => {
                    self.head = self.tail;
                    return None;
                }
                Turn::Ended(ended) => return Some(ended),
            }
        }
    }

    /// Takes turns and runs jobs until nothing moves.
    pub(super) fn run(&mut self) -> Option<Ended> {
        loop {
            if let Some(ended) = self.turns() {
                return Some(ended);
            }
            if self.jobs.is_empty() {
                return None;
            }
            for job in std::mem::take(&mut self.jobs) {
                job.run();
            }
        }
    }

    /// Sends a frame that answers, and runs until it did.
    pub(super) fn call<B: Operation + IntoBytes + Immutable>(
        &mut self,
        stream: u64,
        body: &B,
        payload: &[u8],
    ) -> (Status, u64) {
        let reply = self.reply(5);
        self.send(stream, Some(reply), body, payload);
        assert_eq!(self.run(), None);
        self.answer(reply).expect("an answer")
    }

    /// The answer to a frame, if it is there.
    pub(super) fn answer(&self, reply: ReplyTo) -> Option<(Status, u64)> {
        let word = |field| {
            self.control.atomic_u32(window::reply(reply.slot, field)).unwrap().load(Ordering::Acquire)
        };
        let value = self.control.atomic_u64(window::reply(reply.slot, window::REPLY_VALUES)).unwrap();
        (word(window::REPLY_TAG) == reply.tag)
            .then(|| (Status(word(window::REPLY_STATUS)), value.load(Ordering::Relaxed)))
    }

    pub(super) fn deferred(&self) -> Status {
        Status(self.control.atomic_u32(window::DEFERRED_ERROR).unwrap().swap(0, Ordering::AcqRel))
    }

    pub(super) fn completed(&self, stream: StreamId) -> u64 {
        let word = window::stream(stream.index(), window::STREAM_COMPLETED);
        self.control.atomic_u64(word).unwrap().load(Ordering::Acquire)
    }

    pub(super) fn retired(&self, stream: StreamId) -> u64 {
        let word = window::stream(stream.index(), window::STREAM_RETIRED);
        self.control.atomic_u64(word).unwrap().load(Ordering::Acquire)
    }
}
