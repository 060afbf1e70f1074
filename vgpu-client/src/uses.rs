//! Which commands use pinned memory, so that it stays until they are done.

use std::fmt;

use parking_lot::Mutex;

use crate::ring::Ticket;
use crate::session::Session;

/// The latest command of each stream that uses a piece of memory.
#[derive(Debug, Default)]
pub(crate) struct Uses(Mutex<Vec<Ticket>>);

impl Uses {
    /// Notes that a command uses it.
    pub(crate) fn note(&self, ticket: Ticket) {
        let mut uses = self.0.lock();
        match uses.iter_mut().find(|earlier| earlier.stream == ticket.stream) {
            Some(earlier) if earlier.number < ticket.number => *earlier = ticket,
            Some(_) => {}
            None => uses.push(ticket),
        }
    }

    /// Waits for all of them. After the session's end nothing uses it any more.
    pub(crate) fn wait(&self, session: &Session) {
        let uses = std::mem::take(&mut *self.0.lock());
        for ticket in uses {
            let _ = session.wait_complete(None, ticket);
        }
    }
}

/// Memory that host and device reach at one address.
pub(crate) trait Pinned: Send + Sync + fmt::Debug {
    /// What uses it.
    fn uses(&self) -> &Uses;
}
