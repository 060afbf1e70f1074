//! Special registers.

use super::super::super::ptx::{Operand, PtxError, Type};
use super::super::fault::Trap;
use super::super::inst::{Inst, Outer, Run, Special};
use super::super::lanes::{LANES, write};
use super::super::machine::{Machine, POLL_COST};
use super::super::ops;
use super::{Decoder, is_long};

/// A special register that keeps its value, by name.
fn fixed(name: &str) -> Option<Special> {
    let (base, axis) = match name.split_once('.') {
        None => (name, 0),
        Some((base, "x")) => (base, 0),
        Some((base, "y")) => (base, 1),
        Some((base, "z")) => (base, 2),
        Some(_) => return None,
    };
    let vector = name.contains('.');
    Some(match base {
        "%tid" if vector => Special::Tid(axis),
        "%ntid" if vector => Special::Ntid(axis),
        "%ctaid" if vector => Special::Ctaid(axis),
        "%nctaid" if vector => Special::Nctaid(axis),
        "%laneid" => Special::Lane,
        "%warpid" => Special::Warp,
        "%nwarpid" => Special::Warps,
        "%smid" => Special::Sm,
        "%nsmid" => Special::Sms,
        "%gridid" => Special::Grid,
        "%lanemask_eq" => Special::LaneMask(true, false, false),
        "%lanemask_le" => Special::LaneMask(true, true, false),
        "%lanemask_lt" => Special::LaneMask(false, true, false),
        "%lanemask_ge" => Special::LaneMask(true, false, true),
        "%lanemask_gt" => Special::LaneMask(false, false, true),
        "%dynamic_smem_size" => Special::DynamicShared,
        "%total_smem_size" | "%aggr_smem_size" => Special::TotalShared,
        _ => Special::Environment(base.strip_prefix("%envreg")?.parse().ok()?),
    })
}

impl Decoder<'_> {
    pub(super) fn source_special(&mut self, name: &str, ty: Type) -> Result<u32, PtxError> {
        let Some(special) = fixed(name) else {
            // One that changes is read into a temporary row where it stands.
            let row = self.rows.temporary(ty);
            let inst = self.dynamic(name, row, ty)?;
            self.emit(inst);
            return Ok(row);
        };
        let row = self.rows.special(special);
        if !is_long(ty) {
            return Ok(row);
        }
        let wide = self.rows.temporary(Type::B64);
        self.emit_alu(ops::zero_extend_word, wide, row, 0);
        Ok(wide)
    }

    /// `mov` from a special register that changes; false if `name` is another one.
    pub(super) fn dynamic_special(
        &mut self,
        name: &str,
        target: &Operand,
        ty: Type,
    ) -> Result<bool, PtxError> {
        if fixed(name).is_some() {
            return Ok(false);
        }
        let target = self.target(target, ty)?;
        let inst = self.dynamic(name, target.row, ty)?;
        self.emit(inst);
        self.finish_target(target);
        Ok(true)
    }

    fn dynamic(&self, name: &str, row: u32, ty: Type) -> Result<Inst, PtxError> {
        let high = name.ends_with("_hi");
        let run: Outer = match name {
            "%clock" | "%clock64" | "%globaltimer" | "%globaltimer_lo" if is_long(ty) => clock_long,
            "%clock" | "%clock64" | "%globaltimer" | "%globaltimer_lo" | "%clock_hi" | "%globaltimer_hi" => {
                clock_word
            }
            _ => return Err(self.bad(format!("special register `{name}` is not supported"))),
        };
        let mut inst = Inst::new(Run::Outer(run));
        (inst.dst, inst.imm) = (row, if high { 32 } else { 0 });
        Ok(inst)
    }
}

fn clock_long(machine: &mut Machine<'_>, inst: &Inst, mask: u32) -> Result<(), Trap> {
    let now = (machine.launch.env.clock_ns)();
    machine.cost += POLL_COST;
    write(machine.frame(), inst.dst, mask, &[now; LANES]);
    Ok(())
}

#[allow(clippy::cast_possible_truncation, reason = "one half of the clock is asked for")]
fn clock_word(machine: &mut Machine<'_>, inst: &Inst, mask: u32) -> Result<(), Trap> {
    let now = (machine.launch.env.clock_ns)() >> inst.imm;
    machine.cost += POLL_COST;
    write(machine.frame(), inst.dst, mask, &[now as u32; LANES]);
    Ok(())
}
