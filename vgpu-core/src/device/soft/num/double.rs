//! Arithmetic of `.f64` in every rounding mode of PTX.
//!
//! `.rn` is the host's own arithmetic; other modes are computed exactly in 128-bit integers and rounded once.
//! PTX says of NaN results only that they are NaN. Here, as measured on sm_90, a NaN operand is passed on
//! quieted (`b` before `c` before `a`, but a dividend first), and an invalid operation gives [`NAN_F64`].

use super::float::NAN_F64;
use super::rounding::{Exact, Format, Rounding};

/// A finite number `(-1)^negative * significand * 2^exponent` with room for an exact product.
#[derive(Clone, Copy)]
struct Wide {
    negative: bool,
    significand: u128,
    exponent: i32,
}

impl Wide {
    #[inline]
    fn from_f64(x: f64) -> Self {
        let Exact { negative, significand, exponent, .. } = Exact::from_f64(x);
        Self { negative, significand: u128::from(significand), exponent }
    }

    #[inline]
    fn product(a: f64, b: f64) -> Self {
        let (a, b) = (Self::from_f64(a), Self::from_f64(b));
        Self {
            negative: a.negative != b.negative,
            significand: a.significand * b.significand,
            exponent: a.exponent + b.exponent,
        }
    }

    /// The same nonzero number with its leading bit at bit 125, which leaves room for a carry. Significands
    /// have at most 106 bits, so nothing is lost.
    #[inline]
    fn align(self) -> Self {
        let shift = self.significand.leading_zeros().saturating_sub(2);
        Self { significand: self.significand << shift, exponent: self.exponent - shift as i32, ..self }
    }

    #[inline]
    fn round(self, rounding: Rounding) -> f64 {
        let zeros = self.significand.leading_zeros();
        let significand = self.significand.checked_shl(zeros).unwrap_or(0);
        let exact = Exact {
            negative: self.negative,
            significand: (significand >> 64) as u64,
            exponent: self.exponent - zeros as i32 + 64,
            sticky: significand as u64 != 0,
        };
        f64::from_bits(exact.round(Format::F64, rounding))
    }

    #[inline]
    fn add(self, other: Self, rounding: Rounding) -> f64 {
        if self.significand == 0 && other.significand == 0 {
            return signed_zero(self.negative, other.negative, rounding);
        }
        if self.significand == 0 {
            return other.round(rounding);
        }
        if other.significand == 0 {
            return self.round(rounding);
        }
        let (a, b) = (self.align(), other.align());
        let a_is_larger = (a.exponent, a.significand) >= (b.exponent, b.significand);
        let (large, small) = if a_is_larger { (a, b) } else { (b, a) };
        let shift = (large.exponent - small.exponent) as u32;
        // Lost bits are jammed into the last one. They exist only when the exponents differ by more than 19:
        // then a difference loses at most one leading bit, and the last bit stays far below the rounding.
        let shifted = small.significand.checked_shr(shift).unwrap_or(0);
        let lost = shifted.checked_shl(shift).unwrap_or(0) != small.significand;
        let jammed = shifted | u128::from(lost);
        let significand = if large.negative == small.negative {
            large.significand + jammed
        } else {
            large.significand - jammed
        };
        if significand == 0 {
            return signed_zero(large.negative, small.negative, rounding);
        }
        Self { significand, ..large }.round(rounding)
    }
}

/// Zero as the exact sum of two addends of these signs (IEEE 754-2019, 6.3).
#[inline]
fn signed_zero(a_negative: bool, b_negative: bool, rounding: Rounding) -> f64 {
    let negative = if a_negative == b_negative { a_negative } else { rounding == Rounding::Rm };
    if negative { -0.0 } else { 0.0 }
}

/// A NaN with its quiet bit set, payload kept.
#[inline]
pub(super) fn quiet(nan: f64) -> f64 {
    f64::from_bits(nan.to_bits() | 1 << 51)
}

/// `result` of the host's arithmetic, its NaN replaced by the one this module promises.
#[inline]
pub(super) fn settle_nan(result: f64, operands: &[f64]) -> f64 {
    if !result.is_nan() {
        return result;
    }
    operands.iter().copied().find(|x| x.is_nan()).map_or(f64::from_bits(NAN_F64), quiet)
}

