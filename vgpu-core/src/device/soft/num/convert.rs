//! The `cvt` instruction: between integers, between floats, and across.
//!
//! Integers travel as `u64`, sign- or zero-extended from their width by their type, as PTX extends a result in
//! a wider register.

use super::double::quiet;
use super::float::{NAN_F32, flush_f32, narrow_f32};
use super::half::{HALF_NAN, HalfFormat};
use super::rounding::{Exact, Format, IntegerRounding, Rounding};

/// An integer type of PTX.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IntegerType {
    /// `.u8`
    U8,
    /// `.u16`
    U16,
    /// `.u32`
    U32,
    /// `.u64`
    U64,
    /// `.s8`
    S8,
    /// `.s16`
    S16,
    /// `.s32`
    S32,
    /// `.s64`
    S64,
}

impl IntegerType {
    /// Width in bits.
    #[inline]
    pub const fn bits(self) -> u32 {
        match self {
            Self::U8 | Self::S8 => 8,
            Self::U16 | Self::S16 => 16,
            Self::U32 | Self::S32 => 32,
            Self::U64 | Self::S64 => 64,
        }
    }

    /// Whether the type has negative values.
    #[inline]
    pub const fn is_signed(self) -> bool {
        matches!(self, Self::S8 | Self::S16 | Self::S32 | Self::S64)
    }

    /// Smallest value.
    #[inline]
    pub const fn min(self) -> i128 {
        if self.is_signed() { -(1 << (self.bits() - 1)) } else { 0 }
    }

    /// Largest value.
    #[inline]
    pub const fn max(self) -> i128 {
        (1 << (self.bits() - self.is_signed() as u32)) - 1
    }

    /// The low bits of `value` as this type, extended to 64 bits by its sign.
    #[inline]
    pub const fn extend(self, value: u64) -> u64 {
        let unused = 64 - self.bits();
        if self.is_signed() { ((value << unused) as i64 >> unused) as u64 } else { value << unused >> unused }
    }

    /// The number that the low bits of `value` mean in this type.
    #[inline]
    const fn number(self, value: u64) -> i128 {
        let value = self.extend(value);
        if self.is_signed() { value as i64 as i128 } else { value as i128 }
    }

    /// Value that a NaN converts to (PTX ISA, `cvt`, integer notes): zero, unless the source is `.f64` or the
    /// destination has 64 bits; then the highest bit alone.
    #[inline]
    const fn nan_value(self, source_is_f64: bool) -> u64 {
        if source_is_f64 || self.bits() == 64 { self.extend(1 << (self.bits() - 1)) } else { 0 }
    }
}

/// `cvt{.sat}.dtype.atype` between integer types: truncates or extends; with `.sat` clamps to `to`'s range.
#[inline]
pub fn integer_to_integer(value: u64, from: IntegerType, to: IntegerType, sat: bool) -> u64 {
    if sat { from.number(value).clamp(to.min(), to.max()) as u64 } else { to.extend(from.extend(value)) }
}

#[inline]
fn integer_to_format(value: u64, from: IntegerType, format: Format, rounding: Rounding) -> u64 {
    let value = from.extend(value);
    let negative = from.is_signed() && (value as i64) < 0;
    let significand = if negative { value.wrapping_neg() } else { value };
    Exact { negative, significand, exponent: 0, sticky: false }.round(format, rounding)
}

/// `cvt.rnd.f32.{u,s}{8,16,32,64}`: rounds once.
#[inline]
pub fn integer_to_f32(value: u64, from: IntegerType, rounding: Rounding) -> f32 {
    match rounding {
        Rounding::Rn if from.is_signed() => from.extend(value) as i64 as f32,
        Rounding::Rn => from.extend(value) as f32,
        _ => f32::from_bits(integer_to_format(value, from, Format::F32, rounding) as u32),
    }
}

