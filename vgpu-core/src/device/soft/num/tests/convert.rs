//! The `cvt` instruction.

use proptest::prelude::*;

use super::super::IntegerRounding::{self, Rmi, Rni, Rpi, Rzi};
use super::super::IntegerType::{self, S8, S16, S32, S64, U8, U16, U32, U64};
use super::super::Rounding::{Rm, Rn, Rna, Rp, Rz};
use super::super::convert::{
    f32_to_f64, f32_to_integer, f32_to_tf32, f64_to_f32, f64_to_half, f64_to_integer, half_to_f64,
    half_to_half, half_to_integer, integer_to_f32, integer_to_f64, integer_to_half, integer_to_integer,
    integral_f32, integral_f64, integral_half,
};
use super::super::float::NAN_F32;
use super::super::half::{HALF_NAN, HalfFormat};
use super::exact::{Candidate, Int, doubles};

const TYPES: [IntegerType; 8] = [U8, U16, U32, U64, S8, S16, S32, S64];
const ROUNDINGS: [IntegerRounding; 4] = [Rni, Rzi, Rmi, Rpi];

#[test]
fn integers_truncate_extend_and_saturate() {
    assert_eq!(integer_to_integer(0x1ff, U16, S8, false), u64::MAX);
    assert_eq!(integer_to_integer(0x80, S8, U32, false), 0xffff_ff80);
    assert_eq!(integer_to_integer(0x80, U8, S32, false), 0x80);
    assert_eq!(integer_to_integer(0x80, S8, S64, false), 0xffff_ffff_ffff_ff80);
    assert_eq!(integer_to_integer(300, S32, U8, true), 255);
    assert_eq!(integer_to_integer(u64::MAX, S32, U8, true), 0);
    assert_eq!(integer_to_integer(u64::MAX, U64, S64, true), i64::MAX as u64);
    assert_eq!(integer_to_integer(-300i64 as u64, S64, S8, true), -128i64 as u64);
    assert_eq!(integer_to_integer(0xffff_ffff, U32, S32, true), 0x7fff_ffff);
}

#[test]
fn nan_becomes_zero_or_the_highest_bit() {
    for ty in TYPES {
        let highest = ty.extend(1 << (ty.bits() - 1));
        assert_eq!(f64_to_integer(f64::NAN, Rzi, ty), highest);
        let narrow = if ty.bits() == 64 { highest } else { 0 };
        assert_eq!(f32_to_integer(f32::NAN, Rzi, false, ty), narrow);
        assert_eq!(half_to_integer(HALF_NAN, HalfFormat::Bf16, Rzi, ty), narrow);
    }
}

#[test]
fn floats_clamp_to_the_integer_range() {
    for ty in TYPES {
        for rounding in ROUNDINGS {
            assert_eq!(f32_to_integer(f32::INFINITY, rounding, false, ty), ty.max() as u64);
            assert_eq!(f64_to_integer(-1e300, rounding, ty), ty.min() as u64);
        }
    }
    assert_eq!(f64_to_integer(2147483647.5, Rzi, S32), 2147483647);
    assert_eq!(f64_to_integer(-0.5, Rmi, S32), u64::MAX);
    assert_eq!(f64_to_integer(-0.5, Rmi, U32), 0);
    assert_eq!(f32_to_integer(2.5, Rni, false, S32), 2);
    assert_eq!(f32_to_integer(3.5, Rni, false, S32), 4);
    assert_eq!(f32_to_integer(f32::from_bits(1), Rpi, false, U8), 1);
    assert_eq!(f32_to_integer(f32::from_bits(1), Rpi, true, U8), 0);
}

#[test]
fn integral_values_keep_the_sign_of_zero() {
    assert_eq!(integral_f32(-0.25, Rni, false).to_bits(), 0x8000_0000);
    assert_eq!(integral_f64(-0.25, Rpi).to_bits(), 1 << 63);
    assert_eq!(integral_f32(f32::from_bits(0x7f80_0001), Rzi, false).to_bits(), NAN_F32);
    assert_eq!(integral_half(0x3e00, HalfFormat::F16, Rni), 0x4000);
    assert_eq!(integral_half(0xbc01, HalfFormat::F16, Rmi), 0xc000);
    assert_eq!(integral_half(0x7c00, HalfFormat::F16, Rmi), 0x7c00);
    assert_eq!(integral_half(0x7c01, HalfFormat::F16, Rmi), HALF_NAN);
}

