//! A context of the GPU.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use parking_lot::{Mutex, MutexGuard};
use vgpu_proto::Status;
use vgpu_proto::control::FunctionDescription;
use vgpu_proto::graph::UpdateResult;
use vgpu_proto::jit::{JitOption, LinkInput};

use super::device::{Card, Recorded, Room};
use super::driver::{Event, Handle, Stream};
use super::fault::Fault;
use super::function::Kernel;
use super::graph::Graph;
use super::image;
use super::limits::ChangedLimits;
use super::module::{Modules, next_key};
use super::order::Kind;
use super::placement::Placement;
use super::printing::Printing;
use super::queue::Queue;
use super::stack::Stack;
use super::streams::Streams;
use super::wait;
use super::watch::{self, Watch};
use crate::device::{
    Context, DeviceError, DeviceEvents, EventKey, FunctionKey, GraphKey, GraphPlan, LinkedImage,
    LoadedModule, ModuleKey, Occupancy, Payer, StreamKey, TENSOR_MAP_BYTES, TensorMap, Work,
};

/// See [`super::CudaDevice`].
pub(super) struct CudaContext {
    shared: Arc<Shared>,
}

/// What the context shares with its watcher.
pub(super) struct Shared {
    card: Arc<Card>,
    number: u64,
    handle: Arc<Handle>,
    stack: Arc<Stack>,
    events: Arc<dyn DeviceEvents>,
    legacy: StreamKey,
    /// Never has work: asked whether the context is still good.
    own_stream: Stream,
    streams: Mutex<Streams>,
    watch: Watch,
    fault: Fault,
    modules: Modules,
    /// Before the modules, whose kernels they keep.
    graphs: Mutex<HashMap<GraphKey, Arc<Graph>>>,
    placement: Mutex<Placement>,
    printing: Printing,
    changed_limits: ChangedLimits,
    released: AtomicBool,
}

impl CudaContext {
    pub(super) fn new(card: &Arc<Card>, events: Arc<dyn DeviceEvents>) -> Result<Arc<Self>, DeviceError> {
        let Room { handle, stack } = card.take_room()?;
        let made = Self::in_room(card, &handle, stack, events);
        if made.is_err() {
            card.return_room(&handle);
        }
        made
    }

    fn in_room(
        card: &Arc<Card>,
        handle: &Arc<Handle>,
        stack: Arc<Stack>,
        events: Arc<dyn DeviceEvents>,
    ) -> Result<Arc<Self>, DeviceError> {
        let legacy = StreamKey(next_key());
        let mut streams = Streams::default();
        streams.add(legacy, Kind::Legacy, Queue::new(Stream::legacy(handle), card.counters().take()?));
        let shared = Arc::new(Shared {
            card: Arc::clone(card),
            number: next_key(),
            handle: Arc::clone(handle),
            stack,
            events,
            legacy,
            own_stream: Stream::new(handle, false, 0)?,
            streams: Mutex::new(streams),
            watch: Watch::default(),
            fault: Fault::default(),
            modules: Modules::default(),
            graphs: Mutex::default(),
            placement: Mutex::default(),
            printing: Printing::default(),
            changed_limits: ChangedLimits::default(),
            released: AtomicBool::new(false),
        });
        let watcher = Arc::clone(&shared);
        let thread = thread::Builder::new().name("vgpu-watch".to_owned());
        thread.spawn(move || watch::run(watcher)).map_err(|error| {
            DeviceError::new(Status::ERROR_OUT_OF_MEMORY, format!("no thread for a context: {error}"))
        })?;
        Ok(Arc::new(Self { shared }))
    }
}

