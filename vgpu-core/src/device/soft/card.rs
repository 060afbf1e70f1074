//! The card: its memory, its threads, and what its contexts share.

use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::Mutex;
use vgpu_proto::Status;
use vgpu_proto::handshake::DeviceDescription;
use vgpu_proto::limits::ARENA_HOST_BYTES;
use vgpu_window::Region;

use super::arena::{Arena, Owner};
use super::config::{ConfigError, SoftConfig};
use super::delay::Delay;
use super::exec::Budget;
use super::executor::Executor;
use super::memory::AddressSpace;
use super::queue::Queues;
use super::virtual_memory::Pieces;
use crate::device::DeviceError;

#[derive(Debug)]
pub(super) struct Card {
    config: SoftConfig,
    description: DeviceDescription,
    memory: Arc<AddressSpace>,
    budget: Arc<Budget>,
    arena: Mutex<Arena>,
    /// Where host regions begin, so that only those are taken back as such.
    hosts: Mutex<HashSet<u64>>,
    executor: Arc<Executor>,
    pieces: Pieces,
}

impl Card {
    /// A card whose device addresses lie in the [`ARENA_HOST_BYTES`] bytes from `arena_base`.
    pub(super) fn new(config: SoftConfig, arena_base: u64) -> Result<Self, ConfigError> {
        config.check()?;
        let memory = Arc::new(AddressSpace::new());
        let queues = Queues::new(Arc::clone(&memory), config.delay_seed.map(Delay::new), config.threads);
        let lost_after = config.faults.lost_after_launches;
        let executor = Executor::new(queues, Arc::clone(&memory), config.threads, lost_after);
        Ok(Self {
            description: config.description(),
            arena: Mutex::new(Arena::new(arena_base, ARENA_HOST_BYTES, config.memory_bytes, &config.faults)),
            memory,
            budget: Arc::default(),
            hosts: Mutex::new(HashSet::new()),
            executor: Arc::new(executor),
            pieces: Pieces::default(),
            config,
        })
    }

    pub(super) const fn description(&self) -> &DeviceDescription {
        &self.description
    }

    pub(super) const fn config(&self) -> &SoftConfig {
        &self.config
    }

    pub(super) const fn memory(&self) -> &Arc<AddressSpace> {
        &self.memory
    }

    /// Memory that the guest maps itself.
    pub(super) const fn pieces(&self) -> &Pieces {
        &self.pieces
    }

    /// Moves the device addresses to `base`; `false` if memory lies elsewhere already.
    pub(super) fn move_arena(&self, base: u64) -> bool {
        self.arena.lock().move_to(base)
    }

    /// Memory for kernels that run.
    pub(super) const fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    pub(super) const fn executor(&self) -> &Arc<Executor> {
        &self.executor
    }

    /// Allocates zeroed memory at a multiple of `align` bytes.
    pub(super) fn alloc(&self, owner: Owner, bytes: u64, align: u64) -> Result<u64, DeviceError> {
        let address = self.arena.lock().alloc(owner, bytes, align)?;
        let placed = Region::anonymous(bytes)
            .map_err(|error| format!("the host has no memory for the software GPU: {error}"))
            .and_then(|region| {
                let inserted = self.memory.insert(address, Arc::new(region));
                inserted.map_err(|error| format!("a host region lies among the device addresses: {error}"))
            });
        match placed {
            Ok(()) => Ok(address),
            Err(text) => {
                self.arena.lock().release(owner, address);
                Err(DeviceError::new(Status::ERROR_OUT_OF_MEMORY, text))
            }
        }
    }

    /// Makes host memory reachable.
    pub(super) fn add_host(&self, address: u64, region: &Arc<Region>) -> Result<(), DeviceError> {
        let mut hosts = self.hosts.lock();
        self.memory.insert(address, Arc::clone(region)).map_err(|error| {
            DeviceError::new(Status::ERROR_INVALID_VALUE, format!("host region at {address:#x}: {error}"))
        })?;
        hosts.insert(address);
        Ok(())
    }

    /// Takes host memory back.
    pub(super) fn remove_host(&self, address: u64) -> Result<(), DeviceError> {
        if !self.hosts.lock().remove(&address) {
            let text = format!("no host region was added at {address:#x}");
            return Err(DeviceError::new(Status::ERROR_INVALID_VALUE, text));
        }
        self.memory.remove(address);
        Ok(())
    }

    /// Whether an allocation of that owner starts there.
    pub(super) fn owns(&self, owner: Owner, address: u64) -> bool {
        self.arena.lock().bytes_of(owner, address).is_some()
    }

    /// Frees an allocation of that owner, if there is one, and tells how many bytes it was counted as.
    pub(super) fn free(&self, owner: Owner, address: u64) -> Option<u64> {
        let mut arena = self.arena.lock();
        let bytes = arena.bytes_of(owner, address)?;
        // The address must lead nowhere before it can be given out again.
        self.memory.remove(address);
        arena.release(owner, address);
        Some(bytes)
    }

    /// Frees all that an owner has.
    pub(super) fn free_all(&self, owner: Owner) {
        let addresses = self.arena.lock().owned(owner);
        for address in addresses {
            self.free(owner, address);
        }
    }

    /// Counts code against the card's memory.
    pub(super) fn charge(&self, bytes: u64) -> Result<(), DeviceError> {
        self.arena.lock().charge(bytes)
    }

    /// Takes a [`Card::charge`] back.
    pub(super) fn discharge(&self, bytes: u64) {
        self.arena.lock().discharge(bytes);
    }
}

impl Drop for Card {
    fn drop(&mut self) {
        self.executor.shut_down();
    }
}
