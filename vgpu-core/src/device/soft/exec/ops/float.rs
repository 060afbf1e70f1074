//! Arithmetic of `.f32` and `.f64`.
//!
//! The plain forms are written so that the loop over the lanes becomes vector code; the others call
//! [`num`](crate::device::soft::num) lane by lane.

use super::super::super::num::{
    self, Extremum, MinMaxModifiers, Rounding, approx, double, float, select as pick,
};
use super::super::super::ptx::Type;
use super::super::inst::{Alu, Inst, Mode};
use super::super::lanes::{Frame, LANES, map1, map2, map3, read, write};
use super::super::opcode::Opcode;
use super::Form;

pub(super) fn select(opcode: &Opcode<'_>) -> Option<Form> {
    let ty = opcode.ty()?;
    let single = ty == Type::F32;
    let mode = Mode {
        rounding: opcode.rounding().unwrap_or(Rounding::Rn),
        ftz: opcode.flag("ftz"),
        sat: opcode.flag("sat"),
        ..Mode::default()
    };
    if mode.rounding == Rounding::Rna {
        return None;
    }
    let plain = mode.rounding == Rounding::Rn && !mode.ftz && !mode.sat;
    let (run, operands) = match opcode.name {
        "add" | "sub" | "mul" if single => (binary_f32(opcode.name, plain)?, 2),
        "add" | "sub" | "mul" => (binary_f64(opcode.name, plain)?, 2),
        "fma" | "mad" => (fused(single, plain), 3),
        "div" => (division(opcode, single)?, 2),
        "rcp" | "sqrt" | "rsqrt" | "sin" | "cos" | "lg2" | "ex2" | "tanh" => {
            (function(opcode, single, mode.ftz)?, 1)
        }
        "abs" | "neg" => (sign(opcode.name, single)?, 1),
        "copysign" if single => ((|f, i, m| map2(f, i, m, pick::copysign_f32)) as Alu, 2),
        "copysign" => ((|f, i, m| map2(f, i, m, pick::copysign_f64)) as Alu, 2),
        "min" | "max" => return extremum(opcode, single, mode),
        _ => return None,
    };
    Some(Form::new(run, ty, &[ty; 3][..operands]).with(mode))
}

/// The canonical NaN for a NaN; no branch, so that it becomes a vector blend.
#[inline(always)]
fn canonical(x: f32) -> f32 {
    if x.is_nan() { f32::from_bits(float::NAN_F32) } else { x }
}

#[inline(always)]
fn saturated(inst: &Inst, x: f32) -> f32 {
    if inst.mode.sat { float::saturate_f32(x) } else { x }
}

fn binary_f32(name: &str, plain: bool) -> Option<Alu> {
    Some(match (name, plain) {
        ("add", true) => |f, i, m| map2(f, i, m, |a: f32, b: f32| canonical(a + b)),
        ("sub", true) => |f, i, m| map2(f, i, m, |a: f32, b: f32| canonical(a - b)),
        ("mul", true) => |f, i, m| map2(f, i, m, |a: f32, b: f32| canonical(a * b)),
        ("add", false) => |f, i, m| {
            map2(f, i, m, |a, b| saturated(i, float::add_f32(a, b, i.mode.rounding, i.mode.ftz)));
        },
        ("sub", false) => |f, i, m| {
            map2(f, i, m, |a, b| saturated(i, float::sub_f32(a, b, i.mode.rounding, i.mode.ftz)));
        },
        ("mul", false) => |f, i, m| {
            map2(f, i, m, |a, b| saturated(i, float::mul_f32(a, b, i.mode.rounding, i.mode.ftz)));
        },
        _ => return None,
    })
}

