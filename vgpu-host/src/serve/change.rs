//! What operators change while the host runs: settings of tenants, and the configuration as a whole.
//!
//! A change is checked whole before any of it is done, is on disk before it holds, and holds before it is answered.

use tokio::sync::oneshot;
use vgpu_sched::{Limit, Rate, TenantId};

use super::HostError;
use super::daemon::Daemon;
use super::journal::Entry;
use crate::api::{ChangedBody, EventKind};
use crate::config::{ConfigError, Tenant, TenantKeys};
use crate::state::{State, StateError};

/// What an operator wants changed.
#[derive(Debug)]
pub(crate) enum Change {
    /// These settings of the tenant of that name; what is absent stays.
    Set { tenant: String, keys: Box<TenantKeys> },
    /// The tenant of that name, or every one, is to be as the configuration says.
    Reset { tenant: Option<String> },
    /// The configuration file is to be read again.
    Reload,
}

/// Where the answer goes; nobody waits for that of a signal.
pub(crate) type ChangeReply = oneshot::Sender<Result<ChangedBody, ChangeError>>;

/// Why nothing was changed. Each message names cause and remedy.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChangeError {
    /// No tenant has the name.
    #[error(
        "there is no tenant {tenant:?}; GET /v1/tenants lists them, and a new one is added by the configuration"
    )]
    UnknownTenant { tenant: String },
    /// Nothing was said.
    #[error("no setting is named; name at least one of {}", TenantKeys::NAMES.join(", "))]
    Nothing,
    /// There is no file to read again.
    #[error("a program gave this host its configuration; have the program start it again")]
    NoFile,
    /// A tenant that the file no longer has is in use.
    #[error(
        "tenant {tenant:?} is no longer in the configuration and has {sessions} sessions; close them, or put its section back"
    )]
    TenantInUse { tenant: String, sessions: u32 },
    /// The sockets of a new tenant cannot be made.
    #[error(transparent)]
    Sockets(#[from] HostError),
    /// What was said does not pass its check.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// It cannot be kept.
    #[error(transparent)]
    State(#[from] StateError),
}

impl Daemon {
    /// Makes a change, or says why there is none.
    pub(super) fn change(&mut self, change: Change, reply: Option<ChangeReply>) {
        let result = match change {
            Change::Set { tenant, keys } => self.set(&tenant, &keys),
            Change::Reset { tenant } => self.reset(tenant.as_deref()),
            Change::Reload => self.reload(),
        };
        match &result {
            Ok(body) => self.tell_change(body),
            Err(error) => self.tell(Entry::new(EventKind::ChangeRefused, error.to_string())),
        }
        if let Some(reply) = reply {
            // An operator who hung up does not want the answer.
            let _ = reply.send(result);
        }
    }

    fn tell_change(&mut self, body: &ChangedBody) {
        for (what, names) in [("changed", &body.changed), ("added", &body.added), ("removed", &body.removed)]
        {
            for name in names {
                let is = |(_, tenant): &(u32, &Tenant)| tenant.name == *name;
                let mut found: Vec<_> = (0..).zip(&self.config.tenants).filter(is).collect();
                // A place that a tenant of that name had before is not meant where another one has it now.
                found.sort_by_key(|(_, tenant)| tenant.removed);
                let id = found.first();
                let entry = Entry::new(EventKind::Change, format!("an operator {what} the tenant"));
                let entry = if let Some((id, _)) = id { entry.tenant(TenantId(*id)) } else { entry };
                let said = self.store.overrides(name).map(TenantKeys::said).unwrap_or_default();
                self.tell(entry.field("overridden", said.join(",")));
            }
        }
    }

    /// The id of a tenant.
    pub(super) fn tenant_id(&self, name: &str) -> Result<TenantId, ChangeError> {
        let unknown = || ChangeError::UnknownTenant { tenant: name.to_owned() };
        let is = |(_, tenant): &(u32, &Tenant)| tenant.name == name && !tenant.removed;
        let found = (0..).zip(&self.config.tenants).find(is).ok_or_else(unknown)?;
        Ok(TenantId(found.0))
    }

    fn set(&mut self, name: &str, keys: &TenantKeys) -> Result<ChangedBody, ChangeError> {
        self.tenant_id(name)?;
        if keys.said().is_empty() {
            return Err(ChangeError::Nothing);
        }
        let said = self.store.overrides(name).map_or_else(|| keys.clone(), |before| keys.over(before));
        self.override_with(|state| state.tenant(name).overrides = said)
    }

    fn reset(&mut self, name: Option<&str>) -> Result<ChangedBody, ChangeError> {
        let Some(name) = name else { return self.override_with(State::forget_overrides) };
        self.tenant_id(name)?;
        self.override_with(|state| state.tenant(name).overrides = TenantKeys::default())
    }

    fn override_with(&mut self, change: impl FnOnce(&mut State)) -> Result<ChangedBody, ChangeError> {
        let mut state = self.store.state().clone();
        change(&mut state);
        let said = |name: &str| state.tenants.get(name).map(|tenant| &tenant.overrides);
        let tenants = self.config.tenants_with(said)?;
        self.store.change(|kept| *kept = state)?;
        Ok(self.hold(tenants))
    }

    /// Has every tenant as it is here. Each is the same one as before, by its place; new ones are behind the others.
    pub(super) fn hold(&mut self, tenants: Vec<Tenant>) -> ChangedBody {
        let before = std::mem::replace(&mut self.config.tenants, tenants);
        let mut body = ChangedBody::default();
        let mut different = vec![];
        for (index, place) in (0..).zip(0..self.config.tenants.len()) {
            let (id, before) = (TenantId(index), before.get(place));
            let tenant = self.tenant(id);
            let is_there = before.is_some_and(|before| !before.removed);
            match before {
                Some(before) if is_there && !tenant.removed => {
                    if tenant.settings() == before.settings() {
                        continue;
                    }
                    body.changed.push(tenant.name.clone());
                    body.notes.extend(self.notes(id, before));
                }
                _ if is_there => body.removed.push(tenant.name.clone()),
                Some(_) if tenant.removed => continue,
                _ => body.added.push(tenant.name.clone()),
            }
            let reserved = before.and_then(|before| before.lease.reservation);
            different.push((tenant.lease.reservation > reserved, id));
            if before.is_none() {
                self.add_tenant(id);
            }
        }
        // What is given up first makes room for what is reserved anew.
        different.sort_unstable();
        different.into_iter().for_each(|(_, id)| self.apply_tenant(id));
        body
    }

    /// Has everybody who decides about a tenant follow what [`super::daemon::Daemon::config`] says of it now. The one place
    /// for that.
    pub(super) fn apply_tenant(&mut self, id: TenantId) {
        let Tenant { memory_bytes, pinned_bytes, sessions_max, images_bytes, rates, .. } = *self.tenant(id);
        let removed = self.tenant(id).removed;
        self.broker.set_tenant(id, memory_bytes, pinned_bytes, if removed { 0 } else { sessions_max });
        let now = self.clock.now();
        self.images[id.0 as usize].set_max_bytes(now, if removed { 0 } else { images_bytes });
        self.rates[id.0 as usize].set(now, Limit::Sessions, rates.sessions);
        if let Err(error) = self.turns.set(id, self.tenant(id)) {
            // What was checked before fits.
            tracing::error!(tenant = self.tenant(id).name, %error, "the leases do not follow a change");
        }
    }

    /// Counts a session that begins, if there are not too many in this second; else says when the next one may.
    pub(super) fn take_session_rate(&mut self, id: TenantId) -> Result<(), String> {
        let now = self.clock.now();
        let Err(at) = self.rates[id.0 as usize].take(now, Limit::Sessions, 1) else { return Ok(()) };
        let wait_ms = at.since(now).as_nanos().div_ceil(1_000_000);
        let rate = self.tenant(id).rates.sessions.map_or(0, Rate::per_second);
        Err(format!(
            "the tenant begins sessions faster than its limit of {rate} in a second; try again in {wait_ms} ms, or raise its \
             sessions_per_s"
        ))
    }

    /// What an operator should know of a change that does not hold at once, or not yet.
    fn notes(&self, id: TenantId, before: &Tenant) -> Vec<String> {
        let tenant = self.tenant(id);
        let name = &tenant.name;
        let usage = self.broker.tenants().nth(id.0 as usize);
        let (sessions, held) = usage.map(|usage| (usage.sessions, usage.held)).unwrap_or_default();
        let mut notes = vec![];
        for (key, limit, lent) in [
            ("memory_bytes", tenant.memory_bytes, held.device_bytes),
            ("pinned_bytes", tenant.pinned_bytes, held.pinned_bytes),
        ] {
            if limit < lent {
                notes.push(format!(
                    "{name}: {key} is {limit} and {lent} bytes are lent; they stay lent, and no more are until it is below"
                ));
            }
        }
        if tenant.sessions_max < sessions {
            let max = tenant.sessions_max;
            notes.push(format!(
                "{name}: sessions_max is {max} and {sessions} run; they go on, and none begins until there are fewer"
            ));
        }
        let later = later(&before.settings(), &tenant.settings());
        if sessions > 0 && !later.is_empty() {
            let keys = later.join(", ");
            notes.push(format!(
                "{name}: {keys}: for sessions that begin from now on; {sessions} run with what was said before"
            ));
        }
        let gpu = &self.config.gpus[tenant.gpu];
        if !gpu.leases && tenant.lease != before.lease {
            let gpu = &gpu.name;
            notes.push(format!(
                "{name}: {gpu} has leases off, so weight, class, reservation and cap do not hold"
            ));
        }
        notes
    }
}

/// The settings that differ and that a worker is told when its session begins.
fn later(before: &TenantKeys, now: &TenantKeys) -> Vec<&'static str> {
    macro_rules! differ {
        ($($key:ident),+) => {{
            let mut keys = vec![];
            $(if before.$key != now.$key { keys.push(stringify!($key)); })+
            keys
        }};
    }
    differ!(contexts_max, streams_max, events_max, modules_max, functions_max, regions_max)
}
