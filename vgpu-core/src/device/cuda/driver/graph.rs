//! Graphs: a template of nodes and edges, and what is instantiated from it.

use std::ffi::c_void;
use std::fmt;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::Arc;

use cudarc::driver::sys;
use vgpu_proto::Status;
use vgpu_proto::control::ParamDescription;
use vgpu_proto::graph::{GraphEdge, UpdateResult};

use super::error::check;
use super::event::Event;
use super::function::Function;
use super::handle::Handle;
use super::launch::Dimensions;
use super::launch_attribute::DriverAttribute;
use super::stream::{Stream, wait_flags};
use crate::device::{BoxCopy, DeviceError, RowFill, WaitCondition};

/// A graph of the driver, with its nodes in the order in which they were added.
pub(in crate::device::cuda) struct Template {
    raw: sys::CUgraph,
    nodes: Vec<sys::CUgraphNode>,
    handle: Arc<Handle>,
}

// SAFETY: the driver lets any thread use a graph, one at a time: every call that changes it takes it exclusively.
unsafe impl Send for Template {}
// SAFETY: as above; shared, its nodes are only named.
unsafe impl Sync for Template {}

/// A kernel as a node.
#[derive(Clone, Copy, Debug)]
pub(in crate::device::cuda) struct NodeLaunch<'a> {
    pub(in crate::device::cuda) function: &'a Function,
    pub(in crate::device::cuda) dimensions: Dimensions,
    pub(in crate::device::cuda) attributes: &'a [DriverAttribute<'a>],
    /// Where the kernel's parameters lie in the block.
    pub(in crate::device::cuda) layout: &'a [ParamDescription],
    /// The parameter block, as long as the layout says.
    pub(in crate::device::cuda) params: &'a [u8],
}

impl Template {
    pub(in crate::device::cuda) fn new(handle: &Arc<Handle>) -> Result<Self, DeviceError> {
        handle.bind()?;
        let mut raw = ptr::null_mut();
        // SAFETY: `raw` is a place for a handle.
        let result = unsafe { sys::cuGraphCreate(&raw mut raw, 0) };
        check(result, "cuGraphCreate")?;
        Ok(Self { raw, nodes: Vec::new(), handle: Arc::clone(handle) })
    }

    /// Adds a node with `make`, which gets a place for the node, and the graph.
    fn add(
        &mut self,
        call: &'static str,
        make: impl FnOnce(*mut sys::CUgraphNode, sys::CUgraph) -> sys::CUresult,
    ) -> Result<(), DeviceError> {
        self.handle.bind()?;
        let mut node = ptr::null_mut();
        check(make(&raw mut node, self.raw), call)?;
        self.nodes.push(node);
        Ok(())
    }

    pub(in crate::device::cuda) fn add_empty(&mut self) -> Result<(), DeviceError> {
        self.add("cuGraphAddEmptyNode", |node, graph| {
            // SAFETY: `node` is a place for a handle; no dependencies are read; the graph lives as long as `self`.
            unsafe { sys::cuGraphAddEmptyNode(node, graph, ptr::null(), 0) }
        })
    }

