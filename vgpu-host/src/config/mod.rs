//! The host's configuration: what it offers to whom.
//!
//! The file is TOML; unknown keys are errors, so a misspelt limit is not silently none. A [`Config`] that exists was
//! checked, whether it came from a file or was built by a program that embeds the host.

mod card;
mod check;
mod confinement;
mod error;
mod file;
mod health;
mod keys;
mod quarantine;
mod reload;
mod scheduler;
mod settings;
mod tenant;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use vgpu_core::broker;
use vgpu_sched::LeaseConfig;

pub(crate) use self::card::uuid_text;
pub use self::card::{Card, CardError};
pub use self::confinement::Confinement;
pub use self::error::ConfigError;
pub use self::file::{ConfigFile, GpuSection, HostSection, ProfileSection, SoftSection, TenantSection};
pub use self::health::{HealthConfig, HealthSection};
pub use self::keys::{ClassName, Setting, TenantKeys};
pub use self::quarantine::QuarantineSection;
pub use self::scheduler::SchedulerSection;
pub use self::tenant::{Rates, Tenant};

/// A checked configuration.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// Where the sockets lie.
    pub runtime_dir: PathBuf,
    /// Where the host keeps what must survive it.
    pub state_dir: PathBuf,
    /// The configuration says so; else it is the default, which need not be there.
    pub(crate) state_dir_named: bool,
    /// How long a draining host waits for its sessions, in milliseconds.
    pub drain_timeout_ms: u64,
    /// Where monitoring is answered over TCP, if anywhere: a loopback address.
    pub metrics: Option<SocketAddr>,
    /// What is done about tenants whose work fails.
    pub quarantine: vgpu_sched::QuarantineConfig,
    /// Where it comes from.
    pub(crate) origin: Origin,
    /// How cards are watched.
    pub health: HealthConfig,
    /// How workers are confined.
    pub confinement: Confinement,
    /// GPUs.
    pub gpus: Vec<Gpu>,
    /// Tenants.
    pub tenants: Vec<Tenant>,
}

/// Where a configuration comes from, and what only a restart changes of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origin {
    /// The file; none where a program built it.
    pub path: Option<PathBuf>,
    gpus: Vec<GpuSection>,
}

/// A GPU.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Gpu {
    /// Name in this configuration.
    pub name: String,
    /// What it is.
    pub device: Device,
    /// Workers that wait with it ready for guests to come.
    pub spares: u32,
    /// Whether its tenants take turns, by leases.
    pub leases: bool,
    /// How they do.
    pub scheduler: LeaseConfig,
}

/// What a GPU is.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Device {
    /// The software GPU.
    Soft(SoftGpu),
    /// A card.
    Cuda(CudaGpu),
}

/// As the configuration names it.
impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Soft(_) => f.write_str("soft"),
            Self::Cuda(cuda) => cuda.card.fmt(f),
        }
    }
}

/// A card.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CudaGpu {
    /// Which.
    pub card: Card,
    /// Memory that all its tenants share, in bytes; unknown until a starting host has asked the card.
    pub memory_bytes: Option<u64>,
}

