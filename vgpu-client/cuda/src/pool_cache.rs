//! What a memory pool holds in one context: chunks of device memory, cut into blocks.
//!
//! Bookkeeping only: it neither allocates nor waits. A block that was freed in a stream is stamped with the stream's
//! latest command. Work of that stream may use it again at once, being ordered behind the free; others may once the
//! command is complete.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

/// Blocks are multiples of this many bytes, and so are their addresses: the pitch that texture references and
/// vectorised kernels count on, and what NVIDIA's pools give.
pub(crate) const UNIT_BYTES: u64 = 512;

/// A command of a stream, behind which a freed block may be used.
pub(crate) trait Stamp: Clone + Debug {
    fn is_complete(&self) -> bool;
    /// Streams with the same number run one after another.
    fn slot(&self) -> u32;
    /// Whether it lies behind `other`, of the same slot.
    fn is_later_than(&self, other: &Self) -> bool;
}

impl Stamp for vgpu_client::StreamPoint {
    fn is_complete(&self) -> bool {
        self.is_complete()
    }

    fn slot(&self) -> u32 {
        self.slot()
    }

    fn is_later_than(&self, other: &Self) -> bool {
        self.is_later_than(other)
    }
}

#[derive(Clone, Debug)]
enum State<S> {
    Used,
    /// Free for the stream of the stamp; for others once it is complete.
    Freed(S),
    Idle,
}

#[derive(Clone, Debug)]
struct Block<S> {
    bytes: u64,
    chunk: u64,
    state: State<S>,
}

#[derive(Debug)]
struct Chunk<M> {
    bytes: u64,
    memory: M,
}

/// Chunks of memory `M` and their blocks, by address.
#[derive(Debug)]
pub(crate) struct Cache<S, M> {
    chunks: BTreeMap<u64, Chunk<M>>,
    blocks: BTreeMap<u64, Block<S>>,
    /// Blocks that are not used, by size and address: the first that fits is the best.
    free: BTreeSet<(u64, u64)>,
    /// Those of them that have a stamp.
    stamped: BTreeSet<u64>,
    reserved_bytes: u64,
    used_bytes: u64,
}

/// `bytes` (more than 0) in whole units.
pub(crate) fn whole_units(bytes: u64) -> Option<u64> {
    bytes.checked_next_multiple_of(UNIT_BYTES)
}

impl<S: Stamp, M> Cache<S, M> {
    pub(crate) fn new() -> Self {
        Self {
            chunks: BTreeMap::new(),
            blocks: BTreeMap::new(),
            free: BTreeSet::new(),
            stamped: BTreeSet::new(),
            reserved_bytes: 0,
            used_bytes: 0,
        }
    }

    /// Bytes of all chunks.
    pub(crate) fn reserved_bytes(&self) -> u64 {
        self.reserved_bytes
    }

    /// Bytes of the blocks in use.
    pub(crate) fn used_bytes(&self) -> u64 {
        self.used_bytes
    }

    /// Whether an address lies in one of the chunks.
    pub(crate) fn holds(&self, address: u64) -> bool {
        let before = self.chunks.range(..=address).next_back();
        before.is_some_and(|(base, chunk)| address - base < chunk.bytes)
    }

    /// Takes the smallest free block that holds `bytes` bytes (whole units) and that the stream in `slot` may use now;
    /// `others` says whether what was freed in other streams counts once its stamp is complete.
    pub(crate) fn take(&mut self, bytes: u64, slot: u32, others: bool) -> Option<u64> {
        if let Some(address) = self.take_fitting(bytes, slot) {
            return Some(address);
        }
        if others {
            self.settle();
            return self.take_fitting(bytes, slot);
        }
        None
    }

    fn take_fitting(&mut self, bytes: u64, slot: u32) -> Option<u64> {
        let fits = |address: &u64| match self.blocks.get(address).map(|block| &block.state) {
            Some(State::Idle) => true,
            Some(State::Freed(stamp)) => stamp.slot() == slot,
            Some(State::Used) | None => false,
        };
        let mut fitting = self.free.range((bytes, 0)..).map(|(_, address)| *address);
        let address = fitting.find(fits)?;
        self.cut(address, bytes);
        Some(address)
    }

    /// Makes `bytes` bytes of a free block used; the rest stays as it was.
    fn cut(&mut self, address: u64, bytes: u64) {
        let Some(block) = self.forget_free(address) else { return };
        if block.bytes > bytes {
            let rest = Block { bytes: block.bytes - bytes, ..block.clone() };
            self.insert_free(address + bytes, rest);
        }
        self.blocks.insert(address, Block { bytes, chunk: block.chunk, state: State::Used });
        self.used_bytes += bytes;
    }

