//! Operands of register operations: sources become rows, destinations rows and what follows.

use super::super::super::ptx::{Operand, PtxError, Space, Type};
use super::super::inst::{Alu, Inst, Run};
use super::super::memory::CODE_WINDOW;
use super::super::ops;
use super::{Decoder, is_long};

/// A destination: the row that the operation writes, and the register if that is wider.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target {
    pub(super) row: u32,
    /// Row and declared type of the register, and the type of the value.
    wider: Option<(u32, Type, Type)>,
}

impl Decoder<'_> {
    /// Emits `dst = run(a, b)`.
    pub(super) fn emit_alu(&mut self, run: Alu, dst: u32, a: u32, b: u32) {
        let mut inst = Inst::new(Run::Alu(run));
        (inst.dst, inst.a, inst.b) = (dst, a, b);
        self.emit(inst);
    }

    /// The row of a predicate register.
    pub(super) fn predicate(&mut self, operand: &Operand) -> Result<u32, PtxError> {
        match operand {
            Operand::Register(id) if self.rows.ty(*id) == Type::Pred => Ok(self.rows.register(*id)),
            Operand::Not(id) if self.rows.ty(*id) == Type::Pred => {
                let (row, negated) = (self.rows.register(*id), self.rows.temporary(Type::Pred));
                self.emit_alu(ops::not_predicate, negated, row, 0);
                Ok(negated)
            }
            _ => Err(self.bad("expected a predicate register")),
        }
    }

    /// A row that holds `operand` as a value of `ty`.
    pub(super) fn source(&mut self, operand: &Operand, ty: Type) -> Result<u32, PtxError> {
        if ty == Type::Pred {
            return self.predicate(operand);
        }
        match operand {
            Operand::Register(id) => self.source_register(*id, ty),
            Operand::Integer(_) | Operand::Float32(_) | Operand::Float64(_) => {
                let bits = self.constant(operand, ty)?;
                #[allow(clippy::cast_possible_truncation, reason = "constants of narrow types fit 32 bits")]
                Ok(if is_long(ty) { self.rows.long(bits) } else { self.rows.word(bits as u32) })
            }
            Operand::Special(name) => self.source_special(name, ty),
            Operand::Local(_) | Operand::Param(_) | Operand::Symbol(_) => self.address_of(operand, ty),
            _ => Err(self.bad("an operand of another kind is expected")),
        }
    }

    fn source_register(&mut self, id: u32, ty: Type) -> Result<u32, PtxError> {
        let declared = self.rows.ty(id);
        if declared == Type::Pred {
            return Err(self.bad("a predicate stands where a number is expected"));
        }
        let row = self.rows.register(id);
        match (is_long(ty), is_long(declared)) {
            (false, true) => {
                let low = self.rows.temporary(Type::B32);
                self.emit_alu(ops::split_low, low, row, 0);
                Ok(low)
            }
            (true, false) => Err(self.bad(format!("a register of {} bits is too narrow", declared.bits()))),
            _ if declared.bits() < ty.bits() => {
                Err(self.bad(format!("a register of {} bits is too narrow", declared.bits())))
            }
            _ => Ok(row),
        }
    }

    /// Bits of a constant of type `ty`.
    pub(super) fn constant(&self, operand: &Operand, ty: Type) -> Result<u64, PtxError> {
        let narrow = |bits: u64| if ty.bits() >= 64 { bits } else { bits & ((1 << ty.bits()) - 1) };
        #[allow(clippy::cast_possible_truncation, reason = "a decimal constant is rounded to its type")]
        match (operand, ty) {
            (Operand::Integer(value), _) => Ok(narrow(*value)),
            (Operand::Float32(bits), Type::F64) => Ok(f64::from(f32::from_bits(*bits)).to_bits()),
            (Operand::Float32(bits), Type::F32 | Type::B32 | Type::U32 | Type::S32) => Ok(u64::from(*bits)),
            (Operand::Float64(bits), Type::F64 | Type::B64 | Type::U64 | Type::S64) => Ok(*bits),
            (Operand::Float64(bits), Type::F32) => Ok(u64::from((f64::from_bits(*bits) as f32).to_bits())),
            _ => Err(self.bad("a constant of another type is expected")),
        }
    }

    /// A row with the address of a variable or function, in its own space.
    fn address_of(&mut self, operand: &Operand, ty: Type) -> Result<u32, PtxError> {
        if ty.is_float() || ty.bits() < 32 {
            return Err(self.bad("an address does not fit this type"));
        }
        let fixed = match operand {
            Operand::Param(index) if self.function.is_kernel => {
                u64::from(self.places.params[*index as usize].0)
            }
            Operand::Param(index) => return Ok(self.local_address(self.param_offset(*index), ty)),
            Operand::Local(id) => {
                let offset = self.places.variables[*id as usize];
                if self.body.variables[*id as usize].space != Space::Shared {
                    return Ok(self.local_address(offset, ty));
                }
                u64::from(offset)
            }
            Operand::Symbol(name) => match self.symbol(name)? {
                Symbol::Fixed(address) => address,
                Symbol::DynamicShared(row) if is_long(ty) => {
                    let wide = self.rows.temporary(Type::B64);
                    self.emit_alu(ops::zero_extend_word, wide, row, 0);
                    return Ok(wide);
                }
                Symbol::DynamicShared(row) => return Ok(row),
            },
            _ => return Err(self.bad("a variable is expected")),
        };
        #[allow(
            clippy::cast_possible_truncation,
            reason = "an address in a 32-bit register is what PTX asks for"
        )]
        Ok(if is_long(ty) { self.rows.long(fixed) } else { self.rows.word(fixed as u32) })
    }

    fn local_address(&mut self, offset: u32, ty: Type) -> u32 {
        let row = self.rows.temporary(if is_long(ty) { Type::B64 } else { Type::B32 });
        let mut inst = Inst::new(Run::Alu(ops::local_address));
        (inst.dst, inst.imm, inst.mode.min) = (row, offset.into(), !is_long(ty));
        self.emit(inst);
        row
    }

    /// Offset of a device function's parameter in its local memory; returns are counted first.
    pub(super) fn param_offset(&self, index: u32) -> u32 {
        let (returns, index) = (&self.places.returns, index as usize);
        match returns.get(index) {
            Some(place) => place.0,
            None => self.places.params[index - returns.len()].0,
        }
    }

    /// What a name of module scope stands for.
    pub(super) fn symbol(&mut self, name: &str) -> Result<Symbol, PtxError> {
        if let Some(&address) = self.linker.globals.get(name) {
            return Ok(Symbol::Fixed(address));
        }
        if let Some(&place) = self.linker.shared.get(name) {
            return Ok(match place {
                Some(offset) => Symbol::Fixed(offset.into()),
                None => Symbol::DynamicShared(self.rows.special(super::super::inst::Special::DynamicBase)),
            });
        }
        match self.linker.functions.get(name) {
            Some(&index) => Ok(Symbol::Fixed(CODE_WINDOW + u64::from(index))),
            None => Err(self.bad(format!("`{name}` has no address"))),
        }
    }

    /// Where a result of type `ty` goes.
    pub(super) fn target(&mut self, operand: &Operand, ty: Type) -> Result<Target, PtxError> {
        let id = match operand {
            Operand::Register(id) => *id,
            Operand::Sink => return Ok(Target { row: self.rows.temporary(ty), wider: None }),
            _ => return Err(self.bad("the destination is not a register")),
        };
        let declared = self.rows.ty(id);
        if (declared == Type::Pred) != (ty == Type::Pred) {
            return Err(self.bad("the destination is of another kind"));
        }
        let row = self.rows.register(id);
        if declared == Type::Pred {
            return Ok(Target { row, wider: None });
        }
        if declared.bits() < ty.bits() {
            return Err(self.bad(format!("a destination of {} bits is too narrow", declared.bits())));
        }
        let changes_kind = is_long(declared) != is_long(ty);
        let extends_sign = ty.is_signed() && declared.bits() > ty.bits();
        if !changes_kind && !extends_sign {
            return Ok(Target { row, wider: None });
        }
        Ok(Target { row: self.rows.temporary(ty), wider: Some((row, declared, ty)) })
    }

    /// Extends a result to the width of its register.
    pub(super) fn finish_target(&mut self, target: Target) {
        let Some((row, declared, ty)) = target.wider else {
            return;
        };
        let mut word = target.row;
        if ty.is_signed() && ty.bits() < 32 {
            let extend = if ty.bits() == 8 { ops::sign_extend_8 } else { ops::sign_extend_16 };
            let into = if is_long(declared) { word } else { row };
            self.emit_alu(extend, into, word, 0);
            word = into;
            if declared.bits() == 16 {
                self.emit_alu(ops::truncate_16, row, word, 0);
            }
        }
        if is_long(declared) {
            self.emit_alu(
                if ty.is_signed() { ops::extend_word } else { ops::zero_extend_word },
                row,
                word,
                0,
            );
        }
    }
}

/// What a name of module scope stands for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Symbol {
    /// A fixed address in its own space.
    Fixed(u64),
    /// Dynamic shared memory: the word row that holds where it begins.
    DynamicShared(u32),
}
