//! Arithmetic of the 16-bit floats `.f16` and `.bf16`, held as bit patterns, and of pairs packed in a `u32`.

use super::rounding::{Exact, Format, Rounding, sum_to_odd};

/// Pattern of the NaN that both 16-bit formats produce.
pub const HALF_NAN: u16 = 0x7fff;
const SIGN: u16 = 0x8000;

/// One of the two 16-bit floating-point formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HalfFormat {
    /// `.f16`: IEEE 754 binary16.
    F16,
    /// `.bf16`: the upper half of an `.f32`.
    Bf16,
}

/// Modifiers of an arithmetic instruction on 16-bit floats. All off is the plain instruction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct HalfModifiers {
    /// `.ftz`: flush subnormal inputs and results to zero of the same sign.
    pub ftz: bool,
    /// `.sat`: clamp the result to 0..=1, NaN to +0.
    pub sat: bool,
    /// `.relu`: clamp negative results to +0, NaN to the canonical NaN.
    pub relu: bool,
}

impl HalfFormat {
    #[inline]
    pub(super) const fn layout(self) -> Format {
        match self {
            Self::F16 => Format::F16,
            Self::Bf16 => Format::BF16,
        }
    }

    #[inline]
    const fn infinity(self) -> u16 {
        self.layout().infinity() as u16
    }

    #[inline]
    const fn one(self) -> u16 {
        match self {
            Self::F16 => 0x3c00,
            Self::Bf16 => 0x3f80,
        }
    }

    /// Whether `x` is a NaN.
    #[inline]
    pub const fn is_nan(self, x: u16) -> bool {
        x & !SIGN > self.infinity()
    }

    /// `x` with subnormals flushed to zero of the same sign, if `ftz`.
    #[inline]
    pub const fn flush(self, x: u16, ftz: bool) -> u16 {
        let smallest_normal = 1 << self.layout().fraction_bits;
        if ftz && x & !SIGN < smallest_normal { x & SIGN } else { x }
    }

    /// `cvt.f32.f16`, `cvt.f32.bf16`: exact.
    ///
    /// An `.f16` NaN becomes the canonical `.f32` NaN. PTX leaves the NaN of `cvt.f32.bf16` open: the payload
    /// is kept, as a shift does.
    #[inline]
    pub fn to_f32(self, x: u16) -> f32 {
        match self {
            Self::Bf16 => f32::from_bits(u32::from(x) << 16),
            Self::F16 => f16_to_f32(x),
        }
    }

    /// Value of `x`, exact. A NaN has no particular payload; `cvt` is [`half_to_f64`](super::convert::half_to_f64).
    #[inline]
    pub fn to_f64(self, x: u16) -> f64 {
        f64::from(self.to_f32(x))
    }

    /// `x` rounded once; NaN becomes the canonical NaN. `cvt` is [`f64_to_half`](super::convert::f64_to_half).
    #[inline]
    pub fn round_f64(self, x: f64, rounding: Rounding) -> u16 {
        if x.is_nan() {
            HALF_NAN
        } else if x.is_infinite() {
            self.infinity() | if x < 0.0 { SIGN } else { 0 }
        } else {
            Exact::from_f64(x).round(self.layout(), rounding) as u16
        }
    }

    /// `cvt.rnd.f16.f32`, `cvt.rnd.bf16.f32`: rounds once; NaN becomes the canonical NaN.
    #[inline]
    pub fn round_f32(self, x: f32, rounding: Rounding) -> u16 {
        match (self, rounding) {
            (Self::Bf16, Rounding::Rn) => bf16_from_f32_nearest(x),
            _ => self.round_f64(f64::from(x), rounding),
        }
    }

    /// `.sat` on a result: clamps to 0..=1, NaN to +0.
    #[inline]
    pub fn saturate(self, x: u16) -> u16 {
        if self.is_nan(x) || x & SIGN != 0 { 0 } else { x.min(self.one()) }
    }

    /// `.relu` on a result: negative values (and -0) to +0, NaN to the canonical NaN.
    #[inline]
    pub fn relu(self, x: u16) -> u16 {
        if self.is_nan(x) {
            HALF_NAN
        } else if x & SIGN != 0 {
            0
        } else {
            x
        }
    }

    /// `.satfinite` on a conversion from an exact source: an overflow to infinity becomes the largest finite
    /// value of the same sign; NaN stays.
    #[inline]
    pub fn saturate_finite(self, x: u16) -> u16 {
        if x & !SIGN == self.infinity() { x - 1 } else { x }
    }

    #[inline]
    fn finish(self, exact_or_odd: f64, modifiers: HalfModifiers) -> u16 {
        let x = self.flush(self.round_f64(exact_or_odd, Rounding::Rn), modifiers.ftz);
        if modifiers.sat {
            self.saturate(x)
        } else if modifiers.relu {
            self.relu(x)
        } else {
            x
        }
    }

