//! Bulk copies by string instructions, which are fast on processors with ERMS (all since about 2013).
//!
//! The direction flag is clear at the start of inline assembly and none of these instructions changes it or any
//! other flag (Rust reference, "Inline assembly", rules).

use std::arch::asm;

use super::words;

const WORD_BYTES: usize = size_of::<u64>();

/// As [`super::read`].
///
/// # Safety
///
/// As for [`super::read`].
pub(super) unsafe fn read(from: *const u8, out: &mut [u8]) {
    // SAFETY: the caller vouches for the source; the destination is a slice that is borrowed exclusively.
    unsafe { copy_forward(from, out.as_mut_ptr(), out.len()) }
}

/// As [`super::write`].
///
/// # Safety
///
/// As for [`super::write`].
pub(super) unsafe fn write(to: *mut u8, bytes: &[u8]) {
    // SAFETY: the caller vouches for the destination; the source is a slice.
    unsafe { copy_forward(bytes.as_ptr(), to, bytes.len()) }
}

/// Copies byte by byte from the start, as far as any observer of the result can tell.
///
/// # Safety
///
/// `bytes` bytes are readable at `from` and writable at `to`, and the destination does not begin inside the source
/// unless it is the source.
pub(super) unsafe fn copy_forward(from: *const u8, to: *mut u8, bytes: usize) {
    // SAFETY: the instruction reads and writes exactly the two ranges the caller vouches for, leaves stack and
    // flags alone, and the three registers are declared as changed.
    unsafe {
        asm!(
            "rep movsb",
            inout("rcx") bytes => _,
            inout("rsi") from => _,
            inout("rdi") to => _,
            options(nostack, preserves_flags),
        );
    }
}

/// As [`super::fill`].
///
/// # Safety
///
/// As for [`super::fill`].
pub(super) unsafe fn fill(to: *mut u8, pattern: [u8; 8], bytes: usize) {
    let words = bytes / WORD_BYTES;
    let end: *mut u8;
    // SAFETY: the instruction writes `8 * words <= bytes` bytes at `to`, which the caller vouches for, leaves stack
    // and flags alone, and the registers it changes are declared as changed.
    unsafe {
        asm!(
            "rep stosq",
            inout("rcx") words => _,
            inout("rdi") to => end,
            in("rax") u64::from_ne_bytes(pattern),
            options(nostack, preserves_flags),
        );
    }
    // SAFETY: the instruction left `end` behind the last word, and that many bytes remain of the caller's range.
    unsafe { words::fill(end, pattern, bytes % WORD_BYTES) }
}