    /// Adds a kernel.
    ///
    /// # Safety
    /// `params` is as long as the layout says, and the layout is the driver's own for this kernel. An access policy window
    /// in the attributes lies in the session's memory whenever the graph is launched. What the kernel does with memory is
    /// confined by its context.
    pub(in crate::device::cuda) unsafe fn add_kernel(
        &mut self,
        launch: NodeLaunch<'_>,
    ) -> Result<(), DeviceError> {
        let Dimensions { grid, block, shared_bytes } = launch.dimensions;
        let place = |param: &ParamDescription| {
            let rest = launch.params.get(param.offset_bytes as usize..).unwrap_or_default();
            rest.as_ptr().cast_mut().cast::<c_void>()
        };
        let mut params: Vec<*mut c_void> = launch.layout.iter().map(place).collect();
        let node_params = sys::CUDA_KERNEL_NODE_PARAMS {
            func: launch.function.raw(),
            gridDimX: grid[0],
            gridDimY: grid[1],
            gridDimZ: grid[2],
            blockDimX: block[0],
            blockDimY: block[1],
            blockDimZ: block[2],
            sharedMemBytes: shared_bytes,
            kernelParams: if params.is_empty() { ptr::null_mut() } else { params.as_mut_ptr() },
            extra: ptr::null_mut(),
            kern: ptr::null_mut(),
            ctx: ptr::null_mut(),
        };
        self.add("cuGraphAddKernelNode", |node, graph| {
            // SAFETY: `node` is a place for a handle; `node_params`, its list and the parameters live through the call,
            // which copies them; the caller checked that each lies in the block.
            unsafe { sys::cuGraphAddKernelNode_v2(node, graph, ptr::null(), 0, &raw const node_params) }
        })?;
        launch.attributes.iter().try_for_each(|attribute| self.set_attribute(&attribute.raw()))
    }

    /// Sets an attribute of the kernel that was added last.
    fn set_attribute(&mut self, attribute: &sys::CUlaunchAttribute) -> Result<(), DeviceError> {
        let node = self.nodes.last().copied().unwrap_or(ptr::null_mut());
        let value = &raw const attribute.value;
        // SAFETY: the node was added just now; the value lives through the call, which copies it.
        let result = unsafe { sys::cuGraphKernelNodeSetAttribute(node, attribute.id, value) };
        check(result, "cuGraphKernelNodeSetAttribute")
    }

    /// Adds a copy.
    ///
    /// # Safety
    /// Both boxes lie in device or registered memory of the session, now and whenever the graph is launched. Nothing but the
    /// session's memory comes to lie there until a launch is done.
    pub(in crate::device::cuda) unsafe fn add_copy(&mut self, copy: &BoxCopy) -> Result<(), DeviceError> {
        let (params, context) = (copy_params(copy), self.handle.raw());
        self.add("cuGraphAddMemcpyNode", |node, graph| {
            // SAFETY: `node` is a place for a handle; `params` lives through the call; the caller keeps the memory.
            unsafe { sys::cuGraphAddMemcpyNode(node, graph, ptr::null(), 0, &raw const params, context) }
        })
    }

    /// Adds a fill.
    ///
    /// # Safety
    /// As for [`Template::add_copy`].
    pub(in crate::device::cuda) unsafe fn add_fill(&mut self, fill: &RowFill) -> Result<(), DeviceError> {
        let row_bytes = fill.width.saturating_mul(u64::from(fill.element_bytes));
        let params = sys::CUDA_MEMSET_NODE_PARAMS {
            dst: fill.destination,
            pitch: (if fill.height > 1 { fill.pitch } else { row_bytes }) as usize,
            value: fill.value,
            elementSize: fill.element_bytes,
            width: fill.width as usize,
            height: fill.height as usize,
        };
        let context = self.handle.raw();
        self.add("cuGraphAddMemsetNode", |node, graph| {
            // SAFETY: `node` is a place for a handle; `params` lives through the call; the caller keeps the memory.
            unsafe { sys::cuGraphAddMemsetNode(node, graph, ptr::null(), 0, &raw const params, context) }
        })
    }

    /// Adds a record of an event, which stays until the graph is instantiated and the node has another one.
    pub(in crate::device::cuda) fn add_record(&mut self, event: &Event) -> Result<(), DeviceError> {
        self.add("cuGraphAddEventRecordNode", |node, graph| {
            // SAFETY: `node` is a place for a handle; the event lives through the call and, as the caller promises, on.
            unsafe { sys::cuGraphAddEventRecordNode(node, graph, ptr::null(), 0, event.raw()) }
        })
    }

