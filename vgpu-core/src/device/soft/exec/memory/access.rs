//! The load and store instructions.

use std::sync::atomic::{Ordering, fence};

use super::super::fault::Trap;
use super::super::inst::{Base, Inst};
use super::super::lanes::{BIT, FULL, Frame, LANES, NO_ROW, read, write};
use super::super::machine::{Machine, POLL_COST};
use super::{Addresses, Element, Memory};

/// Bit of [`Mode::selector`](super::super::inst::Mode): the access may be part of a wait for another thread.
pub(in super::super) const POLLS: u8 = 1;
/// Bit of the selector: nothing later may move before this load.
pub(in super::super) const ACQUIRES: u8 = 2;
/// Bit of the selector: nothing earlier may move after this store.
pub(in super::super) const RELEASES: u8 = 4;

/// Addresses of the lanes of `mask`.
#[inline(always)]
pub(in super::super) fn addresses(frame: &Frame, inst: &Inst, mask: u32) -> Addresses {
    let mut all = [inst.imm; LANES];
    match inst.mode.base {
        Base::None => return all,
        Base::Word => {
            // Addresses in 32-bit registers wrap at 32 bits.
            #[allow(clippy::cast_possible_truncation, reason = "offsets wrap as the registers do")]
            let offset = inst.imm as u32;
            let row = read::<u32>(frame, inst.a);
            for lane in 0..LANES {
                all[lane] = u64::from(row[lane].wrapping_add(offset));
            }
        }
        Base::Long => {
            let row = read::<u64>(frame, inst.a);
            for lane in 0..LANES {
                all[lane] = row[lane].wrapping_add(inst.imm);
            }
        }
        Base::Frame => {
            for (address, base) in all.iter_mut().zip(&frame.local_base) {
                *address = u64::from(*base).wrapping_add(inst.imm);
            }
        }
    }
    if mask != FULL {
        let first = all[mask.trailing_zeros() as usize % LANES];
        for lane in 0..LANES {
            all[lane] = if mask & BIT[lane] != 0 { all[lane] } else { first };
        }
    }
    all
}

/// The rows of a vector's elements.
fn rows(inst: &Inst) -> [u32; 4] {
    [inst.dst, inst.b, inst.c, inst.d]
}

/// `ld` of `N` elements.
pub(in super::super) fn load<S: Memory, E: Element, const N: usize>(
    machine: &mut Machine<'_>,
    inst: &Inst,
    mask: u32,
) -> Result<(), Trap> {
    let addresses = addresses(machine.frame(), inst, mask);
    let mut out = [[E::Bits::default(); LANES]; N];
    S::load::<E, N>(machine, &addresses, mask, &mut out)?;
    if inst.mode.selector != 0 {
        machine.cost += POLL_COST;
        if inst.mode.selector & ACQUIRES != 0 {
            fence(Ordering::Acquire);
        }
    }
    for (row, values) in rows(inst).into_iter().zip(&out) {
        if row != NO_ROW {
            write(machine.frame(), row, mask, values);
        }
    }
    Ok(())
}

/// `st` of `N` elements.
pub(in super::super) fn store<S: Memory, E: Element, const N: usize>(
    machine: &mut Machine<'_>,
    inst: &Inst,
    mask: u32,
) -> Result<(), Trap> {
    let addresses = addresses(machine.frame(), inst, mask);
    let mut values = [[E::Bits::default(); LANES]; N];
    for (row, values) in rows(inst).into_iter().zip(&mut values) {
        *values = *read(machine.frame(), row);
    }
    if inst.mode.selector & RELEASES != 0 {
        fence(Ordering::Release);
    }
    S::store::<E, N>(machine, &addresses, mask, &values)
}
