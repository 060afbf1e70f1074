//! From a frame to what it asks: one arm for each operation of the table.

use std::sync::atomic::Ordering;

use vgpu_proto::body::{self, EVENT_DISABLE_TIMING, STREAM_NON_BLOCKING};
use vgpu_proto::frame::{ReplyTo, Request};
use vgpu_proto::{ContextId, EventId, FrameHeader, Op, Status, StreamId, Violation};

use super::command::{Action, Command, Dependency};
use super::dispatcher::Core;
use super::event::Event;
use super::job::{Done, Job, Values, one};
use super::reader::Frame;
use super::stream::{Kind, Stream};
use crate::device::DeviceError;

impl Core {
    /// Does what a frame asks, or puts it where it waits.
    pub(super) fn route(&mut self, frame: &Frame<'_>, jobs: &mut Vec<Job>) -> Result<(), Violation> {
        let Frame { header, request, payload } = frame;
        self.session.tally.count(request.op());
        if let Some(reply) = header.reply {
            self.words().claim(reply)?;
        }
        // The header's check gave each operation that answers a slot.
        let reply = || header.reply.ok_or(Violation::ReplySlot);
        let stream = StreamId::from_raw(header.stream).index();
        match request {
            Request::Ping(_) => self.ping(reply()?),
            Request::CtxCreate(body) => self.ctx_create(body, reply()?, jobs),
            Request::CtxDestroy(body) => self.ctx_destroy(body, reply()?, jobs),
            Request::CtxSynchronize(body) => self.ctx_synchronize(body, reply()?, jobs),
            Request::CtxGetLimit(body) => self.ctx_get_limit(body, reply()?, jobs),
            Request::CtxSetLimit(body) => self.ctx_set_limit(body, reply()?, jobs),
            Request::CtxResetPersistingL2(body) => self.ctx_reset_persisting_l2(body, reply()?, jobs),
            Request::StreamCreate(body) => self.stream_create(header, body, reply()?, jobs),
            Request::StreamDestroy(_) => self.stream_destroy(header),
            Request::StreamSynchronize(_) => self.enqueue(header, |_, _| Ok(Action::Synchronize)),
            Request::StreamWaitEvent(body) => self.enqueue(header, |core, ctx| core.wait_event(ctx, body)),
            Request::StreamWaitValue32(body) => self.enqueue(header, |_, _| Ok(Self::wait_value(body))),
            Request::StreamWriteValue32(body) => self.enqueue(header, |_, _| Self::write_value(body)),
            Request::StreamWaitValue64(body) => self.enqueue(header, |_, _| Self::wait_value_64(body)),
            Request::StreamWriteValue64(body) => self.enqueue(header, |_, _| Ok(Self::write_value_64(body))),
            Request::EventCreate(body) => self.event_create(header.reply, body),
            Request::EventDestroy(body) => self.event_destroy(header.reply, body),
            Request::EventRecord(body) => self.enqueue(header, |core, ctx| core.record(stream, ctx, body)),
            Request::EventSynchronize(body) => self.event_synchronize(body, reply()?, jobs),
            Request::EventElapsedTime(body) => self.event_elapsed(body, reply()?),
            Request::MemGetInfo(body) => self.mem_get_info(body, reply()?),
            Request::MemAlloc(body) => self.mem_alloc(body, reply()?, jobs),
            Request::MemFree(body) => self.mem_free(body, reply()?, jobs),
            Request::Memcpy(body) => self.enqueue(header, |core, _| Ok(core.memcpy(body))),
            Request::MemcpyFromStaging(body) => {
                self.enqueue(header, |core, _| core.memcpy_from_staging(body))
            }
            Request::MemcpyToStaging(body) => self.enqueue(header, |core, _| core.memcpy_to_staging(body)),
            Request::Memset(body) => self.enqueue(header, |_, _| Ok(Self::memset(body))),
            Request::ModuleLoad(body) => self.module_load(body, payload, reply()?, jobs),
            Request::ModuleLoadKept(body) => self.module_load_kept(body, payload, reply()?, jobs),
            Request::ModuleUnload(body) => self.module_unload(body, reply()?, jobs),
            Request::ModuleGetFunction(body) => self.module_get_function(body, payload, reply()?, jobs),
            Request::ModuleGetGlobal(body) => self.module_get_global(body, payload, reply()?),
            Request::ModuleEnumerateFunctions(body) => self.module_enumerate_functions(body, reply()?, jobs),
            Request::ModuleLink(body) => self.module_link(body, payload, reply()?, jobs),
            Request::FuncSetAttribute(body) => self.func_set_attribute(body, reply()?),
            Request::LaunchKernel(body) => self.enqueue(header, |core, ctx| core.launch(ctx, body, payload)),
            Request::AddressReserve(_)
            | Request::AddressFree(_)
            | Request::MemoryCreate(_)
            | Request::MemoryRelease(_)
            | Request::MemoryMap(_)
            | Request::MemoryUnmap(_)
            | Request::MemorySetAccess(_) => self.vmm(request, reply()?, jobs),
            Request::GraphInstantiate(body) => self.graph_instantiate(body, reply()?, jobs),
            Request::GraphUpdate(body) => self.graph_update(body, reply()?, jobs),
            Request::GraphDestroy(body) => self.graph_destroy(body, reply()?, jobs),
            Request::GraphLaunch(body) => {
                self.enqueue(header, |core, ctx| core.graph_launch(stream, ctx, body))
            }
            Request::GraphUpload(body) => self.enqueue(header, |core, ctx| core.graph_upload(ctx, body)),
            Request::Occupancy(body) => self.occupancy(body, payload, reply()?),
            Request::TensorMapEncode(body) => self.tensor_map_encode(body, reply()?),
            Request::TensorMapReplaceAddress(body) => self.tensor_map_replace(body, payload, reply()?),
            Request::StreamQuery(_)
            | Request::EventQuery(_)
            | Request::PointerGetAttribute(_)
            | Request::FuncGetAttribute(_) => Err(Violation::LocalOperation),
        }
    }

