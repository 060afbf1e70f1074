//! What a worker is told first.

use std::os::unix::net::UnixStream;

use rustix::net::SocketType;

use crate::wire::{Channel, ChannelError, Setup, ToWorker};

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
    /// The guest's connection is not there.
    #[error("the setup carries no descriptor; are host and worker the same program?")]
    NoConnection,
    /// The descriptor is something else.
    #[error("the setup's descriptor is no stream socket; are host and worker the same program?")]
    NotAConnection,
}

/// Receives the setup and the guest's connection.
pub(super) fn receive(channel: &Channel) -> Result<(Setup, UnixStream), SetupError> {
    let packet = channel.recv::<ToWorker>()?;
    let ToWorker::Setup(setup) = packet.message else { return Err(SetupError::NotASetup) };
    let guest = packet.fd.ok_or(SetupError::NoConnection)?;
    match rustix::net::sockopt::socket_type(&guest) {
        Ok(SocketType::STREAM) => Ok((setup, guest.into())),
        Ok(_) | Err(_) => Err(SetupError::NotAConnection),
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsFd as _, BorrowedFd};

    use super::*;
    use crate::serve::limits_of;
    use crate::wire::DeviceSetup;

    fn setup() -> ToWorker {
        let device = DeviceSetup::Soft {
            memory_bytes: 1 << 30,
            compute_major: 8,
            compute_minor: 0,
            threads: 1,
            delay_seed: None,
            faults: String::new(),
        };
        ToWorker::Setup(Setup { session: 1, tenant: "t".into(), limits: limits_of(1, 1), device })
    }

    fn received(message: &ToWorker, fd: Option<BorrowedFd<'_>>) -> Result<(Setup, UnixStream), SetupError> {
        let (daemon, worker) = Channel::pair().unwrap();
        daemon.try_send(message, fd).unwrap();
        drop(daemon);
        receive(&Channel::adopt(worker).unwrap())
    }

    #[test]
    fn a_setup_with_a_connection_is_taken() {
        let (_guest, connection) = UnixStream::pair().unwrap();
        assert_eq!(received(&setup(), Some(connection.as_fd())).unwrap().0.session, 1);
    }

    #[test]
    fn anything_else_has_its_own_error() {
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(matches!(received(&setup(), None), Err(SetupError::NoConnection)));
        assert!(matches!(received(&setup(), Some(file.as_fd())), Err(SetupError::NotAConnection)));
        let early = received(&ToWorker::CountsRequest, None);
        assert!(matches!(early, Err(SetupError::NotASetup)));
        let (daemon, worker) = Channel::pair().unwrap();
        drop(daemon);
        let gone = receive(&Channel::adopt(worker).unwrap());
        assert!(matches!(gone, Err(SetupError::Channel(ChannelError::Closed))));
    }
}
