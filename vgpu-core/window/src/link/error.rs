//! Why a message was not sent or received.

use std::io;

use rustix::io::Errno;

/// Why a message was not sent or received.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// One of the two ends has closed the link, or the peer's process is gone.
    #[error("the link is closed")]
    Closed,
    /// A body is longer than the link allows: the caller's own, or one that the peer announced.
    #[error("a message of {bytes} bytes is over the limit of {max}")]
    TooLong {
        /// Length of the body in bytes.
        bytes: u64,
        /// The most that is allowed.
        max: u64,
    },
    /// The time passed before the message was through.
    #[error("the peer did not answer in time")]
    TimedOut,
    /// A message has more descriptors than [`FDS_MAX`](super::FDS_MAX): the caller's own, or one of the peer's.
    #[error("a message carries at most {max} descriptors")]
    TooManyDescriptors {
        /// The most that is allowed.
        max: usize,
    },
    /// The peer attached descriptors elsewhere than to the first byte of a message.
    #[error("the peer attached descriptors in the middle of a message")]
    UnexpectedDescriptors,
    /// The kernel dropped descriptors of a message because this process has too many.
    #[error("descriptors of a message were lost: raise the limit of open files (RLIMIT_NOFILE)")]
    DescriptorsLost,
    /// The kernel refused a call for a reason of its own.
    #[error("{call}: {source}")]
    Os {
        /// The call that failed.
        call: &'static str,
        /// The kernel's reason.
        source: io::Error,
    },
}

impl LinkError {
    /// Sorts the error of a failed call, for use with `map_err`.
    pub(super) fn os(call: &'static str) -> impl FnOnce(Errno) -> LinkError {
        move |errno| match errno {
            // How a closed peer shows depends on what was still under way.
            Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN => LinkError::Closed,
            errno => LinkError::Os { call, source: errno.into() },
        }
    }
}
