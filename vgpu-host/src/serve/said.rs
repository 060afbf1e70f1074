//! What workers say. A worker counts as controlled by its guest: whatever does not fit its state ends it.

use std::os::fd::OwnedFd;

use vgpu_core::broker::SessionId;
use vgpu_sched::{Deadline, Duration};

use super::daemon::{CLOSE_GRACE, Daemon};
use crate::api::SessionState;
use crate::config::Device;
use crate::wire::{Credit, FromWorker, HandshakeFailure, ToWorker};

/// How long a worker on a card may take to be gone once it has said that it leaves. The system gives back what the process
/// held of the card before it is reaped, which takes more than a second where several end at once; killing it does not
/// make that faster.
const TEARDOWN_GRACE: Duration = Duration::from_millis(15_000);

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
            FromWorker::HandshakeFailed { cause, text } => {
                if std::mem::replace(&mut session.greeted, true) {
                    return session.kill("the worker failed a handshake that was over");
                }
                tracing::info!(session = id.0, ?cause, text, "handshake failed");
                session.reason = Some(format!("handshake: {text}"));
                let tenant = session.tenant;
                self.leaving(id);
                let refused = &mut self.tally(tenant).refused;
                match cause {
                    HandshakeFailure::Silent => refused.silent += 1,
                    HandshakeFailure::Version => refused.version += 1,
                    HandshakeFailure::Gone | HandshakeFailure::Protocol => refused.protocol += 1,
                    HandshakeFailure::Addresses | HandshakeFailure::Device => refused.unavailable += 1,
                }
            }
            FromWorker::CreditRequest { request, kind, bytes, minimum } => {
                let bytes = self.broker.request(id, kind.into(), bytes, minimum);
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
            FromWorker::Ended { reason } => {
                session.greeted = true;
                session.reason.get_or_insert(reason);
                self.leaving(id);
            }
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
