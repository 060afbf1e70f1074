//! Memory of a session: allocations inside its credit, copies, fills, words in stream order.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use vgpu_proto::body;
use vgpu_proto::frame::ReplyTo;
use vgpu_proto::limits::ALLOCATIONS_MAX;
use vgpu_proto::{ContextId, Status, Violation};

use super::CreditKind;
use super::command::Action;
use super::dispatcher::Core;
use super::job::{Job, Values, one, two};
use super::state::Session;
use crate::device::{Context, Place, WaitCondition, Work};

impl Core {
    pub(super) fn mem_get_info(&self, body: &body::MemGetInfo, reply: ReplyTo) -> Result<(), Violation> {
        let (status, values) = match self.context(body.context.get())? {
            Ok(_) => {
                let total = self.session.limits.memory_bytes;
                let used = self.session.ledger.used(CreditKind::Device);
                (Status::SUCCESS, two(total.saturating_sub(used), total))
            }
            Err(status) => (status, Values::default()),
        };
        self.words().answer(reply, status, values);
        Ok(())
    }

    pub(super) fn mem_alloc(
        &mut self,
        body: &body::MemAlloc,
        reply: ReplyTo,
        jobs: &mut Vec<Job>,
    ) -> Result<(), Violation> {
        match self.context(body.context.get())? {
            Ok(entry) => {
                let (device, bytes) = (entry.device.clone(), body.bytes.get());
                jobs.push(Job::answering(&self.session, reply, move |session| {
                    allocate(session, &device, bytes).map(one)
                }));
            }
            Err(status) => self.words().answer(reply, status, Values::default()),
        }
        Ok(())
    }

    pub(super) fn mem_free(
        &mut self,
        body: &body::MemFree,
        reply: ReplyTo,
        jobs: &mut Vec<Job>,
    ) -> Result<(), Violation> {
        let index = ContextId::from_raw(body.context.get()).index();
        match self.context(body.context.get())? {
            Ok(entry) => {
                let (device, address) = (entry.device.clone(), body.address.get());
                let job = Job::answering(&self.session, reply, move |session| {
                    free(session, &device, address).map(|()| Values::default())
                });
                self.after_context(index, job, jobs);
            }
            Err(status) => self.words().answer(reply, status, Values::default()),
        }
        Ok(())
    }

    pub(super) fn memcpy(&self, body: &body::Memcpy) -> Action {
        let bytes = body.bytes.get();
        Self::copy(Place::Address(body.destination.get()), Place::Address(body.source.get()), bytes)
    }

    pub(super) fn memcpy_from_staging(&self, body: &body::MemcpyFromStaging) -> Result<Action, Violation> {
        let source = self.staged(body.staging_offset.get(), body.bytes.get())?;
        Ok(Self::copy(Place::Address(body.destination.get()), source, body.bytes.get()))
    }

    pub(super) fn memcpy_to_staging(&self, body: &body::MemcpyToStaging) -> Result<Action, Violation> {
        let destination = self.staged(body.staging_offset.get(), body.bytes.get())?;
        Ok(Self::copy(destination, Place::Address(body.source.get()), body.bytes.get()))
    }

    fn copy(destination: Place, source: Place, bytes: u64) -> Action {
        if bytes == 0 {
            return Action::Finished(Status::SUCCESS);
        }
        Action::Work(Work::Copy { destination, source, bytes })
    }

    /// A part of staging that a frame names.
    pub(super) fn staged(&self, offset: u64, bytes: u64) -> Result<Place, Violation> {
        let end = offset.checked_add(bytes).ok_or(Violation::RegionBounds)?;
        if end > self.session.staging.len() {
            return Err(Violation::RegionBounds);
        }
        Ok(Place::Region(self.session.staging.clone(), offset))
    }

