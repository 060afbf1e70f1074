//! Memory that nodes of graphs allocate.
//!
//! The address is chosen when the node is made, as natively, and the memory is there from then on: as long as a graph or
//! an executable graph has the node, or the program has not freed it. So a launch need not allocate anything, and a node
//! that frees does nothing but tell that the program need not.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use vgpu_client::DeviceBuffer;

use super::Work;
use crate::context::Context;
use crate::driver::Driver;
use crate::fail::{Call, INVALID_VALUE};
use crate::memory::Memory;

/// Bytes that nodes have allocated, now and at most.
static USED_BYTES: AtomicU64 = AtomicU64::new(0);
static USED_BYTES_MAX: AtomicU64 = AtomicU64::new(0);

/// Memory of a node.
#[derive(Debug)]
struct GraphMemory {
    address: u64,
    bytes: u64,
    /// Number of its context.
    context: u64,
    /// Nothing once the context is gone, which it would keep alive.
    buffer: Mutex<Option<(DeviceBuffer<u8>, Arc<Context>)>>,
}

impl Drop for GraphMemory {
    fn drop(&mut self) {
        USED_BYTES.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// The work of an allocation node. Clones have the same memory.
#[derive(Clone, Debug)]
pub(crate) struct AllocWork {
    memory: Arc<GraphMemory>,
}

impl AllocWork {
    /// Allocates memory for a node; the program may use and free its address.
    ///
    /// # Errors
    /// Those of an allocation.
    pub(crate) fn new(driver: &Driver, context: &Arc<Context>, bytes: u64) -> Call<Self> {
        let length = usize::try_from(bytes).map_err(|_| INVALID_VALUE)?;
        let buffer = context.inner.alloc_bytes(length)?;
        let used = USED_BYTES.fetch_add(bytes, Ordering::Relaxed) + bytes;
        USED_BYTES_MAX.fetch_max(used, Ordering::Relaxed);
        let memory = GraphMemory {
            address: buffer.address().0,
            bytes,
            context: context.id,
            buffer: Mutex::new(Some((buffer, Arc::clone(context)))),
        };
        let work = Self { memory: Arc::new(memory) };
        work.show(driver);
        Ok(work)
    }

    pub(crate) fn address(&self) -> u64 {
        self.memory.address
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.memory.bytes
    }

    /// Puts it among the allocations that the program may free, where it is not.
    pub(crate) fn show(&self, driver: &Driver) {
        if let Some((buffer, context)) = &*self.memory.buffer.lock()
            && driver.allocations.find(self.address(), |_| ()).is_none()
        {
            driver.allocations.add(context, Memory::Device(buffer.clone()));
        }
    }
}

/// Drops the memory of nodes in a context that is about to go.
pub(crate) fn forget(driver: &Driver, context: u64) {
    let mut dropped = Vec::new();
    for graph in driver.graphs.all() {
        for (_, node) in graph.lock().nodes() {
            if let Work::Alloc(work) = &node.work
                && work.memory.context == context
            {
                dropped.push(work.memory.buffer.lock().take());
            }
        }
    }
    // Without a lock: freeing waits for the context's work.
    drop(dropped);
}

/// Bytes that nodes have allocated: now, and at most since [`forget_most`].
pub(crate) fn used_bytes() -> (u64, u64) {
    (USED_BYTES.load(Ordering::Relaxed), USED_BYTES_MAX.load(Ordering::Relaxed))
}

/// Makes what is used now the most that was.
pub(crate) fn forget_most() {
    USED_BYTES_MAX.store(USED_BYTES.load(Ordering::Relaxed), Ordering::Relaxed);
}
