//! `.f32` and `.f64` arithmetic in every rounding mode.

use std::cmp::Ordering;

use proptest::prelude::*;

use super::super::Rounding::{self, Rm, Rn, Rp, Rz};
use super::super::double::{add_f64, div_f64, fma_f64, mul_f64, rcp_f64, sqrt_f64, sub_f64};
use super::super::float::{
    NAN_F32, NAN_F64, abs_f32, add_f32, div_f32, fma_f32, mul_f32, neg_f32, rcp_f32, saturate_f32, sqrt_f32,
    sub_f32,
};
use super::exact::{Candidate, DIRECTED, Int, SCALE, doubles, floats};

fn order_sum(a: f64, b: f64) -> impl Fn(f64) -> Ordering {
    let sum = Int::scaled(a).add(&Int::scaled(b));
    move |x| Int::scaled(x).cmp(&sum)
}

fn order_fma(a: f64, b: f64, c: f64) -> impl Fn(f64) -> Ordering {
    let exact = Int::scaled(a).mul(&Int::scaled(b)).add(&Int::scaled(c).shl(SCALE));
    move |x| Int::scaled(x).shl(SCALE).cmp(&exact)
}

fn order_quotient(a: f64, b: f64) -> impl Fn(f64) -> Ordering {
    let (a, b_scaled) = (Int::scaled(a).shl(SCALE), Int::scaled(b));
    move |x| {
        let order = Int::scaled(x).mul(&b_scaled).cmp(&a);
        if b < 0.0 { order.reverse() } else { order }
    }
}

fn order_root(x: f64) -> impl Fn(f64) -> Ordering {
    let square = Int::scaled(x).shl(SCALE);
    move |r| if r < 0.0 { Ordering::Less } else { Int::scaled(r).mul(&Int::scaled(r)).cmp(&square) }
}

/// A result that overflowed to infinity is right when the largest value already is too small in magnitude.
fn assert_f64(result: f64, rounding: Rounding, order: impl Fn(f64) -> Ordering) {
    let right = if result == f64::INFINITY {
        rounding == Rp && order(f64::MAX) == Ordering::Less
    } else if result == f64::NEG_INFINITY {
        rounding == Rm && order(f64::MIN) == Ordering::Greater
    } else {
        Candidate::f64(result).is_rounding(rounding, order)
    };
    assert!(right, "{result:e} is not the {rounding:?} rounding");
}

