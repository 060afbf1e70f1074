//! The calls about memory pools themselves. `pool_order` allocates from them.

use crate::driver::{Driver, check_device, driver};
use crate::fail::{Call, Fail, INVALID_VALUE, NOT_SUPPORTED};
use crate::pointers::{HostPointer, In, Out};

/// Attributes of a pool (`CU_MEMPOOL_ATTR_*`).
mod attribute {
    pub(super) const REUSE_FOLLOW_EVENT_DEPENDENCIES: u32 = 1;
    pub(super) const REUSE_ALLOW_OPPORTUNISTIC: u32 = 2;
    pub(super) const REUSE_ALLOW_INTERNAL_DEPENDENCIES: u32 = 3;
    pub(super) const RELEASE_THRESHOLD: u32 = 4;
    pub(super) const RESERVED_MEM_CURRENT: u32 = 5;
    pub(super) const RESERVED_MEM_HIGH: u32 = 6;
    pub(super) const USED_MEM_CURRENT: u32 = 7;
    pub(super) const USED_MEM_HIGH: u32 = 8;
}

/// `CU_MEM_ALLOCATION_TYPE_PINNED` and `MANAGED`.
const TYPE_PINNED: u32 = 1;
const TYPE_MANAGED: u32 = 2;

/// `CU_MEM_LOCATION_TYPE_NONE`, `DEVICE`, `HOST` and `HOST_NUMA`.
const LOCATION_NONE: u32 = 0;
const LOCATION_DEVICE: u32 = 1;
const LOCATION_HOST: u32 = 2;
const LOCATION_HOST_NUMA: u32 = 3;

/// `CU_MEM_ACCESS_FLAGS_PROT_READWRITE`.
const ACCESS_READ_WRITE: u32 = 3;

/// Fails for a location other than the one device.
fn check_location(location: [u32; 2]) -> Call {
    match location {
        [LOCATION_DEVICE, 0] => Ok(()),
        [LOCATION_DEVICE, _] => Err(Fail(vgpu_client::Status::ERROR_INVALID_DEVICE)),
        [LOCATION_HOST | LOCATION_HOST_NUMA, _] => Err(NOT_SUPPORTED),
        _ => Err(INVALID_VALUE),
    }
}

/// `CUmemPoolProps` in words of four bytes: allocation type, handle types, location (2), security attributes (2), most
/// bytes (2), usage, reserved.
fn create(out: Out<u64>, properties: In<[u32; 22]>) -> Call {
    let driver = driver()?;
    out.required()?;
    let words = properties.read()?;
    match words[0] {
        TYPE_PINNED => {}
        TYPE_MANAGED => return Err(NOT_SUPPORTED),
        _ => return Err(INVALID_VALUE),
    }
    check_location([words[2], words[3]])?;
    // Handles would name memory of this guest to other processes.
    if words[1] != 0 || words[8] & 0xffff != 0 {
        return Err(NOT_SUPPORTED);
    }
    if words[4] != 0 || words[5] != 0 || words[8] >> 16 != 0 || words[9..].iter().any(|word| *word != 0) {
        return Err(INVALID_VALUE);
    }
    let max_bytes = u64::from(words[7]) << 32 | u64::from(words[6]);
    out.set(driver.pools.create(max_bytes)?);
    Ok(())
}

fn set(pool: u64, which: u32, value: HostPointer) -> Call {
    let pool = driver()?.pools.find(pool)?;
    let flag = || value.array::<i32>().read().map(|value| value != 0);
    let bytes = || value.array::<u64>().read();
    match which {
        attribute::REUSE_FOLLOW_EVENT_DEPENDENCIES => {
            let value = flag()?;
            pool.set(|settings| settings.follow_events = value);
        }
        attribute::REUSE_ALLOW_OPPORTUNISTIC => {
            let value = flag()?;
            pool.set(|settings| settings.opportunistic = value);
        }
        attribute::REUSE_ALLOW_INTERNAL_DEPENDENCIES => {
            let value = flag()?;
            pool.set(|settings| settings.internal_dependencies = value);
        }
        attribute::RELEASE_THRESHOLD => {
            let value = bytes()?;
            pool.set(|settings| settings.release_threshold_bytes = value);
        }
        attribute::RESERVED_MEM_HIGH if bytes()? == 0 => pool.reset_reserved_high(),
        attribute::USED_MEM_HIGH if bytes()? == 0 => pool.reset_used_high(),
        _ => return Err(INVALID_VALUE),
    }
    Ok(())
}

