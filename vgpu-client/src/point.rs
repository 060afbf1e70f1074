//! Points in streams: how far a stream had got when somebody looked.

use std::fmt;
use std::sync::{Arc, Weak};

use crate::context::{Context, ContextInner};
use crate::errors::Result;
use crate::event::EventOptions;
use crate::ring::Ticket;
use crate::session::Session;
use crate::stream::{Stream, StreamCore};

/// The place behind the last command that a stream had been given. It keeps neither stream nor context alive.
///
/// Allocators stamp memory with it that a stream may still use: once the point is complete, all may.
#[derive(Clone)]
pub struct StreamPoint {
    session: Arc<Session>,
    ticket: Ticket,
    context: Weak<ContextInner>,
    core: Weak<StreamCore>,
}

impl StreamPoint {
    pub(crate) fn new(stream: &Stream, core: &Arc<StreamCore>) -> Self {
        let session = stream.session();
        let slot = stream.id().index();
        let ticket = Ticket { stream: slot, number: session.ring.issued(slot), position: 0 };
        let context = Arc::downgrade(&stream.context().inner);
        Self { session: Arc::clone(session), ticket, context, core: Arc::downgrade(core) }
    }

    /// Whether the device has passed it. Answered here, from the stream's counter.
    pub fn is_complete(&self) -> bool {
        self.session.is_complete(self.ticket)
    }

    /// Number of the stream's slot. Work of one slot runs in the order of its submission, also where a destroyed stream
    /// left its slot to a new one: a slot is free once all its work is done.
    pub fn slot(&self) -> u32 {
        self.ticket.stream
    }

    /// Whether it lies behind `other`, a point of the same slot.
    pub fn is_later_than(&self, other: &Self) -> bool {
        self.ticket.number > other.ticket.number
    }

    /// Makes later work of `stream` wait for this point, without waiting here. Says whether it did: there is nothing
    /// to hang on to where the point's stream was destroyed and its work is not done.
    ///
    /// # Errors
    /// What [`Stream::wait_event`] reports.
    pub fn hold_back(&self, stream: &Stream) -> Result<bool> {
        if self.is_complete() || self.slot() == stream.id().index() {
            return Ok(true);
        }
        let (Some(context), Some(core)) = (self.context.upgrade(), self.core.upgrade()) else {
            return Ok(false);
        };
        let context = Context { inner: context };
        let event = context.event_with(EventOptions { timing: false, blocking_sync: false })?;
        event.record(&Stream::new(context, core))?;
        stream.wait_event(&event)?;
        Ok(true)
    }
}

impl fmt::Debug for StreamPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamPoint").field("ticket", &self.ticket).finish_non_exhaustive()
    }
}
