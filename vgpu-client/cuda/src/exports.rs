//! The one table of exports: every name of driver 580's `libcuda.so`, since which CUDA version `cuGetProcAddress`
//! gives it, and whether it is implemented here.
//!
//! The versions were read from the driver itself, by asking it for every name at every version. 0: never given.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::entry;
use crate::graph::calls::{
    add::*, attributes::*, dot::*, edges::*, execute::*, generic::*, memory::*, params::*, structure::*,
};
use crate::graph::{capture::calls::*, object::*};
use crate::{
    callback::*, context::*, copy::*, copy_batch::*, device::*, errors::*, event::*, export_table::*,
    function::*, hint::*, kernel::*, launch::*, library::*, limits::*, link::*, managed::*, memory::*,
    memset::*, module::*, occupancy::*, pinned::*, pointer::*, pool_calls::*, pool_order::*, primary::*,
    proc_address::*, register::*, stream::*, stream_attribute::*, stream_word::*, tensor_map::*, vmm::*,
};

/// Hands the table to the macro `$callback`, as rows of `name version state`, where the state is `bound` (implemented) or
/// `stub` (answers `CUDA_ERROR_NOT_SUPPORTED`).
macro_rules! for_each_export {
    ($callback:ident) => {
        $callback! {
            // table begin
            cuArray3DCreate 2000 stub; cuArray3DCreate_v2 3020 stub; cuArray3DGetDescriptor 2000 stub;
            cuArray3DGetDescriptor_v2 3020 stub; cuArrayCreate 2000 stub; cuArrayCreate_v2 3020 stub;
            cuArrayDestroy 2000 stub; cuArrayGetDescriptor 2000 stub; cuArrayGetDescriptor_v2 3020 stub;
            cuArrayGetMemoryRequirements 11060 stub; cuArrayGetPlane 11020 stub;
            cuArrayGetSparseProperties 11010 stub; cuCheckpointProcessCheckpoint 12080 stub;
            cuCheckpointProcessGetRestoreThreadId 12080 stub; cuCheckpointProcessGetState 12080 stub;
            cuCheckpointProcessLock 12080 stub; cuCheckpointProcessRestore 12080 stub;
            cuCheckpointProcessUnlock 12080 stub; cuCoredumpGetAttribute 12010 stub;
            cuCoredumpGetAttributeGlobal 12010 stub; cuCoredumpSetAttribute 12010 stub;
            cuCoredumpSetAttributeGlobal 12010 stub; cuCtxAttach 2000 stub; cuCtxCreate 2000 stub;
            cuCtxCreate_v2 3020 bound; cuCtxCreate_v3 11040 bound; cuCtxCreate_v4 12050 bound;
            cuCtxDestroy 2000 bound; cuCtxDestroy_v2 4000 bound; cuCtxDetach 2000 stub;
            cuCtxDisablePeerAccess 4000 bound; cuCtxEnablePeerAccess 4000 bound; cuCtxFromGreenCtx 12040 stub;
            cuCtxGetApiVersion 3020 bound; cuCtxGetCacheConfig 3020 bound; cuCtxGetCurrent 4000 bound;
            cuCtxGetDevResource 12040 stub; cuCtxGetDevice 2000 bound; cuCtxGetDevice_v2 13000 bound;
            cuCtxGetExecAffinity 11040 bound; cuCtxGetFlags 7000 bound; cuCtxGetId 12000 bound;
            cuCtxGetLimit 3010 bound; cuCtxGetSharedMemConfig 4020 bound; cuCtxGetStreamPriorityRange 5050 bound;
            cuCtxPopCurrent 2000 bound; cuCtxPopCurrent_v2 4000 bound; cuCtxPushCurrent 2000 bound;
            cuCtxPushCurrent_v2 4000 bound; cuCtxRecordEvent 12050 stub; cuCtxResetPersistingL2Cache 11000 bound;
            cuCtxSetCacheConfig 3020 bound; cuCtxSetCurrent 4000 bound; cuCtxSetFlags 12010 bound;
            cuCtxSetLimit 3010 bound; cuCtxSetSharedMemConfig 4020 bound; cuCtxSynchronize 2000 bound;
            cuCtxSynchronize_v2 13000 bound; cuCtxWaitEvent 12050 stub; cuDestroyExternalMemory 10000 stub;
            cuDestroyExternalSemaphore 10000 stub; cuDevResourceGenerateDesc 12040 stub;
            cuDevSmResourceSplitByCount 12040 stub; cuDeviceCanAccessPeer 4000 bound;
            cuDeviceComputeCapability 2000 bound; cuDeviceGet 2000 bound; cuDeviceGetAttribute 2000 bound;
            cuDeviceGetByPCIBusId 4010 bound; cuDeviceGetCount 2000 bound; cuDeviceGetDefaultMemPool 11020 bound;
            cuDeviceGetDevResource 12040 stub; cuDeviceGetExecAffinitySupport 11040 bound;
            cuDeviceGetGraphMemAttribute 11040 bound; cuDeviceGetHostAtomicCapabilities 13000 stub;
            cuDeviceGetLuid 10000 stub; cuDeviceGetMemPool 11020 bound; cuDeviceGetName 2000 bound;
            cuDeviceGetNvSciSyncAttributes 10020 stub; cuDeviceGetP2PAtomicCapabilities 13000 stub;
            cuDeviceGetP2PAttribute 8000 bound; cuDeviceGetPCIBusId 4010 bound; cuDeviceGetProperties 2000 bound;
            cuDeviceGetTexture1DLinearMaxWidth 11010 stub; cuDeviceGetUuid 9020 bound; cuDeviceGetUuid_v2 11040 bound;
            cuDeviceGraphMemTrim 11040 bound; cuDevicePrimaryCtxGetState 7000 bound;
            cuDevicePrimaryCtxRelease 7000 bound; cuDevicePrimaryCtxRelease_v2 11000 bound;
            cuDevicePrimaryCtxReset 7000 bound; cuDevicePrimaryCtxReset_v2 11000 bound;
            cuDevicePrimaryCtxRetain 7000 bound; cuDevicePrimaryCtxSetFlags 7000 bound;
            cuDevicePrimaryCtxSetFlags_v2 11000 bound; cuDeviceRegisterAsyncNotification 12040 stub;
            cuDeviceSetGraphMemAttribute 11040 bound; cuDeviceSetMemPool 11020 bound; cuDeviceTotalMem 2000 bound;
            cuDeviceTotalMem_v2 3020 bound; cuDeviceUnregisterAsyncNotification 12040 stub;
            cuDriverGetVersion 2020 bound; cuEGLApiInit 0 stub; cuEGLStreamConsumerAcquireFrame 7000 stub;
            cuEGLStreamConsumerConnect 7000 stub; cuEGLStreamConsumerConnectWithFlags 8000 stub;
            cuEGLStreamConsumerDisconnect 7000 stub; cuEGLStreamConsumerReleaseFrame 7000 stub;
            cuEGLStreamProducerConnect 7000 stub; cuEGLStreamProducerDisconnect 7000 stub;
            cuEGLStreamProducerPresentFrame 7000 stub; cuEGLStreamProducerReturnFrame 7000 stub;
            cuEventCreate 2000 bound; cuEventDestroy 2000 bound; cuEventDestroy_v2 4000 bound;
            cuEventElapsedTime 2000 bound; cuEventElapsedTime_v2 12080 bound; cuEventQuery 2000 bound;
            cuEventRecord 2000 bound; cuEventRecordWithFlags 11010 bound; cuEventRecordWithFlags_ptsz 11010 bound;
            cuEventRecord_ptsz 7000 bound; cuEventSynchronize 2000 bound; cuExternalMemoryGetMappedBuffer 10000 stub;
            cuExternalMemoryGetMappedMipmappedArray 10000 stub; cuFlushGPUDirectRDMAWrites 11030 stub;
            cuFuncGetAttribute 2020 bound; cuFuncGetModule 11000 bound; cuFuncGetName 12030 bound;
            cuFuncGetParamInfo 12040 bound; cuFuncIsLoaded 12040 bound; cuFuncLoad 12040 bound;
            cuFuncSetAttribute 9000 bound; cuFuncSetBlockShape 2000 stub; cuFuncSetCacheConfig 3000 bound;
            cuFuncSetSharedMemConfig 4020 bound; cuFuncSetSharedSize 2000 stub; cuGLCtxCreate 2000 stub;
            cuGLCtxCreate_v2 3020 stub; cuGLGetDevices 4010 stub; cuGLGetDevices_v2 6050 stub; cuGLInit 2000 stub;
            cuGLMapBufferObject 2000 stub; cuGLMapBufferObjectAsync 2030 stub; cuGLMapBufferObjectAsync_v2 3020 stub;
            cuGLMapBufferObjectAsync_v2_ptsz 7000 stub; cuGLMapBufferObject_v2 3020 stub;
            cuGLMapBufferObject_v2_ptds 7000 stub; cuGLRegisterBufferObject 2000 stub;
            cuGLSetBufferObjectMapFlags 2030 stub; cuGLUnmapBufferObject 2000 stub;
            cuGLUnmapBufferObjectAsync 2030 stub; cuGLUnregisterBufferObject 2000 stub; cuGetErrorName 6000 bound;
            cuGetErrorString 6000 bound; cuGetExportTable 3000 bound; cuGetProcAddress 11030 bound;
            cuGetProcAddress_v2 12000 bound; cuGraphAddBatchMemOpNode 11070 bound;
            cuGraphAddChildGraphNode 10000 bound; cuGraphAddDependencies 10000 bound;
            cuGraphAddDependencies_v2 12030 bound; cuGraphAddEmptyNode 10000 bound;
            cuGraphAddEventRecordNode 11010 bound; cuGraphAddEventWaitNode 11010 bound;
            cuGraphAddExternalSemaphoresSignalNode 11020 stub; cuGraphAddExternalSemaphoresWaitNode 11020 stub;
            cuGraphAddHostNode 10000 bound; cuGraphAddKernelNode 10000 bound; cuGraphAddKernelNode_v2 12000 bound;
            cuGraphAddMemAllocNode 11040 bound; cuGraphAddMemFreeNode 11040 bound; cuGraphAddMemcpyNode 10000 bound;
            cuGraphAddMemsetNode 10000 bound; cuGraphAddNode 12020 bound; cuGraphAddNode_v2 12030 bound;
            cuGraphBatchMemOpNodeGetParams 11070 bound; cuGraphBatchMemOpNodeSetParams 11070 bound;
            cuGraphChildGraphNodeGetGraph 10000 bound; cuGraphClone 10000 bound;
            cuGraphConditionalHandleCreate 12030 stub; cuGraphCreate 10000 bound; cuGraphDebugDotPrint 11030 bound;
            cuGraphDestroy 10000 bound; cuGraphDestroyNode 10000 bound; cuGraphEventRecordNodeGetEvent 11010 bound;
            cuGraphEventRecordNodeSetEvent 11010 bound; cuGraphEventWaitNodeGetEvent 11010 bound;
            cuGraphEventWaitNodeSetEvent 11010 bound; cuGraphExecBatchMemOpNodeSetParams 11070 bound;
            cuGraphExecChildGraphNodeSetParams 11010 bound; cuGraphExecDestroy 10000 bound;
            cuGraphExecEventRecordNodeSetEvent 11010 bound; cuGraphExecEventWaitNodeSetEvent 11010 bound;
            cuGraphExecExternalSemaphoresSignalNodeSetParams 11020 stub;
            cuGraphExecExternalSemaphoresWaitNodeSetParams 11020 stub; cuGraphExecGetFlags 12000 bound;
            cuGraphExecHostNodeSetParams 10020 bound; cuGraphExecKernelNodeSetParams 10010 bound;
            cuGraphExecKernelNodeSetParams_v2 12000 bound; cuGraphExecMemcpyNodeSetParams 10020 bound;
            cuGraphExecMemsetNodeSetParams 10020 bound; cuGraphExecNodeSetParams 12020 bound;
            cuGraphExecUpdate 10020 bound; cuGraphExecUpdate_v2 12000 bound;
            cuGraphExternalSemaphoresSignalNodeGetParams 11020 stub;
            cuGraphExternalSemaphoresSignalNodeSetParams 11020 stub;
            cuGraphExternalSemaphoresWaitNodeGetParams 11020 stub;
            cuGraphExternalSemaphoresWaitNodeSetParams 11020 stub; cuGraphGetEdges 10000 bound;
            cuGraphGetEdges_v2 12030 bound; cuGraphGetNodes 10000 bound; cuGraphGetRootNodes 10000 bound;
            cuGraphHostNodeGetParams 10000 bound; cuGraphHostNodeSetParams 10000 bound;
            cuGraphInstantiate 10000 bound; cuGraphInstantiateWithFlags 11040 bound;
            cuGraphInstantiateWithParams 12000 bound; cuGraphInstantiateWithParams_ptsz 12000 bound;
            cuGraphInstantiate_v2 11000 bound; cuGraphKernelNodeCopyAttributes 11000 bound;
            cuGraphKernelNodeGetAttribute 11000 bound; cuGraphKernelNodeGetParams 10000 bound;
            cuGraphKernelNodeGetParams_v2 12000 bound; cuGraphKernelNodeSetAttribute 11000 bound;
            cuGraphKernelNodeSetParams 10000 bound; cuGraphKernelNodeSetParams_v2 12000 bound;
            cuGraphLaunch 10000 bound; cuGraphLaunch_ptsz 10000 bound; cuGraphMemAllocNodeGetParams 11040 bound;
            cuGraphMemFreeNodeGetParams 11040 bound; cuGraphMemcpyNodeGetParams 10000 bound;
            cuGraphMemcpyNodeSetParams 10000 bound; cuGraphMemsetNodeGetParams 10000 bound;
            cuGraphMemsetNodeSetParams 10000 bound; cuGraphNodeFindInClone 10000 bound;
            cuGraphNodeGetDependencies 10000 bound; cuGraphNodeGetDependencies_v2 12030 bound;
            cuGraphNodeGetDependentNodes 10000 bound; cuGraphNodeGetDependentNodes_v2 12030 bound;
            cuGraphNodeGetEnabled 11060 bound; cuGraphNodeGetType 10000 bound; cuGraphNodeSetEnabled 11060 bound;
            cuGraphNodeSetParams 12020 bound; cuGraphReleaseUserObject 11030 bound;
            cuGraphRemoveDependencies 10000 bound; cuGraphRemoveDependencies_v2 12030 bound;
            cuGraphRetainUserObject 11030 bound; cuGraphUpload 11010 bound; cuGraphUpload_ptsz 11010 bound;
            cuGraphicsEGLRegisterImage 7000 stub; cuGraphicsGLRegisterBuffer 3000 stub;
            cuGraphicsGLRegisterImage 3000 stub; cuGraphicsMapResources 3000 stub;
            cuGraphicsMapResources_ptsz 7000 stub; cuGraphicsResourceGetMappedEglFrame 7000 stub;
            cuGraphicsResourceGetMappedMipmappedArray 5000 stub; cuGraphicsResourceGetMappedPointer 3000 stub;
            cuGraphicsResourceGetMappedPointer_v2 3020 stub; cuGraphicsResourceSetMapFlags 3000 stub;
            cuGraphicsResourceSetMapFlags_v2 6050 stub; cuGraphicsSubResourceGetMappedArray 3000 stub;
            cuGraphicsUnmapResources 3000 stub; cuGraphicsUnmapResources_ptsz 7000 stub;
            cuGraphicsUnregisterResource 3000 stub; cuGraphicsVDPAURegisterOutputSurface 3010 stub;
            cuGraphicsVDPAURegisterVideoSurface 3010 stub; cuGreenCtxCreate 12040 stub; cuGreenCtxDestroy 12040 stub;
            cuGreenCtxGetDevResource 12040 stub; cuGreenCtxGetId 12090 stub; cuGreenCtxRecordEvent 12040 stub;
            cuGreenCtxStreamCreate 12050 stub; cuGreenCtxWaitEvent 12040 stub; cuImportExternalMemory 10000 stub;
            cuImportExternalSemaphore 10000 stub; cuInit 2000 bound; cuIpcCloseMemHandle 4010 stub;
            cuIpcGetEventHandle 4010 stub; cuIpcGetMemHandle 4010 stub; cuIpcOpenEventHandle 4010 stub;
            cuIpcOpenMemHandle 4010 stub; cuIpcOpenMemHandle_v2 11000 stub; cuKernelGetAttribute 12000 bound;
            cuKernelGetFunction 12000 bound; cuKernelGetLibrary 12050 bound; cuKernelGetName 12030 bound;
            cuKernelGetParamInfo 12040 bound; cuKernelSetAttribute 12000 bound; cuKernelSetCacheConfig 12000 bound;
            cuLaunch 2000 stub; cuLaunchCooperativeKernel 9000 bound; cuLaunchCooperativeKernelMultiDevice 9000 stub;
            cuLaunchCooperativeKernel_ptsz 9000 bound; cuLaunchGrid 2000 stub; cuLaunchGridAsync 2000 stub;
            cuLaunchHostFunc 10000 bound; cuLaunchHostFunc_ptsz 10000 bound; cuLaunchKernel 4000 bound;
            cuLaunchKernelEx 11060 bound; cuLaunchKernelEx_ptsz 11060 bound; cuLaunchKernel_ptsz 7000 bound;
            cuLibraryEnumerateKernels 12040 bound; cuLibraryGetGlobal 12000 bound; cuLibraryGetKernel 12000 bound;
            cuLibraryGetKernelCount 12040 bound; cuLibraryGetManaged 12000 stub; cuLibraryGetModule 12000 bound;
            cuLibraryGetUnifiedFunction 12000 bound; cuLibraryLoadData 12000 bound; cuLibraryLoadFromFile 12000 bound;
            cuLibraryUnload 12000 bound; cuLinkAddData 5050 bound; cuLinkAddData_v2 6050 bound;
            cuLinkAddFile 5050 bound; cuLinkAddFile_v2 6050 bound; cuLinkComplete 5050 bound; cuLinkCreate 5050 bound;
            cuLinkCreate_v2 6050 bound; cuLinkDestroy 5050 bound; cuLogsCurrent 12090 stub;
            cuLogsDumpToFile 12090 stub; cuLogsDumpToMemory 12090 stub; cuLogsRegisterCallback 12090 stub;
            cuLogsUnregisterCallback 12090 stub; cuMemAddressFree 10020 bound; cuMemAddressReserve 10020 bound;
            cuMemAdvise 8000 bound; cuMemAdvise_v2 12020 bound; cuMemAlloc 2000 stub; cuMemAllocAsync 11020 bound;
            cuMemAllocAsync_ptsz 11020 bound; cuMemAllocFromPoolAsync 11020 bound;
            cuMemAllocFromPoolAsync_ptsz 11020 bound; cuMemAllocHost 2000 stub; cuMemAllocHost_v2 3020 bound;
            cuMemAllocManaged 6000 bound; cuMemAllocPitch 2000 stub; cuMemAllocPitch_v2 3020 bound;
            cuMemAlloc_v2 3020 bound; cuMemBatchDecompressAsync 12060 stub; cuMemBatchDecompressAsync_ptsz 12060 stub;
            cuMemCreate 10020 bound; cuMemDiscardAndPrefetchBatchAsync 13000 stub;
            cuMemDiscardAndPrefetchBatchAsync_ptsz 13000 stub; cuMemDiscardBatchAsync 13000 stub;
            cuMemDiscardBatchAsync_ptsz 13000 stub; cuMemExportToShareableHandle 10020 stub; cuMemFree 2000 stub;
            cuMemFreeAsync 11020 bound; cuMemFreeAsync_ptsz 11020 bound; cuMemFreeHost 2000 bound;
            cuMemFree_v2 3020 bound; cuMemGetAccess 10020 bound; cuMemGetAddressRange 2000 stub;
            cuMemGetAddressRange_v2 3020 bound; cuMemGetAllocationGranularity 10020 bound;
            cuMemGetAllocationPropertiesFromHandle 10020 bound; cuMemGetAttribute 0 stub; cuMemGetAttribute_v2 0 stub;
            cuMemGetDefaultMemPool 13000 bound; cuMemGetHandleForAddressRange 11070 stub; cuMemGetInfo 2000 stub;
            cuMemGetInfo_v2 3020 bound; cuMemGetMemPool 13000 bound; cuMemHostAlloc 2020 bound;
            cuMemHostGetDevicePointer 2020 stub; cuMemHostGetDevicePointer_v2 3020 bound;
            cuMemHostGetFlags 2030 bound; cuMemHostRegister 4000 bound; cuMemHostRegister_v2 6050 bound;
            cuMemHostUnregister 4000 bound; cuMemImportFromShareableHandle 10020 stub; cuMemMap 10020 bound;
            cuMemMapArrayAsync 11010 stub; cuMemMapArrayAsync_ptsz 11010 stub; cuMemPoolCreate 11020 bound;
            cuMemPoolDestroy 11020 bound; cuMemPoolExportPointer 11020 stub;
            cuMemPoolExportToShareableHandle 11020 stub; cuMemPoolGetAccess 11020 bound;
            cuMemPoolGetAttribute 11020 bound; cuMemPoolImportFromShareableHandle 11020 stub;
            cuMemPoolImportPointer 11020 stub; cuMemPoolSetAccess 11020 bound; cuMemPoolSetAttribute 11020 bound;
            cuMemPoolTrimTo 11020 bound; cuMemPrefetchAsync 8000 bound; cuMemPrefetchAsync_ptsz 8000 bound;
            cuMemPrefetchAsync_v2 12020 bound; cuMemPrefetchAsync_v2_ptsz 12020 bound;
            cuMemPrefetchBatchAsync 13000 stub; cuMemPrefetchBatchAsync_ptsz 13000 stub;
            cuMemRangeGetAttribute 8000 bound; cuMemRangeGetAttributes 8000 bound; cuMemRelease 10020 bound;
            cuMemRetainAllocationHandle 11000 bound; cuMemSetAccess 10020 bound; cuMemSetMemPool 13000 bound;
            cuMemUnmap 10020 bound; cuMemcpy 4000 bound; cuMemcpy2D 2000 stub; cuMemcpy2DAsync 2000 stub;
            cuMemcpy2DAsync_v2 3020 bound; cuMemcpy2DAsync_v2_ptsz 7000 bound; cuMemcpy2DUnaligned 2000 stub;
            cuMemcpy2DUnaligned_v2 3020 bound; cuMemcpy2DUnaligned_v2_ptds 7000 bound; cuMemcpy2D_v2 3020 bound;
            cuMemcpy2D_v2_ptds 7000 bound; cuMemcpy3D 2000 stub; cuMemcpy3DAsync 2000 stub;
            cuMemcpy3DAsync_v2 3020 bound; cuMemcpy3DAsync_v2_ptsz 7000 bound; cuMemcpy3DBatchAsync 12080 bound;
            cuMemcpy3DBatchAsync_ptsz 12080 bound; cuMemcpy3DBatchAsync_v2 13000 bound;
            cuMemcpy3DBatchAsync_v2_ptsz 13000 bound; cuMemcpy3DPeer 4000 bound; cuMemcpy3DPeerAsync 4000 bound;
            cuMemcpy3DPeerAsync_ptsz 7000 bound; cuMemcpy3DPeer_ptds 7000 bound; cuMemcpy3D_v2 3020 bound;
            cuMemcpy3D_v2_ptds 7000 bound; cuMemcpyAsync 4000 bound; cuMemcpyAsync_ptsz 7000 bound;
            cuMemcpyAtoA 2000 stub; cuMemcpyAtoA_v2 3020 stub; cuMemcpyAtoA_v2_ptds 7000 stub; cuMemcpyAtoD 2000 stub;
            cuMemcpyAtoD_v2 3020 stub; cuMemcpyAtoD_v2_ptds 7000 stub; cuMemcpyAtoH 2000 stub;
            cuMemcpyAtoHAsync 2000 stub; cuMemcpyAtoHAsync_v2 3020 stub; cuMemcpyAtoHAsync_v2_ptsz 7000 stub;
            cuMemcpyAtoH_v2 3020 stub; cuMemcpyAtoH_v2_ptds 7000 stub; cuMemcpyBatchAsync 12080 bound;
            cuMemcpyBatchAsync_ptsz 12080 bound; cuMemcpyBatchAsync_v2 13000 bound;
            cuMemcpyBatchAsync_v2_ptsz 13000 bound; cuMemcpyDtoA 2000 stub; cuMemcpyDtoA_v2 3020 stub;
            cuMemcpyDtoA_v2_ptds 7000 stub; cuMemcpyDtoD 2000 stub; cuMemcpyDtoDAsync 3000 stub;
            cuMemcpyDtoDAsync_v2 3020 bound; cuMemcpyDtoDAsync_v2_ptsz 7000 bound; cuMemcpyDtoD_v2 3020 bound;
            cuMemcpyDtoD_v2_ptds 7000 bound; cuMemcpyDtoH 2000 stub; cuMemcpyDtoHAsync 2000 stub;
            cuMemcpyDtoHAsync_v2 3020 bound; cuMemcpyDtoHAsync_v2_ptsz 7000 bound; cuMemcpyDtoH_v2 3020 bound;
            cuMemcpyDtoH_v2_ptds 7000 bound; cuMemcpyHtoA 2000 stub; cuMemcpyHtoAAsync 2000 stub;
            cuMemcpyHtoAAsync_v2 3020 stub; cuMemcpyHtoAAsync_v2_ptsz 7000 stub; cuMemcpyHtoA_v2 3020 stub;
            cuMemcpyHtoA_v2_ptds 7000 stub; cuMemcpyHtoD 2000 stub; cuMemcpyHtoDAsync 2000 stub;
            cuMemcpyHtoDAsync_v2 3020 bound; cuMemcpyHtoDAsync_v2_ptsz 7000 bound; cuMemcpyHtoD_v2 3020 bound;
            cuMemcpyHtoD_v2_ptds 7000 bound; cuMemcpyPeer 4000 bound; cuMemcpyPeerAsync 4000 bound;
            cuMemcpyPeerAsync_ptsz 7000 bound; cuMemcpyPeer_ptds 7000 bound; cuMemcpy_ptds 7000 bound;
            cuMemsetD16 2000 stub; cuMemsetD16Async 3020 bound; cuMemsetD16Async_ptsz 7000 bound;
            cuMemsetD16_v2 3020 bound; cuMemsetD16_v2_ptds 7000 bound; cuMemsetD2D16 2000 stub;
            cuMemsetD2D16Async 3020 bound; cuMemsetD2D16Async_ptsz 7000 bound; cuMemsetD2D16_v2 3020 bound;
            cuMemsetD2D16_v2_ptds 7000 bound; cuMemsetD2D32 2000 stub; cuMemsetD2D32Async 3020 bound;
            cuMemsetD2D32Async_ptsz 7000 bound; cuMemsetD2D32_v2 3020 bound; cuMemsetD2D32_v2_ptds 7000 bound;
            cuMemsetD2D8 2000 stub; cuMemsetD2D8Async 3020 bound; cuMemsetD2D8Async_ptsz 7000 bound;
            cuMemsetD2D8_v2 3020 bound; cuMemsetD2D8_v2_ptds 7000 bound; cuMemsetD32 2000 stub;
            cuMemsetD32Async 3020 bound; cuMemsetD32Async_ptsz 7000 bound; cuMemsetD32_v2 3020 bound;
            cuMemsetD32_v2_ptds 7000 bound; cuMemsetD8 2000 stub; cuMemsetD8Async 3020 bound;
            cuMemsetD8Async_ptsz 7000 bound; cuMemsetD8_v2 3020 bound; cuMemsetD8_v2_ptds 7000 bound;
            cuMipmappedArrayCreate 5000 stub; cuMipmappedArrayDestroy 5000 stub; cuMipmappedArrayGetLevel 5000 stub;
            cuMipmappedArrayGetMemoryRequirements 11060 stub; cuMipmappedArrayGetSparseProperties 11010 stub;
            cuModuleEnumerateFunctions 12040 bound; cuModuleGetFunction 2000 bound;
            cuModuleGetFunctionCount 12040 bound; cuModuleGetGlobal 2000 stub; cuModuleGetGlobal_v2 3020 bound;
            cuModuleGetLoadingMode 11070 bound; cuModuleGetSurfRef 3000 stub; cuModuleGetTexRef 2000 stub;
            cuModuleLoad 2000 bound; cuModuleLoadData 2000 bound; cuModuleLoadDataEx 2010 bound;
            cuModuleLoadFatBinary 2000 bound; cuModuleUnload 2000 bound; cuMulticastAddDevice 12010 stub;
            cuMulticastBindAddr 12010 stub; cuMulticastBindMem 12010 stub; cuMulticastCreate 12010 stub;
            cuMulticastGetGranularity 12010 stub; cuMulticastUnbind 12010 stub;
            cuOccupancyAvailableDynamicSMemPerBlock 10020 bound;
            cuOccupancyMaxActiveBlocksPerMultiprocessor 6050 bound;
            cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags 7000 bound; cuOccupancyMaxActiveClusters 11070 bound;
            cuOccupancyMaxPotentialBlockSize 6050 bound; cuOccupancyMaxPotentialBlockSizeWithFlags 7000 bound;
            cuOccupancyMaxPotentialClusterSize 11070 bound; cuParamSetSize 2000 stub; cuParamSetTexRef 2000 stub;
            cuParamSetf 2000 stub; cuParamSeti 2000 stub; cuParamSetv 2000 stub; cuPointerGetAttribute 4000 bound;
            cuPointerGetAttributes 7000 bound; cuPointerSetAttribute 6000 bound; cuProfilerInitialize 4000 stub;
            cuProfilerStart 4000 bound; cuProfilerStop 4000 bound; cuSignalExternalSemaphoresAsync 10000 stub;
            cuSignalExternalSemaphoresAsync_ptsz 10000 stub; cuStreamAddCallback 5000 bound;
            cuStreamAddCallback_ptsz 7000 bound; cuStreamAttachMemAsync 6000 bound;
            cuStreamAttachMemAsync_ptsz 7000 bound; cuStreamBatchMemOp 8000 bound; cuStreamBatchMemOp_ptsz 8000 bound;
            cuStreamBatchMemOp_v2 11070 bound; cuStreamBatchMemOp_v2_ptsz 11070 bound;
            cuStreamBeginCapture 10000 bound; cuStreamBeginCaptureToGraph 12030 bound;
            cuStreamBeginCaptureToGraph_ptsz 12030 bound; cuStreamBeginCapture_ptsz 10000 bound;
            cuStreamBeginCapture_v2 10010 bound; cuStreamBeginCapture_v2_ptsz 10010 bound;
            cuStreamCopyAttributes 11000 bound; cuStreamCopyAttributes_ptsz 11000 bound; cuStreamCreate 2000 bound;
            cuStreamCreateWithPriority 5050 bound; cuStreamDestroy 2000 bound; cuStreamDestroy_v2 4000 bound;
            cuStreamEndCapture 10000 bound; cuStreamEndCapture_ptsz 10000 bound; cuStreamGetAttribute 11000 bound;
            cuStreamGetAttribute_ptsz 11000 bound; cuStreamGetCaptureInfo 10010 bound;
            cuStreamGetCaptureInfo_ptsz 10010 bound; cuStreamGetCaptureInfo_v2 11030 bound;
            cuStreamGetCaptureInfo_v2_ptsz 11030 bound; cuStreamGetCaptureInfo_v3 12030 bound;
            cuStreamGetCaptureInfo_v3_ptsz 12030 bound; cuStreamGetCtx 9020 bound; cuStreamGetCtx_ptsz 9020 bound;
            cuStreamGetCtx_v2 12050 stub; cuStreamGetCtx_v2_ptsz 12050 stub; cuStreamGetDevice 12080 bound;
            cuStreamGetDevice_ptsz 12080 bound; cuStreamGetFlags 5050 bound; cuStreamGetFlags_ptsz 7000 bound;
            cuStreamGetGreenCtx 12040 stub; cuStreamGetId 12000 bound; cuStreamGetId_ptsz 12000 bound;
            cuStreamGetPriority 5050 bound; cuStreamGetPriority_ptsz 7000 bound; cuStreamIsCapturing 10000 bound;
            cuStreamIsCapturing_ptsz 10000 bound; cuStreamQuery 2000 bound; cuStreamQuery_ptsz 7000 bound;
            cuStreamSetAttribute 11000 bound; cuStreamSetAttribute_ptsz 11000 bound; cuStreamSynchronize 2000 bound;
            cuStreamSynchronize_ptsz 7000 bound; cuStreamUpdateCaptureDependencies 11030 bound;
            cuStreamUpdateCaptureDependencies_ptsz 11030 bound; cuStreamUpdateCaptureDependencies_v2 12030 bound;
            cuStreamUpdateCaptureDependencies_v2_ptsz 12030 bound; cuStreamWaitEvent 3020 bound;
            cuStreamWaitEvent_ptsz 7000 bound; cuStreamWaitValue32 8000 stub; cuStreamWaitValue32_ptsz 8000 stub;
            cuStreamWaitValue32_v2 11070 bound; cuStreamWaitValue32_v2_ptsz 11070 bound;
            cuStreamWaitValue64 9000 stub; cuStreamWaitValue64_ptsz 9000 stub; cuStreamWaitValue64_v2 11070 bound;
            cuStreamWaitValue64_v2_ptsz 11070 bound; cuStreamWriteValue32 8000 stub;
            cuStreamWriteValue32_ptsz 8000 stub; cuStreamWriteValue32_v2 11070 bound;
            cuStreamWriteValue32_v2_ptsz 11070 bound; cuStreamWriteValue64 9000 stub;
            cuStreamWriteValue64_ptsz 9000 stub; cuStreamWriteValue64_v2 11070 bound;
            cuStreamWriteValue64_v2_ptsz 11070 bound; cuSurfObjectCreate 5000 stub; cuSurfObjectDestroy 5000 stub;
            cuSurfObjectGetResourceDesc 5000 stub; cuSurfRefGetArray 3000 stub; cuSurfRefSetArray 3000 stub;
            cuTensorMapEncodeIm2col 12000 bound; cuTensorMapEncodeIm2colWide 12080 bound;
            cuTensorMapEncodeTiled 12000 bound; cuTensorMapReplaceAddress 12000 bound; cuTexObjectCreate 5000 stub;
            cuTexObjectDestroy 5000 stub; cuTexObjectGetResourceDesc 5000 stub;
            cuTexObjectGetResourceViewDesc 5000 stub; cuTexObjectGetTextureDesc 5000 stub; cuTexRefCreate 2000 stub;
            cuTexRefDestroy 2000 stub; cuTexRefGetAddress 2000 stub; cuTexRefGetAddressMode 2000 stub;
            cuTexRefGetAddress_v2 3020 stub; cuTexRefGetArray 2000 stub; cuTexRefGetBorderColor 8000 stub;
            cuTexRefGetFilterMode 2000 stub; cuTexRefGetFlags 2000 stub; cuTexRefGetFormat 2000 stub;
            cuTexRefGetMaxAnisotropy 5000 stub; cuTexRefGetMipmapFilterMode 5000 stub;
            cuTexRefGetMipmapLevelBias 5000 stub; cuTexRefGetMipmapLevelClamp 5000 stub;
            cuTexRefGetMipmappedArray 5000 stub; cuTexRefSetAddress 2000 stub; cuTexRefSetAddress2D 2020 stub;
            cuTexRefSetAddress2D_v2 3020 stub; cuTexRefSetAddress2D_v3 4010 stub; cuTexRefSetAddressMode 2000 stub;
            cuTexRefSetAddress_v2 3020 stub; cuTexRefSetArray 2000 stub; cuTexRefSetBorderColor 8000 stub;
            cuTexRefSetFilterMode 2000 stub; cuTexRefSetFlags 2000 stub; cuTexRefSetFormat 2000 stub;
            cuTexRefSetMaxAnisotropy 5000 stub; cuTexRefSetMipmapFilterMode 5000 stub;
            cuTexRefSetMipmapLevelBias 5000 stub; cuTexRefSetMipmapLevelClamp 5000 stub;
            cuTexRefSetMipmappedArray 5000 stub; cuThreadExchangeStreamCaptureMode 10010 bound;
            cuUserObjectCreate 11030 bound; cuUserObjectRelease 11030 bound; cuUserObjectRetain 11030 bound;
            cuVDPAUCtxCreate 3010 stub; cuVDPAUCtxCreate_v2 3020 stub; cuVDPAUGetDevice 3010 stub;
            cuWaitExternalSemaphoresAsync 10000 stub; cuWaitExternalSemaphoresAsync_ptsz 10000 stub;
            // table end
        }
    };
}

