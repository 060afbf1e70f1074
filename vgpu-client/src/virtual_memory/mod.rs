//! Virtual memory of the device (`cuMemAddressReserve`, `cuMemCreate`, `cuMemMap` and their kin).
//!
//! Addresses are chosen here, in the upper part of the arena, so a reservation needs no more than the host's word that its
//! driver has them. Memory without an address comes from the host and has a number. What lies where, who may access it, and
//! how often memory is held is kept here, by CUDA's rules: memory that is released stays while it is mapped.

mod ranges;

use std::collections::{BTreeMap, HashMap};

use parking_lot::Mutex;
use vgpu_proto::limits::{
    ADDRESS_RANGES_MAX, ARENA_HOST_BYTES, ARENA_RANGE_BYTES, MEMORIES_MAX, MEMORY_UNIT_BYTES,
};
use vgpu_proto::{Op, Status, body};

use self::ranges::{Ranges, is_whole};
use crate::addresses::{Kind, Span};
use crate::errors::{Error, HostFault, Misuse, Result};
use crate::session::Session;

/// What the session has reserved, taken and mapped.
#[derive(Debug)]
pub(crate) struct Mapped(Mutex<State>);

#[derive(Debug)]
struct State {
    ranges: Ranges,
    memories: HashMap<u64, Memory>,
    /// By their addresses; they do not overlap.
    mappings: BTreeMap<u64, Mapping>,
}

#[derive(Debug)]
struct Memory {
    bytes: u64,
    note: u32,
    /// How often the program holds it.
    holds: u32,
    mappings: u32,
}

/// Where memory lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mapping {
    bytes: u64,
    memory: u64,
    access: u32,
}

impl Mapped {
    /// For the arena that begins at `arena_base`.
    pub(crate) fn new(arena_base: u64) -> Self {
        let ranges = Ranges::new(arena_base + ARENA_HOST_BYTES, arena_base + ARENA_RANGE_BYTES);
        Self(Mutex::new(State { ranges, memories: HashMap::new(), mappings: BTreeMap::new() }))
    }
}

/// The device's virtual memory as a session sees it. Addresses and sizes are multiples of
/// [`VirtualMemory::UNIT_BYTES`].
///
/// Calls wait for the host but for no work of the device: what still uses memory that is unmapped meets an illegal address.
#[derive(Clone, Copy, Debug)]
pub struct VirtualMemory<'a> {
    pub(crate) session: &'a Session,
}

const fn wrong(what: &'static str) -> Error {
    Error::Misuse(Misuse::Mapping { what })
}

const fn full(op: Op) -> Error {
    Error::Call { op, status: Status::ERROR_OUT_OF_MEMORY, text: None }
}

