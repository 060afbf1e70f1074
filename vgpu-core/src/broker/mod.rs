//! Who may have a session, and how much memory each may take.
//!
//! A worker owns its device, so nobody else sees what it allocates. Instead it borrows credit here, in steps of
//! [`vgpu_proto::limits::CREDIT_STEP_BYTES`], allocates only inside it, and gives idle steps back. The broker sums the
//! credit per tenant and per GPU; that makes a tenant's quota hold over all its sessions and lets a dead worker's
//! memory return without a word from it.
//!
//! The broker is a value: the daemon calls it, nothing here blocks, and what operators see are copies
//! ([`Broker::tenants`], [`Broker::session`]).

mod credit;
mod turns;

use std::collections::BTreeMap;

use vgpu_proto::limits;
use vgpu_sched::{Admission, Refused, TenantId};

use self::credit::KINDS;
pub use self::credit::{CreditError, Held};
pub use self::turns::{Act, TurnKill, Turns, TurnsView};
pub use crate::session::CreditKind;

/// A GPU, as the broker needs to know it.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "hosts build it from their configuration")]
pub struct GpuConfig {
    /// Memory that all its tenants share, in bytes.
    pub memory_bytes: u64,
}

/// A tenant, as the broker needs to know it.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "hosts build it from their configuration")]
pub struct TenantConfig {
    /// Index of its GPU.
    pub gpu: usize,
    /// Device memory over all its sessions, in bytes.
    pub memory_bytes: u64,
    /// Pinned memory over all its sessions, in bytes.
    pub pinned_bytes: u64,
    /// Sessions at once.
    pub sessions_max: u32,
}

/// What a tenant uses now, for operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TenantUse {
    /// Its sessions.
    pub sessions: u32,
    /// Credit that they hold together.
    pub held: Held,
}

/// Number of a session; never used again while the host runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// Tenants, their sessions and the credit that these hold.
#[derive(Debug)]
pub struct Broker {
    admission: Admission,
    gpus: Vec<Gpu>,
    tenants: Vec<Tenant>,
    sessions: BTreeMap<SessionId, Session>,
    next: u64,
}

#[derive(Debug)]
struct Gpu {
    memory_bytes: u64,
    granted_bytes: u64,
}

#[derive(Debug)]
struct Tenant {
    config: TenantConfig,
    held: Held,
    /// What it may hold by a quota that was lowered below it; falls with what it gives back.
    kept: Held,
}

#[derive(Debug)]
struct Session {
    tenant: TenantId,
    held: Held,
}

impl Tenant {
    fn new(config: TenantConfig) -> Self {
        Self { config, held: Held::default(), kept: Held::default() }
    }
}

impl Broker {
    /// A broker of these GPUs and tenants. Tenants get the ids 0, 1, 2, ... in their order.
    ///
    /// # Panics
    /// When a tenant names a GPU that is not there; the configuration was checked.
    pub fn new(gpus: &[GpuConfig], tenants: Vec<TenantConfig>) -> Self {
        assert!(tenants.iter().all(|tenant| tenant.gpu < gpus.len()), "each tenant's GPU exists");
        let admission =
            Admission::new(limits::HOST_SESSIONS_MAX, tenants.iter().map(|tenant| tenant.sessions_max));
        let gpus = gpus.iter().map(|gpu| Gpu { memory_bytes: gpu.memory_bytes, granted_bytes: 0 }).collect();
        let tenants = tenants.into_iter().map(Tenant::new).collect();
        Self { admission, gpus, tenants, sessions: BTreeMap::new(), next: 1 }
    }

    /// Adds a tenant, which gets the next id.
    ///
    /// # Panics
    /// It names a GPU that is not there; the configuration was checked.
    pub fn add_tenant(&mut self, config: TenantConfig) -> TenantId {
        assert!(config.gpu < self.gpus.len(), "each tenant's GPU exists");
        let id = self.admission.add(config.sessions_max);
        self.tenants.push(Tenant::new(config));
        self.invariants();
        id
    }

    /// Gives a tenant other quotas and another limit on sessions, from now on. What it has above them stays its own, and
    /// nothing is added until it is below. Its GPU stays the same.
    ///
    /// # Panics
    /// There is no such tenant.
    pub fn set_tenant(&mut self, tenant: TenantId, memory_bytes: u64, pinned_bytes: u64, sessions_max: u32) {
        let state = &mut self.tenants[tenant.0 as usize];
        let gpu = state.config.gpu;
        state.config = TenantConfig { gpu, memory_bytes, pinned_bytes, sessions_max };
        state.kept = state.held;
        self.admission.set_sessions_max(tenant, sessions_max);
        self.invariants();
    }

    /// Begins a session of `tenant`.
    ///
    /// # Errors
    /// A limit on sessions is reached, or the host drains.
    pub fn open_session(&mut self, tenant: TenantId) -> Result<SessionId, Refused> {
        self.admission.admit(tenant)?;
        let id = SessionId(self.next);
        self.next += 1;
        self.sessions.insert(id, Session { tenant, held: Held::default() });
        self.invariants();
        Ok(id)
    }

