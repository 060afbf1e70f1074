//! Each copy against the same operation on a vector, at all alignments and around every threshold.

use proptest::prelude::*;

use super::*;

const LENGTHS: [usize; 12] = [0, 1, 7, 8, 9, 255, 256, 257, 4095, 4096, 4097, 9000];
const ROOM: usize = 9000 + 32;

fn numbered(first: usize) -> Vec<u8> {
    (first..first + ROOM).map(|at| (at % 251) as u8).collect()
}

#[test]
fn reads_and_writes_move_the_bytes_and_no_others() {
    for length in LENGTHS {
        for offset in 0..9 {
            let source = numbered(1);
            let mut out = vec![0; length];
            // SAFETY: `offset + length <= ROOM`, and nobody else has these vectors.
            unsafe { read(source.as_ptr().wrapping_add(offset), &mut out) };
            assert_eq!(out, source[offset..][..length], "read {length} at {offset}");

            let mut target = numbered(100);
            let mut expected = target.clone();
            expected[offset..][..length].copy_from_slice(&out);
            // SAFETY: `offset + length <= ROOM`, and nobody else has these vectors.
            unsafe { write(target.as_mut_ptr().wrapping_add(offset), &out) };
            assert_eq!(target, expected, "write {length} at {offset}");
        }
    }
}

#[test]
fn fills_keep_the_phase_of_the_pattern() {
    let pattern = [1, 2, 3, 4, 5, 6, 7, 8];
    for length in LENGTHS {
        for offset in 0..9 {
            let mut target = numbered(100);
            let mut expected = target.clone();
            for (at, byte) in expected[offset..][..length].iter_mut().enumerate() {
                *byte = pattern[at % 8];
            }
            // SAFETY: `offset + length <= ROOM`, and nobody else has the vector.
            unsafe { fill(target.as_mut_ptr().wrapping_add(offset), pattern, length) };
            assert_eq!(target, expected, "fill {length} at {offset}");
        }
    }
}

proptest! {
    #[test]
    fn copies_inside_one_buffer_are_memmoves(from in 0_usize..4500, to in 0_usize..4500, length in 0_usize..4500) {
        let mut buffer = numbered(1);
        let mut expected = buffer.clone();
        expected.copy_within(from..from + length, to);
        let start = buffer.as_mut_ptr();
        // SAFETY: both ranges end before 9,000, and nobody else has the vector.
        unsafe { copy(start.wrapping_add(from), start.wrapping_add(to), length) };
        prop_assert_eq!(buffer, expected);
    }

    #[test]
    fn copies_that_overlap_closely_are_memmoves(from in 0_usize..300, shift in 0_usize..600, length in 0_usize..600) {
        let mut buffer = numbered(1);
        let mut expected = buffer.clone();
        let to = from.saturating_add(shift).saturating_sub(300);
        expected.copy_within(from..from + length, to);
        let start = buffer.as_mut_ptr();
        // SAFETY: both ranges end before 1,200, and nobody else has the vector.
        unsafe { copy(start.wrapping_add(from), start.wrapping_add(to), length) };
        prop_assert_eq!(buffer, expected);
    }
}
