//! One session: everything that its objects share, and the two ways a command takes to the host.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use vgpu_proto::frame::{self, ReplyTo};
use vgpu_proto::handshake::{DeviceDescription, Limits};
use vgpu_proto::limits::{FRAME_BYTES_MAX, GRAPHS_MAX};
use vgpu_proto::window::REPLY_VALUE_COUNT;
use vgpu_proto::{EventId, Op, Operation, Order, Status, StreamId, body};
use zerocopy::{Immutable, IntoBytes};

use crate::addresses::AddressMap;
use crate::calls::Calls;
use crate::control::Control;
use crate::errors::{Error, Result};
use crate::fate::Fate;
use crate::handles::Handles;
use crate::heap::Heap;
use crate::link::HostLink;
use crate::reply::Replies;
use crate::ring::{Blocked, Ring, Ticket};
use crate::staging::Staging;
use crate::virtual_memory::Mapped;

type FrameBuffer = Box<[u8; FRAME_BYTES_MAX as usize]>;

thread_local! {
    /// A frame is built here and copied to the ring in one go. Clearing 36 KiB for each launch would cost more than
    /// the launch.
    static FRAME: RefCell<FrameBuffer> = RefCell::new(frame_buffer());
}

fn frame_buffer() -> FrameBuffer {
    Box::new([0; FRAME_BYTES_MAX as usize])
}

/// Gives `use_it` a buffer for a frame: this thread's, or a fresh one while the thread's is in use or gone (objects
/// that live in thread-local variables are dropped at the thread's end, after the buffer).
fn with_frame<R>(use_it: impl FnOnce(&mut FrameBuffer) -> R) -> R {
    let mut use_it = Some(use_it);
    let outcome = FRAME.try_with(|buffer| {
        let mut buffer = buffer.try_borrow_mut().ok()?;
        use_it.take().map(|use_it| use_it(&mut buffer))
    });
    match (outcome, use_it) {
        (Ok(Some(result)), _) => result,
        (_, Some(use_it)) => use_it(&mut frame_buffer()),
        (_, None) => unreachable!("a closure that was taken has given its result"),
    }
}

/// Names of a session's objects.
#[derive(Debug)]
pub(crate) struct Tables {
    pub(crate) contexts: Handles,
    pub(crate) streams: Handles,
    pub(crate) events: Handles,
    pub(crate) modules: Handles,
    pub(crate) functions: Handles,
    pub(crate) graphs: Handles,
}

impl Tables {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            contexts: Handles::new("contexts", limits.contexts),
            streams: Handles::new("streams", limits.streams),
            events: Handles::new("events", limits.events),
            modules: Handles::new("modules", limits.modules),
            functions: Handles::new("functions", limits.functions),
            graphs: Handles::new("graphs", GRAPHS_MAX),
        }
    }
}

/// An object whose destruction could not be sent without waiting, and the slot of its context.
#[derive(Clone, Copy, Debug)]
struct Orphan {
    context: u32,
    object: Object,
}

#[derive(Clone, Copy, Debug)]
enum Object {
    Stream(StreamId),
    Event(EventId),
}

/// How calls wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiting {
    /// How long a waiting thread polls before it sleeps.
    pub(crate) spin: Duration,
    /// How long it polls before it offers its processor to others between its looks.
    pub(crate) keep: Duration,
    /// Whether every call waits for its own work.
    pub(crate) sync_all: bool,
}

/// A session.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: u64,
    pub(crate) version: u16,
    pub(crate) host_keeps_images: bool,
    pub(crate) limits: Limits,
    pub(crate) device: DeviceDescription,
    pub(crate) control: Arc<Control>,
    pub(crate) fate: Arc<Fate>,
    pub(crate) ring: Ring,
    pub(crate) replies: Replies,
    pub(crate) staging: Staging,
    pub(crate) heap: Heap,
    pub(crate) addresses: AddressMap,
    pub(crate) mapped: Mapped,
    pub(crate) tables: Tables,
    pub(crate) calls: Calls,
    pub(crate) link: HostLink,
    pub(crate) waiting: Waiting,
    /// Threads of one pageable copy, at most.
    pub(crate) copiers: usize,
    /// Held while memory of the program is pinned: two threads may want the same pages.
    pub(crate) registering: Mutex<()>,
    /// Destroyed streams, with the number of their last command: their slots are free once it is complete.
    pub(crate) retiring: Mutex<Vec<Ticket>>,
    /// Bounded by the tables: an orphan keeps its name.
    pub(crate) orphans: Orphans,
}