impl VirtualMemory<'_> {
    /// What memory is mapped in, in bytes (`cuMemGetAllocationGranularity`).
    pub const UNIT_BYTES: u64 = MEMORY_UNIT_BYTES;

    /// Access to neither read nor write, to read, and to do both (`CU_MEM_ACCESS_FLAGS_PROT_*`).
    pub const ACCESS: [u32; 3] = [0, 1, 3];

    /// Reserves addresses, at a multiple of `align` (0 or a power of two), at `wish` if they are free there.
    ///
    /// # Errors
    /// [`Misuse::Mapping`]; out of memory where there are no such addresses; the session's end.
    pub fn reserve(self, bytes: u64, align: u64, wish: u64) -> Result<u64> {
        if bytes == 0 || !is_whole(bytes) || (align != 0 && !align.is_power_of_two()) {
            return Err(wrong("addresses are reserved in multiples of 2 MiB, aligned to a power of two"));
        }
        let mut state = self.state();
        if state.ranges.count() >= ADDRESS_RANGES_MAX as usize {
            return Err(full(Op::AddressReserve));
        }
        let taken = state.ranges.take(bytes, align.max(MEMORY_UNIT_BYTES), wish);
        let address = taken.ok_or(full(Op::AddressReserve))?;
        let body = body::AddressReserve { address: address.into(), bytes: bytes.into() };
        self.session.call(0, &body, &[]).inspect_err(|_| {
            state.ranges.give(address, bytes);
        })?;
        Ok(address)
    }

    /// Frees exactly a reserved range, in which nothing is mapped.
    ///
    /// # Errors
    /// [`Misuse::Mapping`], or the session's end.
    pub fn free(self, address: u64, bytes: u64) -> Result<()> {
        let mut state = self.state();
        if !state.ranges.holds(address, bytes) {
            return Err(wrong("no such range is reserved"));
        }
        if state.mappings.range(address..address + bytes).next().is_some() {
            return Err(wrong("memory is mapped in the range"));
        }
        let body = body::AddressFree { address: address.into(), bytes: bytes.into() };
        let freed = self.session.call(0, &body, &[]);
        state.ranges.give(address, bytes);
        freed.map(drop)
    }

    /// Takes memory, and tells its number. It counts towards the tenant's quota. `note` is kept with it for the program.
    ///
    /// # Errors
    /// [`Misuse::Mapping`]; out of memory; the session's end.
    pub fn create(self, bytes: u64, note: u32) -> Result<u64> {
        if bytes == 0 || !is_whole(bytes) {
            return Err(wrong("memory is taken in multiples of 2 MiB"));
        }
        let mut state = self.state();
        if state.memories.len() >= MEMORIES_MAX as usize {
            return Err(full(Op::MemoryCreate));
        }
        let [number, ..] = self.session.call(0, &body::MemoryCreate { bytes: bytes.into() }, &[])?;
        if number == 0 || state.memories.contains_key(&number) {
            return Err(HostFault::Description.into());
        }
        state.memories.insert(number, Memory { bytes, note, holds: 1, mappings: 0 });
        Ok(number)
    }

    /// What was noted of memory that the program holds.
    ///
    /// # Errors
    /// [`Misuse::Mapping`].
    pub fn note(self, memory: u64) -> Result<u32> {
        self.state().held(memory).map(|memory| memory.note)
    }

    /// The reserved range that holds `address`: where it begins, and its bytes.
    pub fn range(self, address: u64) -> Option<(u64, u64)> {
        self.state().ranges.find(address)
    }

    /// The memory that is mapped at `address`, held once more.
    ///
    /// # Errors
    /// [`Misuse::Mapping`].
    pub fn retain(self, address: u64) -> Result<u64> {
        let mut state = self.state();
        let (_, mapping) = state.at(address)?;
        let memory = state.memories.get_mut(&mapping.memory).ok_or(wrong("no such memory"))?;
        memory.holds = memory.holds.checked_add(1).ok_or(wrong("memory is held too often"))?;
        Ok(mapping.memory)
    }

    /// Lets go of memory. It goes once it is held no more and mapped nowhere.
    ///
    /// # Errors
    /// [`Misuse::Mapping`], or the session's end.
    pub fn release(self, memory: u64) -> Result<()> {
        let mut state = self.state();
        state.held(memory)?.holds -= 1;
        self.drop_unused(&mut state, memory)
    }

    /// Maps memory, all of it, at reserved addresses. Nothing may access it there yet.
    ///
    /// # Errors
    /// [`Misuse::Mapping`]; not supported where `bytes` is less than the memory has; the session's end.
    pub fn map(self, address: u64, bytes: u64, memory: u64) -> Result<()> {
        let mut state = self.state();
        if bytes == 0 || !is_whole(address) || !is_whole(bytes) || !state.ranges.covers(address, bytes) {
            return Err(wrong("memory is mapped at multiples of 2 MiB of one reserved range"));
        }
        if state.at(address).is_ok() || state.mappings.range(address..address + bytes).next().is_some() {
            return Err(wrong("memory is mapped there already"));
        }
        if bytes > state.held(memory)?.bytes {
            return Err(wrong("a mapping is longer than its memory"));
        }
        if state.mappings.len() >= MEMORIES_MAX as usize {
            return Err(full(Op::MemoryMap));
        }
        let body = body::MemoryMap { address: address.into(), bytes: bytes.into(), memory: memory.into() };
        self.session.call(0, &body, &[])?;
        state.held(memory)?.mappings += 1;
        state.mappings.insert(address, Mapping { bytes, memory, access: 0 });
        Ok(self.session.addresses.add(Span { base: address, bytes, kind: Kind::Mapped(false) })?)
    }

    /// Unmaps whole mappings that follow one another without a gap.
    ///
    /// # Errors
    /// [`Misuse::Mapping`], or the session's end.
    pub fn unmap(self, address: u64, bytes: u64) -> Result<()> {
        let mut state = self.state();
        let mappings = state.covered(address, bytes)?;
        for (start, _) in &mappings {
            self.session.addresses.remove(*start);
        }
        let body = body::MemoryUnmap { address: address.into(), bytes: bytes.into() };
        // After a fault the device refuses; the mappings are gone all the same.
        let unmapped = self.session.call(0, &body, &[]);
        for (start, mapping) in mappings {
            state.mappings.remove(&start);
            if let Some(memory) = state.memories.get_mut(&mapping.memory) {
                memory.mappings -= 1;
            }
            self.drop_unused(&mut state, mapping.memory)?;
        }
        unmapped.map(drop)
    }

    /// Sets what the device may do with whole mappings that follow one another without a gap: one of
    /// [`VirtualMemory::ACCESS`].
    ///
    /// # Errors
    /// [`Misuse::Mapping`]; not supported where the device cannot tell reading from writing; the session's end.
    pub fn set_access(self, address: u64, bytes: u64, access: u32) -> Result<()> {
        let mut state = self.state();
        let mappings = state.covered(address, bytes)?;
        let body = body::MemorySetAccess {
            address: address.into(),
            bytes: bytes.into(),
            access: access.into(),
            reserved: 0.into(),
        };
        self.session.call(0, &body, &[])?;
        for (start, mapping) in mappings {
            state.mappings.insert(start, Mapping { access, ..mapping });
            self.session.addresses.open(start, access != 0);
        }
        Ok(())
    }

    /// What the device may do at `address`: one of [`VirtualMemory::ACCESS`].
    ///
    /// # Errors
    /// [`Misuse::Mapping`].
    pub fn access(self, address: u64) -> Result<u32> {
        self.state().at(address).map(|(_, mapping)| mapping.access)
    }

    /// Held while the host is asked, so that no other thread sees what is not so yet.
    fn state(&self) -> parking_lot::MutexGuard<'_, State> {
        self.session.mapped.0.lock()
    }

    fn drop_unused(self, state: &mut State, memory: u64) -> Result<()> {
        let unused = |memory: &Memory| memory.holds == 0 && memory.mappings == 0;
        if state.memories.get(&memory).is_some_and(unused) {
            state.memories.remove(&memory);
            self.session.call(0, &body::MemoryRelease { memory: memory.into() }, &[])?;
        }
        Ok(())
    }
}

