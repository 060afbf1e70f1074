//! A context of the software GPU.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use vgpu_proto::Status;
use vgpu_proto::control::{CompileReport, FunctionDescription};
use vgpu_proto::graph::{GRAPH_DEVICE_LAUNCH, UpdateResult};
use vgpu_proto::jit::{JitOption, LinkInput};

use super::arena::{Arena, Owner};
use super::attribute;
use super::card::Card;
use super::event::Event;
use super::exec::Env;
use super::graph::{GraphJob, Graphs, NodeKernel, NodeKind, Plan};
use super::launch::LaunchJob;
use super::limits::Limits;
use super::load;
use super::modules::{Module, Modules};
use super::occupancy;
use super::queue::{Queues, Target};
use super::stream::{Command, StreamKind};
use super::transfer::{Transfer, Word};
use crate::device::{
    Context, DeviceError, DeviceEvents, EventKey, FunctionKey, GraphKey, GraphLaunch, GraphPlan,
    LaunchConfig, LinkedImage, LoadedModule, ModuleKey, Occupancy, Payer, StreamKey, TENSOR_MAP_BYTES,
    TensorMap, Work,
};

/// Priorities of streams, most urgent first, as an A100 has them (`cuCtxGetStreamPriorityRange`).
pub(super) const PRIORITIES: std::ops::RangeInclusive<i32> = -5..=0;

/// Streams of a device at once. A session names fewer; the rest are those destroyed whose work is not done, which would
/// otherwise pile up behind a wait that never ends.
const STREAMS_LIVE_MAX: usize = 2 * vgpu_proto::limits::STREAMS_MAX as usize;

/// Work whose arguments were checked.
enum Prepared {
    Command(Command),
    Record(EventKey),
    Wait(EventKey),
    Graph(GraphLaunch),
    /// Nothing is left to do.
    Nothing,
}

pub(super) struct SoftContext {
    card: Arc<Card>,
    owner: Owner,
    legacy: StreamKey,
    env: Env,
    modules: Mutex<Modules>,
    graphs: Graphs,
    /// Bytes that its allocations are counted as.
    taken_bytes: AtomicU64,
    limits: Limits,
}

impl SoftContext {
    pub(super) fn new(
        card: Arc<Card>,
        owner: Owner,
        legacy: StreamKey,
        events: Arc<dyn DeviceEvents>,
    ) -> Self {
        let origin = card.executor().queues().origin;
        let env = Env {
            memory: Arc::clone(card.memory()),
            output: Arc::new(move |stream, bytes: &[u8]| events.output(stream, bytes)),
            budget: Arc::clone(card.budget()),
            clock_ns: Arc::new(move || u64::try_from(origin.elapsed().as_nanos()).unwrap_or(u64::MAX)),
        };
        Self {
            card,
            owner,
            legacy,
            env,
            modules: Mutex::new(Modules::default()),
            graphs: Graphs::default(),
            taken_bytes: AtomicU64::new(0),
            limits: Limits::default(),
        }
    }

    /// Waits for all work submitted so far.
    fn wait_for_all(&self) {
        let mut queues = self.card.executor().queues();
        let target = queues.everything(self.owner);
        self.card.executor().wait(&mut queues, &target);
    }

    fn launch(&self, config: LaunchConfig) -> Result<Command, DeviceError> {
        let function = Arc::clone(self.modules.lock().function(config.function)?);
        function.check_launch(&config, self.card.description())?;
        attribute::check(&config, self.card.memory())?;
        let faults = &self.card.config().faults;
        Ok(Command::Launch(Box::new(LaunchJob {
            delay: faults.delay_of(function.name()),
            endless: faults.is_endless(function.name()),
            function,
            config,
            env: self.env.clone(),
            threads: self.card.config().threads,
        })))
    }

    /// The command in the form that the queues hold; none where there is nothing to wait for.
    fn command(
        &self,
        queues: &mut Queues,
        stream: StreamKey,
        work: Prepared,
    ) -> Result<Option<Command>, DeviceError> {
        Ok(match work {
            Prepared::Command(command) => Some(command),
            Prepared::Record(event) => {
                // A record of a stream that refuses it would be the event's latest and never be complete.
                queues.check_stream(self.owner, stream)?;
                Some(Command::Record(queues.new_record(self.owner, event)?))
            }
            Prepared::Wait(event) => queues.latest_record(event)?.map(Command::Wait),
            Prepared::Graph(launch) => {
                // As for a record: a graph's records and its place behind earlier launches must come to their end.
                queues.check_stream(self.owner, stream)?;
                Some(Command::Graph(Box::new(self.graph_job(queues, &launch)?)))
            }
            Prepared::Nothing => None,
        })
    }

