//! What a worker is told first.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use rustix::net::SocketType;
use vgpu_proto::handshake::Hello;

use super::lease::LeaseFiles;
use super::sandbox::Sandbox;
use crate::wire::{Channel, ChannelError, DeviceSetup, LeasePart, Packet, Setup, ToWorker};

/// What a worker hears first.
#[derive(Debug)]
pub(super) enum First {
    /// Be a spare: make the device ready for a guest that is not there yet.
    Prepare { device: DeviceSetup, sandbox: Sandbox },
    /// Serve this.
    Serve(Box<Start>),
}

/// What a session is served with.
#[derive(Debug)]
pub(super) struct Start {
    /// To the daemon.
    pub channel: Arc<Channel>,
    pub setup: Setup,
    /// The guest's connection.
    pub guest: UnixStream,
    /// The worker's lease.
    pub lease: LeaseFiles,
    /// The greeting, where this process heard it before its exec.
    pub hello: Option<Hello>,
}

/// Why a worker does not know what to serve.
#[derive(Debug, thiserror::Error)]
pub(super) enum SetupError {
    /// Standard input cannot be used.
    #[error("standard input cannot be used: {0}; workers are started by vgpu-host serve")]
    Stdin(std::io::Error),
    /// Standard input is no socket of a host.
    #[error("standard input is no socket of a host ({0}); workers are started by vgpu-host serve")]
    NotAChannel(ChannelError),
    /// The setup did not arrive.
    #[error("the host's first message cannot be used: {0}; are host and worker the same program?")]
    Channel(#[from] ChannelError),
    /// Another message came first.
    #[error("the host's first message is no setup; are host and worker the same program?")]
    NotASetup,
    /// A descriptor is not there.
    #[error("the setup carries no descriptor; are host and worker the same program?")]
    NoDescriptor,
    /// The descriptor is something else.
    #[error("the setup's descriptor is no stream socket; are host and worker the same program?")]
    NotAConnection,
}

impl SetupError {
    /// The daemon is gone, or wants no spare any more.
    pub(super) const fn is_dismissal(&self) -> bool {
        matches!(self, Self::Channel(ChannelError::Closed))
    }
}

/// Receives the first message. `channel` is the daemon's, or what this process left itself at its exec.
pub(super) fn receive(channel: &Arc<Channel>) -> Result<First, SetupError> {
    let Packet { message, fd } = channel.recv::<ToWorker>()?;
    match message {
        ToWorker::Prepare { device, sandbox } => Ok(First::Prepare { device, sandbox }),
        ToWorker::Setup(setup) => served(channel, setup, fd).map(|start| First::Serve(Box::new(start))),
        ToWorker::Resume { setup, hello } => {
            let guest = connection(fd)?;
            let Packet { message: ToWorker::Channel, fd } = channel.recv()? else {
                return Err(SetupError::NotASetup);
            };
            let daemon = Channel::adopt(fd.ok_or(SetupError::NoDescriptor)?)?;
            let lease = lease(channel)?;
            let channel = Arc::new(daemon);
            Ok(First::Serve(Box::new(Start { channel, setup, guest, lease, hello: Some(hello) })))
        }
        _ => Err(SetupError::NotASetup),
    }
}

/// Waits, as a spare, for what to serve.
pub(super) fn wait(channel: &Arc<Channel>) -> Result<Start, SetupError> {
    let Packet { message, fd } = channel.recv::<ToWorker>()?;
    let ToWorker::Setup(setup) = message else { return Err(SetupError::NotASetup) };
    served(channel, setup, fd)
}

fn served(channel: &Arc<Channel>, setup: Setup, fd: Option<OwnedFd>) -> Result<Start, SetupError> {
    let guest = connection(fd)?;
    let lease = lease(channel)?;
    Ok(Start { channel: Arc::clone(channel), setup, guest, lease, hello: None })
}

/// Receives the parts of the lease.
fn lease(channel: &Channel) -> Result<LeaseFiles, SetupError> {
    let part = |wanted: LeasePart| match channel.recv::<ToWorker>()? {
        Packet { message: ToWorker::Lease(part), fd: Some(fd) } if part == wanted => Ok(fd),
        Packet { message: ToWorker::Lease(_), fd: None } => Err(SetupError::NoDescriptor),
        _ => Err(SetupError::NotASetup),
    };
    let [grant, demand, call] = LeasePart::ALL;
    Ok(LeaseFiles { grant: part(grant)?, demand: part(demand)?, call: part(call)? })
}

fn connection(fd: Option<OwnedFd>) -> Result<UnixStream, SetupError> {
    let guest = fd.ok_or(SetupError::NoDescriptor)?;
    match rustix::net::sockopt::socket_type(&guest) {
        Ok(SocketType::STREAM) => Ok(guest.into()),
        Ok(_) | Err(_) => Err(SetupError::NotAConnection),
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsFd as _, BorrowedFd};

    use vgpu_proto::handshake::{AddressPlan, FEATURE_COHERENT, GuestProcess, Limits};

    use super::*;

    fn device() -> DeviceSetup {
        DeviceSetup::Soft {
            memory_bytes: 1 << 30,
            compute_major: 8,
            compute_minor: 0,
            threads: 1,
            delay_seed: None,
            faults: String::new(),
        }
    }

    fn setup() -> Setup {
        Setup {
            session: 1,
            tenant: "t".into(),
            limits: Limits::largest(1, 1),
            keeps_images: true,
            lease: vgpu_core::lease::GateConfig::default().into(),
            device: device(),
            sandbox: Sandbox::OFF,
        }
    }

    fn hello() -> Hello {
        Hello {
            version_min: 1,
            version_max: 1,
            features: FEATURE_COHERENT,
            plans: AddressPlan::CANDIDATES[..1].to_vec(),
            variables: vec![],
            process: GuestProcess::default(),
        }
    }

    /// The messages, and the parts of a lease behind them; what stands for those is looked at later.
    fn with_lease<'a>(
        messages: &[(ToWorker, Option<BorrowedFd<'a>>)],
    ) -> Vec<(ToWorker, Option<BorrowedFd<'a>>)> {
        let any = messages.iter().find_map(|(_, fd)| *fd);
        let parts = LeasePart::ALL.map(|part| (ToWorker::Lease(part), any));
        messages.iter().cloned().chain(parts).collect()
    }

    fn received(messages: &[(ToWorker, Option<BorrowedFd<'_>>)]) -> Result<First, SetupError> {
        let (daemon, worker) = Channel::pair().unwrap();
        for (message, fd) in messages {
            daemon.try_send(message, *fd).unwrap();
        }
        drop(daemon);
        receive(&Arc::new(Channel::adopt(worker).unwrap()))
    }

    #[test]
    fn a_setup_with_a_connection_is_taken() {
        let (_guest, connection) = UnixStream::pair().unwrap();
        let first = received(&with_lease(&[(ToWorker::Setup(setup()), Some(connection.as_fd()))]));
        assert!(matches!(&first, Ok(First::Serve(start)) if start.hello.is_none()), "{first:?}");
    }

    #[test]
    fn a_spare_is_told_its_device_and_then_what_to_serve() {
        let (_guest, connection) = UnixStream::pair().unwrap();
        let (daemon, worker) = Channel::pair().unwrap();
        let worker = Arc::new(Channel::adopt(worker).unwrap());
        let prepare = ToWorker::Prepare { device: device(), sandbox: Sandbox::OFF };
        daemon.try_send(&prepare, None).unwrap();
        assert!(matches!(receive(&worker), Ok(First::Prepare { device: found, .. }) if found == device()));
        for (message, fd) in with_lease(&[(ToWorker::Setup(setup()), Some(connection.as_fd()))]) {
            daemon.try_send(&message, fd).unwrap();
        }
        assert_eq!(wait(&worker).unwrap().setup, setup());
        drop(daemon);
        assert!(wait(&worker).unwrap_err().is_dismissal());
    }

    #[test]
    fn what_an_exec_left_is_found_again() {
        let (_guest, connection) = UnixStream::pair().unwrap();
        let (daemon, theirs) = Channel::pair().unwrap();
        let first = received(&with_lease(&[
            (ToWorker::Resume { setup: setup(), hello: hello() }, Some(connection.as_fd())),
            (ToWorker::Channel, Some(theirs.as_fd())),
        ]));
        drop(theirs);
        let Ok(First::Serve(start)) = first else { panic!("{first:?}") };
        assert_eq!((start.setup, start.hello), (setup(), Some(hello())));
        start.channel.try_send(&ToWorker::CountsRequest, None).unwrap();
        assert!(daemon.try_recv::<ToWorker>().is_ok(), "it is the daemon's channel");
    }

    #[test]
    fn anything_else_has_its_own_error() {
        let file = std::fs::File::open("/dev/null").unwrap();
        let (_guest, connection) = UnixStream::pair().unwrap();
        let setup = || ToWorker::Setup(setup());
        assert!(matches!(received(&[(setup(), None)]), Err(SetupError::NoDescriptor)));
        let odd = received(&[(setup(), Some(file.as_fd()))]);
        assert!(matches!(odd, Err(SetupError::NotAConnection)));
        assert!(matches!(received(&[(ToWorker::CountsRequest, None)]), Err(SetupError::NotASetup)));
        let resume = ToWorker::Resume { setup: self::setup(), hello: hello() };
        let connected = || (setup(), Some(connection.as_fd()));
        assert!(matches!(received(&[connected()]), Err(SetupError::Channel(ChannelError::Closed))));
        let part = |part, fd| (ToWorker::Lease(part), fd);
        let odd = received(&[connected(), part(LeasePart::Demand, Some(file.as_fd()))]);
        assert!(matches!(odd, Err(SetupError::NotASetup)), "in their order");
        let odd = received(&[connected(), part(LeasePart::Grant, None)]);
        assert!(matches!(odd, Err(SetupError::NoDescriptor)));
        let half = received(&[(resume, Some(connection.as_fd())), (ToWorker::CountsRequest, None)]);
        assert!(matches!(half, Err(SetupError::NotASetup)));
        assert!(received(&[]).unwrap_err().is_dismissal());
    }
}
