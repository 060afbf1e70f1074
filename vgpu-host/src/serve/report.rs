//! What operators are told.

use std::collections::BTreeSet;

use tokio::sync::oneshot;
use vgpu_core::broker::SessionId;
use vgpu_sched::{Deadline, Duration, TenantId};

use super::daemon::Daemon;
use super::images::ImageCache;
use super::spares::Spares;
use crate::api::{DeviceBody, DevicesBody, HeldBackBody, RefusedBody, SessionsBody, TenantBody, TenantsBody};
use crate::config::{Device, TenantKeys};
use crate::wire::ToWorker;

/// How long workers may take to answer for a list of sessions; one that is late is listed without its counts.
const ANSWER: Duration = Duration::from_millis(200);

/// Questions of operators that wait at once; a further one is answered with what is known.
const COLLECTIONS_MAX: usize = 16;

/// What happened to a tenant since the host started.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub opened: u64,
    pub refused: RefusedBody,
    pub workers_lost: u64,
    pub workers_killed: u64,
}

/// A list of sessions that waits for workers' counts.
#[derive(Debug)]
pub(super) struct Collection {
    waiting: BTreeSet<SessionId>,
    reply: oneshot::Sender<SessionsBody>,
    pub deadline: Deadline,
}

impl Daemon {
    pub(super) fn tenants_body(&self) -> TenantsBody {
        let caches = self.images.iter().map(ImageCache::body);
        let now = self.clock.now();
        let overrides = |name: &str| self.store.overrides(name).map(TenantKeys::said).unwrap_or_default();
        let tenants = self.config.tenants.iter().zip(&self.tallies).zip(self.broker.tenants()).zip(caches);
        let body =
            |(index, (((tenant, tally), usage), images)): (_, (((&crate::config::Tenant, &Tally), _), _))| {
                let vgpu_core::broker::TenantUse { sessions, held, .. } = usage;
                let turns = self.turns.figures(tenant.gpu, TenantId(index));
                TenantBody {
                    name: tenant.name.clone(),
                    gpu: self.config.gpus[tenant.gpu].name.clone(),
                    device: self.config.gpus[tenant.gpu].device.to_string(),
                    socket: self.config.tenant_socket(&tenant.name).display().to_string(),
                    uid: tenant.uid,
                    sessions,
                    sessions_max: tenant.sessions_max,
                    memory_bytes: tenant.memory_bytes,
                    memory_lent_bytes: held.device_bytes,
                    pinned_bytes: tenant.pinned_bytes,
                    pinned_lent_bytes: held.pinned_bytes,
                    opened: tally.opened,
                    refused: tally.refused,
                    workers_lost: tally.workers_lost,
                    workers_killed: tally.workers_killed,
                    quarantine: self.standings.body(TenantId(index), now),
                    weight: tenant.lease.weight.get(),
                    gpu_time_ns: turns.gpu_time_ns,
                    leases: turns.leases,
                    overruns: turns.overruns,
                    lag_ns: turns.lag_ns,
                    ungated_ns: turns.ungated_ns,
                    launches: turns.counts.launches,
                    copied_bytes: turns.counts.copied_bytes,
                    control_calls: turns.counts.calls,
                    held_back: HeldBackBody {
                        launches: turns.held.launches,
                        copies: turns.held.copies,
                        control_calls: turns.held.calls,
                    },
                    waits: turns.waits,
                    holds: turns.holds,
                    images,
                    settings: tenant.settings(),
                    overridden: overrides(&tenant.name).into_iter().map(str::to_owned).collect(),
                }
            };
        let tenants = (0..).zip(tenants).filter(|(_, (((tenant, _), _), _))| !tenant.removed);
        TenantsBody { tenants: tenants.map(body).collect() }
    }

    pub(super) fn devices_body(&self) -> DevicesBody {
        let now = self.clock.now();
        let usage: Vec<_> = self.config.tenants.iter().zip(self.broker.tenants()).collect();
        let body = |(gpu, (config, spares)): (usize, (&crate::config::Gpu, &Spares))| {
            let totals = self.turns.totals(gpu);
            let here = || usage.iter().filter(|(tenant, _)| tenant.gpu == gpu);
            DeviceBody {
                name: config.name.clone(),
                device: config.device.to_string(),
                memory_bytes: match &config.device {
                    Device::Soft(soft) => Some(soft.memory_bytes),
                    Device::Cuda(cuda) => cuda.memory_bytes,
                },
                memory_lent_bytes: here().map(|(_, usage)| usage.held.device_bytes).sum(),
                sessions: here().map(|(_, usage)| usage.sessions).sum(),
                spares: config.spares,
                spares_ready: spares.ready().try_into().unwrap_or(u32::MAX),
                spares_started: spares.started,
                spares_taken: spares.taken,
                spares_lost: spares.lost,
                busy_ns: totals.busy_ns,
                shared_ns: totals.shared_ns,
                leases: totals.leases,
                health: self.health.body(gpu, now),
            }
        };
        DevicesBody { devices: self.config.gpus.iter().zip(&self.spares).enumerate().map(body).collect() }
    }

    /// Asks every worker for its counts, and answers when all have answered or the time is up.
    pub(super) fn collect(&mut self, reply: oneshot::Sender<SessionsBody>) {
        let mut waiting = BTreeSet::new();
        if self.collections.len() < COLLECTIONS_MAX {
            for (id, session) in self.sessions.iter_mut().filter(|(_, session)| session.guest.is_some()) {
                if !session.asked {
                    session.asked = true;
                    session.send(&ToWorker::CountsRequest);
                }
                waiting.insert(*id);
            }
        }
        let deadline = Deadline::after(self.clock.now(), ANSWER);
        self.collections.push(Collection { waiting, reply, deadline });
        self.answer_collections();
    }

    /// A session answered or is gone: nobody waits for it any more.
    pub(super) fn settle(&mut self, id: SessionId) {
        for collection in &mut self.collections {
            collection.waiting.remove(&id);
        }
        self.answer_collections();
    }

    /// Answers every list that waits for nobody, or has waited long enough.
    pub(super) fn answer_collections(&mut self) {
        let now = self.clock.now();
        let due = |collection: &mut Collection| {
            collection.waiting.is_empty() || collection.deadline.has_passed(now)
        };
        let answered: Vec<_> = self.collections.extract_if(.., due).collect();
        for collection in answered {
            // An operator who hung up does not want the answer.
            let _ = collection.reply.send(self.sessions_body());
        }
    }

    fn sessions_body(&self) -> SessionsBody {
        let now = self.clock.now();
        let body = |(id, session): (&SessionId, &super::session::Session)| {
            let tenant = &self.config.tenants[session.tenant.0 as usize].name;
            session.body(id.0, tenant, self.broker.session(*id).unwrap_or_default(), now)
        };
        SessionsBody { sessions: self.sessions.iter().map(body).collect() }
    }
}
