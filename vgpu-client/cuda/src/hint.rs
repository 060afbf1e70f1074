//! Calls that only advise, or switch something that is not there: they are checked, and nothing more is to be done.

use crate::current;
use crate::driver::{Driver, driver};
use crate::fail::{Call, INVALID_VALUE};
use crate::memory::Memory;
use crate::stream::{self, DefaultStream};

use DefaultStream::{Legacy, PerThread};

/// Advice of `cuMemAdvise`: 1 to 6.
const ADVICE_LAST: u32 = 6;

/// Whether `bytes` bytes at `address` are managed memory.
fn check_managed(driver: &Driver, address: u64, bytes: u64) -> Call {
    let managed = driver.allocations.find(address, |allocation| {
        let end = address.checked_add(bytes);
        matches!(allocation.memory, Memory::Managed(_))
            && end.is_some_and(|end| end <= allocation.base() + allocation.bytes())
    });
    if managed == Some(true) && bytes > 0 { Ok(()) } else { Err(INVALID_VALUE) }
}

/// Managed memory stays where both sides reach it, so there is nothing to move.
fn prefetch(address: u64, bytes: u64, stream: u64, default: DefaultStream) -> Call {
    let driver = driver()?;
    stream::resolve(driver, stream, default)?;
    check_managed(driver, address, bytes)
}

fn attach(stream: u64, address: u64, default: DefaultStream) -> Call {
    let driver = driver()?;
    stream::resolve(driver, stream, default)?;
    check_managed(driver, address, 1)
}

driver_calls! {
    fn cuMemAdvise(address: u64, bytes: u64, advice: u32, device: i32) {
        let _ = device;
        if !(1..=ADVICE_LAST).contains(&advice) {
            return Err(INVALID_VALUE);
        }
        check_managed(driver()?, address, bytes)
    }
    fn cuMemPrefetchAsync(address: u64, bytes: u64, device: i32, stream: u64) {
        let _ = device;
        prefetch(address, bytes, stream, Legacy)
    }
    fn cuMemPrefetchAsync_ptsz(address: u64, bytes: u64, device: i32, stream: u64) {
        let _ = device;
        prefetch(address, bytes, stream, PerThread)
    }
    fn cuMemPrefetchAsync_v2(address: u64, bytes: u64, location: u64, flags: u32, stream: u64) {
        // A location is a type and a number, eight bytes by value.
        let _ = location;
        if flags == 0 { prefetch(address, bytes, stream, Legacy) } else { Err(INVALID_VALUE) }
    }
    fn cuMemPrefetchAsync_v2_ptsz(address: u64, bytes: u64, location: u64, flags: u32, stream: u64) {
        let _ = location;
        if flags == 0 { prefetch(address, bytes, stream, PerThread) } else { Err(INVALID_VALUE) }
    }
    fn cuMemAdvise_v2(address: u64, bytes: u64, advice: u32, location: u64) {
        let _ = location;
        if !(1..=ADVICE_LAST).contains(&advice) {
            return Err(INVALID_VALUE);
        }
        check_managed(driver()?, address, bytes)
    }
    fn cuStreamAttachMemAsync(stream: u64, address: u64, bytes: u64, flags: u32) {
        let _ = (bytes, flags);
        attach(stream, address, Legacy)
    }
    fn cuStreamAttachMemAsync_ptsz(stream: u64, address: u64, bytes: u64, flags: u32) {
        let _ = (bytes, flags);
        attach(stream, address, PerThread)
    }
    // Profilers are told to look or not to look; none is attached.
    fn cuProfilerStart() { current::context().map(drop) }
    fn cuProfilerStop() { current::context().map(drop) }
}
