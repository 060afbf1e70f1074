//! Streams: queues of work that runs in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use vgpu_proto::{ContextId, Op, StreamId, body};
use zerocopy::IntoBytes;

use crate::context::Context;
use crate::errors::{Misuse, Result};
use crate::event::Event;
use crate::memory::{DeviceBuffer, DevicePtr, Element};
use crate::point::StreamPoint;
use crate::ring::Ticket;
use crate::session::Session;
use crate::transfer::Transfer;
use crate::uses::Pinned;

/// A stream. Clones are the same stream; dropping the last one destroys it once its work is done, without waiting.
#[derive(Clone, Debug)]
pub struct Stream {
    context: Context,
    core: Arc<StreamCore>,
}

/// How a stream is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "made by literal, with defaults")]
pub struct StreamOptions {
    /// Whether it stays out of the legacy stream's rule (`CU_STREAM_NON_BLOCKING`). Default: no; it then waits for
    /// earlier work of the legacy stream, and the legacy stream for its.
    pub non_blocking: bool,
    /// Lower is more urgent; 0 is the default, and the device clamps what it does not have.
    pub priority: i32,
}

/// How a stream compares the 32-bit word that it waits for (`CU_STREAM_WAIT_VALUE_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the conditions that CUDA has")]
pub enum WaitCondition {
    /// `(word - value) as i32 >= 0`.
    GreaterOrEqual,
    /// `word == value`.
    Equal,
    /// `word & value != 0`.
    And,
    /// `!(word | value) != 0`.
    Nor,
}

impl WaitCondition {
    /// `CU_STREAM_WAIT_VALUE_*`.
    const fn number(self) -> u32 {
        match self {
            Self::GreaterOrEqual => 0,
            Self::Equal => 1,
            Self::And => 2,
            Self::Nor => 3,
        }
    }
}

/// The stream itself, without the context that its handles keep alive.
#[derive(Debug)]
pub(crate) struct StreamCore {
    session: Arc<Session>,
    context: ContextId,
    pub(crate) id: StreamId,
    /// Whether dropping it destroys it. A legacy stream goes with its context.
    owned: bool,
    /// Whether who waits for the stream must tell the host: its own commands' marks come later than need be, or do not
    /// cover all that it waits for.
    asks: AtomicBool,
}

impl StreamCore {
    pub(crate) fn legacy(session: &Arc<Session>, context: ContextId, id: StreamId) -> Self {
        Self { session: Arc::clone(session), context, id, owned: false, asks: AtomicBool::new(false) }
    }

    pub(crate) fn create(session: &Arc<Session>, context: ContextId, options: StreamOptions) -> Result<Self> {
        let id = session.mint_stream(context.index())?;
        let flags = if options.non_blocking { body::STREAM_NON_BLOCKING } else { 0 };
        let body = body::StreamCreate {
            context: context.raw().into(),
            flags: flags.into(),
            priority: options.priority.into(),
        };
        if let Err(error) = session.call(id.raw(), &body, &[]) {
            // The host made no stream of that name.
            session.tables.streams.release(id.index());
            return Err(error);
        }
        Ok(Self { session: Arc::clone(session), context, id, owned: true, asks: AtomicBool::new(false) })
    }

    /// Makes who waits for the stream tell the host.
    pub(crate) fn ask_from_now_on(&self) {
        self.asks.store(true, Ordering::Release);
    }
}

impl Drop for StreamCore {
    fn drop(&mut self) {
        if self.owned {
            self.session.destroy_stream(self.context.index(), self.id);
        }
    }
}

impl Stream {
    pub(crate) fn new(context: Context, core: Arc<StreamCore>) -> Self {
        Self { context, core }
    }

    /// The context that it belongs to.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// Its number in the session; no other stream of the session has or had it.
    pub fn number(&self) -> u64 {
        self.core.id.raw()
    }

    pub(crate) fn session(&self) -> &Arc<Session> {
        self.context.session()
    }

    pub(crate) fn id(&self) -> StreamId {
        self.core.id
    }

    /// Waits until all work queued so far is done.
    ///
    /// # Errors
    /// The error of earlier work, a fault of the context, or the session's end.
    pub fn synchronize(&self) -> Result<()> {
        self.context.check()?;
        let (session, context) = (self.session(), self.context.index());
        if self.core.asks.load(Ordering::Acquire) {
            session.synchronize_stream(context, self.id())?;
        } else {
            session.wait_stream(context, self.id())?;
        }
        self.context.check()
    }

    /// Notes that a kernel may overlap the one before it: the host marks such ones only after a while, if nobody asks.
    pub(crate) fn note_programmatic(&self) {
        self.core.ask_from_now_on();
    }

    /// Whether all work queued so far is done. Answered here, from the stream's counter.
    ///
    /// # Errors
    /// As [`Stream::synchronize`].
    pub fn query(&self) -> Result<bool> {
        self.context.check()?;
        let session = self.session();
        session.calls.count(Op::StreamQuery);
        let slot = self.id().index();
        let number = session.ring.issued(slot);
        Ok(session.is_complete(Ticket { stream: slot, number, position: 0 }))
    }

