//! Copies by single accesses, eight bytes at a time between the unaligned ends.

use std::ops::Range;

use super::access::{load_byte, load_word, store_byte, store_word};

const WORD_BYTES: usize = size_of::<u64>();

/// As [`super::read`].
///
/// # Safety
///
/// As for [`super::read`].
pub(super) unsafe fn read(from: *const u8, out: &mut [u8]) {
    let Range { start, end } = aligned_part(from, out.len());
    let (head, rest) = out.split_at_mut(start);
    let (words, tail) = rest.as_chunks_mut::<WORD_BYTES>();
    for (at, byte) in head.iter_mut().enumerate() {
        // SAFETY: `at < out.len()`, so the caller vouches for the byte.
        *byte = unsafe { load_byte(from.wrapping_add(at)) };
    }
    let words_from = from.wrapping_add(start).cast::<u64>();
    for (at, word) in words.iter_mut().enumerate() {
        // SAFETY: the word lies in the aligned part, and the caller vouches for its bytes.
        *word = unsafe { load_word(words_from.wrapping_add(at)) }.to_ne_bytes();
    }
    for (at, byte) in tail.iter_mut().enumerate() {
        // SAFETY: `end + at < out.len()`, so the caller vouches for the byte.
        *byte = unsafe { load_byte(from.wrapping_add(end + at)) };
    }
}

/// As [`super::write`].
///
/// # Safety
///
/// As for [`super::write`].
pub(super) unsafe fn write(to: *mut u8, bytes: &[u8]) {
    let Range { start, end } = aligned_part(to, bytes.len());
    let (head, rest) = bytes.split_at(start);
    let (words, tail) = rest.as_chunks::<WORD_BYTES>();
    for (at, byte) in head.iter().enumerate() {
        // SAFETY: `at < bytes.len()`, so the caller vouches for the byte.
        unsafe { store_byte(to.wrapping_add(at), *byte) };
    }
    let words_to = to.wrapping_add(start).cast::<u64>();
    for (at, word) in words.iter().enumerate() {
        // SAFETY: the word lies in the aligned part, and the caller vouches for its bytes.
        unsafe { store_word(words_to.wrapping_add(at), u64::from_ne_bytes(*word)) };
    }
    for (at, byte) in tail.iter().enumerate() {
        // SAFETY: `end + at < bytes.len()`, so the caller vouches for the byte.
        unsafe { store_byte(to.wrapping_add(end + at), *byte) };
    }
}

/// Copies from the start, in words where source and destination are equally far from a word boundary.
///
/// # Safety
///
/// As for [`super::copy`], and the destination does not begin inside the source unless it is the source.
pub(super) unsafe fn copy_forward(from: *const u8, to: *mut u8, bytes: usize) {
    let same_phase = to.addr().wrapping_sub(from.addr()).is_multiple_of(WORD_BYTES);
    let Range { start, end } = if same_phase { aligned_part(from, bytes) } else { bytes..bytes };
    // SAFETY: the range is part of both of the caller's ranges.
    unsafe { copy_bytes(from, to, 0..start) };
    for at in (start..end).step_by(WORD_BYTES) {
        // SAFETY: the word lies in the aligned part of the source.
        let word = unsafe { load_word(from.wrapping_add(at).cast()) };
        // SAFETY: the word lies inside the destination, which is as far from a word boundary as the source.
        unsafe { store_word(to.wrapping_add(at).cast(), word) };
    }
    // SAFETY: the range is part of both of the caller's ranges.
    unsafe { copy_bytes(from, to, end..bytes) };
}

/// Copies the bytes at the offsets `range`, from the lowest to the highest.
///
/// # Safety
///
/// As for [`copy_forward`] with these bytes.
unsafe fn copy_bytes(from: *const u8, to: *mut u8, range: Range<usize>) {
    for at in range {
        // SAFETY: the caller vouches for the source.
        let byte = unsafe { load_byte(from.wrapping_add(at)) };
        // SAFETY: the caller vouches for the destination.
        unsafe { store_byte(to.wrapping_add(at), byte) };
    }
}

/// As [`super::fill`].
///
/// # Safety
///
/// As for [`super::fill`].
pub(super) unsafe fn fill(to: *mut u8, pattern: [u8; WORD_BYTES], bytes: usize) {
    let Range { start, end } = aligned_part(to, bytes);
    for at in (0..start).chain(end..bytes) {
        // SAFETY: `at < bytes`, so the caller vouches for the byte.
        unsafe { store_byte(to.wrapping_add(at), pattern[at % WORD_BYTES]) };
    }
    // Every aligned word begins with the byte of the pattern that the head stopped at.
    let word = u64::from_ne_bytes(std::array::from_fn(|at| pattern[(start + at) % WORD_BYTES]));
    for at in (start..end).step_by(WORD_BYTES) {
        // SAFETY: the word lies in the aligned part, and the caller vouches for its bytes.
        unsafe { store_word(to.wrapping_add(at).cast(), word) };
    }
}

/// Which of the `bytes` bytes at `address` make up whole aligned words, as offsets.
fn aligned_part(address: *const u8, bytes: usize) -> Range<usize> {
    let start = address.addr().wrapping_neg() % WORD_BYTES;
    if start > bytes {
        return bytes..bytes;
    }
    start..bytes - (bytes - start) % WORD_BYTES
}
