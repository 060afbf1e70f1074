//! The daemon: one loop over everything that happens, and the state that only this loop changes.

use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use tokio::sync::{Notify, Semaphore, mpsc};
use vgpu_core::broker::{Broker, SessionId};
use vgpu_proto::handshake::RefusalCause;
use vgpu_proto::limits::HANDSHAKE_TIMEOUT_NS;
use vgpu_proto::report::GpuReport;
use vgpu_sched::{Deadline, Duration, Limits, TenantId};

use super::accept::Connection;
use super::attend::attend;
use super::cell;
use super::event::Event;
use super::health::Health;
use super::images::ImageCache;
use super::journal::Journal;
use super::launch::{self, LaunchError, WorkerCommand};
use super::phase::Phase;
use super::refuse;
use super::report::{Collection, Tally};
use super::session::{Session, WITHOUT_A_WORD};
use super::sockets::Sockets;
use super::spares::{Spares, Taken};
use super::standing::Standings;
use super::turns::Takers;
use crate::clock::Clock;
use crate::config::{Config, Device, Tenant};
use crate::state::Store;

/// How long a worker may take to welcome its guest before the daemon takes it for hung. The worker itself is done with
/// a silent guest after [`HANDSHAKE_TIMEOUT_NS`]; the rest is for a busy machine to start it.
const GREETING: Duration = Duration::from_nanos(10 * HANDSHAKE_TIMEOUT_NS);

/// How long a session that was told to end may take before its worker is killed. A kill counts as a loss, so this is long
/// enough for a machine that stands still for a moment.
pub(super) const CLOSE_GRACE: Duration = Duration::from_millis(5_000);

/// How long the loop may take for a turn, or be late, before workers are excused for it: far above what it takes when all is
/// well, far below any of their deadlines.
const STALL: Duration = Duration::from_millis(200);

/// The daemon's state.
#[derive(Debug)]
pub(super) struct Daemon {
    pub config: Config,
    /// What must survive the host. Changed before anything that it says is.
    pub store: Store,
    pub broker: Broker,
    /// Who takes turns on each GPU.
    pub turns: Takers,
    pub sessions: BTreeMap<SessionId, Session>,
    /// What happened to each tenant, in their order.
    pub tallies: Vec<Tally>,
    /// What is kept of each tenant's images, in their order.
    pub images: Vec<ImageCache>,
    /// Held while an offered image is read: one at a time, so that they take no more than one core.
    pub reading: Arc<Semaphore>,
    /// What each tenant may begin in a second, in their order.
    pub rates: Vec<Limits>,
    /// Where guests and tools connect; none in tests that bring their own.
    pub sockets: Option<Sockets>,
    /// Operators' questions that wait for workers.
    pub collections: Vec<Collection>,
    /// Of each GPU, in their order.
    pub spares: Vec<Spares>,
    pub phase: Phase,
    pub clock: Clock,
    /// What is known of each GPU, in their order.
    pub gpus: Vec<GpuReport>,
    /// How the cards are.
    pub health: Health,
    pub command: WorkerCommand,
    pub events: mpsc::Sender<Event>,
    /// What operators are told that happened.
    pub journal: Journal,
    /// Strikes and quarantine of each tenant.
    pub standings: Standings,
}

impl Daemon {
    pub(super) fn new(
        config: Config,
        gpus: Vec<GpuReport>,
        store: Store,
        turns: Takers,
        command: WorkerCommand,
        events: mpsc::Sender<Event>,
    ) -> Self {
        let clock = Clock::start();
        let names = || config.tenants.iter().map(|tenant| tenant.name.as_str());
        let journal = Journal::new(names());
        let standings = Standings::new(names(), config.quarantine, store.state(), clock.now());
        Self {
            turns,
            store,
            broker: config.broker(),
            sessions: BTreeMap::new(),
            tallies: vec![Tally::default(); config.tenants.len()],
            images: config.tenants.iter().map(|tenant| ImageCache::new(tenant.images_bytes)).collect(),
            reading: Arc::new(Semaphore::new(1)),
            rates: vec![Limits::default(); config.tenants.len()],
            sockets: None,
            collections: vec![],
            spares: config.gpus.iter().map(|_| Spares::default()).collect(),
            phase: Phase::Serving,
            clock,
            gpus,
            health: Health::new(&config),
            command,
            journal,
            standings,
            events,
            config,
        }
    }

