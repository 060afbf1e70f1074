//! Reading the configuration file again, all or nothing.

use super::change::ChangeError;
use super::daemon::Daemon;
use super::images::ImageCache;
use super::report::Tally;
use super::sockets::TenantSockets;
use crate::api::ChangedBody;
use crate::config::{Config, Tenant};
use vgpu_core::broker::TenantConfig;
use vgpu_sched::{Limits, TenantId};

impl Daemon {
    /// Has the host follow its configuration file as it is now; what operators set still overrides it.
    ///
    /// A tenant that the file no longer has is removed, if it has no session: a host does not end a customer's work because
    /// a section is missing. One that the file has anew is added.
    pub(super) fn reload(&mut self) -> Result<ChangedBody, ChangeError> {
        let path = self.config.origin.path.clone().ok_or(ChangeError::NoFile)?;
        let mut config = self.config.reloaded(Config::from_path(&path)?)?;
        self.check_removed(&config)?;
        config.tenants = config.tenants_with(|name| self.store.overrides(name))?;
        let bound = self.bind_added(&config)?;
        // Nothing below can fail.
        let tenants = std::mem::take(&mut config.tenants);
        config.tenants = std::mem::take(&mut self.config.tenants);
        self.config = config;
        self.standings.set_rules(self.config.quarantine, self.clock.now());
        let body = self.hold(tenants);
        if let Some(sockets) = &mut self.sockets {
            let removed = (0..).zip(&self.config.tenants).filter(|(_, tenant)| tenant.removed);
            removed.for_each(|(id, _)| sockets.close(TenantId(id)));
            bound.into_iter().for_each(|(id, bound)| sockets.serve(id, bound, &self.events));
        }
        Ok(body)
    }

    fn check_removed(&self, config: &Config) -> Result<(), ChangeError> {
        for (tenant, usage) in config.tenants.iter().zip(self.broker.tenants()) {
            if tenant.removed && usage.sessions > 0 {
                let (tenant, sessions) = (tenant.name.clone(), usage.sessions);
                return Err(ChangeError::TenantInUse { tenant, sessions });
            }
        }
        Ok(())
    }

    /// Listens for every tenant that is not served yet. What was bound goes again where a later one fails.
    fn bind_added(&self, config: &Config) -> Result<Vec<(TenantId, TenantSockets)>, ChangeError> {
        if self.sockets.is_none() {
            return Ok(vec![]);
        }
        let is_served = |index: usize| self.config.tenants.get(index).is_some_and(|tenant| !tenant.removed);
        let added = config.tenants.iter().enumerate();
        let added = added.filter(|(index, tenant)| !tenant.removed && !is_served(*index));
        let bind = |(index, tenant): (usize, &Tenant)| {
            let id = u32::try_from(index).expect("tenants are few");
            Ok((TenantId(id), TenantSockets::bind(config, tenant)?))
        };
        added.map(bind).collect()
    }

    /// Has room for a tenant that was not there when the host started. The one place for that; what it says is applied after.
    pub(super) fn add_tenant(&mut self, id: TenantId) {
        let Tenant { gpu, memory_bytes, pinned_bytes, images_bytes, sessions_max, .. } = *self.tenant(id);
        let added = self.broker.add_tenant(TenantConfig { gpu, memory_bytes, pinned_bytes, sessions_max });
        debug_assert_eq!(added, id, "tenants have their places");
        self.tallies.push(Tally::default());
        self.images.push(ImageCache::new(images_bytes));
        self.rates.push(Limits::default());
        if let Err(error) = self.turns.add(&self.config.tenants[id.0 as usize]) {
            // There are fewer places than the leases of a GPU know tenants.
            tracing::error!(%error, "the leases do not know a new tenant");
        }
        let (name, now) = (&self.config.tenants[id.0 as usize].name, self.clock.now());
        self.journal.add_tenant(name);
        self.standings.add_tenant(name, self.config.quarantine, self.store.state(), now);
    }
}