/// The session's orphans. A type of its own, so that only this module sees what is in it.
#[derive(Debug, Default)]
pub(crate) struct Orphans(Mutex<Vec<Orphan>>);

impl Session {
    /// Fails with what the error words say: the session's end, the context's sticky error, or the error of an
    /// earlier command, which is taken. Each call begins with this; it costs two loads while all is well.
    pub(crate) fn check(&self, context: u32) -> Result<()> {
        if self.control.is_quiet() {
            return if self.fate.is_over() { Err(self.fate.error()) } else { Ok(()) };
        }
        self.check_lasting(context)?;
        match self.control.take_deferred() {
            Status::SUCCESS => Ok(()),
            status => Err(Error::Earlier { status }),
        }
    }

    /// Fails with what stays as it is: the session's end, or the context's sticky error.
    pub(crate) fn check_lasting(&self, context: u32) -> Result<()> {
        self.fate.gate(&self.control)?;
        self.check_sticky(context)
    }

    fn check_sticky(&self, context: u32) -> Result<()> {
        match self.control.context_error(context) {
            Status::SUCCESS => Ok(()),
            status => {
                // The text of a failed assertion came before its fault, and a program may end once it hears of that.
                self.link.wait_output(&self.fate, self.control.output_bytes());
                Err(Error::Sticky { status })
            }
        }
    }

    /// Sends a frame. Waits for credit of its stream, where it is stream-ordered, and for room in the ring.
    ///
    /// `stream` is what the header names: the raw id of a stream, or 0.
    pub(crate) fn send<B: Operation + IntoBytes + Immutable>(
        &self,
        stream: u64,
        reply: Option<ReplyTo>,
        body: &B,
        payload: &[u8],
    ) -> Result<Ticket> {
        with_frame(|buffer| {
            let frame = frame::encode(buffer, stream, reply, body, payload)
                .expect("callers keep payloads within PARAMS_BYTES_MAX and NAME_BYTES_MAX");
            let ordered = (B::OP.order() == Order::Stream).then(|| StreamId::from_raw(stream).index());
            let ticket = self.put(ordered, frame)?;
            self.calls.count(B::OP);
            Ok(ticket)
        })
    }

    fn put(&self, stream: Option<u32>, frame: &[u8]) -> Result<Ticket> {
        loop {
            self.fate.gate(&self.control)?;
            match self.ring.try_put(&self.control, stream, frame) {
                Ok(ticket) => {
                    self.control.kick();
                    return Ok(ticket);
                }
                Err(Blocked::Credit { retired }) => {
                    let stream = stream.expect("only streams have credit");
                    self.wait_credit(stream, retired)?;
                }
                Err(Blocked::Room { head }) => self.wait_room(head)?,
            }
        }
    }

    /// Waits until credit of a stream came back since `seen`. Another thread may take it: the caller looks again.
    fn wait_credit(&self, stream: u32, seen: (u64, u64)) -> Result<()> {
        let bed = self.control.stream_bed(stream);
        self.fate.wait(&self.control, bed, self.waiting, || {
            Ok((self.control.retired(stream) != seen).then_some(()))
        })
    }

    fn wait_room(&self, seen: u64) -> Result<()> {
        let bed = self.control.ring_bed();
        self.fate
            .wait(&self.control, bed, self.waiting, || Ok((self.control.ring_head() != seen).then_some(())))
    }

    /// Sends a frame and waits for its answer.
    pub(crate) fn call<B: Operation + IntoBytes + Immutable>(
        &self,
        stream: u64,
        body: &B,
        payload: &[u8],
    ) -> Result<[u64; REPLY_VALUE_COUNT]> {
        let (status, values) = self.ask(stream, body, payload)?;
        status.ok().map_err(|status| Error::call(B::OP, status))?;
        Ok(values)
    }