    /// Handles events until the host was shut down and its last worker reaped.
    pub(super) async fn run(&mut self, mut events: mpsc::Receiver<Event>) {
        (0..).zip(0..self.config.tenants.len()).for_each(|(id, _)| self.apply_tenant(TenantId(id)));
        self.tell_phase("serving", None);
        self.refill(self.clock.now());
        while !self.is_done() {
            let deadline = self.next_deadline();
            let until = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep_until(self.clock.to_tokio(deadline.at())).await,
                    None => std::future::pending().await,
                }
            };
            let event = tokio::select! {
                event = events.recv() => event,
                () = until => None,
            };
            let woke = self.clock.now();
            if let Some(event) = event {
                self.handle(event);
            }
            let now = self.clock.now();
            let late = deadline.map_or_else(Duration::default, |deadline| woke.since(deadline.at()));
            self.excuse(late.max(now.since(woke)));
            self.handle_time(now);
        }
    }

    /// The loop stood still for so long: what workers did meanwhile has not been heard, so their deadlines are that much later.
    fn excuse(&mut self, stall: Duration) {
        if stall < STALL {
            return;
        }
        tracing::warn!(
            stall_ms = stall.as_nanos() / 1_000_000,
            "the daemon stood still; workers get that much longer"
        );
        self.sessions.values_mut().for_each(|session| session.excuse(stall));
        self.spares.iter_mut().for_each(|spares| spares.excuse(stall));
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Connected { tenant, guest, uid } => self.connected(tenant, guest, uid),
            Event::Said { session, message, file } => self.said(session, message, file),
            Event::ImageRead { session, tenant, image } => self.image_read(session, tenant, image),
            Event::Lease { gpu, act } => self.lease_act(gpu, act),
            Event::Broke { session, cause } => self.broke(session, &cause),
            Event::Exited { session, status, by_kill } => self.exited(session, &status, by_kill),
            Event::Spare { gpu, number, news } => self.spare_news(gpu, number, news),
            Event::Card(news) => self.card_news(news),
            Event::Devices(reply) => drop(reply.send(self.devices_body())),
            // An operator who hung up does not want the answer.
            Event::Tenants(reply) => drop(reply.send(self.tenants_body())),
            Event::Sessions(reply) => self.collect(reply),
            Event::Metrics(reply) => drop(reply.send(self.reading())),
            Event::Close(session, reply) => drop(reply.send(self.close_for_operator(session))),
            Event::Order(tenant, order, reply) => drop(reply.send(self.order(&tenant, order))),
            Event::Follow { after, wait, reply } => {
                self.journal.follow(self.clock.now(), after, wait, reply);
            }
            Event::Change(change, reply) => self.change(change, reply),
            Event::Report { tenant, uid, reply } => self.tenant_report(tenant, uid, reply),
            Event::Shutdown => self.shutdown(),
        }
    }

    pub(super) fn tenant(&self, tenant: TenantId) -> &Tenant {
        &self.config.tenants[tenant.0 as usize]
    }

    /// What a tenant's sessions run on.
    pub(super) fn device(&self, tenant: TenantId) -> &Device {
        &self.config.gpus[self.tenant(tenant).gpu].device
    }

    pub(super) fn tally(&mut self, tenant: TenantId) -> &mut Tally {
        &mut self.tallies[tenant.0 as usize]
    }

    fn connected(&mut self, tenant: TenantId, guest: Connection, uid: u32) {
        if self.tenant(tenant).removed {
            // It came before its socket went.
            let text = "the tenant was removed from the host's configuration; ask its operator";
            return self.turn_away(tenant, guest, RefusalCause::SessionLimit, text);
        }
        let allowed = self.tenant(tenant).uid;
        if uid != allowed {
            let text =
                format!("user {uid} may not use this vGPU; connect as user {allowed} or change tenant.uid");
            return self.turn_away(tenant, guest, RefusalCause::Permission, text);
        }
        // A host that drains says so below.
        let held_back = self.held_back(tenant).filter(|_| self.phase == Phase::Serving);
        if let Some(text) = held_back {
            return self.turn_away(tenant, guest, RefusalCause::Quarantined, text);
        }
        if let Some(text) = self.health.refusal(self.tenant(tenant).gpu) {
            return self.turn_away(tenant, guest, RefusalCause::Device, text);
        }
        let session = match self.broker.open_session(tenant) {
            Ok(session) => session,
            Err(refused) => {
                return self.turn_away(tenant, guest, refuse::cause(refused), refused.to_string());
            }
        };
        if let Err(text) = self.take_session_rate(tenant) {
            self.broker.close_session(session);
            return self.turn_away_too_early(tenant, guest, text);
        }
        if let Err(error) = self.launch(session, tenant, &guest.stream) {
            self.broker.close_session(session);
            self.detach(session, tenant);
            tracing::error!(tenant = self.tenant(tenant).name, %error, "no worker");
            let text = format!("the host cannot start a worker ({error}); its operator must look at its log");
            return self.turn_away(tenant, guest, RefusalCause::Device, text);
        }
        guest.close();
    }

    fn launch(&mut self, id: SessionId, tenant: TenantId, guest: &UnixStream) -> Result<(), LaunchError> {
        let lease = self.attach(id, tenant)?;
        let taken = self.take_spare(id, tenant, guest, &lease);
        let spare = taken.is_some();
        let (worker, sent) = match taken {
            Some(worker) => (worker, Ok(())),
            None => self.start_worker(id, tenant, guest, &lease)?,
        };
        let Taken { pid, channel, kill } = worker;
        self.command.cell().lend(pid, cell::session_bytes(self.tenant(tenant), self.device(tenant)));
        let now = self.clock.now();
        let mut session = Session::new(tenant, pid, now, Deadline::after(now, GREETING), channel, kill);
        if let Err(error) = sent {
            // It is reaped as any other; until then it holds its place.
            session.kill(&error.to_string());
        }
        self.tally(tenant).opened += 1;
        self.sessions.insert(id, session);
        let device = self.device(tenant);
        tracing::info!(
            session = id.0,
            tenant = self.tenant(tenant).name,
            %device,
            pid,
            spare,
            "worker started"
        );
        Ok(())
    }

    /// Starts a worker for a session; also says whether it could be told what to serve.
    fn start_worker(
        &self,
        id: SessionId,
        tenant: TenantId,
        guest: &UnixStream,
        lease: &launch::Lease,
    ) -> Result<(Taken, Result<(), LaunchError>), LaunchError> {
        let (child, channel) = self.command.spawn(self.device(tenant))?;
        let pid = child.id().unwrap_or_default();
        let channel = Arc::new(channel.watch()?);
        let kill = Arc::new(Notify::new());
        tokio::spawn(attend(id, child, channel.clone(), kill.clone(), self.events.clone()));
        let (owner, sandbox) = (self.tenant(tenant), self.command.cell().sandbox());
        let sent = launch::send_setup(&channel, &self.config, owner, id, guest, lease, sandbox);
        Ok((Taken { pid, channel, kill }, sent))
    }

    fn broke(&mut self, id: SessionId, cause: &str) {
        if let Some(session) = self.sessions.get_mut(&id) {
            tracing::warn!(session = id.0, cause, "the worker broke a rule");
            session.kill(cause);
        }
    }

    fn exited(&mut self, id: SessionId, status: &str, by_kill: bool) {
        self.tell_end(id, status, by_kill);
        let Some(session) = self.sessions.remove(&id) else { return };
        self.command.cell().clear(session.pid);
        let held = self.broker.close_session(id).unwrap_or_default();
        self.detach(id, session.tenant);
        let (now, gpu) = (self.clock.now(), self.tenant(session.tenant).gpu);
        self.health.gone(now, gpu, &session);
        if session.is_lost() {
            self.tally(session.tenant).workers_lost += 1;
        }
        self.tally(session.tenant).workers_killed += u64::from(session.killed);
        let reason = session.reason.as_deref().unwrap_or(WITHOUT_A_WORD);
        let tenant = &self.tenant(session.tenant).name;
        let returned_bytes = held.device_bytes + held.pinned_bytes;
        tracing::info!(session = id.0, tenant, reason, status, returned_bytes, "session ended");
        self.settle(id);
    }
}