    /// The place behind all work queued so far. Answered here.
    ///
    /// # Errors
    /// As [`Stream::synchronize`].
    pub fn point(&self) -> Result<StreamPoint> {
        self.context.check()?;
        Ok(StreamPoint::new(self, &self.core))
    }

    /// Makes later work of this stream wait for the event's latest record. An event that was never recorded holds
    /// nothing up.
    ///
    /// # Errors
    /// [`Misuse::Foreign`], or what [`Stream::synchronize`] reports.
    pub fn wait_event(&self, event: &Event) -> Result<()> {
        self.context.owns(event.session(), "event")?;
        self.submit(&body::StreamWaitEvent { event: event.id().raw().into() }).map(drop)
    }

    /// Makes later work wait until the 32-bit word at `address` meets a condition.
    ///
    /// # Errors
    /// [`Misuse::Misaligned`], [`Misuse::UnknownPointer`], or what [`Stream::synchronize`] reports.
    pub fn wait_value32(
        &self,
        address: impl Into<DevicePtr>,
        value: u32,
        condition: WaitCondition,
    ) -> Result<()> {
        let address = address.into();
        let pinned = self.locate(address, 4, 4)?;
        let body = body::StreamWaitValue32 {
            address: address.0.into(),
            value: value.into(),
            condition: condition.number().into(),
        };
        self.submit_using(&body, [pinned, None])
    }

    /// Writes a 32-bit word when the stream gets there.
    ///
    /// # Errors
    /// As [`Stream::wait_value32`].
    pub fn write_value32(&self, address: impl Into<DevicePtr>, value: u32) -> Result<()> {
        let address = address.into();
        let pinned = self.locate(address, 4, 4)?;
        let body =
            body::StreamWriteValue32 { address: address.0.into(), value: value.into(), reserved: 0.into() };
        self.submit_using(&body, [pinned, None])
    }

    /// Makes later work wait until the 64-bit word at `address` meets a condition.
    ///
    /// # Errors
    /// As [`Stream::wait_value32`].
    pub fn wait_value64(
        &self,
        address: impl Into<DevicePtr>,
        value: u64,
        condition: WaitCondition,
    ) -> Result<()> {
        let address = address.into();
        let pinned = self.locate(address, 8, 8)?;
        let body = body::StreamWaitValue64 {
            address: address.0.into(),
            value: value.into(),
            condition: condition.number().into(),
            reserved: 0.into(),
        };
        self.submit_using(&body, [pinned, None])
    }

    /// Writes a 64-bit word when the stream gets there.
    ///
    /// # Errors
    /// As [`Stream::wait_value32`].
    pub fn write_value64(&self, address: impl Into<DevicePtr>, value: u64) -> Result<()> {
        let address = address.into();
        let pinned = self.locate(address, 8, 8)?;
        let body = body::StreamWriteValue64 { address: address.0.into(), value: value.into() };
        self.submit_using(&body, [pinned, None])
    }

    /// Copies `source` to the start of `destination`. Returns once `source` was read, so it may change at once.
    ///
    /// # Errors
    /// [`Misuse::CopyLength`], [`Misuse::Foreign`], or what [`Stream::synchronize`] reports.
    pub fn copy_to_device<T: Element>(&self, destination: &DeviceBuffer<T>, source: &[T]) -> Result<()> {
        self.context.owns(destination.session(), "destination")?;
        let bytes = source.as_bytes();
        fits(bytes.len() as u64, destination.bytes())?;
        self.send_bytes(destination.address().0, bytes).map(drop)
    }

    /// Copies the start of `source` to `destination`. Waits for earlier work of the stream and for the copy.
    ///
    /// # Errors
    /// As [`Stream::copy_to_device`].
    pub fn copy_to_host<T: Element>(&self, source: &DeviceBuffer<T>, destination: &mut [T]) -> Result<()> {
        self.context.owns(source.session(), "source")?;
        let bytes = destination.as_mut_bytes();
        fits(bytes.len() as u64, source.bytes())?;
        self.receive_bytes(source.address().0, bytes)
    }

    /// As [`Stream::copy_to_device`], to an address.
    ///
    /// # Errors
    /// [`Misuse::UnknownPointer`], or what [`Stream::synchronize`] reports.
    pub fn copy_bytes_to_device(&self, destination: DevicePtr, source: &[u8]) -> Result<()> {
        let pinned = self.locate(destination, source.len() as u64, 1)?;
        let last = self.send_bytes(destination.0, source)?;
        if let (Some(pinned), Some(last)) = (pinned, last) {
            pinned.uses().note(last);
        }
        Ok(())
    }

