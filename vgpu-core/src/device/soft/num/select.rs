//! Instructions that pick or classify floats without rounding: `min`, `max`, `copysign`, `testp`.

use super::double::quiet;
use super::float::{NAN_F32, flush_f32};
use super::half::{HALF_NAN, HalfFormat};
use super::rounding::Format;

/// Modifiers of `min` and `max`. All off is the plain instruction, which prefers a number to a NaN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct MinMaxModifiers {
    /// `.ftz`: flush subnormal operands to zero of the same sign.
    pub ftz: bool,
    /// `.NaN`: a NaN operand makes the result the canonical NaN.
    pub nan: bool,
    /// `.abs`: compare magnitudes, result without sign.
    pub abs: bool,
    /// `.xorsign` (only with `.abs`): the result's sign is the exclusive or of the operands' signs.
    pub xorsign: bool,
}

/// Which of two operands an instruction keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Extremum {
    /// `min`
    Min,
    /// `max`
    Max,
}

/// Property that `testp` tests a float for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FloatProperty {
    /// `.finite`: neither infinity nor NaN.
    Finite,
    /// `.infinite`: either infinity.
    Infinite,
    /// `.number`: not NaN.
    Number,
    /// `.notanumber`: NaN.
    NotANumber,
    /// `.normal`: a normal number; PTX counts both zeros among them.
    Normal,
    /// `.subnormal`: a subnormal number.
    Subnormal,
}

/// `min`/`max` on bit patterns of one format, with -0 below +0. Two NaNs give `nan`.
#[inline]
fn pick(keep: Extremum, format: Format, nan: u64, a: u64, b: u64, modifiers: MinMaxModifiers) -> u64 {
    let sign = format.sign(true);
    let is_nan = |x: u64| x & !sign > format.infinity();
    let xorsign = (a ^ b) & sign;
    let (a, b) = if modifiers.abs { (a & !sign, b & !sign) } else { (a, b) };
    // Magnitudes order as integers; negating them, and once more so that -0 is below +0, orders all numbers.
    let order = |x: u64| {
        let magnitude = (x & !sign) as i64;
        if x & sign == 0 { magnitude } else { -magnitude - 1 }
    };
    let chosen = match (is_nan(a), is_nan(b)) {
        (true, true) => return nan,
        (true, false) | (false, true) if modifiers.nan => return nan,
        (true, false) => b,
        (false, true) => a,
        (false, false) => {
            let keeps_a = match keep {
                Extremum::Min => order(a) <= order(b),
                Extremum::Max => order(a) >= order(b),
            };
            if keeps_a { a } else { b }
        }
    };
    if modifiers.xorsign { chosen & !sign | xorsign } else { chosen }
}

/// `{min,max}{.ftz}{.NaN}{.xorsign.abs}.f32`. The form with three operands is this one applied twice.
#[inline]
pub fn pick_f32(keep: Extremum, a: f32, b: f32, modifiers: MinMaxModifiers) -> f32 {
    let bits = |x| u64::from(flush_f32(x, modifiers.ftz).to_bits());
    f32::from_bits(pick(keep, Format::F32, u64::from(NAN_F32), bits(a), bits(b), modifiers) as u32)
}

/// `{min,max}.f64`. PTX leaves the NaN of two NaNs open: `b` quieted, as on sm_90.
#[inline]
pub fn pick_f64(keep: Extremum, a: f64, b: f64, modifiers: MinMaxModifiers) -> f64 {
    f64::from_bits(pick(keep, Format::F64, quiet(b).to_bits(), a.to_bits(), b.to_bits(), modifiers))
}

/// `{min,max}{.ftz}{.NaN}{.xorsign.abs}.{f16,bf16}`.
#[inline]
pub fn pick_half(keep: Extremum, format: HalfFormat, a: u16, b: u16, modifiers: MinMaxModifiers) -> u16 {
    let bits = |x| u64::from(format.flush(x, modifiers.ftz));
    pick(keep, format.layout(), u64::from(HALF_NAN), bits(a), bits(b), modifiers) as u16
}

/// `copysign.f32 d, a, b`: `b` with the sign of `a`.
#[inline]
pub fn copysign_f32(a: f32, b: f32) -> f32 {
    b.copysign(a)
}

/// `copysign.f64 d, a, b`: `b` with the sign of `a`.
#[inline]
pub fn copysign_f64(a: f64, b: f64) -> f64 {
    b.copysign(a)
}

/// `testp.op.f32`.
#[inline]
pub fn has_property_f32(x: f32, property: FloatProperty) -> bool {
    match property {
        FloatProperty::Finite => x.is_finite(),
        FloatProperty::Infinite => x.is_infinite(),
        FloatProperty::Number => !x.is_nan(),
        FloatProperty::NotANumber => x.is_nan(),
        FloatProperty::Normal => x.is_normal() || x == 0.0,
        FloatProperty::Subnormal => x.is_subnormal(),
    }
}

/// `testp.op.f64`.
#[inline]
pub fn has_property_f64(x: f64, property: FloatProperty) -> bool {
    match property {
        FloatProperty::Finite => x.is_finite(),
        FloatProperty::Infinite => x.is_infinite(),
        FloatProperty::Number => !x.is_nan(),
        FloatProperty::NotANumber => x.is_nan(),
        FloatProperty::Normal => x.is_normal() || x == 0.0,
        FloatProperty::Subnormal => x.is_subnormal(),
    }
}
