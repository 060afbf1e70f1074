//! Device memory.

use std::collections::BTreeMap;

use parking_lot::RwLock;
use vgpu_client::{DeviceBuffer, HostRegistration, PinnedBuffer, Status};

use crate::advice::Advised;
use crate::context::Context;
use crate::current;
use crate::driver::driver;
use crate::fail::{Call, Fail, INVALID_VALUE};
use crate::graph::capture;
use crate::pointers::Out;
use crate::pool::PooledBlock;

/// Alignment of the rows of pitched memory, in bytes. Real drivers use 512, so programs expect no less.
const PITCH_ALIGN: u64 = 512;

/// What an allocation is.
#[derive(Debug)]
pub(crate) enum Memory {
    Device(DeviceBuffer<u8>),
    /// With the flags that it was made with.
    Pinned(PinnedBuffer<u8>, u32),
    /// Managed memory, in its first form: pinned memory that both sides reach.
    Managed(PinnedBuffer<u8>, Advised),
    /// Device memory that the program has mapped: where, and its bytes.
    Mapped(u64, u64),
    /// A block of a memory pool.
    Pooled(PooledBlock),
    /// Memory of the program, pinned where it is.
    Registered(HostRegistration),
}

impl Memory {
    /// Whether it is memory of the device alone.
    pub(crate) const fn is_device(&self) -> bool {
        matches!(self, Self::Device(_) | Self::Mapped(..) | Self::Pooled(_))
    }
}

/// Context of memory that belongs to none.
const NO_CONTEXT: u64 = u64::MAX;

/// An allocation, and the context that it belongs to.
#[derive(Debug)]
pub(crate) struct Allocation {
    pub(crate) context: u64,
    pub(crate) context_handle: u64,
    /// A number that is never used again, unlike the address.
    pub(crate) serial: u64,
    /// Whether synchronous calls wait for all that they do with it, also where they need not.
    pub(crate) sync_memops: bool,
    pub(crate) memory: Memory,
}

impl Allocation {
    pub(crate) fn base(&self) -> u64 {
        match &self.memory {
            Memory::Device(buffer) => buffer.address().0,
            Memory::Mapped(address, _) => *address,
            Memory::Pinned(buffer, _) | Memory::Managed(buffer, _) => buffer.address().0,
            Memory::Pooled(block) => block.address,
            Memory::Registered(registration) => registration.address().0,
        }
    }

    pub(crate) fn bytes(&self) -> u64 {
        match &self.memory {
            Memory::Device(buffer) => buffer.bytes(),
            Memory::Mapped(_, bytes) => *bytes,
            Memory::Pinned(buffer, _) | Memory::Managed(buffer, _) => buffer.bytes(),
            Memory::Pooled(block) => block.bytes,
            Memory::Registered(registration) => registration.bytes(),
        }
    }
}

/// The allocations of the process, by base address. Bounded by the session's limits.
#[derive(Debug, Default)]
pub(crate) struct Allocations {
    entries: RwLock<(u64, BTreeMap<u64, Allocation>)>,
}

impl Allocations {
    /// Adds an allocation and returns its address.
    pub(crate) fn add(&self, context: &Context, memory: Memory) -> u64 {
        self.insert(context.id, context.handle, memory)
    }

    /// Adds memory that the program has mapped. It belongs to no context.
    pub(crate) fn add_mapped(&self, address: u64, bytes: u64) {
        self.insert(NO_CONTEXT, 0, Memory::Mapped(address, bytes));
    }

    /// Takes out the mappings that begin in a range.
    pub(crate) fn remove_mapped(&self, address: u64, bytes: u64) {
        let mapped = |_: &u64, entry: &mut Allocation| matches!(entry.memory, Memory::Mapped(..));
        let range = address..address.saturating_add(bytes);
        self.entries.write().1.extract_if(range, mapped).for_each(drop);
    }

    fn insert(&self, context: u64, context_handle: u64, memory: Memory) -> u64 {
        let mut entries = self.entries.write();
        entries.0 += 1;
        let serial = entries.0;
        let allocation = Allocation { context, context_handle, serial, sync_memops: false, memory };
        let base = allocation.base();
        entries.1.insert(base, allocation);
        base
    }

    /// Shows the allocation that holds `address` to `look`.
    pub(crate) fn find<T>(&self, address: u64, look: impl FnOnce(&Allocation) -> T) -> Option<T> {
        let entries = self.entries.read();
        let (base, allocation) = entries.1.range(..=address).next_back()?;
        (address - base < allocation.bytes()).then(|| look(allocation))
    }