    fn ping(&self, reply: ReplyTo) -> Result<(), Violation> {
        self.words().answer(reply, Status::SUCCESS, Values::default());
        Ok(())
    }

    /// Puts a command into its stream's queue. `action` says what it does, given the stream's context.
    fn enqueue(
        &mut self,
        header: &FrameHeader,
        action: impl FnOnce(&mut Self, u32) -> Result<Action, Violation>,
    ) -> Result<(), Violation> {
        let id = StreamId::from_raw(header.stream);
        let live = self.streams.get(id.index(), id.generation())?.copied();
        self.lanes.get(id.index()).admit(header.length_bytes)?;
        let (mut action, mut after) = match live {
            Ok(context) => (action(self, context)?, self.legacy_rule(id.index(), context)),
            Err(status) => (Action::Finished(status), Vec::new()),
        };
        if let Action::Wait(version) = &action
            && !version.is_submitted()
        {
            after.push(Dependency::Recorded(version.clone()));
        }
        if let Action::Graph(launch) = &mut action {
            after.append(&mut launch.after);
        }
        let (frame_bytes, reply) = (header.length_bytes, header.reply);
        let leased = self.gate.is_some()
            && header.op.is_some_and(Op::needs_lease)
            && !matches!(action, Action::Finished(_));
        let unit = leased.then(|| action.unit());
        let copies = matches!(header.op, Some(Op::Memcpy | Op::MemcpyFromStaging | Op::MemcpyToStaging));
        self.push(id.index(), Command { frame_bytes, reply, after, action, unit, copies });
        Ok(())
    }

    /// What the legacy stream's rule makes a new command of a slot wait for: on the legacy stream, what blocking
    /// streams of its context hold; on a blocking stream, what the legacy stream holds.
    fn legacy_rule(&mut self, index: u32, context: u32) -> Vec<Dependency> {
        match self.lanes.get(index).stream.as_ref().map(|stream| stream.kind) {
            Some(Kind::Legacy) => self.held_of(context, |kind| kind == Kind::Blocking),
            Some(Kind::Blocking) => self.held_of(context, |kind| kind == Kind::Legacy),
            Some(Kind::NonBlocking) | None => Vec::new(),
        }
    }

