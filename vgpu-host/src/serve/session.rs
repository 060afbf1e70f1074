//! What the daemon knows of one session.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use tokio::sync::{Notify, oneshot};
use vgpu_core::broker::Held;
use vgpu_proto::handshake::GuestProcess;
use vgpu_sched::{Bucket, Deadline, Duration, Instant, TenantId};

use crate::api::{CountsBody, GuestBody, SessionBody, SessionState};
use crate::wire::{ChannelError, SessionCounts, ToWorker, WatchedChannel};

/// The reason of an end for which its worker gave none.
pub(super) const WITHOUT_A_WORD: &str = "the worker died";

/// By how much the deadlines of one session are put off in all.
const EXCUSE_MAX: Duration = Duration::from_millis(30_000);

/// A session and the daemon's means to act on its worker.
#[derive(Debug)]
pub(super) struct Session {
    pub tenant: TenantId,
    pub state: SessionState,
    pub pid: u32,
    pub began: Instant,
    /// When the worker is killed if nothing changes: while greeting and while closing.
    pub deadline: Option<Deadline>,
    /// By how much its deadlines were put off in all because the daemon stood still.
    pub excused: Duration,
    /// The handshake is over, either way.
    pub greeted: bool,
    pub guest: Option<GuestProcess>,
    pub version: Option<u16>,
    pub counts: Option<SessionCounts>,
    /// Counts were asked for and did not come yet.
    pub asked: bool,
    /// Questions for images that it may still ask.
    pub questions: Bucket,
    /// While an image that the worker offered is read or waits for that. Dropped with the session, it ends the waiting.
    pub offering: Option<oneshot::Sender<()>>,
    /// Why it ends, once that is known.
    pub reason: Option<String>,
    /// The worker was killed; what it said before is not heard any more.
    pub killed: bool,
    /// The worker broke a rule.
    pub lost: bool,
    /// The daemon told it to end.
    pub told: bool,
    /// Its worker told of a fault.
    pub faulted: bool,
    /// It was a strike against its tenant.
    pub struck: bool,
    channel: Arc<WatchedChannel>,
    kill: Arc<Notify>,
}

impl Session {
    pub(super) fn new(
        tenant: TenantId,
        pid: u32,
        began: Instant,
        deadline: Deadline,
        channel: Arc<WatchedChannel>,
        kill: Arc<Notify>,
    ) -> Self {
        Self {
            tenant,
            state: SessionState::Greeting,
            pid,
            began,
            deadline: Some(deadline),
            excused: Duration::default(),
            greeted: false,
            guest: None,
            version: None,
            counts: None,
            asked: false,
            questions: super::offer::questions(),
            offering: None,
            reason: None,
            killed: false,
            lost: false,
            told: false,
            faulted: false,
            struck: false,
            channel,
            kill,
        }
    }

    /// Sends a message. The daemon waits for no worker: one that does not read is killed.
    pub(super) fn send(&mut self, message: &ToWorker) {
        match self.channel.try_send(message, None) {
            // One that is gone is reaped a moment later, and may have said why before.
            Ok(()) | Err(ChannelError::Closed) => {}
            Err(error) => self.kill(&error.to_string()),
        }
    }

    /// Answers a worker's question for an image.
    pub(super) fn send_image(&mut self, request: u64, image: Option<&OwnedFd>) {
        let answer = ToWorker::ImageAnswer { request };
        match self.channel.try_send(&answer, image.map(AsFd::as_fd)) {
            Ok(()) | Err(ChannelError::Closed) => {}
            // The system lets so many descriptors be on their way. The guest can send the image.
            Err(ChannelError::Socket(_)) if image.is_some() => self.send(&answer),
            Err(error) => self.kill(&error.to_string()),
        }
    }

    /// The daemon stood still for so long, in which the worker could not be heard. Not without end: what a worker sends can make
    /// the daemon stand still.
    pub(super) fn excuse(&mut self, stall: Duration) {
        let left = EXCUSE_MAX.as_nanos().saturating_sub(self.excused.as_nanos());
        let stall = Duration::from_nanos(stall.as_nanos().min(left));
        self.excused = Duration::from_nanos(self.excused.as_nanos() + stall.as_nanos());
        self.deadline = self.deadline.map(|deadline| Deadline::after(deadline.at(), stall));
    }

    /// Kills a worker that broke a rule; its exit ends the session.
    pub(super) fn kill(&mut self, cause: &str) {
        self.lost = true;
        self.stop(cause);
    }

    /// Kills a worker that did nothing wrong.
    pub(super) fn stop(&mut self, cause: &str) {
        self.reason.get_or_insert_with(|| cause.to_owned());
        self.killed = true;
        self.deadline = None;
        self.kill.notify_one();
    }

    /// Whether the worker died or broke a rule, now that it is gone.
    pub(super) const fn is_lost(&self) -> bool {
        self.lost || self.reason.is_none()
    }

    /// What operators see.
    pub(super) fn body(&self, id: u64, tenant: &str, held: Held, now: Instant) -> SessionBody {
        SessionBody {
            id,
            tenant: tenant.to_owned(),
            state: self.state,
            worker_pid: self.pid,
            age_ms: now.since(self.began).as_nanos() / 1_000_000,
            guest: self.guest.as_ref().map(|guest| GuestBody { pid: guest.pid, name: guest.name.clone() }),
            version: self.version,
            memory_lent_bytes: held.device_bytes,
            pinned_lent_bytes: held.pinned_bytes,
            counts: self.counts.filter(|_| !self.asked).map(counts),
        }
    }
}

const fn counts(counts: SessionCounts) -> CountsBody {
    let SessionCounts {
        commands,
        launches,
        bytes_copied,
        contexts,
        streams,
        memory_bytes,
        pinned_bytes,
        faults,
        output_dropped_bytes,
    } = counts;
    CountsBody {
        commands,
        launches,
        bytes_copied,
        contexts,
        streams,
        memory_bytes,
        pinned_bytes,
        faults,
        output_dropped_bytes,
    }
}
