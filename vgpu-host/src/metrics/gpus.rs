//! Families of GPUs.

use vgpu_sched::CardStanding;

use super::GpuReading;
use super::family::{Family, Kind, Samples, family};
use crate::api::HealthBody;
use crate::health::ThrottleReason;

const STANDINGS: [CardStanding; 5] = [
    CardStanding::Good,
    CardStanding::ResetAtDrain,
    CardStanding::Closed,
    CardStanding::Reset,
    CardStanding::Fenced,
];

const THROTTLE: [ThrottleReason; 9] = [
    ThrottleReason::Idle,
    ThrottleReason::ClocksSetting,
    ThrottleReason::PowerCap,
    ThrottleReason::HardwareSlowdown,
    ThrottleReason::SyncBoost,
    ThrottleReason::ThermalSlowdown,
    ThrottleReason::HardwareThermal,
    ThrottleReason::PowerBrake,
    ThrottleReason::Display,
];

/// A figure of the card itself, where it is known.
fn card<'a, T>(gpu: &'a GpuReading, figure: impl FnOnce(&'a HealthBody) -> Option<T>, write: impl FnOnce(T)) {
    if let Some(value) = gpu.body.health.as_ref().and_then(figure) {
        write(value);
    }
}

/// A figure of the card itself that is a whole number.
macro_rules! card_number {
    ($name:literal, $kind:ident, $help:literal, $figure:expr) => {
        family!($name, $kind, $help, |gpu, samples| {
            card(gpu, $figure, |value| samples.decimal(u64::from(value), 0));
        })
    };
}

/// Those with a point in them.
macro_rules! card_decimal {
    ($name:literal, $kind:ident, $help:literal, $digits:literal, $figure:expr) => {
        family!($name, $kind, $help, |gpu, samples| {
            card(gpu, $figure, |value| samples.decimal(u64::from(value), $digits));
        })
    };
}

