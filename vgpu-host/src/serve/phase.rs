//! Time and the end: deadlines, draining, closing, killing.

use vgpu_core::broker::SessionId;
use vgpu_proto::Status;
use vgpu_proto::control::Closing;
use vgpu_sched::{Deadline, Duration, Instant};

use super::daemon::{CLOSE_GRACE, Daemon};
use super::journal::Entry;
use super::spares::Spares;
use crate::api::{EventKind, SessionState};
use crate::wire::ToWorker;

/// How far a host is on its way out. It only goes forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Sessions may begin.
    Serving,
    /// None begins; those that run may end by themselves until then.
    Draining(Deadline),
    /// All were told to end.
    Closing,
}

/// The names of all phases.
pub(crate) const PHASES: [&str; 3] = ["serving", "draining", "closing"];

impl Phase {
    /// Its name, for operators.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Serving => PHASES[0],
            Self::Draining(_) => PHASES[1],
            Self::Closing => PHASES[2],
        }
    }
}

impl Daemon {
    /// The first time: drain. Again: close all at once.
    pub(super) fn shutdown(&mut self) {
        match self.phase {
            Phase::Serving => {
                self.broker.drain();
                self.dismiss_spares();
                let patience = Duration::from_millis(self.config.drain_timeout_ms);
                self.phase = Phase::Draining(Deadline::after(self.clock.now(), patience));
                let timeout_ms = self.config.drain_timeout_ms;
                self.tell_phase("draining", Some(timeout_ms));
            }
            Phase::Draining(_) => self.close_all(),
            Phase::Closing => {}
        }
    }

    /// Tells that the host is in another phase now; `timeout_ms` is how long it stays there at most.
    pub(super) fn tell_phase(&mut self, phase: &'static str, timeout_ms: Option<u64>) {
        let entry = Entry::new(EventKind::Phase, format!("the host is {phase}")).field("phase", phase);
        let entry = entry.field("sessions", self.sessions.len() as u64);
        self.tell(timeout_ms.into_iter().fold(entry, |entry, ms| entry.field("timeout_ms", ms)));
    }

    /// Whether the host was shut down and no worker is left.
    pub(super) fn is_done(&self) -> bool {
        let idle = self.sessions.is_empty() && self.spares.iter().all(Spares::is_empty);
        self.phase != Phase::Serving && idle
    }

    /// The next time at which something is due without an event.
    pub(super) fn next_deadline(&self) -> Option<Deadline> {
        let drain = match self.phase {
            Phase::Draining(deadline) => Some(deadline),
            Phase::Serving | Phase::Closing => None,
        };
        let sessions = self.sessions.values().filter_map(|session| session.deadline);
        let collections = self.collections.iter().map(|collection| collection.deadline);
        let spares = self.next_spare_deadline().into_iter().chain(self.health.next_deadline());
        let told = self.journal.next_deadline().into_iter().chain(self.standings.next_deadline());
        sessions.chain(collections).chain(drain).chain(spares).chain(told).min()
    }

    /// Does what is due by time alone.
    pub(super) fn handle_time(&mut self, now: Instant) {
        if let Phase::Draining(deadline) = self.phase
            && deadline.has_passed(now)
        {
            self.close_all();
        }
        for (id, session) in &mut self.sessions {
            if !session.deadline.is_some_and(|deadline| deadline.has_passed(now)) {
                continue;
            }
            tracing::warn!(session = id.0, state = ?session.state, "the worker takes too long; killed");
            if session.state == SessionState::Closing && !session.greeted {
                // It still waits for a silent guest, as it should.
                session.stop("closed while greeting");
            } else {
                session.kill("the worker took too long");
            }
        }
        self.handle_card_time(now);
        self.answer_collections();
        self.release_by_timer(now);
        self.journal.poll(self.stamp());
        self.dismiss_late_spares(now);
        self.refill(now);
    }

    /// Closes a session; false when there is none.
    pub(super) fn close_for_operator(&mut self, id: SessionId) -> bool {
        let closing = Closing {
            status: Status::ERROR_CONTEXT_IS_DESTROYED.0,
            reason: "operator".into(),
            text: "an operator closed the session; ask them why".into(),
        };
        if let Some(tenant) = self.sessions.get(&id).map(|session| session.tenant) {
            let entry = Entry::new(EventKind::Close, "an operator closed the session");
            self.tell(entry.tenant(tenant).session(id));
        }
        self.close(id, closing)
    }

    fn close_all(&mut self) {
        self.phase = Phase::Closing;
        self.tell_phase("closing", None);
        let ids: Vec<_> = self.sessions.keys().copied().collect();
        for id in ids {
            let closing = Closing {
                status: Status::ERROR_SYSTEM_NOT_READY.0,
                reason: "draining".into(),
                text: "the host shuts down; start again when it is back".into(),
            };
            self.close(id, closing);
        }
    }

    pub(super) fn close(&mut self, id: SessionId, closing: Closing) -> bool {
        self.close_within(id, closing, CLOSE_GRACE)
    }

    /// Ends a session, whose worker is killed where it takes longer than `grace`; false when there is none.
    pub(super) fn close_within(&mut self, id: SessionId, closing: Closing, grace: Duration) -> bool {
        let deadline = Deadline::after(self.clock.now(), grace);
        let Some(session) = self.sessions.get_mut(&id) else { return false };
        if session.state != SessionState::Closing {
            session.state = SessionState::Closing;
            session.told = true;
            session.reason.get_or_insert_with(|| closing.reason.clone());
            session.deadline = Some(deadline);
            session.send(&ToWorker::Close(closing));
        } else if session.deadline.is_some_and(|before| deadline < before) {
            // It may have said that it ends, and go on: what is asked now may be more urgent.
            session.deadline = Some(deadline);
        }
        true
    }
}
