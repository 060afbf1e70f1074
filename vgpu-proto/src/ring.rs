//! Index arithmetic of the command ring: one producer (the guest, under a lock), one consumer (the worker).
//!
//! Head and tail count bytes since the session began and never wrap in practice (2^64 bytes); the place in the ring is
//! the count modulo [`RING_BYTES`]. Each end keeps its own index in private memory and reads only the other's.

use crate::frame::HEADER_BYTES;
use crate::limits::{FRAME_ALIGN_BYTES, RING_BYTES};
use crate::violation::Violation;

const _: () = assert!(RING_BYTES.is_power_of_two());

/// Where a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a value of the protocol")]
pub struct Slot {
    /// Bytes of the padding frame that must be written at the old tail first; 0 where none is needed.
    pub padding_bytes: u32,
    /// Offset of the frame in the ring.
    pub offset: u64,
    /// The tail once the frame is written.
    pub tail: u64,
}

/// The place for a frame of `length_bytes`, or `None` while the consumer has not made room.
///
/// `tail` is the producer's own index, `head` what it last read of the consumer's. A head that is ahead of the tail or
/// further behind than the ring counts as a full ring: a broken host must not make a guest write out of place.
pub const fn place(tail: u64, head: u64, length_bytes: u32) -> Option<Slot> {
    let used = tail.wrapping_sub(head);
    if used > RING_BYTES {
        return None;
    }
    let at = tail % RING_BYTES;
    let left = RING_BYTES - at;
    let padding = if (length_bytes as u64) > left { left } else { 0 };
    if used + padding + length_bytes as u64 > RING_BYTES {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "less than a frame, which is less than 2^32")]
    let padding_bytes = padding as u32;
    let start = tail + padding;
    Some(Slot { padding_bytes, offset: start % RING_BYTES, tail: start + length_bytes as u64 })
}

/// Checks the tail that a guest published against the consumer's own head; returns the bytes to read.
///
/// # Errors
/// [`Violation::RingIndex`] when the tail is behind the head, further ahead than the ring, or not aligned.
pub const fn published(head: u64, tail: u64) -> Result<u64, Violation> {
    let bytes = tail.wrapping_sub(head);
    if bytes > RING_BYTES || !tail.is_multiple_of(FRAME_ALIGN_BYTES as u64) {
        return Err(Violation::RingIndex);
    }
    Ok(bytes)
}

/// Checks that a frame of `length_bytes` at the consumer's head lies within the `published` bytes and does not cross
/// the end of the ring.
///
/// # Errors
/// [`Violation::FrameLength`] or [`Violation::FrameWraps`].
pub const fn contains(head: u64, published: u64, length_bytes: u32) -> Result<(), Violation> {
    if length_bytes < HEADER_BYTES || length_bytes as u64 > published {
        return Err(Violation::FrameLength);
    }
    if head % RING_BYTES + length_bytes as u64 > RING_BYTES {
        return Err(Violation::FrameWraps);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn indices_off_their_range_are_refused() {
        assert_eq!(published(64, 32), Err(Violation::RingIndex));
        assert_eq!(published(0, RING_BYTES + 32), Err(Violation::RingIndex));
        assert_eq!(published(0, 33), Err(Violation::RingIndex));
        assert_eq!(published(32, 96), Ok(64));
        assert_eq!(contains(0, 64, 96), Err(Violation::FrameLength));
        assert_eq!(contains(RING_BYTES - 32, 64, 64), Err(Violation::FrameWraps));
    }

    #[test]
    fn a_head_from_a_broken_host_reads_as_full() {
        assert_eq!(place(64, 128, 32), None);
        assert_eq!(place(RING_BYTES * 3, 0, 32), None);
    }

    proptest! {
        #[test]
        fn frames_never_overlap_nor_wrap(lengths in proptest::collection::vec(1u32..1_152, 1..400), drain in 0u64..20) {
            let (mut tail, mut head) = (0u64, 0u64);
            for (at, units) in lengths.iter().enumerate() {
                let bytes = units * FRAME_ALIGN_BYTES;
                let Some(slot) = place(tail, head, bytes) else {
                    head = tail;
                    continue;
                };
                prop_assert!(slot.offset + u64::from(bytes) <= RING_BYTES);
                prop_assert!(slot.tail - head <= RING_BYTES);
                prop_assert_eq!(slot.tail, tail + u64::from(slot.padding_bytes) + u64::from(bytes));
                prop_assert_eq!(published(head, slot.tail), Ok(slot.tail - head));
                tail = slot.tail;
                if drain != 0 && (at as u64).is_multiple_of(drain) { head = tail; }
            }
        }
    }
}
