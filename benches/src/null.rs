//! A device that takes everything and does nothing, so that what is measured is the session in front of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use vgpu_core::device::{
    Context, Device, DeviceError, DeviceEvents, EventKey, FunctionKey, GraphKey, GraphPlan, LinkedImage,
    LoadedModule, MemoryAccess, MemoryKey, ModuleKey, Occupancy, Payer, StreamKey, TENSOR_MAP_BYTES,
    TensorMap, VirtualMemory, Work,
};
use vgpu_core::session::{CreditKind, CreditSource, ImageStore, SessionSink};
use vgpu_proto::control::{CompileReport, FunctionDescription, OutputStream, ParamDescription};
use vgpu_proto::graph::UpdateResult;
use vgpu_proto::handshake::DeviceDescription;
use vgpu_proto::jit::{JitOption, LinkInput};
use vgpu_window::{Region, Reservation};

/// Parameter bytes of the null device's only kernel: three addresses and a count, as a vector addition has.
pub const PARAMS_BYTES: u32 = 28;

/// Grants what is asked for, hears nothing, keeps nothing.
#[derive(Debug)]
#[expect(clippy::exhaustive_structs, reason = "it has no state")]
pub struct Open;

impl CreditSource for Open {
    fn request(&self, _kind: CreditKind, bytes: u64, _minimum: u64) -> u64 {
        bytes
    }

    fn release(&self, _kind: CreditKind, _bytes: u64) {}
}

impl SessionSink for Open {
    fn output(&self, _stream: OutputStream, _bytes: &[u8]) {}
}

impl ImageStore for Open {}

/// The device.
#[derive(Debug, Default)]
pub struct NullDevice {
    description: DeviceDescription,
}

impl Device for NullDevice {
    fn description(&self) -> &DeviceDescription {
        &self.description
    }

    fn context_create(
        &self,
        _flags: u32,
        _events: Arc<dyn DeviceEvents>,
    ) -> Result<Arc<dyn Context>, DeviceError> {
        Ok(Arc::new(NullContext { next: AtomicU64::new(1) }))
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

impl VirtualMemory for NullDevice {
    fn address_reserve(&self, _address: u64, _bytes: u64) -> Result<(), DeviceError> {
        Ok(())
    }

    fn address_free(&self, _address: u64) -> Result<(), DeviceError> {
        Ok(())
    }

    fn memory_create(&self, _bytes: u64) -> Result<MemoryKey, DeviceError> {
        Ok(MemoryKey(1))
    }

    fn memory_release(&self, _memory: MemoryKey) {}

    fn memory_map(&self, _address: u64, _memory: MemoryKey) -> Result<(), DeviceError> {
        Ok(())
    }

    fn memory_unmap(&self, _address: u64, _bytes: u64) -> Result<(), DeviceError> {
        Ok(())
    }

    fn memory_set_access(&self, _address: u64, _bytes: u64, _: MemoryAccess) -> Result<(), DeviceError> {
        Ok(())
    }
}

#[derive(Debug)]
struct NullContext {
    next: AtomicU64,
}

impl NullContext {
    fn next(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }
}

impl Context for NullContext {
    fn legacy_stream(&self) -> StreamKey {
        StreamKey(0)
    }

    fn stream_create(&self, _blocking: bool, _priority: i32) -> Result<StreamKey, DeviceError> {
        Ok(StreamKey(self.next()))
    }

    fn stream_destroy(&self, _stream: StreamKey) {}

    fn stream_pending(&self, _stream: StreamKey) -> u32 {
        0
    }

    fn submit(&self, _stream: StreamKey, work: Work) -> Result<(), DeviceError> {
        if let Work::Mark(mark, value) = work {
            mark.signal(value);
        }
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

    fn event_elapsed_ns(&self, _start: EventKey, _end: EventKey) -> Result<i64, DeviceError> {
        Ok(0)
    }

    fn memory_cost(&self, bytes: u64) -> Option<u64> {
        Some(bytes)
    }

    fn memory_taken(&self) -> u64 {
        0
    }

    fn memory_alloc(&self, _bytes: u64) -> Result<u64, DeviceError> {
        // Apart by more than any benchmark allocates.
        Ok(self.next() << 32)
    }

    fn memory_free(&self, _address: u64) -> Result<(), DeviceError> {
        Ok(())
    }

    fn module_load(&self, _image: &[u8], _options: &[JitOption]) -> Result<LoadedModule, DeviceError> {
        let report = CompileReport::default();
        Ok(LoadedModule { module: ModuleKey(self.next()), functions: 1, memory_bytes: 0, report })
    }

    fn module_functions(&self, _module: ModuleKey) -> Result<Vec<String>, DeviceError> {
        Ok(vec!["kernel".into()])
    }

    fn module_function(
        &self,
        _module: ModuleKey,
        _name: &str,
        _payer: &dyn Payer,
    ) -> Result<(FunctionKey, FunctionDescription), DeviceError> {
        let params = vec![ParamDescription { offset_bytes: 0, size_bytes: PARAMS_BYTES }];
        let function = FunctionDescription { name: "kernel".into(), params, ..Default::default() };
        Ok((FunctionKey(self.next()), function))
    }

    fn module_link(
        &self,
        _inputs: &[LinkInput<'_>],
        _options: &[JitOption],
    ) -> Result<LinkedImage, DeviceError> {
        Ok(LinkedImage { image: Vec::new(), report: CompileReport::default() })
    }

    fn module_unload(&self, _module: ModuleKey) {}

    fn module_global(&self, _module: ModuleKey, _name: &str) -> Result<(u64, u64), DeviceError> {
        Ok((0, 0))
    }

    fn function_set_attribute(
        &self,
        _function: FunctionKey,
        _attribute: u32,
        _value: i32,
    ) -> Result<(), DeviceError> {
        Ok(())
    }

    fn occupancy(&self, _function: FunctionKey, _query: &Occupancy) -> Result<u64, DeviceError> {
        Ok(1)
    }

    fn graph_instantiate(&self, _plan: GraphPlan, _flags: u32) -> Result<GraphKey, DeviceError> {
        Ok(GraphKey(self.next()))
    }

    fn graph_update(&self, _graph: GraphKey, _plan: GraphPlan) -> Result<UpdateResult, DeviceError> {
        Ok(UpdateResult::SUCCESS)
    }

    fn graph_destroy(&self, _graph: GraphKey) {}

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
