//! Work for pool threads: calls that may block or take long.

use std::fmt;
use std::sync::Arc;

use crossbeam::channel::Sender;
use vgpu_proto::Status;
use vgpu_proto::frame::ReplyTo;
use vgpu_proto::window::REPLY_VALUE_COUNT;

use super::dispatcher::Core;
use super::state::Session;

/// A call that may block. Each has a reply slot of its own, so there are never more than the protocol's
/// [`vgpu_proto::limits::REPLY_SLOTS`] at once; each must get a thread, since one may wait for what another brings about.
pub struct Job {
    work: Box<dyn FnOnce() + Send>,
    session: Arc<Session>,
}

/// What a job tells the dispatcher when it is done: a change of its tables, and the answer after it.
pub(super) type Done = Box<dyn FnOnce(&mut Core) + Send>;

/// Values of an answer.
pub(super) type Values = [u64; REPLY_VALUE_COUNT];

impl Job {
    /// Runs the call, on the calling thread, and answers the guest.
    pub fn run(self) {
        (self.work)();
        // The call may have been the last that held a context.
        self.session.settle_leaving();
    }

    /// A call that needs no table of the dispatcher.
    pub(super) fn answering(
        session: &Arc<Session>,
        reply: ReplyTo,
        call: impl FnOnce(&Arc<Session>) -> Result<Values, Status> + Send + 'static,
    ) -> Self {
        Self::reporting(session, reply, |session| match call(session) {
            Ok(values) => (Status::SUCCESS, values),
            Err(status) => (status, Values::default()),
        })
    }

    /// A call that needs no table of the dispatcher, and whose failure comes with values too.
    pub(super) fn reporting(
        session: &Arc<Session>,
        reply: ReplyTo,
        call: impl FnOnce(&Arc<Session>) -> (Status, Values) + Send + 'static,
    ) -> Self {
        let answering = session.clone();
        Self {
            work: Box::new(move || {
                let (status, values) = call(&answering);
                answering.words.answer(reply, status, values);
            }),
            session: session.clone(),
        }
    }

    /// A call whose result changes the dispatcher's tables; the change answers.
    pub(super) fn changing(
        session: &Arc<Session>,
        done: &Sender<Done>,
        call: impl FnOnce(&Arc<Session>) -> Done + Send + 'static,
    ) -> Self {
        let (calling, done) = (session.clone(), done.clone());
        Self {
            work: Box::new(move || {
                let change = call(&calling);
                // The dispatcher is gone when the session has ended; there is nobody to tell then.
                let _ = done.send(change);
                calling.wake();
            }),
            session: session.clone(),
        }
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").finish_non_exhaustive()
    }
}

/// An answer that carries one value.
pub(super) fn one(value: u64) -> Values {
    two(value, 0)
}

/// An answer that carries two values.
pub(super) fn two(first: u64, second: u64) -> Values {
    let mut values = Values::default();
    values[0] = first;
    values[1] = second;
    values
}
