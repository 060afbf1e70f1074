//! `atom` and `red`.

use std::sync::atomic::{Ordering, fence};

use super::super::super::num::half::zip_pair;
use super::super::super::num::{HalfFormat, HalfModifiers, Rounding, double, float};
use super::super::fault::Trap;
use super::super::inst::Inst;
use super::super::lanes::{Bits, LANES, NO_ROW, read, write};
use super::super::machine::{Machine, POLL_COST};
use super::access::addresses;
use super::{Element, Memory};

/// What an atomic does to the old value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the operations of PTX `atom`")]
pub(in super::super) enum AtomicOp {
    Add,
    MinSigned,
    MaxSigned,
    MinUnsigned,
    MaxUnsigned,
    Increment,
    Decrement,
    And,
    Or,
    Xor,
    Exchange,
    CompareAndSwap,
    AddFloat,
    AddHalf,
    AddBf16,
    AddHalfPair,
    AddBf16Pair,
}

/// Widths that atomics work on.
pub(in super::super) trait Changed: Bits {
    /// The new value for `old`, given the operands.
    fn apply(op: AtomicOp, old: Self, b: Self, c: Self) -> Self;
}

impl Changed for u32 {
    #[allow(clippy::cast_possible_truncation, reason = "16-bit values lie in the low half")]
    fn apply(op: AtomicOp, old: Self, b: Self, c: Self) -> Self {
        let half = |format: HalfFormat| move |a, b| format.add(a, b, HalfModifiers::default());
        match op {
            AtomicOp::Add => old.wrapping_add(b),
            AtomicOp::MinSigned => old.cast_signed().min(b.cast_signed()).cast_unsigned(),
            AtomicOp::MaxSigned => old.cast_signed().max(b.cast_signed()).cast_unsigned(),
            AtomicOp::MinUnsigned => old.min(b),
            AtomicOp::MaxUnsigned => old.max(b),
            AtomicOp::Increment => {
                if old >= b {
                    0
                } else {
                    old + 1
                }
            }
            AtomicOp::Decrement => {
                if old == 0 || old > b {
                    b
                } else {
                    old - 1
                }
            }
            AtomicOp::And => old & b,
            AtomicOp::Or => old | b,
            AtomicOp::Xor => old ^ b,
            AtomicOp::Exchange => b,
            AtomicOp::CompareAndSwap => {
                if old == b {
                    c
                } else {
                    old
                }
            }
            AtomicOp::AddFloat => {
                // PTX: `atom.add.f32` on global memory flushes subnormals to zero.
                float::add_f32(f32::from_bits(old), f32::from_bits(b), Rounding::Rn, true).to_bits()
            }
            AtomicOp::AddHalf => half(HalfFormat::F16)(old as u16, b as u16).into(),
            AtomicOp::AddBf16 => half(HalfFormat::Bf16)(old as u16, b as u16).into(),
            AtomicOp::AddHalfPair => zip_pair(old, b, half(HalfFormat::F16)),
            AtomicOp::AddBf16Pair => zip_pair(old, b, half(HalfFormat::Bf16)),
        }
    }
}

impl Changed for u64 {
    fn apply(op: AtomicOp, old: Self, b: Self, c: Self) -> Self {
        match op {
            AtomicOp::Add => old.wrapping_add(b),
            AtomicOp::MinSigned => old.cast_signed().min(b.cast_signed()).cast_unsigned(),
            AtomicOp::MaxSigned => old.cast_signed().max(b.cast_signed()).cast_unsigned(),
            AtomicOp::MinUnsigned => old.min(b),
            AtomicOp::MaxUnsigned => old.max(b),
            AtomicOp::And => old & b,
            AtomicOp::Or => old | b,
            AtomicOp::Xor => old ^ b,
            AtomicOp::Exchange => b,
            AtomicOp::CompareAndSwap => {
                if old == b {
                    c
                } else {
                    old
                }
            }
            AtomicOp::AddFloat => {
                double::add_f64(f64::from_bits(old), f64::from_bits(b), Rounding::Rn).to_bits()
            }
            // The decoder accepts the others for 32 bits and less only.
            _ => old,
        }
    }
}

/// `atom` and `red`: operands in rows `b` and `c`, the old value to `dst` if there is one.
pub(in super::super) fn update<S: Memory, E>(
    machine: &mut Machine<'_>,
    inst: &Inst,
    mask: u32,
) -> Result<(), Trap>
where
    E: Element,
    E::Bits: Changed,
{
    let addresses = addresses(machine.frame(), inst, mask);
    let b = *read::<E::Bits>(machine.frame(), inst.b);
    let c = if inst.c == NO_ROW { b } else { *read::<E::Bits>(machine.frame(), inst.c) };
    let op = inst.mode.atomic;
    let mut out = [E::Bits::default(); LANES];
    machine.cost += POLL_COST;
    fence(Ordering::Release);
    S::update::<E>(
        machine,
        &addresses,
        mask,
        |lane, old| E::Bits::apply(op, old, b[lane], c[lane]),
        &mut out,
    )?;
    fence(Ordering::Acquire);
    if inst.dst != NO_ROW {
        write(machine.frame(), inst.dst, mask, &out);
    }
    Ok(())
}
