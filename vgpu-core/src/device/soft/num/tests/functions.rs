//! Selection, comparison and the approximate functions.

use proptest::prelude::*;

use super::super::approx::{
    cos_approx, div_approx, div_full, ex2_approx, ex2_approx_half, lg2_approx, rcp_approx, rcp_approx_f64,
    rsqrt_approx, rsqrt_approx_f64, rsqrt_approx_ftz_f64, sin_approx, sqrt_approx, tanh_approx,
    tanh_approx_half,
};
use super::super::compare::{compare_f32, compare_f64, compare_half, compare_signed, compare_unsigned};
use super::super::float::{NAN_F32, NAN_F64};
use super::super::half::{HALF_NAN, HalfFormat};
use super::super::select::{
    copysign_f32, copysign_f64, has_property_f32, has_property_f64, pick_f32, pick_f64, pick_half,
};
use super::super::{Comparison, Extremum::Max, Extremum::Min, FloatProperty, MinMaxModifiers};

const PLAIN: MinMaxModifiers = MinMaxModifiers { ftz: false, nan: false, abs: false, xorsign: false };
const INF: f32 = f32::INFINITY;

#[test]
fn extremes_prefer_numbers_and_order_zeros() {
    let nan = MinMaxModifiers { nan: true, ..PLAIN };
    assert_eq!(pick_f32(Min, 0.0, -0.0, PLAIN).to_bits(), 0x8000_0000);
    assert_eq!(pick_f32(Max, -0.0, 0.0, PLAIN).to_bits(), 0);
    assert_eq!(pick_f32(Max, f32::NAN, -INF, PLAIN), -INF);
    assert_eq!(pick_f32(Max, f32::NAN, 1.0, nan).to_bits(), NAN_F32);
    assert_eq!(pick_f32(Min, f32::NAN, -f32::NAN, PLAIN).to_bits(), NAN_F32);
    assert_eq!(
        pick_f64(Min, f64::NAN, f64::from_bits(0xfff0_0000_0000_0001), PLAIN).to_bits(),
        0xfff8_0000_0000_0001
    );
    assert_eq!(pick_f64(Min, -2.0, 3.0, PLAIN), -2.0);
    assert_eq!(pick_half(Max, HalfFormat::F16, 0x8000, 0x0001, PLAIN), 0x0001);
    let ftz = MinMaxModifiers { ftz: true, ..PLAIN };
    assert_eq!(pick_half(Max, HalfFormat::F16, 0x8000, 0x0001, ftz), 0x0000);
    assert_eq!(pick_half(Min, HalfFormat::Bf16, HALF_NAN, 0x3f80, nan), HALF_NAN);
}

#[test]
fn xorsign_abs_takes_the_sign_of_the_product() {
    let xorsign = MinMaxModifiers { abs: true, xorsign: true, ..PLAIN };
    assert_eq!(pick_f32(Max, -3.0, 2.0, xorsign), -3.0);
    assert_eq!(pick_f32(Min, -3.0, -2.0, xorsign), 2.0);
    assert_eq!(pick_f32(Min, f32::NAN, f32::NAN, xorsign).to_bits(), NAN_F32);
    assert_eq!(pick_f32(Max, -3.0, 2.0, MinMaxModifiers { abs: true, ..PLAIN }), 3.0);
}

#[test]
fn signs_and_properties() {
    assert_eq!(copysign_f32(-1.0, 2.0), -2.0);
    assert_eq!(copysign_f64(1.0, -2.0), 2.0);
    assert!(has_property_f32(-0.0, FloatProperty::Normal));
    assert!(!has_property_f32(f32::from_bits(1), FloatProperty::Normal));
    assert!(has_property_f32(f32::from_bits(1), FloatProperty::Subnormal));
    assert!(has_property_f64(f64::NAN, FloatProperty::NotANumber));
    assert!(!has_property_f64(f64::NAN, FloatProperty::Finite));
    assert!(has_property_f64(f64::INFINITY, FloatProperty::Number));
    assert!(has_property_f64(f64::INFINITY, FloatProperty::Infinite));
}

#[test]
fn comparisons() {
    use Comparison::{Eq, Equ, Geu, Gtu, Hi, Lo, Lt, Ltu, Nan, Ne, Neu, Num};
    for comparison in [Equ, Neu, Ltu, Gtu, Geu, Nan] {
        assert!(compare_f32(comparison, f32::NAN, 1.0, false));
    }
    for comparison in [Eq, Ne, Lt, Num] {
        assert!(!compare_f64(comparison, 1.0, f64::NAN));
    }
    assert!(compare_f32(Eq, f32::from_bits(1), -0.0, true));
    assert!(compare_f32(Ne, f32::from_bits(1), -0.0, false));
    assert!(compare_half(Lt, HalfFormat::F16, 0xbc00, 0x3c00, false));
    assert!(compare_signed(Lt, -1, 0));
    assert!(compare_unsigned(Hi, u64::MAX, 0));
    assert!(compare_signed(Hi, -1, 0));
    assert!(compare_unsigned(Lo, 0, 1));
}