    /// Adds a wait for an event, which stays as for [`Template::add_record`].
    pub(in crate::device::cuda) fn add_wait(&mut self, event: &Event) -> Result<(), DeviceError> {
        self.add("cuGraphAddEventWaitNode", |node, graph| {
            // SAFETY: as in `add_record`.
            unsafe { sys::cuGraphAddEventWaitNode(node, graph, ptr::null(), 0, event.raw()) }
        })
    }

    /// Adds a write of a 32-bit word.
    ///
    /// # Safety
    /// The word is aligned; it lies in memory as for [`Template::add_copy`].
    pub(in crate::device::cuda) unsafe fn add_write(
        &mut self,
        address: u64,
        value: u32,
    ) -> Result<(), DeviceError> {
        let word =
            sys::CUstreamBatchMemOpParams_union_CUstreamMemOpWriteValueParams_st__bindgen_ty_1 { value };
        let mut operation = sys::CUstreamBatchMemOpParams { pad: [0; 6] };
        operation.writeValue = sys::CUstreamBatchMemOpParams_union_CUstreamMemOpWriteValueParams_st {
            operation: sys::CUstreamBatchMemOpType_enum::CU_STREAM_MEM_OP_WRITE_VALUE_32,
            address,
            __bindgen_anon_1: word,
            flags: 0,
            alias: 0,
        };
        // SAFETY: the caller keeps the word.
        unsafe { self.add_word(operation) }
    }

    /// Adds a wait for a 32-bit word.
    ///
    /// # Safety
    /// As for [`Template::add_write`].
    pub(in crate::device::cuda) unsafe fn add_wait_value(
        &mut self,
        address: u64,
        value: u32,
        condition: WaitCondition,
    ) -> Result<(), DeviceError> {
        let word =
            sys::CUstreamBatchMemOpParams_union_CUstreamMemOpWaitValueParams_st__bindgen_ty_1 { value };
        let mut operation = sys::CUstreamBatchMemOpParams { pad: [0; 6] };
        operation.waitValue = sys::CUstreamBatchMemOpParams_union_CUstreamMemOpWaitValueParams_st {
            operation: sys::CUstreamBatchMemOpType_enum::CU_STREAM_MEM_OP_WAIT_VALUE_32,
            address,
            __bindgen_anon_1: word,
            flags: wait_flags(condition),
            alias: 0,
        };
        // SAFETY: the caller keeps the word.
        unsafe { self.add_word(operation) }
    }

    /// # Safety
    /// The operation's word is aligned; it lies in memory as for [`Template::add_copy`].
    unsafe fn add_word(&mut self, mut operation: sys::CUstreamBatchMemOpParams) -> Result<(), DeviceError> {
        let params = sys::CUDA_BATCH_MEM_OP_NODE_PARAMS {
            ctx: self.handle.raw(),
            count: 1,
            paramArray: &raw mut operation,
            flags: 0,
        };
        self.add("cuGraphAddBatchMemOpNode", |node, graph| {
            // SAFETY: `node` is a place for a handle; `params` and its one operation live through the call, which copies
            // them; the caller keeps the word.
            unsafe { sys::cuGraphAddBatchMemOpNode(node, graph, ptr::null(), 0, &raw const params) }
        })
    }

    /// Adds the edges between nodes that were added.
    pub(in crate::device::cuda) fn add_edges(&mut self, edges: &[GraphEdge]) -> Result<(), DeviceError> {
        if edges.is_empty() {
            return Ok(());
        }
        let outside = || DeviceError::new(Status::ERROR_INVALID_VALUE, "an edge of the graph has no node");
        let node = |at: u32| self.nodes.get(at as usize).copied().ok_or_else(outside);
        let from: Vec<_> = edges.iter().map(|edge| node(edge.from)).collect::<Result<_, _>>()?;
        let to: Vec<_> = edges.iter().map(|edge| node(edge.to)).collect::<Result<_, _>>()?;
        let data: Vec<_> = edges.iter().map(edge_data).collect();
        self.handle.bind()?;
        // SAFETY: the three lists have an entry for each edge and live through the call; the nodes are this graph's.
        let result = unsafe {
            sys::cuGraphAddDependencies_v2(self.raw, from.as_ptr(), to.as_ptr(), data.as_ptr(), edges.len())
        };
        check(result, "cuGraphAddDependencies")
    }

