//! The approximate functions: `.approx` and `.full` forms.
//!
//! Results come from `f64` rounded to nearest, hence well within the error bounds of the PTX ISA; they are not
//! the bits of any particular GPU. Special cases follow the tables of the PTX ISA, which the `f64` functions
//! of the host share unless a comment says otherwise.

use super::double::settle_nan;
use super::float::{flush_f32, narrow_f32};
use super::half::HalfFormat;
use super::rounding::Rounding;

#[inline]
fn through_f64(x: f32, ftz: bool, function: impl Fn(f64) -> f64) -> f32 {
    narrow_f32(function(f64::from(flush_f32(x, ftz))), Rounding::Rn, ftz)
}

/// `sin.approx{.ftz}.f32`, in radians (bound: 2^-20.5 within ±2π). Infinities give NaN.
#[inline]
pub fn sin_approx(x: f32, ftz: bool) -> f32 {
    through_f64(x, ftz, f64::sin)
}

/// `cos.approx{.ftz}.f32`, in radians (bound: 2^-20.5 within ±2π). Infinities give NaN.
#[inline]
pub fn cos_approx(x: f32, ftz: bool) -> f32 {
    through_f64(x, ftz, f64::cos)
}

/// `lg2.approx{.ftz}.f32` (bound: 2^-22). Zeros give -infinity, negative numbers NaN.
#[inline]
pub fn lg2_approx(x: f32, ftz: bool) -> f32 {
    through_f64(x, ftz, f64::log2)
}

/// `ex2.approx{.ftz}.f32` (bound: 2 ulp).
#[inline]
pub fn ex2_approx(x: f32, ftz: bool) -> f32 {
    through_f64(x, ftz, f64::exp2)
}

/// `tanh.approx.f32` (bound: 2^-11 relative). Subnormals pass through.
#[inline]
pub fn tanh_approx(x: f32) -> f32 {
    through_f64(x, false, f64::tanh)
}

/// `rcp.approx{.ftz}.f32` (bound: 1 ulp). Zeros give infinity of their sign.
#[inline]
pub fn rcp_approx(x: f32, ftz: bool) -> f32 {
    through_f64(x, ftz, f64::recip)
}

/// `sqrt.approx{.ftz}.f32` (bound: 2^-23 relative). -0 gives -0, negative numbers NaN.
#[inline]
pub fn sqrt_approx(x: f32, ftz: bool) -> f32 {
    through_f64(x, ftz, f64::sqrt)
}

/// `rsqrt.approx{.ftz}.f32` (bound: 2^-22.9 relative). Zeros give infinity of their sign, negative numbers NaN.
#[inline]
pub fn rsqrt_approx(x: f32, ftz: bool) -> f32 {
    // The root of -0 is -0, so the reciprocal has the sign that the table asks for.
    through_f64(x, ftz, |x| x.sqrt().recip())
}

/// `div.approx{.ftz}.f32` (bound: 2 ulp for a divisor of magnitude 2^-126..=2^126).
///
/// For a larger finite divisor the hardware's reciprocal underflows to zero, and PTX asks for what follows:
/// a zero of the quotient's sign, or NaN if `a` is infinite.
#[inline]
pub fn div_approx(a: f32, b: f32, ftz: bool) -> f32 {
    /// 2^126
    const DIVISOR_MAX: f32 = f32::from_bits((126 + 127) << 23);
    if b.is_finite() && b.abs() > DIVISOR_MAX {
        let zero = f64::from(0f32.copysign(b));
        return narrow_f32(f64::from(flush_f32(a, ftz)) * zero, Rounding::Rn, ftz);
    }
    div_full(a, b, ftz)
}

/// `div.full{.ftz}.f32` (bound: 2 ulp over the whole range).
#[inline]
pub fn div_full(a: f32, b: f32, ftz: bool) -> f32 {
    super::float::div_f32(a, b, Rounding::Rn, ftz)
}

/// Canonical NaN of the `.approx.ftz.f64` instructions.
const NAN_UPPER_F64: u64 = 0x7fff_ffff_0000_0000;
const UPPER: u64 = 0xffff_ffff_0000_0000;

#[inline]
fn through_upper_half(x: f64, function: impl Fn(f64) -> f64) -> f64 {
    let flush = |x: f64| if x.is_subnormal() { 0f64.copysign(x) } else { x };
    let upper = f64::from_bits(x.to_bits() & UPPER);
    let result = flush(function(flush(upper)));
    if result.is_nan() {
        return f64::from_bits(NAN_UPPER_F64);
    }
    // Nearest value with 20 fraction bits; a carry into the exponent is right, and infinity has no low bits.
    f64::from_bits((result.to_bits() + (1 << 31)) & UPPER)
}

/// `rcp.approx.ftz.f64`: reads and writes the upper 32 bits only, the lower ones are zero.
#[inline]
pub fn rcp_approx_f64(x: f64) -> f64 {
    through_upper_half(x, f64::recip)
}

/// `rsqrt.approx.ftz.f64`: reads and writes the upper 32 bits only, the lower ones are zero.
#[inline]
pub fn rsqrt_approx_ftz_f64(x: f64) -> f64 {
    through_upper_half(x, |x| x.sqrt().recip())
}

/// `rsqrt.approx.f64`: full precision, subnormals supported.
#[inline]
pub fn rsqrt_approx_f64(x: f64) -> f64 {
    settle_nan(x.sqrt().recip(), &[x])
}

/// `ex2.approx.f16`, `ex2.approx.ftz.bf16` (bounds: 2^-9.9 and 2^-7 relative).
#[inline]
pub fn ex2_approx_half(x: u16, format: HalfFormat, ftz: bool) -> u16 {
    let result = format.round_f64(format.to_f64(format.flush(x, ftz)).exp2(), Rounding::Rn);
    format.flush(result, ftz)
}

/// `tanh.approx.{f16,bf16}` (bounds: 2^-10.987 absolute and 2^-8 relative). Subnormals are supported.
#[inline]
pub fn tanh_approx_half(x: u16, format: HalfFormat) -> u16 {
    format.round_f64(format.to_f64(x).tanh(), Rounding::Rn)
}
