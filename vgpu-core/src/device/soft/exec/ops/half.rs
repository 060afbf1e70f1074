//! Arithmetic of the 16-bit floats and of packed pairs of them.

use super::super::super::num::half::{map_pair, zip_pair, zip3_pair};
use super::super::super::num::{HalfFormat, HalfModifiers, approx, select as pick};
use super::super::super::ptx::Type;
use super::super::inst::{Alu, Inst, Mode};
use super::super::lanes::{map1, map2, map3};
use super::super::opcode::Opcode;
use super::Form;
use super::float::{keep, modifiers as extremum_modifiers};

/// The loop of a function of two 16-bit floats, over single values or over pairs.
macro_rules! binary {
    ($pair:expr, $f:ident, $i:ident, $a:ident, $b:ident, $e:expr) => {{
        let run: Alu = if $pair {
            |frame, $i, mask| {
                let $f = $i.mode.format;
                map2(frame, $i, mask, |a: u32, b: u32| zip_pair(a, b, |$a, $b| $e));
            }
        } else {
            |frame, $i, mask| {
                let $f = $i.mode.format;
                map2(frame, $i, mask, |$a: u16, $b: u16| $e);
            }
        };
        run
    }};
}

/// The loop of a function of one 16-bit float, over single values or over pairs.
macro_rules! unary {
    ($pair:expr, $f:ident, $i:ident, $a:ident, $e:expr) => {{
        let run: Alu = if $pair {
            |frame, $i, mask| {
                let $f = $i.mode.format;
                map1(frame, $i, mask, |a: u32| map_pair(a, |$a| $e));
            }
        } else {
            |frame, $i, mask| {
                let $f = $i.mode.format;
                map1(frame, $i, mask, |$a: u16| $e);
            }
        };
        run
    }};
}

/// The format of a type, and whether it is a pair.
pub(super) fn format(ty: Type) -> Option<(HalfFormat, bool)> {
    Some(match ty {
        Type::F16 => (HalfFormat::F16, false),
        Type::F16x2 => (HalfFormat::F16, true),
        Type::Bf16 => (HalfFormat::Bf16, false),
        Type::Bf16x2 => (HalfFormat::Bf16, true),
        _ => return None,
    })
}

pub(super) fn select(opcode: &Opcode<'_>) -> Option<Form> {
    let ty = opcode.ty()?;
    let (format, pair) = format(ty)?;
    opcode.flag("rn");
    let mode = Mode {
        format,
        ftz: opcode.flag("ftz"),
        sat: opcode.flag("sat"),
        relu: opcode.flag("relu"),
        nan: opcode.flag("NaN"),
        xorsign: opcode.flag("xorsign") && opcode.flag("abs"),
        min: opcode.name == "min",
        ..Mode::default()
    };
    let (run, operands): (Alu, usize) = match opcode.name {
        "add" => (binary!(pair, f, i, a, b, f.add(a, b, modifiers(i))), 2),
        "sub" => (binary!(pair, f, i, a, b, f.sub(a, b, modifiers(i))), 2),
        "mul" => (binary!(pair, f, i, a, b, f.mul(a, b, modifiers(i))), 2),
        "min" | "max" => {
            (binary!(pair, f, i, a, b, pick::pick_half(keep(i), f, a, b, extremum_modifiers(i))), 2)
        }
        "fma" if pair => (
            |f, i, m| {
                map3(f, i, m, |a, b, c| {
                    zip3_pair(a, b, c, |a, b, c| i.mode.format.fma(a, b, c, modifiers(i)))
                });
            },
            3,
        ),
        "fma" => (|f, i, m| map3(f, i, m, |a: u16, b, c| i.mode.format.fma(a, b, c, modifiers(i))), 3),
        "neg" => (unary!(pair, f, i, a, f.neg(a, i.mode.ftz)), 1),
        "abs" => (unary!(pair, f, i, a, f.abs(a, i.mode.ftz)), 1),
        "ex2" if opcode.flag("approx") => {
            (unary!(pair, f, i, a, approx::ex2_approx_half(a, f, i.mode.ftz)), 1)
        }
        "tanh" if opcode.flag("approx") => (unary!(pair, f, i, a, approx::tanh_approx_half(a, f)), 1),
        _ => return None,
    };
    Some(Form::new(run, ty, &[ty; 3][..operands]).with(mode))
}

fn modifiers(inst: &Inst) -> HalfModifiers {
    HalfModifiers { ftz: inst.mode.ftz, sat: inst.mode.sat, relu: inst.mode.relu }
}
