//! Memory pools: caches in the guest over ordinary device memory, for allocation in the order of streams.
//!
//! A pool belongs to the device, and its memory to the contexts of the streams that allocate: natively they share it,
//! here each context has its own part (`pool_cache`). Allocating and freeing ask the host for nothing but more memory,
//! so they cost no round trip.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use vgpu_client::{DeviceBuffer, Status, StreamPoint};

use crate::context::Context;
use crate::driver::Driver;
use crate::fail::{Call, Fail, INVALID_VALUE};
use crate::pool_cache::{Cache, whole_units};
use crate::stream::Resolved;

/// Memory is asked of the host in chunks of at least this many bytes, as NVIDIA's pools grow: small blocks share one.
const CHUNK_BYTES: u64 = 32 << 20;

/// Larger chunks, and small ones where memory leaves no more, are multiples of this many bytes: the page of a GPU.
const CHUNK_UNIT_BYTES: u64 = 2 << 20;

type Part = Cache<StreamPoint, DeviceBuffer<u8>>;

/// What a program may set of a pool.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// Whether a free in another stream counts where events order the allocation behind it. A permission that is not
    /// used: such memory comes back once the free is complete.
    pub(crate) follow_events: bool,
    /// Whether a free in another stream counts once it is complete.
    pub(crate) opportunistic: bool,
    /// Whether an allocation that finds no memory may make its stream wait for a free in another one.
    pub(crate) internal_dependencies: bool,
    /// Bytes that stay reserved when a program synchronises.
    pub(crate) release_threshold_bytes: u64,
}

/// Bytes of a pool: now, and at most since the program set the mark back.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Figures {
    pub(crate) reserved_bytes: u64,
    pub(crate) reserved_high_bytes: u64,
    pub(crate) used_bytes: u64,
    pub(crate) used_high_bytes: u64,
}

/// A pool.
#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) handle: u64,
    /// Most bytes that it may reserve; 0 for no bound of its own.
    max_bytes: u64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    parts: BTreeMap<u64, Part>,
    settings: Settings,
    reserved_high_bytes: u64,
    used_high_bytes: u64,
}

/// A block in use. Forgetting it without [`PooledBlock::give`] leaves it used, until its context ends.
#[derive(Debug)]
pub(crate) struct PooledBlock {
    pub(crate) pool: Arc<Pool>,
    pub(crate) address: u64,
    /// As asked for.
    pub(crate) bytes: u64,
    context: u64,
}

impl PooledBlock {
    /// Gives it back: to the stream of `stamp` at once and to others behind it, or to everybody without one.
    pub(crate) fn give(self, stamp: Option<StreamPoint>) {
        if let Some(part) = self.pool.state.lock().parts.get_mut(&self.context) {
            part.give(self.address, stamp);
        }
    }
}

impl State {
    fn reserved(&self) -> u64 {
        self.parts.values().map(Cache::reserved_bytes).sum()
    }

    fn used(&self) -> u64 {
        self.parts.values().map(Cache::used_bytes).sum()
    }

    fn note(&mut self) {
        self.reserved_high_bytes = self.reserved_high_bytes.max(self.reserved());
        self.used_high_bytes = self.used_high_bytes.max(self.used());
    }
}

impl Pool {
    pub(crate) fn new(handle: u64, max_bytes: u64) -> Self {
        let settings = Settings {
            follow_events: true,
            opportunistic: true,
            internal_dependencies: true,
            release_threshold_bytes: 0,
        };
        let state = State { parts: BTreeMap::new(), settings, reserved_high_bytes: 0, used_high_bytes: 0 };
        Self { handle, max_bytes, state: Mutex::new(state) }
    }

    pub(crate) fn settings(&self) -> Settings {
        self.state.lock().settings
    }