fn binary_f64(name: &str, plain: bool) -> Option<Alu> {
    Some(match (name, plain) {
        ("add", true) => |f, i, m| map2(f, i, m, |a, b| double::add_f64(a, b, Rounding::Rn)),
        ("sub", true) => |f, i, m| map2(f, i, m, |a, b| double::sub_f64(a, b, Rounding::Rn)),
        ("mul", true) => |f, i, m| map2(f, i, m, |a, b| double::mul_f64(a, b, Rounding::Rn)),
        ("add", false) => |f, i, m| map2(f, i, m, |a, b| double::add_f64(a, b, i.mode.rounding)),
        ("sub", false) => |f, i, m| map2(f, i, m, |a, b| double::sub_f64(a, b, i.mode.rounding)),
        ("mul", false) => |f, i, m| map2(f, i, m, |a, b| double::mul_f64(a, b, i.mode.rounding)),
        _ => return None,
    })
}

/// `fma.rn.f32`.
///
/// The product is exact in `f64`; rounding the sum there and then once more to `f32` is right unless the first
/// rounding lands on the middle between two `f32`, for only then it can hide on which side the sum lies
/// (Figueroa, "When is double rounding innocuous?", 1995). So the loop is short and becomes vector code on any
/// processor, and rows with such a lane, which are rare, are done again exactly.
fn fused_row(frame: &mut Frame, inst: &Inst, mask: u32) {
    let (a, b, c) = (read::<u32>(frame, inst.a), read::<u32>(frame, inst.b), read::<u32>(frame, inst.c));
    let mut out = [0; LANES];
    let mut doubtful = 0;
    for lane in 0..LANES {
        let [a, b, c] = [a[lane], b[lane], c[lane]].map(f32::from_bits);
        let sum = f64::from(a) * f64::from(b) + f64::from(c);
        #[allow(clippy::cast_possible_truncation, reason = "this is the second rounding")]
        let rounded = canonical(sum as f32);
        out[lane] = rounded.to_bits();
        doubtful |= is_doubtful(sum);
    }
    if doubtful != 0 {
        for lane in 0..LANES {
            let [a, b, c] = [a[lane], b[lane], c[lane]].map(f32::from_bits);
            out[lane] = fused_exact(a, b, c).to_bits();
        }
    }
    write(frame, inst.dst, mask, &out);
}

/// All ones if `sum` may lie in the middle between two `f32`, else zero.
#[inline(always)]
fn is_doubtful(sum: f64) -> u32 {
    // Bits that an f32 of normal size does not have, of which the middle has only the highest.
    const DROPPED: u32 = (1 << 29) - 1;
    const MIDDLE: u32 = 1 << 28;
    // High word of the smallest normal f32; below it more bits are dropped, and any value may be a middle.
    const NORMAL: u32 = 0x3810_0000;
    let bits = sum.to_bits();
    #[allow(clippy::cast_possible_truncation, reason = "the halves are looked at one by one")]
    let (low, high) = (bits as u32, (bits >> 32) as u32 & 0x7fff_ffff);
    let middle = if low & DROPPED == MIDDLE { u32::MAX } else { 0 };
    // Zero is exact.
    let tiny = if high.wrapping_sub(1) < NORMAL { u32::MAX } else { 0 };
    middle | tiny
}

/// `a * b + c` rounded once, to nearest.
///
/// The sum is rounded to odd in `f64` (Boldo and Melquiond, "Emulation of FMA and correctly rounded sums",
/// 2008), so that rounding it to `f32` is the only rounding that counts.
#[inline(always)]
fn fused_exact(a: f32, b: f32, c: f32) -> f32 {
    let product = f64::from(a) * f64::from(b);
    let addend = f64::from(c);
    let sum = product + addend;
    // Two-sum (Knuth): the exact error of the addition. It is NaN where the sum is infinite or NaN, and then
    // neither comparison below holds.
    let part = sum - product;
    let error = (product - (sum - part)) + (addend - part);
    let bits = sum.to_bits();
    // One step away from zero if the error has the sum's sign, else one step towards it; only if even.
    let away = u64::from(error > 0.0) & !(bits >> 63) | u64::from(error < 0.0) & (bits >> 63);
    let inexact = u64::from(error > 0.0) | u64::from(error < 0.0);
    let even = !bits & 1;
    let odd = bits.wrapping_add((inexact & even).wrapping_mul((away << 1).wrapping_sub(1)));
    #[allow(clippy::cast_possible_truncation, reason = "this is the one rounding of the operation")]
    canonical(f64::from_bits(odd) as f32)
}