#[test]
fn special_cases_follow_the_tables() {
    let bits = f32::to_bits;
    for (result, expected) in [
        (sin_approx(INF, false), f32::NAN),
        (sin_approx(-0.0, false), -0.0),
        (cos_approx(-INF, false), f32::NAN),
        (cos_approx(0.0, false), 1.0),
        (lg2_approx(-0.0, false), -INF),
        (lg2_approx(-1.0, false), f32::NAN),
        (lg2_approx(f32::from_bits(0x8000_0001), true), -INF),
        (lg2_approx(f32::from_bits(1), false), -149.0),
        (lg2_approx(INF, false), INF),
        (ex2_approx(-INF, false), 0.0),
        (ex2_approx(-0.0, false), 1.0),
        (ex2_approx(128.0, false), INF),
        (ex2_approx(-149.0, false), f32::from_bits(1)),
        (ex2_approx(-149.0, true), 0.0),
        (tanh_approx(-INF), -1.0),
        (tanh_approx(-0.0), -0.0),
        (tanh_approx(f32::from_bits(77)), f32::from_bits(77)),
        (rcp_approx(-0.0, false), -INF),
        (rcp_approx(-INF, false), -0.0),
        (rcp_approx(f32::from_bits(0x8000_0001), true), -INF),
        (rcp_approx(f32::MAX, true), 0.0),
        (sqrt_approx(-0.0, false), -0.0),
        (sqrt_approx(-1.0, false), f32::NAN),
        (rsqrt_approx(-0.0, false), -INF),
        (rsqrt_approx(INF, false), 0.0),
        (rsqrt_approx(-1.0, false), f32::NAN),
        (div_approx(1.0, f32::MAX, false), 0.0),
        (div_approx(-1.0, f32::MAX, false), -0.0),
        (div_approx(INF, f32::MAX, false), f32::NAN),
        (div_approx(1.0, INF, false), 0.0),
        (div_approx(6.0, 3.0, false), 2.0),
        (div_full(f32::MAX, f32::MAX, false), 1.0),
    ] {
        let expected = if expected.is_nan() { NAN_F32 } else { bits(expected) };
        assert_eq!(bits(result), expected, "{result:e}");
    }
}

#[test]
fn doubles_are_approximated_in_their_upper_half() {
    const NAN: u64 = 0x7fff_ffff_0000_0000;
    assert_eq!(rcp_approx_f64(f64::NAN).to_bits(), NAN);
    assert_eq!(rcp_approx_f64(-f64::MIN_POSITIVE / 2.0), f64::NEG_INFINITY);
    assert_eq!(rcp_approx_f64(f64::NEG_INFINITY).to_bits(), 1 << 63);
    assert_eq!(rcp_approx_f64(f64::MAX).to_bits(), 0);
    assert_eq!(rcp_approx_f64(4.0), 0.25);
    assert_eq!(rsqrt_approx_ftz_f64(-f64::MIN_POSITIVE / 2.0), f64::NEG_INFINITY);
    assert_eq!(rsqrt_approx_ftz_f64(-1.0).to_bits(), NAN);
    assert_eq!(rsqrt_approx_ftz_f64(16.0), 0.25);
    assert_eq!(rsqrt_approx_f64(-0.0), f64::NEG_INFINITY);
    assert_eq!(rsqrt_approx_f64(-1.0).to_bits(), NAN_F64);
}

#[test]
fn half_functions() {
    assert_eq!(ex2_approx_half(0x4200, HalfFormat::F16, false), 0x4800);
    assert_eq!(ex2_approx_half(0x8000, HalfFormat::Bf16, true), 0x3f80);
    assert_eq!(ex2_approx_half(0xc300, HalfFormat::Bf16, true), 0);
    assert_eq!(tanh_approx_half(0xfc00, HalfFormat::F16), 0xbc00);
    assert_eq!(tanh_approx_half(0x8000, HalfFormat::F16), 0x8000);
    assert_eq!(tanh_approx_half(0x7c01, HalfFormat::F16), HALF_NAN);
}

proptest! {
    #[test]
    fn reciprocal_of_double_is_within_its_bound(x in 1e-300f64..1e300) {
        let result = rcp_approx_f64(x);
        prop_assert_eq!(result.to_bits() as u32, 0);
        prop_assert!((result * x - 1.0).abs() < 2f64.powi(-19));
    }

    #[test]
    fn exponential_inverts_the_logarithm(x in 1e-30f32..1e30) {
        let back = ex2_approx(lg2_approx(x, true), true);
        // An error of 2^-22 of a logarithm below 128 is 2^-15 of the value, times ln 2.
        prop_assert!((back / x - 1.0).abs() < 2f32.powi(-15));
    }
}
