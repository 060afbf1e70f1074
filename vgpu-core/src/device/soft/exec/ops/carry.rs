//! Arithmetic with the carry flag: `add.cc`, `addc`, `sub.cc`, `subc`, `mad.cc`, `madc`.

use super::super::super::num::{IntegerType, integer};
use super::super::super::ptx::Type;
use super::super::inst::{Alu, Inst, Mode};
use super::super::lanes::{BIT, Bits, Frame, LANES, read, write};
use super::super::opcode::Opcode;
use super::{Form, signedness};

/// Bits of [`Mode::selector`].
const READS: u8 = 1;
const WRITES: u8 = 2;
const SUBTRACTS: u8 = 4;
const HIGH: u8 = 8;

pub(super) fn select(opcode: &Opcode<'_>) -> Option<Form> {
    let ty = opcode.ty()?;
    let mut selector = 0;
    if opcode.flag("cc") {
        selector |= WRITES;
    }
    let (subtract, reads, multiply) = match opcode.name {
        "add" => (false, false, false),
        "addc" => (false, true, false),
        "sub" => (true, false, false),
        "subc" => (true, true, false),
        "mad" => (false, false, true),
        "madc" => (false, true, true),
        _ => return None,
    };
    if subtract {
        selector |= SUBTRACTS;
    }
    if reads {
        selector |= READS;
    }
    if multiply && opcode.one_of(&[("hi", true), ("lo", false)])? {
        selector |= HIGH;
    }
    let mode = Mode { selector, from: signedness(ty)?, ..Mode::default() };
    let run: Alu = match (ty.bits(), multiply) {
        (32, false) => sum::<u32>,
        (64, false) => sum::<u64>,
        (32, true) => product::<u32>,
        (64, true) => product::<u64>,
        _ => return None,
    };
    let sources: &[Type] = if multiply { &[ty; 3] } else { &[ty; 2] };
    Some(Form::new(run, ty, sources).with(mode))
}

/// A width that the carry flag works with.
trait Carried: Bits {
    fn add(self, other: Self, carry: bool) -> (Self, bool);
    fn subtract(self, other: Self, borrow: bool) -> (Self, bool);
    fn multiply(self, other: Self, ty: IntegerType, high: bool) -> Self;
}

impl Carried for u32 {
    fn add(self, other: Self, carry: bool) -> (Self, bool) {
        integer::add_carry_32(self, other, carry)
    }
    fn subtract(self, other: Self, borrow: bool) -> (Self, bool) {
        integer::sub_borrow_32(self, other, borrow)
    }
    #[allow(clippy::cast_possible_truncation, reason = "results of a 32-bit type fit 32 bits")]
    fn multiply(self, other: Self, ty: IntegerType, high: bool) -> Self {
        if !high {
            return self.wrapping_mul(other);
        }
        integer::mul_hi(ty, ty.extend(u64::from(self)), ty.extend(u64::from(other))) as Self
    }
}

impl Carried for u64 {
    fn add(self, other: Self, carry: bool) -> (Self, bool) {
        integer::add_carry_64(self, other, carry)
    }
    fn subtract(self, other: Self, borrow: bool) -> (Self, bool) {
        integer::sub_borrow_64(self, other, borrow)
    }
    fn multiply(self, other: Self, ty: IntegerType, high: bool) -> Self {
        if high { integer::mul_hi(ty, self, other) } else { self.wrapping_mul(other) }
    }
}

fn sum<T: Carried>(frame: &mut Frame, inst: &Inst, mask: u32) {
    let (a, b) = (*read::<T>(frame, inst.a), *read::<T>(frame, inst.b));
    combine(frame, inst, mask, &a, &b);
}

fn product<T: Carried>(frame: &mut Frame, inst: &Inst, mask: u32) {
    let (a, b) = (read::<T>(frame, inst.a), read::<T>(frame, inst.b));
    let high = inst.mode.selector & HIGH != 0;
    let products = std::array::from_fn(|lane| a[lane].multiply(b[lane], inst.mode.from, high));
    let c = *read::<T>(frame, inst.c);
    combine(frame, inst, mask, &products, &c);
}

fn combine<T: Carried>(frame: &mut Frame, inst: &Inst, mask: u32, a: &[T; LANES], b: &[T; LANES]) {
    let selector = inst.mode.selector;
    let before = if selector & READS != 0 { frame.carry } else { 0 };
    let (mut out, mut after) = ([T::default(); LANES], 0);
    for lane in 0..LANES {
        let flag = before & BIT[lane] != 0;
        let (value, carry) = if selector & SUBTRACTS != 0 {
            a[lane].subtract(b[lane], flag)
        } else {
            a[lane].add(b[lane], flag)
        };
        out[lane] = value;
        after |= if carry { BIT[lane] } else { 0 };
    }
    write(frame, inst.dst, mask, &out);
    if selector & WRITES != 0 {
        frame.carry = (frame.carry & !mask) | (after & mask);
    }
}
