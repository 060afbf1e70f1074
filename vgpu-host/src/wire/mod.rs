//! What the daemon and a worker say to one another, and the socket that carries it.
//!
//! Both ends are one executable, so there are no versions here. They do not trust one another all the same: a worker
//! counts as controlled by its guest, so the daemon checks its every byte ([`Channel`] bounds the length,
//! [`vgpu_proto::codec`] the form, the session's state the meaning) and kills a worker that breaks a rule.

mod channel;
mod watched;

use serde::{Deserialize, Serialize};
use vgpu_core::broker::CreditKind;
use vgpu_core::lease::{Counts, GateConfig};
use vgpu_proto::ImageDigest;
use vgpu_proto::codec::Message;
use vgpu_proto::control::Closing;
use vgpu_proto::handshake::{GuestProcess, Hello, Limits};
use vgpu_proto::limits::TEXT_BYTES_MAX;
use vgpu_sched::Duration;

use crate::config::Card;
use crate::worker::sandbox::Sandbox;

pub(crate) use self::channel::{Channel, ChannelError, Packet};
pub(crate) use self::watched::WatchedChannel;

/// Daemon → worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum ToWorker {
    /// The first message to a spare: make the device ready, say so, and wait for the setup.
    Prepare {
        /// The device.
        device: DeviceSetup,
        /// What it gives up for it.
        sandbox: Sandbox,
    },
    /// What to serve: the first message, or a spare's second one. Carries the guest's connection.
    Setup(Setup),
    /// From a worker to itself, beyond its exec: what it serves, and the greeting that it heard. Carries the guest's
    /// connection.
    Resume {
        /// What to serve.
        setup: Setup,
        /// The greeting.
        hello: Hello,
    },
    /// The same way, after it: carries the daemon's channel.
    Channel,
    /// A part of the worker's lease, after the setup: each carries a descriptor, in the order of
    /// [`LeasePart::ALL`].
    Lease(LeasePart),
    /// Answer to [`FromWorker::CreditRequest`].
    CreditGranted {
        /// Number of the question.
        request: u64,
        /// 0, or from the question's minimum to what it asked for.
        bytes: u64,
    },
    /// Asks for [`FromWorker::Counts`].
    CountsRequest,
    /// Answer to [`FromWorker::ImageRequest`]. Carries the image, frozen, where the daemon keeps it.
    ImageAnswer {
        /// Number of the question.
        request: u64,
    },
    /// Answer to [`FromWorker::ImageOffered`]: the daemon is done with it, and has kept it or not.
    ImageTaken,
    /// End the session now and tell the guest this.
    Close(Closing),
}

impl Message for ToWorker {}

/// What a worker serves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Setup {
    /// Number of the session.
    pub session: u64,
    /// Name of the tenant, for logs.
    pub tenant: String,
    /// What the session may use.
    pub limits: Limits,
    /// The daemon keeps images for the tenant.
    pub keeps_images: bool,
    /// How it holds its gate.
    pub lease: LeaseSetup,
    /// The device to open.
    pub device: DeviceSetup,
    /// What the worker gives up before it serves.
    pub sandbox: Sandbox,
}

/// What a worker gets of its lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum LeasePart {
    /// The grant page.
    Grant,
    /// The demand page.
    Demand,
    /// What the broker is called with.
    Call,
}

impl LeasePart {
    /// All, in their order.
    pub(crate) const ALL: [Self; 3] = [Self::Grant, Self::Demand, Self::Call];
}

/// [`GateConfig`] on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LeaseSetup {
    in_flight_alone_ns: u64,
    in_flight_contended_ns: u64,
    stall_ns: u64,
    idle_grace_ns: u64,
    idle_grace_alone_ns: u64,
    report_launches: u64,
    report_copied_bytes: u64,
    report_calls: u64,
}

