//! Short products and sums of products: `mul24`, `mad24`, `sad`, `dp4a`, `dp2a`.

use super::super::super::num::{IntegerType, integer};
use super::super::super::ptx::Type;
use super::super::inst::{Alu, Mode};
use super::super::lanes::{map2, map3};
use super::super::opcode::Opcode;
use super::{Form, integer_forms, signedness};

pub(super) fn select(opcode: &Opcode<'_>) -> Option<Form> {
    match opcode.name {
        "mul24" | "mad24" => short(opcode),
        "sad" => {
            let ty = opcode.ty()?;
            let run = integer_forms!(ty, map3, |a, b, c| integer::sad(TY, a as u64, b as u64, c as u64) as T);
            Some(Form::new(run?, ty, &[ty; 3]))
        }
        "dp4a" | "dp2a" => dot(opcode),
        _ => None,
    }
}

fn short(opcode: &Opcode<'_>) -> Option<Form> {
    let ty = opcode.ty()?;
    if !matches!(ty, Type::U32 | Type::S32) {
        return None;
    }
    let high = opcode.one_of(&[("hi", true), ("lo", false)])?;
    let mode = Mode { from: signedness(ty)?, nan: high, ..Mode::default() };
    if opcode.name == "mul24" {
        let run: Alu =
            |f, i, m| map2(f, i, m, |a: u32, b: u32| integer::mul24(i.mode.from, a, b, i.mode.nan));
        return Some(Form::new(run, ty, &[ty; 2]).with(mode));
    }
    let run: Alu = |f, i, m| {
        map3(f, i, m, |a: u32, b: u32, c: u32| integer::mul24(i.mode.from, a, b, i.mode.nan).wrapping_add(c));
    };
    Some(Form::new(run, ty, &[ty; 3]).with(mode))
}

fn dot(opcode: &Opcode<'_>) -> Option<Form> {
    let [a, b] = opcode.types()[..] else {
        return None;
    };
    let signed = |ty| match ty {
        Type::S32 => Some(true),
        Type::U32 => Some(false),
        _ => None,
    };
    let (a, b) = (signed(a)?, signed(b)?);
    let ty = if a || b { Type::S32 } else { Type::U32 };
    let selector = u8::from(a) | u8::from(b) << 1;
    if opcode.name == "dp4a" {
        let run: Alu = |f, i, m| {
            let s = i.mode.selector;
            map3(f, i, m, |a: u32, b: u32, c: u32| integer::dp4a(a, s & 1 != 0, b, s & 2 != 0, c));
        };
        return Some(Form::new(run, ty, &[ty; 3]).with(Mode { selector, ..Mode::default() }));
    }
    let high = opcode.one_of(&[("hi", true), ("lo", false)])?;
    let run: Alu = |f, i, m| {
        let s = i.mode.selector;
        map3(f, i, m, |a: u32, b: u32, c: u32| integer::dp2a(a, s & 1 != 0, b, s & 2 != 0, c, s & 4 != 0));
    };
    let selector = selector | u8::from(high) << 2;
    Some(Form::new(run, ty, &[ty; 3]).with(Mode { selector, ..Mode::default() }))
}
