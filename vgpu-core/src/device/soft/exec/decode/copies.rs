//! `cp.async`, which copies at once here: its groups are complete as soon as they are committed.

use super::super::super::ptx::{Operand, PtxError, Type};
use super::super::fault::Trap;
use super::super::inst::{Base, Inst, Run};
use super::super::lanes::{LANES, NO_ROW, map1, read};
use super::super::machine::Machine;
use super::super::memory::{Element, Global, Memory, Shared, addresses};
use super::super::opcode::Opcode;
use super::memory::Place;
use super::{Decoder, ops};

impl Decoder<'_> {
    /// `cp.async.{ca,cg}.shared.global [dst], [src], size{, source_size};` and its waits.
    pub(super) fn copy_async(&mut self, opcode: &Opcode<'_>, operands: &[Operand]) -> Result<(), PtxError> {
        if !opcode.flag("async") {
            return Err(self.unsupported());
        }
        match operands {
            [] if opcode.flag("commit_group") || opcode.flag("wait_all") => return Ok(()),
            [Operand::Integer(_)] if opcode.flag("wait_group") => return Ok(()),
            _ => {}
        }
        let shared = opcode.flag("shared") | opcode.flag("shared::cta");
        let cached = opcode.one_of(&[("ca", true), ("cg", false)]).ok_or_else(|| self.unsupported())?;
        opcode.ignore_prefix("L2::");
        let ([dst, src, Operand::Integer(size), rest @ ..], true, true) =
            (operands, shared, opcode.flag("global"))
        else {
            return Err(self.unsupported());
        };
        let mut inst = Inst::new(Run::Outer(match (size, cached) {
            (4, true) => copy::<u32, 1>,
            (8, true) => copy::<u64, 1>,
            (16, _) => copy::<u32, 4>,
            _ => return Err(self.bad("copies 4, 8 or 16 bytes")),
        }));
        // The source's address becomes a row of its own: an instruction holds one offset.
        self.address(&mut inst, src, Place::Global)?;
        let row = match inst.mode.base {
            Base::Long => {
                let row = self.rows.temporary(Type::B64);
                let mut add = Inst::new(Run::Alu(|f, i, m| map1(f, i, m, |a: u64| a.wrapping_add(i.imm))));
                (add.dst, add.a, add.imm) = (row, inst.a, inst.imm);
                self.emit(add);
                row
            }
            Base::Word => {
                let row = self.rows.temporary(Type::B64);
                self.emit_alu(ops::zero_extend_word, row, inst.a, 0);
                let mut add = Inst::new(Run::Alu(|f, i, m| map1(f, i, m, |a: u64| a.wrapping_add(i.imm))));
                (add.dst, add.a, add.imm) = (row, row, inst.imm);
                self.emit(add);
                row
            }
            Base::None => self.rows.long(inst.imm),
            Base::Frame => return Err(self.bad("the source is in global memory")),
        };
        (inst.b, inst.a, inst.imm, inst.mode.base) = (row, NO_ROW, 0, Base::None);
        self.address(&mut inst, dst, Place::Shared)?;
        match rest {
            [] => {}
            [size] => inst.c = self.source(size, Type::U32)?,
            _ => return Err(self.unsupported()),
        }
        self.emit(inst);
        Ok(())
    }
}

/// Copies `N` elements per lane; with a source size in row `c`, what lies beyond it becomes zero.
fn copy<E: Element, const N: usize>(machine: &mut Machine<'_>, inst: &Inst, mask: u32) -> Result<(), Trap> {
    let into = addresses(machine.frame(), inst, mask);
    let from = *read::<u64>(machine.frame(), inst.b);
    let sizes = if inst.c == NO_ROW { None } else { Some(*read::<u32>(machine.frame(), inst.c)) };
    let (mut out, mut reading) = ([[E::Bits::default(); LANES]; N], mask);
    if let Some(sizes) = &sizes {
        for lane in super::super::lanes::lanes_of(mask) {
            // A lane that reads nothing may give any address.
            if sizes[lane] == 0 {
                reading &= !(1 << lane);
            }
        }
    }
    if reading != 0 {
        let first = from[reading.trailing_zeros() as usize % LANES];
        let from = std::array::from_fn(|lane| if reading >> lane & 1 != 0 { from[lane] } else { first });
        Global::load::<E, N>(machine, &from, reading, &mut out)?;
    }
    if let Some(sizes) = &sizes {
        for (element, row) in (0u64..).zip(&mut out) {
            for lane in 0..LANES {
                if (element + 1) * E::BYTES > u64::from(sizes[lane]) {
                    row[lane] = E::Bits::default();
                }
            }
        }
    }
    Shared::store::<E, N>(machine, &into, mask, &out)
}