/// `cvt.rnd.f64.{u,s}{8,16,32,64}`: rounds once.
#[inline]
pub fn integer_to_f64(value: u64, from: IntegerType, rounding: Rounding) -> f64 {
    match rounding {
        Rounding::Rn if from.is_signed() => from.extend(value) as i64 as f64,
        Rounding::Rn => from.extend(value) as f64,
        _ => f64::from_bits(integer_to_format(value, from, Format::F64, rounding)),
    }
}

/// `cvt.rnd.{f16,bf16}.{u,s}{8,16,32,64}`: rounds once.
#[inline]
pub fn integer_to_half(value: u64, from: IntegerType, to: HalfFormat, rounding: Rounding) -> u16 {
    integer_to_format(value, from, to.layout(), rounding) as u16
}

#[inline]
fn float_to_integer(x: f64, rounding: IntegerRounding, to: IntegerType, source_is_f64: bool) -> u64 {
    if x.is_nan() {
        return to.nan_value(source_is_f64);
    }
    let integral = integral_f64(x, rounding);
    // Casts of Rust clamp to the type's range, which is the rule of `cvt` as well.
    match to {
        IntegerType::U8 => integral as u8 as u64,
        IntegerType::U16 => integral as u16 as u64,
        IntegerType::U32 => integral as u32 as u64,
        IntegerType::U64 => integral as u64,
        IntegerType::S8 => integral as i8 as u64,
        IntegerType::S16 => integral as i16 as u64,
        IntegerType::S32 => integral as i32 as u64,
        IntegerType::S64 => integral as i64 as u64,
    }
}

/// `cvt.irnd{.ftz}{.sat}.{u,s}N.f32`: clamps to the range of `to`; NaN becomes zero, or 2^63 for 64-bit types.
#[inline]
pub fn f32_to_integer(x: f32, rounding: IntegerRounding, ftz: bool, to: IntegerType) -> u64 {
    float_to_integer(f64::from(flush_f32(x, ftz)), rounding, to, false)
}

/// `cvt.irnd{.sat}.{u,s}N.f64`: clamps to the range of `to`; NaN becomes the highest bit of `to` alone.
#[inline]
pub fn f64_to_integer(x: f64, rounding: IntegerRounding, to: IntegerType) -> u64 {
    float_to_integer(x, rounding, to, true)
}

/// `cvt.irnd{.sat}.{u,s}N.{f16,bf16}`: clamps to the range of `to`; NaN becomes zero, or 2^63 for 64-bit types.
#[inline]
pub fn half_to_integer(x: u16, from: HalfFormat, rounding: IntegerRounding, to: IntegerType) -> u64 {
    float_to_integer(from.to_f64(x), rounding, to, false)
}

/// `cvt.irnd.f64.f64`: the nearest integral value in the given direction, sign of zero kept; a NaN is quieted.
#[inline]
pub fn integral_f64(x: f64, rounding: IntegerRounding) -> f64 {
    if x.is_nan() {
        return quiet(x);
    }
    match rounding {
        IntegerRounding::Rni => x.round_ties_even(),
        IntegerRounding::Rzi => x.trunc(),
        IntegerRounding::Rmi => x.floor(),
        IntegerRounding::Rpi => x.ceil(),
    }
}

/// `cvt.irnd{.ftz}.f32.f32`: integral value as `.f32`, sign of zero kept; NaN becomes the canonical NaN.
#[inline]
pub fn integral_f32(x: f32, rounding: IntegerRounding, ftz: bool) -> f32 {
    let x = flush_f32(x, ftz);
    if x.is_nan() {
        return f32::from_bits(NAN_F32);
    }
    match rounding {
        IntegerRounding::Rni => x.round_ties_even(),
        IntegerRounding::Rzi => x.trunc(),
        IntegerRounding::Rmi => x.floor(),
        IntegerRounding::Rpi => x.ceil(),
    }
}

