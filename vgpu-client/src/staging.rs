//! The staging region: where the bytes of pageable copies wait for the device.
//!
//! A chunk belongs to the copy that took it until the copy's command is complete on the device. Chunks are given back
//! when somebody looks, not by a thread of their own.

use std::collections::{HashMap, VecDeque};

use parking_lot::Mutex;
use vgpu_window::Region;

use crate::free_list::FreeList;
use crate::ring::Ticket;
use crate::session::Session;

/// What only copies on idle streams and loads may use: these go through whatever other streams wait for, so the part
/// is free again soon. Without it, small copies queued behind an event could keep the whole region from the very copy
/// that the event waits for.
const RESERVE_BYTES: u64 = 2 << 20;

/// The staging region.
#[derive(Debug)]
pub(crate) struct Staging {
    pub(crate) region: Region,
    reserve_bytes: u64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    free: FreeList,
    /// Chunks whose commands are under way, by stream slot, in the order of their numbers.
    busy: HashMap<u32, VecDeque<Busy>>,
}

#[derive(Debug)]
struct Busy {
    number: u64,
    offset: u64,
    bytes: u64,
}

/// A piece of staging that the caller owns.
#[derive(Debug)]
pub(crate) struct Chunk<'a> {
    session: &'a Session,
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
    /// The command that uses it, once there is one.
    ticket: Option<Ticket>,
}

impl Staging {
    pub(crate) fn new(region: Region) -> Self {
        let bytes = region.len();
        let free = FreeList::new(bytes);
        // A host with a small staging region keeps an eighth of it.
        let reserve_bytes = RESERVE_BYTES.min(bytes / 8);
        Self { region, reserve_bytes, state: Mutex::new(State { free, busy: HashMap::new() }) }
    }
}

impl Session {
    /// Takes a chunk of `bytes` bytes, more than 0, for a command of stream slot `stream`. `privileged` callers know
    /// that nothing holds their command up, and may use the reserve.
    pub(crate) fn try_stage(&self, stream: u32, bytes: u64, privileged: bool) -> Option<Chunk<'_>> {
        let staging = &self.staging;
        let mut state = staging.state.lock();
        state.reclaim(self, stream);
        let keep = if privileged { 0 } else { staging.reserve_bytes };
        if let Some(offset) = state.take(bytes, keep) {
            return Some(Chunk { session: self, offset, bytes, ticket: None });
        }
        let streams: Vec<u32> = state.busy.keys().copied().collect();
        for stream in streams {
            state.reclaim(self, stream);
        }
        let offset = state.take(bytes, keep)?;
        Some(Chunk { session: self, offset, bytes, ticket: None })
    }
}

impl State {
    fn take(&mut self, bytes: u64, keep: u64) -> Option<u64> {
        if self.free.free_bytes() < bytes.saturating_add(keep) {
            return None;
        }
        self.free.take(bytes)
    }

    /// Gives back the chunks of a stream whose commands are complete.
    fn reclaim(&mut self, session: &Session, stream: u32) {
        let Some(chunks) = self.busy.get_mut(&stream) else { return };
        let completed = session.control.completed(stream);
        while let Some(chunk) = chunks.pop_front_if(|chunk| chunk.number <= completed) {
            self.free.give(chunk.offset, chunk.bytes);
        }
        if chunks.is_empty() {
            self.busy.remove(&stream);
        }
    }
}

impl Chunk<'_> {
    /// Ties the chunk to the command that uses it: dropping it from now on gives it back when that is complete.
    pub(crate) fn attach(&mut self, ticket: Ticket) {
        self.ticket = Some(ticket);
    }

    pub(crate) fn ticket(&self) -> Option<Ticket> {
        self.ticket
    }

    pub(crate) fn write(&self, offset: u64, bytes: &[u8]) {
        self.session.staging.region.write(self.offset + offset, bytes).expect("a chunk lies in its region");
    }

    pub(crate) fn read(&self, offset: u64, out: &mut [u8]) {
        self.session.staging.region.read(self.offset + offset, out).expect("a chunk lies in its region");
    }
}

impl Drop for Chunk<'_> {
    fn drop(&mut self) {
        let mut state = self.session.staging.state.lock();
        match self.ticket {
            Some(ticket) if !self.session.is_complete(ticket) => {
                let chunks = state.busy.entry(ticket.stream).or_default();
                // Threads that share a stream may come here in another order than their commands.
                let at = chunks.partition_point(|chunk| chunk.number < ticket.number);
                let busy = Busy { number: ticket.number, offset: self.offset, bytes: self.bytes };
                chunks.insert(at, busy);
            }
            _ => state.free.give(self.offset, self.bytes),
        }
    }
}