    /// Instantiates it. May block. `priorities`: kernels keep their nodes' priorities.
    pub(in crate::device::cuda) fn instantiate(&self, priorities: bool) -> Result<Exec, DeviceError> {
        let flags = match priorities {
            true => sys::CUgraphInstantiate_flags_enum::CUDA_GRAPH_INSTANTIATE_FLAG_USE_NODE_PRIORITY.0,
            false => 0,
        };
        self.handle.bind()?;
        let mut raw = ptr::null_mut();
        // SAFETY: `raw` is a place for a handle; the graph lives as long as `self`.
        let result = unsafe { sys::cuGraphInstantiateWithFlags(&raw mut raw, self.raw, flags.into()) };
        check(result, "cuGraphInstantiate")?;
        Ok(Exec { raw, handle: Arc::clone(&self.handle) })
    }

    fn node(&self, index: usize) -> Result<sys::CUgraphNode, DeviceError> {
        let unknown = || DeviceError::new(Status::ERROR_INVALID_VALUE, "the graph has no such node");
        self.nodes.get(index).copied().ok_or_else(unknown)
    }
}

fn edge_data(edge: &GraphEdge) -> sys::CUgraphEdgeData {
    sys::CUgraphEdgeData {
        from_port: edge.from_port,
        to_port: edge.to_port,
        type_: edge.kind,
        reserved: [0; 5],
    }
}

/// The driver's form of a copy. It counts a slice in rows, and reads no pitch where there is one row only, but asks for
/// one that holds the row all the same.
fn copy_params(copy: &BoxCopy) -> sys::CUDA_MEMCPY3D {
    let one_row = copy.height == 1 && copy.depth == 1;
    let pitch = |pitch: u64| (if one_row { copy.width_bytes } else { pitch }) as usize;
    let rows = |pitch: u64, slice: u64| match (copy.depth, slice.checked_div(pitch)) {
        (2.., Some(rows)) => rows as usize,
        _ => copy.height as usize,
    };
    let (to, from) = (copy.destination, copy.source);
    sys::CUDA_MEMCPY3D {
        srcXInBytes: 0,
        srcY: 0,
        srcZ: 0,
        srcLOD: 0,
        srcMemoryType: sys::CUmemorytype::CU_MEMORYTYPE_UNIFIED,
        srcHost: ptr::null(),
        srcDevice: from.address,
        srcArray: ptr::null_mut(),
        reserved0: ptr::null_mut(),
        srcPitch: pitch(from.pitch),
        srcHeight: rows(from.pitch, from.slice),
        dstXInBytes: 0,
        dstY: 0,
        dstZ: 0,
        dstLOD: 0,
        dstMemoryType: sys::CUmemorytype::CU_MEMORYTYPE_UNIFIED,
        dstHost: ptr::null_mut(),
        dstDevice: to.address,
        dstArray: ptr::null_mut(),
        reserved1: ptr::null_mut(),
        dstPitch: pitch(to.pitch),
        dstHeight: rows(to.pitch, to.slice),
        WidthInBytes: copy.width_bytes as usize,
        Height: copy.height as usize,
        Depth: copy.depth as usize,
    }
}

impl Drop for Template {
    fn drop(&mut self) {
        if self.handle.bind().is_ok() {
            // SAFETY: this is the graph's last use; what was instantiated from it has copies of its nodes.
            let _ = unsafe { sys::cuGraphDestroy(self.raw) };
        }
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Template").field("nodes", &self.nodes.len()).finish_non_exhaustive()
    }
}

/// An instantiated graph of the driver.
pub(in crate::device::cuda) struct Exec {
    raw: sys::CUgraphExec,
    handle: Arc<Handle>,
}

