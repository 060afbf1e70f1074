//! What a pointer is (`cuPointerGetAttribute`).

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

/// Writes an attribute of a pointer that is ours.
fn write(driver: &Driver, out: HostPointer, which: u32, address: u64, allocation: &Allocation) -> Call {
    let is_device = allocation.memory.is_device();
    let is_managed = matches!(allocation.memory, Memory::Managed(_));
    match which {
        attribute::CONTEXT => out.out().set(allocation.context_handle),
        attribute::MEMORY_TYPE => {
            out.out().set(if is_device || is_managed { TYPE_DEVICE } else { TYPE_HOST });
        }
        attribute::DEVICE_POINTER => out.out().set(address),
        attribute::HOST_POINTER if is_device => return Err(INVALID_VALUE),
        attribute::HOST_POINTER => out.out().set(address),
        attribute::SYNC_MEMOPS | attribute::DEVICE_ORDINAL => out.out().set(0u32),
        attribute::BUFFER_ID | attribute::MEMORY_BLOCK_ID => out.out().set(allocation.serial),
        // Four bytes: the runtime reads so many.
        attribute::IS_MANAGED => out.out().set(u32::from(is_managed)),
        attribute::IS_LEGACY_CUDA_IPC_CAPABLE
        | attribute::IS_GPU_DIRECT_RDMA_CAPABLE
        | attribute::IS_HW_DECOMPRESS_CAPABLE => out.out().set(0u8),
        attribute::RANGE_START_ADDR | attribute::RANGE_SIZE
            if matches!(allocation.memory, Memory::Mapped(..)) =>
        {
            return write_reserved(driver, out, which, address);
        }
        attribute::RANGE_START_ADDR | attribute::MAPPING_BASE_ADDR => out.out().set(allocation.base()),
        attribute::RANGE_SIZE | attribute::MAPPING_SIZE => out.out().set(allocation.bytes()),
        attribute::MAPPED => out.out().set(1u8),
        attribute::ALLOWED_HANDLE_TYPES | attribute::MEMPOOL_HANDLE => out.out().set(0u64),
        attribute::ACCESS_FLAGS => out.out().set(ACCESS_READ_WRITE),
        ..=LAST => return Err(NOT_SUPPORTED),
        _ => return Err(INVALID_VALUE),
    }
    Ok(())
}

/// Writes an attribute of an address that the program has reserved, be something mapped there or not.
fn write_reserved(driver: &Driver, out: HostPointer, which: u32, address: u64) -> Call {
    let (base, bytes) = driver.client.virtual_memory().range(address).ok_or(INVALID_VALUE)?;
    match which {
        attribute::RANGE_START_ADDR => out.out().set(base),
        attribute::RANGE_SIZE => out.out().set(bytes),
        attribute::MAPPED => out.out().set(0u8),
        _ => return Err(INVALID_VALUE),
    }
    Ok(())
}

/// The outcome of writing an attribute; `None` for a pointer that is not ours.
fn look(driver: &Driver, out: HostPointer, which: u32, address: u64) -> Option<Call> {
    let write = |allocation: &Allocation| write(driver, out, which, address, allocation);
    let found = driver.allocations.find(address, write);
    found.or_else(|| {
        let is_reserved = driver.client.virtual_memory().range(address).is_some();
        is_reserved.then(|| write_reserved(driver, out, which, address))
    })
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
    look(driver, out, which, address).unwrap_or(Err(INVALID_VALUE))
}

fn get_all(count: u32, attributes: In<u32>, outs: In<HostPointer>, address: u64) -> Call {
    let driver = driver()?;
    for at in 0..count as usize {
        let (which, out) = (attributes.at(at)?, outs.at(at)?);
        if out.is_null() {
            return Err(INVALID_VALUE);
        }
        let found = look(driver, out, which, address);
        // This call, unlike the one for a single attribute, succeeds for any pointer, and has no host pointer for
        // device memory.
        match found {
            Some(Ok(())) => {}
            None | Some(Err(INVALID_VALUE)) => write_unknown(out, which)?,
            Some(error) => return error,
        }
    }
    Ok(())
}

driver_calls! {
    fn cuPointerGetAttribute(out: HostPointer, attribute: u32, address: u64) {
        get(driver()?, out, attribute, address)
    }
    fn cuPointerGetAttributes(count: u32, attributes: In<u32>, outs: In<HostPointer>, address: u64) {
        get_all(count, attributes, outs, address)
    }
}