    /// Gives a block back, behind `stamp` or, without one, at once. Says whether there was one in use.
    pub(crate) fn give(&mut self, address: u64, stamp: Option<S>) -> bool {
        let used = self.blocks.get(&address).is_some_and(|block| matches!(block.state, State::Used));
        let Some(block) = used.then(|| self.blocks.remove(&address)).flatten() else { return false };
        self.used_bytes -= block.bytes;
        let state = stamp.map_or(State::Idle, State::Freed);
        self.join(address, Block { state, ..block });
        true
    }

    /// Makes blocks idle whose stamps are complete.
    pub(crate) fn settle(&mut self) {
        let complete = |address: &u64| match self.blocks.get(address).map(|block| &block.state) {
            Some(State::Freed(stamp)) => stamp.is_complete(),
            _ => false,
        };
        let done: Vec<u64> = self.stamped.iter().copied().filter(complete).collect();
        for address in done {
            // A block before it that was done too may have swallowed it.
            if let Some(block) = self.forget_free(address) {
                self.join(address, Block { state: State::Idle, ..block });
            }
        }
    }

    /// A block that holds `bytes` bytes (whole units) and is only held back by its stamp.
    pub(crate) fn held_back(&self, bytes: u64) -> Option<(u64, S)> {
        self.free.range((bytes, 0)..).find_map(|(_, address)| match &self.blocks.get(address)?.state {
            State::Freed(stamp) => Some((*address, stamp.clone())),
            _ => None,
        })
    }

    /// Takes `bytes` bytes (whole units) of the block at `address`, which [`Cache::held_back`] found.
    pub(crate) fn take_held_back(&mut self, address: u64, bytes: u64) {
        self.cut(address, bytes);
    }

    /// Adds a chunk, all of it free.
    pub(crate) fn add_chunk(&mut self, base: u64, bytes: u64, memory: M) {
        self.chunks.insert(base, Chunk { bytes, memory });
        self.reserved_bytes += bytes;
        self.insert_free(base, Block { bytes, chunk: base, state: State::Idle });
    }

    /// Takes out chunks of which nothing is used, as long as more than `keep` bytes stay reserved.
    pub(crate) fn take_idle(&mut self, keep: u64) -> Vec<M> {
        self.settle();
        let idle = |base: &u64, chunk: &Chunk<M>| {
            let block = self.blocks.get(base);
            block.is_some_and(|block| matches!(block.state, State::Idle) && block.bytes == chunk.bytes)
        };
        let bases: Vec<u64> =
            self.chunks.iter().filter(|(base, chunk)| idle(base, chunk)).map(|(base, _)| *base).collect();
        let mut taken = Vec::new();
        for base in bases {
            if self.reserved_bytes <= keep {
                break;
            }
            self.forget_free(base);
            if let Some(chunk) = self.chunks.remove(&base) {
                self.reserved_bytes -= chunk.bytes;
                taken.push(chunk.memory);
            }
        }
        taken
    }

    fn insert_free(&mut self, address: u64, block: Block<S>) {
        self.free.insert((block.bytes, address));
        if matches!(block.state, State::Freed(_)) {
            self.stamped.insert(address);
        }
        self.blocks.insert(address, block);
    }

    /// Takes out a block that is not used.
    fn forget_free(&mut self, address: u64) -> Option<Block<S>> {
        let bytes = self.blocks.get(&address)?.bytes;
        if !self.free.remove(&(bytes, address)) {
            return None;
        }
        self.stamped.remove(&address);
        self.blocks.remove(&address)
    }

    /// Inserts a free block, joined with the neighbours in its chunk that wait for the same.
    fn join(&mut self, mut address: u64, mut block: Block<S>) {
        let before = self.blocks.range(..address).next_back();
        let before = before.filter(|(start, before)| *start + before.bytes == address);
        let before = before.and_then(|(start, before)| Some((*start, joined(&block, before)?)));
        if let Some((start, state)) = before
            && let Some(before) = self.forget_free(start)
        {
            address = start;
            block = Block { bytes: before.bytes + block.bytes, state, ..block };
        }
        let end = address + block.bytes;
        let state = self.blocks.get(&end).and_then(|behind| joined(&block, behind));
        if let Some(state) = state
            && let Some(behind) = self.forget_free(end)
        {
            block = Block { bytes: block.bytes + behind.bytes, state, ..block };
        }
        self.insert_free(address, block);
    }
}