impl Shared {
    pub(super) fn card(&self) -> &Card {
        &self.card
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn handle(&self) -> &Arc<Handle> {
        &self.handle
    }

    pub(super) fn stack(&self) -> &Stack {
        &self.stack
    }

    pub(super) fn changed_limits(&self) -> &ChangedLimits {
        &self.changed_limits
    }

    pub(super) fn own_stream(&self) -> &Stream {
        &self.own_stream
    }

    pub(super) fn events(&self) -> &dyn DeviceEvents {
        self.events.as_ref()
    }

    pub(super) fn printing(&self) -> &Printing {
        &self.printing
    }

    pub(super) fn watch(&self) -> &Watch {
        &self.watch
    }

    pub(super) fn fault(&self) -> &Fault {
        &self.fault
    }

    pub(super) fn graphs(&self) -> &Mutex<HashMap<GraphKey, Arc<Graph>>> {
        &self.graphs
    }

    pub(super) fn placement(&self) -> &Mutex<Placement> {
        &self.placement
    }

    pub(super) fn streams(&self) -> MutexGuard<'_, Streams> {
        self.streams.lock()
    }

    pub(super) fn kernel(&self, key: FunctionKey) -> Result<Arc<Kernel>, DeviceError> {
        self.modules.kernel(key)
    }

    /// Passes a result on; keeps an error that sticks, and answers that one from then on.
    pub(super) fn judge<T>(&self, result: Result<T, DeviceError>) -> Result<T, DeviceError> {
        result.map_err(|error| self.judged(error, &self.streams.lock()))
    }

    pub(super) fn judged(&self, error: DeviceError, streams: &MutexGuard<'_, Streams>) -> DeviceError {
        if self.fault.note(&error, || streams.running_kernels()) {
            self.watch.poke();
        }
        match self.fault.get() {
            Some(fault) if fault.status == error.status => fault.clone(),
            _ => error,
        }
    }

    /// Waits for all work submitted so far, and until its marks are told.
    ///
    /// # Errors
    /// The sticky error.
    pub(super) fn wait_for_all(&self) -> Result<(), DeviceError> {
        let targets = self.targets()?;
        let mut rest = targets.iter().peekable();
        let waited = wait::until(|| {
            while let Some((queue, count)) = rest.peek() {
                if let Err(error) = self.fault.check() {
                    return Some(Err(error));
                }
                if queue.reached(*count) {
                    rest.next();
                } else {
                    return self.judge(queue.stream().is_idle()).err().map(Err);
                }
            }
            Some(Ok(()))
        });
        self.watch.settle();
        waited?;
        self.flush_if_printing();
        self.probe();
        self.fault.check()
    }

    /// Every stream with its count of commands.
    fn targets(&self) -> Result<Vec<(Arc<Queue>, u64)>, DeviceError> {
        self.fault.check()?;
        let mut streams = self.streams.lock();
        let keys: Vec<StreamKey> = streams.lanes.keys().copied().collect();
        for key in keys {
            let written = streams.write_due(key);
            written.map_err(|error| self.judged(error, &streams))?;
        }
        streams.leaving.retain(|queue| !queue.is_complete());
        let queues = streams.lanes.values().map(|lane| &lane.queue).chain(&streams.leaving);
        Ok(queues.map(|queue| (Arc::clone(queue), queue.submitted())).collect())
    }

    /// Asks the driver whether the context is still good.
    pub(super) fn probe(&self) {
        let _ = self.judge(self.own_stream().is_idle());
    }

    /// Whether nothing runs.
    pub(super) fn is_complete(&self) -> bool {
        let streams = self.streams.lock();
        let mut queues = streams.lanes.values().map(|lane| &lane.queue).chain(&streams.leaving);
        queues.all(|queue| queue.is_complete())
    }

    /// Gives everything back, once. Called when nothing runs.
    pub(super) fn release(&self) {
        if self.released.swap(true, Ordering::AcqRel) {
            return;
        }
        let streams = std::mem::take(&mut *self.streams.lock());
        drop(streams);
        self.card.remove_events(self.number);
        self.card.space().remove_all(self.number);
        let graphs = std::mem::take(&mut *self.graphs.lock());
        drop(graphs);
        self.modules.remove_all();
        let chunks = self.placement.lock().free_all();
        chunks.into_iter().for_each(|chunk| self.card.arena().give(chunk));
        if self.fault.get().is_none() {
            self.restore_limits();
            self.card.return_room(&self.handle);
        }
    }
}

impl Context for CudaContext {
    fn legacy_stream(&self) -> StreamKey {
        self.shared.legacy
    }

