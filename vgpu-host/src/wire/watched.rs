//! The daemon's end of a channel, whose messages are awaited.

use std::io;

use tokio::io::Interest;
use tokio::net::UnixDatagram;
use vgpu_proto::codec::Message;

use super::channel::{Channel, ChannelError, Packet};

/// A channel that the event loop watches.
///
/// tokio has no type for `SOCK_SEQPACKET`. Its type for datagrams does here: only its readiness is used, every message
/// goes through [`Channel`].
pub(crate) type WatchedChannel = Channel<UnixDatagram>;

impl Channel {
    /// Lets the event loop of this thread watch the channel.
    pub(crate) fn watch(self) -> io::Result<WatchedChannel> {
        let socket = std::os::unix::net::UnixDatagram::from(self.into_socket());
        socket.set_nonblocking(true)?;
        Ok(Channel { socket: UnixDatagram::from_std(socket)? })
    }
}

impl WatchedChannel {
    /// Receives a message once there is one. Nothing is lost when the future is dropped.
    pub(crate) async fn next<M: Message>(&self) -> Result<Packet<M>, ChannelError> {
        loop {
            if self.socket.readable().await.is_err() {
                return Err(ChannelError::Closed);
            }
            let mut received = None;
            let _ = self.socket.try_io(Interest::READABLE, || match self.try_recv() {
                // This answer is what makes the event loop wait again.
                Err(ChannelError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
                other => {
                    received = Some(other);
                    Ok(())
                }
            });
            if let Some(received) = received {
                return received;
            }
        }
    }
}
