//! Warp-wide instructions.

use super::super::super::ptx::{Operand, PtxError, Type};
use super::super::inst::{Collective, Inst, Reduction, Run, ShuffleMode, Vote};
use super::super::lanes::{LANES, write};
use super::super::opcode::Opcode;
use super::{Decoder, is_long};

impl Decoder<'_> {
    pub(super) fn collective(&mut self, opcode: &Opcode<'_>, operands: &[Operand]) -> Result<(), PtxError> {
        if opcode.name == "activemask" {
            return self.active_mask(opcode, operands);
        }
        if !opcode.flag("sync") {
            return Err(self.unsupported());
        }
        match opcode.name {
            "shfl" => self.shuffle(opcode, operands),
            "vote" => self.vote(opcode, operands),
            "match" => self.matches(opcode, operands),
            "redux" => self.reduction(opcode, operands),
            "elect" => {
                let [target, members] = operands else {
                    return Err(self.bad("takes a destination and a member mask"));
                };
                let inst = Inst::new(Run::Collective(Collective::Elect));
                self.finish_collective(inst, target, Type::B32, members)
            }
            _ => Err(self.unsupported()),
        }
    }

    pub(super) fn warp_barrier(&mut self, opcode: &Opcode<'_>, operands: &[Operand]) -> Result<(), PtxError> {
        let ([members], true) = (operands, opcode.flag("sync")) else {
            return Err(self.unsupported());
        };
        let mut inst = Inst::new(Run::Collective(Collective::Sync));
        inst.target = self.source(members, Type::B32)?;
        self.emit(inst);
        Ok(())
    }

    /// Adds member mask and destinations: a register, a predicate, or both as `d|p`.
    fn finish_collective(
        &mut self,
        mut inst: Inst,
        target: &Operand,
        ty: Type,
        members: &Operand,
    ) -> Result<(), PtxError> {
        inst.target = self.source(members, Type::B32)?;
        let (value, predicate) = match target {
            Operand::Pair(value, predicate) => (&**value, Some(&**predicate)),
            single if ty == Type::Pred => (&Operand::Sink, Some(single)),
            single => (single, None),
        };
        if let Some(predicate) = predicate.filter(|&operand| *operand != Operand::Sink) {
            inst.d = self.predicate(predicate)?;
        }
        if *value == Operand::Sink {
            self.emit(inst);
            return Ok(());
        }
        let target = self.target(value, ty)?;
        inst.dst = target.row;
        self.emit(inst);
        self.finish_target(target);
        Ok(())
    }

    fn shuffle(&mut self, opcode: &Opcode<'_>, operands: &[Operand]) -> Result<(), PtxError> {
        let [target, a, b, c, members] = operands else {
            return Err(self.bad("takes 5 operands"));
        };
        let modes = [
            ("up", ShuffleMode::Up),
            ("down", ShuffleMode::Down),
            ("bfly", ShuffleMode::Butterfly),
            ("idx", ShuffleMode::Index),
        ];
        let mode = opcode.one_of(&modes).ok_or_else(|| self.unsupported())?;
        if opcode.ty() != Some(Type::B32) {
            return Err(self.unsupported());
        }
        let mut inst = Inst::new(Run::Collective(Collective::Shuffle(mode)));
        inst.a = self.source(a, Type::B32)?;
        inst.b = self.source(b, Type::U32)?;
        inst.c = self.source(c, Type::U32)?;
        self.finish_collective(inst, target, Type::B32, members)
    }

    fn vote(&mut self, opcode: &Opcode<'_>, operands: &[Operand]) -> Result<(), PtxError> {
        let [target, vote, members] = operands else {
            return Err(self.bad("takes 3 operands"));
        };
        let votes =
            [("all", Vote::All), ("any", Vote::Any), ("uni", Vote::Uniform), ("ballot", Vote::Ballot)];
        let kind = opcode.one_of(&votes).ok_or_else(|| self.unsupported())?;
        let ty = if kind == Vote::Ballot { Type::B32 } else { Type::Pred };
        if opcode.ty() != Some(ty) {
            return Err(self.unsupported());
        }
        let mut inst = Inst::new(Run::Collective(Collective::Vote(kind)));
        inst.a = self.predicate(vote)?;
        self.finish_collective(inst, target, ty, members)
    }

    fn matches(&mut self, opcode: &Opcode<'_>, operands: &[Operand]) -> Result<(), PtxError> {
        let [target, value, members] = operands else {
            return Err(self.bad("takes 3 operands"));
        };
        let ty =
            opcode.ty().filter(|ty| matches!(ty, Type::B32 | Type::B64)).ok_or_else(|| self.unsupported())?;
        let kinds = [("any", Collective::MatchAny(is_long(ty))), ("all", Collective::MatchAll(is_long(ty)))];
        let kind = opcode.one_of(&kinds).ok_or_else(|| self.unsupported())?;
        let mut inst = Inst::new(Run::Collective(kind));
        inst.a = self.source(value, ty)?;
        self.finish_collective(inst, target, Type::B32, members)
    }

    fn reduction(&mut self, opcode: &Opcode<'_>, operands: &[Operand]) -> Result<(), PtxError> {
        let [target, value, members] = operands else {
            return Err(self.bad("takes 3 operands"));
        };
        let ty =
            opcode.ty().filter(|ty| ty.bits() == 32 && ty.is_integer()).ok_or_else(|| self.unsupported())?;
        let signed = ty.is_signed();
        let reductions = [
            ("add", Reduction::Add),
            ("min", if signed { Reduction::MinSigned } else { Reduction::MinUnsigned }),
            ("max", if signed { Reduction::MaxSigned } else { Reduction::MaxUnsigned }),
            ("and", Reduction::And),
            ("or", Reduction::Or),
            ("xor", Reduction::Xor),
        ];
        let kind = opcode.one_of(&reductions).ok_or_else(|| self.unsupported())?;
        let mut inst = Inst::new(Run::Collective(Collective::Reduce(kind)));
        inst.a = self.source(value, ty)?;
        self.finish_collective(inst, target, ty, members)
    }

    fn active_mask(&mut self, opcode: &Opcode<'_>, operands: &[Operand]) -> Result<(), PtxError> {
        let ([target], Some(Type::B32)) = (operands, opcode.ty()) else {
            return Err(self.unsupported());
        };
        let target = self.target(target, Type::B32)?;
        let mut inst = Inst::new(Run::Outer(|machine, inst, mask| {
            write(machine.frame(), inst.dst, mask, &[mask; LANES]);
            Ok(())
        }));
        inst.dst = target.row;
        self.emit(inst);
        self.finish_target(target);
        Ok(())
    }
}
