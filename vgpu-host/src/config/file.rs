//! The form of the configuration file, as it is written and before it is checked.

use std::path::PathBuf;

use serde::Deserialize;

use super::{HealthSection, QuarantineSection, SchedulerSection, TenantKeys};
use crate::worker::sandbox::Wanted;

/// The whole file.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::exhaustive_structs, reason = "programs that embed the host build it")]
pub struct ConfigFile {
    /// `[host]`.
    #[serde(default)]
    pub host: HostSection,
    /// `[[gpu]]`.
    #[serde(default)]
    pub gpu: Vec<GpuSection>,
    /// `[[profile]]`.
    #[serde(default)]
    pub profile: Vec<ProfileSection>,
    /// `[[tenant]]`.
    #[serde(default)]
    pub tenant: Vec<TenantSection>,
}

/// `[host]`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::exhaustive_structs, reason = "programs that embed the host build it")]
pub struct HostSection {
    /// Folder of the sockets, absolute; every socket's path in it must fit 107 bytes. Default: [`super::default_runtime_dir`].
    pub runtime_dir: Option<PathBuf>,
    /// Folder of what must survive the host, absolute: what operators change at run time, and quarantines. One host uses it at
    /// a time. A folder that is named and not there is made when the host starts; the default, `/var/lib/vgpu`, when there is
    /// something to keep.
    pub state_dir: Option<PathBuf>,
    /// How long a draining host waits for its sessions, in milliseconds; at most an hour. Default: 10,000.
    pub drain_timeout_ms: Option<u64>,
    /// What is done about tenants whose work fails.
    pub quarantine: Option<QuarantineSection>,
    /// Address, with a port, on which `GET /metrics` is answered over TCP. A loopback address; port 0 is one that is free,
    /// which the log tells. Default: none, and then only the control socket answers it.
    pub metrics: Option<String>,
    /// How cards are watched.
    pub health: Option<HealthSection>,
    /// How workers are confined, [`crate::sandbox`]: `auto`, the highest level that this user and this kernel can hold; `full`
    /// (root only) or `basic`, that level with all its parts, or the host does not start; `off`, not with cards. A starting
    /// host logs the level and what is missing in it. Default: `auto`.
    pub sandbox: Option<Wanted>,
    /// At the level `full`, the user and group of the worker with process id 0, 65,536 to 4,290,772,991: each worker is the
    /// user whose number is this plus its process id. Nobody else may have these 4,194,304 numbers. Default: 1,900,000,000.
    pub worker_uid_first: Option<u32>,
    /// A folder below a cgroup v2 mount that is the host's own, absolute: it has no processes of itself and its parent gives it
    /// the controllers `memory` and `pids`. Each worker gets a cgroup in it, which bounds its memory by what its tenant may have
    /// and 8 GiB, and its threads. Not with `sandbox = "off"`. Default: none, and then neither is bounded by the system.
    pub worker_cgroup: Option<PathBuf>,
}

/// `[[gpu]]`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::exhaustive_structs, reason = "programs that embed the host build it")]
pub struct GpuSection {
    /// Name, `[a-z0-9-]{1,32}`, unique.
    pub name: String,
    /// `soft`, or a card: `cuda:N` by the driver's number, `cuda:GPU-<uuid>` by its UUID.
    pub device: String,
    /// Memory of a card that all its tenants share, in bytes, at most what it has. Default: what it has, which a starting
    /// host asks it. Not with `device = "soft"`, which has its own key.
    pub memory_bytes: Option<u64>,
    /// Workers that wait with the device ready for guests to come, 0 to 8. Default: 1 for a card, 0 for the software GPU,
    /// which is ready at once. With 0 the first call of each guest process waits for the driver to start, some 400 ms; with
    /// 1 it takes some 20 ms, unless several guests start within that time. More serve bursts; each waiting worker on a
    /// card keeps a context's memory there, which no quota counts, and some 100 MiB of the host's.
    pub spares: Option<u32>,
    /// Whether tenants take turns. Default: true. With false all run at once and the hardware shares out its time, without
    /// weights, classes, reservations or caps.
    pub leases: Option<bool>,
    /// How tenants take turns.
    pub scheduler: Option<SchedulerSection>,
    /// Settings of the software GPU; only with `device = "soft"`.
    pub soft: Option<SoftSection>,
}

/// `soft` of a `[[gpu]]`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::exhaustive_structs, reason = "programs that embed the host build it")]
pub struct SoftSection {
    /// Memory, in bytes, 2 MiB to 256 GiB. Default: 4 GiB. An allocation above it is out of memory.
    pub memory_bytes: Option<u64>,
    /// Compute capability, `"7.0"` to `"12.1"`. Default: `"8.0"`. PTX for a newer one is refused.
    pub compute_capability: Option<String>,
    /// CPU threads that run blocks in each worker, 1 to 256. Default: as many as the CPU runs at once. With 1 kernels of one
    /// session take turns; with many a worker may use every core.
    pub threads: Option<u32>,
    /// Seed of random delays between the commands of a stream, which show what a program forgot to order. Default:
    /// none, and then there are no delays.
    pub delay_seed: Option<u64>,
    /// Faults on order, in the form of [`vgpu_core::device::soft::FaultPlan`]. Default: none.
    pub faults: Option<String>,
}

/// `[[profile]]`: settings by one name, which tenants may be created from.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::exhaustive_structs, reason = "programs that embed the host build it")]
pub struct ProfileSection {
    /// Name, `[a-z0-9-]{1,32}`, unique among profiles.
    pub name: String,
    /// What tenants of this profile have, unless they say otherwise.
    #[serde(flatten)]
    pub keys: TenantKeys,
}

/// `[[tenant]]`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::exhaustive_structs, reason = "programs that embed the host build it")]
pub struct TenantSection {
    /// Name, `[a-z0-9-]{1,32}`, unique. It is a folder of the runtime folder.
    pub name: String,
    /// Name of its GPU.
    pub gpu: String,
    /// Name of its profile. Default: none, and then what it does not say has the default of each key.
    pub profile: Option<String>,
    /// User who may connect. Default: the user who runs the host.
    pub uid: Option<u32>,
    /// Its own settings, which override those of its profile one by one.
    #[serde(flatten)]
    pub keys: TenantKeys,
}
