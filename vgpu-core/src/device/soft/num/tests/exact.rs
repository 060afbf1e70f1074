//! The oracle: exact signed integers, and whether a float is the right rounding of an exact value.

use std::cmp::Ordering;

use proptest::prelude::*;

use super::super::Rounding;

/// An exact integer of any size: sign and magnitude in 32-bit limbs, lowest first, without leading zeros.
#[derive(Clone, Debug)]
pub(super) struct Int {
    negative: bool,
    limbs: Vec<u32>,
}

/// Power of two that makes every finite `f64` an integer.
pub(super) const SCALE: usize = 1074;

impl Int {
    /// `x * 2^SCALE`.
    pub(super) fn scaled(x: f64) -> Self {
        let bits = x.to_bits();
        let biased = (bits >> 52 & 0x7ff) as usize;
        let fraction = bits & ((1 << 52) - 1);
        let significand = if biased == 0 { fraction } else { fraction | 1 << 52 };
        let limbs = vec![significand as u32, (significand >> 32) as u32];
        Self { negative: x.is_sign_negative(), limbs }.trim().shl(biased.saturating_sub(1))
    }

    fn trim(mut self) -> Self {
        while self.limbs.last() == Some(&0) {
            self.limbs.pop();
        }
        self.negative &= !self.limbs.is_empty();
        self
    }

    pub(super) fn shl(&self, bits: usize) -> Self {
        let mut limbs = vec![0; bits / 32];
        let mut carry = 0u64;
        for limb in &self.limbs {
            let wide = u64::from(*limb) << (bits % 32) | carry;
            limbs.push(wide as u32);
            carry = wide >> 32;
        }
        limbs.push(carry as u32);
        Self { negative: self.negative, limbs }.trim()
    }

    pub(super) fn mul(&self, other: &Self) -> Self {
        let mut limbs = vec![0u32; self.limbs.len() + other.limbs.len()];
        for (i, a) in self.limbs.iter().enumerate() {
            let mut carry = 0u64;
            for (j, b) in other.limbs.iter().enumerate() {
                let wide = u64::from(*a) * u64::from(*b) + u64::from(limbs[i + j]) + carry;
                limbs[i + j] = wide as u32;
                carry = wide >> 32;
            }
            limbs[i + other.limbs.len()] = carry as u32;
        }
        Self { negative: self.negative != other.negative, limbs }.trim()
    }

    pub(super) fn add(&self, other: &Self) -> Self {
        let same = self.negative == other.negative;
        let (large, small) =
            if self.magnitude_cmp(other) == Ordering::Less { (other, self) } else { (self, other) };
        let mut limbs = Vec::new();
        let mut carry = 0i64;
        for i in 0..=large.limbs.len() {
            let a = i64::from(large.limbs.get(i).copied().unwrap_or(0));
            let b = i64::from(small.limbs.get(i).copied().unwrap_or(0));
            let wide = a + if same { b } else { -b } + carry;
            limbs.push(wide as u32);
            carry = wide >> 32;
        }
        Self { negative: large.negative, limbs }.trim()
    }

    fn magnitude_cmp(&self, other: &Self) -> Ordering {
        let by_length = self.limbs.len().cmp(&other.limbs.len());
        by_length.then_with(|| self.limbs.iter().rev().cmp(other.limbs.iter().rev()))
    }

    pub(super) fn cmp(&self, other: &Self) -> Ordering {
        match (self.negative, other.negative) {
            (false, false) => self.magnitude_cmp(other),
            (true, true) => other.magnitude_cmp(self),
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
        }
    }
}

/// A value of some format between its neighbours, all as `f64`; past the largest finite value the
/// neighbour is the power of two that the format lacks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) value: f64,
    pub(super) below: f64,
    pub(super) above: f64,
    pub(super) even: bool,
    /// Largest finite value.
    pub(super) max: f64,
}

impl Candidate {
    pub(super) fn f64(value: f64) -> Self {
        let (below, above) = (value.next_down(), value.next_up());
        Self { value, below, above, even: value.to_bits() & 1 == 0, max: f64::MAX }
    }

    /// From a monotone map of the format's magnitudes 0..=infinity to `f64`.
    pub(super) fn narrow(
        bits: u64,
        sign: u64,
        infinity: u64,
        overflow: f64,
        map: impl Fn(u64) -> f64,
    ) -> Self {
        let negative = bits & sign != 0;
        let magnitude = bits & !sign;
        let at = |m: u64| if m == infinity { overflow } else { map(m) };
        let outward = if magnitude >= infinity { f64::INFINITY } else { at(magnitude + 1) };
        let inward = if magnitude == 0 { -map(1) } else { at(magnitude - 1) };
        let (value, max) = (if magnitude == infinity { overflow } else { map(magnitude) }, map(infinity - 1));
        let even = bits & 1 == 0;
        match negative {
            false => Self { value, below: inward, above: outward, even, max },
            true => Self { value: -value, below: -outward, above: -inward, even, max },
        }
    }