macro_rules! define_exports {
    ($($name:ident $version:literal $state:ident;)*) => {
        /// A function of the driver API.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(usize)]
        #[expect(clippy::enum_variant_names, reason = "the driver's own names")]
        pub(crate) enum Id { $($name,)* }

        /// Every function, in the order of the table.
        pub(crate) static EXPORTS: &[Export] = &[
            $(Export {
                name: stringify!($name),
                version: $version,
                address: $name as *const (),
                state: stringify!($state),
            },)*
        ];

        $(define_exports!(@$state $name);)*

        /// The arguments of each function that is implemented.
        #[cfg(test)]
        fn signatures() -> Vec<(&'static str, Vec<[usize; 2]>)> {
            let mut rows = Vec::new();
            $(define_exports!(@signature $state rows $name);)*
            rows
        }
    };
    (@signature bound $rows:ident $name:ident) => {
        $rows.push((
            stringify!($name),
            <wheels::Arguments<{ Id::$name as usize }> as wheels::Signature>::sizes(),
        ));
    };
    (@signature stub $rows:ident $name:ident) => {};
    (@bound $name:ident) => {};
    (@stub $name:ident) => {
        #[unsafe(no_mangle)]
        pub(crate) extern "C" fn $name() -> u32 {
            entry::unsupported(Id::$name)
        }
    };
}