pub(super) const FAMILIES: &[Family<GpuReading>] = &[
    family!(
        "vgpu_gpu_busy_seconds_total",
        Counter,
        "Time in which some tenant held the GPU.",
        |gpu, samples| {
            samples.seconds(gpu.totals.busy_ns);
        }
    ),
    family!(
        "vgpu_gpu_shared_seconds_total",
        Counter,
        "Time that two tenants paid, because one overran and the hardware served both.",
        |gpu, samples| samples.seconds(gpu.totals.shared_ns)
    ),
    family!(
        "vgpu_gpu_leases_total",
        Counter,
        "Leases of the GPU: how often it was switched.",
        |gpu, samples| {
            samples.number(gpu.totals.leases);
        }
    ),
    family!(
        "vgpu_gpu_stale_messages_total",
        Counter,
        "Messages about leases that were over, which credit and charge nobody.",
        |gpu, samples| samples.number(gpu.totals.stale)
    ),
    family!("vgpu_gpu_sessions", Gauge, "Sessions of all its tenants.", |gpu, samples| {
        samples.number(gpu.body.sessions);
    }),
    family!("vgpu_gpu_memory_bytes", Gauge, "Memory that its tenants share.", |gpu, samples| {
        if let Some(bytes) = gpu.body.memory_bytes {
            samples.number(bytes);
        }
    }),
    family!("vgpu_gpu_memory_lent_bytes", Gauge, "Of that, lent to sessions.", |gpu, samples| {
        samples.number(gpu.body.memory_lent_bytes);
    }),
    family!("vgpu_gpu_spares", Gauge, "Spare workers that the configuration asks for.", |gpu, samples| {
        samples.number(gpu.body.spares);
    }),
    family!("vgpu_gpu_spares_ready", Gauge, "Spare workers that wait for a guest.", |gpu, samples| {
        samples.number(gpu.body.spares_ready);
    }),
    family!("vgpu_gpu_spares_started_total", Counter, "Spare workers that were started.", |gpu, samples| {
        samples.number(gpu.body.spares_started);
    }),
    family!("vgpu_gpu_spares_taken_total", Counter, "Spare workers that a guest took.", |gpu, samples| {
        samples.number(gpu.body.spares_taken);
    }),
    family!(
        "vgpu_gpu_spares_lost_total",
        Counter,
        "Spare workers lost before a guest came.",
        |gpu, samples| {
            samples.number(gpu.body.spares_lost);
        }
    ),
    family!("vgpu_gpu_standing", Gauge, "1 for what the card may be used for.", |gpu, samples| {
        card(gpu, Some, |health| {
            let all = STANDINGS.map(CardStanding::name);
            samples.states("standing", all, |standing| standing == health.standing);
        });
    }),
    family!("vgpu_gpu_health_age_seconds", Gauge, "Time since the card was read.", |gpu, samples| {
        card(gpu, |health| health.age_ms, |ms| samples.decimal(ms, 3));
    }),
    card_number!("vgpu_gpu_temperature_celsius", Gauge, "Temperature of the card.", |health| {
        health.temperature_celsius
    }),
    card_decimal!("vgpu_gpu_power_watts", Gauge, "Power that the card draws.", 3, |health| {
        health.power_milliwatts
    }),
    card_decimal!("vgpu_gpu_power_limit_watts", Gauge, "Power at which it slows down.", 3, |health| {
        health.power_limit_milliwatts
    }),
    card_decimal!(
        "vgpu_gpu_utilization_ratio",
        Gauge,
        "Share of the driver's last sample period in which some kernel ran.",
        2,
        |health| health.gpu_percent
    ),
    card_decimal!(
        "vgpu_gpu_memory_utilization_ratio",
        Gauge,
        "Share of it in which memory was read or written.",
        2,
        |health| health.memory_percent
    ),
    card_number!("vgpu_gpu_card_memory_used_bytes", Gauge, "Memory in use by all processes.", |health| {
        health.memory_used_bytes
    }),
    card_number!("vgpu_gpu_card_memory_bytes", Gauge, "Memory of the card.", |health| {
        health.memory_total_bytes
    }),
    family!("vgpu_gpu_ecc_errors_total", Counter, "Memory errors, by kind and since when.", ecc),
    family!(
        "vgpu_gpu_remapped_rows",
        Gauge,
        "Rows of memory that were replaced, by cause.",
        |gpu, samples| {
            card(
                gpu,
                |health| health.rows,
                |rows| {
                    samples.number_of("cause", "correctable", rows.correctable);
                    samples.number_of("cause", "uncorrectable", rows.uncorrectable);
                },
            );
        }
    ),
    card_number!(
        "vgpu_gpu_remap_pending",
        Gauge,
        "1 while rows wait for a reset to be replaced.",
        |health| { health.rows.map(|rows| rows.pending) }
    ),
    card_number!("vgpu_gpu_remap_failed", Gauge, "1 where a row could not be replaced.", |health| {
        health.rows.map(|rows| rows.failed)
    }),
    family!(
        "vgpu_gpu_throttled",
        Gauge,
        "1 for each reason why it runs slower than it could.",
        |gpu, samples| {
            card(
                gpu,
                |health| health.age_ms.map(|_| health),
                |health| {
                    let all = THROTTLE.map(ThrottleReason::name);
                    samples
                        .states("reason", all, |reason| health.throttle.iter().any(|found| found == reason));
                },
            );
        }
    ),
    card_number!("vgpu_gpu_xids_total", Counter, "Errors (Xids) that the card reported.", |health| {
        Some(health.xids)
    }),
];

fn ecc(gpu: &GpuReading, samples: &mut Samples<'_>) {
    let Some(ecc) = gpu.body.health.as_ref().and_then(|health| health.ecc) else { return };
    let counts = [
        ("driver_load", "corrected", ecc.volatile_corrected),
        ("driver_load", "uncorrected", ecc.volatile_uncorrected),
        ("manufacture", "corrected", ecc.aggregate_corrected),
        ("manufacture", "uncorrected", ecc.aggregate_uncorrected),
    ];
    for (since, kind, count) in counts {
        samples.number_of_both([("since", since), ("kind", kind)], count);
    }
}