impl State {
    /// Memory that the program holds.
    fn held(&mut self, memory: u64) -> Result<&mut Memory> {
        self.memories.get_mut(&memory).filter(|memory| memory.holds > 0).ok_or(wrong("no such memory"))
    }

    /// The mapping that holds `address`, and where it begins.
    fn at(&self, address: u64) -> Result<(u64, Mapping)> {
        let before = self.mappings.range(..=address).next_back();
        let found = before.filter(|(start, mapping)| address - **start < mapping.bytes);
        found.map(|(start, mapping)| (*start, *mapping)).ok_or(wrong("nothing is mapped there"))
    }

    /// The mappings that are exactly those addresses.
    fn covered(&self, address: u64, bytes: u64) -> Result<Vec<(u64, Mapping)>> {
        let gap = || wrong("the addresses are not those of whole mappings without a gap");
        let end = address.checked_add(bytes).filter(|_| bytes > 0).ok_or_else(gap)?;
        let found: Vec<(u64, Mapping)> =
            self.mappings.range(address..end).map(|(start, mapping)| (*start, *mapping)).collect();
        let mut at = address;
        for (start, mapping) in &found {
            if *start != at {
                return Err(gap());
            }
            at += mapping.bytes;
        }
        if at == end { Ok(found) } else { Err(gap()) }
    }
}
