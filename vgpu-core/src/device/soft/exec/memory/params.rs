//! Kernel parameters: bytes that all threads share and none may write.

use super::super::fault::{FaultKind, Trap};
use super::super::lanes::{LANES, lanes_of};
use super::super::machine::Machine;
use super::{Addresses, Element, Memory};

/// `.param` of a kernel.
#[derive(Debug)]
pub(in super::super) struct Params;

impl Memory for Params {
    fn load<E: Element, const N: usize>(
        machine: &mut Machine<'_>,
        addresses: &Addresses,
        mask: u32,
        out: &mut [[E::Bits; LANES]; N],
    ) -> Result<(), Trap> {
        let bytes = E::BYTES * N as u64;
        for lane in lanes_of(mask) {
            let address = addresses[lane];
            if address & (bytes - 1) != 0 {
                return Err(Trap::new(FaultKind::MisalignedAddress, lane, address));
            }
            let all = usize::try_from(address)
                .ok()
                .and_then(|start| machine.launch.params.get(start..start.checked_add(bytes as usize)?))
                .ok_or(Trap::new(FaultKind::IllegalAddress, lane, address))?;
            for (row, part) in out.iter_mut().zip(all.chunks_exact(E::BYTES as usize)) {
                let mut pair = [0; 8];
                pair[..part.len()].copy_from_slice(part);
                let both = u64::from_le_bytes(pair);
                #[allow(clippy::cast_possible_truncation, reason = "the halves of a pair of words")]
                let (low, high) = (both as u32, (both >> 32) as u32);
                row[lane] = E::extract(low, high, 0);
            }
        }
        Ok(())
    }

    fn store<E: Element, const N: usize>(
        _: &mut Machine<'_>,
        addresses: &Addresses,
        mask: u32,
        _: &[[E::Bits; LANES]; N],
    ) -> Result<(), Trap> {
        refuse(addresses, mask)
    }

    fn update<E: Element>(
        _: &mut Machine<'_>,
        addresses: &Addresses,
        mask: u32,
        _: impl Fn(usize, E::Bits) -> E::Bits,
        _: &mut [E::Bits; LANES],
    ) -> Result<(), Trap> {
        refuse(addresses, mask)
    }
}

fn refuse(addresses: &Addresses, mask: u32) -> Result<(), Trap> {
    let lane = mask.trailing_zeros() as usize % LANES;
    Err(Trap::new(FaultKind::InvalidAddressSpace, lane, addresses[lane]))
}
