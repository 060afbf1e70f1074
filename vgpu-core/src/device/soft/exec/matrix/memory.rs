//! `wmma.load` and `wmma.store`: a matrix between memory and a fragment.

use super::super::fault::Trap;
use super::super::lanes::{Bits, FULL, LANES, lanes_of, read, write};
use super::super::machine::Machine;
use super::super::memory::{Addresses, Element, Generic, Global, Memory, Shared};
use super::fragment::Fragment;
use super::tiles::gather_addresses;
use super::{MatrixSpace, Party};

/// A matrix in memory and the fragment that it becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Transfer {
    pub(in super::super) fragment: Fragment,
    pub(in super::super) space: MatrixSpace,
    /// Whether neighbours in memory are neighbours in a row, not in a column.
    pub(in super::super) by_rows: bool,
}

/// Where a matrix lies, as each lane says it.
struct Place {
    transfer: Transfer,
    start: Addresses,
    /// Elements from one row, or column, to the next.
    stride: [u32; LANES],
}

impl Place {
    fn new(machine: &Machine<'_>, parties: &[Party<'_>], transfer: Transfer) -> Self {
        let mut stride = [0; LANES];
        for party in parties {
            let own = read::<u32>(&machine.frames[party.depth], party.inst.b);
            lanes_of(party.mask).for_each(|lane| stride[lane] = own[lane]);
        }
        Self { transfer, start: gather_addresses(machine, parties), stride }
    }

    /// Bits from the start of the matrix to element `at` of a lane.
    fn offset_bits(&self, lane: usize, at: usize) -> u64 {
        let (row, column) = self.transfer.fragment.place(lane, at);
        let (major, minor) = if self.transfer.by_rows { (row, column) } else { (column, row) };
        // No overflow: strides have 32 bits, rows and columns are below 256, elements have at most 64 bits.
        let elements = major as u64 * u64::from(self.stride[lane]) + minor as u64;
        elements * self.transfer.fragment.scalar.bits() as u64
    }

    /// Address of element `at` of each lane, or of the byte that it is a part of.
    fn element(&self, at: usize) -> Addresses {
        std::array::from_fn(|lane| self.start[lane].wrapping_add(self.offset_bits(lane, at) / 8))
    }

    /// Elements `at` of the lanes cut from their bytes.
    fn cut(&self, at: usize, bytes: [u32; LANES]) -> [u32; LANES] {
        let unused = 32 - self.transfer.fragment.scalar.bits();
        std::array::from_fn(|lane| bytes[lane] >> (self.offset_bits(lane, at) % 8) & (u32::MAX >> unused))
    }
}

fn get<E: Element>(
    machine: &mut Machine<'_>,
    space: MatrixSpace,
    addresses: &Addresses,
) -> Result<[E::Bits; LANES], Trap> {
    let mut out = [[E::Bits::default(); LANES]];
    match space {
        MatrixSpace::Generic => Generic::load::<E, 1>(machine, addresses, FULL, &mut out)?,
        MatrixSpace::Global => Global::load::<E, 1>(machine, addresses, FULL, &mut out)?,
        MatrixSpace::Shared => Shared::load::<E, 1>(machine, addresses, FULL, &mut out)?,
    }
    Ok(out[0])
}

fn put<E: Element>(
    machine: &mut Machine<'_>,
    space: MatrixSpace,
    addresses: &Addresses,
    values: [E::Bits; LANES],
) -> Result<(), Trap> {
    match space {
        MatrixSpace::Generic => Generic::store::<E, 1>(machine, addresses, FULL, &[values]),
        MatrixSpace::Global => Global::store::<E, 1>(machine, addresses, FULL, &[values]),
        MatrixSpace::Shared => Shared::store::<E, 1>(machine, addresses, FULL, &[values]),
    }
}

/// `wmma.load`.
pub(super) fn load(machine: &mut Machine<'_>, parties: &[Party<'_>], transfer: Transfer) -> Result<(), Trap> {
    let place = Place::new(machine, parties, transfer);
    let (bits, per_register) = (transfer.fragment.scalar.bits(), transfer.fragment.scalar.per_register());
    for register in 0..transfer.fragment.registers() {
        let mut held = [0u32; LANES];
        for part in 0..per_register {
            let number = register * per_register + part;
            let at = place.element(number);
            let values = match bits {
                ..8 => place.cut(number, get::<u8>(machine, transfer.space, &at)?),
                8 => get::<u8>(machine, transfer.space, &at)?,
                16 => get::<u16>(machine, transfer.space, &at)?,
                32 => get::<u32>(machine, transfer.space, &at)?,
                _ => {
                    let values = get::<u64>(machine, transfer.space, &at)?;
                    deliver(machine, parties, register, &values);
                    continue;
                }
            };
            held.iter_mut().zip(values).for_each(|(held, value)| *held |= value << (part * bits));
        }
        if bits <= 32 {
            deliver(machine, parties, register, &held);
        }
    }
    Ok(())
}

fn deliver<B: Bits>(machine: &mut Machine<'_>, parties: &[Party<'_>], register: usize, held: &[B; LANES]) {
    for party in parties {
        write(&mut machine.frames[party.depth], party.site.targets[register], party.mask, held);
    }
}

fn collect<B: Bits>(machine: &Machine<'_>, parties: &[Party<'_>], register: usize) -> [B; LANES] {
    let mut held = [B::default(); LANES];
    for party in parties {
        let own = read::<B>(&machine.frames[party.depth], party.site.sources[0][register]);
        lanes_of(party.mask).for_each(|lane| held[lane] = own[lane]);
    }
    held
}

/// `wmma.store`, of accumulators: elements of 16 bits or more.
pub(super) fn store(
    machine: &mut Machine<'_>,
    parties: &[Party<'_>],
    transfer: Transfer,
) -> Result<(), Trap> {
    let place = Place::new(machine, parties, transfer);
    for register in 0..transfer.fragment.registers() {
        match transfer.fragment.scalar.bits() {
            16 => {
                let held = collect::<u32>(machine, parties, register);
                put::<u16>(machine, transfer.space, &place.element(2 * register), held)?;
                let high = held.map(|held| held >> 16);
                put::<u16>(machine, transfer.space, &place.element(2 * register + 1), high)?;
            }
            32 => {
                let held = collect::<u32>(machine, parties, register);
                put::<u32>(machine, transfer.space, &place.element(register), held)?;
            }
            _ => {
                let held = collect::<u64>(machine, parties, register);
                put::<u64>(machine, transfer.space, &place.element(register), held)?;
            }
        }
    }
    Ok(())
}
