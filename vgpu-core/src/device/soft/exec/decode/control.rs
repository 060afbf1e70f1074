//! Branches, calls, returns and barriers.

use super::super::super::ptx::{Operand, PtxError, Space, Type, Variable};
use super::super::fault::{FaultKind, Trap};
use super::super::inst::{BarrierKind, CallSite, Inst, Run};
use super::super::lanes::NO_ROW;
use super::super::opcode::Opcode;
use super::super::print;
use super::{Decoder, place_params};

impl Decoder<'_> {
    pub(super) fn control(&mut self, opcode: &Opcode<'_>, operands: &[Operand]) -> Result<(), PtxError> {
        opcode.ignore(&["uni"]);
        match (opcode.name, operands) {
            ("bra", [Operand::Label(target)]) => {
                let mut inst = Inst::new(Run::Branch);
                inst.target = *target;
                self.emit(inst);
            }
            ("brx", [index, Operand::BranchTable(table)]) if opcode.flag("idx") => {
                let mut inst = Inst::new(Run::BranchIndexed);
                inst.a = self.source(index, Type::U32)?;
                inst.target = *table;
                self.emit(inst);
            }
            ("call", operands) => self.call(operands)?,
            ("ret", []) => self.emit(Inst::new(Run::Return)),
            ("exit", []) => self.emit(Inst::new(Run::Exit)),
            ("trap", []) => self.emit(Inst::new(Run::Outer(|_, _, mask| {
                Err(Trap::new(FaultKind::Trap, mask.trailing_zeros() as usize, 0))
            }))),
            // Without a debugger a breakpoint does nothing.
            ("brkpt", []) => {}
            ("nanosleep", [_]) if opcode.ty() == Some(Type::U32) => self.emit(Inst::new(Run::Yield)),
            _ => return Err(self.unsupported()),
        }
        Ok(())
    }

    /// `call (results), function, (arguments), prototype;` with all but the function optional.
    fn call(&mut self, operands: &[Operand]) -> Result<(), PtxError> {
        let (results, rest) = match operands {
            [Operand::List(results), rest @ ..] => (&results[..], rest),
            rest => (&[][..], rest),
        };
        let Some((function, rest)) = rest.split_first() else {
            return Err(self.bad("names no function"));
        };
        let (arguments, rest) = match rest {
            [Operand::List(arguments), rest @ ..] => (&arguments[..], rest),
            rest => (&[][..], rest),
        };
        let (arguments, results) = (self.call_places(arguments)?, self.call_places(results)?);
        if let Operand::Symbol(name) = function
            && self.runtime_call(name, &arguments, &results)?
        {
            return Ok(());
        }
        let mut inst = Inst::new(Run::Call);
        let caller_bytes = self.places.local_bytes;
        let function = match (function, rest) {
            (Operand::Symbol(name), []) => {
                let index = self.linker.functions.get(name).copied();
                Some(index.ok_or_else(|| self.bad(format!("`{name}` has no code in this module")))?)
            }
            (Operand::Register(_), [Operand::Prototype(id)]) => {
                let prototype = &self.body.prototypes[*id as usize];
                let fits = |list: &[Variable], places: &[(u32, u32)]| {
                    place_params(list, 0).0.iter().map(|p| p.1).eq(places.iter().map(|p| p.1))
                };
                if !fits(&prototype.params, &arguments) || !fits(&prototype.returns, &results) {
                    return Err(self.bad("the arguments do not fit the prototype"));
                }
                inst.a = self.source(function, Type::U64)?;
                None
            }
            _ => return Err(self.unsupported()),
        };
        inst.target = u32::try_from(self.calls.len()).unwrap_or(u32::MAX);
        self.calls.push(CallSite { function, arguments, results, caller_bytes });
        self.emit(inst);
        Ok(())
    }

    /// Where the variables of an argument list lie, and their sizes.
    fn call_places(&self, list: &[Operand]) -> Result<Vec<(u32, u32)>, PtxError> {
        list.iter()
            .map(|operand| match operand {
                Operand::Local(id) if self.body.variables[*id as usize].space == Space::Param => {
                    let bytes = self.body.variables[*id as usize].bytes;
                    Ok((self.places.variables[*id as usize], u32::try_from(bytes).unwrap_or(u32::MAX)))
                }
                _ => Err(self.bad("arguments are passed in `.param` variables")),
            })
            .collect()
    }

    /// Functions that the device runtime has; false if `name` is another one.
    fn runtime_call(
        &mut self,
        name: &str,
        arguments: &[(u32, u32)],
        results: &[(u32, u32)],
    ) -> Result<bool, PtxError> {
        let sizes: Vec<u32> = arguments.iter().map(|place| place.1).collect();
        let mut inst = match (name, &sizes[..]) {
            _ if self.linker.functions.contains_key(name) => return Ok(false),
            ("vprintf", [8, 8]) => {
                let mut inst = Inst::new(Run::Outer(print::vprintf));
                inst.d = results.first().map_or(NO_ROW, |place| place.0);
                inst
            }
            ("__assertfail", [8, 8, 4, 8, 8]) => {
                let mut inst = Inst::new(Run::Outer(print::assert_fail));
                (inst.d, inst.target) = (arguments[2].0, arguments[3].0);
                inst
            }
            ("vprintf" | "__assertfail", _) => return Err(self.bad("the arguments do not fit this function")),
            _ => return Ok(false),
        };
        (inst.b, inst.c) = (arguments[0].0, arguments[1].0);
        self.emit(inst);
        Ok(true)
    }

    /// `bar.sync a{, b}`, `bar.arrive a, b`, `bar.red.op d, a{, b}, p`, `bar.warp.sync mask`.
    pub(super) fn barrier(&mut self, opcode: &Opcode<'_>, operands: &[Operand]) -> Result<(), PtxError> {
        if opcode.flag("warp") {
            return self.warp_barrier(opcode, operands);
        }
        opcode.ignore(&["cta", "aligned"]);
        if opcode.flag("red") {
            return self.barrier_reduction(opcode, operands);
        }
        let kind = opcode.one_of(&[("sync", BarrierKind::Sync), ("arrive", BarrierKind::Arrive)]);
        let mut inst = Inst::new(Run::Barrier(kind.ok_or_else(|| self.unsupported())?));
        match operands {
            [id] if kind == Some(BarrierKind::Sync) => inst.a = self.source(id, Type::U32)?,
            [id, count] => {
                inst.a = self.source(id, Type::U32)?;
                inst.b = self.source(count, Type::U32)?;
            }
            _ => return Err(self.bad("takes a barrier and perhaps a count of threads")),
        }
        self.emit(inst);
        Ok(())
    }

    fn barrier_reduction(&mut self, opcode: &Opcode<'_>, operands: &[Operand]) -> Result<(), PtxError> {
        let kinds = [("popc", BarrierKind::Count), ("and", BarrierKind::And), ("or", BarrierKind::Or)];
        let kind = opcode.one_of(&kinds).ok_or_else(|| self.unsupported())?;
        let ty = opcode.ty().ok_or_else(|| self.unsupported())?;
        if ty != if kind == BarrierKind::Count { Type::U32 } else { Type::Pred } {
            return Err(self.unsupported());
        }
        let mut inst = Inst::new(Run::Barrier(kind));
        let (target, vote) = match operands {
            [target, id, vote] => {
                inst.a = self.source(id, Type::U32)?;
                (target, vote)
            }
            [target, id, count, vote] => {
                inst.a = self.source(id, Type::U32)?;
                inst.b = self.source(count, Type::U32)?;
                (target, vote)
            }
            _ => return Err(self.bad("takes a destination, a barrier, perhaps a count, and a predicate")),
        };
        inst.c = self.predicate(vote)?;
        let target = self.target(target, ty)?;
        inst.dst = target.row;
        self.emit(inst);
        self.finish_target(target);
        Ok(())
    }
}
