//! What a pointer is (`cuPointerGetAttribute`).

use vgpu_client::{DevicePtr, MemoryKind};

use crate::current;
use crate::driver::{Driver, driver};
use crate::fail::{Call, INVALID_VALUE, NOT_SUPPORTED};
use crate::memory::{Allocation, Memory};
use crate::pointers::{HostPointer, In};

/// `CU_MEMORYTYPE_HOST` and `CU_MEMORYTYPE_DEVICE`.
const TYPE_HOST: u32 = 1;
const TYPE_DEVICE: u32 = 2;

/// `CU_POINTER_ATTRIBUTE_ACCESS_FLAG_READWRITE`.
const ACCESS_READ_WRITE: u32 = 3;

/// Last attribute of CUDA 13.0.
const LAST: u32 = 21;

/// Attributes that are answered, as `CU_POINTER_ATTRIBUTE_*` numbers them.
mod attribute {
    pub(super) const CONTEXT: u32 = 1;
    pub(super) const MEMORY_TYPE: u32 = 2;
    pub(super) const DEVICE_POINTER: u32 = 3;
    pub(super) const HOST_POINTER: u32 = 4;
    pub(super) const SYNC_MEMOPS: u32 = 6;
    pub(super) const BUFFER_ID: u32 = 7;
    pub(super) const IS_MANAGED: u32 = 8;
    pub(super) const DEVICE_ORDINAL: u32 = 9;
    pub(super) const IS_LEGACY_CUDA_IPC_CAPABLE: u32 = 10;
    pub(super) const RANGE_START_ADDR: u32 = 11;
    pub(super) const RANGE_SIZE: u32 = 12;
    pub(super) const MAPPED: u32 = 13;
    pub(super) const ALLOWED_HANDLE_TYPES: u32 = 14;
    pub(super) const IS_GPU_DIRECT_RDMA_CAPABLE: u32 = 15;
    pub(super) const ACCESS_FLAGS: u32 = 16;
    pub(super) const MEMPOOL_HANDLE: u32 = 17;
    pub(super) const MAPPING_SIZE: u32 = 18;
    pub(super) const MAPPING_BASE_ADDR: u32 = 19;
    pub(super) const MEMORY_BLOCK_ID: u32 = 20;
    pub(super) const IS_HW_DECOMPRESS_CAPABLE: u32 = 21;
}

/// What is known of a range of memory.
#[derive(Clone, Copy, Debug)]
struct Facts {
    /// Handle of the context; 0 for memory of a pool, which belongs to the device.
    context: u64,
    is_device: bool,
    is_managed: bool,
    /// Handle of the pool; 0 where there is none.
    pool: u64,
    base: u64,
    bytes: u64,
    /// Base and size of the range: the allocation, or what the program reserved around a mapping.
    range: (u64, u64),
    /// Tells it from memory that had the same address before.
    serial: u64,
    sync_memops: bool,
}

impl Facts {
    fn of(driver: &Driver, address: u64, allocation: &Allocation) -> Self {
        let (base, bytes) = (allocation.base(), allocation.bytes());
        let (pool, range) = match &allocation.memory {
            Memory::Pooled(block) => (block.pool.handle, None),
            Memory::Mapped(..) => (0, driver.client.virtual_memory().range(address)),
            _ => (0, None),
        };
        Self {
            context: if pool == 0 { allocation.context_handle } else { 0 },
            is_device: allocation.memory.is_device(),
            is_managed: matches!(allocation.memory, Memory::Managed(..)),
            pool,
            base,
            bytes,
            range: range.unwrap_or((base, bytes)),
            serial: allocation.serial,
            sync_memops: allocation.sync_memops,
        }
    }

    /// A variable of a module, which the guest library knows.
    fn of_variable(driver: &Driver, address: u64) -> Option<Self> {
        let found = driver.client.pointer_attributes(DevicePtr(address))?;
        if driver.pools.hold(address) {
            // Free, or freed: to the program it is no memory.
            return None;
        }
        Some(Self {
            context: current::handle(),
            is_device: found.kind == MemoryKind::Device,
            is_managed: false,
            pool: 0,
            base: found.base.0,
            bytes: found.bytes,
            range: (found.base.0, found.bytes),
            // No allocation has it: serials are small.
            serial: found.base.0,
            sync_memops: false,
        })
    }
}

/// What lies at an address.
#[derive(Clone, Copy, Debug)]
enum Found {
    Memory(Facts),
    /// Nothing, in a range of this base and size that the program has reserved.
    Reserved(u64, u64),
}

impl Found {
    fn at(driver: &Driver, address: u64) -> Option<Self> {
        let memory = driver.allocations.find(address, |allocation| Facts::of(driver, address, allocation));
        let memory = memory.or_else(|| Facts::of_variable(driver, address)).map(Self::Memory);
        memory.or_else(|| {
            let range = driver.client.virtual_memory().range(address)?;
            Some(Self::Reserved(range.0, range.1))
        })
    }
}