    /// As [`Session::call`], for operations whose failure comes with values too.
    pub(crate) fn ask<B: Operation + IntoBytes + Immutable>(
        &self,
        stream: u64,
        body: &B,
        payload: &[u8],
    ) -> Result<(Status, [u64; REPLY_VALUE_COUNT])> {
        self.ask_placed(stream, body, payload).map(|(_, status, values)| (status, values))
    }

    /// Sends a stream-ordered frame and waits until the host has submitted it.
    pub(crate) fn call_ordered<B: Operation + IntoBytes + Immutable>(
        &self,
        stream: u64,
        body: &B,
        payload: &[u8],
    ) -> Result<Ticket> {
        let (ticket, status, _) = self.ask_placed(stream, body, payload)?;
        status.ok().map_err(|status| Error::call(B::OP, status))?;
        Ok(ticket)
    }

    fn ask_placed<B: Operation + IntoBytes + Immutable>(
        &self,
        stream: u64,
        body: &B,
        payload: &[u8],
    ) -> Result<(Ticket, Status, [u64; REPLY_VALUE_COUNT])> {
        let slot = self.replies.acquire(&self.fate, &self.control)?;
        let ticket = self.send(stream, Some(slot.to), body, payload)?;
        let bed = self.control.reply_bed(slot.to.slot);
        let (status, values) = self.fate.wait(&self.control, bed, self.waiting, || {
            let answered = self.control.reply_tag(slot.to.slot) == slot.to.tag;
            Ok(answered.then(|| self.control.reply(slot.to.slot)))
        })?;
        Ok((ticket, status, values))
    }

    /// Whether a command is complete on the device.
    pub(crate) fn is_complete(&self, ticket: Ticket) -> bool {
        self.control.completed(ticket.stream) >= ticket.number
    }

    /// Waits until a command is complete on the device, or `context` (if given) has a sticky error.
    pub(crate) fn wait_complete(&self, context: Option<u32>, ticket: Ticket) -> Result<()> {
        let bed = self.control.stream_bed(ticket.stream);
        self.fate.wait(&self.control, bed, self.waiting, || {
            if self.is_complete(ticket) {
                return Ok(Some(()));
            }
            if let Some(context) = context
                && !self.control.is_quiet()
            {
                self.check_sticky(context)?;
            }
            Ok(None)
        })
    }

    /// Asks for a mark behind all commands of a stream so far, and waits for it.
    pub(crate) fn synchronize_stream(&self, context: u32, stream: StreamId) -> Result<()> {
        let ticket = self.send(stream.raw(), None, &body::StreamSynchronize {}, &[])?;
        self.wait_all(context, &[ticket])
    }

    /// Waits until all commands of a stream so far are complete, without a word to the host: it marks all commands sooner
    /// or later.
    pub(crate) fn wait_stream(&self, context: u32, stream: StreamId) -> Result<()> {
        self.calls.count(Op::StreamSynchronize);
        self.wait_all(context, &[self.ring.latest(stream.index())])
    }

    /// As [`Session::wait_stream`], for all streams of a context.
    pub(crate) fn wait_context(&self, context: u32) -> Result<()> {
        self.calls.count(Op::CtxSynchronize);
        self.wait_all(context, &self.ring.unfinished(&self.control, context))
    }

    fn wait_all(&self, context: u32, tickets: &[Ticket]) -> Result<()> {
        let waited = tickets.iter().try_for_each(|ticket| self.wait_complete(Some(context), *ticket));
        // After a fault too: the text of a failed assertion came before it.
        self.link.wait_output(&self.fate, self.control.output_bytes());
        waited
    }

    /// What follows each asynchronous command: nothing, or with `VGPU_SYNC=1` the wait for it and its error.
    pub(crate) fn settle(&self, context: u32, stream: StreamId) -> Result<()> {
        if self.waiting.sync_all {
            self.synchronize_stream(context, stream)?;
            self.check(context)?;
        }
        Ok(())
    }

