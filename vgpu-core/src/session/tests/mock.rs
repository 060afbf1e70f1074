//! A device that does nothing but note what it is asked, in order.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use parking_lot::Mutex;
use vgpu_proto::Status;
use vgpu_proto::control::{CompileReport, FunctionDescription, OutputStream, ParamDescription};
use vgpu_proto::graph::UpdateResult;
use vgpu_proto::handshake::DeviceDescription;
use vgpu_proto::jit::{JitOption, LinkInput};
use vgpu_window::{Region, Reservation};

use crate::device::{
    Context, Device, DeviceError, DeviceEvents, EventKey, FunctionKey, GraphKey, GraphPlan, LinkedImage,
    LoadedModule, Mark, MemoryAccess, MemoryKey, ModuleKey, Occupancy, Payer, StreamKey, TENSOR_MAP_BYTES,
    TensorMap, VirtualMemory, Work,
};
use crate::session::{CreditKind, CreditSource, ImageStore, SessionSink};

/// Credit up to a sum.
#[derive(Debug)]
pub(super) struct Purse(Mutex<u64>);

impl Purse {
    pub(super) fn new(bytes: u64) -> Self {
        Self(Mutex::new(bytes))
    }
}

impl CreditSource for Purse {
    fn request(&self, _kind: CreditKind, bytes: u64, minimum: u64) -> u64 {
        let mut left = self.0.lock();
        let granted = bytes.min(*left);
        if granted < minimum {
            return 0;
        }
        *left -= granted;
        granted
    }

    fn release(&self, _kind: CreditKind, bytes: u64) {
        *self.0.lock() += bytes;
    }
}

#[derive(Debug)]
pub(super) struct Quiet;

impl SessionSink for Quiet {
    fn output(&self, _stream: OutputStream, _bytes: &[u8]) {}
}

impl ImageStore for Quiet {}

/// What a device was asked: `(stream key, work)` as text.
#[derive(Debug, Default)]
pub(super) struct MockDevice {
    description: DeviceDescription,
    log: Arc<Log>,
}

#[derive(Debug, Default)]
struct Log {
    work: Mutex<Vec<(u64, String)>>,
    marks: Mutex<Vec<(Arc<dyn Mark>, u64)>>,
    events: Mutex<Option<Arc<dyn DeviceEvents>>>,
    /// Answer of `stream_pending`.
    pending: AtomicU32,
    next: AtomicU64,
    refuse: Mutex<Option<Status>>,
    /// What each kernel that is found takes beside its code.
    local_bytes: AtomicU64,
    /// What each context but the first takes by itself.
    context_bytes: AtomicU64,
    /// What each node of a graph takes.
    node_bytes: AtomicU64,
    /// Whether a fault is the end of all contexts.
    brittle: AtomicBool,
    /// Instantiated graphs, and the nodes of each.
    graphs: Mutex<Vec<(GraphKey, usize)>>,
    /// What updates of graphs fail with.
    update: Mutex<Option<UpdateResult>>,
    /// Bytes of each allocation, by address.
    memory: Mutex<HashMap<u64, u64>>,
    /// Module loads under way, and the most that ever were.
    loads: AtomicU32,
    loads_most: AtomicU32,
}

impl MockDevice {
    pub(super) fn with(description: DeviceDescription) -> Self {
        Self { description, ..Self::default() }
    }

    /// What was submitted since the last call, marks left out.
    pub(super) fn take(&self) -> Vec<(u64, String)> {
        std::mem::take(&mut *self.log.work.lock())
    }

    /// Lets the device finish everything that it has.
    pub(super) fn complete(&self) {
        for (mark, value) in std::mem::take(&mut *self.log.marks.lock()) {
            mark.signal(value);
        }
    }

    /// Takes the marks that the device was given and has not told.
    pub(super) fn take_marks(&self) -> Vec<(Arc<dyn Mark>, u64)> {
        std::mem::take(&mut *self.log.marks.lock())
    }

    pub(super) fn set_pending(&self, pending: u32) {
        self.log.pending.store(pending, Ordering::Relaxed);
    }

    /// Makes the device refuse everything with that status.
    pub(super) fn refuse(&self, status: Option<Status>) {
        *self.log.refuse.lock() = status;
    }

    pub(super) fn set_local(&self, bytes: u64) {
        self.log.local_bytes.store(bytes, Ordering::Relaxed);
    }

