//! Arithmetic of `.f32` in every rounding mode of PTX, and the canonical NaNs.
//!
//! Results are computed in `f64` to odd and rounded once more, which equals one exact rounding. Instructions on
//! `.f32` return the canonical NaN 0x7fffffff (PTX ISA, "Floating Point Instructions").

use super::rounding::{Exact, Format, Rounding, sum_to_odd, to_odd};

/// Bit pattern of the canonical `.f32` NaN.
pub const NAN_F32: u32 = 0x7fff_ffff;
/// Bit pattern of the `.f64` NaN that invalid operations produce.
pub const NAN_F64: u64 = 0xfff8_0000_0000_0000;

/// `x` with subnormals flushed to zero of the same sign, if `ftz`.
#[inline]
pub fn flush_f32(x: f32, ftz: bool) -> f32 {
    if ftz && x.is_subnormal() { 0f32.copysign(x) } else { x }
}

/// `.sat` on a `.f32` result: clamps to 0..=1, NaN to +0.
#[inline]
pub fn saturate_f32(x: f32) -> f32 {
    if x > 0.0 { x.min(1.0) } else { 0.0 }
}

/// `.sat` on a `.f64` result (`cvt.sat.f64`): clamps to 0..=1, NaN to +0.
#[inline]
pub fn saturate_f64(x: f64) -> f64 {
    if x > 0.0 { x.min(1.0) } else { 0.0 }
}

/// `x` rounded once to `.f32`; NaN becomes the canonical NaN, and `.ftz` flushes a subnormal result.
#[inline]
pub(super) fn narrow_f32(x: f64, rounding: Rounding, ftz: bool) -> f32 {
    let rounded = match rounding {
        Rounding::Rn => x as f32,
        _ if !x.is_finite() => x as f32,
        _ => f32::from_bits(Exact::from_f64(x).round(Format::F32, rounding) as u32),
    };
    finish_nearest(rounded, ftz)
}

/// Nearest result of an `.f32` operation with its modifiers applied.
#[inline]
fn finish_nearest(x: f32, ftz: bool) -> f32 {
    if x.is_nan() { f32::from_bits(NAN_F32) } else { flush_f32(x, ftz) }
}

/// `add{.rnd}{.ftz}.f32`.
#[inline]
pub fn add_f32(a: f32, b: f32, rounding: Rounding, ftz: bool) -> f32 {
    let (a, b) = (flush_f32(a, ftz), flush_f32(b, ftz));
    match rounding {
        Rounding::Rn => finish_nearest(a + b, ftz),
        _ => directed_sum_f32(f64::from(a), f64::from(b), rounding, ftz),
    }
}

/// `sub{.rnd}{.ftz}.f32`.
#[inline]
pub fn sub_f32(a: f32, b: f32, rounding: Rounding, ftz: bool) -> f32 {
    add_f32(a, -b, rounding, ftz)
}

/// `mul{.rnd}{.ftz}.f32`.
#[inline]
pub fn mul_f32(a: f32, b: f32, rounding: Rounding, ftz: bool) -> f32 {
    let (a, b) = (flush_f32(a, ftz), flush_f32(b, ftz));
    match rounding {
        Rounding::Rn => finish_nearest(a * b, ftz),
        // The product has 48 bits of significand: exact in f64.
        _ => narrow_f32(f64::from(a) * f64::from(b), rounding, ftz),
    }
}

/// `fma.rnd{.ftz}.f32`, and `mad.rnd{.ftz}.f32`, which is the same instruction from sm_20 on.
#[inline]
pub fn fma_f32(a: f32, b: f32, c: f32, rounding: Rounding, ftz: bool) -> f32 {
    let (a, b, c) = (flush_f32(a, ftz), flush_f32(b, ftz), flush_f32(c, ftz));
    // The product is exact in f64, which leaves one sum to round; this also spares hosts without a fused
    // multiply-add the slow emulation.
    directed_sum_f32(f64::from(a) * f64::from(b), f64::from(c), rounding, ftz)
}

/// `a + b` rounded once to `.f32`. Neither overflows `f64` when finite.
#[inline]
fn directed_sum_f32(a: f64, b: f64, rounding: Rounding, ftz: bool) -> f32 {
    let nearest = a + b;
    if nearest == 0.0 {
        // An exact zero: both addends are zero, or they cancel (IEEE 754-2019, 6.3).
        let negative = if a.is_sign_negative() == b.is_sign_negative() {
            a.is_sign_negative()
        } else {
            rounding == Rounding::Rm
        };
        return if negative { -0.0 } else { 0.0 };
    }
    let odd = if nearest.is_finite() { sum_to_odd(a, b) } else { nearest };
    narrow_f32(odd, rounding, ftz)
}

/// `div.rnd{.ftz}.f32`. A finite number divided by zero is infinity.
#[inline]
pub fn div_f32(a: f32, b: f32, rounding: Rounding, ftz: bool) -> f32 {
    let (a, b) = (flush_f32(a, ftz), flush_f32(b, ftz));
    if rounding == Rounding::Rn {
        return finish_nearest(a / b, ftz);
    }
    let (a, b) = (f64::from(a), f64::from(b));
    let quotient = a / b;
    if quotient == 0.0 || !quotient.is_finite() || !b.is_finite() {
        return narrow_f32(quotient, rounding, ftz);
    }
    // The remainder is exact in f64, and its sign against the divisor's is that of the quotient's error.
    let remainder = (-quotient).mul_add(b, a);
    narrow_f32(to_odd(quotient, if b < 0.0 { -remainder } else { remainder }), rounding, ftz)
}

/// `rcp.rnd{.ftz}.f32`.
#[inline]
pub fn rcp_f32(x: f32, rounding: Rounding, ftz: bool) -> f32 {
    div_f32(1.0, x, rounding, ftz)
}

/// `sqrt.rnd{.ftz}.f32`. Negative numbers give NaN, -0 gives -0.
#[inline]
pub fn sqrt_f32(x: f32, rounding: Rounding, ftz: bool) -> f32 {
    let x = flush_f32(x, ftz);
    if rounding == Rounding::Rn {
        return finish_nearest(x.sqrt(), ftz);
    }
    let x = f64::from(x);
    let root = x.sqrt();
    let odd = if root > 0.0 && root.is_finite() { to_odd(root, (-root).mul_add(root, x)) } else { root };
    narrow_f32(odd, rounding, ftz)
}

/// `abs{.ftz}.f32`. PTX leaves the NaN open: canonical, as on sm_90.
#[inline]
pub fn abs_f32(x: f32, ftz: bool) -> f32 {
    finish_nearest(x.abs(), ftz)
}

/// `neg{.ftz}.f32`. PTX leaves the NaN open: canonical, as on sm_90.
#[inline]
pub fn neg_f32(x: f32, ftz: bool) -> f32 {
    finish_nearest(-x, ftz)
}