    pub(super) fn memset(body: &body::Memset) -> Action {
        let (destination, count) = (body.destination.get(), body.count.get());
        let (value, element_bytes) = (body.value.get(), body.element_bytes.get());
        let size = u64::from(element_bytes);
        if !matches!(element_bytes, 1 | 2 | 4)
            || !destination.is_multiple_of(size)
            || count.checked_mul(size).is_none()
        {
            return Action::Finished(Status::ERROR_INVALID_VALUE);
        }
        if count == 0 {
            return Action::Finished(Status::SUCCESS);
        }
        Action::Work(Work::Memset { destination, value, element_bytes, count })
    }

    pub(super) fn wait_value(body: &body::StreamWaitValue32) -> Action {
        let (address, value) = (body.address.get(), body.value.get());
        match WaitCondition::from_number(body.condition.get()) {
            Some(condition) if address.is_multiple_of(4) => {
                Action::Work(Work::WaitValue { address, value, condition })
            }
            _ => Action::Finished(Status::ERROR_INVALID_VALUE),
        }
    }

    pub(super) fn wait_value_64(body: &body::StreamWaitValue64) -> Result<Action, Violation> {
        if body.reserved.get() != 0 {
            return Err(Violation::ReservedBits);
        }
        let (address, value) = (body.address.get(), body.value.get());
        Ok(match WaitCondition::from_number(body.condition.get()) {
            Some(condition) if address.is_multiple_of(8) => {
                Action::Work(Work::WaitValue64 { address, value, condition })
            }
            _ => Action::Finished(Status::ERROR_INVALID_VALUE),
        })
    }

    pub(super) fn write_value_64(body: &body::StreamWriteValue64) -> Action {
        let address = body.address.get();
        if !address.is_multiple_of(8) {
            return Action::Finished(Status::ERROR_INVALID_VALUE);
        }
        Action::Work(Work::WriteValue64 { address, value: body.value.get() })
    }

    pub(super) fn write_value(body: &body::StreamWriteValue32) -> Result<Action, Violation> {
        if body.reserved.get() != 0 {
            return Err(Violation::ReservedBits);
        }
        let address = body.address.get();
        if !address.is_multiple_of(4) {
            return Ok(Action::Finished(Status::ERROR_INVALID_VALUE));
        }
        Ok(Action::Work(Work::WriteValue { address, value: body.value.get() }))
    }
}

/// A context as allocations know it: a guest may mint a name again while a call of the context before is under way. Such
/// a call keeps its context, so that no other has the same place meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Owner(usize);

impl Owner {
    pub(super) fn of(device: &Arc<dyn Context>) -> Self {
        Self(Arc::as_ptr(device).addr())
    }
}

/// Device allocations of a session, and what they are charged.
#[derive(Debug, Default)]
pub(super) struct Allocations {
    /// Context and address of each.
    live: HashSet<(Owner, u64)>,
    /// What the allocations of each context that is there take of the card: devices hand memory out in pieces, which
    /// allocations share, so the sum is charged and not each.
    charged: HashMap<Owner, u64>,
}

impl Allocations {
    /// Begins to account for a context.
    pub(super) fn add_context(&mut self, context: Owner) {
        self.charged.insert(context, 0);
    }

    /// Forgets a context's allocations, and tells what they were charged.
    pub(super) fn remove_context(&mut self, context: Owner) -> u64 {
        self.live.retain(|(owner, _)| *owner != context);
        self.charged.remove(&context).unwrap_or(0)
    }

    /// Whether the context is there.
    pub(super) fn has_context(&self, context: Owner) -> bool {
        self.charged.contains_key(&context)
    }

    /// Charges a context what its allocations take now, but no more than what it was charged so far and `paid`, which was
    /// taken from the ledger beforehand; tells what is left of both. What other threads allocate meanwhile they pay for. A
    /// context that is gone pays nothing: its memory goes with it.
    fn settle(&mut self, context: Owner, taken: u64, paid: u64) -> u64 {
        let Some(charged) = self.charged.get_mut(&context) else { return paid };
        let most = *charged + paid;
        *charged = taken.min(most);
        most - *charged
    }
}

