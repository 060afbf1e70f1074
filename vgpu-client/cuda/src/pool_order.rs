//! Allocation in the order of a stream.
//!
//! A capturing stream's allocations are nodes that the graph owns, not memory of the pool: `allocate` and `free` are
//! where they part. Such memory is freed by its graph's nodes or, where none of them does, by the program.

use std::sync::Arc;

use crate::driver::{Driver, driver};
use crate::fail::{Call, INVALID_VALUE};
use crate::graph::calls::memory::free as free_in_graph;
use crate::graph::memory::AllocWork;
use crate::graph::{Work, capture};
use crate::memory::Memory;
use crate::pointers::Out;
use crate::pool::{Pool, PooledBlock};
use crate::stream::{self, DefaultStream, Resolved};

use DefaultStream::{Legacy, PerThread};

fn allocate(out: Out<u64>, bytes: u64, pool: Option<u64>, stream: u64, default: DefaultStream) -> Call {
    let driver = driver()?;
    out.required()?;
    let target = stream::resolve(driver, stream, default)?;
    let pool: Arc<Pool> = match pool {
        Some(handle) => driver.pools.find(handle)?,
        None => driver.pools.current(),
    };
    if bytes == 0 {
        return Err(INVALID_VALUE);
    }
    if let Some(address) = allocate_in_graph(driver, &target, bytes)? {
        out.set(address);
        return Ok(());
    }
    driver.pools.note_use();
    let block = pool.allocate(driver, &target, bytes)?;
    out.set(driver.allocations.add(&target.context, Memory::Pooled(block)));
    Ok(())
}

/// Memory of a node, where the stream captures: a pool would give it to others while launches of the graph use it.
fn allocate_in_graph(driver: &Driver, target: &Resolved, bytes: u64) -> Call<Option<u64>> {
    let mut address = None;
    let recorded = capture::record(driver, target, || {
        let work = AllocWork::new(driver, &target.context, bytes)?;
        address = Some(work.address());
        Ok(Work::Alloc(work))
    });
    if let (Err(_), Some(address)) = (&recorded, address) {
        // No node has it, and the program does not know of it.
        drop(driver.allocations.remove(address, |_| true));
    }
    recorded?;
    Ok(address)
}

/// Frees behind the stream's work so far. Memory that is no pool's is freed as its own call frees it, which waits.
fn free(address: u64, stream: u64, default: DefaultStream) -> Call {
    let driver = driver()?;
    let target = stream::resolve(driver, stream, default)?;
    if address == 0 {
        return Ok(());
    }
    if let Some(graph) = capture::graph_of(&target)? {
        // A capturing stream frees what its graph allocates, and nothing else.
        return capture::record(driver, &target, || free_in_graph(driver, &graph, address)).map(drop);
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
