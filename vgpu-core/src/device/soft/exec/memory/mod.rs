//! Loads, stores and atomics of every state space.

mod access;
mod atomics;
mod element;
mod generic;
mod global;
mod lookup;
mod params;
mod words;

pub(super) use access::{ACQUIRES, POLLS, RELEASES, addresses, load, store};
pub(super) use atomics::{AtomicOp, update};
pub(super) use element::Element;
pub(super) use generic::{Generic, window_of};
pub(super) use global::Global;
pub(super) use lookup::Lookup;
pub(super) use params::Params;
pub(super) use words::{Local, LocalMemory, Shared, SharedMemory};

use super::fault::Trap;
use super::lanes::LANES;
use super::machine::Machine;

/// Where shared addresses appear in generic space.
pub(super) const SHARED_WINDOW: u64 = 1 << 60;
/// Where local addresses appear in generic space.
pub(super) const LOCAL_WINDOW: u64 = 2 << 60;
/// Where kernel parameters appear in generic space.
pub(super) const PARAM_WINDOW: u64 = 3 << 60;
/// Addresses of functions; nothing can be read there.
pub(super) const CODE_WINDOW: u64 = 4 << 60;
/// Bits of an address inside its window.
pub(super) const WINDOW_OFFSET: u64 = SHARED_WINDOW - 1;

/// The addresses that the lanes of an instruction use. Lanes that take no part repeat that of one that does,
/// so that loops need not look at the mask.
pub(super) type Addresses = [u64; LANES];

/// A state space.
pub(super) trait Memory {
    /// Reads `N` neighbouring elements per lane.
    fn load<E: Element, const N: usize>(
        machine: &mut Machine<'_>,
        addresses: &Addresses,
        mask: u32,
        out: &mut [[E::Bits; LANES]; N],
    ) -> Result<(), Trap>;

    /// Writes `N` neighbouring elements per lane, lowest lane first.
    fn store<E: Element, const N: usize>(
        machine: &mut Machine<'_>,
        addresses: &Addresses,
        mask: u32,
        values: &[[E::Bits; LANES]; N],
    ) -> Result<(), Trap>;

    /// Replaces an element per lane by `change(lane, old)`, atomically, lowest lane first; gives the old ones.
    fn update<E: Element>(
        machine: &mut Machine<'_>,
        addresses: &Addresses,
        mask: u32,
        change: impl Fn(usize, E::Bits) -> E::Bits,
        out: &mut [E::Bits; LANES],
    ) -> Result<(), Trap>;
}
