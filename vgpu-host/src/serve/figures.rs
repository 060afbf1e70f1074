//! Every figure that is told to monitoring, copied as it stands.

use vgpu_sched::TenantId;

use super::daemon::Daemon;
use crate::metrics::{GpuReading, HostReading, Reading, TenantReading};

impl Daemon {
    pub(super) fn reading(&self) -> Reading {
        let host = HostReading {
            uptime_ns: self.clock.now().as_nanos(),
            phase: self.phase.name(),
            events: *self.journal.counts(),
        };
        let gpus = self.devices_body().devices.into_iter().enumerate();
        let gpus = gpus.map(|(gpu, body)| GpuReading { body, totals: self.turns.totals(gpu) });
        let mut weights = vec![0_u64; self.config.gpus.len()];
        for tenant in self.config.tenants.iter().filter(|tenant| !tenant.removed) {
            weights[tenant.gpu] += u64::from(tenant.lease.weight.get());
        }
        // Those that were removed have no body.
        let places = (0..).zip(&self.config.tenants).filter(|(_, tenant)| !tenant.removed);
        let tenants = places.zip(self.tenants_body().tenants).map(|((index, tenant), body)| {
            let (waits, holds) = self.turns.spans(tenant.gpu, TenantId(index));
            TenantReading { body, weights: weights[tenant.gpu], waits, holds }
        });
        Reading { host, gpus: gpus.collect(), tenants: tenants.collect() }
    }
}
