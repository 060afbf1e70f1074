//! 16-bit floats.

use std::cmp::Ordering;

use proptest::prelude::*;

use super::super::Rounding::{Rm, Rn, Rna, Rp, Rz};
use super::super::half::{HALF_NAN, HalfFormat, HalfModifiers, map_pair, pack_pair, zip_pair, zip3_pair};
use super::exact::{Candidate, Int, SCALE, doubles};

const FORMATS: [HalfFormat; 2] = [HalfFormat::F16, HalfFormat::Bf16];

fn candidate(format: HalfFormat, bits: u16) -> Candidate {
    let (infinity, overflow) = match format {
        HalfFormat::F16 => (0x7c00, 65536.0),
        HalfFormat::Bf16 => (0x7f80, 2f64.powi(128)),
    };
    Candidate::narrow(u64::from(bits), 0x8000, infinity, overflow, |m| format.to_f64(m as u16))
}

/// Value by the definition of the format.
fn decode(x: u16) -> f64 {
    let (exponent, fraction) = (i32::from(x >> 10 & 0x1f), f64::from(x & 0x3ff));
    let magnitude = match exponent {
        0 => fraction * 2f64.powi(-24),
        31 => f64::INFINITY,
        _ => (1024.0 + fraction) * 2f64.powi(exponent - 25),
    };
    if x & 0x8000 == 0 { magnitude } else { -magnitude }
}

#[test]
fn every_pattern_survives_a_round_trip() {
    for format in FORMATS {
        for x in 0..=u16::MAX {
            for rounding in [Rn, Rna, Rz, Rm, Rp] {
                let expected = if format.is_nan(x) { HALF_NAN } else { x };
                assert_eq!(format.round_f32(format.to_f32(x), rounding), expected, "{format:?} {x:#x}");
            }
            if format == HalfFormat::F16 && !format.is_nan(x) {
                assert_eq!(format.to_f64(x).to_bits(), decode(x).to_bits(), "{x:#x}");
            }
        }
    }
}

#[test]
fn midpoints_and_their_neighbours_round_to_nearest() {
    for format in FORMATS {
        let infinity = if format == HalfFormat::F16 { 0x7c00 } else { 0x7f80 };
        for x in 0..infinity - 1 {
            let (low, high) = (format.to_f32(x), format.to_f32(x + 1));
            let middle = f32::midpoint(low, high);
            let even = x + (x & 1);
            assert_eq!(format.round_f32(middle, Rn), even, "{format:?} {x:#x}");
            assert_eq!(format.round_f32(middle, Rna), x + 1);
            // The subnormals of bf16 are those of f32, whose midpoints next to zero still are representable.
            assert_eq!(format.round_f32(middle.next_up(), Rn), x + 1);
            assert_eq!(format.round_f32(middle.next_down(), Rn), x);
            assert_eq!(format.round_f32(middle, Rz), x);
            assert_eq!(format.round_f32(-middle, Rm), (x + 1) | 0x8000);
        }
    }
}

#[test]
fn saturation() {
    let f16 = HalfFormat::F16;
    let sat = HalfModifiers { sat: true, ..Default::default() };
    let relu = HalfModifiers { relu: true, ..Default::default() };
    assert_eq!(f16.add(0x3c00, 0x3c00, sat), 0x3c00);
    assert_eq!(f16.add(0xbc00, 0, sat), 0);
    assert_eq!(f16.add(HALF_NAN, 0, sat), 0);
    assert_eq!(f16.fma(0xbc00, 0x3c00, 0, relu), 0);
    assert_eq!(f16.fma(0xfe00, 0x3c00, 0, relu), HALF_NAN);
    assert_eq!(f16.saturate_finite(0xfc00), 0xfbff);
    assert_eq!(f16.round_f32(65504.0, Rn), 0x7bff);
    assert_eq!(f16.round_f32(65520.0, Rn), 0x7c00);
    assert_eq!(f16.round_f32(65519.0, Rn), 0x7bff);
    assert_eq!(f16.round_f32(f32::MAX, Rz), 0x7bff);
    assert_eq!(HalfFormat::Bf16.round_f32(f32::MAX, Rn), 0x7f80);
}

#[test]
fn subnormals_are_flushed_on_request() {
    let f16 = HalfFormat::F16;
    let ftz = HalfModifiers { ftz: true, ..Default::default() };
    assert_eq!(f16.add(0x0001, 0x0001, HalfModifiers::default()), 0x0002);
    assert_eq!(f16.add(0x8001, 0x8000, ftz), 0x8000);
    assert_eq!(f16.mul(0x0400, 0xb800, ftz), 0x8000);
    assert_eq!(f16.neg(0x0001, true), 0x8000);
    assert_eq!(f16.abs(0x8001, false), 0x0001);
}

#[test]
fn pairs_keep_their_order() {
    let pair = pack_pair(1, 2);
    assert_eq!(pair, 0x0002_0001);
    assert_eq!(map_pair(pair, |x| x + 1), 0x0003_0002);
    assert_eq!(zip_pair(pair, pair, |x, y| x + y), 0x0004_0002);
    assert_eq!(zip3_pair(pair, pair, pair, |x, y, z| x + y + z), 0x0006_0003);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn doubles_round_once(x in prop_oneof![doubles(), any::<f32>().prop_map(f64::from), -70000.0..70000.0]) {
        prop_assume!(x.is_finite());
        let exact = Int::scaled(x);
        for format in FORMATS {
            for rounding in [Rn, Rna, Rz, Rm, Rp] {
                let result = format.round_f64(x, rounding);
                let order = |y: f64| Int::scaled(y).cmp(&exact);
                prop_assert!(
                    candidate(format, result).is_rounding(rounding, order),
                    "{:?} {:?} {:e} -> {:#x}", format, rounding, x, result
                );
            }
        }
    }

    #[test]
    fn arithmetic_rounds_once(a in any::<u16>(), b in any::<u16>(), c in any::<u16>()) {
        for format in FORMATS {
            let [x, y, z] = [a, b, c].map(|h| format.to_f64(h));
            prop_assume!(x.is_finite() && y.is_finite() && z.is_finite());
            let plain = HalfModifiers::default();
            let check = |result: u16, exact: Int| {
                let order = |v: f64| -> Ordering { Int::scaled(v).shl(SCALE).cmp(&exact) };
                candidate(format, result).is_rounding(Rn, order)
            };
            let wide = |v: f64| Int::scaled(v).shl(SCALE);
            let product = Int::scaled(x).mul(&Int::scaled(y));
            prop_assert!(check(format.add(a, b, plain), wide(x).add(&wide(y))));
            prop_assert!(check(format.sub(a, b, plain), wide(x).add(&wide(-y))));
            prop_assert!(check(format.mul(a, b, plain), product.clone()));
            prop_assert!(check(format.fma(a, b, c, plain), product.add(&wide(z))), "{:?} {:#x} {:#x} {:#x}", format, a, b, c);
        }
    }
}