    fn graph_job(&self, queues: &mut Queues, launch: &GraphLaunch) -> Result<GraphJob, DeviceError> {
        self.graphs.launch(launch.graph, self.env.clone(), |kinds| {
            // Before the first record is made: one that is never complete would hold up who waits for it.
            for event in launch.events.iter().flatten() {
                queues.check_event(self.owner, *event)?;
            }
            let nodes = kinds.iter().zip(&launch.events);
            let record = |(kind, event): (&NodeKind, &Option<EventKey>)| match (kind, event) {
                (_, None) => Ok(None),
                (NodeKind::Records, Some(event)) => queues.new_record(self.owner, *event).map(Some),
                (NodeKind::Waits, Some(event)) => queues.latest_record(*event),
            };
            nodes.map(record).collect()
        })
    }

    /// Checks a graph.
    fn plan(&self, plan: GraphPlan) -> Result<Plan, DeviceError> {
        let config = self.card.config();
        Plan::new(plan, self.card.memory(), config.threads, |launch| {
            let function = Arc::clone(self.modules.lock().function(launch.function)?);
            function.check_launch(launch, self.card.description())?;
            attribute::check(launch, self.card.memory())?;
            let delay = config.faults.delay_of(function.name());
            Ok(NodeKernel { delay, endless: config.faults.is_endless(function.name()), function })
        })
    }

    /// Checks what can be checked without the executor's lock.
    fn prepare(&self, work: Work) -> Result<Prepared, DeviceError> {
        let memory = self.card.memory();
        let moves = |transfer: Transfer| {
            transfer.check(memory)?;
            Ok(Prepared::Command(Command::Transfer(transfer)))
        };
        let waits = |address, value: Word, condition| {
            value.check(memory, address)?;
            Ok(Prepared::Command(Command::WaitValue { address, value, condition }))
        };
        match work {
            Work::Launch(config) => Ok(Prepared::Command(self.launch(config)?)),
            Work::Copy { destination, source, bytes } => {
                moves(Transfer::Copy { destination, source, bytes, done: 0 })
            }
            Work::Memset { destination, value, element_bytes, count } => {
                moves(Transfer::Fill { destination, value, element_bytes, count, done: 0 })
            }
            Work::WriteValue { address, value } => {
                moves(Transfer::Word { address, value: Word::Short(value) })
            }
            Work::WriteValue64 { address, value } => {
                moves(Transfer::Word { address, value: Word::Long(value) })
            }
            Work::WaitValue { address, value, condition } => waits(address, Word::Short(value), condition),
            Work::WaitValue64 { address, value, condition } => waits(address, Word::Long(value), condition),
            Work::Record(event) => Ok(Prepared::Record(event)),
            Work::Wait(event) => Ok(Prepared::Wait(event)),
            Work::Graph(launch) => {
                self.graphs.check(&launch, memory)?;
                Ok(Prepared::Graph(launch))
            }
            Work::GraphUpload(graph) => self.graphs.plan(graph).map(|_| Prepared::Nothing),
            Work::Mark(mark, value) => Ok(Prepared::Command(Command::Mark(mark, value))),
        }
    }

    /// Records of the events that a launch names. When its blocks start or trigger them early is the card's affair, and
    /// this card records them behind the kernel.
    fn launch_records(
        &self,
        queues: &mut Queues,
        stream: StreamKey,
        events: &[EventKey],
    ) -> Result<Vec<Command>, DeviceError> {
        if !events.is_empty() {
            // A record of a stream that refuses it would be the event's latest and never be complete.
            queues.check_stream(self.owner, stream)?;
        }
        events.iter().map(|event| queues.new_record(self.owner, *event).map(Command::Record)).collect()
    }

    fn free_module(&self, module: &Module) {
        if let Some(address) = module.allocation {
            self.card.free(self.owner, address);
        }
        self.card.discharge(module.code_bytes);
    }
}

impl Context for SoftContext {
    fn legacy_stream(&self) -> StreamKey {
        self.legacy
    }

    fn stream_create(&self, blocking: bool, priority: i32) -> Result<StreamKey, DeviceError> {
        let mut queues = self.card.executor().queues();
        queues.check_context(self.owner)?;
        if queues.streams.len() - queues.nodes_running >= STREAMS_LIVE_MAX {
            let text = format!("{STREAMS_LIVE_MAX} streams are there or have work left: wait for some of it");
            return Err(DeviceError::new(Status::ERROR_OUT_OF_MEMORY, text));
        }
        let kind = if blocking { StreamKind::Blocking } else { StreamKind::NonBlocking };
        let priority = priority.clamp(*PRIORITIES.start(), *PRIORITIES.end());
        Ok(queues.add_stream(self.owner, kind, priority))
    }

    fn stream_destroy(&self, stream: StreamKey) {
        self.card.executor().queues().destroy_stream(self.owner, stream);
    }

