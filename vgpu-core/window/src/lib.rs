//! Shared memory regions, checked copies, atomic words, futexes and descriptor passing, for both ends.
//!
//! A window is memory that two processes share and that each may change at any moment. This crate is the only
//! one of the project with `unsafe` code: it maps such memory ([`Region`]), keeps address ranges free for it
//! ([`Reservation`]) and copies into and out of it so that a racing writer can spoil the bytes but nothing
//! else. It also holds what the two ends need before and beside a window: shared [`futex`] waits and a message
//! socket that carries descriptors ([`link`](mod@link)); and memory that nobody changes any more ([`sealed`]).
//!
//! It is not a protocol: it neither knows nor checks what the bytes mean.
//!
//! ```
//! use std::os::fd::AsFd;
//! use std::sync::atomic::Ordering;
//! use vgpu_window::Region;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (ours, descriptor) = Region::create_shared("staging", 8192)?;
//! let theirs = Region::map_shared(descriptor.as_fd(), 8192)?;
//! ours.write(64, b"payload")?;
//! ours.atomic_u32(0)?.store(7, Ordering::Release);
//!
//! assert_eq!(theirs.atomic_u32(0)?.load(Ordering::Acquire), 7);
//! let mut payload = [0; 7];
//! theirs.read(64, &mut payload)?;
//! assert_eq!(&payload, b"payload");
//! # Ok(())
//! # }
//! ```

#![deny(unsafe_code)]

#[expect(unsafe_code, reason = "maps words that others write, and loads them")]
mod bulletin;
#[cfg(any(test, feature = "test-util"))]
mod counting;
mod error;
#[expect(unsafe_code, reason = "tells the C library of a handler")]
pub mod fork;
pub mod futex;
pub mod link;
#[expect(unsafe_code, reason = "calls that change the address space")]
mod map;
mod memfd;
#[expect(unsafe_code, reason = "replaces pages under a running program")]
mod moved;
#[expect(unsafe_code, reason = "access to memory that others change")]
mod raw;
mod read_once;
#[expect(unsafe_code, reason = "hands checked ranges to the raw copies and makes atomics of them")]
mod region;
#[expect(unsafe_code, reason = "replaces pages inside a range that it owns")]
mod reservation;
#[expect(unsafe_code, reason = "maps bytes that nobody changes any more")]
pub mod sealed;

pub use bulletin::Bulletin;
#[cfg(any(test, feature = "test-util"))]
pub use counting::CountingRegion;
pub use error::{OutOfRange, WindowError};
pub use map::page_bytes;
pub use moved::{Moved, ProgramPages, Unmovable};
pub use read_once::ReadOnce;
pub use region::Region;
pub use reservation::{RESERVATION_REGIONS_MAX, Reservation};

/// Offsets are 64-bit on the wire and become addresses here, so the two must have the same width.
const _: () = assert!(usize::BITS == u64::BITS, "vgpu-window needs 64-bit addresses");
