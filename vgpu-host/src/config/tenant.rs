//! From the settings of a tenant to what the host holds it to.

use vgpu_proto::handshake;
use vgpu_proto::limits;
use vgpu_sched::lease::LeaseError;
use vgpu_sched::{Cap, Class, Duration, LeaseTenant, Limit, Rate, Share, WatchdogConfig, Weight};

use super::check::check_range;
use super::{ClassName, ConfigError, Device, Gpu, Setting, TenantKeys};

const PINNED_BYTES: u64 = 1 << 30;
/// What the libraries of a large framework load for one architecture, in most programs.
const IMAGES_BYTES: u64 = 256 << 20;
/// As many of the largest images as are kept.
const IMAGES_BYTES_MAX: u64 = limits::KEPT_IMAGES_MAX as u64 * limits::IMAGE_BYTES_MAX;
/// Three of the longest quanta: a capped tenant that paused runs like any other for a moment.
const CAP_BURST_MS: u64 = 100;
/// A minute: longer, and the cap would not be seen in what an operator watches.
const CAP_BURST_MS_MAX: u64 = 60_000;
/// Ten minutes: no kernel that others wait for is that long and well.
const MAX_KERNEL_MS_MAX: u64 = 600_000;
/// A session's own two and some of the guest's: with fewer nothing can be loaded.
const REGIONS_MIN: u64 = 8;

/// A tenant.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Tenant {
    /// Name, unique.
    pub name: String,
    /// Index of its GPU in [`super::Config::gpus`].
    pub gpu: usize,
    /// User who may connect.
    pub uid: u32,
    /// Device memory over all its sessions, in bytes.
    pub memory_bytes: u64,
    /// Pinned memory over all its sessions, in bytes.
    pub pinned_bytes: u64,
    /// The host's memory for images that it keeps between the tenant's sessions, in bytes.
    pub images_bytes: u64,
    /// Sessions at once.
    pub sessions_max: u32,
    /// How it takes turns with others of its GPU.
    pub lease: LeaseTenant,
    /// What it may do in a second.
    pub rates: Rates,
    /// How long a kernel of it may run, and what else is watched.
    pub watchdog: WatchdogConfig,
    /// What each of its sessions may have.
    pub limits: handshake::Limits,
    /// The configuration has it no longer; it keeps its place among the others.
    pub(crate) removed: bool,
    /// What the configuration says of it, its profile included.
    pub(crate) keys: TenantKeys,
}

/// Rates of a tenant; what has none is not limited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rates {
    /// Kernels and graphs launched.
    pub launches: Option<Rate>,
    /// Bytes copied.
    pub bytes: Option<Rate>,
    /// Sessions begun.
    pub sessions: Option<Rate>,
    /// Calls that take the host's time without the GPU.
    pub control_calls: Option<Rate>,
}

impl Rates {
    /// The rate of what is limited; none where the configuration has no such limit.
    pub const fn get(&self, limit: Limit) -> Option<Rate> {
        match limit {
            Limit::Launches => self.launches,
            Limit::Bytes => self.bytes,
            Limit::Sessions => self.sessions,
            Limit::ControlCalls => self.control_calls,
            Limit::GpuTime => None,
        }
    }
}

/// Checks the settings of a tenant, over all places where they are said.
pub(super) fn check(
    name: &str,
    gpu: usize,
    uid: u32,
    keys: &TenantKeys,
    gpus: &[Gpu],
) -> Result<Tenant, ConfigError> {
    let memory_max = match &gpus[gpu].device {
        Device::Soft(soft) => soft.memory_bytes,
        // What the card has is not known before it was asked.
        Device::Cuda(cuda) => cuda.memory_bytes.unwrap_or(u64::MAX),
    };
    let memory_bytes = keys.memory_bytes.ok_or_else(|| ConfigError::NoMemory { tenant: name.to_owned() })?;
    let pinned_bytes = keys.pinned_bytes.unwrap_or(PINNED_BYTES);
    let images_bytes = keys.images_bytes.unwrap_or(IMAGES_BYTES);
    let sessions_max = keys.sessions_max.unwrap_or(limits::TENANT_SESSIONS_MAX);
    let range = |key, found, min, max| check_range("tenant", name, key, found, min, max);
    range("memory_bytes", memory_bytes, 1, memory_max)?;
    range("pinned_bytes", pinned_bytes, 1, limits::HEAP_RANGE_BYTES)?;
    range("images_bytes", images_bytes, 0, IMAGES_BYTES_MAX)?;
    range("sessions_max", sessions_max.into(), 1, limits::TENANT_SESSIONS_MAX.into())?;
    let mut watchdog = WatchdogConfig::default();
    if let Some(found) = keys.max_kernel_ms {
        range("max_kernel_ms", found, 1, MAX_KERNEL_MS_MAX)?;
        watchdog.kernel_max = Duration::from_millis(found);
    }
    Ok(Tenant {
        name: name.to_owned(),
        gpu,
        uid,
        memory_bytes,
        pinned_bytes,
        images_bytes,
        sessions_max,
        lease: lease(name, keys)?,
        rates: rates(name, keys)?,
        watchdog,
        limits: session_limits(name, keys, memory_bytes, pinned_bytes)?,
        removed: false,
        keys: TenantKeys::default(),
    })
}

