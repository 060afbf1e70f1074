//! Integer arithmetic: `add`, `sub`, `mul`, `mad`, `div`, `rem`, `abs`, `neg`, `min`, `max`.

use super::super::super::num::{IntegerType, integer};
use super::super::super::ptx::Type;
use super::super::inst::Alu;
use super::super::lanes::{map1, map2, map3};
use super::super::opcode::Opcode;
use super::{Form, double_width, integer_forms};

pub(super) fn select(opcode: &Opcode<'_>) -> Option<Form> {
    let ty = opcode.ty()?;
    match opcode.name {
        "add" | "sub" => sum(opcode, ty),
        "mul" | "mad" => product(opcode, ty),
        "div" => two(ty, integer_forms!(ty, map2, |a, b| integer::div(TY, a as u64, b as u64) as T)),
        "rem" => two(ty, integer_forms!(ty, map2, |a, b| integer::rem(TY, a as u64, b as u64) as T)),
        "min" | "max" => extremum(opcode, ty),
        "abs" => one(ty, integer_forms!(ty, map1, |a| integer::abs(TY, a as u64) as T)),
        "neg" => one(ty, integer_forms!(ty, map1, |a| a.wrapping_neg())),
        _ => None,
    }
}

fn one(ty: Type, run: Option<Alu>) -> Option<Form> {
    Some(Form::new(run?, ty, &[ty]))
}

fn two(ty: Type, run: Option<Alu>) -> Option<Form> {
    Some(Form::new(run?, ty, &[ty, ty]))
}

fn sum(opcode: &Opcode<'_>, ty: Type) -> Option<Form> {
    let add = opcode.name == "add";
    if opcode.flag("sat") {
        let run: Alu = match (ty, add) {
            (Type::S32, true) => |f, i, m| map2(f, i, m, |a: i32, b: i32| a.saturating_add(b)),
            (Type::S32, false) => |f, i, m| map2(f, i, m, |a: i32, b: i32| a.saturating_sub(b)),
            _ => return None,
        };
        return two(ty, Some(run));
    }
    match ty {
        Type::B32 | Type::B64 | Type::B16 => None,
        _ if add => two(ty, integer_forms!(ty, map2, |a, b| a.wrapping_add(b))),
        _ => two(ty, integer_forms!(ty, map2, |a, b| a.wrapping_sub(b))),
    }
}

fn extremum(opcode: &Opcode<'_>, ty: Type) -> Option<Form> {
    let min = opcode.name == "min";
    if opcode.flag("relu") {
        // Only `.s32` and `.s16x2` have it; packed integers are not supported.
        let run: Alu = match (ty, min) {
            (Type::S32, true) => |f, i, m| map2(f, i, m, |a: i32, b: i32| a.min(b).max(0)),
            (Type::S32, false) => |f, i, m| map2(f, i, m, |a: i32, b: i32| a.max(b).max(0)),
            _ => return None,
        };
        return two(ty, Some(run));
    }
    if min {
        two(ty, integer_forms!(ty, map2, |a, b| a.min(b)))
    } else {
        two(ty, integer_forms!(ty, map2, |a, b| a.max(b)))
    }
}

fn product(opcode: &Opcode<'_>, ty: Type) -> Option<Form> {
    let mad = opcode.name == "mad";
    if opcode.flag("wide") {
        return wide(ty, mad);
    }
    if opcode.flag("hi") {
        if opcode.flag("sat") {
            let run: Alu = |f, i, m| map3(f, i, m, integer::mad_hi_sat);
            return (mad && ty == Type::S32).then(|| Form::new(run, ty, &[ty; 3]));
        }
        return if mad {
            let run = integer_forms!(ty, map3, |a, b, c| {
                (integer::mul_hi(TY, a as u64, b as u64) as T).wrapping_add(c)
            });
            Some(Form::new(run?, ty, &[ty; 3]))
        } else {
            two(ty, integer_forms!(ty, map2, |a, b| integer::mul_hi(TY, a as u64, b as u64) as T))
        };
    }
    if !opcode.flag("lo") {
        return None;
    }
    if mad {
        let run = integer_forms!(ty, map3, |a, b, c| a.wrapping_mul(b).wrapping_add(c));
        Some(Form::new(run?, ty, &[ty; 3]))
    } else {
        two(ty, integer_forms!(ty, map2, |a, b| a.wrapping_mul(b)))
    }
}

fn wide(ty: Type, mad: bool) -> Option<Form> {
    let wide = double_width(ty)?;
    if mad {
        let run: Alu = match ty {
            Type::U16 => |f, i, m| {
                map3(f, i, m, |a: u16, b: u16, c: u32| (u32::from(a) * u32::from(b)).wrapping_add(c));
            },
            Type::S16 => |f, i, m| {
                map3(f, i, m, |a: i16, b: i16, c: i32| (i32::from(a) * i32::from(b)).wrapping_add(c));
            },
            Type::U32 => |f, i, m| {
                map3(f, i, m, |a: u32, b: u32, c: u64| (u64::from(a) * u64::from(b)).wrapping_add(c));
            },
            Type::S32 => |f, i, m| {
                map3(f, i, m, |a: i32, b: i32, c: i64| (i64::from(a) * i64::from(b)).wrapping_add(c));
            },
            _ => return None,
        };
        return Some(Form::new(run, wide, &[ty, ty, wide]));
    }
    let run: Alu = match ty {
        Type::U16 => |f, i, m| map2(f, i, m, |a: u16, b: u16| u32::from(a) * u32::from(b)),
        Type::S16 => |f, i, m| map2(f, i, m, |a: i16, b: i16| i32::from(a) * i32::from(b)),
        Type::U32 => |f, i, m| map2(f, i, m, |a: u32, b: u32| u64::from(a) * u64::from(b)),
        Type::S32 => |f, i, m| map2(f, i, m, |a: i32, b: i32| i64::from(a) * i64::from(b)),
        _ => return None,
    };
    Some(Form::new(run, wide, &[ty, ty]))
}