    /// Mints the name of a stream of the context in slot `context`.
    pub(crate) fn mint_stream(&self, context: u32) -> Result<StreamId> {
        self.adopt_orphans();
        self.retiring.lock().retain(|ticket| {
            let complete = self.is_complete(*ticket);
            if complete {
                self.tables.streams.release(ticket.stream);
            }
            !complete
        });
        let (index, generation) = self.tables.streams.mint()?;
        self.ring.assign(index, context);
        Ok(StreamId::new(index, generation))
    }

    /// Sends the destruction of a stream without waiting; keeps it for later where that is not possible.
    pub(crate) fn destroy_stream(&self, context: u32, stream: StreamId) {
        self.destroy(Orphan { context, object: Object::Stream(stream) });
    }

    /// Sends the destruction of an event without waiting; keeps it for later where that is not possible.
    pub(crate) fn destroy_event(&self, context: u32, event: EventId) {
        self.destroy(Orphan { context, object: Object::Event(event) });
    }

    fn destroy(&self, orphan: Orphan) {
        if !self.fate.is_over() && !self.try_destroy(orphan.object) {
            self.orphans.0.lock().push(orphan);
        }
    }

    /// Tries again to send what could not be sent when it was dropped.
    pub(crate) fn adopt_orphans(&self) {
        self.orphans.0.lock().retain(|orphan| !self.try_destroy(orphan.object));
    }

    /// Mints the name of an event. Where all names are taken, those of dropped events that found the ring full come back
    /// first, waiting for room.
    pub(crate) fn mint_event(&self) -> Result<EventId> {
        self.adopt_orphans();
        let minted = self.tables.events.mint().or_else(|limit| {
            let is_event = |orphan: &mut Orphan| matches!(orphan.object, Object::Event(_));
            let dropped: Vec<Orphan> = self.orphans.0.lock().extract_if(.., is_event).collect();
            if dropped.is_empty() {
                return Err(limit);
            }
            self.bury(dropped)?;
            self.tables.events.mint()
        });
        let (index, generation) = minted?;
        Ok(EventId::new(index, generation))
    }

    /// Sends the destruction of all that is left of a context, waiting for credit. Behind the context's own
    /// destruction these names would mean nothing.
    pub(crate) fn bury_orphans(&self, context: u32) -> Result<()> {
        let left: Vec<Orphan> =
            self.orphans.0.lock().extract_if(.., |orphan| orphan.context == context).collect();
        self.bury(left)
    }

    fn bury(&self, orphans: Vec<Orphan>) -> Result<()> {
        for orphan in orphans {
            match orphan.object {
                Object::Stream(stream) => {
                    let ticket = self.send(stream.raw(), None, &body::StreamDestroy {}, &[])?;
                    self.retiring.lock().push(ticket);
                }
                Object::Event(event) => {
                    self.send(0, None, &body::EventDestroy { event: event.raw().into() }, &[])?;
                    self.tables.events.release(event.index());
                }
            }
        }
        Ok(())
    }

    fn try_destroy(&self, object: Object) -> bool {
        if self.fate.is_over() {
            return false;
        }
        with_frame(|buffer| match object {
            Object::Stream(stream) => {
                let body = body::StreamDestroy {};
                let frame = frame::encode(buffer, stream.raw(), None, &body, &[])
                    .expect("a body without payload fits a frame");
                let Ok(ticket) = self.ring.try_put(&self.control, Some(stream.index()), frame) else {
                    return false;
                };
                self.control.kick();
                self.calls.count(Op::StreamDestroy);
                self.retiring.lock().push(ticket);
                true
            }
            Object::Event(event) => {
                let body = body::EventDestroy { event: event.raw().into() };
                let frame =
                    frame::encode(buffer, 0, None, &body, &[]).expect("a body without payload fits a frame");
                if self.ring.try_put(&self.control, None, frame).is_err() {
                    return false;
                }
                self.control.kick();
                self.calls.count(Op::EventDestroy);
                // The host reads this frame before any that creates the slot's next event.
                self.tables.events.release(event.index());
                true
            }
        })
    }
}
