//! Generic addresses: each lane's address says which space it means.

use super::super::fault::{FaultKind, Trap};
use super::super::lanes::{BIT, LANES};
use super::super::machine::Machine;
use super::{Addresses, Element, Global, Local, Memory, Params, Shared, WINDOW_OFFSET};

/// No state space named.
#[derive(Debug)]
pub(in super::super) struct Generic;

/// Which window a generic address lies in: 0 global, 1 shared, 2 local, 3 parameters, 4 code.
pub(in super::super) fn window_of(address: u64) -> u64 {
    address >> 60
}

/// Whether all addresses are global, as most generic ones are.
#[inline(always)]
fn all_global(addresses: &Addresses) -> bool {
    addresses.iter().fold(0, |all, address| all | address) <= WINDOW_OFFSET
}

/// Calls `visit` once for each window that a lane of `mask` uses, with its lanes and their addresses there.
fn by_window(
    addresses: &Addresses,
    mask: u32,
    mut visit: impl FnMut(u64, u32, &Addresses) -> Result<(), Trap>,
) -> Result<(), Trap> {
    let mut left = mask;
    while left != 0 {
        let first = left.trailing_zeros() as usize;
        let window = window_of(addresses[first]);
        let mut group = 0;
        for lane in 0..LANES {
            if left & BIT[lane] != 0 && window_of(addresses[lane]) == window {
                group |= BIT[lane];
            }
        }
        let inside: Addresses = std::array::from_fn(|lane| {
            let from = if group & BIT[lane] != 0 { lane } else { first };
            addresses[from] & WINDOW_OFFSET
        });
        if window > 3 {
            return Err(Trap::new(FaultKind::IllegalAddress, first, addresses[first]));
        }
        visit(window, group, &inside)?;
        left &= !group;
    }
    Ok(())
}

impl Memory for Generic {
    fn load<E: Element, const N: usize>(
        machine: &mut Machine<'_>,
        addresses: &Addresses,
        mask: u32,
        out: &mut [[E::Bits; LANES]; N],
    ) -> Result<(), Trap> {
        if all_global(addresses) {
            return Global::load::<E, N>(machine, addresses, mask, out);
        }
        by_window(addresses, mask, |window, group, inside| {
            let mut part = [[E::Bits::default(); LANES]; N];
            match window {
                0 => Global::load::<E, N>(machine, inside, group, &mut part)?,
                1 => Shared::load::<E, N>(machine, inside, group, &mut part)?,
                2 => Local::load::<E, N>(machine, inside, group, &mut part)?,
                _ => Params::load::<E, N>(machine, inside, group, &mut part)?,
            }
            for (row, part) in out.iter_mut().zip(&part) {
                for lane in 0..LANES {
                    row[lane] = if group & BIT[lane] != 0 { part[lane] } else { row[lane] };
                }
            }
            Ok(())
        })
    }

    fn store<E: Element, const N: usize>(
        machine: &mut Machine<'_>,
        addresses: &Addresses,
        mask: u32,
        values: &[[E::Bits; LANES]; N],
    ) -> Result<(), Trap> {
        if all_global(addresses) {
            return Global::store::<E, N>(machine, addresses, mask, values);
        }
        by_window(addresses, mask, |window, group, inside| match window {
            0 => Global::store::<E, N>(machine, inside, group, values),
            1 => Shared::store::<E, N>(machine, inside, group, values),
            2 => Local::store::<E, N>(machine, inside, group, values),
            _ => Params::store::<E, N>(machine, inside, group, values),
        })
    }

    fn update<E: Element>(
        machine: &mut Machine<'_>,
        addresses: &Addresses,
        mask: u32,
        change: impl Fn(usize, E::Bits) -> E::Bits,
        out: &mut [E::Bits; LANES],
    ) -> Result<(), Trap> {
        by_window(addresses, mask, |window, group, inside| match window {
            0 => Global::update::<E>(machine, inside, group, &change, out),
            1 => Shared::update::<E>(machine, inside, group, &change, out),
            2 => Local::update::<E>(machine, inside, group, &change, out),
            _ => Params::update::<E>(machine, inside, group, &change, out),
        })
    }
}