for_each_export!(define_exports);

/// A row of the table.
#[derive(Debug)]
pub(crate) struct Export {
    pub(crate) name: &'static str,
    /// `major * 1000 + minor * 10` of the first CUDA version that has it under its name without suffixes.
    pub(crate) version: i32,
    pub(crate) address: *const (),
    /// `bound` or `stub`.
    state: &'static str,
}

// SAFETY: the pointer is the address of a function, which any thread may call.
unsafe impl Sync for Export {}

/// How often each function was called.
static COUNTS: [AtomicU64; EXPORTS.len()] = [const { AtomicU64::new(0) }; EXPORTS.len()];

/// Counts a call, and tells how many there were before.
pub(crate) fn count(id: Id) -> u64 {
    COUNTS[id as usize].fetch_add(1, Ordering::Relaxed)
}

/// Every function that was called: how often, whether it is implemented, its name.
pub(crate) fn counted() -> impl Iterator<Item = (u64, bool, &'static str)> {
    let counts = COUNTS.iter().map(|count| count.load(Ordering::Relaxed));
    let rows = counts.zip(EXPORTS).filter(|(count, _)| *count > 0);
    rows.map(|(count, export)| (count, export.state == "bound", export.name))
}

impl Id {
    pub(crate) fn name(self) -> &'static str {
        EXPORTS[self as usize].name
    }
}

#[cfg(test)]
pub(crate) mod wheels;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Names that driver 580 exports, besides those for debuggers.
    const DRIVER_EXPORTS: usize = 674;

    #[test]
    fn the_table_is_the_drivers() {
        assert_eq!(EXPORTS.len(), DRIVER_EXPORTS);
        assert!(EXPORTS.windows(2).all(|pair| pair[0].name < pair[1].name), "sorted, each name once");
    }

    #[test]
    fn the_page_lists_what_is_not_supported() {
        let page = include_str!("../../../docs/compatibility.md");
        let (_, list) = page.split_once("-->\n").unwrap();
        let listed: BTreeSet<&str> = list.split('`').filter(|name| name.starts_with("cu")).collect();
        let stubs = EXPORTS.iter().filter(|export| export.state == "stub").map(|export| export.name);
        assert_eq!(stubs.collect::<BTreeSet<&str>>(), listed, "docs/compatibility.md differs from the table");
    }
}