/// The state of two free blocks of the same chunk together, where they can be one: both idle, or freed in one stream.
fn joined<S: Stamp>(one: &Block<S>, other: &Block<S>) -> Option<State<S>> {
    if one.chunk != other.chunk {
        return None;
    }
    match (&one.state, &other.state) {
        (State::Idle, State::Idle) => Some(State::Idle),
        (State::Freed(one), State::Freed(other)) if one.slot() == other.slot() => {
            Some(State::Freed(if one.is_later_than(other) { one.clone() } else { other.clone() }))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    const CHUNK: u64 = 8 * UNIT_BYTES;
    const BASE: u64 = 1 << 30;

    /// A command of a stream whose counter stands beside it.
    #[derive(Clone, Debug)]
    struct Command(u32, u64, Arc<AtomicU64>);

    impl Stamp for Command {
        fn is_complete(&self) -> bool {
            self.2.load(Ordering::Relaxed) >= self.1
        }

        fn slot(&self) -> u32 {
            self.0
        }

        fn is_later_than(&self, other: &Self) -> bool {
            self.1 > other.1
        }
    }

    fn cache() -> (Cache<Command, u64>, Arc<AtomicU64>) {
        let mut cache = Cache::new();
        cache.add_chunk(BASE, CHUNK, 1);
        (cache, Arc::default())
    }

    #[test]
    fn a_freed_block_is_its_streams_at_once_and_everybodys_later() {
        let (mut cache, done) = cache();
        let all = cache.take(CHUNK, 1, true).unwrap();
        assert_eq!(cache.take(UNIT_BYTES, 1, true), None);
        assert!(cache.give(all, Some(Command(1, 5, Arc::clone(&done)))));
        assert_eq!(cache.take(CHUNK, 2, true), None, "not complete");
        assert_eq!(cache.take(UNIT_BYTES, 1, true), Some(BASE), "the same stream");
        assert_eq!(cache.take(UNIT_BYTES, 2, true), None, "the rest waits as before");
        done.store(5, Ordering::Relaxed);
        assert_eq!(cache.take(UNIT_BYTES, 2, false), None, "complete, and not allowed");
        assert_eq!(cache.take(UNIT_BYTES, 2, true), Some(BASE + UNIT_BYTES));
        assert_eq!(cache.used_bytes(), 2 * UNIT_BYTES);
    }

    #[test]
    fn the_smallest_block_that_fits_is_taken_and_neighbours_join() {
        let (mut cache, done) = cache();
        let units = |count: u64| count * UNIT_BYTES;
        let blocks: Vec<u64> =
            [2, 1, 1, 1, 3].iter().map(|count| cache.take(units(*count), 1, true).unwrap()).collect();
        cache.give(blocks[0], None);
        cache.give(blocks[2], None);
        assert_eq!(cache.take(units(1), 1, true), Some(blocks[2]));
        for (number, block) in (1..).zip(&blocks[1..]) {
            assert!(cache.give(*block, Some(Command(7, number, Arc::clone(&done)))));
            assert!(!cache.give(*block, None), "freed twice");
        }
        assert_eq!(cache.held_back(units(6)).map(|(at, stamp)| (at, stamp.1)), Some((blocks[1], 4)));
        done.store(3, Ordering::Relaxed);
        assert!(cache.take_idle(0).is_empty(), "the latest free counts");
        done.store(4, Ordering::Relaxed);
        assert_eq!(cache.take_idle(0), [1]);
        assert_eq!((cache.reserved_bytes(), cache.used_bytes()), (0, 0));
    }

    #[test]
    fn chunks_go_down_to_what_is_to_be_kept_and_never_in_use() {
        let (mut cache, _) = cache();
        cache.add_chunk(BASE + CHUNK, CHUNK, 2);
        cache.add_chunk(BASE + 2 * CHUNK, CHUNK, 3);
        let used = cache.take(UNIT_BYTES, 1, true).unwrap();
        assert!(
            cache.holds(BASE + 3 * CHUNK - 1) && !cache.holds(BASE + 3 * CHUNK) && !cache.holds(BASE - 1)
        );
        assert_eq!(cache.take(2 * CHUNK, 1, true), None, "chunks never join");
        assert_eq!(cache.take_idle(2 * CHUNK).len(), 1);
        assert_eq!(cache.take_idle(0).len(), 1);
        assert_eq!(cache.reserved_bytes(), CHUNK);
        cache.give(used, None);
        assert_eq!(cache.take_idle(0).len(), 1);
    }
}
