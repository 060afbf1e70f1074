//! What can go wrong with regions and reservations.

use std::io;

/// An access that does not lie inside its region, or is not aligned as it must be.
///
/// The access did nothing. Offsets usually come from a peer: treat it as the peer's breach of protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an access of {bytes} bytes at offset {offset} does not lie, aligned, in a region of {len} bytes")]
pub struct OutOfRange {
    /// Where the access would have begun, in bytes from the start of the region.
    pub offset: u64,
    /// How many bytes it would have covered; `u64::MAX` where that number does not fit 64 bits.
    pub bytes: u64,
    /// The length of the region in bytes.
    pub len: u64,
}

/// Why a region or a reservation could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WindowError {
    /// A region or reservation of no bytes was asked for.
    #[error("a region needs at least one byte")]
    Empty,
    /// The length cannot be an object's length on this machine.
    #[error("{bytes} bytes are more than an address space holds")]
    TooLarge {
        /// The length asked for.
        bytes: u64,
    },
    /// An address, offset or length is not a multiple of the page size.
    #[error("{value:#x} must be a multiple of the page size, {page_bytes} bytes")]
    Misaligned {
        /// The address, offset or length in question.
        value: u64,
        /// The page size.
        page_bytes: u64,
    },
    /// The name of a shared region does not suit the kernel.
    #[error("a region's name must have at most {max_bytes} bytes and no NUL")]
    BadName {
        /// The longest name that is accepted.
        max_bytes: usize,
    },
    /// Part of the wanted address range is in use in this process.
    #[error("{bytes} bytes at {base:#x} are partly in use here: choose another base")]
    AddressTaken {
        /// The first address wanted.
        base: u64,
        /// The length wanted.
        bytes: u64,
    },
    /// The region would stick out of its reservation.
    #[error("{bytes} bytes at offset {offset:#x} stick out of a reservation of {len} bytes")]
    OutsideReservation {
        /// Offset in the reservation.
        offset: u64,
        /// Length wanted.
        bytes: u64,
        /// Length of the reservation.
        len: u64,
    },
    /// A live region of the same reservation has some of these pages.
    #[error(
        "{bytes} bytes at offset {offset:#x} overlap the live region at offset {live_offset:#x}: drop it first"
    )]
    Overlap {
        /// Offset in the reservation.
        offset: u64,
        /// Length wanted.
        bytes: u64,
        /// Where the live region starts.
        live_offset: u64,
    },
    /// The reservation holds as many regions as it may.
    #[error("a reservation holds at most {max} regions: drop some or make larger ones")]
    TooManyRegions {
        /// The limit, [`RESERVATION_REGIONS_MAX`](crate::RESERVATION_REGIONS_MAX).
        max: usize,
    },
    /// The descriptor is no memory file of ordinary pages. Others can raise SIGBUS at any access.
    #[error(
        "the descriptor is not a memfd of ordinary pages: create it with memfd_create and without MFD_HUGETLB"
    )]
    NotMemfd,
    /// The memory file could still change its size, which would make accesses fault, or bytes that must not change.
    #[error("the memfd lacks the seals {missing}: add them before sending it")]
    NotSealed {
        /// The names of the seals that are not set.
        missing: String,
    },
    /// The memory file was opened read-only or is sealed against writing.
    #[error("the memfd cannot be written: send a descriptor opened for both and without F_SEAL_WRITE")]
    NotWritable,
    /// The memory file is not as long as its sender said.
    #[error("the memfd has {actual} bytes and was announced with {expected}")]
    SizeMismatch {
        /// The length announced.
        expected: u64,
        /// The length found.
        actual: u64,
    },
    /// The kernel refused a call for a reason of its own (limits, memory).
    #[error("{call}: {source}")]
    Os {
        /// The call that failed.
        call: &'static str,
        /// The kernel's reason.
        source: io::Error,
    },
}

impl WindowError {
    /// Wraps a failed call, for use with `map_err`.
    pub(crate) fn os(call: &'static str) -> impl FnOnce(rustix::io::Errno) -> WindowError {
        move |errno| WindowError::Os { call, source: errno.into() }
    }
}
