//! Logic, shifts and bit fields.

use super::super::super::num::{IntegerType, Overshoot, PermuteMode, bits};
use super::super::super::ptx::Type;
use super::super::inst::{Alu, Mode};
use super::super::lanes::{map1, map2, map3};
use super::super::opcode::Opcode;
use super::extended;
use super::{Form, integer_forms, signedness};

pub(super) fn select(opcode: &Opcode<'_>) -> Option<Form> {
    match opcode.name {
        "and" | "or" | "xor" | "not" | "cnot" => logic(opcode),
        "shl" | "shr" | "shf" => shift(opcode),
        "lop3" => extended::lookup(opcode),
        "prmt" => permute(opcode),
        "bfe" | "bfi" | "bmsk" | "szext" | "fns" => extended::field(opcode),
        "bfind" | "brev" | "popc" | "clz" => count(opcode),
        _ => None,
    }
}

fn logic(opcode: &Opcode<'_>) -> Option<Form> {
    let ty = opcode.ty()?;
    if ty == Type::Pred {
        let run: Alu = match opcode.name {
            "and" => {
                |f, i, m| f.set_predicate(i.dst, m, f.predicates[i.a as usize] & f.predicates[i.b as usize])
            }
            "or" => {
                |f, i, m| f.set_predicate(i.dst, m, f.predicates[i.a as usize] | f.predicates[i.b as usize])
            }
            "xor" => {
                |f, i, m| f.set_predicate(i.dst, m, f.predicates[i.a as usize] ^ f.predicates[i.b as usize])
            }
            "not" => super::not_predicate,
            _ => return None,
        };
        let sources: &[Type] = if opcode.name == "not" { &[ty] } else { &[ty; 2] };
        return Some(Form::new(run, ty, sources));
    }
    if !matches!(ty, Type::B16 | Type::B32 | Type::B64) {
        return None;
    }
    let run = match opcode.name {
        "and" => integer_forms!(ty, map2, |a, b| a & b),
        "or" => integer_forms!(ty, map2, |a, b| a | b),
        "xor" => integer_forms!(ty, map2, |a, b| a ^ b),
        "not" => integer_forms!(ty, map1, |a| !a),
        "cnot" => integer_forms!(ty, map1, |a| T::from(a == 0)),
        _ => None,
    };
    let sources: &[Type] = if matches!(opcode.name, "not" | "cnot") { &[ty] } else { &[ty; 2] };
    Some(Form::new(run?, ty, sources))
}

/// Shifts by the width or more give zero, or the sign.
fn shift(opcode: &Opcode<'_>) -> Option<Form> {
    if opcode.name == "shf" {
        return funnel(opcode);
    }
    let ty = opcode.ty()?;
    let run: Alu = match (opcode.name, ty) {
        ("shl", Type::B16) => {
            |f, i, m| map2(f, i, m, |a: u16, b: u32| if b < 16 { a << (b & 15) } else { 0 })
        }
        ("shl", Type::B32) => {
            |f, i, m| map2(f, i, m, |a: u32, b: u32| if b < 32 { a << (b & 31) } else { 0 })
        }
        ("shl", Type::B64) => {
            |f, i, m| map2(f, i, m, |a: u64, b: u32| if b < 64 { a << (b & 63) } else { 0 })
        }
        ("shr", Type::U16 | Type::B16) => {
            |f, i, m| map2(f, i, m, |a: u16, b: u32| if b < 16 { a >> (b & 15) } else { 0 })
        }
        ("shr", Type::U32 | Type::B32) => {
            |f, i, m| map2(f, i, m, |a: u32, b: u32| if b < 32 { a >> (b & 31) } else { 0 })
        }
        ("shr", Type::U64 | Type::B64) => {
            |f, i, m| map2(f, i, m, |a: u64, b: u32| if b < 64 { a >> (b & 63) } else { 0 })
        }
        ("shr", Type::S16) => |f, i, m| map2(f, i, m, |a: i16, b: u32| a >> b.min(15)),
        ("shr", Type::S32) => |f, i, m| map2(f, i, m, |a: i32, b: u32| a >> b.min(31)),
        ("shr", Type::S64) => |f, i, m| map2(f, i, m, |a: i64, b: u32| a >> b.min(63)),
        _ => return None,
    };
    Some(Form::new(run, ty, &[ty, Type::U32]))
}