    fn stream_pending(&self, stream: StreamKey) -> u32 {
        self.card.executor().queues().pending(self.owner, stream)
    }

    fn submit(&self, stream: StreamKey, work: Work) -> Result<(), DeviceError> {
        let events: Vec<EventKey> = match &work {
            Work::Launch(launch) => launch.events().collect(),
            _ => Vec::new(),
        };
        let prepared = self.prepare(work)?;
        let executor = self.card.executor();
        let mut queues = executor.queues();
        let is_mark = matches!(prepared, Prepared::Command(Command::Mark(..)));
        if !is_mark {
            queues.check_context(self.owner)?;
        }
        // A thread must be there before anything is queued, so that a refusal leaves nothing behind.
        executor.ensure_thread(&mut queues)?;
        let Some(command) = self.command(&mut queues, stream, prepared)? else { return Ok(()) };
        let records = self.launch_records(&mut queues, stream, &events)?;
        let mut is_first = queues.submit(self.owner, stream, command)?;
        for record in records {
            is_first |= queues.submit(self.owner, stream, record)?;
        }
        if is_first {
            executor.wake(&mut queues);
        }
        Ok(())
    }

    fn synchronize(&self) -> Result<(), DeviceError> {
        self.wait_for_all();
        self.card.executor().queues().check_context(self.owner)
    }

    fn event_create(&self, timing: bool) -> Result<EventKey, DeviceError> {
        let mut queues = self.card.executor().queues();
        queues.check_context(self.owner)?;
        let key = EventKey(queues.next_key());
        queues.events.insert(key, Event { context: self.owner, timing, latest: None });
        Ok(key)
    }

    fn event_destroy(&self, event: EventKey) {
        let mut queues = self.card.executor().queues();
        if queues.events.get(&event).is_some_and(|found| found.context == self.owner) {
            queues.events.remove(&event);
        }
    }

    fn event_synchronize(&self, event: EventKey) -> Result<(), DeviceError> {
        let executor = self.card.executor();
        let mut queues = executor.queues();
        if let Some(record) = queues.latest_record(event)? {
            executor.wait(&mut queues, &Target::Recorded(record));
        }
        queues.check_context(self.owner)
    }

    fn event_elapsed_ns(&self, start: EventKey, end: EventKey) -> Result<i64, DeviceError> {
        let queues = self.card.executor().queues();
        let at_ns = |key: EventKey| {
            let invalid = |text: &str| DeviceError::new(Status::ERROR_INVALID_HANDLE, text);
            let event = queues.events.get(&key).ok_or_else(|| invalid("no such event"))?;
            if !event.timing {
                return Err(invalid("the event takes no times"));
            }
            let record = event.latest.as_ref().ok_or_else(|| invalid("the event was never recorded"))?;
            record.at_ns().ok_or_else(|| {
                DeviceError::new(Status::ERROR_NOT_READY, "the event's record is not complete")
            })
        };
        let (start_ns, end_ns) = (at_ns(start)?, at_ns(end)?);
        Ok(end_ns.wrapping_sub(start_ns).cast_signed())
    }

    fn memory_cost(&self, bytes: u64) -> Option<u64> {
        Arena::cost(bytes)
    }

    fn memory_taken(&self) -> u64 {
        self.taken_bytes.load(Ordering::Relaxed)
    }

    fn memory_alloc(&self, bytes: u64) -> Result<u64, DeviceError> {
        self.card.executor().queues().check_context(self.owner)?;
        if bytes == 0 {
            return Err(DeviceError::new(Status::ERROR_INVALID_VALUE, "an allocation of 0 bytes"));
        }
        let address = self.card.alloc(self.owner, bytes, 1)?;
        self.taken_bytes.fetch_add(Arena::cost(bytes).unwrap_or(bytes), Ordering::Relaxed);
        Ok(address)
    }

    /// Frees even after a sticky error, so that what the memory was charged for comes back.
    fn memory_free(&self, address: u64) -> Result<(), DeviceError> {
        let unknown = || {
            let text = format!("nothing was allocated at {address:#x} in this context");
            DeviceError::new(Status::ERROR_INVALID_VALUE, text)
        };
        if !self.card.owns(self.owner, address) || self.modules.lock().holds(address) {
            return Err(unknown());
        }
        self.wait_for_all();
        // Another thread may have freed it meanwhile.
        let freed = self.card.free(self.owner, address).ok_or_else(unknown)?;
        self.taken_bytes.fetch_sub(freed, Ordering::Relaxed);
        Ok(())
    }