fn lease(name: &str, keys: &TenantKeys) -> Result<LeaseTenant, ConfigError> {
    let weight = match keys.weight {
        None => Weight::default(),
        Some(found) => Weight::new(found).map_err(|_| ConfigError::Range {
            section: "tenant",
            name: name.to_owned(),
            key: "weight",
            found: found.into(),
            min: Weight::MIN.get().into(),
            max: Weight::MAX.get().into(),
        })?,
    };
    let part = |key, setting: Option<Setting<f64>>| {
        setting.and_then(Setting::value).map(|found| share("tenant", name, key, found)).transpose()
    };
    let reservation = part("reservation", keys.reservation)?;
    let cap = part("cap", keys.cap)?;
    alone(name, "cap_burst_ms", keys.cap_burst_ms.is_some(), "cap", keys.cap.is_some())?;
    let burst_ms = keys.cap_burst_ms.unwrap_or(CAP_BURST_MS);
    check_range("tenant", name, "cap_burst_ms", burst_ms, 0, CAP_BURST_MS_MAX)?;
    if cap.is_some_and(|cap| reservation.is_some_and(|reservation| reservation > cap)) {
        let source = LeaseError::ReservationAboveCap;
        return Err(ConfigError::Lease { tenant: name.to_owned(), source });
    }
    Ok(LeaseTenant {
        weight,
        class: match keys.class {
            Some(ClassName::Latency) => Class::Latency,
            Some(ClassName::Batch) | None => Class::Batch,
        },
        reservation,
        cap: cap.map(|share| Cap { share, burst: Duration::from_millis(burst_ms) }),
    })
}

fn rates(name: &str, keys: &TenantKeys) -> Result<Rates, ConfigError> {
    let rate = |key, setting: Option<Setting<u64>>, burst_key, burst: Option<u64>| {
        alone(name, burst_key, burst.is_some(), key, setting.is_some())?;
        let Some(per_second) = setting.and_then(Setting::value) else { return Ok(None) };
        check_range("tenant", name, key, per_second, 1, u64::MAX)?;
        let burst = burst.unwrap_or(per_second);
        check_range("tenant", name, burst_key, burst, 1, u64::MAX)?;
        Ok::<_, ConfigError>(Some(Rate::new(per_second, burst).expect("both are at least 1")))
    };
    Ok(Rates {
        launches: rate("launches_per_s", keys.launches_per_s, "launches_burst", keys.launches_burst)?,
        bytes: rate("bytes_per_s", keys.bytes_per_s, "bytes_burst", keys.bytes_burst)?,
        sessions: rate("sessions_per_s", keys.sessions_per_s, "sessions_burst", keys.sessions_burst)?,
        control_calls: rate(
            "control_calls_per_s",
            keys.control_calls_per_s,
            "control_calls_burst",
            keys.control_calls_burst,
        )?,
    })
}

fn session_limits(
    name: &str,
    keys: &TenantKeys,
    memory_bytes: u64,
    pinned_bytes: u64,
) -> Result<handshake::Limits, ConfigError> {
    let most = handshake::Limits::largest(memory_bytes, pinned_bytes);
    let count = |key, found: Option<u32>, min, max: u32| {
        let found = found.unwrap_or(max);
        check_range("tenant", name, key, found.into(), min, max.into()).map(|()| found)
    };
    Ok(handshake::Limits {
        contexts: count("contexts_max", keys.contexts_max, 1, most.contexts)?,
        streams: count("streams_max", keys.streams_max, 1, most.streams)?,
        events: count("events_max", keys.events_max, 1, most.events)?,
        modules: count("modules_max", keys.modules_max, 1, most.modules)?,
        functions: count("functions_max", keys.functions_max, 1, most.functions)?,
        regions: count("regions_max", keys.regions_max, REGIONS_MIN, most.regions)?,
        memory_bytes,
        pinned_bytes,
    })
}

/// A setting that says more of another one needs that: else it was meant to limit something and does not.
fn alone(
    name: &str,
    key: &'static str,
    is_said: bool,
    needed: &'static str,
    is_there: bool,
) -> Result<(), ConfigError> {
    if is_said && !is_there {
        return Err(ConfigError::Alone { tenant: name.to_owned(), key, needed });
    }
    Ok(())
}

/// A share that is written as a part of one.
pub(super) fn share(
    section: &'static str,
    name: &str,
    key: &'static str,
    found: f64,
) -> Result<Share, ConfigError> {
    let bad = || ConfigError::Share { section, name: name.to_owned(), key, found };
    let millionths = (found * f64::from(Share::WHOLE.millionths())).round();
    // A number that is none is in no range.
    if !(1.0..=f64::from(Share::WHOLE.millionths())).contains(&millionths) || found > 1.0 {
        return Err(bad());
    }
    Share::from_millionths(millionths as u32).map_err(|_| bad())
}

/// Whether the reservations on each GPU fit on it together.
pub(super) fn check_reservations(tenants: &[Tenant], gpus: &[Gpu]) -> Result<(), ConfigError> {
    for (index, gpu) in gpus.iter().enumerate() {
        let here = tenants.iter().filter(|tenant| tenant.gpu == index);
        let reserved = here.filter_map(|tenant| tenant.lease.reservation);
        let sum = reserved.map(|share| u64::from(share.millionths())).sum::<u64>();
        let max = gpu.scheduler.reservable.millionths();
        if sum > u64::from(max) {
            return Err(ConfigError::Reservations { gpu: gpu.name.clone(), sum, max });
        }
    }
    Ok(())
}
