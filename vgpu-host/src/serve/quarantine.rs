//! Faults become strikes, strikes become back-off and quarantine; what that does to a tenant's sessions.

use vgpu_core::broker::SessionId;
use vgpu_proto::Status;
use vgpu_proto::control::Closing;
use vgpu_sched::{Fault, Instant, Outcome, TenantId};

use super::daemon::Daemon;
use super::journal::Entry;
use super::session::WITHOUT_A_WORD;
use super::standing::{Order, Over};
use crate::api::EventKind;
use crate::state::StateError;

/// Why an operator's order was not obeyed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OrderError {
    /// There is no such tenant.
    #[error("there is no tenant {0:?}")]
    UnknownTenant(String),
    /// It would not outlast the host.
    #[error("nothing was changed: {0}")]
    NotSaved(StateError),
}

impl Daemon {
    /// Something went wrong with a tenant: the one place where strikes come from. `session` is the one that it happened in,
    /// while the daemon knows it.
    pub(super) fn fault(
        &mut self,
        tenant: TenantId,
        session: Option<SessionId>,
        fault: Fault,
        reason: impl Into<String>,
    ) {
        let reason = reason.into();
        let own = matches!(fault, Fault::Kernel | Fault::Hang | Fault::Worker);
        if let Some(session) = session.and_then(|id| self.sessions.get_mut(&id)).filter(|_| own)
            && std::mem::replace(&mut session.struck, true)
        {
            // What follows a fault in the same session, such as the end of a worker that was killed for it, has the
            // same cause.
            return;
        }
        let now = self.clock.now();
        let outcome = self.standings.fault(tenant, now, fault, &reason);
        let entry = |kind| {
            Entry::new(kind, reason.clone()).tenant(tenant).session(session).field("fault", fault.name())
        };
        match outcome {
            Outcome::Strike { strikes, until } => {
                let held_ms = until.since(now).as_nanos() / 1_000_000;
                let strike = entry(EventKind::Strike);
                self.tell(strike.field("strikes", u64::from(strikes)).field("back_off_ms", held_ms));
                self.keep_standing(tenant, now);
            }
            Outcome::Quarantined { until } => {
                let strikes = self.standings.strikes(tenant, now);
                self.tell(entry(EventKind::Strike).field("strikes", u64::from(strikes)));
                let lasts_ms = until.map_or(0, |until| until.since(now).as_nanos() / 1_000_000);
                let quarantine = Entry::new(EventKind::Quarantine, reason).tenant(tenant);
                self.tell(quarantine.field("by", "faults").field("lasts_ms", lasts_ms));
                // Its neighbours need not wait for the disk.
                self.close_tenant(tenant);
                self.keep_standing(tenant, now);
            }
            _ => self.tell(entry(EventKind::Fault).repeats(fault.name())),
        }
    }

    /// Writes down where a tenant stands after a strike; there are few before it is in quarantine, so no guest can keep the
    /// disk busy. It holds in memory where that fails.
    fn keep_standing(&mut self, tenant: TenantId, now: Instant) {
        let (name, standings) = (&self.config.tenants[tenant.0 as usize].name, &self.standings);
        if let Err(error) = self.store.change(|state| standings.keep(tenant, now, state.tenant(name))) {
            let reason = format!("a strike does not outlast the host: {error}");
            self.tell(Entry::new(EventKind::NotSaved, reason).tenant(tenant));
        }
    }