    pub(super) fn set_context_bytes(&self, bytes: u64) {
        self.log.context_bytes.store(bytes, Ordering::Relaxed);
    }

    pub(super) fn set_node_bytes(&self, bytes: u64) {
        self.log.node_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Makes a fault the end of all contexts, as on a card.
    pub(super) fn set_brittle(&self) {
        self.log.brittle.store(true, Ordering::Relaxed);
    }

    /// Most module loads that were under way at once.
    pub(super) fn loads_most(&self) -> u32 {
        self.log.loads_most.load(Ordering::Relaxed)
    }

    /// Nodes of each graph that is there.
    pub(super) fn graphs(&self) -> Vec<usize> {
        self.log.graphs.lock().iter().map(|(_, nodes)| *nodes).collect()
    }

    /// Makes updates of graphs fail.
    pub(super) fn fail_updates(&self, result: UpdateResult) {
        *self.log.update.lock() = Some(result);
    }

    pub(super) fn events(&self) -> Arc<dyn DeviceEvents> {
        self.log.events.lock().clone().expect("a context was made")
    }
}

impl Device for MockDevice {
    fn further_context_bytes(&self) -> u64 {
        self.log.context_bytes.load(Ordering::Relaxed)
    }

    fn graph_bytes(&self, plan: &GraphPlan) -> u64 {
        self.log.node_bytes.load(Ordering::Relaxed) * plan.nodes.len() as u64
    }

    fn fault_ends_process(&self) -> bool {
        self.log.brittle.load(Ordering::Relaxed)
    }

    fn description(&self) -> &DeviceDescription {
        &self.description
    }

    fn context_create(
        &self,
        _flags: u32,
        events: Arc<dyn DeviceEvents>,
    ) -> Result<Arc<dyn Context>, DeviceError> {
        *self.log.events.lock() = Some(events);
        Ok(Arc::new(MockContext(self.log.clone())))
    }

    fn arena_set(&self, _arena: &Arc<Reservation>) -> Result<(), DeviceError> {
        Ok(())
    }

    fn host_region_add(&self, _address: u64, _region: &Arc<Region>) -> Result<(), DeviceError> {
        Ok(())
    }

    fn host_region_remove(&self, _address: u64) -> Result<(), DeviceError> {
        Ok(())
    }
}

impl VirtualMemory for MockDevice {
    fn address_reserve(&self, address: u64, bytes: u64) -> Result<(), DeviceError> {
        self.log.note(format!("reserve {address:#x} {bytes}"))
    }

    fn address_free(&self, address: u64) -> Result<(), DeviceError> {
        self.log.note(format!("free {address:#x}"))
    }

    fn memory_create(&self, bytes: u64) -> Result<MemoryKey, DeviceError> {
        self.log.note(format!("create {bytes}"))?;
        Ok(MemoryKey(self.log.next.fetch_add(1, Ordering::Relaxed) + 1))
    }

    fn memory_release(&self, _memory: MemoryKey) {
        let _ = self.log.note("release".into());
    }

    fn memory_map(&self, address: u64, _memory: MemoryKey) -> Result<(), DeviceError> {
        self.log.note(format!("map {address:#x}"))
    }

    fn memory_unmap(&self, address: u64, bytes: u64) -> Result<(), DeviceError> {
        self.log.note(format!("unmap {address:#x} {bytes}"))
    }

    fn memory_set_access(&self, address: u64, bytes: u64, access: MemoryAccess) -> Result<(), DeviceError> {
        self.log.note(format!("access {address:#x} {bytes} {access:?}"))
    }
}

impl Log {
    /// Notes work of no stream, unless everything is refused.
    fn note(&self, text: String) -> Result<(), DeviceError> {
        if let Some(status) = *self.refuse.lock() {
            return Err(DeviceError::new(status, "refused"));
        }
        self.work.lock().push((0, text));
        Ok(())
    }
}

#[derive(Debug)]
struct MockContext(Arc<Log>);

impl MockContext {
    fn next(&self) -> u64 {
        self.0.next.fetch_add(1, Ordering::Relaxed) + 1
    }
}

impl Context for MockContext {
    fn legacy_stream(&self) -> StreamKey {
        StreamKey(0)
    }

