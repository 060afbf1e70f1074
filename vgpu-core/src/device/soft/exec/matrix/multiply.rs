//! `D = A * B + C`.
//!
//! PTX leaves the order and the precision of the sums open. Here each element of `D` starts from its element of `C`
//! and takes one product after the other, by rising `k`: products are exact, and each addition rounds once, to the
//! nearest `.f32` (`.f64` for `.f64`). With `.f16` accumulators the sum is an `.f32` too, rounded to `.f16` at the end.
//! Sums of integers are exact and wrap to 32 bits at the end, or are clamped with `.satfinite`.

use super::super::super::num::{HalfFormat, Rounding, double, float};
use super::fragment::{Fragment, Scalar};

/// What becomes of a pair of elements before it is added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Pairing {
    /// Their product. That of two bits is their conjunction: `.and.popc`.
    Product,
    /// `.xor.popc`.
    Xor,
}

/// A matrix multiplication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Multiply {
    pub(in super::super) a: Fragment,
    pub(in super::super) b: Fragment,
    pub(in super::super) c: Fragment,
    pub(in super::super) d: Fragment,
    pub(in super::super) pairing: Pairing,
    /// `.satfinite`.
    pub(in super::super) saturate: bool,
    /// Rounding of `.f64`.
    pub(in super::super) rounding: Rounding,
}

impl Multiply {
    /// The elements of `D`, row by row, from those of the others; all as bits.
    pub(super) fn compute(self, a: &[u64], b: &[u64], c: &[u64]) -> Vec<u64> {
        match self.a.scalar {
            Scalar::F64 => self.sums(
                &a.iter().copied().map(f64::from_bits).collect::<Vec<_>>(),
                &b.iter().copied().map(f64::from_bits).collect::<Vec<_>>(),
                |at| f64::from_bits(c[at]),
                |sum, a, b| double::fma_f64(a, b, sum, self.rounding),
                f64::to_bits,
            ),
            Scalar::F16 | Scalar::Bf16 | Scalar::Tf32 => self.sums(
                &a.iter().map(|&bits| float(self.a.scalar, bits)).collect::<Vec<_>>(),
                &b.iter().map(|&bits| float(self.b.scalar, bits)).collect::<Vec<_>>(),
                |at| float(self.c.scalar, c[at]),
                |sum, a, b| float::fma_f32(a, b, sum, Rounding::Rn, false),
                |sum| match self.d.scalar {
                    Scalar::F16 => HalfFormat::F16.round_f32(sum, Rounding::Rn).into(),
                    _ => sum.to_bits().into(),
                },
            ),
            _ => self.sums(
                &a.iter().map(|&bits| integer(self.a.scalar, bits)).collect::<Vec<_>>(),
                &b.iter().map(|&bits| integer(self.b.scalar, bits)).collect::<Vec<_>>(),
                |at| integer(Scalar::S32, c[at]),
                |sum, a, b| sum + if self.pairing == Pairing::Xor { a ^ b } else { a * b },
                |sum| {
                    let bounds = (i64::from(i32::MIN), i64::from(i32::MAX));
                    let sum = if self.saturate { sum.clamp(bounds.0, bounds.1) } else { sum };
                    sum.cast_unsigned() & u64::from(u32::MAX)
                },
            ),
        }
    }

    fn sums<E: Copy, S>(
        self,
        a: &[E],
        b: &[E],
        start: impl Fn(usize) -> S,
        add: impl Fn(S, E, E) -> S,
        end: impl Fn(S) -> u64,
    ) -> Vec<u64> {
        let (inner, columns) = (self.a.columns, self.d.columns);
        let element = |at: usize| {
            let (row, column) = (at / columns, at % columns);
            end((0..inner).fold(start(at), |sum, k| add(sum, a[row * inner + k], b[k * columns + column])))
        };
        (0..self.d.elements()).map(element).collect()
    }
}

/// A floating-point element as the `.f32` that equals it.
#[allow(clippy::cast_possible_truncation, reason = "the bits of an element are as many as its type has")]
fn float(scalar: Scalar, bits: u64) -> f32 {
    match scalar {
        Scalar::F16 => HalfFormat::F16.to_f32(bits as u16),
        Scalar::Bf16 => HalfFormat::Bf16.to_f32(bits as u16),
        // The lower 13 bits of the register are no part of the number.
        Scalar::Tf32 => f32::from_bits(bits as u32 & !0x1fff),
        _ => f32::from_bits(bits as u32),
    }
}

/// The value of an integer element.
fn integer(scalar: Scalar, bits: u64) -> i64 {
    let unused = 64 - scalar.bits();
    match scalar {
        Scalar::S4 | Scalar::S8 | Scalar::S32 => (bits << unused).cast_signed() >> unused,
        _ => bits.cast_signed(),
    }
}