    /// Ends a session and takes all its credit back, which is returned; `None` when there is no such session.
    pub fn close_session(&mut self, id: SessionId) -> Option<Held> {
        let session = self.sessions.remove(&id)?;
        for kind in KINDS {
            self.give_back(session.tenant, kind, session.held.bytes(kind));
        }
        self.admission.release(session.tenant);
        self.invariants();
        Some(session.held)
    }

    /// Lends a session up to `bytes` of credit, but at least `minimum` or nothing.
    ///
    /// A tenant near its quota gets what is left, so that an allocation which fits does not fail because its step
    /// does not. Returns what was granted: 0, or `minimum` to `bytes`. An unknown session and an empty or
    /// contradictory question get 0.
    pub fn request(&mut self, id: SessionId, kind: CreditKind, bytes: u64, minimum: u64) -> u64 {
        let Some(session) = self.sessions.get_mut(&id) else { return 0 };
        let tenant = &mut self.tenants[session.tenant.0 as usize];
        let gpu = &mut self.gpus[tenant.config.gpu];
        let granted = bytes.min(free(tenant, gpu, kind));
        if granted < minimum {
            return 0;
        }
        session.held.add(kind, granted);
        tenant.held.add(kind, granted);
        if kind == CreditKind::Device {
            gpu.granted_bytes += granted;
        }
        self.invariants();
        granted
    }

    /// A session gives credit back.
    ///
    /// # Errors
    /// The session does not hold that much; nothing changed. A worker that says so is broken or worse.
    pub fn release(&mut self, id: SessionId, kind: CreditKind, bytes: u64) -> Result<(), CreditError> {
        let session = self.sessions.get_mut(&id).ok_or(CreditError::UnknownSession)?;
        session.held.take(kind, bytes)?;
        let tenant = session.tenant;
        self.give_back(tenant, kind, bytes);
        self.invariants();
        Ok(())
    }

    /// Opens no more sessions; for good.
    pub const fn drain(&mut self) {
        self.admission.drain();
    }

    /// What each tenant uses, in the order of their ids.
    pub fn tenants(&self) -> impl Iterator<Item = TenantUse> {
        (0..).zip(&self.tenants).map(|(index, tenant)| TenantUse {
            sessions: self.admission.tenant_sessions(TenantId(index)),
            held: tenant.held,
        })
    }

    /// Credit that a session holds; `None` when there is no such session.
    pub fn session(&self, id: SessionId) -> Option<Held> {
        self.sessions.get(&id).map(|session| session.held)
    }

    fn give_back(&mut self, tenant: TenantId, kind: CreditKind, bytes: u64) {
        let tenant = &mut self.tenants[tenant.0 as usize];
        tenant.held.take(kind, bytes).expect("a tenant holds what its sessions hold");
        tenant.kept = tenant.kept.least(tenant.held);
        if kind == CreditKind::Device {
            self.gpus[tenant.config.gpu].granted_bytes -= bytes;
        }
    }

    /// Checked after each change in debug builds: a wrong sum here is one tenant taking another's memory.
    fn invariants(&self) {
        if !cfg!(debug_assertions) {
            return;
        }
        debug_assert_eq!(self.admission.sessions() as usize, self.sessions.len());
        for (index, tenant) in (0..).zip(&self.tenants) {
            let mine = || self.sessions.values().filter(|session| session.tenant == TenantId(index));
            debug_assert_eq!(self.admission.tenant_sessions(TenantId(index)) as usize, mine().count());
            for kind in KINDS {
                debug_assert_eq!(
                    tenant.held.bytes(kind),
                    mine().map(|session| session.held.bytes(kind)).sum::<u64>()
                );
                let allowed = quota(tenant, kind).max(tenant.kept.bytes(kind));
                debug_assert!(tenant.held.bytes(kind) <= allowed, "the quota holds");
            }
        }
        for (index, gpu) in self.gpus.iter().enumerate() {
            let tenants = self.tenants.iter().filter(|tenant| tenant.config.gpu == index);
            let granted = tenants.map(|tenant| tenant.held.bytes(CreditKind::Device)).sum::<u64>();
            debug_assert_eq!(gpu.granted_bytes, granted);
            debug_assert!(granted <= gpu.memory_bytes, "a GPU lends no more than it has");
        }
    }
}

const fn quota(tenant: &Tenant, kind: CreditKind) -> u64 {
    match kind {
        CreditKind::Device => tenant.config.memory_bytes,
        CreditKind::Pinned => tenant.config.pinned_bytes,
    }
}

fn free(tenant: &Tenant, gpu: &Gpu, kind: CreditKind) -> u64 {
    // Less than what it holds where the quota was lowered.
    let own = quota(tenant, kind).saturating_sub(tenant.held.bytes(kind));
    match kind {
        CreditKind::Device => own.min(gpu.memory_bytes - gpu.granted_bytes),
        CreditKind::Pinned => own,
    }
}

#[cfg(test)]
mod tests;
