//! Limits of contexts. Memory that a larger limit makes the device set aside is the tenant's.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use vgpu_proto::body;
use vgpu_proto::frame::ReplyTo;
use vgpu_proto::handshake::DeviceDescription;
use vgpu_proto::{ContextId, Status, Violation};

use super::CreditKind;
use super::dispatcher::Core;
use super::job::{Job, Values, one};
use super::memory::Owner;
use super::state::Session;
use crate::device::Context;

/// `CUlimit`.
const STACK_SIZE: u32 = 0;
const PRINTF_FIFO_SIZE: u32 = 1;
const MALLOC_HEAP_SIZE: u32 = 2;
const MAX_L2_FETCH_GRANULARITY: u32 = 5;
const PERSISTING_L2_CACHE_SIZE: u32 = 6;

/// What the limits of a session's contexts take beyond what every context has.
#[derive(Debug, Default)]
pub(super) struct LimitCharges {
    /// Held by the job that sets a limit, so that charges follow the device's order.
    turn: Mutex<()>,
    /// By context and limit, of contexts that are there.
    charges: Mutex<HashMap<(Owner, u32), Charge>>,
}

impl LimitCharges {
    /// Forgets a context, of which allocations know nothing any more. What it paid stays paid: the device may use that
    /// context's memory for the next one.
    pub(super) fn forget(&self, context: Owner) {
        self.charges.lock().retain(|(owner, _), _| *owner != context);
    }
}

#[derive(Clone, Copy, Debug)]
struct Charge {
    /// The limit before the guest set it first.
    start: u64,
    bytes: u64,
}

/// Device memory that a limit stands for, in bytes.
fn cost_bytes(device: &DeviceDescription, limit: u32, value: u64) -> u64 {
    match limit {
        // Each thread that can be resident has a stack.
        STACK_SIZE => {
            let threads = u64::from(device.multiprocessor_count)
                .saturating_mul(device.threads_per_multiprocessor_max.into());
            value.saturating_mul(threads)
        }
        PRINTF_FIFO_SIZE | MALLOC_HEAP_SIZE => value,
        _ => 0,
    }
}

impl Core {
    /// Reads a limit, on a pool thread: a device that sets one may wait for the context's work meanwhile.
    pub(super) fn ctx_get_limit(
        &self,
        body: &body::CtxGetLimit,
        reply: ReplyTo,
        jobs: &mut Vec<Job>,
    ) -> Result<(), Violation> {
        if body.reserved.get() != 0 {
            return Err(Violation::ReservedBits);
        }
        let limit = body.limit.get();
        match self.context(body.context.get())? {
            Ok(entry) => {
                let device = entry.device.clone();
                jobs.push(Job::answering(&self.session, reply, move |_session| {
                    device.limit(limit).map(one).map_err(|error| error.status)
                }));
            }
            Err(status) => self.words().answer(reply, status, Values::default()),
        }
        Ok(())
    }

    pub(super) fn ctx_set_limit(
        &mut self,
        body: &body::CtxSetLimit,
        reply: ReplyTo,
        jobs: &mut Vec<Job>,
    ) -> Result<(), Violation> {
        if body.reserved.get() != 0 {
            return Err(Violation::ReservedBits);
        }
        let context = body.context.get();
        let (limit, value) = (body.limit.get(), body.value.get());
        let device = match self.context(context)? {
            Ok(entry) => entry.device.clone(),
            Err(status) => {
                self.words().answer(reply, status, Values::default());
                return Ok(());
            }
        };
        let job =
            Job::answering(&self.session, reply, move |session| set(session, &device, limit, value).map(one));
        self.after_context(ContextId::from_raw(context).index(), job, jobs);
        Ok(())
    }

    pub(super) fn ctx_reset_persisting_l2(
        &mut self,
        body: &body::CtxResetPersistingL2,
        reply: ReplyTo,
        jobs: &mut Vec<Job>,
    ) -> Result<(), Violation> {
        let context = body.context.get();
        let device = match self.context(context)? {
            Ok(entry) => entry.device.clone(),
            Err(status) => {
                self.words().answer(reply, status, Values::default());
                return Ok(());
            }
        };
        let job = Job::answering(&self.session, reply, move |_session| {
            device.reset_persisting_l2().map(|()| Values::default()).map_err(|error| error.status)
        });
        self.after_context(ContextId::from_raw(context).index(), job, jobs);
        Ok(())
    }
}

fn set(session: &Arc<Session>, device: &Arc<dyn Context>, limit: u32, value: u64) -> Result<u64, Status> {
    match limit {
        STACK_SIZE
        | PRINTF_FIFO_SIZE
        | MALLOC_HEAP_SIZE
        | MAX_L2_FETCH_GRANULARITY
        | PERSISTING_L2_CACHE_SIZE => {}
        // What the device runtime's limits take cannot be told from outside, so it could not be charged.
        _ => return Err(Status::ERROR_UNSUPPORTED_LIMIT),
    }
    let charges = &session.limits_charged;
    let _turn = charges.turn.lock();
    let context = Owner::of(device);
    let key = (context, limit);
    let known = charges.charges.lock().get(&key).copied();
    let had = match known {
        Some(charge) => charge,
        None => Charge { start: device.limit(limit).map_err(|error| error.status)?, bytes: 0 },
    };
    let description = session.device.description();
    let start_bytes = cost_bytes(description, limit, had.start);
    let bytes = cost_bytes(description, limit, value).saturating_sub(start_bytes);
    if bytes > had.bytes {
        session.ledger.take(CreditKind::Device, bytes - had.bytes)?;
    }
    let set = device.set_limit(limit, value);
    let kept = if set.is_ok() { bytes } else { had.bytes };
    session.ledger.give(CreditKind::Device, bytes.max(had.bytes) - kept);
    // Under the lock: a context that goes meanwhile is forgotten after this.
    let allocations = session.allocations.lock();
    if allocations.has_context(context) {
        charges.charges.lock().insert(key, Charge { bytes: kept, ..had });
    }
    drop(allocations);
    set.map_err(|error| error.status)
}
