//! The sending half of a link.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::time::Instant;

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};

use super::{FDS_MAX, HEADER_BYTES, Link, LinkError, wait};

/// Sends a message whose size and descriptors were checked. The caller holds the sending lock.
pub(super) fn message(
    link: &Link,
    body: &[u8],
    fds: &[BorrowedFd<'_>],
    deadline: Option<Instant>,
) -> Result<(), LinkError> {
    // A link's limit is 32 bits wide, so the length is as well.
    let header = (body.len() as u32).to_le_bytes();
    let mut sent = 0;
    while sent < HEADER_BYTES + body.len() {
        // Descriptors go with the first byte only; the kernel takes them whenever it takes at least that one.
        let fds = if sent == 0 { fds } else { &[] };
        let step = send_some(link, [rest(&header, sent), rest(body, sent.saturating_sub(HEADER_BYTES))], fds);
        match step {
            Ok(bytes) => sent += bytes,
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                if let Err(error) = wait::ready(link, PollFlags::OUT, deadline) {
                    return Err(give_up(link, sent, error));
                }
            }
            Err(errno) => return Err(give_up(link, sent, LinkError::os("sendmsg")(errno))),
        }
    }
    Ok(())
}

/// Closes the link if part of a message has gone out: whatever came next would be taken for the rest of it.
fn give_up(link: &Link, sent: usize, error: LinkError) -> LinkError {
    if sent > 0 {
        link.shutdown();
    }
    error
}

/// Sends as much of `parts` as the socket takes now.
fn send_some(link: &Link, parts: [&[u8]; 2], fds: &[BorrowedFd<'_>]) -> Result<usize, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(Errno::INVAL);
    }
    // The flag rather than a mode of the socket, which whoever shares the descriptor would share; and no SIGPIPE,
    // which would end a program that knows nothing of this socket.
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    rustix::net::sendmsg(&link.stream, &parts.map(IoSlice::new), &mut control, flags)
}

/// What is left of `bytes` after `done` of them.
fn rest(bytes: &[u8], done: usize) -> &[u8] {
    bytes.get(done..).unwrap_or_default()
}