// SAFETY: the driver lets any thread use an instantiated graph, one at a time: its owner holds a lock.
unsafe impl Send for Exec {}

impl Exec {
    /// Launches it behind the stream's earlier work and its own earlier launches.
    ///
    /// # Safety
    /// The memory that its copies, fills and words name is there now, and nothing but the session's memory comes to lie
    /// there until the launch is complete.
    pub(in crate::device::cuda) unsafe fn launch(&mut self, stream: &Stream) -> Result<(), DeviceError> {
        stream.handle().bind()?;
        // SAFETY: graph and stream live as long as their owners; the caller answers for the memory.
        let result = unsafe { sys::cuGraphLaunch(self.raw, stream.raw()) };
        check(result, "cuGraphLaunch")
    }

    /// Puts it on the GPU, so that its launch need not.
    pub(in crate::device::cuda) fn upload(&mut self, stream: &Stream) -> Result<(), DeviceError> {
        stream.handle().bind()?;
        // SAFETY: graph and stream live as long as their owners.
        let result = unsafe { sys::cuGraphUpload(self.raw, stream.raw()) };
        check(result, "cuGraphUpload")
    }

    /// Gives it the parameters of a template of the same shape. May block.
    pub(in crate::device::cuda) fn update(
        &mut self,
        template: &Template,
    ) -> Result<UpdateResult, DeviceError> {
        self.handle.bind()?;
        let mut info = MaybeUninit::<sys::CUgraphExecUpdateResultInfo>::zeroed();
        // SAFETY: `info` is a place for one; both graphs live as long as their owners.
        let result = unsafe { sys::cuGraphExecUpdate_v2(self.raw, template.raw, info.as_mut_ptr()) };
        match check(result, "cuGraphExecUpdate") {
            Ok(()) => Ok(UpdateResult::SUCCESS),
            Err(error) if error.status == Status::ERROR_GRAPH_EXEC_UPDATE_FAILURE => {
                // The first field is the result: read as a number, since newer drivers may have further ones.
                let found = info.as_ptr().cast::<u32>();
                // SAFETY: the place is initialised, with zeros at least, and aligned for its first field of four bytes.
                let found = unsafe { found.read() };
                Ok(if found == 0 { UpdateResult::ERROR } else { UpdateResult(found) })
            }
            Err(error) => Err(error),
        }
    }

    /// Gives a record node, by its index in the template, another event for later launches. The event stays until the
    /// node has yet another, or the graph is gone.
    pub(in crate::device::cuda) fn set_record(
        &mut self,
        template: &Template,
        index: usize,
        event: &Event,
    ) -> Result<(), DeviceError> {
        let node = template.node(index)?;
        self.handle.bind()?;
        // SAFETY: the node is of the template that this was instantiated from; the caller keeps the event.
        let result = unsafe { sys::cuGraphExecEventRecordNodeSetEvent(self.raw, node, event.raw()) };
        check(result, "cuGraphExecEventRecordNodeSetEvent")
    }

    /// As [`Exec::set_record`], for a node that waits.
    pub(in crate::device::cuda) fn set_wait(
        &mut self,
        template: &Template,
        index: usize,
        event: &Event,
    ) -> Result<(), DeviceError> {
        let node = template.node(index)?;
        self.handle.bind()?;
        // SAFETY: as in `set_record`.
        let result = unsafe { sys::cuGraphExecEventWaitNodeSetEvent(self.raw, node, event.raw()) };
        check(result, "cuGraphExecEventWaitNodeSetEvent")
    }
}

impl Drop for Exec {
    fn drop(&mut self) {
        if self.handle.bind().is_ok() {
            // SAFETY: this is its last use here; the driver keeps what launches under way need until they are complete.
            let _ = unsafe { sys::cuGraphExecDestroy(self.raw) };
        }
    }
}

impl fmt::Debug for Exec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exec").finish_non_exhaustive()
    }
}