    /// Takes a stream's slot.
    pub(super) fn claim_stream(&mut self, id: StreamId) -> Result<(), Violation> {
        self.streams.claim(id.index(), id.generation())?;
        match self.lanes.get(id.index()).stream {
            // A name may be used again only when its stream's destruction has come back complete.
            Some(_) => Err(Violation::HandleInUse),
            None => Ok(()),
        }
    }

    fn stream_create(
        &mut self,
        header: &FrameHeader,
        body: &body::StreamCreate,
        reply: ReplyTo,
        jobs: &mut Vec<Job>,
    ) -> Result<(), Violation> {
        let id = StreamId::from_raw(header.stream);
        if body.flags.get() & !STREAM_NON_BLOCKING != 0 {
            return Err(Violation::ReservedBits);
        }
        let blocking = body.flags.get() & STREAM_NON_BLOCKING == 0;
        let context = ContextId::from_raw(body.context.get()).index();
        let device = match self.context(body.context.get())? {
            Ok(entry) => entry.device.clone(),
            Err(status) => {
                self.words().answer(reply, status, Values::default());
                return Ok(());
            }
        };
        self.claim_stream(id)?;
        let priority = body.priority.get();
        jobs.push(Job::changing(&self.session, &self.done, move |_session| {
            let made = device.stream_create(blocking, priority);
            let kind = if blocking { Kind::Blocking } else { Kind::NonBlocking };
            Box::new(move |core: &mut Self| {
                core.stream_created(id, made.map(|key| Stream { context, device, key, kind }), reply);
            }) as Done
        }));
        Ok(())
    }

    fn stream_created(&mut self, id: StreamId, made: Result<Stream, DeviceError>, reply: ReplyTo) {
        let status = match made {
            Ok(stream) if !self.is_current(stream.context, &stream.device) => {
                stream.device.stream_destroy(stream.key);
                self.streams.fill(id.index(), None);
                Status::ERROR_INVALID_CONTEXT
            }
            Ok(stream) => {
                self.streams.fill(id.index(), Some(stream.context));
                self.takes_slot(id.index());
                self.lanes.get(id.index()).stream = Some(stream);
                self.session.tally.streams.fetch_add(1, Ordering::Relaxed);
                Status::SUCCESS
            }
            Err(error) => {
                self.streams.fill(id.index(), None);
                error.status
            }
        };
        self.words().answer(reply, status, Values::default());
    }

    fn stream_destroy(&mut self, header: &FrameHeader) -> Result<(), Violation> {
        let id = StreamId::from_raw(header.stream);
        let live = self.streams.get(id.index(), id.generation())?.is_ok();
        let kind = self.lanes.get(id.index()).stream.as_ref().map(|stream| stream.kind);
        // The legacy stream goes with its context only.
        let action = if kind == Some(Kind::Legacy) {
            Action::Finished(Status::ERROR_INVALID_HANDLE)
        } else {
            Action::Destroy
        };
        let destroys = live && matches!(action, Action::Destroy);
        self.enqueue(header, |_, _| Ok(action))?;
        if destroys {
            // From here on the name is dead, even while the destruction waits its turn.
            let _ = self.streams.remove(id.index(), id.generation())?;
        }
        Ok(())
    }

    fn event_create(&mut self, reply: Option<ReplyTo>, body: &body::EventCreate) -> Result<(), Violation> {
        let id = EventId::from_raw(body.event.get());
        let known = body::EVENT_BLOCKING_SYNC | EVENT_DISABLE_TIMING;
        if body.reserved.get() != 0 || body.flags.get() & !known != 0 {
            return Err(Violation::ReservedBits);
        }
        let context = ContextId::from_raw(body.context.get()).index();
        let status = match self.context(body.context.get())? {
            Ok(_) => {
                self.events.claim(id.index(), id.generation())?;
                let timing = body.flags.get() & EVENT_DISABLE_TIMING == 0;
                self.events.fill(id.index(), Some(Event { context, timing, latest: None }));
                Status::SUCCESS
            }
            Err(status) => status,
        };
        self.tell(reply, status);
        Ok(())
    }

