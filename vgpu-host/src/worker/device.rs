//! Opening the device that the setup names.

use std::sync::Arc;

use vgpu_core::device::Device;
use vgpu_core::device::soft::{ComputeCapability, SoftConfig, SoftDevice};

use crate::config::Card;
use crate::wire::DeviceSetup;

/// Opens it; the software GPU with its memory in the arena that begins at `arena_base`. The error is for the operator's log
/// and the guest.
pub(super) fn open(setup: &DeviceSetup, arena_base: u64) -> Result<Arc<dyn Device>, String> {
    let (memory_bytes, capability, threads, delay_seed, faults) = match setup {
        DeviceSetup::Cuda(card) => return open_card(*card),
        DeviceSetup::Soft { memory_bytes, compute_major, compute_minor, threads, delay_seed, faults } => {
            (*memory_bytes, (*compute_major, *compute_minor), *threads, *delay_seed, faults)
        }
    };
    let config = SoftConfig {
        memory_bytes,
        compute_capability: ComputeCapability { major: capability.0, minor: capability.1 },
        threads,
        delay_seed,
        faults: faults.parse().map_err(|error| format!("soft.faults: {error}"))?,
    };
    let device = SoftDevice::new(config, arena_base).map_err(|error| format!("soft: {error}"))?;
    Ok(device)
}

/// Opens a card. May block: some 400 ms. The error as above.
pub(super) fn open_card(card: Card) -> Result<Arc<dyn Device>, String> {
    let device = crate::probe::open(card).map_err(|error| format!("{card}: {error}"))?;
    Ok(device)
}
