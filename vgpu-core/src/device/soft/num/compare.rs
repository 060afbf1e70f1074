//! Comparisons of `setp`, `set` and `slct`.

use super::float::flush_f32;
use super::half::HalfFormat;

/// Comparison operator of `setp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Comparison {
    /// `.eq`: equal; false with NaN.
    Eq,
    /// `.ne`: not equal; false with NaN.
    Ne,
    /// `.lt`: less; false with NaN.
    Lt,
    /// `.le`: less or equal; false with NaN.
    Le,
    /// `.gt`: greater; false with NaN.
    Gt,
    /// `.ge`: greater or equal; false with NaN.
    Ge,
    /// `.lo`: lower, unsigned integers.
    Lo,
    /// `.ls`: lower or same, unsigned integers.
    Ls,
    /// `.hi`: higher, unsigned integers.
    Hi,
    /// `.hs`: higher or same, unsigned integers.
    Hs,
    /// `.equ`: equal, or an operand is NaN.
    Equ,
    /// `.neu`: not equal, or an operand is NaN.
    Neu,
    /// `.ltu`: less, or an operand is NaN.
    Ltu,
    /// `.leu`: less or equal, or an operand is NaN.
    Leu,
    /// `.gtu`: greater, or an operand is NaN.
    Gtu,
    /// `.geu`: greater or equal, or an operand is NaN.
    Geu,
    /// `.num`: no operand is NaN.
    Num,
    /// `.nan`: an operand is NaN.
    Nan,
}

/// Applies `comparison` to two values of an ordered type; `unordered` when an operand is NaN.
#[inline]
fn holds<T: PartialOrd>(comparison: Comparison, a: T, b: T, unordered: bool) -> bool {
    match comparison {
        Comparison::Eq => a == b,
        // `!=` of Rust is true with NaN, `.ne` is not.
        Comparison::Ne => !unordered && a != b,
        Comparison::Lt | Comparison::Lo => a < b,
        Comparison::Le | Comparison::Ls => a <= b,
        Comparison::Gt | Comparison::Hi => a > b,
        Comparison::Ge | Comparison::Hs => a >= b,
        Comparison::Equ => unordered || a == b,
        Comparison::Neu => unordered || a != b,
        Comparison::Ltu => unordered || a < b,
        Comparison::Leu => unordered || a <= b,
        Comparison::Gtu => unordered || a > b,
        Comparison::Geu => unordered || a >= b,
        Comparison::Num => !unordered,
        Comparison::Nan => unordered,
    }
}

/// `setp.op.{s16,s32,s64}` on sign-extended values.
///
/// `.lo`, `.ls`, `.hi` and `.hs` compare the bit patterns as unsigned; operators for floats only act as on
/// numbers.
#[inline]
pub fn compare_signed(comparison: Comparison, a: i64, b: i64) -> bool {
    match comparison {
        Comparison::Lo | Comparison::Ls | Comparison::Hi | Comparison::Hs => {
            holds(comparison, a as u64, b as u64, false)
        }
        _ => holds(comparison, a, b, false),
    }
}

/// `setp.op.{b16,b32,b64,u16,u32,u64}` on zero-extended values.
#[inline]
pub fn compare_unsigned(comparison: Comparison, a: u64, b: u64) -> bool {
    holds(comparison, a, b, false)
}

/// `setp.op{.ftz}.f32`.
#[inline]
pub fn compare_f32(comparison: Comparison, a: f32, b: f32, ftz: bool) -> bool {
    holds(comparison, flush_f32(a, ftz), flush_f32(b, ftz), a.is_nan() || b.is_nan())
}

/// `setp.op.f64`.
#[inline]
pub fn compare_f64(comparison: Comparison, a: f64, b: f64) -> bool {
    holds(comparison, a, b, a.is_nan() || b.is_nan())
}

/// `setp.op{.ftz}.{f16,bf16}`.
#[inline]
pub fn compare_half(comparison: Comparison, format: HalfFormat, a: u16, b: u16, ftz: bool) -> bool {
    let value = |x| format.to_f32(format.flush(x, ftz));
    compare_f32(comparison, value(a), value(b), false)
}
