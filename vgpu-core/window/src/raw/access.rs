//! Single loads and stores that the compiler knows nothing about.
//!
//! On x86-64 each is one `mov` in inline assembly. So it races with nothing as far as the compiler is concerned,
//! whoever else accesses the same bytes and in whatever size: another process, or another thread of this one that
//! runs a racing kernel. Elsewhere they are volatile accesses, which the compiler neither repeats, drops nor
//! splits, which covers other processes; see `std::ptr::read_volatile` on memory outside of Rust.

#[cfg(target_arch = "x86_64")]
use std::arch::asm;

/// Loads the byte at `from`.
///
/// # Safety
///
/// It is mapped readable.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(super) unsafe fn load_byte(from: *const u8) -> u8 {
    let byte: u8;
    // SAFETY: the instruction reads one byte, which the caller vouches for, and changes one declared register.
    unsafe {
        asm!("mov {}, byte ptr [{}]", out(reg_byte) byte, in(reg) from, options(nostack, preserves_flags, readonly));
    }
    byte
}

/// Loads the word at `from`, in one access.
///
/// # Safety
///
/// It is mapped readable and aligned.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(super) unsafe fn load_word(from: *const u64) -> u64 {
    let word: u64;
    // SAFETY: the instruction reads eight bytes, which the caller vouches for, and changes one declared register.
    unsafe {
        asm!("mov {}, qword ptr [{}]", out(reg) word, in(reg) from, options(nostack, preserves_flags, readonly));
    }
    word
}

/// Stores `byte` at `to`.
///
/// # Safety
///
/// It is mapped writable, and Rust code has no reference to it but to atomics.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(super) unsafe fn store_byte(to: *mut u8, byte: u8) {
    // SAFETY: the instruction writes one byte, which the caller vouches for, and changes no register.
    unsafe {
        asm!("mov byte ptr [{}], {}", in(reg) to, in(reg_byte) byte, options(nostack, preserves_flags));
    }
}

/// Stores `word` at `to`, in one access.
///
/// # Safety
///
/// It is mapped writable and aligned, and Rust code has no reference to it but to atomics.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(super) unsafe fn store_word(to: *mut u64, word: u64) {
    // SAFETY: the instruction writes eight bytes, which the caller vouches for, and changes no register.
    unsafe {
        asm!("mov qword ptr [{}], {}", in(reg) to, in(reg) word, options(nostack, preserves_flags));
    }
}

/// Loads the byte at `from`.
///
/// # Safety
///
/// It is mapped readable.
#[cfg(not(target_arch = "x86_64"))]
#[inline]
pub(super) unsafe fn load_byte(from: *const u8) -> u8 {
    // SAFETY: the caller vouches for the byte.
    unsafe { from.read_volatile() }
}

/// Loads the word at `from`, in one access.
///
/// # Safety
///
/// It is mapped readable and aligned.
#[cfg(not(target_arch = "x86_64"))]
#[inline]
pub(super) unsafe fn load_word(from: *const u64) -> u64 {
    // SAFETY: the caller vouches for the word.
    unsafe { from.read_volatile() }
}

/// Stores `byte` at `to`.
///
/// # Safety
///
/// It is mapped writable, and Rust code has no reference to it but to atomics.
#[cfg(not(target_arch = "x86_64"))]
#[inline]
pub(super) unsafe fn store_byte(to: *mut u8, byte: u8) {
    // SAFETY: the caller vouches for the byte.
    unsafe { to.write_volatile(byte) }
}

/// Stores `word` at `to`, in one access.
///
/// # Safety
///
/// It is mapped writable and aligned, and Rust code has no reference to it but to atomics.
#[cfg(not(target_arch = "x86_64"))]
#[inline]
pub(super) unsafe fn store_word(to: *mut u64, word: u64) {
    // SAFETY: the caller vouches for the word.
    unsafe { to.write_volatile(word) }
}
