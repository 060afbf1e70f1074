//! What may be wrong with a configuration.

use std::path::PathBuf;

use vgpu_core::device::soft;
use vgpu_sched::LeaseError;

/// A configuration was refused. Each message names the key and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}: {source}; check the path and its permissions", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// No TOML of this form.
    #[error("the configuration is not of the documented form; correct or remove what is marked\n{0}")]
    Form(#[from] toml::de::Error),
    /// No folder for the sockets.
    #[error("host.runtime_dir is absent and XDG_RUNTIME_DIR is not set; set one of them")]
    NoRuntimeDir,
    /// A folder's path is relative.
    #[error("host.{key} = {:?} is not absolute; write the path from / on", path.display())]
    RelativePath {
        /// The key.
        key: &'static str,
        /// Its value.
        path: PathBuf,
    },
    /// The drain time is too long.
    #[error("host.drain_timeout_ms = {found} is above {max}; lower it")]
    DrainTimeout {
        /// Its value, in milliseconds.
        found: u64,
        /// The most that is allowed, in milliseconds.
        max: u64,
    },
    /// No sandbox for workers on a card.
    #[error(
        "gpu {gpu:?}: host.sandbox = \"off\" is for the software GPU only and device is {device:?}; set host.sandbox to \"auto\", \
         \"full\" or \"basic\""
    )]
    SandboxOff {
        /// The GPU's name.
        gpu: String,
        /// Its device.
        device: String,
    },
    /// A cgroup for workers that are not confined.
    #[error("host.worker_cgroup is set but host.sandbox is \"off\"; remove one")]
    CgroupOff,
    /// Users of workers outside their range.
    #[error("host.worker_uid_first = {found} is not within {min} to {max}; correct it")]
    WorkerUid {
        /// Its value.
        found: u32,
        /// The least that is allowed.
        min: u32,
        /// The most that is allowed.
        max: u32,
    },
    /// Monitoring would be answered where others than this machine may ask, or nowhere.
    #[error(
        "host.metrics = {found:?} is no loopback address with a port, and whoever can connect there learns who the \
         tenants are and what they do; write \"127.0.0.1:9464\" or \"[::1]:9464\", or remove it"
    )]
    Metrics {
        /// Its value.
        found: String,
    },
    /// A name breaks its pattern.
    #[error("{section}.name = {name:?} is not 1 to 32 of a-z, 0-9 and -; rename it")]
    Name {
        /// `gpu`, `profile` or `tenant`.
        section: &'static str,
        /// The name.
        name: String,
    },
    /// A name is taken.
    #[error("two {section} sections are named {name:?}; rename one")]
    Duplicate {
        /// `gpu`, `profile` or `tenant`.
        section: &'static str,
        /// The name.
        name: String,
    },
    /// Nothing to serve.
    #[error("there is no [[{section}]] section; add one")]
    Nothing {
        /// `gpu` or `tenant`.
        section: &'static str,
    },
    /// More sections than the host keeps.
    #[error("there are {found} [[{section}]] sections, more than {max}; remove some")]
    TooMany {
        /// `gpu` or `tenant`.
        section: &'static str,
        /// How many.
        found: usize,
        /// How many are allowed.
        max: usize,
    },
    /// A device that is not known.
    #[error("gpu {gpu:?}: device = {device:?} is unknown; use \"soft\", \"cuda:N\" or \"cuda:GPU-<uuid>\"")]
    UnknownDevice {
        /// The GPU's name.
        gpu: String,
        /// The value.
        device: String,
    },
    /// Memory of a card for the software GPU.
    #[error("gpu {gpu:?}: memory_bytes is for cards; write it into soft")]
    CardMemory {
        /// The GPU's name.
        gpu: String,
    },
    /// One card twice: its memory would be lent twice.
    #[error("gpus {first:?} and {second:?} are one card; remove one")]
    SameCard {
        /// Name of one.
        first: String,
        /// Name of the other.
        second: String,
    },
    /// Settings of the software GPU for another device.
    #[error("gpu {gpu:?}: soft is set but device is {device:?}; remove one")]
    SoftSettings {
        /// The GPU's name.
        gpu: String,
        /// Its device.
        device: String,
    },
    /// A compute capability that does not parse.
    #[error("gpu {gpu:?}: soft.compute_capability = {found:?} is not of the form \"8.0\"; correct it")]
    ComputeCapability {
        /// The GPU's name.
        gpu: String,
        /// The value.
        found: String,
    },
    /// A setting of the software GPU that it refuses.
    #[error("gpu {gpu:?}: soft.{source}; correct it")]
    SoftSetting {
        /// The GPU's name.
        gpu: String,
        /// What it says.
        source: soft::ConfigError,
    },
    /// Faults that are no plan.
    #[error("gpu {gpu:?}: soft.faults: {source}; correct it or remove the key")]
    SoftFaults {
        /// The GPU's name.
        gpu: String,
        /// What is wrong.
        source: soft::FaultPlanError,
    },
    /// A number outside its range.
    #[error("{section} {name:?}: {key} = {found} is not within {min} to {max}; correct it")]
    Range {
        /// `gpu` or `tenant`.
        section: &'static str,
        /// Which of them.
        name: String,
        /// The key.
        key: &'static str,
        /// The value.
        found: u64,
        /// The least that is allowed.
        min: u64,
        /// The most that is allowed.
        max: u64,
    },
    /// A tenant's GPU is not configured.
    #[error("tenant {tenant:?}: gpu = {gpu:?} is not configured; add a [[gpu]] section or name another")]
    UnknownGpu {
        /// The tenant's name.
        tenant: String,
        /// The GPU that it names.
        gpu: String,
    },
    /// A tenant's profile is not configured.
    #[error(
        "tenant {tenant:?}: profile = {profile:?} is not configured; add a [[profile]] section or name another"
    )]
    UnknownProfile {
        /// The tenant's name.
        tenant: String,
        /// The profile that it names.
        profile: String,
    },
    /// A tenant without a quota of device memory.
    #[error("tenant {tenant:?}: neither it nor its profile says memory_bytes; add it")]
    NoMemory {
        /// The tenant's name.
        tenant: String,
    },
    /// A number that is no share of a GPU.
    #[error("{section} {name:?}: {key} = {found} is no share of a GPU; choose from 0.000001 to 1")]
    Share {
        /// `gpu` or `tenant`.
        section: &'static str,
        /// Which of them.
        name: String,
        /// The key.
        key: &'static str,
        /// The value.
        found: f64,
    },
    /// A setting without the one that it says more of.
    #[error("tenant {tenant:?}: {key} is set without {needed}; set both or remove it")]
    Alone {
        /// The tenant's name.
        tenant: String,
        /// The key.
        key: &'static str,
        /// The key that it needs.
        needed: &'static str,
    },
    /// The reservations on a GPU do not fit on it.
    #[error(
        "gpu {gpu:?}: its tenants reserve {} of it in all, and scheduler.reservable is {}; lower a reservation",
        millionths(*sum), millionths(u64::from(*max))
    )]
    Reservations {
        /// The GPU's name.
        gpu: String,
        /// The sum of the reservations, in millionths.
        sum: u64,
        /// What may be reserved, in millionths.
        max: u32,
    },
    /// A tenant that the lease scheduler refuses.
    #[error("tenant {tenant:?}: {source}")]
    Lease {
        /// The tenant's name.
        tenant: String,
        /// Why.
        source: LeaseError,
    },
    /// A knob of the lease scheduler that it refuses.
    #[error("gpu {gpu:?}: scheduler.{source}")]
    Scheduler {
        /// The GPU's name.
        gpu: String,
        /// Why.
        source: LeaseError,
    },
    /// A change that a running host cannot make.
    #[error("{what} cannot be changed while the host runs; restart it, or change that back")]
    NeedsRestart {
        /// What.
        what: String,
    },
    /// A socket's path does not fit a socket address.
    #[error(
        "the socket path {} has {} bytes, {max} are allowed; choose a shorter host.runtime_dir",
        path.display(), path.as_os_str().len()
    )]
    SocketPath {
        /// The path.
        path: PathBuf,
        /// How many bytes are allowed.
        max: usize,
    },
}

/// A number of millionths as a decimal of one, without needless zeros.
fn millionths(number: u64) -> String {
    let text = format!("{}.{:06}", number / 1_000_000, number % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