impl From<GateConfig> for LeaseSetup {
    fn from(config: GateConfig) -> Self {
        Self {
            in_flight_alone_ns: config.in_flight_alone.as_nanos(),
            in_flight_contended_ns: config.in_flight_contended.as_nanos(),
            stall_ns: config.stall.as_nanos(),
            idle_grace_ns: config.idle_grace.as_nanos(),
            idle_grace_alone_ns: config.idle_grace_alone.as_nanos(),
            report_launches: config.report.launches,
            report_copied_bytes: config.report.copied_bytes,
            report_calls: config.report.calls,
        }
    }
}

impl From<LeaseSetup> for GateConfig {
    fn from(setup: LeaseSetup) -> Self {
        Self {
            in_flight_alone: Duration::from_nanos(setup.in_flight_alone_ns),
            in_flight_contended: Duration::from_nanos(setup.in_flight_contended_ns),
            stall: Duration::from_nanos(setup.stall_ns),
            idle_grace: Duration::from_nanos(setup.idle_grace_ns),
            idle_grace_alone: Duration::from_nanos(setup.idle_grace_alone_ns),
            report: Counts {
                launches: setup.report_launches,
                copied_bytes: setup.report_copied_bytes,
                calls: setup.report_calls,
            },
        }
    }
}

/// The device of a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum DeviceSetup {
    /// The software GPU.
    Soft {
        /// Memory, in bytes.
        memory_bytes: u64,
        /// Compute capability, major.
        compute_major: u32,
        /// Compute capability, minor.
        compute_minor: u32,
        /// CPU threads.
        threads: u32,
        /// Seed of random delays.
        delay_seed: Option<u64>,
        /// Faults on order, as text.
        faults: String,
    },
    /// A card of this machine.
    Cuda(Card),
}

/// Worker → daemon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum FromWorker {
    /// The device of a spare is ready.
    Ready,
    /// It cannot be made ready; the worker exits.
    NotReady {
        /// Why, for the log.
        text: String,
    },
    /// The guest was welcomed.
    Established {
        /// What the guest says it is.
        guest: GuestProcess,
        /// Protocol version of the session.
        version: u16,
    },
    /// The guest was not welcomed; the worker exits.
    HandshakeFailed {
        /// Why, for counting.
        cause: HandshakeFailure,
        /// Why, for the log.
        text: String,
    },
    /// Asks for credit.
    CreditRequest {
        /// The worker's number for the question; comes back with the answer.
        request: u64,
        /// Kind of memory.
        kind: Credit,
        /// Wished for, in bytes.
        bytes: u64,
        /// Needed, in bytes.
        minimum: u64,
    },
    /// Gives credit back.
    CreditReleased {
        /// Kind of memory.
        kind: Credit,
        /// How much, in bytes.
        bytes: u64,
    },
    /// Answer to [`ToWorker::CountsRequest`].
    Counts(SessionCounts),
    /// Asks for an image that an earlier session of the tenant left.
    ImageRequest {
        /// The worker's number for the question; comes back with the answer.
        request: u64,
        /// Its SHA-256.
        digest: ImageDigest,
        /// Its length.
        bytes: u64,
    },
    /// Offers an image to later sessions of the tenant; carries a memory file with it. What it is called the daemon finds
    /// out by itself. The next one may follow [`ToWorker::ImageTaken`].
    ImageOffered {
        /// Its length.
        bytes: u64,
    },
    /// A context met a sticky error; said once, of the session's first.
    Faulted {
        /// The CUDA error.
        status: u32,
        /// Cause, for events.
        text: String,
    },
    /// The session is over; the worker exits.
    Ended {
        /// Stable name of the cause, as in [`Closing::reason`].
        reason: String,
    },
}

impl Message for FromWorker {}

impl FromWorker {
    /// Whether every text is as short as it must be.
    pub(crate) fn is_bounded(&self) -> bool {
        match self {
            Self::Established { guest, .. } => guest.name.len() <= TEXT_BYTES_MAX,
            Self::HandshakeFailed { text, .. } | Self::NotReady { text } | Self::Faulted { text, .. } => {
                text.len() <= TEXT_BYTES_MAX
            }
            Self::Ended { reason } => reason.len() <= TEXT_BYTES_MAX,
            Self::Ready
            | Self::CreditRequest { .. }
            | Self::CreditReleased { .. }
            | Self::Counts(_)
            | Self::ImageRequest { .. }
            | Self::ImageOffered { .. } => true,
        }
    }
}

