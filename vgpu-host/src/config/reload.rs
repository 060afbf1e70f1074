//! What a running configuration becomes when its file is read again.

use vgpu_sched::LeaseTenant;

use super::{Config, ConfigError, Rates, Tenant};

/// Places of tenants, of those too that were removed: what one GPU's scheduler knows at most.
const PLACES_MAX: usize = vgpu_sched::lease::TENANTS_MAX;

impl Config {
    /// This configuration as `read` says, which is its file as it is now. Tenants keep their places: one that is gone is
    /// marked as removed, one that is new comes behind the others.
    ///
    /// # Errors
    /// What is different needs a restart.
    pub(crate) fn reloaded(&self, read: Self) -> Result<Self, ConfigError> {
        let restart = |what: &str| Err(ConfigError::NeedsRestart { what: what.to_owned() });
        if read.runtime_dir != self.runtime_dir || read.state_dir != self.state_dir {
            return restart("host.runtime_dir and host.state_dir");
        }
        if read.health != self.health {
            return restart("host.health");
        }
        if read.confinement != self.confinement {
            return restart("host.sandbox, host.worker_uid_first and host.worker_cgroup");
        }
        if read.metrics != self.metrics {
            return restart("host.metrics");
        }
        if read.origin.gpus != self.origin.gpus {
            return restart("a [[gpu]] section (one more or less, or a key of it)");
        }
        let mut tenants: Vec<_> = self.tenants.iter().cloned().map(removed).collect();
        for tenant in read.tenants {
            let is_it = |place: &(usize, &Tenant)| place.1.name == tenant.name && place.1.gpu == tenant.gpu;
            let place = self.tenants.iter().enumerate().find(is_it).map(|(place, _)| place);
            let name = &tenant.name;
            let is_elsewhere =
                |other: &Tenant| other.name == *name && other.gpu != tenant.gpu && !other.removed;
            if self.tenants.iter().any(is_elsewhere) {
                return restart(&format!("tenant {name:?}: its gpu"));
            }
            match place {
                Some(place) if !self.tenants[place].removed && self.tenants[place].uid != tenant.uid => {
                    return restart(&format!("tenant {name:?}: its uid"));
                }
                Some(place) => tenants[place] = tenant,
                None if tenants.len() >= PLACES_MAX => {
                    return restart("the list of tenants, after thousands of additions,");
                }
                None => tenants.push(tenant),
            }
        }
        // What a card has was learned when the host started, and is not in the file.
        Ok(Self { gpus: self.gpus.clone(), tenants, ..read })
    }
}

/// A tenant that the file has no longer: it holds its place and reserves nothing.
fn removed(tenant: Tenant) -> Tenant {
    Tenant { removed: true, lease: LeaseTenant::default(), rates: Rates::default(), ..tenant }
}