fn assert_f32(result: f32, rounding: Rounding, order: impl Fn(f64) -> Ordering) {
    assert!(
        Candidate::f32(result).is_rounding(rounding, order),
        "{result:e} ({:#x}) is not the {rounding:?} rounding",
        result.to_bits()
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn f64_directed(a in doubles(), b in doubles(), c in doubles()) {
        for rounding in DIRECTED {
            assert_f64(add_f64(a, b, rounding), rounding, order_sum(a, b));
            assert_f64(sub_f64(a, b, rounding), rounding, order_sum(a, -b));
            assert_f64(mul_f64(a, b, rounding), rounding, order_fma(a, b, 0.0));
            assert_f64(fma_f64(a, b, c, rounding), rounding, order_fma(a, b, c));
            assert_f64(sqrt_f64(a.abs(), rounding), rounding, order_root(a.abs()));
            if b != 0.0 {
                assert_f64(div_f64(a, b, rounding), rounding, order_quotient(a, b));
                assert_f64(rcp_f64(b, rounding), rounding, order_quotient(1.0, b));
            }
        }
    }

    #[test]
    fn f64_product_cancelled_by_its_own_rounding(a in doubles(), b in doubles()) {
        let c = -(a * b);
        prop_assume!(c.is_finite());
        for rounding in DIRECTED {
            assert_f64(fma_f64(a, b, c, rounding), rounding, order_fma(a, b, c));
        }
    }

    #[test]
    fn f32_every_mode(a in floats(), b in floats(), c in floats()) {
        let (x, y, z) = (f64::from(a), f64::from(b), f64::from(c));
        for rounding in [Rn, Rz, Rm, Rp] {
            assert_f32(add_f32(a, b, rounding, false), rounding, order_sum(x, y));
            assert_f32(sub_f32(a, b, rounding, false), rounding, order_sum(x, -y));
            assert_f32(mul_f32(a, b, rounding, false), rounding, order_fma(x, y, 0.0));
            assert_f32(fma_f32(a, b, c, rounding, false), rounding, order_fma(x, y, z));
            assert_f32(sqrt_f32(a.abs(), rounding, false), rounding, order_root(x.abs()));
            if b != 0.0 {
                assert_f32(div_f32(a, b, rounding, false), rounding, order_quotient(x, y));
                assert_f32(rcp_f32(b, rounding, false), rounding, order_quotient(1.0, y));
            }
        }
    }

    #[test]
    fn f32_fma_nearest_is_the_host_s(a in any::<f32>(), b in any::<f32>(), c in any::<f32>()) {
        let (ours, host) = (fma_f32(a, b, c, Rn, false), a.mul_add(b, c));
        prop_assert!(ours.to_bits() == host.to_bits() || ours.to_bits() == NAN_F32 && host.is_nan());
    }

    #[test]
    fn f32_flush_leaves_no_subnormal(a in floats(), b in floats(), c in floats()) {
        for rounding in [Rn, Rz, Rm, Rp] {
            for result in [
                add_f32(a, b, rounding, true),
                mul_f32(a, b, rounding, true),
                div_f32(a, b, rounding, true),
                fma_f32(a, b, c, rounding, true),
            ] {
                prop_assert!(!result.is_subnormal());
            }
        }
    }
}

#[test]
fn exact_zeros_take_the_sign_of_their_mode() {
    for (rounding, bits) in [(Rn, 0), (Rz, 0), (Rp, 0), (Rm, 1u64 << 63)] {
        assert_eq!(add_f64(1.5, -1.5, rounding).to_bits(), bits);
        assert_eq!(fma_f64(3.0, 0.5, -1.5, rounding).to_bits(), bits);
        assert_eq!(u64::from(add_f32(1.5, -1.5, rounding, false).to_bits()) << 32, bits);
        assert_eq!(u64::from(fma_f32(3.0, 0.5, -1.5, rounding, false).to_bits()) << 32, bits);
        assert_eq!(add_f64(0.0, -0.0, rounding).to_bits(), bits);
        assert_eq!(add_f64(-0.0, -0.0, rounding).to_bits(), 1 << 63);
        assert_eq!(mul_f64(-0.0, 3.0, rounding).to_bits(), 1 << 63);
        assert_eq!(div_f64(-0.0, 3.0, rounding).to_bits(), 1 << 63);
        assert_eq!(sqrt_f64(-0.0, rounding).to_bits(), 1 << 63);
    }
}

#[test]
fn overflow_stops_at_the_largest_value_when_rounded_towards_zero() {
    assert_eq!(mul_f32(f32::MAX, 2.0, Rz, false), f32::MAX);
    assert_eq!(mul_f32(f32::MAX, -2.0, Rp, false), f32::MIN);
    assert_eq!(mul_f32(f32::MAX, 2.0, Rp, false), f32::INFINITY);
    assert_eq!(add_f64(f64::MAX, f64::MAX, Rm), f64::MAX);
    assert_eq!(add_f64(f64::MAX, 1.0, Rp), f64::INFINITY);
    assert_eq!(add_f64(f64::INFINITY, -1.0, Rm), f64::INFINITY);
    assert_eq!(div_f64(1.0, 0.0, Rz), f64::INFINITY);
    assert_eq!(div_f32(-1.0, 0.0, Rz, false), f32::NEG_INFINITY);
}

#[test]
fn nan_results_are_canonical() {
    let payload = f32::from_bits(0xff80_0001);
    for rounding in [Rn, Rz] {
        for result in [
            add_f32(payload, 1.0, rounding, false),
            sub_f32(f32::INFINITY, f32::INFINITY, rounding, false),
            mul_f32(0.0, f32::INFINITY, rounding, false),
            div_f32(0.0, 0.0, rounding, false),
            fma_f32(1.0, 1.0, payload, rounding, false),
            sqrt_f32(-1.0, rounding, false),
        ] {
            assert_eq!(result.to_bits(), NAN_F32);
        }
        assert_eq!(sub_f64(f64::INFINITY, f64::INFINITY, rounding).to_bits(), NAN_F64);
        assert_eq!(sqrt_f64(-1.0, rounding).to_bits(), NAN_F64);
        let signalling = f64::from_bits(0xfff0_0000_0000_0001);
        assert_eq!(mul_f64(2.0, signalling, rounding).to_bits(), 0xfff8_0000_0000_0001);
    }
}

#[test]
fn flush_and_saturate() {
    let subnormal = f32::from_bits(0x8000_0001);
    assert_eq!(add_f32(subnormal, -0.0, Rn, true).to_bits(), 0x8000_0000);
    assert_eq!(mul_f32(f32::MIN_POSITIVE, 0.5, Rn, true).to_bits(), 0);
    assert_eq!(neg_f32(subnormal, true).to_bits(), 0);
    assert_eq!(abs_f32(subnormal, false).to_bits(), 1);
    for (x, saturated) in [(-1.0, 0.0), (-0.0, 0.0), (0.25, 0.25), (7.0, 1.0), (f32::NAN, 0.0)] {
        assert_eq!(saturate_f32(x).to_bits(), f32::to_bits(saturated));
    }
}
