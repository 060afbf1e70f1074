//! Which sessions may begin.

use alloc::vec::Vec;
use core::fmt;

/// A tenant, by its place in the configuration. Guests never see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantId(pub u32);

/// Counts the sessions of a host and of each tenant, and admits no more than either may have.
///
/// A draining host admits none; that is never undone, because its listeners are about to go.
#[derive(Clone, Debug)]
pub struct Admission {
    tenants: Vec<Load>,
    sessions: u32,
    sessions_max: u32,
    draining: bool,
}

#[derive(Clone, Copy, Debug)]
struct Load {
    sessions: u32,
    sessions_max: u32,
    /// What the tenant may have by a limit that was lowered below it; falls with its sessions.
    kept: u32,
}

impl Load {
    const fn new(sessions_max: u32) -> Self {
        Self { sessions: 0, sessions_max, kept: 0 }
    }
}

/// Why a session was not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refused {
    /// There is no such tenant.
    UnknownTenant,
    /// The host shuts down.
    Draining,
    /// The tenant has as many sessions as it may.
    TenantSessions {
        /// How many that is.
        max: u32,
    },
    /// The host has as many sessions as it may.
    HostSessions {
        /// How many that is.
        max: u32,
    },
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownTenant => f.write_str("no such tenant; add it to the host's configuration"),
            Self::Draining => f.write_str("the host shuts down; try again when it is back"),
            Self::TenantSessions { max } => write!(
                f,
                "the tenant already has {max} sessions, its limit; end one or raise its sessions_max"
            ),
            Self::HostSessions { max } => {
                write!(f, "the host already has {max} sessions, its limit; try again when one has ended")
            }
        }
    }
}

impl core::error::Error for Refused {}

impl Admission {
    /// Tenants get the ids 0, 1, 2, ... in the order of `tenant_sessions_max`, which says how many sessions each may
    /// have at once; all together may have `sessions_max`.
    pub fn new(sessions_max: u32, tenant_sessions_max: impl IntoIterator<Item = u32>) -> Self {
        let tenants = tenant_sessions_max.into_iter().map(Load::new).collect();
        Self { tenants, sessions: 0, sessions_max, draining: false }
    }

    /// Adds a tenant, which gets the next id.
    pub fn add(&mut self, sessions_max: u32) -> TenantId {
        let id = TenantId(u32::try_from(self.tenants.len()).expect("tenants are few"));
        self.tenants.push(Load::new(sessions_max));
        id
    }

    /// Gives a tenant another limit. Sessions above it stay, and none begins until there are fewer; zero for one that is to
    /// have none.
    ///
    /// # Panics
    /// There is no such tenant.
    pub fn set_sessions_max(&mut self, tenant: TenantId, sessions_max: u32) {
        let load = &mut self.tenants[tenant.0 as usize];
        load.sessions_max = sessions_max;
        load.kept = load.sessions;
        self.invariants();
    }

    /// Admits one more session of `tenant` and counts it until [`Self::release`].
    ///
    /// # Errors
    /// The first limit that it would pass; nothing is counted then.
    pub fn admit(&mut self, tenant: TenantId) -> Result<(), Refused> {
        let load = self.tenants.get_mut(tenant.0 as usize).ok_or(Refused::UnknownTenant)?;
        if self.draining {
            return Err(Refused::Draining);
        }
        if load.sessions >= load.sessions_max {
            return Err(Refused::TenantSessions { max: load.sessions_max });
        }
        if self.sessions >= self.sessions_max {
            return Err(Refused::HostSessions { max: self.sessions_max });
        }
        load.sessions += 1;
        self.sessions += 1;
        self.invariants();
        Ok(())
    }

    /// A session of `tenant` that was admitted has ended.
    ///
    /// # Panics
    /// When the tenant has no session: a count that went wrong would let another tenant's limit be passed.
    pub fn release(&mut self, tenant: TenantId) {
        let load = self.tenants.get_mut(tenant.0 as usize).filter(|load| load.sessions > 0);
        let load = load.expect("only an admitted session is released");
        load.sessions -= 1;
        load.kept = load.kept.min(load.sessions);
        self.sessions -= 1;
        self.invariants();
    }

    /// Admits nothing from now on.
    pub const fn drain(&mut self) {
        self.draining = true;
    }

    /// Whether [`Self::drain`] was called.
    pub const fn is_draining(&self) -> bool {
        self.draining
    }

    /// Sessions of all tenants.
    pub const fn sessions(&self) -> u32 {
        self.sessions
    }

    /// Sessions of one tenant; zero for one that does not exist.
    pub fn tenant_sessions(&self, tenant: TenantId) -> u32 {
        self.tenants.get(tenant.0 as usize).map_or(0, |load| load.sessions)
    }

    fn invariants(&self) {
        debug_assert!(self.sessions <= self.sessions_max, "the host's limit holds");
        debug_assert!(
            self.tenants.iter().all(|load| load.sessions <= load.sessions_max.max(load.kept)),
            "each tenant's limit holds"
        );
        debug_assert_eq!(
            u64::from(self.sessions),
            self.tenants.iter().map(|load| u64::from(load.sessions)).sum::<u64>(),
            "every session has one tenant"
        );
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_limit_has_its_own_refusal() {
        let mut admission = Admission::new(2, [1, 5]);
        assert_eq!(admission.admit(TenantId(2)), Err(Refused::UnknownTenant));
        assert_eq!(admission.admit(TenantId(0)), Ok(()));
        assert_eq!(admission.admit(TenantId(0)), Err(Refused::TenantSessions { max: 1 }));
        assert_eq!(admission.admit(TenantId(1)), Ok(()));
        assert_eq!(admission.admit(TenantId(1)), Err(Refused::HostSessions { max: 2 }));
        admission.drain();
        assert_eq!(admission.admit(TenantId(1)), Err(Refused::Draining));
        assert_eq!(admission.sessions(), 2);
    }

    #[test]
    #[should_panic(expected = "only an admitted session is released")]
    fn a_session_is_released_once() {
        let mut admission = Admission::new(2, [2]);
        admission.admit(TenantId(0)).unwrap();
        admission.release(TenantId(0));
        admission.release(TenantId(0));
    }

    proptest! {
        /// Whatever comes, a session is admitted exactly when both limits leave room and the host does not drain.
        #[test]
        fn it_admits_what_fits_and_nothing_else(
            host_max in 0..12_u32,
            maxima in proptest::collection::vec(0..6_u32, 1..4),
            steps in proptest::collection::vec((any::<bool>(), 0..4_usize), 0..200),
            drain_at in 0..400_usize,
        ) {
            let mut admission = Admission::new(host_max, maxima.iter().copied());
            let mut model = alloc::vec![0_u32; maxima.len()];
            for (step, (admit, index)) in steps.into_iter().enumerate() {
                if step == drain_at {
                    admission.drain();
                }
                let index = index % maxima.len();
                let tenant = TenantId(u32::try_from(index).unwrap());
                if admit {
                    let fits = model[index] < maxima[index]
                        && model.iter().sum::<u32>() < host_max
                        && step < drain_at;
                    prop_assert_eq!(admission.admit(tenant).is_ok(), fits);
                    model[index] += u32::from(fits);
                } else if model[index] > 0 {
                    admission.release(tenant);
                    model[index] -= 1;
                }
                prop_assert_eq!(admission.sessions(), model.iter().sum::<u32>());
                prop_assert_eq!(admission.tenant_sessions(tenant), model[index]);
            }
        }
    }
}