    pub(crate) fn set(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.state.lock().settings);
    }

    pub(crate) fn figures(&self) -> Figures {
        let state = self.state.lock();
        Figures {
            reserved_bytes: state.reserved(),
            reserved_high_bytes: state.reserved_high_bytes,
            used_bytes: state.used(),
            used_high_bytes: state.used_high_bytes,
        }
    }

    pub(crate) fn reset_reserved_high(&self) {
        let mut state = self.state.lock();
        state.reserved_high_bytes = state.reserved();
    }

    pub(crate) fn reset_used_high(&self) {
        let mut state = self.state.lock();
        state.used_high_bytes = state.used();
    }

    /// Allocates for work of a stream that is queued from now on.
    ///
    /// Where there is no memory left, what other pools and streams hold is used before this fails.
    pub(crate) fn allocate(
        self: &Arc<Self>,
        driver: &Driver,
        target: &Resolved,
        bytes: u64,
    ) -> Call<PooledBlock> {
        if bytes == 0 {
            return Err(INVALID_VALUE);
        }
        let units = whole_units(bytes).ok_or(Fail(Status::ERROR_OUT_OF_MEMORY))?;
        let slot = target.stream.point()?.slot();
        let context = &target.context;
        let address = match self.take(context.id, units, slot) {
            Some(address) => address,
            None => match self.grow(context, units, slot) {
                Err(Fail(Status::ERROR_OUT_OF_MEMORY)) => match self.take_behind(target, units)? {
                    Some(address) => address,
                    None => {
                        driver.pools.release_all();
                        match self.take(context.id, units, slot) {
                            Some(address) => address,
                            None => self.grow(context, units, slot)?,
                        }
                    }
                },
                grown => grown?,
            },
        };
        Ok(PooledBlock { pool: Arc::clone(self), address, bytes, context: context.id })
    }

    fn take(&self, context: u64, units: u64, slot: u32) -> Option<u64> {
        let mut state = self.state.lock();
        let others = state.settings.opportunistic;
        let address = state.parts.get_mut(&context)?.take(units, slot, others);
        state.note();
        address
    }

    /// Asks the host for a chunk and takes a block of it.
    fn grow(&self, context: &Context, units: u64, slot: u32) -> Call<u64> {
        let out_of_memory = Fail(Status::ERROR_OUT_OF_MEMORY);
        let exact = units.checked_next_multiple_of(CHUNK_UNIT_BYTES).ok_or(out_of_memory)?;
        let mut outcome = Err(out_of_memory);
        for bytes in [exact.max(CHUNK_BYTES), exact] {
            outcome = match self.reserve(context, bytes) {
                Err(fail) if fail == out_of_memory => continue,
                outcome => outcome,
            };
            break;
        }
        let buffer = outcome?;
        let mut state = self.state.lock();
        let part = state.parts.entry(context.id).or_insert_with(Cache::new);
        part.add_chunk(buffer.address().0, buffer.bytes(), buffer);
        let address = part.take(units, slot, false).ok_or(out_of_memory);
        state.note();
        address
    }

    fn reserve(&self, context: &Context, bytes: u64) -> Call<DeviceBuffer<u8>> {
        if self.max_bytes != 0 && self.figures().reserved_bytes.saturating_add(bytes) > self.max_bytes {
            return Err(Fail(Status::ERROR_OUT_OF_MEMORY));
        }
        let bytes = usize::try_from(bytes).map_err(|_| Fail(Status::ERROR_OUT_OF_MEMORY))?;
        Ok(context.inner.alloc_bytes(bytes)?)
    }

    /// Takes memory that was freed in another stream and makes this stream wait for it.
    fn take_behind(&self, target: &Resolved, units: u64) -> Call<Option<u64>> {
        let Some((address, stamp)) = self.take_held_back(target.context.id, units) else { return Ok(None) };
        // Without the lock: a stream that is full blocks this call, and may be waiting for a thread that frees.
        let ordered = stamp.hold_back(&target.stream);
        if !matches!(ordered, Ok(true))
            && let Some(part) = self.state.lock().parts.get_mut(&target.context.id)
        {
            part.give(address, Some(stamp));
        }
        Ok(ordered?.then_some(address))
    }

    fn take_held_back(&self, context: u64, units: u64) -> Option<(u64, StreamPoint)> {
        let mut state = self.state.lock();
        if !state.settings.internal_dependencies {
            return None;
        }
        let part = state.parts.get_mut(&context)?;
        let (address, stamp) = part.held_back(units)?;
        part.take_held_back(address, units);
        state.note();
        Some((address, stamp))
    }

    /// Makes everybody's what was freed and is complete. A program that has synchronised knows it, so this goes by no
    /// permission.
    pub(crate) fn settle(&self) {
        self.state.lock().parts.values_mut().for_each(Cache::settle);
    }

    /// Whether an address lies in its memory, used or not.
    pub(crate) fn holds(&self, address: u64) -> bool {
        self.state.lock().parts.values().any(|part| part.holds(address))
    }

    /// Whether it reserves more than it has to.
    pub(crate) fn has_excess(&self) -> bool {
        let state = self.state.lock();
        let reserved = state.reserved();
        reserved > state.settings.release_threshold_bytes && reserved > state.used()
    }

    /// Gives chunks back of which nothing is used, as long as more than `keep` bytes stay reserved. Waits for work of
    /// their contexts, as each free does. Says whether there was a chunk.
    pub(crate) fn release(&self, keep: u64) -> bool {
        let mut released = Vec::new();
        {
            let mut state = self.state.lock();
            let mut reserved = state.reserved();
            for part in state.parts.values_mut() {
                let before = part.reserved_bytes();
                released.extend(part.take_idle(keep.saturating_sub(reserved - before)));
                reserved -= before - part.reserved_bytes();
            }
            state.parts.retain(|_, part| part.reserved_bytes() > 0);
        }
        // The free of each waits, which must not hold up the pool.
        let any = !released.is_empty();
        drop(released);
        any
    }

    /// Drops what it holds of a context that is about to go.
    pub(crate) fn forget(&self, context: u64) {
        let part = self.state.lock().parts.remove(&context);
        drop(part);
    }
}
