//! A session without processes: the dispatcher, and the guest's end of its window, in one thread.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use vgpu_core::session::{Dispatcher, Parts, SessionConfig, Turn, open};
use vgpu_proto::frame::{self, ReplyTo};
use vgpu_proto::handshake::Limits;
use vgpu_proto::limits::{self, FRAME_BYTES_MAX, RING_BYTES};
use vgpu_proto::operation::Operation;
use vgpu_proto::{
    ContextId, FrameHeader, FunctionId, ModuleId, RegionId, Status, StreamId, body, ring, window,
};
use vgpu_window::{Region, Reservation};
use zerocopy::{Immutable, IntoBytes};

use crate::null::{NullDevice, Open, PARAMS_BYTES};

const CONTEXT: ContextId = ContextId::new(0, 1);
const LEGACY: StreamId = StreamId::new(0, 1);
const STREAM: StreamId = StreamId::new(1, 1);
const MODULE: ModuleId = ModuleId::new(0, 1);
const FUNCTION: FunctionId = FunctionId::new(0, 1);

/// Launches that a stream may hold at once.
pub const LAUNCHES_MAX: u64 = limits::STREAM_COMMANDS_MAX;

/// A session on a null device, with a stream and a kernel.
#[derive(Debug)]
pub struct InProcess {
    dispatcher: Dispatcher,
    control: Region,
    /// Where frames are built: clearing 36 KiB for each would take longer than all else.
    frame: Box<[u8; FRAME_BYTES_MAX as usize]>,
    tail: u64,
    tag: u32,
}

impl InProcess {
    /// Opens one.
    ///
    /// # Panics
    /// When the system has no memory or no addresses left.
    pub fn open() -> Self {
        let range =
            || Arc::new(Reservation::new_anywhere(1 << 30).expect("a GiB of the address space is free"));
        let config = SessionConfig {
            id: 1,
            limits: Limits::largest(1 << 30, 1 << 30),
            heap: range(),
            arena: range(),
            lease: None,
        };
        let Parts { dispatcher, regions, descriptions, .. } =
            open(config, Arc::new(NullDevice::default()), Arc::new(Open), Arc::new(Open), Arc::new(Open))
                .expect("memory is left");
        let control =
            Region::map_shared(regions[0].as_fd(), descriptions[0].bytes).expect("the session sealed it");
        let mut session =
            Self { dispatcher, control, frame: Box::new([0; FRAME_BYTES_MAX as usize]), tail: 0, tag: 0 };
        session.set_up();
        session
    }

    fn set_up(&mut self) {
        let context = CONTEXT.raw().into();
        self.call(
            0,
            &body::CtxCreate { context, legacy_stream: LEGACY.raw().into(), ..Default::default() },
            &[],
        );
        let flags = body::STREAM_NON_BLOCKING.into();
        self.call(STREAM.raw(), &body::StreamCreate { context, flags, ..Default::default() }, &[]);
        let load = body::ModuleLoad {
            context,
            module: MODULE.raw().into(),
            image_region: RegionId::STAGING.0.into(),
            image_bytes: 64.into(),
            reply_offset: 4096.into(),
            reply_bytes: 4096.into(),
            ..Default::default()
        };
        self.call(0, &load, &[]);
        let get = body::ModuleGetFunction {
            module: MODULE.raw().into(),
            function: FUNCTION.raw().into(),
            reply_offset: 4096.into(),
            reply_bytes: 4096.into(),
            ..Default::default()
        };
        self.call(0, &get, b"kernel");
    }

    /// The window's control region.
    pub fn control(&self) -> &Region {
        &self.control
    }

    /// Bytes ever written to the ring.
    pub fn tail(&self) -> u64 {
        self.tail
    }

    /// Writes launches, at most [`LAUNCHES_MAX`], as a guest would. Everything written before has been taken.
    ///
    /// # Panics
    /// Never: a frame of a launch is short.
    pub fn write_launches(&mut self, count: u64) {
        let launch = body::LaunchKernel {
            function: FUNCTION.raw().into(),
            grid: [1.into(); 3],
            block: [1.into(); 3],
            ..Default::default()
        };
        // The reader is behind by what this call writes, never by more.
        let head = self.tail;
        for _ in 0..count.min(LAUNCHES_MAX) {
            self.write(head, STREAM.raw(), None, &launch, &[0; PARAMS_BYTES as usize]);
        }
    }

    /// Takes turns until the ring is empty.
    ///
    /// # Panics
    /// When the session ends, which an honest guest does not bring about.
    pub fn drain(&mut self) {
        let mut jobs = Vec::new();
        loop {
            match self.dispatcher.turn(&mut jobs) {
                Turn::Progress => jobs.drain(..).for_each(vgpu_core::session::Job::run),
                Turn::Idle => return,
                Turn::Ended(ended) => panic!("the session ended: {ended:?}"),
            }
        }
    }

    fn call<B: Operation + IntoBytes + Immutable>(&mut self, stream: u64, body: &B, payload: &[u8]) {
        self.tag += 1;
        let reply = ReplyTo { slot: 0, tag: self.tag };
        self.write(self.tail, stream, Some(reply), body, payload);
        self.drain();
        let word = |field| {
            let word = self.control.atomic_u32(window::reply(0, field)).expect("in the layout");
            word.load(Ordering::Acquire)
        };
        assert_eq!(
            (word(window::REPLY_TAG), Status(word(window::REPLY_STATUS))),
            (self.tag, Status::SUCCESS)
        );
    }

    fn write<B: Operation + IntoBytes + Immutable>(
        &mut self,
        head: u64,
        stream: u64,
        reply: Option<ReplyTo>,
        body: &B,
        payload: &[u8],
    ) {
        let frame = frame::encode(&mut self.frame, stream, reply, body, payload).expect("the frame is short");
        let length = u32::try_from(frame.len()).expect("the frame is short");
        let slot = ring::place(self.tail, head, length).expect("the ring has room for all that is written");
        if slot.padding_bytes > 0 {
            let padding = FrameHeader {
                length_bytes: slot.padding_bytes,
                op: None,
                stream: 0,
                reply: None,
                payload_bytes: 0,
            };
            let at = window::RING + self.tail % RING_BYTES;
            self.control.write(at, &padding.to_bytes()).expect("in the ring");
        }
        self.control.write(window::RING + slot.offset, frame).expect("in the ring");
        self.tail = slot.tail;
        let tail = self.control.atomic_u64(window::RING_TAIL).expect("in the layout");
        tail.store(self.tail, Ordering::Release);
    }
}
