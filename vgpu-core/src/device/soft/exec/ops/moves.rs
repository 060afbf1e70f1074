//! Copies between registers, packing and unpacking, and changes of width.

use super::super::inst::Inst;
use super::super::lanes::{Frame, LANES, map1, map2, write};

pub(in super::super) fn copy_word(frame: &mut Frame, inst: &Inst, mask: u32) {
    map1(frame, inst, mask, |a: u32| a);
}

pub(in super::super) fn copy_long(frame: &mut Frame, inst: &Inst, mask: u32) {
    map1(frame, inst, mask, |a: u64| a);
}

pub(in super::super) fn copy_predicate(frame: &mut Frame, inst: &Inst, mask: u32) {
    frame.set_predicate(inst.dst, mask, frame.predicates[inst.a as usize]);
}

pub(in super::super) fn not_predicate(frame: &mut Frame, inst: &Inst, mask: u32) {
    frame.set_predicate(inst.dst, mask, !frame.predicates[inst.a as usize]);
}

/// Word to long, with zeros.
pub(in super::super) fn zero_extend_word(frame: &mut Frame, inst: &Inst, mask: u32) {
    map1(frame, inst, mask, |a: u32| u64::from(a));
}

/// Word to long, with the sign.
pub(in super::super) fn extend_word(frame: &mut Frame, inst: &Inst, mask: u32) {
    map1(frame, inst, mask, |a: i32| i64::from(a));
}

/// The low byte of a word with its sign, to 32 bits.
pub(in super::super) fn sign_extend_8(frame: &mut Frame, inst: &Inst, mask: u32) {
    map1(frame, inst, mask, |a: u32| i32::from(a as i8));
}

/// The low half of a word with its sign, to 32 bits.
pub(in super::super) fn sign_extend_16(frame: &mut Frame, inst: &Inst, mask: u32) {
    map1(frame, inst, mask, |a: i16| i32::from(a));
}

/// The low half of a word.
pub(in super::super) fn truncate_16(frame: &mut Frame, inst: &Inst, mask: u32) {
    map1(frame, inst, mask, |a: u16| a);
}

/// Low word of a long.
#[allow(clippy::cast_possible_truncation, reason = "the low word is what is asked for")]
pub(in super::super) fn split_low(frame: &mut Frame, inst: &Inst, mask: u32) {
    map1(frame, inst, mask, |a: u64| a as u32);
}

/// High word of a long.
pub(in super::super) fn split_high(frame: &mut Frame, inst: &Inst, mask: u32) {
    map1(frame, inst, mask, |a: u64| (a >> 32) as u32);
}

/// A long from its low word `a` and its high word `b`.
pub(in super::super) fn join_words(frame: &mut Frame, inst: &Inst, mask: u32) {
    map2(frame, inst, mask, |a: u32, b: u32| u64::from(a) | u64::from(b) << 32);
}

/// Low half of a word.
pub(in super::super) fn unpack_low(frame: &mut Frame, inst: &Inst, mask: u32) {
    map1(frame, inst, mask, |a: u32| a & 0xffff);
}

/// High half of a word.
pub(in super::super) fn unpack_high(frame: &mut Frame, inst: &Inst, mask: u32) {
    map1(frame, inst, mask, |a: u32| a >> 16);
}

/// A word from its low half `a` and its high half `b`.
pub(in super::super) fn pack_halves(frame: &mut Frame, inst: &Inst, mask: u32) {
    map2(frame, inst, mask, |a: u32, b: u32| (a & 0xffff) | b << 16);
}

/// Address of a local variable: a long row, or a word row if [`Inst::mode`] says `min`.
#[allow(clippy::cast_possible_truncation, reason = "offsets in a frame are below 2^32")]
pub(in super::super) fn local_address(frame: &mut Frame, inst: &Inst, mask: u32) {
    let base = frame.local_base;
    if inst.mode.min {
        let out: [u32; LANES] = std::array::from_fn(|lane| base[lane].wrapping_add(inst.imm as u32));
        write(frame, inst.dst, mask, &out);
    } else {
        let out: [u64; LANES] = std::array::from_fn(|lane| u64::from(base[lane]).wrapping_add(inst.imm));
        write(frame, inst.dst, mask, &out);
    }
}
