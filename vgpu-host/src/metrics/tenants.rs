//! Families of tenants.

use super::TenantReading;
use super::family::{Family, Kind, family};
use crate::api::StandingState;

const STANDINGS: [&str; 4] = ["good", "back_off", "quarantined", "quarantined_by_hand"];

/// As the control API names it.
const fn standing(state: StandingState) -> &'static str {
    match state {
        StandingState::Good => STANDINGS[0],
        StandingState::BackOff => STANDINGS[1],
        StandingState::Quarantined => STANDINGS[2],
        StandingState::QuarantinedByHand => STANDINGS[3],
    }
}

pub(super) const FAMILIES: &[Family<TenantReading>] = &[
    family!(
        "vgpu_tenant_gpu_seconds_total",
        Counter,
        "Time that the tenant's leases held the GPU, as it is billed.",
        |tenant, samples| samples.seconds(tenant.body.gpu_time_ns)
    ),
    family!("vgpu_tenant_weight", Gauge, "The tenant's weight.", |tenant, samples| {
        samples.number(tenant.body.weight);
    }),
    family!(
        "vgpu_tenant_entitled_share_ratio",
        Gauge,
        "Its weight by the sum of those of all tenants of its GPU: its share while all have work.",
        |tenant, samples| samples.ratio(f64::from(tenant.body.weight) / tenant.weights.max(1) as f64)
    ),
    family!(
        "vgpu_tenant_lag_seconds",
        Gauge,
        "GPU time that the tenant is owed; below zero, what it had too much.",
        |tenant, samples| samples.signed_seconds(tenant.body.lag_ns)
    ),
    family!(
        "vgpu_tenant_wait_seconds",
        Histogram,
        "How long the tenant waited for each lease.",
        |tenant, samples| samples.histogram(&tenant.waits)
    ),
    family!(
        "vgpu_tenant_hold_seconds",
        Histogram,
        "How long each of its leases held the GPU.",
        |tenant, samples| samples.histogram(&tenant.holds)
    ),
    family!("vgpu_tenant_leases_total", Counter, "Leases that the tenant had.", |tenant, samples| {
        samples.number(tenant.body.leases);
    }),
    family!(
        "vgpu_tenant_overruns_total",
        Counter,
        "Leases whose work did not end in time.",
        |tenant, samples| samples.number(tenant.body.overruns)
    ),
    family!(
        "vgpu_tenant_ungated_seconds_total",
        Counter,
        "Time in which its sessions ran without a lease because the host gave no sign of life.",
        |tenant, samples| samples.seconds(tenant.body.ungated_ns)
    ),
    family!(
        "vgpu_tenant_launches_total",
        Counter,
        "Launches of kernels and graphs that its guests asked for, as its workers say.",
        |tenant, samples| samples.number(tenant.body.launches)
    ),
    family!(
        "vgpu_tenant_copied_bytes_total",
        Counter,
        "Bytes of copies that its guests asked for, as its workers say.",
        |tenant, samples| samples.number(tenant.body.copied_bytes)
    ),
    family!(
        "vgpu_tenant_control_calls_total",
        Counter,
        "Calls that take the host's time without the GPU, as its workers say.",
        |tenant, samples| samples.number(tenant.body.control_calls)
    ),
    family!(
        "vgpu_tenant_held_back",
        Gauge,
        "1 while the tenant does without because it did more than this rate allows.",
        |tenant, samples| {
            let held = tenant.body.held_back;
            let rates = [("launches", held.launches), ("copies", held.copies), ("calls", held.control_calls)];
            rates.into_iter().for_each(|(rate, held)| samples.number_of("rate", rate, held));
        }
    ),
    family!(
        "vgpu_tenant_memory_lent_bytes",
        Gauge,
        "Device memory lent to its sessions.",
        |tenant, samples| samples.number(tenant.body.memory_lent_bytes)
    ),
    family!(
        "vgpu_tenant_memory_quota_bytes",
        Gauge,
        "Device memory that they may have.",
        |tenant, samples| samples.number(tenant.body.memory_bytes)
    ),
    family!(
        "vgpu_tenant_pinned_lent_bytes",
        Gauge,
        "Pinned memory lent to its sessions.",
        |tenant, samples| samples.number(tenant.body.pinned_lent_bytes)
    ),
    family!(
        "vgpu_tenant_pinned_quota_bytes",
        Gauge,
        "Pinned memory that they may have.",
        |tenant, samples| samples.number(tenant.body.pinned_bytes)
    ),
    family!("vgpu_tenant_sessions", Gauge, "Sessions.", |tenant, samples| {
        samples.number(tenant.body.sessions);
    }),
    family!("vgpu_tenant_sessions_max", Gauge, "Sessions that it may have at once.", |tenant, samples| {
        samples.number(tenant.body.sessions_max);
    }),
    family!("vgpu_tenant_sessions_opened_total", Counter, "Sessions that began.", |tenant, samples| {
        samples.number(tenant.body.opened);
    }),
    family!(
        "vgpu_tenant_refused_total",
        Counter,
        "Connections that became no session, by cause.",
        |tenant, samples| {
            tenant.body.refused.by_cause().into_iter().for_each(|(cause, count)| {
                samples.number_of("cause", cause, count);
            });
        }
    ),
    family!(
        "vgpu_tenant_workers_lost_total",
        Counter,
        "Workers that broke a rule of the host, did not end in time, or died.",
        |tenant, samples| samples.number(tenant.body.workers_lost)
    ),
    family!(
        "vgpu_tenant_workers_killed_total",
        Counter,
        "Workers that the host killed, whoever was at fault.",
        |tenant, samples| samples.number(tenant.body.workers_killed)
    ),
    family!("vgpu_tenant_strikes", Gauge, "Strikes that are not forgotten.", |tenant, samples| {
        samples.number(tenant.body.quarantine.strikes);
    }),
    family!(
        "vgpu_tenant_faults",
        Gauge,
        "Faults in the tenant's life, over restarts of the host.",
        |tenant, samples| samples.number(tenant.body.quarantine.faults)
    ),
    family!(
        "vgpu_tenant_standing",
        Gauge,
        "1 for what the tenant may do: good, or what holds it back.",
        |tenant, samples| {
            let now = standing(tenant.body.quarantine.standing);
            samples.states("standing", STANDINGS, |state| state == now);
        }
    ),
    family!(
        "vgpu_tenant_images_kept_bytes",
        Gauge,
        "Module images that the host keeps between its sessions.",
        |tenant, samples| samples.number(tenant.body.images.kept_bytes)
    ),
    family!(
        "vgpu_tenant_image_hits_total",
        Counter,
        "Loads whose image was kept, and did not travel.",
        |tenant, samples| samples.number(tenant.body.images.hits)
    ),
    family!(
        "vgpu_tenant_image_misses_total",
        Counter,
        "Loads whose image was not kept.",
        |tenant, samples| samples.number(tenant.body.images.misses)
    ),
    family!(
        "vgpu_tenant_images_refused_total",
        Counter,
        "Images that were sent and not kept.",
        |tenant, samples| samples.number(tenant.body.images.refused)
    ),
];