    pub(super) fn f32(value: f32) -> Self {
        let map = |m: u64| f64::from(f32::from_bits(m as u32));
        Self::narrow(u64::from(value.to_bits()), 1 << 31, 0x7f80_0000, 2f64.powi(128), map)
    }

    /// Whether this is the exact value rounded by `rounding`. `order(x)` compares finite `x` with the exact
    /// value. Infinity as a candidate stands for its overflow neighbour.
    pub(super) fn is_rounding(self, rounding: Rounding, order: impl Fn(f64) -> Ordering) -> bool {
        let lower = |x: f64| if x.is_infinite() { x < 0.0 } else { order(x) != Ordering::Greater };
        let strictly_above = |x: f64| if x.is_infinite() { x > 0.0 } else { order(x) == Ordering::Greater };
        let strictly_below = |x: f64| if x.is_infinite() { x < 0.0 } else { order(x) == Ordering::Less };
        let upper = |x: f64| if x.is_infinite() { x > 0.0 } else { order(x) != Ordering::Less };
        // Beyond the largest value the directed modes stop at it, or skip to infinity.
        let beyond = self.value.abs() >= self.max;
        let towards_negative = || {
            if self.value > self.max {
                return false;
            }
            lower(self.value) && (strictly_above(self.above) || beyond && self.value > 0.0)
                || beyond && self.value < -self.max && strictly_above(-self.max)
        };
        let towards_positive = || {
            if self.value < -self.max {
                return false;
            }
            upper(self.value) && (strictly_below(self.below) || beyond && self.value < 0.0)
                || beyond && self.value > self.max && strictly_below(self.max)
        };
        match rounding {
            Rounding::Rm => towards_negative(),
            Rounding::Rp => towards_positive(),
            Rounding::Rz if lower(0.0) => towards_negative(),
            Rounding::Rz => towards_positive(),
            Rounding::Rn | Rounding::Rna => {
                let low = order(f64::midpoint(self.below, self.value));
                let high = order(f64::midpoint(self.value, self.above));
                let keeps_tie = |outward: bool| if rounding == Rounding::Rn { self.even } else { !outward };
                let low_fits = match low {
                    Ordering::Less => true,
                    Ordering::Equal => keeps_tie(self.value <= 0.0),
                    Ordering::Greater => false,
                };
                let high_fits = self.above.is_infinite()
                    || match high {
                        Ordering::Greater => true,
                        Ordering::Equal => keeps_tie(self.value >= 0.0),
                        Ordering::Less => false,
                    };
                let low_fits = low_fits || self.below.is_infinite();
                low_fits && high_fits
            }
        }
    }
}

/// The modes that leave nearest.
pub(super) const DIRECTED: [Rounding; 3] = [Rounding::Rz, Rounding::Rm, Rounding::Rp];

/// Finite `f64` values that meet each other: exponents near one another or at the edges, few or many bits.
pub(super) fn doubles() -> impl Strategy<Value = f64> {
    let biased = prop_oneof![4 => 1010u64..1040, 2 => 0u64..60, 1 => 0u64..2047, 2 => 1990u64..2047, 2 => 950u64..1100];
    let fraction = prop_oneof![
        3 => 0u64..1 << 52,
        1 => Just(0),
        1 => (0u64..16).prop_map(|x| (1 << 52) - 1 - x),
        1 => 0u64..16,
        1 => (0u64..1 << 26).prop_map(|x| x << 26),
    ];
    (any::<bool>(), biased, fraction)
        .prop_map(|(negative, e, f)| f64::from_bits(u64::from(negative) << 63 | e << 52 | f))
}

/// Finite `f32` values with the same aims.
pub(super) fn floats() -> impl Strategy<Value = f32> {
    let biased =
        prop_oneof![4 => 115u32..140, 2 => 0u32..30, 1 => 0u32..255, 2 => 230u32..255, 2 => 50u32..80];
    let fraction = prop_oneof![
        3 => 0u32..1 << 23,
        1 => Just(0),
        1 => (0u32..8).prop_map(|x| (1 << 23) - 1 - x),
        1 => 0u32..8,
        1 => (0u32..1 << 11).prop_map(|x| x << 12),
    ];
    (any::<bool>(), biased, fraction)
        .prop_map(|(negative, e, f)| f32::from_bits(u32::from(negative) << 31 | e << 23 | f))
}
