//! How often each operation was used, and which driver calls stand behind it.

use std::sync::atomic::{AtomicU64, Ordering};

use vgpu_proto::Op;

const OPS: usize = Op::ALL.len();

/// Counters of a session, one per operation.
#[derive(Debug)]
pub(crate) struct Calls {
    counts: [AtomicU64; OPS],
}

impl Calls {
    pub(crate) fn new() -> Self {
        Self { counts: [const { AtomicU64::new(0) }; OPS] }
    }

    pub(crate) fn count(&self, op: Op) {
        self.counts[index(op)].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn snapshot(&self) -> Vec<(Op, u64)> {
        Op::ALL.iter().map(|op| (*op, self.counts[index(*op)].load(Ordering::Relaxed))).collect()
    }
}

/// The operation's row in [`Op::ALL`], which is in the order of the numbers. Searching it costs a few comparisons, so
/// the position comes from a table made when this is compiled.
fn index(op: Op) -> usize {
    const LAST: usize = Op::ALL[OPS - 1].number() as usize;
    const ROWS: [u8; LAST + 1] = {
        assert!(OPS <= u8::MAX as usize);
        let mut rows = [0; LAST + 1];
        let mut row = 0;
        while row < OPS {
            rows[Op::ALL[row].number() as usize] = row as u8;
            row += 1;
        }
        rows
    };
    usize::from(ROWS[usize::from(op.number())])
}

/// The calls of CUDA's driver API that an operation stands for. A new operation does not compile without a line here.
pub const fn driver_calls(op: Op) -> &'static str {
    match op {
        Op::Ping => "none",
        Op::CtxCreate => "cuCtxCreate, cuDevicePrimaryCtxRetain",
        Op::CtxDestroy => "cuCtxDestroy, cuDevicePrimaryCtxReset",
        Op::CtxSynchronize => "cuCtxSynchronize",
        Op::CtxGetLimit => "cuCtxGetLimit",
        Op::CtxSetLimit => "cuCtxSetLimit",
        Op::CtxResetPersistingL2 => "cuCtxResetPersistingL2Cache",
        Op::StreamCreate => "cuStreamCreate, cuStreamCreateWithPriority",
        Op::StreamDestroy => "cuStreamDestroy",
        Op::StreamSynchronize => "cuStreamSynchronize",
        Op::StreamQuery => "cuStreamQuery",
        Op::StreamWaitEvent => "cuStreamWaitEvent",
        Op::StreamWaitValue32 => "cuStreamWaitValue32, cuStreamBatchMemOp",
        Op::StreamWriteValue32 => "cuStreamWriteValue32, cuStreamBatchMemOp",
        Op::StreamWaitValue64 => "cuStreamWaitValue64, cuStreamBatchMemOp",
        Op::StreamWriteValue64 => "cuStreamWriteValue64, cuStreamBatchMemOp",
        Op::EventCreate => "cuEventCreate",
        Op::EventDestroy => "cuEventDestroy",
        Op::EventRecord => "cuEventRecord",
        Op::EventSynchronize => "cuEventSynchronize",
        Op::EventQuery => "cuEventQuery",
        Op::EventElapsedTime => "cuEventElapsedTime",
        Op::MemGetInfo => "cuMemGetInfo",
        Op::MemAlloc => "cuMemAlloc",
        Op::MemFree => "cuMemFree",
        Op::Memcpy => "cuMemcpy, cuMemcpyAsync, cuMemcpyDtoD, cuMemcpyHtoD and cuMemcpyDtoH of pinned memory",
        Op::MemcpyFromStaging => "cuMemcpyHtoD, cuMemcpyHtoDAsync of pageable memory",
        Op::MemcpyToStaging => "cuMemcpyDtoH, cuMemcpyDtoHAsync of pageable memory",
        Op::Memset => "cuMemsetD8, cuMemsetD16, cuMemsetD32 and their Async forms",
        Op::PointerGetAttribute => "cuPointerGetAttribute, cuMemGetAddressRange",
        Op::ModuleLoad => "cuModuleLoad, cuModuleLoadData, cuModuleLoadDataEx",
        Op::ModuleLoadKept => "the same, of an image that the host may keep from an earlier session",
        Op::ModuleUnload => "cuModuleUnload",
        Op::ModuleGetFunction => "cuModuleGetFunction",
        Op::ModuleGetGlobal => "cuModuleGetGlobal",
        Op::ModuleEnumerateFunctions => "cuModuleEnumerateFunctions, cuLibraryEnumerateKernels",
        Op::FuncSetAttribute => "cuFuncSetAttribute",
        Op::FuncGetAttribute => "cuFuncGetAttribute",
        Op::LaunchKernel => "cuLaunchKernel, cuLaunchKernelEx, cuLaunchCooperativeKernel",
        Op::GraphInstantiate => "cuGraphInstantiate",
        Op::GraphLaunch => "cuGraphLaunch",
        Op::GraphUpdate => "cuGraphExecUpdate",
        Op::GraphDestroy => "cuGraphExecDestroy",
        Op::GraphUpload => "cuGraphUpload",
        Op::AddressReserve => "cuMemAddressReserve",
        Op::AddressFree => "cuMemAddressFree",
        Op::MemoryCreate => "cuMemCreate",
        Op::MemoryRelease => "cuMemRelease",
        Op::MemoryMap => "cuMemMap",
        Op::MemoryUnmap => "cuMemUnmap",
        Op::MemorySetAccess => "cuMemSetAccess",
        Op::Occupancy => "cuOccupancyMaxActiveBlocksPerMultiprocessor and the other cuOccupancy functions",
        Op::TensorMapEncode => "cuTensorMapEncodeTiled, cuTensorMapEncodeIm2col, cuTensorMapEncodeIm2colWide",
        Op::TensorMapReplaceAddress => "cuTensorMapReplaceAddress",
        Op::ModuleLink => "cuLinkComplete",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_operation_has_a_counter_of_its_own() {
        let calls = Calls::new();
        for (times, op) in Op::ALL.iter().enumerate() {
            for _ in 0..times {
                calls.count(*op);
            }
        }
        for (times, (op, count)) in calls.snapshot().into_iter().enumerate() {
            assert_eq!(count, times as u64, "{op}");
        }
    }
}
