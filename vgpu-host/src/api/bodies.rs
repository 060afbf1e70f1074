//! Bodies of the control API. `docs/control-api.md` describes them for operators.

use serde::{Deserialize, Serialize};
use vgpu_core::metrics::Histogram;

use super::HealthBody;
use crate::config::TenantKeys;

/// Body of `GET /v1/devices`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DevicesBody {
    /// Every GPU, in the order of the configuration.
    pub devices: Vec<DeviceBody>,
}

/// A GPU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DeviceBody {
    /// Name.
    pub name: String,
    /// What it is: `soft`, or a card as the configuration names it.
    pub device: String,
    /// Memory that its tenants share, in bytes; null where the host does not know it.
    pub memory_bytes: Option<u64>,
    /// Of that, lent to sessions now, in bytes.
    pub memory_lent_bytes: u64,
    /// Sessions now.
    pub sessions: u32,
    /// Spare workers that the configuration asks for.
    pub spares: u32,
    /// Spare workers that wait for a guest now, their device ready.
    pub spares_ready: u32,
    /// Spare workers started since the host started.
    pub spares_started: u64,
    /// Of those, taken by a guest.
    pub spares_taken: u64,
    /// Of those, or of tries to start one, lost before a guest came.
    pub spares_lost: u64,
    /// Time in which some tenant held it since the host started, in nanoseconds; 0 where tenants do not take turns.
    pub busy_ns: u64,
    /// Time that two tenants paid, in nanoseconds, because one overran and the hardware served both.
    pub shared_ns: u64,
    /// Leases since the host started: how often it was switched.
    pub leases: u64,
    /// How the card is; null where nobody tells.
    pub health: Option<HealthBody>,
}

/// Body of `GET /v1/tenants`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TenantsBody {
    /// Every tenant, in the order of the configuration.
    pub tenants: Vec<TenantBody>,
}

/// A tenant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TenantBody {
    /// Name.
    pub name: String,
    /// Name of its GPU.
    pub gpu: String,
    /// What that GPU is: `soft`, or a card as the configuration names it.
    pub device: String,
    /// Path of its socket.
    pub socket: String,
    /// User who may connect.
    pub uid: u32,
    /// Sessions now.
    pub sessions: u32,
    /// Sessions at once, at most.
    pub sessions_max: u32,
    /// Quota of device memory, in bytes.
    pub memory_bytes: u64,
    /// Device memory lent to its sessions now, in bytes.
    pub memory_lent_bytes: u64,
    /// Quota of pinned memory, in bytes.
    pub pinned_bytes: u64,
    /// Pinned memory lent to its sessions now, in bytes.
    pub pinned_lent_bytes: u64,
    /// Sessions opened since the host started.
    pub opened: u64,
    /// Connections that became no session since the host started.
    pub refused: RefusedBody,
    /// Workers that broke a rule of the host or died of a signal since it started.
    pub workers_lost: u64,
    /// Workers that the host killed since then, whoever was at fault.
    pub workers_killed: u64,
    /// Its strikes, and whether it may run.
    pub quarantine: QuarantineBody,
    /// Its weight beside others of its GPU; a share is this by the sum of those that have work.
    pub weight: u32,
    /// Time that its leases held the GPU since the host started, in nanoseconds; 0 where tenants do not take turns.
    pub gpu_time_ns: u64,
    /// Leases that it had since then.
    pub leases: u64,
    /// Leases whose work did not end in time.
    pub overruns: u64,
    /// Time that it is owed, in nanoseconds; below zero, what it had too much.
    pub lag_ns: i64,
    /// Time in which sessions of it ran without a lease, in nanoseconds, because the host gave no sign of life.
    pub ungated_ns: u64,
    /// Launches of kernels and graphs that its guests asked for since the host started, as its workers say.
    pub launches: u64,
    /// Bytes of copies that they asked for.
    pub copied_bytes: u64,
    /// Calls of them that take the host's time without the GPU.
    pub control_calls: u64,
    /// What it does without now, for having done more than its rates allow.
    pub held_back: HeldBackBody,
    /// How long it waited for each lease.
    pub waits: SpansBody,
    /// How long it held each.
    pub holds: SpansBody,
    /// Images of its programs that the host keeps between sessions.
    pub images: ImagesBody,
    /// Every setting as it holds now.
    pub settings: TenantKeys,
    /// The names of those that an operator set at run time.
    pub overridden: Vec<String>,
}

/// Body of the answer to a change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ChangedBody {
    /// Names of the tenants of whom something is different now.
    pub changed: Vec<String>,
    /// Names of those that were added.
    pub added: Vec<String>,
    /// Names of those that were removed.
    pub removed: Vec<String>,
    /// What does not hold at once or not yet, for people.
    pub notes: Vec<String>,
}

/// What a tenant does without for having done more than its rates allow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct HeldBackBody {
    /// Launches of kernels and graphs.
    pub launches: bool,
    /// Copies.
    pub copies: bool,
    /// Calls that take the host's time without the GPU.
    pub control_calls: bool,
}

/// Lengths of time that were counted. Quantiles are at most a quarter too long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SpansBody {
    /// How many.
    pub count: u64,
    /// Their sum, in nanoseconds.
    pub sum_ns: u64,
    /// What half of them did not exceed, in nanoseconds.
    pub p50_ns: u64,
    /// What 95 of 100 did not exceed, in nanoseconds.
    pub p95_ns: u64,
    /// What 99 of 100 did not exceed, in nanoseconds.
    pub p99_ns: u64,
}

