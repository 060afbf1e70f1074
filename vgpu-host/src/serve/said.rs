//! What workers say. A worker counts as controlled by its guest: whatever does not fit its state ends it.

use std::os::fd::OwnedFd;

use vgpu_core::broker::SessionId;
use vgpu_sched::{Deadline, Duration};

use super::daemon::{CLOSE_GRACE, Daemon};
use super::journal::Entry;
use crate::api::{EventKind, SessionState};
use crate::config::Device;
use crate::wire::{Credit, FromWorker, HandshakeFailure, ToWorker};

/// How long a worker on a card may take to be gone once it has said that it leaves. The system gives back what the process
/// held of the card before it is reaped, which takes more than a second where several end at once; killing it does not
/// make that faster.
const TEARDOWN_GRACE: Duration = Duration::from_millis(15_000);

/// How the reason of an end begins that a breach of the protocol brought about (`vgpu-proto/SPEC.md`).
const VIOLATION: &str = "protocol:";

impl Daemon {
    pub(super) fn said(&mut self, id: SessionId, message: FromWorker, file: Option<OwnedFd>) {
        // Messages may follow the decision to kill their sender.
        let Some(session) = self.sessions.get_mut(&id).filter(|session| !session.killed) else { return };
        match message {
            FromWorker::Established { guest, version } => {
                if std::mem::replace(&mut session.greeted, true) {
                    return session.kill("the worker greeted twice");
                }
                tracing::info!(session = id.0, guest = guest.name, guest_pid = guest.pid, version, "open");
                session.guest = Some(guest);
                session.version = Some(version);
                if session.state == SessionState::Greeting {
                    session.state = SessionState::Open;
                    session.deadline = None;
                }
            }
            FromWorker::HandshakeFailed { cause, text } => self.handshake_failed(id, cause, text),
            FromWorker::CreditRequest { request, kind, bytes, minimum } => {
                // Who is about to end needs no more.
                let ends = session.state == SessionState::Closing;
                let bytes = if ends { 0 } else { self.broker.request(id, kind.into(), bytes, minimum) };
                session.send(&ToWorker::CreditGranted { request, bytes });
            }
            FromWorker::CreditReleased { kind, bytes } => self.released(id, kind, bytes),
            FromWorker::Counts(counts) => {
                if !session.asked {
                    return session.kill("the worker answered what nobody asked");
                }
                session.asked = false;
                session.counts = Some(counts);
                self.settle(id);
            }
            FromWorker::ImageRequest { request, digest, bytes } => {
                self.image_requested(id, request, digest, bytes);
            }
            FromWorker::ImageOffered { bytes } => self.image_offered(id, bytes, file),
            // Only spares make ready, and the daemon has taken this one already.
            FromWorker::Ready | FromWorker::NotReady { .. } => {
                session.kill("the worker made ready with a guest waiting");
            }
            FromWorker::Faulted { status, text } => self.faulted(id, status, &text),
            FromWorker::Ended { reason } => self.ended(id, reason),
        }
    }

    fn handshake_failed(&mut self, id: SessionId, cause: HandshakeFailure, text: String) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if std::mem::replace(&mut session.greeted, true) {
            return session.kill("the worker failed a handshake that was over");
        }
        session.reason = Some(format!("handshake: {text}"));
        let tenant = session.tenant;
        self.leaving(id);
        let refused = &mut self.tally(tenant).refused;
        let (count, cause) = match cause {
            HandshakeFailure::Silent => (&mut refused.silent, "silent"),
            HandshakeFailure::Version => (&mut refused.version, "version"),
            HandshakeFailure::Gone | HandshakeFailure::Protocol => (&mut refused.protocol, "protocol"),
            HandshakeFailure::Addresses | HandshakeFailure::Device => {
                (&mut refused.unavailable, "unavailable")
            }
        };
        *count += 1;
        self.tell(Entry::new(EventKind::Refused, text).tenant(tenant).session(id).repeats(cause));
    }

    fn ended(&mut self, id: SessionId, reason: String) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let tenant = session.tenant;
        session.greeted = true;
        let violation = reason.starts_with(VIOLATION).then(|| reason.clone());
        session.reason.get_or_insert(reason);
        self.leaving(id);
        if let Some(reason) = violation {
            let entry = Entry::new(EventKind::Violation, reason).tenant(tenant).session(id);
            self.tell(entry.repeats("protocol"));
        }
    }

    fn released(&mut self, id: SessionId, kind: Credit, bytes: u64) {
        if let Err(error) = self.broker.release(id, kind.into(), bytes)
            && let Some(session) = self.sessions.get_mut(&id)
        {
            session.kill(&error.to_string());
        }
    }

    /// The worker said that it exits; it gets a moment to do so. Saying it again, or after it was told to end, gets it
    /// no more time.
    fn leaving(&mut self, id: SessionId) {
        let now = self.clock.now();
        let Some(tenant) = self.sessions.get(&id).map(|session| session.tenant) else { return };
        let grace = match self.device(tenant) {
            Device::Soft(_) => CLOSE_GRACE,
            Device::Cuda(_) => TEARDOWN_GRACE,
        };
        if let Some(session) = self.sessions.get_mut(&id).filter(|s| s.state != SessionState::Closing) {
            session.state = SessionState::Closing;
            session.deadline = Some(Deadline::after(now, grace));
        }
    }
}
