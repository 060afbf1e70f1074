//! All memory pools of the process, and which one the device uses.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::driver::Driver;
use crate::fail::{Call, INVALID_VALUE};
use crate::pool::Pool;
use crate::table::{Kind, Table};

/// Pools that a program may have at once. Nothing of the host bounds them; programs use one or two.
const POOLS_MAX: usize = 4_096;

/// The pools.
#[derive(Debug)]
pub(crate) struct Pools {
    table: Table<Pool>,
    default: Arc<Pool>,
    /// Handle of the pool that `cuMemAllocAsync` takes from.
    current: Mutex<u64>,
    /// Whether any pool was ever used: most programs use none, and synchronise often.
    in_use: AtomicBool,
    /// Destroyed pools of which something is still allocated, or that still hold memory.
    ending: Mutex<Vec<Arc<Pool>>>,
}

impl Pools {
    pub(crate) fn new() -> Self {
        let table = Table::new(Kind::Pool);
        let handle = table.mint();
        let default = Arc::new(Pool::new(handle, 0));
        table.insert(handle, Arc::clone(&default));
        Self {
            table,
            default,
            current: Mutex::new(handle),
            in_use: AtomicBool::new(false),
            ending: Mutex::default(),
        }
    }

    pub(crate) fn default_handle(&self) -> u64 {
        self.default.handle
    }

    /// The pool of a handle.
    pub(crate) fn find(&self, handle: u64) -> Call<Arc<Pool>> {
        self.table.get(handle).ok_or(INVALID_VALUE)
    }

    pub(crate) fn current(&self) -> Arc<Pool> {
        self.table.get(*self.current.lock()).unwrap_or_else(|| Arc::clone(&self.default))
    }

    pub(crate) fn set_current(&self, handle: u64) -> Call {
        *self.current.lock() = self.find(handle)?.handle;
        Ok(())
    }

    pub(crate) fn create(&self, max_bytes: u64) -> Call<u64> {
        if self.table.all().len() >= POOLS_MAX {
            return Err(crate::fail::Fail(vgpu_client::Status::ERROR_OUT_OF_MEMORY));
        }
        let handle = self.table.mint();
        self.table.insert(handle, Arc::new(Pool::new(handle, max_bytes)));
        Ok(handle)
    }

    /// Ends a pool. What is allocated of it stays, and its memory goes when the last of that is free.
    pub(crate) fn destroy(&self, driver: &Driver, handle: u64) -> Call {
        if handle == self.default.handle {
            return Err(INVALID_VALUE);
        }
        let pool = self.table.remove(handle).ok_or(INVALID_VALUE)?;
        {
            let mut current = self.current.lock();
            if *current == handle {
                *current = self.default.handle;
            }
        }
        pool.set(|settings| settings.release_threshold_bytes = 0);
        self.ending.lock().push(pool);
        // Also takes out of the list what holds nothing.
        self.note_use();
        self.after_synchronise(driver);
        Ok(())
    }

    /// Notes that something is allocated of a pool.
    pub(crate) fn note_use(&self) {
        self.in_use.store(true, Ordering::Relaxed);
    }

    fn all(&self) -> Vec<Arc<Pool>> {
        let mut pools = self.table.all();
        pools.extend(self.ending.lock().iter().cloned());
        pools
    }

    /// Whether an address lies in memory of a pool, used or not.
    pub(crate) fn hold(&self, address: u64) -> bool {
        self.in_use.load(Ordering::Relaxed) && self.all().iter().any(|pool| pool.holds(address))
    }

    /// What follows each call that synchronises: memory above the release threshold goes back.
    ///
    /// Giving it back waits for all work of its context, so it is left for later while any stream is at work: a program
    /// that waits for one stream may be the one who lets another go on.
    pub(crate) fn after_synchronise(&self, driver: &Driver) {
        if !self.in_use.load(Ordering::Relaxed) {
            return;
        }
        let mut pools = self.all();
        pools.iter().for_each(|pool| pool.settle());
        pools.retain(|pool| pool.has_excess());
        if !pools.is_empty() && driver.client.is_idle() {
            for pool in pools {
                pool.release(pool.settings().release_threshold_bytes);
            }
        }
        self.ending.lock().retain(|pool| pool.figures().reserved_bytes > 0);
    }

    /// Gives back all that no pool uses, because memory has run out. Says whether that was anything.
    pub(crate) fn release_all(&self) -> bool {
        let mut any = false;
        for pool in self.all() {
            any |= pool.release(0);
        }
        any
    }

    /// Drops what pools hold of a context that is about to go.
    pub(crate) fn forget(&self, context: u64) {
        for pool in self.all() {
            pool.forget(context);
        }
        self.ending.lock().retain(|pool| pool.figures().reserved_bytes > 0);
    }
}