    fn stream_create(&self, _blocking: bool, _priority: i32) -> Result<StreamKey, DeviceError> {
        Ok(StreamKey(self.next()))
    }

    fn stream_destroy(&self, stream: StreamKey) {
        self.0.work.lock().push((stream.0, "destroy".into()));
    }

    fn stream_pending(&self, _stream: StreamKey) -> u32 {
        self.0.pending.load(Ordering::Relaxed)
    }

    fn submit(&self, stream: StreamKey, work: Work) -> Result<(), DeviceError> {
        if let Some(status) = *self.0.refuse.lock() {
            return Err(DeviceError::new(status, "refused"));
        }
        let text = match work {
            Work::Mark(mark, value) => {
                self.0.marks.lock().push((mark, value));
                return Ok(());
            }
            Work::Launch(launch) if launch.attributes.is_empty() => format!("launch {:?}", launch.grid),
            Work::Launch(launch) => format!("launch {:?} with {:?}", launch.grid, launch.attributes),
            Work::Copy { bytes, .. } => format!("copy {bytes}"),
            Work::Memset { count, .. } => format!("memset {count}"),
            Work::Record(event) => format!("record {}", event.0),
            Work::Wait(event) => format!("wait {}", event.0),
            Work::WaitValue { value, .. } => format!("wait value {value}"),
            Work::WriteValue { value, .. } => format!("write value {value}"),
            Work::Graph(launch) => {
                let events = launch.events.iter().map(|event| event.map_or(0, |event| event.0));
                format!("graph {:?}", events.collect::<Vec<_>>())
            }
            Work::GraphUpload(_) => "upload".to_owned(),
            Work::WaitValue64 { value, .. } => format!("wait value {value}"),
            Work::WriteValue64 { value, .. } => format!("write value {value}"),
        };
        self.0.work.lock().push((stream.0, text));
        Ok(())
    }

    fn synchronize(&self) -> Result<(), DeviceError> {
        Ok(())
    }

    fn event_create(&self, _timing: bool) -> Result<EventKey, DeviceError> {
        Ok(EventKey(self.next()))
    }

    fn event_destroy(&self, _event: EventKey) {}

    fn event_synchronize(&self, _event: EventKey) -> Result<(), DeviceError> {
        Ok(())
    }

    fn event_elapsed_ns(&self, start: EventKey, end: EventKey) -> Result<i64, DeviceError> {
        Ok(end.0.cast_signed() - start.0.cast_signed())
    }

    fn memory_cost(&self, bytes: u64) -> Option<u64> {
        bytes.checked_next_multiple_of(256)
    }

    fn memory_taken(&self) -> u64 {
        self.0.memory.lock().values().sum()
    }

    fn memory_alloc(&self, bytes: u64) -> Result<u64, DeviceError> {
        let address = self.next() << 20;
        self.0.memory.lock().insert(address, bytes.next_multiple_of(256));
        Ok(address)
    }

    fn memory_free(&self, address: u64) -> Result<(), DeviceError> {
        self.0.memory.lock().remove(&address);
        Ok(())
    }

    fn module_load(&self, image: &[u8], _options: &[JitOption]) -> Result<LoadedModule, DeviceError> {
        if image.starts_with(b"bad") {
            return Err(DeviceError::new(Status::ERROR_INVALID_PTX, "line 1: bad"));
        }
        let loads = self.0.loads.fetch_add(1, Ordering::Relaxed) + 1;
        self.0.loads_most.fetch_max(loads, Ordering::Relaxed);
        // Long enough that loads which may overlap do.
        std::thread::sleep(std::time::Duration::from_millis(1));
        self.0.loads.fetch_sub(1, Ordering::Relaxed);
        // The lowest bit says whether the kernel has large parameters.
        let large = u64::from(image.starts_with(b"large"));
        let module = ModuleKey(self.next() << 1 | large);
        let report = CompileReport::default();
        Ok(LoadedModule { module, functions: 1, memory_bytes: 1 << 10, report })
    }

    fn module_functions(&self, _module: ModuleKey) -> Result<Vec<String>, DeviceError> {
        Ok((0..1_000).map(|number| format!("kernel_{number:0>100}")).collect())
    }