/// `add{.rnd}.f64`.
#[inline]
pub fn add_f64(a: f64, b: f64, rounding: Rounding) -> f64 {
    if rounding == Rounding::Rn || !a.is_finite() || !b.is_finite() {
        settle_nan(a + b, &[b, a])
    } else {
        Wide::from_f64(a).add(Wide::from_f64(b), rounding)
    }
}

/// `sub{.rnd}.f64`.
#[inline]
pub fn sub_f64(a: f64, b: f64, rounding: Rounding) -> f64 {
    if rounding == Rounding::Rn || !a.is_finite() || !b.is_finite() {
        settle_nan(a - b, &[b, a])
    } else {
        Wide::from_f64(a).add(Wide::from_f64(-b), rounding)
    }
}

/// `mul{.rnd}.f64`.
#[inline]
pub fn mul_f64(a: f64, b: f64, rounding: Rounding) -> f64 {
    if rounding == Rounding::Rn || !a.is_finite() || !b.is_finite() {
        settle_nan(a * b, &[b, a])
    } else {
        Wide::product(a, b).round(rounding)
    }
}

/// `fma.rnd.f64`, and `mad.rnd.f64`, which is the same instruction.
#[inline]
pub fn fma_f64(a: f64, b: f64, c: f64, rounding: Rounding) -> f64 {
    if rounding == Rounding::Rn || !a.is_finite() || !b.is_finite() || !c.is_finite() {
        settle_nan(a.mul_add(b, c), &[b, c, a])
    } else {
        Wide::product(a, b).add(Wide::from_f64(c), rounding)
    }
}

/// `div.rnd.f64`. A finite number divided by zero is infinity.
#[inline]
pub fn div_f64(a: f64, b: f64, rounding: Rounding) -> f64 {
    let is_plain = a.is_finite() && b.is_finite() && a != 0.0 && b != 0.0;
    if rounding == Rounding::Rn || !is_plain {
        return settle_nan(a / b, &[a, b]);
    }
    let (a, b) = (Exact::from_f64(a), Exact::from_f64(b));
    let (a_zeros, b_zeros) = (a.significand.leading_zeros(), b.significand.leading_zeros());
    // Both leading bits at bit 63: the quotient then has 63 or 64 bits, more than the 55 that rounding needs.
    let dividend = u128::from(a.significand << a_zeros) << 63;
    let divisor = u128::from(b.significand << b_zeros);
    let exact = Exact {
        negative: a.negative != b.negative,
        significand: (dividend / divisor) as u64,
        exponent: (a.exponent - a_zeros as i32) - (b.exponent - b_zeros as i32) - 63,
        sticky: dividend % divisor != 0,
    };
    f64::from_bits(exact.round(Format::F64, rounding))
}

/// `rcp.rnd.f64`.
#[inline]
pub fn rcp_f64(x: f64, rounding: Rounding) -> f64 {
    div_f64(1.0, x, rounding)
}

/// `sqrt.rnd.f64`. Negative numbers give NaN, -0 gives -0.
#[inline]
pub fn sqrt_f64(x: f64, rounding: Rounding) -> f64 {
    if rounding == Rounding::Rn || !x.is_finite() || x <= 0.0 {
        return settle_nan(x.sqrt(), &[x]);
    }
    let x = Exact::from_f64(x);
    let zeros = x.significand.leading_zeros();
    let exponent = x.exponent - zeros as i32;
    // The radicand's exponent must be even; its 126 or 127 bits give a root of 63 or 64.
    let shift = 62 + (exponent & 1);
    let radicand = u128::from(x.significand << zeros) << shift;
    let root = radicand.isqrt();
    let exact = Exact {
        negative: false,
        significand: root as u64,
        exponent: (exponent - shift) / 2,
        sticky: root * root != radicand,
    };
    f64::from_bits(exact.round(Format::F64, rounding))
}

/// `abs.f64`. A NaN keeps its payload (PTX leaves it open).
#[inline]
pub fn abs_f64(x: f64) -> f64 {
    x.abs()
}

/// `neg.f64`. A NaN keeps its payload (PTX leaves it open).
#[inline]
pub fn neg_f64(x: f64) -> f64 {
    -x
}