    /// A context of a session met a sticky error, as its worker says.
    pub(super) fn faulted(&mut self, id: SessionId, status: u32, text: &str) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if session.guest.is_none() {
            return session.kill("the worker told of a fault before it greeted");
        }
        if std::mem::replace(&mut session.faulted, true) {
            return session.kill("the worker told of its first fault twice");
        }
        let (tenant, status) = (session.tenant, Status(status));
        let fault = if is_of_program(status) { Fault::Kernel } else { Fault::Unattributed };
        self.fault(tenant, Some(id), fault, format!("{status}: {text}"));
    }

    /// A worker is gone: operators are told where it did not leave by itself, and it is its tenant's fault where it died or
    /// broke a rule. One that the daemon told to end and that took too long is nobody's, nor is one that never welcomed its
    /// guest: what fails there is mostly the host. Nor is one that somebody else killed, such as a kernel out of memory, which
    /// another tenant may have brought about.
    pub(super) fn tell_end(&mut self, id: SessionId, status: &str, by_kill: bool) {
        let Some(session) = self.sessions.get(&id) else { return };
        let (tenant, killed, lost) = (session.tenant, session.killed, session.is_lost());
        let (told, welcomed, pid) = (session.told, session.guest.is_some(), u64::from(session.pid));
        let reason = session.reason.as_deref().unwrap_or(WITHOUT_A_WORD).to_owned();
        if !killed && !lost {
            return;
        }
        let kind = if killed { EventKind::Kill } else { EventKind::WorkerLost };
        let entry = Entry::new(kind, reason.as_str()).tenant(tenant).session(id).field("status", status);
        self.tell(entry.field("worker_pid", pid));
        if lost && !told {
            let own = welcomed && (killed || !by_kill);
            let fault = if own { Fault::Worker } else { Fault::Unattributed };
            self.fault(tenant, Some(id), fault, format!("{reason} ({status})"));
        }
    }

    /// What a guest is told that may not begin a session now.
    pub(super) fn held_back(&self, tenant: TenantId) -> Option<String> {
        self.standings.held_back(tenant, self.clock.now())
    }

    /// An operator quarantines or releases a tenant.
    pub(super) fn order(&mut self, name: &str, order: Order) -> Result<(), OrderError> {
        let tenant = self.tenant_id(name).map_err(|_| OrderError::UnknownTenant(name.to_owned()))?;
        let now = self.clock.now();
        let held = self.standings.after_order(tenant, now, order);
        if let Err(error) = self.store.change(|state| held.keep(now, state.tenant(name))) {
            let reason = format!("an operator's order was not obeyed: {error}");
            self.tell(Entry::new(EventKind::NotSaved, reason).tenant(tenant));
            return Err(OrderError::NotSaved(error));
        }
        self.standings.set(tenant, held);
        match order {
            Order::Quarantine => {
                let entry = Entry::new(EventKind::Quarantine, "an operator put the tenant into quarantine");
                self.tell(entry.tenant(tenant).field("by", "operator"));
                self.close_tenant(tenant);
            }
            Order::Release => {
                let entry = Entry::new(EventKind::Release, "an operator released the tenant");
                self.tell(entry.tenant(tenant).field("by", "operator"));
            }
        }
        Ok(())
    }

    /// Tells what timers have ended.
    pub(super) fn release_by_timer(&mut self, now: Instant) {
        for (tenant, over) in self.standings.over(now) {
            let entry = match over {
                Over::BackOff => Entry::new(EventKind::BackOffOver, "new sessions may begin again"),
                Over::Quarantine => {
                    Entry::new(EventKind::Release, "the quarantine is over").field("by", "timer")
                }
            };
            self.tell(entry.tenant(tenant));
        }
    }

    /// Ends every session of a tenant that is in quarantine; their memory comes back with their ends.
    fn close_tenant(&mut self, tenant: TenantId) {
        let Some(text) = self.held_back(tenant) else { return };
        let mine = self.sessions.iter().filter(|(_, session)| session.tenant == tenant);
        let ids: Vec<_> = mine.map(|(id, _)| *id).collect();
        for id in ids {
            let status = Status::ERROR_DEVICE_UNAVAILABLE.0;
            self.close(id, Closing { status, reason: "quarantined".into(), text: text.clone() });
        }
    }
}

/// Whether a context's sticky error is what a program brings about: wild accesses, failed assertions, illegal
/// instructions, overrun stacks, time-outs. Others, such as a lost device or memory that decays, have other causes.
const fn is_of_program(status: Status) -> bool {
    matches!(status.0, 700 | 702 | 710 | 714..=719)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_device_is_no_programs_fault() {
        assert!(is_of_program(Status::ERROR_ILLEGAL_ADDRESS) && is_of_program(Status::ERROR_LAUNCH_FAILED));
        let others = [Status::ERROR_DEVICE_UNAVAILABLE, Status::ERROR_CONTEXT_IS_DESTROYED, Status(214)];
        assert!(!others.into_iter().any(is_of_program));
    }
}
