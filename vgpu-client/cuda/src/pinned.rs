//! Pinned memory: host memory that kernels reach at the same address.

use crate::context::Context;
use crate::current;
use crate::driver::{Driver, driver};
use crate::fail::{Call, INVALID_VALUE};
use crate::graph::capture;
use crate::memory::{Allocation, Memory};
use crate::pointers::Out;

/// `CU_MEMHOSTALLOC_PORTABLE`, `DEVICEMAP` and `WRITECOMBINED`: the first two always hold, the third is a hint.
const HOST_FLAGS_KNOWN: u32 = 7;

/// `CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP`, what memory of `cuMemAllocHost` has under unified addressing.
const HOST_FLAGS_DEFAULT: u32 = 3;

fn alloc(out: Out<u64>, bytes: u64, flags: u32) -> Call {
    let context = current::context()?;
    out.required()?;
    if flags & !HOST_FLAGS_KNOWN != 0 {
        return Err(INVALID_VALUE);
    }
    capture::check_unseen()?;
    let bytes = usize::try_from(bytes).map_err(|_| INVALID_VALUE)?;
    let buffer = context.inner.pinned::<u8>(bytes)?;
    out.set(driver()?.allocations.add(&context, Memory::Pinned(buffer, flags)));
    Ok(())
}

fn free(address: u64) -> Call {
    let driver = driver()?;
    capture::check_unseen()?;
    let allocation = driver.allocations.remove(address, |memory| matches!(memory, Memory::Pinned(..)));
    let allocation = allocation.ok_or(INVALID_VALUE)?;
    settle(driver, &allocation)
}

/// Waits for the kernels that may use pinned memory: they know it by its address only, so nothing else tells.
pub(crate) fn settle(driver: &Driver, allocation: &Allocation) -> Call {
    match crate::context::find(driver, allocation.context_handle) {
        Ok(context) => finish(&context),
        Err(_) => Ok(()),
    }
}

/// Waits for all work of a context whose memory is about to be free, which it is also where that work met a fault.
pub(crate) fn finish(context: &Context) -> Call {
    Ok(context.inner.synchronize().or_else(|error| match error {
        vgpu_client::Error::Sticky { .. } => Ok(()),
        error => Err(error),
    })?)
}

driver_calls! {
    fn cuMemAllocHost_v2(out: Out<u64>, bytes: u64) { alloc(out, bytes, HOST_FLAGS_DEFAULT) }
    fn cuMemHostAlloc(out: Out<u64>, bytes: u64, flags: u32) { alloc(out, bytes, flags) }
    fn cuMemFreeHost(address: u64) { free(address) }
    fn cuMemHostGetDevicePointer_v2(out: Out<u64>, host: u64, flags: u32) {
        out.required()?;
        let known = driver()?.allocations.find(host, |allocation| !allocation.memory.is_device());
        if flags != 0 || known != Some(true) {
            return Err(INVALID_VALUE);
        }
        out.set(host);
        Ok(())
    }
    fn cuMemHostGetFlags(out: Out<u32>, host: u64) {
        out.required()?;
        let flags = driver()?.allocations.find(host, |allocation| match &allocation.memory {
            // Under unified addressing all pinned memory is mapped.
            Memory::Pinned(_, flags) => Some(flags | 2),
            _ => None,
        });
        out.set(flags.flatten().ok_or(INVALID_VALUE)?);
        Ok(())
    }
}
