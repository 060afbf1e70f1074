//! Allocation in the order of a stream.
//!
//! A capturing stream's allocations are nodes that the graph owns, not memory of the pool: `allocate` and `free` are
//! where they part.

use std::sync::Arc;

use crate::driver::{Driver, driver};
use crate::fail::{Call, INVALID_VALUE};
use crate::memory::Memory;
use crate::pointers::Out;
use crate::pool::{Pool, PooledBlock};
use crate::stream::{self, DefaultStream};

use DefaultStream::{Legacy, PerThread};

fn allocate(out: Out<u64>, bytes: u64, pool: Option<u64>, stream: u64, default: DefaultStream) -> Call {
    let driver = driver()?;
    out.required()?;
    let target = stream::resolve(driver, stream, default)?;
    let pool: Arc<Pool> = match pool {
        Some(handle) => driver.pools.find(handle)?,
        None => driver.pools.current(),
    };
    driver.pools.note_use();
    let block = pool.allocate(driver, &target, bytes)?;
    out.set(driver.allocations.add(&target.context, Memory::Pooled(block)));
    Ok(())
}

/// Frees behind the stream's work so far. Memory that is no pool's is freed as its own call frees it, which waits.
fn free(address: u64, stream: u64, default: DefaultStream) -> Call {
    let driver = driver()?;
    let target = stream::resolve(driver, stream, default)?;
    if address == 0 {
        return Ok(());
    }
    let stamp = target.stream.point()?;
    let pooled = driver.allocations.remove(address, |memory| matches!(memory, Memory::Pooled(_)));
    match pooled.map(|allocation| allocation.memory) {
        Some(Memory::Pooled(block)) => {
            block.give(Some(stamp));
            Ok(())
        }
        Some(_) => Err(INVALID_VALUE),
        None => crate::memory::free(address),
    }
}

/// Frees without a stream (`cuMemFree`): nothing uses the memory once all work of its context is done.
pub(crate) fn free_now(driver: &Driver, block: PooledBlock, context: u64) -> Call {
    if let Ok(context) = crate::context::find(driver, context) {
        crate::pinned::finish(&context)?;
    }
    block.give(None);
    Ok(())
}

driver_calls! {
    fn cuMemAllocAsync(out: Out<u64>, bytes: u64, stream: u64) { allocate(out, bytes, None, stream, Legacy) }
    fn cuMemAllocAsync_ptsz(out: Out<u64>, bytes: u64, stream: u64) {
        allocate(out, bytes, None, stream, PerThread)
    }
    fn cuMemAllocFromPoolAsync(out: Out<u64>, bytes: u64, pool: u64, stream: u64) {
        allocate(out, bytes, Some(pool), stream, Legacy)
    }
    fn cuMemAllocFromPoolAsync_ptsz(out: Out<u64>, bytes: u64, pool: u64, stream: u64) {
        allocate(out, bytes, Some(pool), stream, PerThread)
    }
    fn cuMemFreeAsync(address: u64, stream: u64) { free(address, stream, Legacy) }
    fn cuMemFreeAsync_ptsz(address: u64, stream: u64) { free(address, stream, PerThread) }
}
