//! Families of the host.

use super::HostReading;
use super::family::{Family, Kind, family};
use crate::api::EventKind;
use crate::serve::PHASES;

pub(super) const FAMILIES: &[Family<HostReading>] = &[
    family!("vgpu_build_info", Gauge, "Always 1; the label tells the host's version.", |_, samples| samples
        .number_of("version", env!("CARGO_PKG_VERSION"), 1_u64)),
    family!(
        "vgpu_host_uptime_seconds",
        Gauge,
        "Time since the host started; every counter began at 0 then.",
        |host, samples| samples.seconds(host.uptime_ns)
    ),
    family!(
        "vgpu_host_phase",
        Gauge,
        "1 for the phase that the host is in: sessions begin only while it serves.",
        |host, samples| samples.states("phase", PHASES, |phase| phase == host.phase)
    ),
    family!(
        "vgpu_host_events_total",
        Counter,
        "What happened, by kind of event; repetitions count when they are told.",
        |host, samples| {
            for (kind, count) in EventKind::ALL.iter().zip(host.events) {
                samples.number_of("kind", kind.name(), count);
            }
        }
    ),
];
