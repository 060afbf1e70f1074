//! A socket that carries whole messages, with at most one descriptor each.
//!
//! `SOCK_SEQPACKET` keeps the borders of messages, so a peer that stops in the middle of one cannot make the other end
//! wait, and several threads may send without a lock.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use vgpu_proto::codec::{self, CodecError, Message};
use vgpu_proto::limits::CONTROL_BYTES_MAX;

/// One end of the socket between the daemon and a worker.
#[derive(Debug)]
pub(crate) struct Channel<S = OwnedFd> {
    pub(super) socket: S,
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A message as it came.
#[derive(Debug)]
pub(crate) struct Packet<M> {
    /// The message.
    pub message: M,
    /// The descriptor that came with it.
    pub fd: Option<OwnedFd>,
}

/// Why nothing was sent or received.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChannelError {
    /// The other end is gone.
    #[error("the other end is closed")]
    Closed,
    /// It would block: nothing to receive, or the peer does not read.
    #[error("the other end does not read")]
    WouldBlock,
    /// Longer than a message may be.
    #[error("a message is longer than {CONTROL_BYTES_MAX} bytes")]
    TooLong,
    /// More descriptors than a message may carry.
    #[error("a message carries more than one descriptor")]
    TooManyDescriptors,
    /// No such message.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The socket failed.
    #[error("the socket failed: {0}")]
    Socket(Errno),
}

impl Channel {
    /// Two connected ends, both closed on exec.
    pub(crate) fn pair() -> Result<(Self, OwnedFd), ChannelError> {
        let (ours, theirs) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .map_err(ChannelError::Socket)?;
        Ok((Self { socket: ours }, theirs))
    }

    /// An end that came from elsewhere; it must be such a socket.
    pub(crate) fn adopt(socket: OwnedFd) -> Result<Self, ChannelError> {
        match rustix::net::sockopt::socket_type(&socket) {
            Ok(SocketType::SEQPACKET) => Ok(Self { socket }),
            Ok(_) => Err(ChannelError::Socket(Errno::PROTOTYPE)),
            Err(errno) => Err(ChannelError::Socket(errno)),
        }
    }

    /// The socket itself.
    pub(super) fn into_socket(self) -> OwnedFd {
        self.socket
    }
}

impl<S: AsFd> Channel<S> {
    /// Sends a message; waits while the peer's queue is full.
    pub(crate) fn send<M: Message>(&self, message: &M) -> Result<(), ChannelError> {
        self.send_with(message, None, SendFlags::empty())
    }

    /// Sends a message and a descriptor; waits while the peer's queue is full.
    pub(crate) fn send_descriptor<M: Message>(
        &self,
        message: &M,
        fd: BorrowedFd<'_>,
    ) -> Result<(), ChannelError> {
        self.send_with(message, Some(fd), SendFlags::empty())
    }

    /// Sends a message, or says that it would block.
    pub(crate) fn try_send<M: Message>(
        &self,
        message: &M,
        fd: Option<BorrowedFd<'_>>,
    ) -> Result<(), ChannelError> {
        self.send_with(message, fd, SendFlags::DONTWAIT)
    }

    /// Receives a message; waits until there is one.
    pub(crate) fn recv<M: Message>(&self) -> Result<Packet<M>, ChannelError> {
        self.recv_with(RecvFlags::empty())
    }

    /// Receives a message, or says that it would block.
    pub(crate) fn try_recv<M: Message>(&self) -> Result<Packet<M>, ChannelError> {
        self.recv_with(RecvFlags::DONTWAIT)
    }

