//! Bit operations with more than two operands: `lop3`, `bfe`, `bfi`, `bmsk`, `szext`, `fns`.

use super::super::super::num::{Overshoot, bits};
use super::super::super::ptx::Type;
use super::super::inst::{Alu, Inst, Mode};
use super::super::lanes::{Bits, Frame, LANES, Value, map2, map3, read, write};
use super::super::opcode::Opcode;
use super::{Form, signedness};

/// `lop3` with its table as fourth operand, which the decoder puts into [`Inst::imm`].
pub(super) fn lookup(opcode: &Opcode<'_>) -> Option<Form> {
    let ty = opcode.ty().filter(|&ty| ty == Type::B32)?;
    #[allow(clippy::cast_possible_truncation, reason = "a lookup table has eight bits")]
    let run: Alu = |f, i, m| map3(f, i, m, |a, b, c| bits::lop3(a, b, c, i.imm as u8));
    Some(Form::new(run, ty, &[ty; 3]))
}

pub(super) fn field(opcode: &Opcode<'_>) -> Option<Form> {
    let ty = opcode.ty()?;
    let overshoot = opcode.one_of(&[("clamp", false), ("wrap", true)]).unwrap_or_default();
    let mut mode = Mode { nan: overshoot, ..Mode::default() };
    let (run, sources): (Alu, Vec<Type>) = match (opcode.name, ty) {
        ("bfe", Type::U32 | Type::S32) => {
            mode.from = signedness(ty)?;
            let run: Alu = |f, i, m| {
                #[allow(
                    clippy::cast_possible_truncation,
                    reason = "the field of a 32-bit value has 32 bits"
                )]
                map3(f, i, m, |a: u32, b: u32, c: u32| {
                    bits::bfe(i.mode.from, i.mode.from.extend(a.into()), b, c) as u32
                });
            };
            (run, vec![ty, Type::U32, Type::U32])
        }
        ("bfe", Type::U64 | Type::S64) => {
            mode.from = signedness(ty)?;
            let run: Alu = |f, i, m| map3(f, i, m, |a: u64, b: u32, c: u32| bits::bfe(i.mode.from, a, b, c));
            (run, vec![ty, Type::U32, Type::U32])
        }
        ("bfi", Type::B32) => (insert::<u32>, vec![ty, ty, Type::U32, Type::U32]),
        ("bfi", Type::B64) => (insert::<u64>, vec![ty, ty, Type::U32, Type::U32]),
        ("bmsk", Type::B32) => {
            let run: Alu = |f, i, m| map2(f, i, m, |a: u32, b: u32| bits::bmsk(a, b, overshoot_of(i)));
            (run, vec![ty; 2])
        }
        ("szext", Type::U32 | Type::S32) => {
            mode.min = ty == Type::S32;
            let run: Alu = |f, i, m| map2(f, i, m, |a, b| bits::szext(a, b, i.mode.min, overshoot_of(i)));
            (run, vec![ty, Type::U32])
        }
        ("fns", Type::B32) => {
            let run: Alu = |f, i, m| map3(f, i, m, |a: u32, b: u32, c: i32| bits::fns(a, b, c));
            (run, vec![ty, Type::B32, Type::S32])
        }
        _ => return None,
    };
    Some(Form::new(run, ty, &sources).with(mode))
}

fn overshoot_of(inst: &Inst) -> Overshoot {
    if inst.mode.nan { Overshoot::Wrap } else { Overshoot::Clamp }
}

trait Inserted: Bits {
    fn insert(self, into: Self, position: u32, length: u32) -> Self;
}

impl Inserted for u32 {
    #[allow(clippy::cast_possible_truncation, reason = "inserting into 32 bits leaves 32 bits")]
    fn insert(self, into: Self, position: u32, length: u32) -> Self {
        bits::bfi(32, self.into(), into.into(), position, length) as Self
    }
}

impl Inserted for u64 {
    fn insert(self, into: Self, position: u32, length: u32) -> Self {
        bits::bfi(64, self, into, position, length)
    }
}

fn insert<T: Inserted + Value<Bits = T>>(frame: &mut Frame, inst: &Inst, mask: u32) {
    let (a, b) = (read::<T>(frame, inst.a), read::<T>(frame, inst.b));
    let (position, length) = (read::<u32>(frame, inst.c), read::<u32>(frame, inst.d));
    let mut out = [T::default(); LANES];
    for lane in 0..LANES {
        out[lane] = a[lane].insert(b[lane], position[lane], length[lane]);
    }
    write(frame, inst.dst, mask, &out);
}
