//! `mov`, `cvta` and `isspacep`.

use super::super::super::ptx::{Operand, PtxError, Type};
use super::super::inst::{Alu, Inst, Mode, Run};
use super::super::lanes::{BIT, Frame, LANES, map1, read};
use super::super::memory::{LOCAL_WINDOW, PARAM_WINDOW, SHARED_WINDOW, window_of};
use super::super::opcode::Opcode;
use super::super::ops;
use super::{Decoder, is_long};

impl Decoder<'_> {
    pub(super) fn mov(&mut self, opcode: &Opcode<'_>, operands: &[Operand]) -> Result<(), PtxError> {
        let ty = opcode.ty().ok_or_else(|| self.unsupported())?;
        let [target, source] = operands else {
            return Err(self.bad("takes 2 operands"));
        };
        match (target, source) {
            (Operand::Vector(parts), source) => self.unpack(parts, source, ty),
            (target, Operand::Vector(parts)) => self.pack(target, parts, ty),
            (target, source) => self.copy(target, source, ty),
        }
    }

    fn copy(&mut self, target: &Operand, source: &Operand, ty: Type) -> Result<(), PtxError> {
        if let Operand::Special(name) = source
            && self.dynamic_special(name, target, ty)?
        {
            return Ok(());
        }
        let row = self.source(source, ty)?;
        let target = self.target(target, ty)?;
        let run: Alu = match ty {
            Type::Pred => ops::copy_predicate,
            _ if is_long(ty) => ops::copy_long,
            _ if ty.bits() == 16 => ops::truncate_16,
            _ => ops::copy_word,
        };
        self.emit_alu(run, target.row, row, 0);
        self.finish_target(target);
        Ok(())
    }

    /// `mov.b32 {lo, hi}, a`, `mov.b64 {lo, hi}, a`, `mov.b64 {a, b, c, d}, e`.
    fn unpack(&mut self, parts: &[Operand], source: &Operand, ty: Type) -> Result<(), PtxError> {
        let row = self.source(source, ty)?;
        match (ty.bits(), parts) {
            (32, [low, high]) => {
                // Both halves are read before either register changes: one may be the source.
                let temporaries = [self.rows.temporary(Type::B16), self.rows.temporary(Type::B16)];
                self.emit_alu(ops::unpack_low, temporaries[0], row, 0);
                self.emit_alu(ops::unpack_high, temporaries[1], row, 0);
                self.move_word(low, temporaries[0], Type::B16)?;
                self.move_word(high, temporaries[1], Type::B16)
            }
            (64, [low, high]) => {
                let temporaries = [self.rows.temporary(Type::B32), self.rows.temporary(Type::B32)];
                self.emit_alu(ops::split_low, temporaries[0], row, 0);
                self.emit_alu(ops::split_high, temporaries[1], row, 0);
                self.move_word(low, temporaries[0], Type::B32)?;
                self.move_word(high, temporaries[1], Type::B32)
            }
            (64, [a, b, c, d]) => {
                let words = [self.rows.temporary(Type::B32), self.rows.temporary(Type::B32)];
                self.emit_alu(ops::split_low, words[0], row, 0);
                self.emit_alu(ops::split_high, words[1], row, 0);
                for ((part, word), half) in [a, b, c, d].into_iter().zip([0, 0, 1, 1]).zip([0, 1, 0, 1]) {
                    let out = self.rows.temporary(Type::B16);
                    let run = if half == 0 { ops::unpack_low } else { ops::unpack_high };
                    self.emit_alu(run, out, words[word], 0);
                    self.move_word(part, out, Type::B16)?;
                }
                Ok(())
            }
            _ => Err(self.unsupported()),
        }
    }

    fn move_word(&mut self, target: &Operand, row: u32, ty: Type) -> Result<(), PtxError> {
        if *target == Operand::Sink {
            return Ok(());
        }
        let target = self.target(target, ty)?;
        self.emit_alu(ops::copy_word, target.row, row, 0);
        self.finish_target(target);
        Ok(())
    }

    /// `mov.b32 a, {lo, hi}`, `mov.b64 a, {lo, hi}`, `mov.b64 e, {a, b, c, d}`.
    fn pack(&mut self, target: &Operand, parts: &[Operand], ty: Type) -> Result<(), PtxError> {
        let run: Alu = if ty.bits() == 32 { ops::pack_halves } else { ops::join_words };
        let (a, b) = match (ty.bits(), parts) {
            (32, [low, high]) => (self.source(low, Type::B16)?, self.source(high, Type::B16)?),
            (64, [low, high]) => (self.source(low, Type::B32)?, self.source(high, Type::B32)?),
            (64, [a, b, c, d]) => {
                let mut words = [0; 2];
                for (word, (low, high)) in words.iter_mut().zip([(a, b), (c, d)]) {
                    let (low, high) = (self.source(low, Type::B16)?, self.source(high, Type::B16)?);
                    *word = self.rows.temporary(Type::B32);
                    self.emit_alu(ops::pack_halves, *word, low, high);
                }
                (words[0], words[1])
            }
            _ => return Err(self.unsupported()),
        };
        let target = self.target(target, ty)?;
        self.emit_alu(run, target.row, a, b);
        self.finish_target(target);
        Ok(())
    }

    /// Between generic addresses and those of a space.
    pub(super) fn cvta(&mut self, opcode: &Opcode<'_>, operands: &[Operand]) -> Result<(), PtxError> {
        let [target, source] = operands else {
            return Err(self.bad("takes 2 operands"));
        };
        let to = opcode.flag("to");
        let window = self.window(opcode)?;
        if opcode.ty() != Some(Type::U64) {
            return Err(self.unsupported());
        }
        let row = self.source(source, Type::U64)?;
        let target = self.target(target, Type::U64)?;
        let mut inst = Inst::new(Run::Alu(|f, i, m| map1(f, i, m, |a: u64| a.wrapping_add(i.imm))));
        (inst.dst, inst.a) = (target.row, row);
        inst.imm = if to { window.wrapping_neg() } else { window };
        self.emit(inst);
        self.finish_target(target);
        Ok(())
    }

    fn window(&self, opcode: &Opcode<'_>) -> Result<u64, PtxError> {
        let windows = [
            ("global", 0),
            ("const", 0),
            ("shared", SHARED_WINDOW),
            ("shared::cta", SHARED_WINDOW),
            ("local", LOCAL_WINDOW),
            ("param", PARAM_WINDOW),
            ("param::entry", PARAM_WINDOW),
        ];
        opcode.one_of(&windows).ok_or_else(|| self.unsupported())
    }

    pub(super) fn isspacep(&mut self, opcode: &Opcode<'_>, operands: &[Operand]) -> Result<(), PtxError> {
        let [target, source] = operands else {
            return Err(self.bad("takes 2 operands"));
        };
        let window = self.window(opcode)?;
        let row = self.source(source, Type::U64)?;
        let target = self.target(target, Type::Pred)?;
        let mut inst = Inst::new(Run::Alu(|frame: &mut Frame, inst: &Inst, mask: u32| {
            let a = read::<u64>(frame, inst.a);
            let holds = (0..LANES)
                .filter(|&lane| window_of(a[lane]) == inst.imm)
                .fold(0, |all, lane| all | BIT[lane]);
            frame.set_predicate(inst.dst, mask, holds);
        }));
        inst.mode = Mode::default();
        (inst.dst, inst.a, inst.imm) = (target.row, row, window_of(window));
        self.emit(inst);
        Ok(())
    }
}