fn allocate(session: &Arc<Session>, device: &Arc<dyn Context>, bytes: u64) -> Result<u64, Status> {
    if bytes == 0 {
        return Err(Status::ERROR_INVALID_VALUE);
    }
    if session.allocations.lock().live.len() >= ALLOCATIONS_MAX as usize {
        return Err(Status::ERROR_OUT_OF_MEMORY);
    }
    let context = Owner::of(device);
    let cost = device.memory_cost(bytes).ok_or(Status::ERROR_OUT_OF_MEMORY)?;
    session.ledger.take(CreditKind::Device, cost)?;
    let placed = device.memory_alloc(bytes);
    let mut allocations = session.allocations.lock();
    let is_there = allocations.has_context(context);
    if let Ok(address) = placed
        && is_there
    {
        allocations.live.insert((context, address));
    }
    let left = allocations.settle(context, device.memory_taken(), cost);
    drop(allocations);
    session.ledger.give(CreditKind::Device, left);
    let address = placed.map_err(|error| error.status)?;
    if is_there { Ok(address) } else { Err(Status::ERROR_INVALID_CONTEXT) }
}

fn free(session: &Arc<Session>, device: &Arc<dyn Context>, address: u64) -> Result<(), Status> {
    let context = Owner::of(device);
    // Taken out first: a second free of the same address, at the same time, finds nothing.
    if !session.allocations.lock().live.remove(&(context, address)) {
        return Err(Status::ERROR_INVALID_VALUE);
    }
    let freed = device.memory_free(address);
    // The watcher of the device may tell of a fault later than this.
    if session.device.fault_ends_process() && device.sticky_error().is_some() {
        return freed.map_err(|error| error.status);
    }
    let left = session.allocations.lock().settle(context, device.memory_taken(), 0);
    session.freed(left);
    freed.map_err(|error| error.status)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNK: u64 = 2 << 20;

    #[test]
    fn what_is_charged_follows_what_the_device_takes() {
        let mut allocations = Allocations::default();
        let [first, second] = [Owner(8), Owner(16)];
        allocations.add_context(first);
        allocations.add_context(second);
        // The first small allocation brings a chunk, the next ones lie in it.
        assert_eq!(allocations.settle(first, CHUNK, CHUNK), 0);
        assert_eq!(allocations.settle(first, CHUNK, CHUNK), CHUNK);
        assert_eq!(allocations.settle(first, 3 * CHUNK, 2 * CHUNK), 0);
        // A free that empties one, and one that does not.
        assert_eq!(allocations.settle(first, 2 * CHUNK, 0), CHUNK);
        assert_eq!(allocations.settle(first, 2 * CHUNK, 0), 0);
        assert_eq!(allocations.settle(second, CHUNK, CHUNK), 0, "each context by itself");
        assert_eq!((allocations.remove_context(first), allocations.remove_context(first)), (2 * CHUNK, 0));
        assert_eq!(allocations.remove_context(second), CHUNK);
        assert_eq!(allocations.settle(first, CHUNK, CHUNK), CHUNK, "a call that ends after its context");
        assert!(!allocations.has_context(first));
    }

    /// Two threads allocate a chunk each, both before either settles; a third frees one meanwhile. In whatever order
    /// they settle, what was paid less what is left is what is taken.
    #[test]
    fn threads_settle_in_any_order() {
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let mut allocations = Allocations::default();
            let first = Owner(8);
            allocations.add_context(first);
            let mut paid = 3 * CHUNK;
            assert_eq!(allocations.settle(first, 3 * CHUNK, 3 * CHUNK), 0);
            paid += 2 * CHUNK;
            let taken = 4 * CHUNK;
            for thread in order {
                paid -= allocations.settle(first, taken, if thread < 2 { CHUNK } else { 0 });
            }
            assert_eq!(paid, taken, "{order:?}");
            assert_eq!(allocations.remove_context(first), taken);
        }
    }
}
