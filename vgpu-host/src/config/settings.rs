//! From what the host holds a tenant to, back to the settings that say so.

use vgpu_sched::{Class, Duration, Rate, Share};

use super::{ClassName, Setting, Tenant, TenantKeys};

impl Tenant {
    /// Every setting as it holds now, defaults included. Bursts are absent where nothing is limited.
    pub fn settings(&self) -> TenantKeys {
        let cap = self.lease.cap;
        let (launches_per_s, launches_burst) = rate(self.rates.launches);
        let (bytes_per_s, bytes_burst) = rate(self.rates.bytes);
        let (sessions_per_s, sessions_burst) = rate(self.rates.sessions);
        let (control_calls_per_s, control_calls_burst) = rate(self.rates.control_calls);
        TenantKeys {
            memory_bytes: Some(self.memory_bytes),
            pinned_bytes: Some(self.pinned_bytes),
            images_bytes: Some(self.images_bytes),
            sessions_max: Some(self.sessions_max),
            weight: Some(self.lease.weight.get()),
            class: Some(match self.lease.class {
                Class::Batch => ClassName::Batch,
                Class::Latency => ClassName::Latency,
            }),
            reservation: Some(setting(self.lease.reservation.map(part))),
            cap: Some(setting(cap.map(|cap| part(cap.share)))),
            cap_burst_ms: cap.map(|cap| millis(cap.burst)),
            launches_per_s,
            launches_burst,
            bytes_per_s,
            bytes_burst,
            sessions_per_s,
            sessions_burst,
            control_calls_per_s,
            control_calls_burst,
            max_kernel_ms: Some(millis(self.watchdog.kernel_max)),
            contexts_max: Some(self.limits.contexts),
            streams_max: Some(self.limits.streams),
            events_max: Some(self.limits.events),
            modules_max: Some(self.limits.modules),
            functions_max: Some(self.limits.functions),
            regions_max: Some(self.limits.regions),
        }
    }
}

fn setting<T>(value: Option<T>) -> Setting<T> {
    value.map_or(Setting::Nothing, Setting::Value)
}

fn rate(rate: Option<Rate>) -> (Option<Setting<u64>>, Option<u64>) {
    (Some(setting(rate.map(Rate::per_second))), rate.map(Rate::burst))
}

fn part(share: Share) -> f64 {
    f64::from(share.millionths()) / f64::from(Share::WHOLE.millionths())
}

const fn millis(span: Duration) -> u64 {
    span.as_nanos() / 1_000_000
}