    fn event_destroy(&mut self, reply: Option<ReplyTo>, body: &body::EventDestroy) -> Result<(), Violation> {
        let id = EventId::from_raw(body.event.get());
        let removed = self.events.remove(id.index(), id.generation())?;
        self.tell(reply, removed.err().unwrap_or(Status::SUCCESS));
        Ok(())
    }

    fn tell(&self, reply: Option<ReplyTo>, status: Status) {
        match reply {
            Some(reply) => self.words().answer(reply, status, Values::default()),
            None if status.is_success() => {}
            None => self.words().defer(status),
        }
    }

    fn record(&mut self, stream: u32, context: u32, body: &body::EventRecord) -> Result<Action, Violation> {
        let id = EventId::from_raw(body.event.get());
        let device = self.lanes.get(stream).stream.as_ref().map(|stream| stream.device.clone());
        Ok(match (self.events.get_mut(id.index(), id.generation())?, device) {
            (Ok(event), Some(device)) if event.context == context => match event.record(&device) {
                Ok(version) => Action::Record(version),
                Err(error) => Action::Finished(error.status),
            },
            _ => Action::Finished(Status::ERROR_INVALID_HANDLE),
        })
    }

    fn wait_event(&mut self, context: u32, body: &body::StreamWaitEvent) -> Result<Action, Violation> {
        let id = EventId::from_raw(body.event.get());
        Ok(match self.events.get(id.index(), id.generation())? {
            // Events of another context are not waited for yet; nothing may pretend that they were.
            Ok(event) if event.context != context => Action::Finished(Status::ERROR_NOT_SUPPORTED),
            Ok(Event { latest: Some(version), .. }) => Action::Wait(version.clone()),
            Ok(Event { latest: None, .. }) => Action::Finished(Status::SUCCESS),
            Err(status) => Action::Finished(status),
        })
    }

    fn event_synchronize(
        &mut self,
        body: &body::EventSynchronize,
        reply: ReplyTo,
        jobs: &mut Vec<Job>,
    ) -> Result<(), Violation> {
        let id = EventId::from_raw(body.event.get());
        let version = match self.events.get(id.index(), id.generation())? {
            Ok(Event { latest: Some(version), .. }) => version.clone(),
            Ok(Event { latest: None, .. }) => {
                self.words().answer(reply, Status::SUCCESS, Values::default());
                return Ok(());
            }
            Err(status) => {
                self.words().answer(reply, status, Values::default());
                return Ok(());
            }
        };
        let after = vec![Dependency::Recorded(version.clone())];
        let job = Job::answering(&self.session, reply, move |_session| {
            match version.context.event_synchronize(version.key) {
                Ok(()) => Ok(Values::default()),
                Err(error) => Err(error.status),
            }
        });
        self.after(after, job, jobs);
        Ok(())
    }

    fn event_elapsed(&self, body: &body::EventElapsedTime, reply: ReplyTo) -> Result<(), Violation> {
        let mut versions = Vec::with_capacity(2);
        for raw in [body.start.get(), body.end.get()] {
            let id = EventId::from_raw(raw);
            versions.push(
                self.events
                    .get(id.index(), id.generation())?
                    .and_then(|event| event.latest.clone().ok_or(Status::ERROR_INVALID_HANDLE)),
            );
        }
        let elapsed = match &versions[..] {
            [Ok(start), Ok(end)] if !start.is_submitted() || !end.is_submitted() => {
                Err(Status::ERROR_NOT_READY)
            }
            [Ok(start), Ok(end)] => {
                start.context.event_elapsed_ns(start.key, end.key).map_err(|error| error.status)
            }
            [Err(status), _] | [_, Err(status)] => Err(*status),
            _ => Err(Status::ERROR_INVALID_HANDLE),
        };
        match elapsed {
            Ok(ns) => self.words().answer(reply, Status::SUCCESS, one(ns.cast_unsigned())),
            Err(status) => self.words().answer(reply, status, Values::default()),
        }
        Ok(())
    }
}