impl SpansBody {
    pub(crate) fn of(histogram: &Histogram) -> Self {
        Self {
            count: histogram.count(),
            sum_ns: histogram.sum_ns(),
            p50_ns: histogram.quantile_ns(500),
            p95_ns: histogram.quantile_ns(950),
            p99_ns: histogram.quantile_ns(990),
        }
    }
}

/// Strikes of a tenant, and whether it may run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct QuarantineBody {
    /// Whether it may run.
    pub standing: StandingState,
    /// Milliseconds until new sessions may begin; null where they may, and where only an operator can say so.
    pub left_ms: Option<u64>,
    /// Strikes that are not forgotten.
    pub strikes: u8,
    /// All faults ever, also those that were no strike.
    pub faults: u64,
    /// The latest fault that was a strike, or the operator's order; null in its absence.
    pub reason: Option<String>,
}

/// Whether a tenant may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StandingState {
    /// It may.
    Good,
    /// Its sessions run; new ones are held back for a while after a fault.
    BackOff,
    /// It may not, until a timer or an operator releases it.
    Quarantined,
    /// It may not, until an operator releases it.
    QuarantinedByHand,
}

/// Images that the host keeps for a tenant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ImagesBody {
    /// Images now.
    pub kept: u64,
    /// Their bytes.
    pub kept_bytes: u64,
    /// Bytes at most.
    pub max_bytes: u64,
    /// Loads since the host started whose image was there, and did not travel.
    pub hits: u64,
    /// Loads since then whose image was not there.
    pub misses: u64,
    /// Images since then that were sent and not kept: too many in too short a time, larger than all that may be kept, or not
    /// readable.
    pub refused: u64,
}

/// Connections that became no session, by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RefusedBody {
    /// Another user than the tenant's.
    pub permission: u64,
    /// A limit on sessions.
    pub session_limit: u64,
    /// The tenant was held back after a fault, or quarantined.
    pub quarantined: u64,
    /// More in a second than the tenant may begin.
    pub session_rate: u64,
    /// The host was draining.
    pub draining: u64,
    /// Silent after connecting.
    pub silent: u64,
    /// No protocol version in common.
    pub version: u64,
    /// A greeting that breaks the protocol, or an end in the middle of it.
    pub protocol: u64,
    /// No address plan, device or worker.
    pub unavailable: u64,
}

impl RefusedBody {
    /// Each cause by its name here.
    pub(crate) const fn by_cause(&self) -> [(&'static str, u64); 9] {
        [
            ("permission", self.permission),
            ("session_limit", self.session_limit),
            ("quarantined", self.quarantined),
            ("session_rate", self.session_rate),
            ("draining", self.draining),
            ("silent", self.silent),
            ("version", self.version),
            ("protocol", self.protocol),
            ("unavailable", self.unavailable),
        ]
    }
}

/// Body of `GET /v1/sessions`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SessionsBody {
    /// Every session, oldest first.
    pub sessions: Vec<SessionBody>,
}

/// A session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SessionBody {
    /// Its number.
    pub id: u64,
    /// Name of its tenant.
    pub tenant: String,
    /// `greeting`, `open` or `closing`.
    pub state: SessionState,
    /// Process id of its worker.
    pub worker_pid: u32,
    /// Milliseconds since the guest connected.
    pub age_ms: u64,
    /// What the guest says it is; null before it greeted.
    pub guest: Option<GuestBody>,
    /// Protocol version; null before it was agreed.
    pub version: Option<u16>,
    /// Device memory lent to it, in bytes.
    pub memory_lent_bytes: u64,
    /// Pinned memory lent to it, in bytes.
    pub pinned_lent_bytes: u64,
    /// What its worker counted; null when it did not answer in time.
    pub counts: Option<CountsBody>,
}

/// State of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum SessionState {
    /// The guest has connected and not been welcomed yet.
    Greeting,
    /// The guest works.
    Open,
    /// The session was told to end.
    Closing,
}

/// What a guest says of itself; it may say what it likes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct GuestBody {
    /// Process id inside the guest.
    pub pid: u32,
    /// Program name.
    pub name: String,
}

/// What a worker counted. A worker counts as controlled by its guest, so these inform and decide nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CountsBody {
    /// Commands read from the ring.
    pub commands: u64,
    /// Kernel launches.
    pub launches: u64,
    /// Bytes copied by the guest's commands.
    pub bytes_copied: u64,
    /// Contexts that exist.
    pub contexts: u64,
    /// Streams that exist, the legacy ones included.
    pub streams: u64,
    /// Device memory in use, in bytes.
    pub memory_bytes: u64,
    /// Pinned memory in use, in bytes.
    pub pinned_bytes: u64,
    /// Contexts that met a sticky error.
    pub faults: u64,
    /// Kernel output dropped because the guest did not read it, in bytes.
    pub output_dropped_bytes: u64,
}

/// Body of every answer that is no success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ErrorBody {
    /// What is wrong.
    pub error: String,
    /// What to do about it.
    pub remedy: String,
}

impl ErrorBody {
    pub(crate) fn new(error: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { error: error.into(), remedy: remedy.into() }
    }
}
