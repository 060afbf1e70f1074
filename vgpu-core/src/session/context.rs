//! Contexts of a session, and what the device tells of them.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use vgpu_proto::body;
use vgpu_proto::control::OutputStream;
use vgpu_proto::frame::ReplyTo;
use vgpu_proto::{ContextId, Status, StreamId, Violation};

use super::CreditKind;
use super::dispatcher::Core;
use super::job::{Done, Job, Values};
use super::memory::Owner;
use super::state::Session;
use super::stream::{Kind, Stream};
use crate::device::{Context, DeviceError, DeviceEvents};

/// A live context.
#[derive(Debug)]
pub(super) struct ContextEntry {
    pub(super) device: Arc<dyn Context>,
    /// What it takes of the card by itself, in bytes.
    own_bytes: u64,
    /// Its destruction is under way.
    dying: bool,
}

/// Hears of a context's faults.
#[derive(Debug)]
struct Events {
    session: Arc<Session>,
    context: u32,
}

impl DeviceEvents for Events {
    fn fault(&self, error: &DeviceError) {
        // First, so that the host knows of a fault before its guest does, and the guest cannot be faster.
        self.session.sink.fault(error);
        self.session.words.stick(self.context, error.status);
        self.session.tally.faults.fetch_add(1, Ordering::AcqRel);
        self.session.wake();
    }

    fn failed(&self, error: &DeviceError) {
        self.session.words.defer(error.status);
    }

    fn output(&self, stream: OutputStream, bytes: &[u8]) {
        self.session.sink.output(stream, bytes);
    }

    fn flush(&self) {
        self.session.sink.flush();
    }

    fn progress(&self) {
        self.session.wake();
    }
}

impl Core {
    /// The live context of that name.
    pub(super) fn context(&self, raw: u64) -> Result<Result<&ContextEntry, Status>, Violation> {
        let id = ContextId::from_raw(raw);
        Ok(match self.contexts.get(id.index(), id.generation())? {
            Ok(entry) if !entry.dying => Ok(entry),
            _ => Err(Status::ERROR_INVALID_CONTEXT),
        })
    }

    /// Whether that slot still holds the context of `device`: a hostile guest may destroy one while it makes an object
    /// of it.
    pub(super) fn is_current(&self, index: u32, device: &Arc<dyn Context>) -> bool {
        self.contexts.at(index).is_some_and(|entry| !entry.dying && Arc::ptr_eq(&entry.device, device))
    }

    pub(super) fn ctx_create(
        &mut self,
        body: &body::CtxCreate,
        reply: ReplyTo,
        jobs: &mut Vec<Job>,
    ) -> Result<(), Violation> {
        let id = ContextId::from_raw(body.context.get());
        let stream = StreamId::from_raw(body.legacy_stream.get());
        if body.reserved.get() != 0 {
            return Err(Violation::ReservedBits);
        }
        let own_bytes =
            if self.contexts.is_empty() { 0 } else { self.session.device.further_context_bytes() };
        self.contexts.claim(id.index(), id.generation())?;
        self.claim_stream(stream)?;
        self.words().unstick(id.index());
        let flags = body.flags.get();
        jobs.push(Job::changing(&self.session, &self.done, move |session| {
            let events = Arc::new(Events { session: session.clone(), context: id.index() });
            let made = create(session, flags, events, own_bytes);
            let made = made.map(|device| ContextEntry { device, own_bytes, dying: false });
            Box::new(move |core: &mut Self| core.ctx_created(id, stream, made, reply)) as Done
        }));
        Ok(())
    }

    fn ctx_created(
        &mut self,
        id: ContextId,
        stream: StreamId,
        made: Result<ContextEntry, DeviceError>,
        reply: ReplyTo,
    ) {
        let status = match made {
            Ok(entry) => {
                let device = &entry.device;
                let key = device.legacy_stream();
                let legacy = Stream { context: id.index(), device: device.clone(), key, kind: Kind::Legacy };
                self.takes_slot(stream.index());
                self.lanes.get(stream.index()).stream = Some(legacy);
                self.streams.fill(stream.index(), Some(id.index()));
                self.session.allocations.lock().add_context(Owner::of(device));
                self.contexts.fill(id.index(), Some(entry));
                self.session.tally.contexts.fetch_add(1, Ordering::Relaxed);
                self.session.tally.streams.fetch_add(1, Ordering::Relaxed);
                Status::SUCCESS
            }
            Err(error) => {
                self.streams.fill(stream.index(), None);
                self.contexts.fill(id.index(), None);
                error.status
            }
        };
        self.words().answer(reply, status, Values::default());
    }