    /// The options tune a compiler, and change nothing that a program computes.
    fn module_load(&self, image: &[u8], _options: &[JitOption]) -> Result<LoadedModule, DeviceError> {
        self.card.executor().queues().check_context(self.owner)?;
        let loaded = load::load(&self.card, self.owner, image)?;
        let mut queues = self.card.executor().queues();
        let key = ModuleKey(queues.next_key());
        let functions: Vec<_> =
            loaded.functions.into_iter().map(|function| (FunctionKey(queues.next_key()), function)).collect();
        drop(queues);
        let description = LoadedModule {
            module: key,
            functions: u32::try_from(functions.len()).unwrap_or(u32::MAX),
            memory_bytes: loaded.memory_bytes,
            report: CompileReport::default(),
        };
        let module = Module {
            program: loaded.program,
            allocation: loaded.allocation,
            code_bytes: loaded.code_bytes,
            functions: functions.iter().map(|(key, _)| *key).collect(),
        };
        self.modules.lock().add(key, module, functions);
        Ok(description)
    }

    fn module_functions(&self, module: ModuleKey) -> Result<Vec<String>, DeviceError> {
        let modules = self.modules.lock();
        Ok(modules.functions(module)?.map(|(_, function)| function.name().to_owned()).collect())
    }

    fn module_function(
        &self,
        module: ModuleKey,
        name: &str,
        _payer: &dyn Payer,
    ) -> Result<(FunctionKey, FunctionDescription), DeviceError> {
        let modules = self.modules.lock();
        let found = modules.functions(module)?.find(|(_, function)| function.name() == name);
        let (key, function) = found.ok_or_else(|| {
            DeviceError::new(Status::ERROR_NOT_FOUND, format!("no kernel {name:?} in the module"))
        })?;
        Ok((key, function.describe()))
    }

    fn module_link(
        &self,
        inputs: &[LinkInput<'_>],
        _options: &[JitOption],
    ) -> Result<LinkedImage, DeviceError> {
        load::link(inputs)
    }

    fn module_unload(&self, module: ModuleKey) {
        if !self.modules.lock().contains(module) {
            return;
        }
        self.wait_for_all();
        let removed = self.modules.lock().remove(module);
        if let Some(module) = removed {
            self.free_module(&module);
        }
    }

    fn module_global(&self, module: ModuleKey, name: &str) -> Result<(u64, u64), DeviceError> {
        self.modules.lock().global(module, name)
    }

    fn function_set_attribute(
        &self,
        function: FunctionKey,
        attribute: u32,
        value: i32,
    ) -> Result<(), DeviceError> {
        let function = Arc::clone(self.modules.lock().function(function)?);
        function.set_attribute(attribute, value, self.card.description())
    }

    fn graph_instantiate(&self, plan: GraphPlan, flags: u32) -> Result<GraphKey, DeviceError> {
        if flags & GRAPH_DEVICE_LAUNCH != 0 {
            let text = "the software GPU does not launch graphs from kernels";
            return Err(DeviceError::new(Status::ERROR_NOT_SUPPORTED, text));
        }
        self.card.executor().queues().check_context(self.owner)?;
        let plan = self.plan(plan)?;
        let key = GraphKey(self.card.executor().queues().next_key());
        self.graphs.add(key, plan);
        Ok(key)
    }

    fn graph_update(&self, graph: GraphKey, plan: GraphPlan) -> Result<UpdateResult, DeviceError> {
        self.card.executor().queues().check_context(self.owner)?;
        let plan = self.plan(plan)?;
        self.graphs.replace(graph, plan)?;
        Ok(UpdateResult::SUCCESS)
    }

    fn graph_destroy(&self, graph: GraphKey) {
        self.graphs.remove(graph);
    }

    fn occupancy(&self, function: FunctionKey, query: &Occupancy) -> Result<u64, DeviceError> {
        let function = Arc::clone(self.modules.lock().function(function)?);
        occupancy::of(&function.describe(), self.card.description(), query)
    }

    fn limit(&self, limit: u32) -> Result<u64, DeviceError> {
        self.limits.get(limit)
    }

    fn set_limit(&self, limit: u32, value: u64) -> Result<u64, DeviceError> {
        self.limits.set(limit, value)
    }

    /// There is no such cache.
    fn reset_persisting_l2(&self) -> Result<(), DeviceError> {
        self.card.executor().queues().check_context(self.owner)
    }

    fn tensor_map(&self, _map: &TensorMap) -> Result<[u8; TENSOR_MAP_BYTES], DeviceError> {
        Err(DeviceError::new(Status::ERROR_NOT_SUPPORTED, "the software GPU has no tensor maps"))
    }

    fn sticky_error(&self) -> Option<DeviceError> {
        self.card.executor().queues().check_context(self.owner).err()
    }
}

impl Drop for SoftContext {
    fn drop(&mut self) {
        self.card.executor().close_context(self.owner);
        for module in self.modules.get_mut().take_all() {
            self.free_module(&module);
        }
        self.card.free_all(self.owner);
    }
}

impl fmt::Debug for SoftContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SoftContext").field("owner", &self.owner).finish_non_exhaustive()
    }
}
