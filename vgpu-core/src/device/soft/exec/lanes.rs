//! Registers of a warp, and how one operation runs over its 32 lanes.
//!
//! A register is a row: the 32 values it has in the lanes, side by side, so that the loop over the lanes
//! becomes vector instructions. A row is written as a whole when every live lane is active, else blended.

use super::inst::Inst;

/// Lanes of a warp.
pub(super) const LANES: usize = 32;
/// Mask of all lanes.
pub(super) const FULL: u32 = u32::MAX;
/// A row number that stands for "no register".
pub(super) const NO_ROW: u32 = u32::MAX;

/// The registers of one call depth of a warp. Lanes at this depth may be in different functions, so the
/// rows are as many as the largest of them needs.
#[derive(Debug, Default)]
pub(super) struct Frame {
    /// Rows of 8-, 16- and 32-bit registers; narrow values have zeros above.
    pub(super) words: Vec<[u32; LANES]>,
    /// Rows of 64-bit registers.
    pub(super) longs: Vec<[u64; LANES]>,
    /// Predicates: one bit per lane.
    pub(super) predicates: Vec<u32>,
    /// Carry flag of each lane (`add.cc`).
    pub(super) carry: u32,
    /// Where each lane goes on after a return.
    pub(super) return_pc: [u32; LANES],
    /// Where the local variables of this call start in each lane's local memory, in bytes.
    pub(super) local_base: [u32; LANES],
}

/// How many rows of each kind a function needs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct FrameShape {
    pub(super) words: usize,
    pub(super) longs: usize,
    pub(super) predicates: usize,
}

impl Frame {
    /// Makes room for a function of `shape`.
    pub(super) fn fit(&mut self, shape: FrameShape) {
        if self.words.len() < shape.words {
            self.words.resize(shape.words, [0; LANES]);
        }
        if self.longs.len() < shape.longs {
            self.longs.resize(shape.longs, [0; LANES]);
        }
        if self.predicates.len() < shape.predicates {
            self.predicates.resize(shape.predicates, 0);
        }
    }

    /// Bytes by which [`Frame::fit`] would make it larger.
    pub(super) fn growth_bytes(&self, shape: FrameShape) -> u64 {
        let words = shape.words.saturating_sub(self.words.len()) as u64;
        let longs = shape.longs.saturating_sub(self.longs.len()) as u64;
        (4 * words + 8 * longs) * LANES as u64
    }

    /// Sets every register to zero, so that a block sees nothing of the one before it.
    pub(super) fn clear(&mut self) {
        self.words.fill([0; LANES]);
        self.longs.fill([0; LANES]);
        self.predicates.fill(0);
        self.carry = 0;
        self.local_base = [0; LANES];
    }

    /// Writes the bits of `value` that `mask` selects.
    pub(super) fn set_predicate(&mut self, row: u32, mask: u32, value: u32) {
        let bits = &mut self.predicates[row as usize];
        *bits = (*bits & !mask) | (value & mask);
    }
}

/// The content of a lane's register: 32 or 64 bits.
pub(super) trait Bits: Copy + Default + PartialEq {
    /// The rows of this width.
    fn rows(frame: &Frame) -> &[[Self; LANES]];
    /// The rows of this width.
    fn rows_mut(frame: &mut Frame) -> &mut [[Self; LANES]];
}

impl Bits for u32 {
    #[inline(always)]
    fn rows(frame: &Frame) -> &[[Self; LANES]] {
        &frame.words
    }
    #[inline(always)]
    fn rows_mut(frame: &mut Frame) -> &mut [[Self; LANES]] {
        &mut frame.words
    }
}

impl Bits for u64 {
    #[inline(always)]
    fn rows(frame: &Frame) -> &[[Self; LANES]] {
        &frame.longs
    }
    #[inline(always)]
    fn rows_mut(frame: &mut Frame) -> &mut [[Self; LANES]] {
        &mut frame.longs
    }
}

/// A Rust type as which a register can be read and written.
pub(super) trait Value: Copy {
    /// Width of the register.
    type Bits: Bits;
    /// The value that `bits` hold; higher bits than the type has are ignored.
    fn of(bits: Self::Bits) -> Self;
    /// The bits to store, with zeros above a narrow type.
    fn bits(self) -> Self::Bits;
}