/// A software GPU.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SoftGpu {
    /// Memory, in bytes.
    pub memory_bytes: u64,
    /// Compute capability, major and minor.
    pub compute_capability: (u32, u32),
    /// CPU threads that run blocks in each worker.
    pub threads: u32,
    /// Seed of random delays between the commands of a stream.
    pub delay_seed: Option<u64>,
    /// Faults on order; none when empty.
    pub faults: String,
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// The file cannot be read, is no TOML of this form, or a value does not pass its check.
    pub fn from_path(path: &Path) -> Result<Self, ConfigError> {
        let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), source };
        let mut config = Self::from_toml(&std::fs::read_to_string(path).map_err(unreadable)?)?;
        config.origin.path = Some(std::path::absolute(path).map_err(unreadable)?);
        Ok(config)
    }

    /// Reads and checks the text of a file.
    ///
    /// # Errors
    /// It is no TOML of this form, or a value does not pass its check.
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        Self::new(toml::from_str(text)?)
    }

    /// Checks a configuration that a program built.
    ///
    /// # Errors
    /// The first value that does not pass its check.
    pub fn new(file: ConfigFile) -> Result<Self, ConfigError> {
        check::check(file)
    }

    /// The tenants with what `overrides` says of them by name, checked as the configuration is.
    ///
    /// # Errors
    /// The first value that does not pass its check.
    pub fn tenants_with<'a>(
        &self,
        overrides: impl Fn(&str) -> Option<&'a TenantKeys>,
    ) -> Result<Vec<Tenant>, ConfigError> {
        let with = |configured: &Tenant| {
            if configured.removed {
                return Ok(configured.clone());
            }
            let Tenant { name, gpu, uid, keys, .. } = configured;
            let said = overrides(name).map_or_else(|| keys.clone(), |said| said.over(keys));
            let tenant = tenant::check(name, *gpu, *uid, &said, &self.gpus)?;
            Ok(Tenant { keys: keys.clone(), ..tenant })
        };
        let tenants = self.tenants.iter().map(with).collect::<Result<Vec<_>, ConfigError>>()?;
        tenant::check_reservations(&tenants, &self.gpus)?;
        Ok(tenants)
    }

    /// Where the tenant of that name is served. Its folder is the only thing to hand to a container.
    pub fn tenant_socket(&self, name: &str) -> PathBuf {
        tenant_socket(&self.runtime_dir, name)
    }

    /// Where that tenant's monitoring tools are served: beside its socket, so that who has one has the other.
    pub fn report_socket(&self, name: &str) -> PathBuf {
        self.tenant_socket(name).with_file_name(vgpu_proto::report::SOCKET_NAME)
    }

    /// Where operators are served.
    pub fn control_socket(&self) -> PathBuf {
        control_socket(&self.runtime_dir)
    }

    /// Takes over what a card said of its memory, in bytes, and checks what could not be checked before: nobody is
    /// promised more than there is.
    pub(crate) fn learn_memory(&mut self, gpu: usize, found_bytes: u64) -> Result<(), ConfigError> {
        let Gpu { name, device, .. } = &mut self.gpus[gpu];
        let Device::Cuda(cuda) = device else { return Ok(()) };
        let memory_bytes = *cuda.memory_bytes.get_or_insert(found_bytes);
        check::check_range("gpu", name, "memory_bytes", memory_bytes, 1, found_bytes)?;
        for tenant in self.tenants.iter().filter(|tenant| tenant.gpu == gpu) {
            check::check_range("tenant", &tenant.name, "memory_bytes", tenant.memory_bytes, 1, memory_bytes)?;
        }
        Ok(())
    }

    /// The broker of this configuration's GPUs and tenants.
    pub(crate) fn broker(&self) -> broker::Broker {
        let gpus: Vec<_> = self
            .gpus
            .iter()
            .map(|gpu| match &gpu.device {
                Device::Soft(soft) => soft.memory_bytes,
                // Tenants' own quotas hold in any case.
                Device::Cuda(cuda) => cuda.memory_bytes.unwrap_or(u64::MAX),
            })
            .map(|memory_bytes| broker::GpuConfig { memory_bytes })
            .collect();
        let tenants = self.tenants.iter().map(|tenant| broker::TenantConfig {
            gpu: tenant.gpu,
            memory_bytes: tenant.memory_bytes,
            pinned_bytes: tenant.pinned_bytes,
            sessions_max: tenant.sessions_max,
        });
        broker::Broker::new(&gpus, tenants.collect())
    }
}

/// The folder of sockets when none is configured: `/run/vgpu` for root, else `$XDG_RUNTIME_DIR/vgpu`.
///
/// # Errors
/// Not root, and `XDG_RUNTIME_DIR` is not set.
pub fn default_runtime_dir() -> Result<PathBuf, ConfigError> {
    if rustix::process::geteuid().is_root() {
        return Ok(PathBuf::from("/run/vgpu"));
    }
    let base = std::env::var_os("XDG_RUNTIME_DIR").filter(|base| !base.is_empty());
    Ok(PathBuf::from(base.ok_or(ConfigError::NoRuntimeDir)?).join("vgpu"))
}

/// Where operators are served, below a runtime folder.
pub fn control_socket(runtime_dir: &Path) -> PathBuf {
    runtime_dir.join("control.sock")
}

fn tenant_socket(runtime_dir: &Path, name: &str) -> PathBuf {
    runtime_dir.join("tenants").join(name).join("vgpu.sock")
}

#[cfg(test)]
mod tenant_tests;
#[cfg(test)]
mod tests;