    #[inline]
    fn operand(self, x: u16, modifiers: HalfModifiers) -> f64 {
        self.to_f64(self.flush(x, modifiers.ftz))
    }

    /// `add{.rn}{.ftz}{.sat}.f16`, `add{.rn}.bf16`.
    #[inline]
    pub fn add(self, a: u16, b: u16, modifiers: HalfModifiers) -> u16 {
        let (a, b) = (self.operand(a, modifiers), self.operand(b, modifiers));
        self.finish(finite_or_native(a + b, || sum_to_odd(a, b)), modifiers)
    }

    /// `sub{.rn}{.ftz}{.sat}.f16`, `sub{.rn}.bf16`.
    #[inline]
    pub fn sub(self, a: u16, b: u16, modifiers: HalfModifiers) -> u16 {
        self.add(a, b ^ SIGN, modifiers)
    }

    /// `mul{.rn}{.ftz}{.sat}.f16`, `mul{.rn}.bf16`.
    #[inline]
    pub fn mul(self, a: u16, b: u16, modifiers: HalfModifiers) -> u16 {
        // At most 22 bits of significand and no f64 underflow: the product is exact.
        self.finish(self.operand(a, modifiers) * self.operand(b, modifiers), modifiers)
    }

    /// `fma.rn{.ftz}{.sat|.relu}.f16`, `fma.rn{.relu}.bf16`: one rounding.
    #[inline]
    pub fn fma(self, a: u16, b: u16, c: u16, modifiers: HalfModifiers) -> u16 {
        let product = self.operand(a, modifiers) * self.operand(b, modifiers);
        let c = self.operand(c, modifiers);
        self.finish(finite_or_native(product + c, || sum_to_odd(product, c)), modifiers)
    }

    /// `neg{.ftz}.f16`, `neg.bf16`. PTX leaves the NaN open: canonical, as on sm_90.
    #[inline]
    pub fn neg(self, x: u16, ftz: bool) -> u16 {
        if self.is_nan(x) { HALF_NAN } else { self.flush(x, ftz) ^ SIGN }
    }

    /// `abs{.ftz}.f16`, `abs.bf16`. PTX leaves the NaN open: canonical, as on sm_90.
    #[inline]
    pub fn abs(self, x: u16, ftz: bool) -> u16 {
        if self.is_nan(x) { HALF_NAN } else { self.flush(x, ftz) & !SIGN }
    }
}

/// `nearest` when it is not finite (then it is exact), else the value of `exact`.
#[inline]
fn finite_or_native(nearest: f64, exact: impl FnOnce() -> f64) -> f64 {
    if nearest.is_finite() { exact() } else { nearest }
}

/// Applies `op` to both halves of a packed pair (`.f16x2`, `.bf16x2`); the low half is element 0.
#[inline]
pub fn map_pair(a: u32, op: impl Fn(u16) -> u16) -> u32 {
    pack_pair(op(a as u16), op((a >> 16) as u16))
}

/// Applies `op` to the halves of two packed pairs.
#[inline]
pub fn zip_pair(a: u32, b: u32, op: impl Fn(u16, u16) -> u16) -> u32 {
    pack_pair(op(a as u16, b as u16), op((a >> 16) as u16, (b >> 16) as u16))
}

/// Applies `op` to the halves of three packed pairs.
#[inline]
pub fn zip3_pair(a: u32, b: u32, c: u32, op: impl Fn(u16, u16, u16) -> u16) -> u32 {
    pack_pair(op(a as u16, b as u16, c as u16), op((a >> 16) as u16, (b >> 16) as u16, (c >> 16) as u16))
}

/// A packed pair from its elements. `cvt.f16x2.f32 d, a, b` puts `a` high and `b` low.
#[inline]
pub const fn pack_pair(low: u16, high: u16) -> u32 {
    low as u32 | (high as u32) << 16
}

#[inline]
fn f16_to_f32(x: u16) -> f32 {
    let sign = u32::from(x & SIGN) << 16;
    let magnitude = u32::from(x & !SIGN);
    if magnitude > 0x7c00 {
        return f32::from_bits(super::float::NAN_F32);
    }
    if magnitude == 0x7c00 {
        return f32::from_bits(sign | 0x7f80_0000);
    }
    // Fraction and exponent land in their f32 fields, short of the difference of the biases: 2^112 in value.
    // The product is exact, for subnormals too.
    let scale = f32::from_bits((112 + 127) << 23);
    f32::from_bits(sign | (f32::from_bits(magnitude << 13) * scale).to_bits())
}

#[inline]
fn bf16_from_f32_nearest(x: f32) -> u16 {
    if x.is_nan() {
        return HALF_NAN;
    }
    let bits = x.to_bits();
    // Adding just under half a unit, or half when the last kept bit is odd, carries exactly when nearest-even
    // rounds up; a carry into the exponent is the right result, overflow to infinity included.
    ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
}
