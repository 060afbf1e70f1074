//! The daemon: accepts guests, starts a worker for each, lends memory, answers operators.
//!
//! It never speaks with a guest beyond a refusal and never opens a device; what a guest can break is its worker. One
//! thread runs one loop ([`daemon`]) over a closed set of events ([`event`]); tasks around it only turn sockets and
//! processes into events.

mod accept;
mod attend;
mod cards;
mod cell;
mod change;
mod daemon;
mod error;
mod event;
mod figures;
mod health;
mod images;
mod journal;
mod keep;
mod launch;
mod offer;
mod phase;
mod quarantine;
mod refuse;
mod reload;
mod report;
mod reports;
mod said;
mod session;
mod signals;
mod sockets;
mod spares;
mod standing;
mod turns;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use tokio::net::UnixListener;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use vgpu_proto::report::GpuReport;

pub use self::cell::CgroupError;
pub(crate) use self::change::{Change, ChangeError};
use self::daemon::Daemon;
pub use self::error::HostError;
pub(crate) use self::event::Event;
pub use self::launch::WorkerCommand;
pub(crate) use self::phase::PHASES;
pub(crate) use self::quarantine::OrderError;
use self::sockets::Sockets;
pub(crate) use self::standing::Order;
use self::turns::Takers;
use crate::config::Config;
use crate::health::{Monitor, watch};
use crate::state::{State, Store};

/// A host that has not started.
#[derive(Debug)]
pub struct Host {
    config: Config,
    command: Option<WorkerCommand>,
    forget_overrides: bool,
    monitor: Option<Box<dyn Monitor>>,
}

/// A host that serves on a thread of this process. Dropping it closes every session at once.
#[derive(Debug)]
pub struct RunningHost {
    config: Config,
    metrics: Option<SocketAddr>,
    events: mpsc::Sender<Event>,
    thread: Option<JoinHandle<()>>,
}

impl Host {
    /// A host of this configuration, whose workers are this executable ([`WorkerCommand::own`]).
    pub const fn new(config: Config) -> Self {
        Self { config, command: None, forget_overrides: false, monitor: None }
    }

    /// Another program for the workers.
    #[must_use]
    pub fn worker(mut self, command: WorkerCommand) -> Self {
        self.command = Some(command);
        self
    }

    /// Begins with the configuration alone: what operators set at run time is forgotten. Quarantines are not.
    #[must_use]
    pub const fn forget_overrides(mut self) -> Self {
        self.forget_overrides = true;
        self
    }

    /// Another monitor than NVML, which else is asked where the configuration has cards. It knows them by the UUIDs that their
    /// drivers tell; the software GPU's is `*b"vgpu-software-00"`.
    #[must_use]
    pub fn monitor(mut self, monitor: impl Monitor + 'static) -> Self {
        self.monitor = Some(Box::new(monitor));
        self
    }

    /// Serves on a thread of its own. When this returns, guests can connect. Blocks while it asks each card what it is.
    ///
    /// # Errors
    /// A card cannot be used, what an earlier host kept is torn or does not fit the configuration, the sockets cannot be made, or another host has the runtime folder.
    pub fn start(self) -> Result<RunningHost, HostError> {
        let prepared = Prepared::new(self)?;
        let (config, events) = (prepared.config.clone(), prepared.events.clone());
        let metrics = prepared.sockets.metrics.as_ref().and_then(|listener| listener.local_addr().ok());
        let thread = std::thread::Builder::new().name("vgpu-host".into()).spawn(|| prepared.run());
        let thread = Some(thread.map_err(system("start the host's thread"))?);
        Ok(RunningHost { config, metrics, events, thread })
    }

    /// Serves on this thread until a signal ends it: the first SIGINT or SIGTERM drains, a second one closes every
    /// session at once.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn run(self) -> Result<(), HostError> {
        let prepared = Prepared::new(self)?;
        signals::watch(&prepared.runtime, prepared.events.clone())?;
        raise_descriptor_limit();
        prepared.run();
        Ok(())
    }
}

impl RunningHost {
    /// Where the tenant of that name is served.
    pub fn tenant_socket(&self, name: &str) -> PathBuf {
        self.config.tenant_socket(name)
    }

    /// Where operators are served.
    pub fn control_socket(&self) -> PathBuf {
        self.config.control_socket()
    }

    /// Where monitoring is answered over TCP, if anywhere.
    pub const fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics
    }

    /// The folder of all sockets.
    pub fn runtime_dir(&self) -> &Path {
        &self.config.runtime_dir
    }

    /// Drains: no session begins, those that run have the configured time to end and are closed after it. Returns when
    /// the last worker is reaped and the sockets are gone.
    pub fn shutdown(mut self) {
        self.end(1);
    }

    fn end(&mut self, signals: u32) {
        let Some(thread) = self.thread.take() else { return };
        for _ in 0..signals {
            // A closed queue means that the loop has ended, which is what is asked for.
            while let Err(TrySendError::Full(_)) = self.events.try_send(Event::Shutdown) {
                std::thread::sleep(FULL_QUEUE);
            }
        }
        // A panic of the loop was printed by its thread.
        let _ = thread.join();
    }
}