    fn stream_create(&self, blocking: bool, priority: i32) -> Result<StreamKey, DeviceError> {
        let shared = &self.shared;
        shared.fault.check()?;
        let stream = shared.judge(Stream::new(shared.handle(), blocking, priority))?;
        let queue = Queue::new(stream, shared.card.counters().take()?);
        let key = StreamKey(next_key());
        let kind = if blocking { Kind::Blocking } else { Kind::NonBlocking };
        shared.streams.lock().add(key, kind, queue);
        Ok(key)
    }

    fn stream_destroy(&self, stream: StreamKey) {
        if stream == self.shared.legacy {
            return;
        }
        let mut streams = self.shared.streams.lock();
        // A write that fails met a fault, which whoever asks next finds too.
        let _ = streams.write_due(stream);
        streams.order.remove(stream);
        if let Some(lane) = streams.lanes.remove(&stream) {
            streams.leaving.retain(|queue| !queue.is_complete());
            streams.leaving.push(lane.queue);
        }
    }

    fn stream_pending(&self, stream: StreamKey) -> u32 {
        if self.shared.fault.get().is_some() {
            return 0;
        }
        // No write is added here: a caller that asks before each command would fill the driver's queue with writes.
        let Ok(queue) = self.shared.streams.lock().queue(stream) else { return 0 };
        let pending = queue.pending();
        if pending > 0 {
            // What is too much is for the caller to say, who may have asked because of what the commands hold.
            self.shared.watch.ask(&queue, pending / 2);
        }
        pending
    }

    fn submit(&self, stream: StreamKey, work: Work) -> Result<(), DeviceError> {
        if let Work::Mark(mark, value) = work {
            return self.shared.mark(stream, mark, value);
        }
        self.shared.fault.check()?;
        // What is found in the session's memory is there until the driver has the work.
        let _held = self.shared.card.space().hold();
        let work = self.shared.check_work(work)?;
        self.shared.submit(stream, &work)
    }

    fn synchronize(&self) -> Result<(), DeviceError> {
        self.shared.wait_for_all()
    }

    fn event_create(&self, timing: bool) -> Result<EventKey, DeviceError> {
        let shared = &self.shared;
        shared.fault.check()?;
        let event = shared.judge(Event::new(&shared.handle, timing))?;
        let key = EventKey(next_key());
        shared.card.add_event(key, Recorded::new(event, shared.number, timing));
        Ok(key)
    }

    fn event_destroy(&self, event: EventKey) {
        self.shared.card.remove_event(event, self.shared.number);
    }

    fn event_synchronize(&self, event: EventKey) -> Result<(), DeviceError> {
        let shared = &self.shared;
        let event = shared.card.event(event)?;
        let waited = wait::until(|| {
            if let Err(error) = shared.fault.check() {
                return Some(Err(error));
            }
            match shared.judge(event.event().is_complete()) {
                Ok(true) => Some(Ok(())),
                Ok(false) => None,
                Err(error) => Some(Err(error)),
            }
        });
        shared.watch.settle();
        shared.flush_if_printing();
        waited
    }

    fn event_elapsed_ns(&self, start: EventKey, end: EventKey) -> Result<i64, DeviceError> {
        let shared = &self.shared;
        let (start, end) = (shared.card.event(start)?, shared.card.event(end)?);
        start.check_timed()?;
        end.check_timed()?;
        let elapsed_ms = shared.judge(end.event().elapsed_ms(start.event()))?;
        Ok((f64::from(elapsed_ms) * 1e6).round() as i64)
    }

    fn memory_cost(&self, bytes: u64) -> Option<u64> {
        Placement::cost(bytes)
    }

    fn memory_taken(&self) -> u64 {
        self.shared.placement.lock().taken_bytes()
    }

    fn memory_alloc(&self, bytes: u64) -> Result<u64, DeviceError> {
        self.shared.alloc(bytes)
    }

    fn memory_free(&self, address: u64) -> Result<(), DeviceError> {
        self.shared.free(address)
    }