macro_rules! value {
    ($($ty:ty: $bits:ty, $of:expr, $to:expr;)*) => {$(
        impl Value for $ty {
            type Bits = $bits;
            #[inline(always)]
            fn of(bits: $bits) -> Self {
                let of: fn($bits) -> $ty = $of;
                of(bits)
            }
            #[inline(always)]
            fn bits(self) -> $bits {
                let to: fn($ty) -> $bits = $to;
                to(self)
            }
        }
    )*};
}

value! {
    u16: u32, |b| b as u16, u32::from;
    i16: u32, |b| b as i16, |v| u32::from(v.cast_unsigned());
    u32: u32, |b| b, |v| v;
    i32: u32, u32::cast_signed, i32::cast_unsigned;
    f32: u32, f32::from_bits, f32::to_bits;
    u64: u64, |b| b, |v| v;
    i64: u64, u64::cast_signed, i64::cast_unsigned;
    f64: u64, f64::from_bits, f64::to_bits;
}

/// Bit of each lane. A table, because a shift by the lane number does not become vector code.
pub(super) const BIT: [u32; LANES] = {
    let mut bits = [0; LANES];
    let mut lane = 0;
    while lane < LANES {
        bits[lane] = 1 << lane;
        lane += 1;
    }
    bits
};

/// Writes the lanes of `out` that `mask` selects to row `row`.
#[inline(always)]
pub(super) fn write<B: Bits>(frame: &mut Frame, row: u32, mask: u32, out: &[B; LANES]) {
    let target = &mut B::rows_mut(frame)[row as usize];
    if mask == FULL {
        *target = *out;
        return;
    }
    for lane in 0..LANES {
        target[lane] = if mask & BIT[lane] != 0 { out[lane] } else { target[lane] };
    }
}

/// The row of register `row`.
#[inline(always)]
pub(super) fn read<B: Bits>(frame: &Frame, row: u32) -> &[B; LANES] {
    &B::rows(frame)[row as usize]
}

/// `dst = f(a)` in the lanes of `mask`.
#[inline(always)]
pub(super) fn map1<A: Value, R: Value>(frame: &mut Frame, inst: &Inst, mask: u32, f: impl Fn(A) -> R) {
    let a = read::<A::Bits>(frame, inst.a);
    let mut out = [R::Bits::default(); LANES];
    for lane in 0..LANES {
        out[lane] = f(A::of(a[lane])).bits();
    }
    write(frame, inst.dst, mask, &out);
}

/// `dst = f(a, b)` in the lanes of `mask`.
#[inline(always)]
pub(super) fn map2<A: Value, B: Value, R: Value>(
    frame: &mut Frame,
    inst: &Inst,
    mask: u32,
    f: impl Fn(A, B) -> R,
) {
    let a = read::<A::Bits>(frame, inst.a);
    let b = read::<B::Bits>(frame, inst.b);
    let mut out = [R::Bits::default(); LANES];
    for lane in 0..LANES {
        out[lane] = f(A::of(a[lane]), B::of(b[lane])).bits();
    }
    write(frame, inst.dst, mask, &out);
}

/// `dst = f(a, b, c)` in the lanes of `mask`.
#[inline(always)]
pub(super) fn map3<A: Value, B: Value, C: Value, R: Value>(
    frame: &mut Frame,
    inst: &Inst,
    mask: u32,
    f: impl Fn(A, B, C) -> R,
) {
    let a = read::<A::Bits>(frame, inst.a);
    let b = read::<B::Bits>(frame, inst.b);
    let c = read::<C::Bits>(frame, inst.c);
    let mut out = [R::Bits::default(); LANES];
    for lane in 0..LANES {
        out[lane] = f(A::of(a[lane]), B::of(b[lane]), C::of(c[lane])).bits();
    }
    write(frame, inst.dst, mask, &out);
}

/// The lanes for which `f(a, b)` holds.
#[inline(always)]
pub(super) fn test2<A: Value, B: Value>(frame: &Frame, inst: &Inst, f: impl Fn(A, B) -> bool) -> u32 {
    let a = read::<A::Bits>(frame, inst.a);
    let b = read::<B::Bits>(frame, inst.b);
    let mut holds = 0;
    for lane in 0..LANES {
        holds |= if f(A::of(a[lane]), B::of(b[lane])) { BIT[lane] } else { 0 };
    }
    holds
}

/// Iterates over the lanes of a mask, lowest first.
pub(super) fn lanes_of(mut mask: u32) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        if mask == 0 {
            return None;
        }
        let lane = mask.trailing_zeros() as usize;
        mask &= mask - 1;
        Some(lane)
    })
}
