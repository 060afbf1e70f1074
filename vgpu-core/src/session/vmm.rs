//! Memory that the guest maps itself: reserved ranges, pieces of memory, and which piece lies where.
//!
//! CUDA's rules are kept here, whatever the device: a mapping lies in one range and is a whole piece; a piece lives until
//! it is released and mapped nowhere, and is charged as long.

use std::collections::{BTreeMap, HashMap};

use vgpu_proto::frame::{ReplyTo, Request};
use vgpu_proto::limits::{
    ADDRESS_RANGES_MAX, ARENA_HOST_BYTES, ARENA_RANGE_BYTES, MEMORIES_MAX, MEMORY_UNIT_BYTES,
};
use vgpu_proto::{Status, Violation};

use super::CreditKind;
use super::dispatcher::Core;
use super::job::{Job, Values, one};
use super::state::Session;
use crate::device::{DeviceError, MemoryAccess, MemoryKey};

/// What the guest has reserved, taken and mapped. Bounded by the protocol's limits.
#[derive(Debug, Default)]
pub(super) struct Vmm {
    /// Bytes of each reserved range, by its address.
    ranges: BTreeMap<u64, u64>,
    /// Pieces of memory, by the numbers that the guest knows.
    memories: HashMap<u64, Memory>,
    /// By their addresses; they do not overlap.
    mappings: BTreeMap<u64, Mapping>,
    /// The last piece's number.
    last: u64,
}

#[derive(Debug)]
struct Memory {
    key: MemoryKey,
    bytes: u64,
    released: bool,
    mappings: u32,
}

#[derive(Clone, Copy, Debug)]
struct Mapping {
    bytes: u64,
    memory: u64,
}

/// A call of the guest.
#[derive(Clone, Copy, Debug)]
enum Ask {
    Reserve { address: u64, bytes: u64 },
    Free { address: u64, bytes: u64 },
    Create { bytes: u64 },
    Release { memory: u64 },
    Map { address: u64, bytes: u64, memory: u64 },
    Unmap { address: u64, bytes: u64 },
    SetAccess { address: u64, bytes: u64, access: Option<MemoryAccess> },
}

impl Core {
    /// Hands a call about virtual memory to a thread that may block.
    pub(super) fn vmm(
        &self,
        request: &Request,
        reply: ReplyTo,
        jobs: &mut Vec<Job>,
    ) -> Result<(), Violation> {
        let ask = Ask::new(request)?;
        jobs.push(Job::answering(&self.session, reply, move |session| {
            // Only jobs take this lock, so the dispatcher never waits for what the driver does under it.
            session.vmm.lock().answer(ask, session)
        }));
        Ok(())
    }
}

impl Ask {
    fn new(request: &Request) -> Result<Self, Violation> {
        Ok(match request {
            Request::AddressReserve(body) => {
                Self::Reserve { address: body.address.get(), bytes: body.bytes.get() }
            }
            Request::AddressFree(body) => Self::Free { address: body.address.get(), bytes: body.bytes.get() },
            Request::MemoryCreate(body) => Self::Create { bytes: body.bytes.get() },
            Request::MemoryRelease(body) => Self::Release { memory: body.memory.get() },
            Request::MemoryMap(body) => {
                Self::Map { address: body.address.get(), bytes: body.bytes.get(), memory: body.memory.get() }
            }
            Request::MemoryUnmap(body) => {
                Self::Unmap { address: body.address.get(), bytes: body.bytes.get() }
            }
            Request::MemorySetAccess(body) if body.reserved.get() != 0 => {
                return Err(Violation::ReservedBits);
            }
            Request::MemorySetAccess(body) => Self::SetAccess {
                address: body.address.get(),
                bytes: body.bytes.get(),
                access: MemoryAccess::from_number(body.access.get()),
            },
            // The route sends nothing else here.
            _ => return Err(Violation::UnknownOperation),
        })
    }
}

impl Vmm {
    fn answer(&mut self, ask: Ask, session: &Session) -> Result<Values, Status> {
        match ask {
            Ask::Reserve { address, bytes } => self.reserve(address, bytes, session)?,
            Ask::Free { address, bytes } => self.free(address, bytes, session)?,
            Ask::Create { bytes } => return self.create(bytes, session).map(one),
            Ask::Release { memory } => self.release(memory, session)?,
            Ask::Map { address, bytes, memory } => self.map(address, bytes, memory, session)?,
            Ask::Unmap { address, bytes } => self.unmap(address, bytes, session)?,
            Ask::SetAccess { address, bytes, access } => {
                let access = access.ok_or(Status::ERROR_INVALID_VALUE)?;
                self.covered(address, bytes)?;
                session.device.memory_set_access(address, bytes, access).map_err(status)?;
            }
        }
        Ok(Values::default())
    }

    fn reserve(&mut self, address: u64, bytes: u64, session: &Session) -> Result<(), Status> {
        let end = end_of(address, bytes)?;
        let arena = session.arena.base();
        let guests = arena + ARENA_HOST_BYTES..=arena + ARENA_RANGE_BYTES;
        let before = self.ranges.range(..end).next_back();
        if !guests.contains(&address)
            || !guests.contains(&end)
            || before.is_some_and(|(start, length)| start + length > address)
        {
            return Err(Status::ERROR_INVALID_VALUE);
        }
        if self.ranges.len() >= ADDRESS_RANGES_MAX as usize {
            return Err(Status::ERROR_OUT_OF_MEMORY);
        }
        session.device.address_reserve(address, bytes).map_err(status)?;
        self.ranges.insert(address, bytes);
        Ok(())
    }

