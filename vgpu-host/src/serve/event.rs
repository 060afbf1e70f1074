//! Everything that happens to the daemon.

use std::os::fd::OwnedFd;

use tokio::sync::oneshot;
use vgpu_core::broker::{Act, SessionId};
use vgpu_proto::report::TenantReport;
use vgpu_sched::{Duration, TenantId};

use super::accept::Connection;
use super::change::{Change, ChangeReply};
use super::images::ImageCopy;
use super::quarantine::OrderError;
use super::spares::SpareNews;
use super::standing::Order;
use crate::api::{DevicesBody, EventsBody, SessionsBody, TenantsBody};
use crate::health::watch::CardNews;
use crate::metrics::Reading;
use crate::wire::FromWorker;

/// Events that wait for the daemon; whoever has one more waits. Enough that a burst of connections is one turn.
pub(crate) const EVENTS_MAX: usize = 256;

/// Something happened.
#[derive(Debug)]
pub(crate) enum Event {
    /// A guest connected.
    Connected {
        /// To whose socket.
        tenant: TenantId,
        /// The connection.
        guest: Connection,
        /// The user at its other end.
        uid: u32,
    },
    /// A worker said something.
    Said {
        /// Which.
        session: SessionId,
        /// What.
        message: FromWorker,
        /// The descriptor that came with it: an image that it offers.
        file: Option<OwnedFd>,
    },
    /// An image that a worker offered was copied.
    ImageRead {
        /// Which worker's session.
        session: SessionId,
        /// Whose.
        tenant: TenantId,
        /// The copy, or why there is none.
        image: Result<ImageCopy, String>,
    },
    /// A worker broke a rule and was killed.
    Broke {
        /// Which.
        session: SessionId,
        /// The rule.
        cause: String,
    },
    /// Leases of a GPU need something done.
    Lease {
        /// Index of the GPU.
        gpu: usize,
        /// What.
        act: Act,
    },
    /// A worker is gone.
    Exited {
        /// Which.
        session: SessionId,
        /// Its exit status or signal, for the log.
        status: String,
        /// It ended by SIGKILL, whoever sent that.
        by_kill: bool,
    },
    /// Something happened to a spare worker.
    Spare {
        /// Index of its GPU.
        gpu: usize,
        /// Its number among the spares of that GPU.
        number: u64,
        /// What.
        news: SpareNews,
    },
    /// Something is known of a card.
    Card(CardNews),
    /// An operator asks for the devices.
    Devices(oneshot::Sender<DevicesBody>),
    /// An operator asks for the tenants.
    Tenants(oneshot::Sender<TenantsBody>),
    /// An operator asks for the sessions.
    Sessions(oneshot::Sender<SessionsBody>),
    /// A collector asks for every figure.
    Metrics(oneshot::Sender<Reading>),
    /// An operator closes a session; the answer says whether it was there.
    Close(SessionId, oneshot::Sender<bool>),
    /// An operator quarantines or releases the tenant of that name.
    Order(String, Order, oneshot::Sender<Result<(), OrderError>>),
    /// An operator asks for events.
    Follow {
        /// After which.
        after: u64,
        /// How long to wait for one.
        wait: Duration,
        /// Where the answer goes.
        reply: oneshot::Sender<EventsBody>,
    },
    /// An operator changes something; nobody waits for the answer to a signal.
    Change(Change, Option<ChangeReply>),
    /// A tool of a tenant asks what the tenant may know.
    Report {
        /// Whose socket it asked.
        tenant: TenantId,
        /// The user who asks.
        uid: u32,
        /// Where the answer goes; dropped for a user who may not know.
        reply: oneshot::Sender<TenantReport>,
    },
    /// Drain; a second time: close all.
    Shutdown,
}
