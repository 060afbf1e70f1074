//! From the file's form to a checked configuration.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use vgpu_core::device::soft::{ComputeCapability, SoftConfig, THREADS_MAX};
use vgpu_proto::limits;

use super::file::{ConfigFile, GpuSection, HostSection, ProfileSection, SoftSection, TenantSection};
use super::{
    Card, Config, ConfigError, CudaGpu, Device, Gpu, Origin, SoftGpu, Tenant, health, scheduler, tenant,
};

/// An hour: longer, and an operator's restart looks like a hang.
const DRAIN_TIMEOUT_MS_MAX: u64 = 3_600_000;
const DRAIN_TIMEOUT_MS: u64 = 10_000;
/// A socket address holds 108 bytes, the last of which is zero.
const SOCKET_PATH_BYTES_MAX: usize = 107;
const NAME_BYTES_MAX: usize = 32;
/// More GPUs than any server holds.
const GPUS_MAX: usize = 64;
/// One listener each; more tenants than the host may have sessions could never all be served.
const TENANTS_MAX: usize = limits::HOST_SESSIONS_MAX as usize;
/// More guests than these start within the 400 ms that replacing one takes only where a whole machine boots; on a card
/// eight contexts are some 3 GiB.
const SPARES_MAX: u32 = 8;
const CARD_SPARES: u32 = 1;

pub(super) fn check(file: ConfigFile) -> Result<Config, ConfigError> {
    let confinement = super::confinement::check(&file)?;
    let quarantine = super::quarantine::check(file.host.quarantine.unwrap_or_default())?;
    let origin = Origin { path: None, gpus: file.gpu.clone() };
    let health = health::check(&file.host.health.clone().unwrap_or_default())?;
    let metrics = file.host.metrics.as_deref().map(check_metrics).transpose()?;
    let Host { runtime_dir, state_dir, state_dir_named, drain_timeout_ms } = check_host(file.host)?;
    check_names("gpu", GPUS_MAX, file.gpu.iter().map(|gpu| &gpu.name))?;
    if !file.profile.is_empty() {
        check_names("profile", TENANTS_MAX, file.profile.iter().map(|profile| &profile.name))?;
    }
    check_names("tenant", TENANTS_MAX, file.tenant.iter().map(|tenant| &tenant.name))?;
    let gpus = file.gpu.into_iter().map(check_gpu).collect::<Result<Vec<_>, _>>()?;
    let profiles = file.profile;
    let tenants = file.tenant.into_iter().map(|tenant| check_tenant(tenant, &gpus, &profiles));
    let tenants = tenants.collect::<Result<Vec<_>, _>>()?;
    tenant::check_reservations(&tenants, &gpus)?;
    let config = Config {
        runtime_dir,
        state_dir,
        state_dir_named,
        drain_timeout_ms,
        metrics,
        quarantine,
        origin,
        health,
        confinement,
        gpus,
        tenants,
    };
    check_socket_path(&config.control_socket())?;
    for tenant in &config.tenants {
        check_socket_path(&config.report_socket(&tenant.name))?;
    }
    Ok(config)
}

/// What `[host]` says.
struct Host {
    runtime_dir: PathBuf,
    state_dir: PathBuf,
    state_dir_named: bool,
    drain_timeout_ms: u64,
}

fn check_host(host: HostSection) -> Result<Host, ConfigError> {
    let runtime_dir = host.runtime_dir.map_or_else(super::default_runtime_dir, Ok)?;
    let state_dir_named = host.state_dir.is_some();
    let state_dir = host.state_dir.unwrap_or_else(|| PathBuf::from("/var/lib/vgpu"));
    for (key, path) in [("runtime_dir", &runtime_dir), ("state_dir", &state_dir)] {
        if !path.is_absolute() {
            return Err(ConfigError::RelativePath { key, path: path.clone() });
        }
    }
    let drain_timeout_ms = host.drain_timeout_ms.unwrap_or(DRAIN_TIMEOUT_MS);
    if drain_timeout_ms > DRAIN_TIMEOUT_MS_MAX {
        return Err(ConfigError::DrainTimeout { found: drain_timeout_ms, max: DRAIN_TIMEOUT_MS_MAX });
    }
    Ok(Host { runtime_dir, state_dir, state_dir_named, drain_timeout_ms })
}

/// Only this machine may ask: what is told names the tenants, and nobody is asked who they are.
fn check_metrics(text: &str) -> Result<SocketAddr, ConfigError> {
    let parsed = text.parse::<SocketAddr>().ok().filter(|address| address.ip().is_loopback());
    parsed.ok_or_else(|| ConfigError::Metrics { found: text.to_owned() })
}

fn check_names<'a>(
    section: &'static str,
    max: usize,
    names: impl ExactSizeIterator<Item = &'a String>,
) -> Result<(), ConfigError> {
    let found = names.len();
    if found == 0 {
        return Err(ConfigError::Nothing { section });
    }
    if found > max {
        return Err(ConfigError::TooMany { section, found, max });
    }
    let mut seen = BTreeSet::new();
    for name in names {
        if !is_name(name) {
            return Err(ConfigError::Name { section, name: name.clone() });
        }
        if !seen.insert(name) {
            return Err(ConfigError::Duplicate { section, name: name.clone() });
        }
    }
    Ok(())
}