    fn module_load(&self, image: &[u8], options: &[JitOption]) -> Result<LoadedModule, DeviceError> {
        let shared = &self.shared;
        shared.fault.check()?;
        let code = shared.judge(image::prepare(&shared.handle, image, options))?;
        shared.printing.learn(&code.needs.printers);
        let (module, functions) = shared.judge(shared.modules.load(&shared.handle, &code))?;
        Ok(LoadedModule { module, functions, memory_bytes: code.needs.memory_bytes, report: code.report })
    }

    fn module_functions(&self, module: ModuleKey) -> Result<Vec<String>, DeviceError> {
        self.shared.judge(self.shared.modules.functions(module))
    }

    fn module_function(
        &self,
        module: ModuleKey,
        name: &str,
        payer: &dyn Payer,
    ) -> Result<(FunctionKey, FunctionDescription), DeviceError> {
        let shared = &self.shared;
        shared.fault.check()?;
        shared.judge(shared.modules.function(module, name, &shared.local_memory(payer)))
    }

    fn module_link(
        &self,
        inputs: &[LinkInput<'_>],
        options: &[JitOption],
    ) -> Result<LinkedImage, DeviceError> {
        let shared = &self.shared;
        shared.fault.check()?;
        shared.judge(image::link_inputs(&shared.handle, inputs, options))
    }

    fn module_unload(&self, module: ModuleKey) {
        let Some(loaded) = self.shared.modules.remove(module) else { return };
        for address in loaded.globals() {
            self.shared.card.space().remove(*address);
        }
        // After a fault there is nothing to wait for.
        let _ = self.shared.wait_for_all();
        drop(loaded);
    }

    fn module_global(&self, module: ModuleKey, name: &str) -> Result<(u64, u64), DeviceError> {
        let shared = &self.shared;
        let (address, bytes, is_new) = shared.judge(shared.modules.global(module, name))?;
        if is_new {
            shared.add_variable(address, bytes)?;
        }
        Ok((address, bytes))
    }

    fn function_set_attribute(
        &self,
        function: FunctionKey,
        attribute: u32,
        value: i32,
    ) -> Result<(), DeviceError> {
        let kernel = self.shared.kernel(function)?;
        self.shared.judge(kernel.set_attribute(attribute, value))
    }

    fn graph_instantiate(&self, plan: GraphPlan, flags: u32) -> Result<GraphKey, DeviceError> {
        self.shared.graph_instantiate(&plan, flags)
    }

    fn graph_update(&self, graph: GraphKey, plan: GraphPlan) -> Result<UpdateResult, DeviceError> {
        self.shared.graph_update(graph, &plan)
    }

    fn graph_destroy(&self, graph: GraphKey) {
        let removed = self.shared.graphs.lock().remove(&graph);
        drop(removed);
    }

    fn occupancy(&self, function: FunctionKey, query: &Occupancy) -> Result<u64, DeviceError> {
        let kernel = self.shared.kernel(function)?;
        self.shared.judge(kernel.occupancy(query))
    }

    fn limit(&self, limit: u32) -> Result<u64, DeviceError> {
        self.shared.limit(limit)
    }

    fn set_limit(&self, limit: u32, value: u64) -> Result<u64, DeviceError> {
        self.shared.fault.check()?;
        self.shared.set_limit(limit, value)
    }

    fn reset_persisting_l2(&self) -> Result<(), DeviceError> {
        self.shared.judge(self.shared.handle.reset_persisting_l2())
    }

    fn tensor_map(&self, map: &TensorMap) -> Result<[u8; TENSOR_MAP_BYTES], DeviceError> {
        self.shared.handle.tensor_map(map)
    }

    fn sticky_error(&self) -> Option<DeviceError> {
        self.shared.fault.get().cloned()
    }
}

impl Drop for CudaContext {
    /// Frees at once if nothing runs; otherwise the watcher does when the work ends.
    fn drop(&mut self) {
        let shared = &self.shared;
        let idle = shared.targets().is_err() || shared.is_complete();
        if idle {
            shared.watch.settle();
            shared.release();
        }
        shared.watch.close();
    }
}

impl fmt::Debug for CudaContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CudaContext").field("number", &self.shared.number).finish_non_exhaustive()
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("number", &self.number).finish_non_exhaustive()
    }
}