#[test]
fn floats_to_floats() {
    assert_eq!(f64_to_f32(f64::from_bits(0xfff0_0000_4000_0000), Rz, false).to_bits(), 0xffc0_0002);
    assert_eq!(f64_to_half(f64::from_bits(0xfff0_0000_4000_0000), HalfFormat::F16, Rz), 0xfe00);
    assert_eq!(half_to_f64(0xfc01, HalfFormat::F16).to_bits(), 0xfff8_0400_0000_0000);
    assert_eq!(f64_to_f32(1e300, Rz, false), f32::MAX);
    assert_eq!(f64_to_f32(f64::INFINITY, Rz, false), f32::INFINITY);
    assert_eq!(f64_to_f32(-1e-300, Rm, false).to_bits(), 0x8000_0001);
    assert_eq!(f64_to_f32(-1e-300, Rm, true).to_bits(), 0x8000_0000);
    assert_eq!(f32_to_f64(f32::from_bits(0xff80_0001), false).to_bits(), 0xfff8_0000_2000_0000);
    assert_eq!(f32_to_f64(f32::from_bits(0x8000_0001), true).to_bits(), 1 << 63);
    assert_eq!(half_to_half(0x3f80, HalfFormat::Bf16, HalfFormat::F16, Rn), 0x3c00);
    assert_eq!(half_to_half(0x7f7f, HalfFormat::Bf16, HalfFormat::F16, Rz), 0x7bff);
}

#[test]
fn tf32_keeps_ten_fraction_bits() {
    assert_eq!(f32_to_tf32(1.0, Rna, false, false), 0x3f80_0000);
    assert_eq!(f32_to_tf32(f32::from_bits(0x3f80_1000), Rna, false, false), 0x3f80_2000);
    assert_eq!(f32_to_tf32(f32::from_bits(0x3f80_1000), Rn, false, false), 0x3f80_0000);
    assert_eq!(f32_to_tf32(f32::MAX, Rn, false, true), 0x7f7f_e000);
    assert_eq!(f32_to_tf32(f32::NEG_INFINITY, Rn, false, false), 0xff80_0000);
    assert_eq!(f32_to_tf32(-1.0, Rn, true, false), 0);
    assert_eq!(f32_to_tf32(f32::NAN, Rn, true, true), NAN_F32);
}

proptest! {
    #[test]
    fn integers_round_once(value in any::<u64>(), drop in 0u32..64, ty in prop::sample::select(TYPES.to_vec())) {
        let value = ty.extend(value >> drop);
        let exact = if ty.is_signed() { i128::from(value as i64) } else { i128::from(value) };
        for rounding in [Rz, Rm, Rp] {
            let (single, double) = (integer_to_f32(value, ty, rounding), integer_to_f64(value, ty, rounding));
            prop_assert!(Candidate::f32(single).is_rounding(rounding, |x| (x as i128).cmp(&exact).then(order_fraction(x))));
            prop_assert!(Candidate::f64(double).is_rounding(rounding, |x| (x as i128).cmp(&exact).then(order_fraction(x))));
        }
        let nearest = integer_to_f64(value, ty, Rn);
        let cast = if ty.is_signed() { value as i64 as f64 } else { value as f64 };
        prop_assert_eq!(nearest, cast);
        let half = HalfFormat::F16.to_f64(integer_to_half(value, ty, HalfFormat::F16, Rna));
        prop_assert!(exact.unsigned_abs() >= 65520 || (half - exact as f64).abs() <= 16.0);
    }

    #[test]
    fn doubles_narrow_once(x in doubles()) {
        let exact = Int::scaled(x);
        for rounding in [Rn, Rz, Rm, Rp] {
            let result = f64_to_f32(x, rounding, false);
            prop_assert!(Candidate::f32(result).is_rounding(rounding, |y| Int::scaled(y).cmp(&exact)));
        }
    }
}

/// Orders a value against its own truncation, to break the tie that comparing truncations leaves.
fn order_fraction(x: f64) -> std::cmp::Ordering {
    x.fract().total_cmp(&0.0f64.copysign(x.fract()))
}