/// Whether a tenant, a GPU or a profile may have that name.
fn is_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(fits)
}

fn check_gpu(gpu: GpuSection) -> Result<Gpu, ConfigError> {
    let GpuSection { name, device, memory_bytes, spares, leases, scheduler, soft } = gpu;
    let leases = leases.unwrap_or(true);
    let scheduler = scheduler::check(&name, scheduler.unwrap_or_default())?;
    if let Some(found) = spares {
        check_range("gpu", &name, "spares", found.into(), 0, SPARES_MAX.into())?;
    }
    if device == "soft" {
        if memory_bytes.is_some() {
            return Err(ConfigError::CardMemory { gpu: name });
        }
        let soft = check_soft(&name, soft.unwrap_or_default())?;
        let spares = spares.unwrap_or(0);
        return Ok(Gpu { name, device: Device::Soft(soft), spares, leases, scheduler });
    }
    let Ok(card) = device.parse::<Card>() else {
        return Err(ConfigError::UnknownDevice { gpu: name, device });
    };
    if soft.is_some() {
        return Err(ConfigError::SoftSettings { gpu: name, device });
    }
    if let Some(found) = memory_bytes {
        check_range("gpu", &name, "memory_bytes", found, 1, u64::MAX)?;
    }
    let device = Device::Cuda(CudaGpu { card, memory_bytes });
    Ok(Gpu { name, device, spares: spares.unwrap_or(CARD_SPARES), leases, scheduler })
}

fn check_soft(name: &str, section: SoftSection) -> Result<SoftGpu, ConfigError> {
    let unset = SoftConfig::default();
    let text = section.compute_capability.unwrap_or_else(|| unset.compute_capability.to_string());
    let parsed = parse_capability(&text);
    let compute_capability =
        parsed.ok_or_else(|| ConfigError::ComputeCapability { gpu: name.to_owned(), found: text })?;
    let faults = section.faults.unwrap_or_default();
    let wrong_plan = |source| ConfigError::SoftFaults { gpu: name.to_owned(), source };
    let soft = SoftConfig {
        memory_bytes: section.memory_bytes.unwrap_or(unset.memory_bytes),
        compute_capability,
        threads: section.threads.unwrap_or_else(default_threads),
        delay_seed: section.delay_seed,
        faults: faults.parse().map_err(wrong_plan)?,
    };
    soft.check().map_err(|source| ConfigError::SoftSetting { gpu: name.to_owned(), source })?;
    Ok(SoftGpu {
        memory_bytes: soft.memory_bytes,
        compute_capability: (compute_capability.major, compute_capability.minor),
        threads: soft.threads,
        delay_seed: soft.delay_seed,
        faults,
    })
}

/// As many as the CPU runs at once.
fn default_threads() -> u32 {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    u32::try_from(threads).unwrap_or(THREADS_MAX).min(THREADS_MAX)
}

/// `major.minor`, both of one or two digits and the minor of one, as NVIDIA numbers them.
fn parse_capability(text: &str) -> Option<ComputeCapability> {
    let (major, minor) = text.split_once('.')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(major) || !digits(minor) || major.len() > 2 || minor.len() > 1 {
        return None;
    }
    Some(ComputeCapability { major: major.parse().ok()?, minor: minor.parse().ok()? })
}

fn check_tenant(
    section: TenantSection,
    gpus: &[Gpu],
    profiles: &[ProfileSection],
) -> Result<Tenant, ConfigError> {
    let TenantSection { name, gpu, profile, uid, keys } = section;
    let Some(index) = gpus.iter().position(|candidate| candidate.name == gpu) else {
        return Err(ConfigError::UnknownGpu { tenant: name, gpu });
    };
    let keys = match profile {
        None => keys,
        Some(profile) => match profiles.iter().find(|candidate| candidate.name == profile) {
            Some(found) => keys.over(&found.keys),
            None => return Err(ConfigError::UnknownProfile { tenant: name, profile }),
        },
    };
    let uid = uid.unwrap_or_else(|| rustix::process::geteuid().as_raw());
    let tenant = tenant::check(&name, index, uid, &keys, gpus)?;
    Ok(Tenant { keys, ..tenant })
}

pub(super) fn check_range(
    section: &'static str,
    name: &str,
    key: &'static str,
    found: u64,
    min: u64,
    max: u64,
) -> Result<(), ConfigError> {
    if (min..=max).contains(&found) {
        return Ok(());
    }
    Err(ConfigError::Range { section, name: name.to_owned(), key, found, min, max })
}

fn check_socket_path(path: &Path) -> Result<(), ConfigError> {
    if path.as_os_str().as_bytes().len() > SOCKET_PATH_BYTES_MAX {
        return Err(ConfigError::SocketPath { path: path.to_owned(), max: SOCKET_PATH_BYTES_MAX });
    }
    Ok(())
}
