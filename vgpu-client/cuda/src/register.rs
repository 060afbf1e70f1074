//! Memory that the program has already, pinned where it is.

use vgpu_client::{DevicePtr, ProgramPages, Status};

use crate::current;
use crate::driver::driver;
use crate::fail::{Call, Fail, INVALID_VALUE, NOT_SUPPORTED};
use crate::graph::capture;
use crate::memory::Memory;
use crate::pointers::HostPointer;

/// `CU_MEMHOSTREGISTER_PORTABLE` and `DEVICEMAP`, which always hold.
const FLAGS_GRANTED: u32 = 3;

/// `CU_MEMHOSTREGISTER_IOMEMORY` and `READ_ONLY`: memory of other devices, and memory that kernels must not write to, which
/// the device's attributes say is not supported.
const FLAGS_REFUSED: u32 = 4 | 8;

fn register(pointer: HostPointer, bytes: u64, flags: u32) -> Call {
    let context = current::context()?;
    if pointer.is_null() || bytes == 0 || flags & !(FLAGS_GRANTED | FLAGS_REFUSED) != 0 {
        return Err(INVALID_VALUE);
    }
    if flags & FLAGS_REFUSED != 0 {
        return Err(NOT_SUPPORTED);
    }
    capture::check_unseen()?;
    let address = pointer.address();
    // SAFETY: the caller promises memory of its own that stays until it is unregistered, as the driver demands. What the
    // driver does not demand, that no system call writes there during this call, is told in docs/compatibility.md.
    let pages = unsafe { ProgramPages::new(address, bytes) }.map_err(|_| INVALID_VALUE)?;
    let registration = context.inner.register(pages, DevicePtr(address), bytes)?;
    driver()?.allocations.add(&context, Memory::Registered(registration));
    Ok(())
}

fn unregister(pointer: HostPointer) -> Call {
    let driver = driver()?;
    current::context()?;
    if pointer.is_null() {
        return Err(INVALID_VALUE);
    }
    capture::check_unseen()?;
    let registered = |memory: &Memory| matches!(memory, Memory::Registered(_));
    let allocation = driver.allocations.remove(pointer.address(), registered);
    let allocation = allocation.ok_or(Fail(Status::ERROR_HOST_MEMORY_NOT_REGISTERED))?;
    crate::pinned::settle(driver, &allocation)
}

driver_calls! {
    fn cuMemHostRegister(pointer: HostPointer, bytes: u64, flags: u32) { register(pointer, bytes, flags) }
    fn cuMemHostRegister_v2(pointer: HostPointer, bytes: u64, flags: u32) { register(pointer, bytes, flags) }
    fn cuMemHostUnregister(pointer: HostPointer) { unregister(pointer) }
}
