//! `[gpu.scheduler]`: how tenants take turns on a GPU.

use serde::Deserialize;
use vgpu_sched::{Duration, LeaseConfig};

use super::ConfigError;
use super::tenant::share;

/// `[gpu.scheduler]`. Ranges that name another key mean its value, or its default.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::exhaustive_structs, reason = "programs that embed the host build it")]
pub struct SchedulerSection {
    /// How long all tenants together take for a turn each, in milliseconds, from one `quantum_min_us` on. Default: 240. Short
    /// rounds make tenants wait less and switch more often.
    pub round_target_ms: Option<u64>,
    /// The shortest lease, and that of the latency class, in microseconds, 1 to `quantum_max_us`. Default: 1,000. Small ones
    /// spend the GPU on switches, large ones keep others waiting.
    pub quantum_min_us: Option<u64>,
    /// The longest lease, in microseconds, `quantum_min_us` to 1,000,000. Default: 30,000. Small ones spend the GPU on
    /// switches, large ones keep others waiting.
    pub quantum_max_us: Option<u64>,
    /// The longest lease while a tenant of the latency class has work, in microseconds, `quantum_min_us` to `quantum_max_us`,
    /// where it does nothing. Default: 4,000.
    pub quantum_max_beside_latency_us: Option<u64>,
    /// How long a tenant holds the GPU before the latency class may interrupt it, in microseconds, 0 to `quantum_max_us`,
    /// where it never interrupts. Default: 1,000. With 0 each arrival costs a switch.
    pub run_min_us: Option<u64>,
    /// How long a tenant that has nothing to run keeps the GPU, in microseconds, 0 to `quantum_max_us`. Default: 150, what a
    /// switch takes. With 0 a loop that launches and synchronises loses the GPU each time; long ones leave it unused.
    pub idle_grace_us: Option<u64>,
    /// What a lease that was called back is expected to take until its work is done, before any was seen, in microseconds, 0
    /// to `quantum_max_us`. Default: 500, which is the work that may be in flight.
    pub drain_min_us: Option<u64>,
    /// After how many leases' time one that was called back and is not done keeps nobody out any more, 1 to 1,000. Default:
    /// 2. Few ones mix the work of two tenants often, many let one that cannot be stopped keep the GPU long.
    pub overrun_quanta: Option<u32>,
    /// How long before a lease is expected to be done the next one begins, in microseconds. Default: 0, and then leases never
    /// overlap. Long ones fill the gap between two leases and mix their work.
    pub hand_off_us: Option<u64>,
    /// Share of the GPU that may be reserved in all, 0.000001 to 1. Default: 0.9, as switches and gaps take some of the rest.
    pub reservable: Option<f64>,
}

/// The scheduler's own form of the section.
pub(super) fn check(gpu: &str, section: SchedulerSection) -> Result<LeaseConfig, ConfigError> {
    let unset = LeaseConfig::default();
    let micros = |value: Option<u64>, default: Duration| {
        value.map_or(default, |micros| Duration::from_nanos(micros.saturating_mul(1_000)))
    };
    let reservable = section.reservable.map(|found| share("gpu", gpu, "scheduler.reservable", found));
    let config = LeaseConfig {
        round_target: section.round_target_ms.map_or(unset.round_target, Duration::from_millis),
        quantum_min: micros(section.quantum_min_us, unset.quantum_min),
        quantum_max: micros(section.quantum_max_us, unset.quantum_max),
        quantum_max_beside_latency: micros(
            section.quantum_max_beside_latency_us,
            unset.quantum_max_beside_latency,
        ),
        run_min: micros(section.run_min_us, unset.run_min),
        idle_grace: micros(section.idle_grace_us, unset.idle_grace),
        drain_min: micros(section.drain_min_us, unset.drain_min),
        overrun_quanta: section.overrun_quanta.unwrap_or(unset.overrun_quanta),
        hand_off: micros(section.hand_off_us, unset.hand_off),
        reservable: reservable.transpose()?.unwrap_or(unset.reservable),
    };
    config.check().map_err(|source| ConfigError::Scheduler { gpu: gpu.to_owned(), source })?;
    Ok(config)
}
