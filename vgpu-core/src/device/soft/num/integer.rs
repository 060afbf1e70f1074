//! Integer arithmetic that Rust's operators do not have as PTX has it.
//!
//! Values of an [`IntegerType`] travel as `u64`, extended by their sign; results come back the same way.

use super::convert::IntegerType;

/// `mul.hi`: the upper half of the double-width product.
#[inline]
pub fn mul_hi(ty: IntegerType, a: u64, b: u64) -> u64 {
    ty.extend((product(ty, a, b) >> ty.bits()) as u64)
}

/// `mul.lo`: the lower half of the product.
#[inline]
pub fn mul_lo(ty: IntegerType, a: u64, b: u64) -> u64 {
    ty.extend(a.wrapping_mul(b))
}

/// `mul.wide` for types of up to 32 bits: the whole product, extended to 64 bits by its sign.
#[inline]
pub fn mul_wide(ty: IntegerType, a: u64, b: u64) -> u64 {
    ty.extend(a).wrapping_mul(ty.extend(b))
}

/// The product as 128 bits; for `.u64` it fills them, so its top bit is no sign.
#[inline]
fn product(ty: IntegerType, a: u64, b: u64) -> u128 {
    let (a, b) = (ty.extend(a), ty.extend(b));
    if ty.is_signed() {
        (i128::from(a as i64) * i128::from(b as i64)) as u128
    } else {
        u128::from(a) * u128::from(b)
    }
}

/// `mul24.lo` and `mul24.hi` of `.u32`, `.s32`: bits 0..=31 or 16..=47 of the product of the low 24 bits.
#[inline]
pub fn mul24(ty: IntegerType, a: u32, b: u32, hi: bool) -> u32 {
    let low24 = |x: u32| -> i64 {
        if ty.is_signed() { i64::from((x << 8) as i32 >> 8) } else { i64::from(x & 0xff_ffff) }
    };
    let product = low24(a) * low24(b);
    if hi { (product >> 16) as u32 } else { product as u32 }
}

/// `div`: truncates. PTX leaves division by zero open: all ones here, as on sm_90. The smallest value by -1 wraps.
#[inline]
pub fn div(ty: IntegerType, a: u64, b: u64) -> u64 {
    let (a, b) = (ty.extend(a), ty.extend(b));
    if b == 0 {
        ty.extend(u64::MAX)
    } else if ty.is_signed() {
        ty.extend((a as i64).wrapping_div(b as i64) as u64)
    } else {
        a / b
    }
}

/// `rem`: has the dividend's sign. PTX leaves division by zero open: all ones here, as on sm_90.
#[inline]
pub fn rem(ty: IntegerType, a: u64, b: u64) -> u64 {
    let (a, b) = (ty.extend(a), ty.extend(b));
    if b == 0 {
        ty.extend(u64::MAX)
    } else if ty.is_signed() {
        (a as i64).wrapping_rem(b as i64) as u64
    } else {
        a % b
    }
}

/// `add.sat.s32`.
#[inline]
pub fn add_sat(a: i32, b: i32) -> i32 {
    a.saturating_add(b)
}

/// `sub.sat.s32`.
#[inline]
pub fn sub_sat(a: i32, b: i32) -> i32 {
    a.saturating_sub(b)
}

/// `mad.hi.sat.s32`.
#[inline]
pub fn mad_hi_sat(a: i32, b: i32, c: i32) -> i32 {
    (((i64::from(a) * i64::from(b)) >> 32) as i32).saturating_add(c)
}

/// `add.cc`, `addc`, `addc.cc` (and `mad.{lo,hi}.cc`, `madc` with a [`mul_lo`] or [`mul_hi`] as `a`) on 32 bits:
/// sum and carry out.
#[inline]
pub fn add_carry_32(a: u32, b: u32, carry: bool) -> (u32, bool) {
    let (sum, first) = a.overflowing_add(b);
    let (sum, second) = sum.overflowing_add(u32::from(carry));
    (sum, first || second)
}

/// `add.cc`, `addc`, `addc.cc` and the forms of `mad` on 64 bits: sum and carry out.
#[inline]
pub fn add_carry_64(a: u64, b: u64, carry: bool) -> (u64, bool) {
    let (sum, first) = a.overflowing_add(b);
    let (sum, second) = sum.overflowing_add(u64::from(carry));
    (sum, first || second)
}

/// `sub.cc`, `subc`, `subc.cc` on 32 bits: `a - (b + borrow)` and borrow out.
#[inline]
pub fn sub_borrow_32(a: u32, b: u32, borrow: bool) -> (u32, bool) {
    let (difference, first) = a.overflowing_sub(b);
    let (difference, second) = difference.overflowing_sub(u32::from(borrow));
    (difference, first || second)
}

/// `sub.cc`, `subc`, `subc.cc` on 64 bits: `a - (b + borrow)` and borrow out.
#[inline]
pub fn sub_borrow_64(a: u64, b: u64, borrow: bool) -> (u64, bool) {
    let (difference, first) = a.overflowing_sub(b);
    let (difference, second) = difference.overflowing_sub(u64::from(borrow));
    (difference, first || second)
}

/// `sad`: `c + |a - b|`, wrapping.
#[inline]
pub fn sad(ty: IntegerType, a: u64, b: u64, c: u64) -> u64 {
    let (a, b) = (ty.extend(a), ty.extend(b));
    let distance = if ty.is_signed() { (a as i64).abs_diff(b as i64) } else { a.abs_diff(b) };
    ty.extend(c.wrapping_add(distance))
}

/// `abs` of a signed type. The smallest value stays.
#[inline]
pub fn abs(ty: IntegerType, a: u64) -> u64 {
    ty.extend((ty.extend(a) as i64).wrapping_abs() as u64)
}

/// `min` of an integer type.
#[inline]
pub fn min(ty: IntegerType, a: u64, b: u64) -> u64 {
    let (a, b) = (ty.extend(a), ty.extend(b));
    if ty.is_signed() { (a as i64).min(b as i64) as u64 } else { a.min(b) }
}

/// `max` of an integer type.
#[inline]
pub fn max(ty: IntegerType, a: u64, b: u64) -> u64 {
    let (a, b) = (ty.extend(a), ty.extend(b));
    if ty.is_signed() { (a as i64).max(b as i64) as u64 } else { a.max(b) }
}

/// `dp4a.atype.btype`: `c` plus the products of the four bytes of `a` and `b`, wrapping.
#[inline]
pub fn dp4a(a: u32, a_signed: bool, b: u32, b_signed: bool, c: u32) -> u32 {
    (0..4).fold(c, |sum, i| sum.wrapping_add(byte(a, i, a_signed).wrapping_mul(byte(b, i, b_signed)) as u32))
}

/// `dp2a.{lo,hi}.atype.btype`: `c` plus the products of the half-words of `a` and two bytes of `b`, wrapping.
#[inline]
pub fn dp2a(a: u32, a_signed: bool, b: u32, b_signed: bool, c: u32, hi: bool) -> u32 {
    let first = if hi { 2 } else { 0 };
    (0..2).fold(c, |sum, i| {
        let half = (a >> (16 * i)) as u16;
        let half = if a_signed { i32::from(half as i16) } else { i32::from(half) };
        sum.wrapping_add(half.wrapping_mul(byte(b, first + i, b_signed)) as u32)
    })
}

#[inline]
fn byte(word: u32, index: u32, signed: bool) -> i32 {
    let byte = (word >> (8 * index)) as u8;
    if signed { i32::from(byte as i8) } else { i32::from(byte) }
}