    /// Sets [`Allocation::sync_memops`] of what holds `address`; `None` where nothing does.
    pub(crate) fn set_sync_memops(&self, address: u64, value: bool) -> Option<()> {
        let mut entries = self.entries.write();
        let (base, allocation) = entries.1.range_mut(..=address).next_back()?;
        if address - base >= allocation.bytes() {
            return None;
        }
        allocation.sync_memops = value;
        Some(())
    }

    /// Whether a synchronous call that names `address` waits in any case.
    pub(crate) fn is_sync(&self, address: u64) -> bool {
        self.find(address, |allocation| allocation.sync_memops) == Some(true)
    }

    /// Takes out the allocation that begins at `base`, if `choose` likes it. Dropping it frees it.
    pub(crate) fn remove(&self, base: u64, choose: impl FnOnce(&Memory) -> bool) -> Option<Allocation> {
        let mut entries = self.entries.write();
        let chosen = entries.1.get(&base).is_some_and(|allocation| choose(&allocation.memory));
        if chosen { entries.1.remove(&base) } else { None }
    }

    /// Takes out all that belong to a context.
    pub(crate) fn take(&self, context: u64) -> Vec<Allocation> {
        let mut entries = self.entries.write();
        entries.1.extract_if(.., |_, entry| entry.context == context).map(|(_, entry)| entry).collect()
    }
}

fn alloc(out: Out<u64>, bytes: u64) -> Call {
    let context = current::context()?;
    out.required()?;
    capture::check_unseen()?;
    let bytes = usize::try_from(bytes).map_err(|_| INVALID_VALUE)?;
    let driver = driver()?;
    let buffer = match context.inner.alloc_bytes(bytes).map_err(Fail::from) {
        // What memory pools hold and do not use is there for everybody.
        Err(Fail(Status::ERROR_OUT_OF_MEMORY)) if driver.pools.release_all() => {
            context.inner.alloc_bytes(bytes)?
        }
        outcome => outcome?,
    };
    out.set(driver.allocations.add(&context, Memory::Device(buffer)));
    Ok(())
}

fn alloc_pitch(out: Out<u64>, pitch: Out<u64>, width: u64, height: u64, element_bytes: u32) -> Call {
    pitch.required()?;
    if !matches!(element_bytes, 4 | 8 | 16) || width == 0 || height == 0 {
        return Err(INVALID_VALUE);
    }
    let row = width.checked_next_multiple_of(PITCH_ALIGN).ok_or(INVALID_VALUE)?;
    alloc(out, row.checked_mul(height).ok_or(INVALID_VALUE)?)?;
    pitch.set(row);
    Ok(())
}

/// Frees device, managed or pool memory; 0 is nothing to free.
pub(crate) fn free(address: u64) -> Call {
    let driver = driver()?;
    if address == 0 {
        return Ok(());
    }
    capture::check_unseen()?;
    let allocation = driver
        .allocations
        .remove(address, |memory| {
            matches!(memory, Memory::Device(_) | Memory::Managed(..) | Memory::Pooled(_))
        })
        .ok_or(INVALID_VALUE)?;
    let context = allocation.context_handle;
    match allocation.memory {
        Memory::Pooled(block) => return crate::pool_order::free_now(driver, block, context),
        Memory::Managed(..) => crate::pinned::settle(driver, &allocation)?,
        _ => {}
    }
    drop(allocation);
    Ok(())
}

fn info(free: Out<u64>, total: Out<u64>) -> Call {
    let info = current::context()?.inner.memory_info()?;
    free.required()?.set(info.free_bytes);
    total.required()?.set(info.total_bytes);
    Ok(())
}

fn address_range(base: Out<u64>, bytes: Out<u64>, address: u64) -> Call {
    let range = driver()?.allocations.find(address, |allocation| (allocation.base(), allocation.bytes()));
    let (found, length) = range.ok_or(crate::fail::NOT_FOUND)?;
    base.set(found);
    bytes.set(length);
    Ok(())
}

driver_calls! {
    fn cuMemAlloc_v2(out: Out<u64>, bytes: u64) { alloc(out, bytes) }
    fn cuMemFree_v2(address: u64) { free(address) }
    fn cuMemAllocPitch_v2(out: Out<u64>, pitch: Out<u64>, width: u64, height: u64, element_bytes: u32) {
        alloc_pitch(out, pitch, width, height, element_bytes)
    }
    fn cuMemGetInfo_v2(free: Out<u64>, total: Out<u64>) { info(free, total) }
    fn cuMemGetAddressRange_v2(base: Out<u64>, bytes: Out<u64>, address: u64) {
        address_range(base, bytes, address)
    }
}
