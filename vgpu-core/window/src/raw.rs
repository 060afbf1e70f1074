//! Copies into, out of and inside memory that others may change at the same time.
//!
//! An ordinary copy of such memory is a data race: the compiler may assume that it does not happen, read a byte
//! twice and act on two values. Two kinds of access are used instead. Both fetch every byte of the source exactly
//! once, so what lands in private memory no longer changes.
//!
//! - Up to [`SMALL_BYTES_MAX`] bytes: single opaque accesses, eight bytes at a time where the address allows.
//! - Above: one string instruction in inline assembly (x86-64). The compiler sees neither the accesses nor their
//!   size, only that memory may have changed, so a racing writer gives it nothing to conclude from. At 4 KiB and
//!   above it is as fast as the C library's copy, and faster where the caches are too small. Other
//!   architectures use single accesses for all sizes.
//!
//! None of these orders anything between threads: publish and consume with atomics around them. On x86-64 the
//! stores of a string instruction become visible before a later store does (Intel SDM volume 3, 9.2.4).

mod access;
mod words;
#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(not(target_arch = "x86_64"))]
use words as bulk;
#[cfg(target_arch = "x86_64")]
use x86_64 as bulk;

/// Up to here single accesses beat the start-up cost of a string instruction: measured on an AMD EPYC (family
/// 25 or later), 64 bytes take 2.5 ns against 2.7 ns, 256 take 8.8 ns against 11.3 ns and 512 take 17.7 ns
/// against 12.3 ns.
const SMALL_BYTES_MAX: usize = 256;

/// Bytes that a copy to a higher, overlapping address moves at a time, through the stack. String instructions are
/// slow backwards (4 GB/s), and this is large enough for them to be fast forwards.
const BOUNCE_BYTES: usize = 4096;

/// Copies `out.len()` bytes from `from`, each read exactly once.
///
/// # Safety
///
/// The bytes at `from` are mapped readable, stay so during the call, and are no memory that a Rust reference
/// grants exclusive access to.
pub(crate) unsafe fn read(from: *const u8, out: &mut [u8]) {
    if out.len() <= SMALL_BYTES_MAX {
        // SAFETY: the caller's promise is the same.
        unsafe { words::read(from, out) }
    } else {
        // SAFETY: the caller's promise is the same.
        unsafe { bulk::read(from, out) }
    }
}

/// Copies `bytes` to `to`.
///
/// # Safety
///
/// The bytes at `to` are mapped writable, stay so during the call, and are no memory that a Rust reference other
/// than one to atomics exists to.
pub(crate) unsafe fn write(to: *mut u8, bytes: &[u8]) {
    if bytes.len() <= SMALL_BYTES_MAX {
        // SAFETY: the caller's promise is the same.
        unsafe { words::write(to, bytes) }
    } else {
        // SAFETY: the caller's promise is the same.
        unsafe { bulk::write(to, bytes) }
    }
}

/// Copies `bytes` bytes from `from` to `to`. The ranges may overlap: the result is as if all bytes had been read
/// before any was written.
///
/// # Safety
///
/// As for [`read`] at `from` and for [`write`] at `to`.
pub(crate) unsafe fn copy(from: *const u8, to: *mut u8, bytes: usize) {
    let distance = to.addr().wrapping_sub(from.addr());
    if distance != 0 && distance < bytes {
        // SAFETY: the caller's promise is the same.
        unsafe { copy_up(from, to, bytes) }
    } else if bytes <= SMALL_BYTES_MAX && distance.is_multiple_of(size_of::<u64>()) {
        // SAFETY: the caller's promise is the same.
        unsafe { words::copy_forward(from, to, bytes) }
    } else {
        // SAFETY: the caller's promise is the same.
        unsafe { bulk::copy_forward(from, to, bytes) }
    }
}

/// Copies to a higher address that lies inside the source: from the end, piece by piece, each of them read in full
/// before it is written.
///
/// # Safety
///
/// As for [`copy`].
unsafe fn copy_up(from: *const u8, to: *mut u8, bytes: usize) {
    let mut bounce = [0; BOUNCE_BYTES];
    let mut left = bytes;
    while left > 0 {
        let piece = left.min(BOUNCE_BYTES);
        left -= piece;
        let bounce = &mut bounce[..piece];
        // SAFETY: `left + piece <= bytes`, so this is part of the source.
        unsafe { read(from.wrapping_add(left), bounce) };
        // SAFETY: `left + piece <= bytes`, so this is part of the destination.
        unsafe { write(to.wrapping_add(left), bounce) };
    }
}

/// Writes `bytes` bytes at `to`, the bytes of `pattern` over and over.
///
/// # Safety
///
/// As for [`write`].
pub(crate) unsafe fn fill(to: *mut u8, pattern: [u8; 8], bytes: usize) {
    if bytes <= SMALL_BYTES_MAX {
        // SAFETY: the caller's promise is the same.
        unsafe { words::fill(to, pattern, bytes) }
    } else {
        // SAFETY: the caller's promise is the same.
        unsafe { bulk::fill(to, pattern, bytes) }
    }
}

#[cfg(test)]
mod tests;