fn fused(single: bool, plain: bool) -> Alu {
    match (single, plain) {
        (true, true) => fused_row,
        (true, false) => |f, i, m| {
            map3(f, i, m, |a, b, c| saturated(i, float::fma_f32(a, b, c, i.mode.rounding, i.mode.ftz)));
        },
        (false, true) => |f, i, m| map3(f, i, m, |a, b, c| double::fma_f64(a, b, c, Rounding::Rn)),
        (false, false) => |f, i, m| map3(f, i, m, |a, b, c| double::fma_f64(a, b, c, i.mode.rounding)),
    }
}

fn division(opcode: &Opcode<'_>, single: bool) -> Option<Alu> {
    if !single {
        return Some(|f, i, m| map2(f, i, m, |a, b| double::div_f64(a, b, i.mode.rounding)));
    }
    Some(if opcode.flag("approx") {
        |f, i, m| map2(f, i, m, |a, b| approx::div_approx(a, b, i.mode.ftz))
    } else if opcode.flag("full") {
        |f, i, m| map2(f, i, m, |a, b| approx::div_full(a, b, i.mode.ftz))
    } else {
        |f, i, m| map2(f, i, m, |a, b| float::div_f32(a, b, i.mode.rounding, i.mode.ftz))
    })
}

fn function(opcode: &Opcode<'_>, single: bool, ftz: bool) -> Option<Alu> {
    let approximate = opcode.flag("approx");
    Some(match (opcode.name, single, approximate) {
        ("rcp", true, true) => |f, i, m| map1(f, i, m, |a| approx::rcp_approx(a, i.mode.ftz)),
        ("rcp", true, false) => |f, i, m| map1(f, i, m, |a| float::rcp_f32(a, i.mode.rounding, i.mode.ftz)),
        ("sqrt", true, true) => |f, i, m| map1(f, i, m, |a| approx::sqrt_approx(a, i.mode.ftz)),
        ("sqrt", true, false) => |f, i, m| map1(f, i, m, |a| float::sqrt_f32(a, i.mode.rounding, i.mode.ftz)),
        ("rsqrt", true, true) => |f, i, m| map1(f, i, m, |a| approx::rsqrt_approx(a, i.mode.ftz)),
        ("sin", true, true) => |f, i, m| map1(f, i, m, |a| approx::sin_approx(a, i.mode.ftz)),
        ("cos", true, true) => |f, i, m| map1(f, i, m, |a| approx::cos_approx(a, i.mode.ftz)),
        ("lg2", true, true) => |f, i, m| map1(f, i, m, |a| approx::lg2_approx(a, i.mode.ftz)),
        ("ex2", true, true) => |f, i, m| map1(f, i, m, |a| approx::ex2_approx(a, i.mode.ftz)),
        ("tanh", true, true) => |f, i, m| map1(f, i, m, approx::tanh_approx),
        ("rcp", false, true) if ftz => |f, i, m| map1(f, i, m, approx::rcp_approx_f64),
        ("rsqrt", false, true) if ftz => |f, i, m| map1(f, i, m, approx::rsqrt_approx_ftz_f64),
        ("rsqrt", false, true) => |f, i, m| map1(f, i, m, approx::rsqrt_approx_f64),
        ("rcp", false, false) => |f, i, m| map1(f, i, m, |a| double::rcp_f64(a, i.mode.rounding)),
        ("sqrt", false, false) => |f, i, m| map1(f, i, m, |a| double::sqrt_f64(a, i.mode.rounding)),
        _ => return None,
    })
}