    /// As [`Stream::copy_to_host`], from an address.
    ///
    /// # Errors
    /// As [`Stream::copy_bytes_to_device`].
    pub fn copy_bytes_to_host(&self, source: DevicePtr, destination: &mut [u8]) -> Result<()> {
        let _held = self.locate(source, destination.len() as u64, 1)?;
        self.receive_bytes(source.0, destination)
    }

    /// Copies `bytes` bytes between device memory and pinned memory, in any direction: buffers or addresses. Pinned
    /// memory is read or written when the stream gets there.
    ///
    /// # Errors
    /// [`Misuse::UnknownPointer`], or what [`Stream::synchronize`] reports.
    pub fn copy(
        &self,
        destination: impl Into<DevicePtr>,
        source: impl Into<DevicePtr>,
        bytes: u64,
    ) -> Result<()> {
        let (destination, source) = (destination.into(), source.into());
        let pinned = [self.locate(destination, bytes, 1)?, self.locate(source, bytes, 1)?];
        if bytes == 0 {
            return self.context.check();
        }
        let body =
            body::Memcpy { destination: destination.0.into(), source: source.0.into(), bytes: bytes.into() };
        self.submit_using(&body, pinned)
    }

    /// Fills `count` elements with `value`, a number of 1, 2 or 4 bytes.
    ///
    /// # Errors
    /// [`Misuse::FillElement`], [`Misuse::Misaligned`], [`Misuse::UnknownPointer`], or what [`Stream::synchronize`]
    /// reports.
    pub fn memset<T: Element>(&self, destination: impl Into<DevicePtr>, value: T, count: u64) -> Result<()> {
        let destination = destination.into();
        let mut pattern = [0; 4];
        let element = value.as_bytes();
        if !matches!(element.len(), 1 | 2 | 4) {
            return Err(Misuse::FillElement { bytes: element.len() }.into());
        }
        pattern[..element.len()].copy_from_slice(element);
        let element_bytes = element.len() as u32;
        let bytes = count.saturating_mul(u64::from(element_bytes));
        let pinned = self.locate(destination, bytes, u64::from(element_bytes))?;
        if count == 0 {
            return self.context.check();
        }
        let body = body::Memset {
            destination: destination.0.into(),
            count: count.into(),
            value: u32::from_le_bytes(pattern).into(),
            element_bytes: element_bytes.into(),
        };
        self.submit_using(&body, [pinned, None])
    }

    fn send_bytes(&self, destination: u64, source: &[u8]) -> Result<Option<Ticket>> {
        self.context.check()?;
        let last = self.transfer().to_device(destination, source)?;
        self.settle()?;
        Ok(last)
    }

    fn receive_bytes(&self, source: u64, destination: &mut [u8]) -> Result<()> {
        self.context.check()?;
        self.transfer().to_host(source, destination)?;
        let session = self.session();
        session.link.wait_output(&session.fate, session.control.output_bytes());
        self.context.check()
    }

    fn transfer(&self) -> Transfer<'_> {
        Transfer { session: self.session(), context: self.context.index(), stream: self.id() }
    }

    /// Checks that `bytes` bytes at `address` lie in one allocation, at a multiple of `align`.
    fn locate(&self, address: DevicePtr, bytes: u64, align: u64) -> Result<Option<Arc<dyn Pinned>>> {
        if !address.0.is_multiple_of(align) {
            return Err(Misuse::Misaligned { address: address.0, align }.into());
        }
        Ok(self.session().addresses.locate(address.0, bytes)?)
    }

    fn submit_using<B>(&self, body: &B, pinned: [Option<Arc<dyn Pinned>>; 2]) -> Result<()>
    where
        B: vgpu_proto::Operation + IntoBytes + zerocopy::Immutable,
    {
        let ticket = self.enqueue(body)?;
        // Before anything can fail: the command is on its way.
        for allocation in pinned.into_iter().flatten() {
            allocation.uses().note(ticket);
        }
        self.settle()
    }

    /// Waits for what was queued, where every call waits for its own work.
    pub(crate) fn settle(&self) -> Result<()> {
        self.session().settle(self.context.index(), self.id())
    }

    /// Queues a command without payload.
    pub(crate) fn submit<B>(&self, body: &B) -> Result<Ticket>
    where
        B: vgpu_proto::Operation + IntoBytes + zerocopy::Immutable,
    {
        let ticket = self.enqueue(body)?;
        self.settle()?;
        Ok(ticket)
    }

    /// As [`Stream::submit`], for callers that note the command before they [`settle`](Stream::settle).
    pub(crate) fn enqueue<B>(&self, body: &B) -> Result<Ticket>
    where
        B: vgpu_proto::Operation + IntoBytes + zerocopy::Immutable,
    {
        self.context.check()?;
        self.session().send(self.id().raw(), None, body, &[])
    }
}

/// Whether a copy fits its buffer.
fn fits(bytes: u64, room: u64) -> Result<()> {
    if bytes <= room { Ok(()) } else { Err(Misuse::CopyLength { bytes, room }.into()) }
}