    pub(super) fn ctx_destroy(
        &mut self,
        body: &body::CtxDestroy,
        reply: ReplyTo,
        jobs: &mut Vec<Job>,
    ) -> Result<(), Violation> {
        let id = ContextId::from_raw(body.context.get());
        let device = match self.contexts.get_mut(id.index(), id.generation())? {
            Ok(entry) if !entry.dying => {
                entry.dying = true;
                entry.device.clone()
            }
            _ => {
                self.words().answer(reply, Status::ERROR_INVALID_CONTEXT, Values::default());
                return Ok(());
            }
        };
        // New commands find no names any more; those that are held go first.
        let index = id.index();
        self.streams.remove_all(|context| *context == index);
        self.functions.remove_all(|function| function.context == index);
        let job = Job::changing(&self.session, &self.done, move |_session| {
            // A poisoned context is destroyed like any other, so its error is no answer here.
            let _ = device.synchronize();
            drop(device);
            Box::new(move |core: &mut Self| core.ctx_destroyed(id, reply)) as Done
        });
        self.after_context(index, job, jobs);
        Ok(())
    }

    fn ctx_destroyed(&mut self, id: ContextId, reply: ReplyTo) {
        let index = id.index();
        let streams = self.lanes.drop_context(index);
        self.events.remove_all(|event| event.context == index);
        let graphs = self.leave_graphs(index);
        let modules: u64 = self
            .modules
            .iter()
            .filter(|module| module.context == index)
            .map(|module| module.memory_bytes)
            .sum();
        self.modules.remove_all(|module| module.context == index);
        let Ok(Ok(ContextEntry { device, own_bytes, .. })) = self.contexts.remove(index, id.generation())
        else {
            return;
        };
        let owner = Owner::of(&device);
        let memory = self.session.allocations.lock().remove_context(owner);
        self.session.limits_charged.forget(owner);
        // The last holder of the device's context goes here, unless a call of the guest's still has it; nothing of it
        // runs, so this does not block.
        self.session.leave(device, own_bytes + modules + memory + graphs);
        // A mark may have come after the wait for the context's work; it went with the device's stream.
        for slot in &streams {
            self.lanes.get(*slot).complete();
        }
        self.session.tally.contexts.fetch_sub(1, Ordering::Relaxed);
        self.session.tally.streams.fetch_sub(streams.len() as u64, Ordering::Relaxed);
        self.words().answer(reply, Status::SUCCESS, Values::default());
    }

    pub(super) fn ctx_synchronize(
        &mut self,
        body: &body::CtxSynchronize,
        reply: ReplyTo,
        jobs: &mut Vec<Job>,
    ) -> Result<(), Violation> {
        let index = ContextId::from_raw(body.context.get()).index();
        let device = match self.context(body.context.get())? {
            Ok(entry) => entry.device.clone(),
            Err(status) => {
                self.words().answer(reply, status, Values::default());
                return Ok(());
            }
        };
        let job = Job::answering(&self.session, reply, move |_session| match device.synchronize() {
            Ok(()) => Ok(Values::default()),
            Err(error) => Err(error.status),
        });
        self.after_context(index, job, jobs);
        Ok(())
    }
}

/// Makes a context that takes `own_bytes` of the card by itself, for which it pays first.
fn create(
    session: &Session,
    flags: u32,
    events: Arc<Events>,
    own_bytes: u64,
) -> Result<Arc<dyn Context>, DeviceError> {
    session.ledger.take(CreditKind::Device, own_bytes).map_err(|status| {
        DeviceError::new(status, "another context does not fit into the tenant's memory quota")
    })?;
    let made = session.device.context_create(flags, events);
    made.inspect_err(|_| session.ledger.give(CreditKind::Device, own_bytes))
}