    fn module_function(
        &self,
        module: ModuleKey,
        name: &str,
        payer: &dyn Payer,
    ) -> Result<(FunctionKey, FunctionDescription), DeviceError> {
        if name != "kernel" {
            return Err(DeviceError::new(Status::ERROR_NOT_FOUND, "no such kernel"));
        }
        let local = self.0.local_bytes.load(Ordering::Relaxed);
        payer.take(local).map_err(|status| DeviceError::new(status, "too much local memory"))?;
        let size_bytes = if module.0 & 1 != 0 { 32_000 } else { 8 };
        let params = vec![ParamDescription { offset_bytes: 0, size_bytes }];
        let function = FunctionDescription { name: "kernel".into(), params, ..Default::default() };
        Ok((FunctionKey(self.next()), function))
    }

    fn module_link(
        &self,
        inputs: &[LinkInput<'_>],
        options: &[JitOption],
    ) -> Result<LinkedImage, DeviceError> {
        if inputs.iter().any(|input| input.data.starts_with(b"bad")) {
            return Err(DeviceError::new(Status::ERROR_INVALID_PTX, "line 1: bad"));
        }
        let image: Vec<u8> = inputs.iter().flat_map(|input| input.data).copied().collect();
        let report = CompileReport { log: format!("{} options", options.len()), ..Default::default() };
        Ok(LinkedImage { image, report })
    }

    fn module_unload(&self, _module: ModuleKey) {}

    fn module_global(&self, _module: ModuleKey, name: &str) -> Result<(u64, u64), DeviceError> {
        match name {
            "variable" => Ok((4096, 8)),
            _ => Err(DeviceError::new(Status::ERROR_NOT_FOUND, "no such variable")),
        }
    }

    fn function_set_attribute(
        &self,
        _function: FunctionKey,
        attribute: u32,
        _value: i32,
    ) -> Result<(), DeviceError> {
        match attribute {
            8 => Ok(()),
            _ => Err(DeviceError::new(Status::ERROR_NOT_SUPPORTED, "no such attribute")),
        }
    }

    fn graph_instantiate(&self, plan: GraphPlan, flags: u32) -> Result<GraphKey, DeviceError> {
        if flags & vgpu_proto::graph::GRAPH_DEVICE_LAUNCH != 0 {
            return Err(DeviceError::new(Status::ERROR_NOT_SUPPORTED, "no launches by kernels"));
        }
        let key = GraphKey(self.next());
        self.0.graphs.lock().push((key, plan.nodes.len()));
        Ok(key)
    }

    fn graph_update(&self, graph: GraphKey, plan: GraphPlan) -> Result<UpdateResult, DeviceError> {
        if let Some(failed) = *self.0.update.lock() {
            return Ok(failed);
        }
        match self.0.graphs.lock().iter_mut().find(|(key, _)| *key == graph) {
            Some((_, nodes)) => *nodes = plan.nodes.len(),
            None => return Err(DeviceError::new(Status::ERROR_INVALID_HANDLE, "no such graph")),
        }
        Ok(UpdateResult::SUCCESS)
    }

    fn graph_destroy(&self, graph: GraphKey) {
        self.0.graphs.lock().retain(|(key, _)| *key != graph);
    }

    fn occupancy(&self, _function: FunctionKey, query: &Occupancy) -> Result<u64, DeviceError> {
        match query {
            Occupancy::ActiveBlocks { threads, .. } => Ok(u64::from(2_048 / (*threads).max(1))),
            Occupancy::DynamicShared { blocks, .. } => Ok(u64::from(*blocks) << 10),
            Occupancy::ActiveClusters(launch) => Ok(launch.attributes.len() as u64),
            Occupancy::ClusterSize(_) => Err(DeviceError::new(Status::ERROR_NOT_SUPPORTED, "no clusters")),
        }
    }

    fn limit(&self, _limit: u32) -> Result<u64, DeviceError> {
        Ok(1_024)
    }

    fn set_limit(&self, _limit: u32, value: u64) -> Result<u64, DeviceError> {
        Ok(value)
    }

    fn reset_persisting_l2(&self) -> Result<(), DeviceError> {
        Ok(())
    }

    fn tensor_map(&self, map: &TensorMap) -> Result<[u8; TENSOR_MAP_BYTES], DeviceError> {
        Ok([map.rank as u8; TENSOR_MAP_BYTES])
    }

    fn sticky_error(&self) -> Option<DeviceError> {
        None
    }
}
