//! The receiving half of a link.

use std::io::IoSliceMut;
use std::mem::{self, MaybeUninit};
use std::os::fd::OwnedFd;
use std::time::Instant;

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags};

use super::{FDS_MAX, HEADER_BYTES, Link, LinkError, Message, wait};

/// What has arrived of the message that is due.
#[derive(Debug, Default)]
pub(super) struct Partial {
    header: [u8; HEADER_BYTES],
    /// Empty until the header is complete, then of the announced length.
    pub(super) body: Vec<u8>,
    /// Bytes of header and body that have arrived.
    received: usize,
    fds: Vec<OwnedFd>,
}

/// Receives until a message is complete or the deadline passes. The caller holds the receiving lock and drops the
/// partial message after any error but `TimedOut`.
pub(super) fn message(
    link: &Link,
    partial: &mut Partial,
    deadline: Option<Instant>,
) -> Result<Message, LinkError> {
    loop {
        link.check_open()?;
        let bytes = match receive_some(link, partial) {
            Err(Stop::Empty) => {
                wait::ready(link, PollFlags::IN, deadline)?;
                continue;
            }
            Err(Stop::Failed(error)) => return Err(error),
            Ok(bytes) => bytes,
        };
        partial.received += bytes;
        if partial.received == HEADER_BYTES {
            let length = u32::from_le_bytes(partial.header) as usize;
            link.check_length(length)?;
            partial.body = vec![0; length];
        }
        if partial.received >= HEADER_BYTES && partial.received == HEADER_BYTES + partial.body.len() {
            let Partial { body, fds, .. } = mem::take(partial);
            return Ok(Message { body, fds });
        }
    }
}

/// Why nothing was received.
enum Stop {
    /// Nothing has arrived yet.
    Empty,
    Failed(LinkError),
}

/// Receives what is there, up to the end of the header or of the body and never beyond, as the next byte may bring
/// the next message's descriptors. Returns at least one byte.
fn receive_some(link: &Link, partial: &mut Partial) -> Result<usize, Stop> {
    let first = partial.received == 0;
    let target = match partial.received.checked_sub(HEADER_BYTES) {
        None => &mut partial.header[partial.received..],
        Some(body_received) => &mut partial.body[body_received..],
    };
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    // Without room for descriptors the kernel drops those that come, and says so.
    let space = if first { &mut space[..] } else { &mut [] };
    let mut control = RecvAncillaryBuffer::new(space);
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let received = loop {
        match rustix::net::recvmsg(&link.stream, &mut [IoSliceMut::new(target)], &mut control, flags) {
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Err(Stop::Empty),
            Err(errno) => return Err(Stop::Failed(LinkError::os("recvmsg")(errno))),
            Ok(received) => break received,
        }
    };
    if received.bytes == 0 {
        return Err(Stop::Failed(LinkError::Closed));
    }
    let dropped = received.flags.contains(ReturnFlags::CTRUNC);
    if first {
        partial.fds = take_descriptors(&mut control, dropped).map_err(Stop::Failed)?;
    } else if dropped {
        return Err(Stop::Failed(LinkError::UnexpectedDescriptors));
    }
    Ok(received.bytes)
}

/// The descriptors that came with the first byte. On an error all that arrived are closed.
fn take_descriptors(control: &mut RecvAncillaryBuffer<'_>, dropped: bool) -> Result<Vec<OwnedFd>, LinkError> {
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    // The buffer is aligned inside its space, so it may hold one or two more than the limit.
    if fds.len() > FDS_MAX || dropped && fds.len() == FDS_MAX {
        return Err(LinkError::TooManyDescriptors { max: FDS_MAX });
    }
    if dropped { Err(LinkError::DescriptorsLost) } else { Ok(fds) }
}