    fn send_with<M: Message>(
        &self,
        message: &M,
        fd: Option<BorrowedFd<'_>>,
        flags: SendFlags,
    ) -> Result<(), ChannelError> {
        let body = codec::encode(message)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fds = fd.as_slice();
        if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(ChannelError::TooManyDescriptors);
        }
        let parts = [IoSlice::new(&body)];
        loop {
            match rustix::net::sendmsg(&self.socket, &parts, &mut control, flags | SendFlags::NOSIGNAL) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(failure(errno)),
            }
        }
    }

    fn recv_with<M: Message>(&self, flags: RecvFlags) -> Result<Packet<M>, ChannelError> {
        let mut body = vec![0; CONTROL_BYTES_MAX as usize];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = loop {
            let mut parts = [IoSliceMut::new(&mut body)];
            match rustix::net::recvmsg(
                &self.socket,
                &mut parts,
                &mut control,
                flags | RecvFlags::CMSG_CLOEXEC,
            ) {
                Ok(received) => break received,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(failure(errno)),
            }
        };
        let mut fds = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                fds.extend(rights);
            }
        }
        if received.flags.contains(ReturnFlags::TRUNC) {
            return Err(ChannelError::TooLong);
        }
        if received.flags.contains(ReturnFlags::CTRUNC) || fds.len() > 1 {
            return Err(ChannelError::TooManyDescriptors);
        }
        if received.bytes == 0 {
            return Err(ChannelError::Closed);
        }
        Ok(Packet { message: codec::decode(&body[..received.bytes])?, fd: fds.pop() })
    }
}

const fn failure(errno: Errno) -> ChannelError {
    match errno {
        Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN => ChannelError::Closed,
        Errno::AGAIN => ChannelError::WouldBlock,
        errno => ChannelError::Socket(errno),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{FromWorker, ToWorker};

    fn ends() -> (Channel, Channel) {
        let (ours, theirs) = Channel::pair().unwrap();
        (ours, Channel::adopt(theirs).unwrap())
    }

    fn ended(reason: &str) -> FromWorker {
        FromWorker::Ended { reason: reason.into() }
    }

    fn raw(channel: &Channel, bytes: &[u8], fds: &[BorrowedFd<'_>]) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(control.push(SendAncillaryMessage::ScmRights(fds)));
        rustix::net::sendmsg(&channel.socket, &[IoSlice::new(bytes)], &mut control, SendFlags::empty())
            .unwrap();
    }

    #[test]
    fn a_message_and_its_descriptor_arrive() {
        let (a, b) = ends();
        a.try_send(&ended("x"), Some(a.socket.as_fd())).unwrap();
        let packet: Packet<FromWorker> = b.recv().unwrap();
        assert_eq!(packet.message, ended("x"));
        assert!(packet.fd.is_some());
        assert!(matches!(b.try_recv::<FromWorker>(), Err(ChannelError::WouldBlock)));
    }

    #[test]
    fn the_end_of_the_peer_is_seen() {
        let (a, b) = ends();
        drop(a);
        assert!(matches!(b.recv::<FromWorker>(), Err(ChannelError::Closed)));
        assert!(matches!(b.send(&ended("x")), Err(ChannelError::Closed)));
    }

    #[test]
    fn nonsense_is_refused() {
        let (a, b) = ends();
        raw(&a, &[0xff; 9], &[]);
        assert!(matches!(b.recv::<FromWorker>(), Err(ChannelError::Codec(CodecError::Malformed))));
        raw(&a, &vec![0; CONTROL_BYTES_MAX as usize + 1], &[]);
        assert!(matches!(b.recv::<FromWorker>(), Err(ChannelError::TooLong)));
    }

    #[test]
    fn more_descriptors_than_one_are_refused() {
        let (a, b) = ends();
        raw(&a, &[2], &[a.socket.as_fd(), a.socket.as_fd(), a.socket.as_fd()]);
        assert!(matches!(b.recv::<ToWorker>(), Err(ChannelError::TooManyDescriptors)));
    }

    #[test]
    fn a_peer_that_does_not_read_is_noticed() {
        let (a, _b) = ends();
        let sent = (0..100_000).find_map(|_| a.try_send(&ended("x"), None).err());
        assert!(matches!(sent, Some(ChannelError::WouldBlock)), "{sent:?}");
    }

    #[test]
    fn another_kind_of_descriptor_is_not_adopted() {
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(Channel::adopt(file.into()).is_err());
    }
}
