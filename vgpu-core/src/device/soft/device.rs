//! The software GPU as a device: makes contexts, and knows the host memory that they reach.

use std::sync::Arc;

use vgpu_proto::Status;
use vgpu_proto::handshake::DeviceDescription;
use vgpu_window::{Region, Reservation};

use super::card::Card;
use super::config::{ConfigError, SoftConfig};
use super::context::SoftContext;
use crate::device::{Context, Device, DeviceError, DeviceEvents};

/// A GPU in software. It has no threads until the first command, and none a second after the last.
///
/// All its contexts share one address space, as contexts of one process do under CUDA's unified addressing.
#[derive(Debug)]
pub struct SoftDevice {
    card: Arc<Card>,
}

impl SoftDevice {
    /// Makes a card whose device addresses lie in the [`vgpu_proto::limits::ARENA_HOST_BYTES`] bytes from
    /// `arena_base`, which is a multiple of 64 KiB. Nothing is mapped there; the range is the caller's to keep free.
    ///
    /// # Errors
    /// A setting is out of its range.
    pub fn new(config: SoftConfig, arena_base: u64) -> Result<Arc<Self>, ConfigError> {
        Ok(Arc::new(Self { card: Arc::new(Card::new(config, arena_base)?) }))
    }

    pub(super) fn card(&self) -> &Card {
        &self.card
    }

    /// Threads that the device has now.
    pub fn threads(&self) -> u32 {
        self.card.executor().queues().threads
    }
}

impl Device for SoftDevice {
    fn description(&self) -> &DeviceDescription {
        self.card.description()
    }

    /// `flags` choose how threads of the guest wait, which is the guest's own affair.
    fn context_create(
        &self,
        _flags: u32,
        events: Arc<dyn DeviceEvents>,
    ) -> Result<Arc<dyn Context>, DeviceError> {
        let mut queues = self.card.executor().queues();
        if let Some(error) = &queues.lost {
            return Err(error.clone());
        }
        let (owner, legacy) = queues.open_context(Arc::clone(&events));
        drop(queues);
        Ok(Arc::new(SoftContext::new(Arc::clone(&self.card), owner, legacy, events)))
    }

    /// Nothing is mapped in the arena; only its addresses are used.
    fn arena_set(&self, arena: &Arc<Reservation>) -> Result<(), DeviceError> {
        let late = || DeviceError::new(Status::ERROR_INVALID_VALUE, "device memory lies elsewhere already");
        if self.card.move_arena(arena.base()) { Ok(()) } else { Err(late()) }
    }

    fn host_region_add(&self, address: u64, region: &Arc<Region>) -> Result<(), DeviceError> {
        self.card.add_host(address, region)
    }

    fn host_region_remove(&self, address: u64) -> Result<(), DeviceError> {
        self.card.remove_host(address)
    }
}
