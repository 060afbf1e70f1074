//! Virtual memory management: reserved addresses, memory without an address, mappings.
//!
//! Memory is of one kind: pinned, on the device. It may be asked for as exportable to a file descriptor, as PyTorch does
//! for all of its expandable segments; the export itself is not supported, and says so when it is called.

use vgpu_client::VirtualMemory;

use crate::driver::{Driver, check_device, driver};
use crate::fail::{Call, INVALID_VALUE, NOT_SUPPORTED};
use crate::pointers::{In, Out};

/// `CUmemLocation`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Location {
    kind: u32,
    id: i32,
}

/// `CUmemAllocationProp`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Properties {
    kind: u32,
    handle_types: u32,
    location: Location,
    win32_meta_data: u64,
    compression: u8,
    gpu_direct_rdma: u8,
    usage: u16,
    reserved: [u8; 4],
}

/// `CUmemAccessDesc`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct AccessDescription {
    location: Location,
    flags: u32,
}

/// `CU_MEM_ALLOCATION_TYPE_PINNED` and `CU_MEM_ALLOCATION_TYPE_MANAGED`.
const TYPE_PINNED: u32 = 1;
const TYPE_MANAGED: u32 = 2;

/// `CU_MEM_LOCATION_TYPE_DEVICE`, and from `_HOST` to `_HOST_NUMA_CURRENT`.
const LOCATION_DEVICE: u32 = 1;
const LOCATIONS_HOST: std::ops::RangeInclusive<u32> = 2..=4;

/// `CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR`.
const HANDLE_POSIX: u32 = 1;

/// `CU_MEM_ALLOC_GRANULARITY_MINIMUM` and `_RECOMMENDED`.
const GRANULARITIES: std::ops::RangeInclusive<u32> = 0..=1;

fn check_location(location: Location) -> Call<&'static Driver> {
    match location.kind {
        LOCATION_DEVICE => check_device(location.id),
        kind if LOCATIONS_HOST.contains(&kind) => Err(NOT_SUPPORTED),
        _ => Err(INVALID_VALUE),
    }
}

fn check_properties(properties: In<Properties>) -> Call<Properties> {
    let found = properties.read()?;
    check_location(found.location)?;
    match found.kind {
        TYPE_PINNED => {}
        TYPE_MANAGED => return Err(NOT_SUPPORTED),
        _ => return Err(INVALID_VALUE),
    }
    let more = found.handle_types & !HANDLE_POSIX != 0 || found.gpu_direct_rdma != 0 || found.usage != 0;
    if more { Err(NOT_SUPPORTED) } else { Ok(found) }
}

fn reserve(out: Out<u64>, bytes: u64, align: u64, wish: u64, flags: u64) -> Call {
    let driver = driver()?;
    out.required()?;
    if flags != 0 {
        return Err(INVALID_VALUE);
    }
    out.set(driver.client.virtual_memory().reserve(bytes, align, wish)?);
    Ok(())
}

/// Compression is a wish that programs ask back with the memory's properties.
fn create(out: Out<u64>, bytes: u64, properties: In<Properties>, flags: u64) -> Call {
    let driver = driver()?;
    out.required()?;
    let properties = check_properties(properties)?;
    if flags != 0 {
        return Err(INVALID_VALUE);
    }
    out.set(driver.client.virtual_memory().create(bytes, properties.handle_types)?);
    Ok(())
}

fn granularity(out: Out<u64>, properties: In<Properties>, option: u32) -> Call {
    driver()?;
    out.required()?;
    check_properties(properties)?;
    if !GRANULARITIES.contains(&option) {
        return Err(INVALID_VALUE);
    }
    out.set(VirtualMemory::UNIT_BYTES);
    Ok(())
}

fn properties(out: Out<Properties>, memory: u64) -> Call {
    let driver = driver()?;
    out.required()?;
    let handle_types = driver.client.virtual_memory().note(memory)?;
    let location = Location { kind: LOCATION_DEVICE, id: 0 };
    out.set(Properties {
        kind: TYPE_PINNED,
        handle_types,
        location,
        win32_meta_data: 0,
        compression: 0,
        gpu_direct_rdma: 0,
        usage: 0,
        reserved: [0; 4],
    });
    Ok(())
}

fn map(address: u64, bytes: u64, offset: u64, memory: u64, flags: u64) -> Call {
    let driver = driver()?;
    if offset != 0 || flags != 0 {
        return Err(INVALID_VALUE);
    }
    driver.client.virtual_memory().map(address, bytes, memory)?;
    driver.allocations.add_mapped(address, bytes);
    Ok(())
}

fn unmap(address: u64, bytes: u64) -> Call {
    let driver = driver()?;
    driver.client.virtual_memory().unmap(address, bytes)?;
    driver.allocations.remove_mapped(address, bytes);
    Ok(())
}

fn set_access(address: u64, bytes: u64, descriptions: In<AccessDescription>, count: u64) -> Call {
    let driver = driver()?;
    if count == 0 {
        return Err(INVALID_VALUE);
    }
    let count = usize::try_from(count).map_err(|_| INVALID_VALUE)?;
    for at in 0..count {
        let AccessDescription { location, flags } = descriptions.at(at)?;
        check_location(location)?;
        if !VirtualMemory::ACCESS.contains(&flags) {
            return Err(INVALID_VALUE);
        }
        driver.client.virtual_memory().set_access(address, bytes, flags)?;
    }
    Ok(())
}

fn access(out: Out<u64>, location: In<Location>, address: u64) -> Call {
    let driver = check_location(location.read()?)?;
    out.required()?.set(driver.client.virtual_memory().access(address)?.into());
    Ok(())
}

fn retain(out: Out<u64>, address: u64) -> Call {
    let driver = driver()?;
    out.required()?.set(driver.client.virtual_memory().retain(address)?);
    Ok(())
}

driver_calls! {
    fn cuMemAddressReserve(out: Out<u64>, bytes: u64, align: u64, wish: u64, flags: u64) {
        reserve(out, bytes, align, wish, flags)
    }
    fn cuMemAddressFree(address: u64, bytes: u64) {
        Ok(driver()?.client.virtual_memory().free(address, bytes)?)
    }
    fn cuMemCreate(out: Out<u64>, bytes: u64, with: In<Properties>, flags: u64) {
        create(out, bytes, with, flags)
    }
    fn cuMemRelease(memory: u64) { Ok(driver()?.client.virtual_memory().release(memory)?) }
    fn cuMemMap(address: u64, bytes: u64, offset: u64, memory: u64, flags: u64) {
        map(address, bytes, offset, memory, flags)
    }
    fn cuMemUnmap(address: u64, bytes: u64) { unmap(address, bytes) }
    fn cuMemSetAccess(address: u64, bytes: u64, descriptions: In<AccessDescription>, count: u64) {
        set_access(address, bytes, descriptions, count)
    }
    fn cuMemGetAccess(out: Out<u64>, location: In<Location>, address: u64) {
        access(out, location, address)
    }
    fn cuMemGetAllocationGranularity(out: Out<u64>, with: In<Properties>, option: u32) {
        granularity(out, with, option)
    }
    fn cuMemGetAllocationPropertiesFromHandle(out: Out<Properties>, memory: u64) {
        properties(out, memory)
    }
    fn cuMemRetainAllocationHandle(out: Out<u64>, address: u64) { retain(out, address) }
}

const _: () = assert!(size_of::<Properties>() == 32 && size_of::<AccessDescription>() == 12);