fn funnel(opcode: &Opcode<'_>) -> Option<Form> {
    let left = opcode.one_of(&[("l", true), ("r", false)])?;
    let wrap = opcode.one_of(&[("wrap", true), ("clamp", false)])?;
    let ty = opcode.ty().filter(|&ty| ty == Type::B32)?;
    let run: Alu = match (left, wrap) {
        (true, true) => |f, i, m| map3(f, i, m, |a, b, c| bits::shf_left(a, b, c, Overshoot::Wrap)),
        (true, false) => |f, i, m| map3(f, i, m, |a, b, c| bits::shf_left(a, b, c, Overshoot::Clamp)),
        (false, true) => |f, i, m| map3(f, i, m, |a, b, c| bits::shf_right(a, b, c, Overshoot::Wrap)),
        (false, false) => |f, i, m| map3(f, i, m, |a, b, c| bits::shf_right(a, b, c, Overshoot::Clamp)),
    };
    Some(Form::new(run, ty, &[ty; 3]))
}

fn permute(opcode: &Opcode<'_>) -> Option<Form> {
    let run: Alu =
        match opcode.one_of(&[("f4e", 1), ("b4e", 2), ("rc8", 3), ("ecl", 4), ("ecr", 5), ("rc16", 6)]) {
            None => |f, i, m| map3(f, i, m, |a, b, c| bits::prmt(a, b, c, PermuteMode::Generic)),
            Some(1) => |f, i, m| map3(f, i, m, |a, b, c| bits::prmt(a, b, c, PermuteMode::F4e)),
            Some(2) => |f, i, m| map3(f, i, m, |a, b, c| bits::prmt(a, b, c, PermuteMode::B4e)),
            Some(3) => |f, i, m| map3(f, i, m, |a, b, c| bits::prmt(a, b, c, PermuteMode::Rc8)),
            Some(4) => |f, i, m| map3(f, i, m, |a, b, c| bits::prmt(a, b, c, PermuteMode::Ecl)),
            Some(5) => |f, i, m| map3(f, i, m, |a, b, c| bits::prmt(a, b, c, PermuteMode::Ecr)),
            Some(_) => |f, i, m| map3(f, i, m, |a, b, c| bits::prmt(a, b, c, PermuteMode::Rc16)),
        };
    let ty = opcode.ty().filter(|&ty| ty == Type::B32)?;
    Some(Form::new(run, ty, &[ty; 3]))
}

fn count(opcode: &Opcode<'_>) -> Option<Form> {
    let ty = opcode.ty()?;
    let wide = ty.bits() == 64;
    let run: Alu = match (opcode.name, wide) {
        ("popc", false) => |f, i, m| map1(f, i, m, |a: u32| a.count_ones()),
        ("popc", true) => |f, i, m| map1(f, i, m, |a: u64| a.count_ones()),
        ("clz", false) => |f, i, m| map1(f, i, m, |a: u32| a.leading_zeros()),
        ("clz", true) => |f, i, m| map1(f, i, m, |a: u64| a.leading_zeros()),
        ("brev", false) => |f, i, m| map1(f, i, m, |a: u32| a.reverse_bits()),
        ("brev", true) => |f, i, m| map1(f, i, m, |a: u64| a.reverse_bits()),
        ("bfind", _) => {
            let mode = Mode { from: signedness(ty)?, nan: opcode.flag("shiftamt"), ..Mode::default() };
            let run: Alu = if wide {
                |f, i, m| map1(f, i, m, |a: u64| bits::bfind(i.mode.from, a, i.mode.nan))
            } else {
                // The search looks at the value, which is negative if its sign bit is set.
                |f, i, m| {
                    map1(f, i, m, |a: u32| {
                        bits::bfind(i.mode.from, i.mode.from.extend(a.into()), i.mode.nan)
                    });
                }
            };
            let fits = matches!(ty, Type::U32 | Type::S32 | Type::U64 | Type::S64);
            return fits.then(|| Form::new(run, Type::U32, &[ty]).with(mode));
        }
        _ => return None,
    };
    let dst = if opcode.name == "brev" { ty } else { Type::U32 };
    matches!(ty, Type::B32 | Type::B64).then(|| Form::new(run, dst, &[ty]))
}
