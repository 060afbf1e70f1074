//! Global memory: regions that other threads and other processes may change at any moment.

use super::super::fault::{FaultKind, Trap};
use super::super::lanes::{LANES, lanes_of};
use super::super::machine::Machine;
use super::lookup::Entry;
use super::{Addresses, Element, Lookup, Memory};

/// `.global` and `.const`.
#[derive(Debug)]
pub(in super::super) struct Global;

/// The region that holds the accesses of all lanes, if one does and none is misaligned.
#[inline(always)]
fn common<'a>(lookup: &'a mut Lookup, addresses: &Addresses, bytes: u64) -> Option<&'a Entry> {
    let entry = lookup.find(addresses[0])?;
    let room = entry.bytes.checked_sub(bytes)?;
    let (mut low_bits, mut inside) = (0, true);
    for &address in addresses {
        low_bits |= address;
        inside &= address.wrapping_sub(entry.start) <= room;
    }
    (inside && low_bits & (bytes - 1) == 0).then_some(entry)
}

/// The region of one lane's access.
fn single(lookup: &mut Lookup, lane: usize, address: u64, bytes: u64) -> Result<&Entry, Trap> {
    if address & (bytes - 1) != 0 {
        return Err(Trap::new(FaultKind::MisalignedAddress, lane, address));
    }
    lookup.find(address).filter(|entry| bytes <= entry.bytes - (address - entry.start)).ok_or(Trap::new(
        FaultKind::IllegalAddress,
        lane,
        address,
    ))
}

/// The cells of an access that was checked.
#[inline(always)]
fn cell<E: Element>(cells: &[E::Cell], offset: u64, element: usize) -> Option<&E::Cell> {
    cells.get((offset / E::BYTES) as usize + element)
}

impl Memory for Global {
    #[inline(always)]
    fn load<E: Element, const N: usize>(
        machine: &mut Machine<'_>,
        addresses: &Addresses,
        mask: u32,
        out: &mut [[E::Bits; LANES]; N],
    ) -> Result<(), Trap> {
        let bytes = E::BYTES * N as u64;
        if let Some(entry) = common(machine.lookup, addresses, bytes) {
            let cells = E::cells(&entry.region);
            for lane in 0..LANES {
                for (element, row) in out.iter_mut().enumerate() {
                    row[lane] = cell::<E>(cells, addresses[lane] - entry.start, element)
                        .map_or_else(Default::default, E::get);
                }
            }
            return Ok(());
        }
        for lane in lanes_of(mask) {
            let entry = single(machine.lookup, lane, addresses[lane], bytes)?;
            let cells = E::cells(&entry.region);
            for (element, row) in out.iter_mut().enumerate() {
                row[lane] = cell::<E>(cells, addresses[lane] - entry.start, element)
                    .map_or_else(Default::default, E::get);
            }
        }
        Ok(())
    }

    #[inline(always)]
    fn store<E: Element, const N: usize>(
        machine: &mut Machine<'_>,
        addresses: &Addresses,
        mask: u32,
        values: &[[E::Bits; LANES]; N],
    ) -> Result<(), Trap> {
        let bytes = E::BYTES * N as u64;
        if let Some(entry) = common(machine.lookup, addresses, bytes) {
            let cells = E::cells(&entry.region);
            for lane in lanes_of(mask) {
                for (element, row) in values.iter().enumerate() {
                    if let Some(cell) = cell::<E>(cells, addresses[lane] - entry.start, element) {
                        E::put(cell, row[lane]);
                    }
                }
            }
            return Ok(());
        }
        for lane in lanes_of(mask) {
            let entry = single(machine.lookup, lane, addresses[lane], bytes)?;
            let cells = E::cells(&entry.region);
            for (element, row) in values.iter().enumerate() {
                if let Some(cell) = cell::<E>(cells, addresses[lane] - entry.start, element) {
                    E::put(cell, row[lane]);
                }
            }
        }
        Ok(())
    }

    fn update<E: Element>(
        machine: &mut Machine<'_>,
        addresses: &Addresses,
        mask: u32,
        change: impl Fn(usize, E::Bits) -> E::Bits,
        out: &mut [E::Bits; LANES],
    ) -> Result<(), Trap> {
        for lane in lanes_of(mask) {
            let entry = single(machine.lookup, lane, addresses[lane], E::BYTES)?;
            if let Some(cell) = cell::<E>(E::cells(&entry.region), addresses[lane] - entry.start, 0) {
                out[lane] = E::change(cell, |old| change(lane, old));
            }
        }
        Ok(())
    }
}