fn sign(name: &str, single: bool) -> Option<Alu> {
    Some(match (name, single) {
        ("abs", true) => |f, i, m| map1(f, i, m, |a| float::abs_f32(a, i.mode.ftz)),
        ("neg", true) => |f, i, m| map1(f, i, m, |a| float::neg_f32(a, i.mode.ftz)),
        ("abs", false) => |f, i, m| map1(f, i, m, double::abs_f64),
        ("neg", false) => |f, i, m| map1(f, i, m, double::neg_f64),
        _ => return None,
    })
}

/// `min` and `max`, with two or three sources (the decoder counts them).
fn extremum(opcode: &Opcode<'_>, single: bool, mut mode: Mode) -> Option<Form> {
    mode.min = opcode.name == "min";
    mode.nan = opcode.flag("NaN");
    mode.xorsign = opcode.flag("xorsign") && opcode.flag("abs");
    let ty = if single { Type::F32 } else { Type::F64 };
    let run: Alu = if single {
        |f, i, m| map2(f, i, m, |a, b| pick::pick_f32(keep(i), a, b, modifiers(i)))
    } else {
        |f, i, m| map2(f, i, m, |a, b| pick::pick_f64(keep(i), a, b, modifiers(i)))
    };
    Some(Form::new(run, ty, &[ty; 2]).with(mode))
}

pub(super) fn keep(inst: &Inst) -> Extremum {
    if inst.mode.min { Extremum::Min } else { Extremum::Max }
}

pub(super) fn modifiers(inst: &Inst) -> MinMaxModifiers {
    let mode = inst.mode;
    num::MinMaxModifiers { ftz: mode.ftz, nan: mode.nan, abs: mode.xorsign, xorsign: mode.xorsign }
}

#[cfg(test)]
mod tests {
    use super::super::super::inst::{Inst, Run};
    use super::super::super::lanes::{FULL, Frame, FrameShape, LANES};
    use super::{Rounding, float, fused_row};

    /// Against the lane-by-lane function of `num`, with many sums that tie, cancel, overflow and underflow.
    #[test]
    fn fused_row_agrees_with_the_reference() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 32) as u32
        };
        let special = [
            0,
            1,
            2,
            0x007f_ffff,
            0x0080_0000,
            0x0080_0001,
            0x3f80_0000,
            0x7f7f_ffff,
            0x7f80_0000,
            0x7fc0_0000,
        ];
        let mut frame = Frame::default();
        frame.fit(FrameShape { words: 4, longs: 0, predicates: 0 });
        let mut inst = Inst::new(Run::Alu(fused_row));
        (inst.dst, inst.a, inst.b, inst.c) = (3, 0, 1, 2);
        for _ in 0..100_000 {
            let mut pick = || match random() % 6 {
                0 => special[random() as usize % special.len()] | random() & 1 << 31,
                // Near one another and with few bits, so that sums cancel and tie.
                1 => 0x3f80_0000 + (random() & 0x7ff),
                2 => 0x3f80_0000 + (random() & 0xf) * 0x80_0000 + (random() & 0xff) * 0x8000,
                // Products of these are subnormal.
                3 => 0x1f80_0000 + (random() & 0x3f) * 0x10_0000,
                4 => random() & 0x8fff_ffff,
                _ => random(),
            };
            for row in &mut frame.words[..3] {
                *row = std::array::from_fn(|_| pick());
            }
            fused_row(&mut frame, &inst, FULL);
            for lane in 0..LANES {
                let [a, b, c] = [0, 1, 2].map(|row: usize| f32::from_bits(frame.words[row][lane]));
                let want = float::fma_f32(a, b, c, Rounding::Rn, false);
                assert_eq!(frame.words[3][lane], want.to_bits(), "fma({a:e}, {b:e}, {c:e})");
            }
        }
    }
}
