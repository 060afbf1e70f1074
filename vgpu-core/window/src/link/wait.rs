//! Waiting until a stream can be read or written.

use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;

use super::{Link, LinkError};

/// Waits until one of `events` or the end of the stream is there, until `deadline` (`None`: without limit). A signal
/// does not end the wait.
pub(super) fn ready(link: &Link, events: PollFlags, deadline: Option<Instant>) -> Result<(), LinkError> {
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        // More seconds than the kernel's type holds are no limit.
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        match rustix::event::poll(&mut [PollFd::new(&link.stream, events)], left.as_ref()) {
            Err(Errno::INTR) => {}
            Ok(0) => return Err(LinkError::TimedOut),
            Ok(_) => return Ok(()),
            Err(errno) => return Err(LinkError::os("poll")(errno)),
        }
    }
}
