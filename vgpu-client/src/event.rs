//! Events: marks in streams, to wait for and to measure between.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use vgpu_proto::{EventId, Op, body};

use crate::context::Context;
use crate::errors::{Misuse, Result};
use crate::ring::Ticket;
use crate::session::Session;
use crate::stream::Stream;

/// An event. Clones are the same event; dropping the last one destroys it without waiting.
#[derive(Clone, Debug)]
pub struct Event {
    inner: Arc<Inner>,
}

/// How an event is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "made by literal, with defaults")]
pub struct EventOptions {
    /// Whether it takes a time stamp. Default: yes. Without, it costs less.
    pub timing: bool,
    /// Whether threads that wait for it should sleep at once rather than poll. Default: no.
    pub blocking_sync: bool,
}

impl Default for EventOptions {
    fn default() -> Self {
        Self { timing: true, blocking_sync: false }
    }
}

#[derive(Debug)]
struct Inner {
    context: Context,
    id: EventId,
    options: EventOptions,
    /// The latest record.
    record: Mutex<Option<Ticket>>,
}

impl Event {
    pub(crate) fn create(context: &Context, options: EventOptions) -> Result<Self> {
        context.check()?;
        let session = context.session();
        let id = session.mint_event()?;
        let mut flags = 0;
        if options.blocking_sync {
            flags |= body::EVENT_BLOCKING_SYNC;
        }
        if !options.timing {
            flags |= body::EVENT_DISABLE_TIMING;
        }
        let body = body::EventCreate {
            context: context.inner.id.raw().into(),
            event: id.raw().into(),
            flags: flags.into(),
            reserved: 0.into(),
        };
        if let Err(error) = session.send(0, None, &body, &[]) {
            session.tables.events.release(id.index());
            return Err(error);
        }
        let inner = Inner { context: context.clone(), id, options, record: Mutex::default() };
        Ok(Self { inner: Arc::new(inner) })
    }

    pub(crate) fn session(&self) -> &Arc<Session> {
        self.inner.context.session()
    }

    pub(crate) fn id(&self) -> EventId {
        self.inner.id
    }

    /// Records it in a stream of its context: it is complete when the work queued there so far is.
    ///
    /// # Errors
    /// [`Misuse::Foreign`], or what [`Stream::synchronize`] reports.
    pub fn record(&self, stream: &Stream) -> Result<()> {
        self.inner.context.is_same(stream.context(), "stream")?;
        let ticket = stream.submit(&body::EventRecord { event: self.inner.id.raw().into() })?;
        self.recorded_by(ticket);
        Ok(())
    }

    /// Notes the command that records it. A record inside a graph counts as complete when the whole launch is.
    pub(crate) fn recorded_by(&self, ticket: Ticket) {
        let mut record = self.inner.record.lock();
        // Of two threads that record it at once, the one whose frame lies later in the ring counts.
        if record.is_none_or(|earlier| earlier.position < ticket.position) {
            *record = Some(ticket);
        }
    }

    /// Its name on the wire, for event nodes of [`vgpu_proto::graph`].
    pub fn wire_name(&self) -> u64 {
        self.inner.id.raw()
    }

    pub(crate) fn context(&self) -> &Context {
        &self.inner.context
    }

    /// Whether its latest record is complete; an event that was never recorded is. Answered here.
    ///
    /// # Errors
    /// The error of earlier work, a fault of the context, or the session's end.
    pub fn query(&self) -> Result<bool> {
        self.inner.context.check()?;
        self.session().calls.count(Op::EventQuery);
        Ok(self.is_complete())
    }

    /// As [`Event::query`], for threads that are not the program's: an error of earlier work is left for the program to
    /// hear.
    ///
    /// # Errors
    /// A fault of the context, or the session's end.
    pub fn is_reached(&self) -> Result<bool> {
        self.session().check_lasting(self.inner.context.index())?;
        Ok(self.is_complete())
    }

    /// Waits for its latest record.
    ///
    /// # Errors
    /// As [`Event::query`].
    pub fn synchronize(&self) -> Result<()> {
        self.inner.context.check()?;
        let session = self.session();
        let waited = if self.poll(session.waiting.spin) {
            Ok(())
        } else {
            session.call(0, &body::EventSynchronize { event: self.inner.id.raw().into() }, &[]).map(drop)
        };
        // After a fault too: the text of a failed assertion came before it.
        session.link.wait_output(&session.fate, session.control.output_bytes());
        waited?;
        self.inner.context.check()
    }

    /// Nanoseconds from the latest record of `start` to that of this event, both complete; below 0 where this one
    /// completed first.
    ///
    /// # Errors
    /// [`Misuse::EventWithoutTiming`], [`Misuse::EventNotRecorded`], [`Misuse::Foreign`]; `NOT_READY` while one of the
    /// two is not complete; or what [`Event::query`] reports.
    pub fn elapsed_ns(&self, start: &Self) -> Result<i64> {
        self.inner.context.check()?;
        self.inner.context.owns(start.session(), "start event")?;
        for event in [start, self] {
            if !event.inner.options.timing {
                return Err(Misuse::EventWithoutTiming.into());
            }
            if event.inner.record.lock().is_none() {
                return Err(Misuse::EventNotRecorded.into());
            }
        }
        let body =
            body::EventElapsedTime { start: start.inner.id.raw().into(), end: self.inner.id.raw().into() };
        let [elapsed, ..] = self.session().call(0, &body, &[])?;
        Ok(elapsed.cast_signed())
    }

    /// As [`Event::elapsed_ns`], zero where this event completed first.
    ///
    /// # Errors
    /// As [`Event::elapsed_ns`].
    pub fn elapsed(&self, start: &Self) -> Result<Duration> {
        self.elapsed_ns(start).map(|elapsed| Duration::from_nanos(u64::try_from(elapsed).unwrap_or(0)))
    }

    fn is_complete(&self) -> bool {
        let record = *self.inner.record.lock();
        record.is_none_or(|ticket| self.session().is_complete(ticket))
    }

    /// Looks at the stream's counter for a while, which is sooner than the host's answer.
    fn poll(&self, spin: Duration) -> bool {
        let start = Instant::now();
        while !self.is_complete() {
            if self.inner.options.blocking_sync || start.elapsed() >= spin || self.session().fate.is_over() {
                return false;
            }
            std::hint::spin_loop();
        }
        true
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.context.session().destroy_event(self.context.index(), self.id);
    }
}
