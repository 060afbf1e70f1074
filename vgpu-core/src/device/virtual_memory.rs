//! Memory whose addresses the guest chooses (`cuMemCreate`, `cuMemMap` and their kin).

use crate::device::DeviceError;

/// Memory of a device that has no address by itself. It belongs to no context: every context reaches what is mapped.
///
/// The session keeps the rules: addresses and sizes are multiples of
/// [`MEMORY_UNIT_BYTES`](vgpu_proto::limits::MEMORY_UNIT_BYTES), ranges lie in the guest's part of the arena and do not
/// overlap, mappings lie in one range, unmapping and access name whole mappings without gaps. All calls may block.
pub trait VirtualMemory {
    /// Reserves addresses.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY` when they cannot be had.
    fn address_reserve(&self, address: u64, bytes: u64) -> Result<(), DeviceError>;

    /// Frees a reserved range in which nothing is mapped.
    ///
    /// # Errors
    /// `INVALID_VALUE` when none begins there.
    fn address_free(&self, address: u64) -> Result<(), DeviceError>;

    /// Takes memory, so that no earlier tenant's data shows.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`.
    fn memory_create(&self, bytes: u64) -> Result<MemoryKey, DeviceError>;

    /// Gives memory back that is mapped nowhere.
    fn memory_release(&self, memory: MemoryKey);

    /// Maps all of it. Nothing may access it there yet.
    ///
    /// # Errors
    /// What the driver answers.
    fn memory_map(&self, address: u64, memory: MemoryKey) -> Result<(), DeviceError>;

    /// Unmaps. Work that still uses the memory meets an illegal address.
    ///
    /// # Errors
    /// What the driver answers, as after a fault; the mappings are still there then, and nothing may use them.
    fn memory_unmap(&self, address: u64, bytes: u64) -> Result<(), DeviceError>;

    /// Sets what kernels and copies may do there.
    ///
    /// # Errors
    /// `NOT_SUPPORTED` for access that the device cannot tell apart; what the driver answers.
    fn memory_set_access(&self, address: u64, bytes: u64, access: MemoryAccess) -> Result<(), DeviceError>;
}

/// Memory of a device. Never used again once released.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MemoryKey(pub u64);

/// What kernels and copies may do with mapped memory (`CU_MEM_ACCESS_FLAGS_PROT_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "every device handles each kind")]
pub enum MemoryAccess {
    /// Nothing.
    None,
    /// Read.
    Read,
    /// Read and write.
    ReadWrite,
}

impl MemoryAccess {
    /// The access of that number (`CU_MEM_ACCESS_FLAGS_PROT_*`).
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            0 => Some(Self::None),
            1 => Some(Self::Read),
            3 => Some(Self::ReadWrite),
            _ => None,
        }
    }
}