fn get(pool: u64, which: u32, value: HostPointer) -> Call {
    let pool = driver()?.pools.find(pool)?;
    let (settings, figures) = (pool.settings(), pool.figures());
    let flag = |flag: bool| value.out().required().map(|out| out.set(i32::from(flag)));
    let bytes = |bytes: u64| value.out().required().map(|out| out.set(bytes));
    match which {
        attribute::REUSE_FOLLOW_EVENT_DEPENDENCIES => flag(settings.follow_events),
        attribute::REUSE_ALLOW_OPPORTUNISTIC => flag(settings.opportunistic),
        attribute::REUSE_ALLOW_INTERNAL_DEPENDENCIES => flag(settings.internal_dependencies),
        attribute::RELEASE_THRESHOLD => bytes(settings.release_threshold_bytes),
        attribute::RESERVED_MEM_CURRENT => bytes(figures.reserved_bytes),
        attribute::RESERVED_MEM_HIGH => bytes(figures.reserved_high_bytes),
        attribute::USED_MEM_CURRENT => bytes(figures.used_bytes),
        attribute::USED_MEM_HIGH => bytes(figures.used_high_bytes),
        _ => Err(INVALID_VALUE),
    }
}

/// Takes `CUmemAccessDesc`s: location and flags. The device that owns the memory has all access, and keeps it.
fn set_access(pool: u64, descriptions: In<[u32; 3]>, count: u64) -> Call {
    driver()?.pools.find(pool)?;
    for at in 0..count {
        let [kind, id, flags] = descriptions.at(at as usize)?;
        check_location([kind, id])?;
        if flags != ACCESS_READ_WRITE {
            return Err(INVALID_VALUE);
        }
    }
    Ok(())
}

fn get_access(flags: Out<u32>, pool: u64, location: In<[u32; 2]>) -> Call {
    driver()?.pools.find(pool)?;
    flags.required()?;
    check_location(location.read()?)?;
    flags.set(ACCESS_READ_WRITE);
    Ok(())
}

/// The driver, where a location and an allocation type name the device's pools.
fn located(location: In<[u32; 2]>, kind: u32) -> Call<&'static Driver> {
    let driver = driver()?;
    let location = location.read()?;
    match (kind, location[0]) {
        (TYPE_MANAGED, LOCATION_NONE | LOCATION_DEVICE | LOCATION_HOST | LOCATION_HOST_NUMA) => {
            Err(NOT_SUPPORTED)
        }
        (TYPE_PINNED, _) => check_location(location).map(|()| driver),
        _ => Err(INVALID_VALUE),
    }
}

driver_calls! {
    fn cuMemPoolCreate(out: Out<u64>, properties: In<[u32; 22]>) { create(out, properties) }
    fn cuMemPoolDestroy(pool: u64) {
        let driver = driver()?;
        driver.pools.destroy(driver, pool)
    }
    fn cuMemPoolTrimTo(pool: u64, keep: u64) {
        driver()?.pools.find(pool)?.release(keep);
        Ok(())
    }
    fn cuMemPoolSetAttribute(pool: u64, which: u32, value: HostPointer) { set(pool, which, value) }
    fn cuMemPoolGetAttribute(pool: u64, which: u32, value: HostPointer) { get(pool, which, value) }
    fn cuMemPoolSetAccess(pool: u64, descriptions: In<[u32; 3]>, count: u64) {
        set_access(pool, descriptions, count)
    }
    fn cuMemPoolGetAccess(flags: Out<u32>, pool: u64, location: In<[u32; 2]>) {
        get_access(flags, pool, location)
    }
    fn cuDeviceGetDefaultMemPool(out: Out<u64>, device: i32) {
        out.required()?.set(check_device(device)?.pools.default_handle());
        Ok(())
    }
    fn cuDeviceGetMemPool(out: Out<u64>, device: i32) {
        out.required()?.set(check_device(device)?.pools.current().handle);
        Ok(())
    }
    fn cuDeviceSetMemPool(device: i32, pool: u64) { check_device(device)?.pools.set_current(pool) }
    fn cuMemGetDefaultMemPool(out: Out<u64>, location: In<[u32; 2]>, kind: u32) {
        out.required()?.set(located(location, kind)?.pools.default_handle());
        Ok(())
    }
    fn cuMemGetMemPool(out: Out<u64>, location: In<[u32; 2]>, kind: u32) {
        out.required()?.set(located(location, kind)?.pools.current().handle);
        Ok(())
    }
    fn cuMemSetMemPool(location: In<[u32; 2]>, kind: u32, pool: u64) {
        located(location, kind)?.pools.set_current(pool)
    }
}
