//! PTX arithmetic: rounding modes, small floats, conversions, approximate functions.
//!
//! Every function here is pure, total (no input panics) and works on one scalar: native `f32`/`f64`, the bit
//! pattern of a 16-bit float as `u16`, or an integer. Rules are those of the PTX ISA; where it leaves a result
//! open, the function's comment says what was chosen. Modifiers that PTX writes on an instruction are
//! arguments (`rounding`, `ftz`) or a step of their own after the operation ([`float::saturate_f32`]).

pub mod approx;
pub mod bits;
pub mod compare;
pub mod convert;
pub mod double;
pub mod float;
pub mod half;
pub mod integer;
pub mod rounding;
pub mod select;

#[cfg(test)]
mod tests;

pub use bits::{Overshoot, PermuteMode};
pub use compare::Comparison;
pub use convert::IntegerType;
pub use half::{HalfFormat, HalfModifiers};
pub use rounding::{IntegerRounding, Rounding};
pub use select::{Extremum, FloatProperty, MinMaxModifiers};