    fn free(&mut self, address: u64, bytes: u64, session: &Session) -> Result<(), Status> {
        let end = end_of(address, bytes)?;
        let used = self.mappings.range(address..end).next().is_some();
        if used || self.ranges.get(&address) != Some(&bytes) {
            return Err(Status::ERROR_INVALID_VALUE);
        }
        // A range that the device keeps stays the guest's, who may ask again.
        session.device.address_free(address).map_err(status)?;
        self.ranges.remove(&address);
        Ok(())
    }

    fn create(&mut self, bytes: u64, session: &Session) -> Result<u64, Status> {
        if bytes == 0 || !bytes.is_multiple_of(MEMORY_UNIT_BYTES) {
            return Err(Status::ERROR_INVALID_VALUE);
        }
        if self.memories.len() >= MEMORIES_MAX as usize {
            return Err(Status::ERROR_OUT_OF_MEMORY);
        }
        session.ledger.take(CreditKind::Device, bytes)?;
        match session.device.memory_create(bytes) {
            Ok(key) => {
                self.last += 1;
                self.memories.insert(self.last, Memory { key, bytes, released: false, mappings: 0 });
                Ok(self.last)
            }
            Err(error) => {
                session.ledger.give(CreditKind::Device, bytes);
                Err(error.status)
            }
        }
    }

    fn release(&mut self, number: u64, session: &Session) -> Result<(), Status> {
        let memory = self.memories.get_mut(&number).filter(|memory| !memory.released);
        memory.ok_or(Status::ERROR_INVALID_VALUE)?.released = true;
        self.drop_unused(number, session);
        Ok(())
    }

    fn map(&mut self, address: u64, bytes: u64, number: u64, session: &Session) -> Result<(), Status> {
        let end = end_of(address, bytes)?;
        let range = self.ranges.range(..=address).next_back();
        let inside = range.is_some_and(|(start, length)| end <= start + length);
        let before = self.mappings.range(..end).next_back();
        if !inside || before.is_some_and(|(start, mapping)| start + mapping.bytes > address) {
            return Err(Status::ERROR_INVALID_VALUE);
        }
        if self.mappings.len() >= MEMORIES_MAX as usize {
            return Err(Status::ERROR_OUT_OF_MEMORY);
        }
        let memory = self.memories.get_mut(&number).filter(|memory| !memory.released);
        let memory = memory.ok_or(Status::ERROR_INVALID_VALUE)?;
        match memory.bytes.cmp(&bytes) {
            std::cmp::Ordering::Less => return Err(Status::ERROR_INVALID_VALUE),
            std::cmp::Ordering::Equal => {}
            std::cmp::Ordering::Greater => return Err(Status::ERROR_NOT_SUPPORTED),
        }
        session.device.memory_map(address, memory.key).map_err(status)?;
        memory.mappings += 1;
        self.mappings.insert(address, Mapping { bytes, memory: number });
        Ok(())
    }

    fn unmap(&mut self, address: u64, bytes: u64, session: &Session) -> Result<(), Status> {
        let end = self.covered(address, bytes)?;
        session.device.memory_unmap(address, bytes).map_err(status)?;
        while let Some((&start, &Mapping { memory, .. })) = self.mappings.range(address..end).next() {
            self.mappings.remove(&start);
            if let Some(memory) = self.memories.get_mut(&memory) {
                memory.mappings -= 1;
            }
            self.drop_unused(memory, session);
        }
        Ok(())
    }

    /// Checks that whole mappings, without gaps, lie at those addresses; tells where they end.
    fn covered(&self, address: u64, bytes: u64) -> Result<u64, Status> {
        let end = end_of(address, bytes)?;
        let mut at = address;
        for (start, mapping) in self.mappings.range(address..end) {
            if *start != at {
                return Err(Status::ERROR_INVALID_VALUE);
            }
            at += mapping.bytes;
        }
        if at == end { Ok(end) } else { Err(Status::ERROR_INVALID_VALUE) }
    }

    /// Gives a piece back that nobody names and nothing maps.
    fn drop_unused(&mut self, number: u64, session: &Session) {
        let unused = |memory: &Memory| memory.released && memory.mappings == 0;
        if self.memories.get(&number).is_some_and(unused)
            && let Some(memory) = self.memories.remove(&number)
        {
            session.device.memory_release(memory.key);
            session.freed(memory.bytes);
        }
    }
}

/// The end of a range that is in whole units and not empty.
fn end_of(address: u64, bytes: u64) -> Result<u64, Status> {
    let whole = address.is_multiple_of(MEMORY_UNIT_BYTES) && bytes.is_multiple_of(MEMORY_UNIT_BYTES);
    let end = address.checked_add(bytes).filter(|_| whole && bytes > 0);
    end.ok_or(Status::ERROR_INVALID_VALUE)
}

fn status(error: DeviceError) -> Status {
    error.status
}