/// `cvt.irnd.f16.f16`, `cvt.irnd.bf16.bf16`: integral value in the same format.
#[inline]
pub fn integral_half(x: u16, format: HalfFormat, rounding: IntegerRounding) -> u16 {
    if format.is_nan(x) {
        return HALF_NAN;
    }
    // Never inexact: an integral value next to a value of the format is a value of the format, or the power of
    // two above it.
    format.round_f64(integral_f64(format.to_f64(x), rounding), Rounding::Rn)
}

/// `cvt.rnd{.ftz}.f32.f64`: rounds once. `.ftz` flushes a subnormal result.
///
/// PTX leaves the NaN open: quieted with the leading bits of its payload, as on sm_90.
#[inline]
pub fn f64_to_f32(x: f64, rounding: Rounding, ftz: bool) -> f32 {
    if x.is_nan() {
        return f32::from_bits(narrow_nan(x, Format::F32) as u32);
    }
    narrow_f32(x, rounding, ftz)
}

/// `cvt{.ftz}.f64.f32`: exact. `.ftz` flushes a subnormal source.
///
/// PTX leaves the NaN open: quieted with its payload, as on sm_90.
#[inline]
pub fn f32_to_f64(x: f32, ftz: bool) -> f64 {
    if x.is_nan() {
        return widen_nan(u64::from(x.to_bits()), Format::F32);
    }
    f64::from(flush_f32(x, ftz))
}

/// `cvt.rnd.{f16,bf16}.f64`: rounds once. The NaN is as in [`f64_to_f32`].
#[inline]
pub fn f64_to_half(x: f64, to: HalfFormat, rounding: Rounding) -> u16 {
    if x.is_nan() { narrow_nan(x, to.layout()) as u16 } else { to.round_f64(x, rounding) }
}

/// `cvt.f64.{f16,bf16}`: exact. The NaN is as in [`f32_to_f64`].
#[inline]
pub fn half_to_f64(x: u16, from: HalfFormat) -> f64 {
    if from.is_nan(x) { widen_nan(u64::from(x), from.layout()) } else { from.to_f64(x) }
}

/// The NaN `x` in a narrower format: sign and leading payload bits kept, quieted.
#[inline]
fn narrow_nan(x: f64, format: Format) -> u64 {
    let fraction = quiet(x).to_bits() & ((1 << 52) - 1);
    format.sign(x.is_sign_negative()) | format.infinity() | fraction >> (52 - format.fraction_bits)
}

/// The NaN with pattern `bits` of a narrower format as `.f64`: sign and payload kept, quieted.
#[inline]
fn widen_nan(bits: u64, format: Format) -> f64 {
    let fraction = bits & ((1 << format.fraction_bits) - 1);
    let sign = Format::F64.sign(bits & format.sign(true) != 0);
    quiet(f64::from_bits(sign | Format::F64.infinity() | fraction << (52 - format.fraction_bits)))
}

/// `cvt.rnd.{f16,bf16}.{f16,bf16}` between the two 16-bit formats: rounds once.
#[inline]
pub fn half_to_half(x: u16, from: HalfFormat, to: HalfFormat, rounding: Rounding) -> u16 {
    to.round_f64(from.to_f64(x), rounding)
}

/// `cvt.{rna,rn,rz}{.relu}{.satfinite}.tf32.f32`: an `.f32` pattern whose low 13 fraction bits are zero.
///
/// NaN becomes the canonical NaN. `relu` clamps negative results to +0; `satfinite` overflow to the largest
/// finite `.tf32`.
#[inline]
pub fn f32_to_tf32(x: f32, rounding: Rounding, relu: bool, satfinite: bool) -> u32 {
    if x.is_nan() {
        return NAN_F32;
    }
    if relu && x.is_sign_negative() {
        return 0;
    }
    let infinity = Format::TF32.infinity();
    let sign = Format::TF32.sign(x.is_sign_negative());
    let rounded = match x.is_infinite() {
        true => sign | infinity,
        false => Exact::from_f64(f64::from(x)).round(Format::TF32, rounding),
    };
    let finite = if satfinite && rounded & !sign == infinity { rounded - 1 } else { rounded };
    (finite as u32) << 13
}
