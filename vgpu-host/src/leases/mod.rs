//! Leases and rates, as the daemon carries them out: one thread for each GPU.
//!
//! [`Desk`] is the daemon's side: it makes the pages of workers, and asks and changes what [`Turns`] knows, under a lock that
//! is held for microseconds. The thread ([`thread`]) sleeps until a worker calls or something is due, and has the scheduler
//! decide. It waits for nobody: what it has to tell the daemon it tells when the daemon's queue has room.

mod call;
mod thread;

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::mpsc;
use vgpu_core::broker::{SessionId, Turns};
use vgpu_core::lease::{DemandReader, GateConfig, GrantWriter, TimeSource as _};
use vgpu_sched::lease::LeaseError;
use vgpu_sched::{Instant, LeaseConfig, Limit, TenantId};
use vgpu_window::WindowError;

pub(crate) use self::call::Caller;
use self::call::Ears;
use crate::clock::SharedClock;
use crate::config::Tenant;
use crate::serve::Event;

/// Why a GPU's leases or a worker's pages cannot be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DeskError {
    /// The pages cannot be made.
    #[error("the pages of a lease cannot be made: {0}; is memory or the descriptor limit exhausted?")]
    Window(#[from] WindowError),
    /// The system refused a descriptor or a thread.
    #[error("leases need what the system refuses: {0}; is the descriptor limit exhausted?")]
    System(#[from] io::Error),
    /// The scheduler refuses its configuration, which was checked.
    #[error("the scheduler refuses the configuration: {0}")]
    Scheduler(#[from] LeaseError),
}

/// What a worker gets of its lease.
#[derive(Debug)]
pub(crate) struct WorkerEnds {
    /// The grant page.
    pub grant: OwnedFd,
    /// The demand page.
    pub demand: OwnedFd,
    /// What it calls the broker with.
    pub call: OwnedFd,
}

/// What the thread and the daemon share.
#[derive(Debug)]
struct Shared {
    gpu: usize,
    turns: Mutex<Turns>,
    ears: Ears,
    /// The daemon is gone.
    over: AtomicBool,
}

/// The leases of one GPU.
#[derive(Debug)]
pub(crate) struct Desk {
    shared: Arc<Shared>,
}

impl Desk {
    /// Starts the thread of a GPU. `leased` says whether its tenants take turns; else only their rates hold.
    pub(crate) fn start(
        gpu: usize,
        config: LeaseConfig,
        leased: bool,
        events: mpsc::Sender<Event>,
    ) -> Result<Self, DeskError> {
        let turns = Turns::new(config, leased)?;
        let (turns, ears, over) = (Mutex::new(turns), Ears::new()?, AtomicBool::new(false));
        let shared = Arc::new(Shared { gpu, turns, ears, over });
        let run = Arc::clone(&shared);
        std::thread::Builder::new().name("vgpu-leases".into()).spawn(move || thread::run(&run, &events))?;
        Ok(Self { shared })
    }

    /// How workers of a tenant hold their gates.
    pub(crate) fn gate(&self, tenant: TenantId) -> GateConfig {
        self.read(|turns| turns.gate(tenant))
    }

    /// Adds a tenant; the answer names it here.
    pub(crate) fn add(&self, tenant: &Tenant) -> Result<TenantId, LeaseError> {
        self.with(|turns, now| {
            let name = turns.add(now, tenant.lease, tenant.watchdog)?;
            set_rates(turns, now, name, tenant);
            Ok(name)
        })
    }

    /// Has a tenant take turns as it is configured now.
    pub(crate) fn set(&self, name: TenantId, tenant: &Tenant) -> Result<(), LeaseError> {
        self.with(|turns, now| {
            turns.set(now, name, tenant.lease, tenant.watchdog)?;
            set_rates(turns, now, name, tenant);
            Ok(())
        })
    }

    /// A worker of a tenant begins.
    pub(crate) fn attach(&self, session: SessionId, tenant: TenantId) -> Result<WorkerEnds, DeskError> {
        let (grant, grant_file) = GrantWriter::create()?;
        let (demand, demand_file) = DemandReader::create()?;
        let call = self.shared.ears.listen(session)?;
        self.with(|turns, now| turns.attach(now, session, tenant, grant, demand));
        Ok(WorkerEnds { grant: grant_file, demand: demand_file, call })
    }

    /// A worker is gone.
    pub(crate) fn detach(&self, session: SessionId) {
        self.shared.ears.forget(session);
        self.with(|turns, _| turns.detach(session));
    }

    /// Looks at or changes what is known, after which the thread looks as well. `look` must be quick: leases wait for it.
    pub(crate) fn with<T>(&self, look: impl FnOnce(&mut Turns, Instant) -> T) -> T {
        let answer = look(&mut self.lock(), SharedClock.now());
        self.shared.ears.ring();
        answer
    }

    /// Looks at what is known. As quick as [`Self::with`].
    pub(crate) fn read<T>(&self, look: impl FnOnce(&Turns) -> T) -> T {
        look(&self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Turns> {
        self.shared.turns.lock()
    }
}

fn set_rates(turns: &mut Turns, now: Instant, name: TenantId, tenant: &Tenant) {
    for limit in Limit::ALL {
        turns.set_rate(now, name, limit, tenant.rates.get(limit));
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Release);
        self.shared.ears.ring();
    }
}

impl WorkerEnds {
    /// In the order in which they are handed over.
    pub(crate) fn files(&self) -> [std::os::fd::BorrowedFd<'_>; 3] {
        [self.grant.as_fd(), self.demand.as_fd(), self.call.as_fd()]
    }
}