/// Writes an attribute of a pointer that is ours.
fn write(out: HostPointer, which: u32, address: u64, found: Found) -> Call {
    let facts = match found {
        Found::Memory(facts) => facts,
        Found::Reserved(base, bytes) => return write_reserved(out, which, base, bytes),
    };
    match which {
        attribute::CONTEXT => out.out().set(facts.context),
        attribute::MEMORY_TYPE => {
            out.out().set(if facts.is_device || facts.is_managed { TYPE_DEVICE } else { TYPE_HOST });
        }
        attribute::DEVICE_POINTER => out.out().set(address),
        attribute::HOST_POINTER if facts.is_device => return Err(INVALID_VALUE),
        attribute::HOST_POINTER => out.out().set(address),
        attribute::SYNC_MEMOPS => out.out().set(u32::from(facts.sync_memops)),
        attribute::DEVICE_ORDINAL => out.out().set(0u32),
        attribute::BUFFER_ID | attribute::MEMORY_BLOCK_ID => out.out().set(facts.serial),
        // Four bytes: the runtime reads so many.
        attribute::IS_MANAGED => out.out().set(u32::from(facts.is_managed)),
        attribute::IS_LEGACY_CUDA_IPC_CAPABLE
        | attribute::IS_GPU_DIRECT_RDMA_CAPABLE
        | attribute::IS_HW_DECOMPRESS_CAPABLE => out.out().set(0u8),
        attribute::RANGE_START_ADDR => out.out().set(facts.range.0),
        attribute::RANGE_SIZE => out.out().set(facts.range.1),
        attribute::MAPPING_BASE_ADDR => out.out().set(facts.base),
        attribute::MAPPING_SIZE => out.out().set(facts.bytes),
        attribute::MAPPED => out.out().set(1u8),
        attribute::ALLOWED_HANDLE_TYPES => out.out().set(0u64),
        attribute::MEMPOOL_HANDLE => out.out().set(facts.pool),
        attribute::ACCESS_FLAGS => out.out().set(ACCESS_READ_WRITE),
        ..=LAST => return Err(NOT_SUPPORTED),
        _ => return Err(INVALID_VALUE),
    }
    Ok(())
}

/// Writes an attribute of an address that the program has reserved and where nothing is mapped.
fn write_reserved(out: HostPointer, which: u32, base: u64, bytes: u64) -> Call {
    match which {
        attribute::RANGE_START_ADDR => out.out().set(base),
        attribute::RANGE_SIZE => out.out().set(bytes),
        attribute::MAPPED => out.out().set(0u8),
        _ => return Err(INVALID_VALUE),
    }
    Ok(())
}

/// Writes what `cuPointerGetAttributes` says of memory that it does not know: nothing, in the attribute's width.
fn write_unknown(out: HostPointer, which: u32) -> Call {
    match which {
        attribute::DEVICE_ORDINAL => out.out().set(-2i32),
        attribute::MEMORY_TYPE | attribute::SYNC_MEMOPS | attribute::IS_MANAGED | attribute::ACCESS_FLAGS => {
            out.out().set(0u32);
        }
        attribute::IS_LEGACY_CUDA_IPC_CAPABLE
        | attribute::MAPPED
        | attribute::IS_GPU_DIRECT_RDMA_CAPABLE
        | attribute::IS_HW_DECOMPRESS_CAPABLE => out.out().set(0u8),
        1..=LAST => out.out().set(0u64),
        _ => return Err(INVALID_VALUE),
    }
    Ok(())
}

fn get(driver: &Driver, out: HostPointer, which: u32, address: u64) -> Call {
    if out.is_null() || which == 0 {
        return Err(INVALID_VALUE);
    }
    write(out, which, address, Found::at(driver, address).ok_or(INVALID_VALUE)?)
}

fn get_all(count: u32, attributes: In<u32>, outs: In<HostPointer>, address: u64) -> Call {
    let driver = driver()?;
    let found = Found::at(driver, address);
    for at in 0..count as usize {
        let (which, out) = (attributes.at(at)?, outs.at(at)?);
        if out.is_null() {
            return Err(INVALID_VALUE);
        }
        // This call, unlike the one for a single attribute, succeeds for any pointer, and has no host pointer for
        // device memory.
        match found.map(|found| write(out, which, address, found)) {
            Some(Ok(())) => {}
            None | Some(Err(INVALID_VALUE)) => write_unknown(out, which)?,
            Some(error) => return error,
        }
    }
    Ok(())
}

/// Whether calls that are synchronous wait even where they need not (`SYNC_MEMOPS`): the one attribute that is set.
fn set(value: In<u32>, which: u32, address: u64) -> Call {
    let driver = driver()?;
    if which != attribute::SYNC_MEMOPS {
        return Err(INVALID_VALUE);
    }
    let value = value.read()? != 0;
    driver.allocations.set_sync_memops(address, value).ok_or(INVALID_VALUE)
}

driver_calls! {
    fn cuPointerGetAttribute(out: HostPointer, attribute: u32, address: u64) {
        get(driver()?, out, attribute, address)
    }
    fn cuPointerGetAttributes(count: u32, attributes: In<u32>, outs: In<HostPointer>, address: u64) {
        get_all(count, attributes, outs, address)
    }
    fn cuPointerSetAttribute(value: In<u32>, attribute: u32, address: u64) { set(value, attribute, address) }
}