/// [`CreditKind`] on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Credit {
    /// [`CreditKind::Device`].
    Device,
    /// [`CreditKind::Pinned`].
    Pinned,
}

impl From<Credit> for CreditKind {
    fn from(credit: Credit) -> Self {
        match credit {
            Credit::Device => Self::Device,
            Credit::Pinned => Self::Pinned,
        }
    }
}

impl From<CreditKind> for Credit {
    fn from(kind: CreditKind) -> Self {
        match kind {
            CreditKind::Device => Self::Device,
            CreditKind::Pinned => Self::Pinned,
        }
    }
}

/// Why a handshake failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum HandshakeFailure {
    /// The guest said nothing, or not enough, in time.
    Silent,
    /// The guest went away.
    Gone,
    /// The greeting breaks the protocol.
    Protocol,
    /// No version in common.
    Version,
    /// No offered address plan is free here.
    Addresses,
    /// The device cannot be used.
    Device,
}

/// What a session did so far and holds now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SessionCounts {
    /// Commands read from the ring.
    pub commands: u64,
    /// Kernel launches.
    pub launches: u64,
    /// Bytes copied by the guest's commands.
    pub bytes_copied: u64,
    /// Contexts that exist.
    pub contexts: u64,
    /// Streams that exist.
    pub streams: u64,
    /// Device memory in use, in bytes.
    pub memory_bytes: u64,
    /// Pinned memory in use, in bytes.
    pub pinned_bytes: u64,
    /// Contexts that met a sticky error.
    pub faults: u64,
    /// Kernel output that was dropped because the guest did not read, in bytes.
    pub output_dropped_bytes: u64,
}

/// `text`, cut so that it passes [`FromWorker::is_bounded`].
pub(crate) fn bounded(mut text: String) -> String {
    if text.len() > TEXT_BYTES_MAX {
        text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
    }
    text
}

#[cfg(test)]
mod tests {
    use vgpu_proto::codec;

    use super::*;

    #[test]
    fn messages_come_back_as_they_went() {
        let of = |device| {
            let limits = Limits::largest(1, 2);
            let lease = GateConfig::default().into();
            let sandbox = Sandbox::OFF;
            ToWorker::Setup(Setup {
                session: 7,
                tenant: "alice".into(),
                limits,
                keeps_images: true,
                lease,
                device,
                sandbox,
            })
        };
        let setup = of(DeviceSetup::Soft {
            memory_bytes: 1 << 30,
            compute_major: 8,
            compute_minor: 0,
            threads: 2,
            delay_seed: None,
            faults: String::new(),
        });
        assert_eq!(codec::decode::<ToWorker>(&codec::encode(&setup).unwrap()), Ok(setup));
        for card in [Card::Number(3), Card::Uuid([7; 16])] {
            let device = DeviceSetup::Cuda(card);
            assert_eq!(
                codec::decode::<ToWorker>(&codec::encode(&of(device.clone())).unwrap()),
                Ok(of(device))
            );
        }
        let request =
            FromWorker::CreditRequest { request: 1, kind: Credit::Pinned, bytes: 64 << 20, minimum: 1 };
        assert_eq!(codec::decode::<FromWorker>(&codec::encode(&request).unwrap()), Ok(request));
    }

    #[test]
    fn long_texts_are_cut_by_us_and_seen_from_others() {
        let long = "ä".repeat(TEXT_BYTES_MAX);
        assert!(!FromWorker::Ended { reason: long.clone() }.is_bounded());
        assert!(!FromWorker::Faulted { status: 700, text: long.clone() }.is_bounded());
        assert!(FromWorker::Ended { reason: bounded(long) }.is_bounded());
    }
}