impl Drop for RunningHost {
    fn drop(&mut self) {
        self.end(2);
    }
}

/// How long to leave a full queue of events to the loop before trying again.
const FULL_QUEUE: std::time::Duration = std::time::Duration::from_millis(1);

/// Everything that can fail has been done: what is left is to run.
struct Prepared {
    config: Config,
    gpus: Vec<GpuReport>,
    store: Store,
    turns: Takers,
    command: WorkerCommand,
    sockets: Sockets,
    runtime: Runtime,
    events: mpsc::Sender<Event>,
    queue: mpsc::Receiver<Event>,
    monitor: Option<Box<dyn Monitor>>,
}

impl Prepared {
    fn new(mut host: Host) -> Result<Self, HostError> {
        let command = host.command.map_or_else(WorkerCommand::own, Ok);
        let command = command.map_err(system("find this executable"))?;
        let gpus = cards::probe_all(&mut host.config, &command)?;
        // After the cards were used, which makes their devices.
        let command = command.confined(&host.config)?;
        let store = kept(&mut host.config, host.forget_overrides)?;
        let sockets = Sockets::bind(&host.config)?;
        // One thread: the daemon's work is small, and its state needs no locks then.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(system("make the event loop"))?;
        let (events, queue) = mpsc::channel(event::EVENTS_MAX);
        let turns = Takers::start(&host.config, &events);
        let turns = turns.map_err(|error| HostError::Leases { text: error.to_string() })?;
        let mut sockets = sockets;
        {
            let _guard = runtime.enter();
            listen(&mut sockets, &events).map_err(system("watch the sockets"))?;
        }
        let monitor = host.monitor;
        Ok(Self {
            config: host.config,
            gpus,
            store,
            turns,
            command,
            sockets,
            runtime,
            events,
            queue,
            monitor,
        })
    }

    fn run(self) {
        let Self { config, gpus, store, turns, command, sockets, runtime, events, queue, monitor } = self;
        watch::start(&config, &gpus, &events, monitor);
        let runtime_dir = config.runtime_dir.clone();
        tracing::info!(runtime_dir = %runtime_dir.display(), tenants = config.tenants.len(), "serving");
        runtime.block_on(async {
            let mut daemon = Daemon::new(config, gpus, store, turns, command, events);
            daemon.sockets = Some(sockets);
            daemon.run(queue).await;
        });
        // Threads that close connections may wait for guests; the host does not.
        runtime.shutdown_background();
        tracing::info!(runtime_dir = %runtime_dir.display(), "stopped");
    }
}

/// Opens the state folder, and has the tenants as operators left them.
fn kept(config: &mut Config, forget_overrides: bool) -> Result<Store, HostError> {
    let mut store = Store::open(&config.state_dir, config.state_dir_named)?;
    if forget_overrides {
        store.change(State::forget_overrides)?;
    }
    let tenants = config.tenants_with(|name| store.overrides(name));
    config.tenants = tenants.map_err(|source| HostError::Overrides { source })?;
    if let Err(error) = store.check_writable() {
        tracing::warn!(%error, "nothing can be changed at run time");
    }
    Ok(store)
}

/// Starts the tasks that accept guests and operators.
fn listen(sockets: &mut Sockets, events: &mpsc::Sender<Event>) -> io::Result<()> {
    sockets.serve_all(events)?;
    let control = UnixListener::from_std(sockets.control.try_clone()?)?;
    let server = axum::serve(control, crate::api::router(events.clone()));
    tokio::spawn(server.into_future());
    if let Some(listener) = &sockets.metrics {
        tracing::info!(address = %listener.local_addr()?, "metrics");
        let listener = tokio::net::TcpListener::from_std(listener.try_clone()?)?;
        tokio::spawn(crate::metrics::serve(listener, events.clone()));
    }
    Ok(())
}

/// Lets the daemon have as many descriptors as it may: two for each session soon pass the usual soft limit.
fn raise_descriptor_limit() {
    let mut limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit.current = limit.maximum;
    // Not allowed: then the soft limit it is, and connections over it wait.
    let _ = rustix::process::setrlimit(rustix::process::Resource::Nofile, limit);
}

fn system(what: &'static str) -> impl FnOnce(io::Error) -> HostError {
    move |source| HostError::System { what, source }
}

#[cfg(test)]
mod change_tests;
#[cfg(test)]
mod metrics_tests;
#[cfg(test)]
mod tests;
