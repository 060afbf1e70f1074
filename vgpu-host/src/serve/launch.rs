//! Starting a worker: which program, with what, and what it is told first.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Stdio;

use tokio::process::{Child, Command};

use super::HostError;
use super::cell::{Cell, CgroupError};
use crate::config::{Config, Device, Tenant};
use crate::leases::{DeskError, WorkerEnds};
use crate::wire::{Channel, ChannelError, DeviceSetup, LeasePart, Setup, ToWorker, WatchedChannel};
use crate::worker::sandbox::Sandbox;
use vgpu_core::broker::SessionId;
use vgpu_core::lease::GateConfig;

/// Variables of the host's environment that its workers get. Everything else stays behind: it may hold secrets, and a
/// worker counts as controlled by its guest.
const VARIABLES: [&str; 2] = [crate::logging::FILTER_VARIABLE, "RUST_BACKTRACE"];

/// Variables that workers on a card get besides: where the loader finds the driver where that is not its default path, and
/// which cards the operator shows it, in which order.
const DRIVER_VARIABLES: [&str; 3] = ["LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"];

/// Settings of the driver in workers, where a guest asks for no others. As many hardware queues as there can be, so that a
/// stream that waits holds up as few others as possible. Kernels are loaded when they are first used: the driver's own
/// default, said aloud because programs that say it too shall still find a spare that fits. No cache of compiled code on
/// disk: it would be shared among tenants, who could plant code in it; a guest cannot ask for one.
const DRIVER_SETTINGS: [(&str, &str); 3] =
    [("CUDA_DEVICE_MAX_CONNECTIONS", "32"), ("CUDA_MODULE_LOADING", "LAZY"), ("CUDA_CACHE_DISABLE", "1")];

/// Which program serves a session.
///
/// The default is this executable with the argument `worker`. A program that embeds the host either calls
/// [`crate::worker_main_if_asked`] first thing in its `main`, or names the `vgpu-host` binary here.
#[derive(Clone, Debug)]
pub struct WorkerCommand {
    program: PathBuf,
    args: Vec<OsString>,
    cell: Cell,
}

impl WorkerCommand {
    /// A program, without arguments.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self { program: program.into(), args: vec![], cell: Cell::default() }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Confines the workers as the configuration wants it.
    pub(super) fn confined(mut self, config: &Config) -> Result<Self, HostError> {
        self.cell = Cell::new(config, Some(&self.program))?;
        Ok(self)
    }

    /// How they are confined.
    pub(super) const fn cell(&self) -> &Cell {
        &self.cell
    }

    /// This executable with the argument `worker`.
    ///
    /// # Errors
    /// The system does not tell its path.
    pub fn own() -> io::Result<Self> {
        Ok(Self::new(std::env::current_exe()?).arg(crate::worker::ARGUMENT))
    }

    /// The command of a worker, in a process group of its own, so that a Ctrl-C at the host's terminal drains sessions
    /// instead of killing them. `driver` says whether it is to load a card's driver.
    pub(crate) fn command(&self, driver: bool) -> std::process::Command {
        let mut command = std::process::Command::new(&self.program);
        command.args(&self.args).env_clear().process_group(0);
        let of_driver = DRIVER_VARIABLES.iter().filter(|_| driver);
        for name in VARIABLES.iter().chain(of_driver) {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        if driver {
            command.envs(DRIVER_SETTINGS);
        }
        command
    }

    /// Starts a worker for that device.
    pub(super) fn spawn(&self, device: &Device) -> Result<(Child, Channel), LaunchError> {
        let (channel, theirs) = Channel::pair()?;
        let mut command = Command::from(self.command(matches!(device, Device::Cuda(_))));
        command.stdin(theirs).stdout(Stdio::null());
        let mut child =
            command.spawn().map_err(|source| LaunchError::Spawn { program: self.program.clone(), source })?;
        // It does nothing before its first message.
        if let Err(error) = self.cell.admit(child.id().unwrap_or_default()) {
            // Reaped in the background.
            let _ = child.start_kill();
            return Err(error.into());
        }
        Ok((child, channel))
    }
}

/// As an operator would type it, for messages.
impl fmt::Display for WorkerCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.program.display().fmt(f)?;
        self.args.iter().try_for_each(|arg| write!(f, " {}", arg.display()))
    }
}

/// Why a worker did not start.
#[derive(Debug, thiserror::Error)]
pub(super) enum LaunchError {
    /// The program did not start.
    #[error("cannot start the worker {}: {source}", program.display())]
    Spawn {
        /// The program.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Its socket failed.
    #[error("cannot talk to the worker: {0}")]
    Channel(#[from] ChannelError),
    /// It cannot have a lease.
    #[error(transparent)]
    Lease(#[from] DeskError),
    /// Its cgroup cannot be made.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    /// The guest's connection cannot be handed over.
    #[error("cannot hand over the guest's connection: {0}")]
    Connection(#[from] io::Error),
}

/// A worker's lease, to be handed over.
#[derive(Debug)]
pub(super) struct Lease {
    /// Its pages.
    pub ends: WorkerEnds,
    /// How the worker holds its gate.
    pub gate: GateConfig,
}

/// Tells a worker what to serve and hands it the guest's connection.
pub(super) fn send_setup(
    channel: &WatchedChannel,
    config: &Config,
    tenant: &Tenant,
    session: SessionId,
    guest: &UnixStream,
    lease: &Lease,
    sandbox: Sandbox,
) -> Result<(), LaunchError> {
    // The flag belongs to the connection, not to the descriptor, and the worker reads it with threads that block.
    guest.set_nonblocking(false)?;
    let device = device_setup(&config.gpus[tenant.gpu].device);
    let setup = Setup {
        session: session.0,
        tenant: tenant.name.clone(),
        limits: tenant.limits,
        keeps_images: tenant.images_bytes > 0,
        lease: lease.gate.into(),
        device,
        sandbox,
    };
    channel.try_send(&ToWorker::Setup(setup), Some(std::os::fd::AsFd::as_fd(guest)))?;
    for (part, file) in LeasePart::ALL.into_iter().zip(lease.ends.files()) {
        channel.try_send(&ToWorker::Lease(part), Some(file))?;
    }
    Ok(())
}

/// What a worker is told of its device.
pub(super) fn device_setup(device: &Device) -> DeviceSetup {
    match device {
        Device::Soft(soft) => DeviceSetup::Soft {
            memory_bytes: soft.memory_bytes,
            compute_major: soft.compute_capability.0,
            compute_minor: soft.compute_capability.1,
            threads: soft.threads,
            delay_seed: soft.delay_seed,
            faults: soft.faults.clone(),
        },
        Device::Cuda(cuda) => DeviceSetup::Cuda(cuda.card),
    }
}
