//! The one table of exports: every name of NVIDIA's `nvml.h` and of its Python bindings.
//!
//! `bound` is implemented. `absent` answers `NVML_ERROR_NOT_SUPPORTED`, as for a card that lacks the sensor or feature:
//! tools show nothing there then. `unknown` answers `NVML_ERROR_FUNCTION_NOT_FOUND`: nothing that changes the card, and
//! nothing of other products, is a tenant's. None of them ever claims success.

use crate::calls::{device::*, memory::*, process::*, system::*};
use crate::fail::{FUNCTION_NOT_FOUND, NOT_SUPPORTED};

macro_rules! for_each_export {
    ($callback:ident) => {
        $callback! {
            nvmlComputeInstanceDestroy unknown; nvmlComputeInstanceGetInfo unknown;
            nvmlComputeInstanceGetInfo_v2 unknown; nvmlDeviceClearAccountingPids unknown;
            nvmlDeviceClearCpuAffinity unknown; nvmlDeviceClearEccErrorCounts unknown;
            nvmlDeviceClearFieldValues unknown; nvmlDeviceCreateGpuInstance unknown;
            nvmlDeviceCreateGpuInstanceWithPlacement unknown; nvmlDeviceDiscoverGpus unknown;
            nvmlDeviceFreezeNvLinkUtilizationCounter unknown; nvmlDeviceGetAPIRestriction absent;
            nvmlDeviceGetAccountingBufferSize absent; nvmlDeviceGetAccountingMode absent;
            nvmlDeviceGetAccountingPids absent; nvmlDeviceGetAccountingStats absent;
            nvmlDeviceGetAccountingStats_v2 absent; nvmlDeviceGetActiveVgpus absent;
            nvmlDeviceGetAdaptiveClockInfoStatus absent; nvmlDeviceGetAdaptiveTgpModeInfo_v1 absent;
            nvmlDeviceGetAddressingMode absent; nvmlDeviceGetApplicationsClock absent;
            nvmlDeviceGetArchitecture bound; nvmlDeviceGetAttributes absent; nvmlDeviceGetAttributes_v2 absent;
            nvmlDeviceGetAutoBoostedClocksEnabled absent; nvmlDeviceGetBAR1MemoryInfo absent;
            nvmlDeviceGetBBXTimeData_v1 absent; nvmlDeviceGetBankRemapperStatus_v1 absent;
            nvmlDeviceGetBoardId absent; nvmlDeviceGetBoardPartNumber absent; nvmlDeviceGetBrand bound;
            nvmlDeviceGetBridgeChipInfo absent; nvmlDeviceGetBusType absent; nvmlDeviceGetC2cModeInfoV absent;
            nvmlDeviceGetCapabilities absent; nvmlDeviceGetClkMonStatus absent; nvmlDeviceGetClock absent;
            nvmlDeviceGetClockInfo absent; nvmlDeviceGetClockOffsets absent;
            nvmlDeviceGetComputeInstanceId absent; nvmlDeviceGetComputeMode bound;
            nvmlDeviceGetComputeRunningProcesses bound; nvmlDeviceGetComputeRunningProcesses_v2 bound;
            nvmlDeviceGetComputeRunningProcesses_v3 bound; nvmlDeviceGetConfComputeGpuAttestationReport absent;
            nvmlDeviceGetConfComputeGpuCertificate absent; nvmlDeviceGetConfComputeMemSizeInfo absent;
            nvmlDeviceGetConfComputeProtectedMemoryUsage absent; nvmlDeviceGetCoolerInfo absent;
            nvmlDeviceGetCount bound; nvmlDeviceGetCount_v2 bound; nvmlDeviceGetCpuAffinity absent;
            nvmlDeviceGetCpuAffinityWithinScope absent; nvmlDeviceGetCreatableVgpus absent;
            nvmlDeviceGetCudaComputeCapability bound; nvmlDeviceGetCurrPcieLinkGeneration absent;
            nvmlDeviceGetCurrPcieLinkWidth absent; nvmlDeviceGetCurrentClockFreqs absent;
            nvmlDeviceGetCurrentClocksEventReasons absent; nvmlDeviceGetCurrentClocksThrottleReasons absent;
            nvmlDeviceGetDecoderUtilization absent; nvmlDeviceGetDefaultApplicationsClock absent;
            nvmlDeviceGetDefaultEccMode absent; nvmlDeviceGetDetailedEccErrors absent;
            nvmlDeviceGetDeviceHandleFromMigDeviceHandle absent; nvmlDeviceGetDisplayActive absent;
            nvmlDeviceGetDisplayMode absent; nvmlDeviceGetDramEncryptionMode absent;
            nvmlDeviceGetDriverModel absent; nvmlDeviceGetDriverModel_v2 absent;
            nvmlDeviceGetDynamicPstatesInfo absent; nvmlDeviceGetEccMode absent;
            nvmlDeviceGetEncoderCapacity absent; nvmlDeviceGetEncoderSessions absent;
            nvmlDeviceGetEncoderStats absent; nvmlDeviceGetEncoderUtilization absent;
            nvmlDeviceGetEnforcedPowerLimit absent; nvmlDeviceGetFBCSessions absent;
            nvmlDeviceGetFBCStats absent; nvmlDeviceGetFanControlPolicy_v2 absent; nvmlDeviceGetFanSpeed absent;
            nvmlDeviceGetFanSpeedRPM absent; nvmlDeviceGetFanSpeed_v2 absent; nvmlDeviceGetFieldValues bound;
            nvmlDeviceGetGpcClkMinMaxVfOffset absent; nvmlDeviceGetGpcClkVfOffset absent;
            nvmlDeviceGetGpuFabricInfo absent; nvmlDeviceGetGpuFabricInfoV absent;
            nvmlDeviceGetGpuFabricInfo_v4 absent; nvmlDeviceGetGpuInstanceById absent;
            nvmlDeviceGetGpuInstanceId absent; nvmlDeviceGetGpuInstancePossiblePlacements absent;
            nvmlDeviceGetGpuInstancePossiblePlacements_v2 absent; nvmlDeviceGetGpuInstanceProfileInfo absent;
            nvmlDeviceGetGpuInstanceProfileInfoByIdV absent; nvmlDeviceGetGpuInstanceProfileInfoV absent;
            nvmlDeviceGetGpuInstanceRemainingCapacity absent; nvmlDeviceGetGpuInstances absent;
            nvmlDeviceGetGpuMaxPcieLinkGeneration absent; nvmlDeviceGetGpuOperationMode absent;
            nvmlDeviceGetGraphicsRunningProcesses bound; nvmlDeviceGetGraphicsRunningProcesses_v2 bound;
            nvmlDeviceGetGraphicsRunningProcesses_v3 bound; nvmlDeviceGetGridLicensableFeatures absent;
            nvmlDeviceGetGridLicensableFeatures_v2 absent; nvmlDeviceGetGridLicensableFeatures_v3 absent;
            nvmlDeviceGetGridLicensableFeatures_v4 absent; nvmlDeviceGetGspFirmwareMode absent;
            nvmlDeviceGetGspFirmwareVersion absent; nvmlDeviceGetHandleByIndex bound;
            nvmlDeviceGetHandleByIndex_v2 bound; nvmlDeviceGetHandleByPciBusId bound;
            nvmlDeviceGetHandleByPciBusId_v2 bound; nvmlDeviceGetHandleBySerial absent;
            nvmlDeviceGetHandleByUUID bound; nvmlDeviceGetHandleByUUIDV absent;
            nvmlDeviceGetHostVgpuMode absent; nvmlDeviceGetHostname_v1 absent; nvmlDeviceGetIndex bound;
            nvmlDeviceGetInforomConfigurationChecksum absent; nvmlDeviceGetInforomImageVersion absent;
            nvmlDeviceGetInforomVersion absent; nvmlDeviceGetIrqNum absent; nvmlDeviceGetJpgUtilization absent;
            nvmlDeviceGetLastBBXFlushTime absent; nvmlDeviceGetMPSComputeRunningProcesses bound;
            nvmlDeviceGetMPSComputeRunningProcesses_v2 bound; nvmlDeviceGetMPSComputeRunningProcesses_v3 bound;
            nvmlDeviceGetMarginTemperature absent; nvmlDeviceGetMaxClockInfo absent;
            nvmlDeviceGetMaxCustomerBoostClock absent; nvmlDeviceGetMaxMigDeviceCount absent;
            nvmlDeviceGetMaxPcieLinkGeneration absent; nvmlDeviceGetMaxPcieLinkWidth absent;
            nvmlDeviceGetMemClkMinMaxVfOffset absent; nvmlDeviceGetMemClkVfOffset absent;
            nvmlDeviceGetMemoryAffinity absent; nvmlDeviceGetMemoryBusWidth absent;
            nvmlDeviceGetMemoryErrorCounter absent; nvmlDeviceGetMemoryInfo bound;
            nvmlDeviceGetMemoryInfo_v2 bound; nvmlDeviceGetMemoryLimits_v1 absent;
            nvmlDeviceGetMigDeviceHandleByIndex absent; nvmlDeviceGetMigMode absent;
            nvmlDeviceGetMinMaxClockOfPState absent; nvmlDeviceGetMinMaxFanSpeed absent;
            nvmlDeviceGetMinorNumber bound; nvmlDeviceGetModuleId absent; nvmlDeviceGetMultiGpuBoard bound;
            nvmlDeviceGetName bound; nvmlDeviceGetNumFans absent; nvmlDeviceGetNumGpuCores bound;
            nvmlDeviceGetNumaNodeId absent; nvmlDeviceGetNvLinkCapability absent;
            nvmlDeviceGetNvLinkErrorCounter absent; nvmlDeviceGetNvLinkInfo absent;
            nvmlDeviceGetNvLinkRemoteDeviceType absent; nvmlDeviceGetNvLinkRemotePciInfo absent;
            nvmlDeviceGetNvLinkRemotePciInfo_v2 absent; nvmlDeviceGetNvLinkState absent;
            nvmlDeviceGetNvLinkTelemetrySamples_v1 absent; nvmlDeviceGetNvLinkUtilizationControl absent;
            nvmlDeviceGetNvLinkUtilizationCounter absent; nvmlDeviceGetNvLinkVersion absent;
            nvmlDeviceGetNvlinkBwMode absent; nvmlDeviceGetNvlinkSupportedBwModes absent;
            nvmlDeviceGetOfaUtilization absent; nvmlDeviceGetP2PStatus absent; nvmlDeviceGetPciInfo bound;
            nvmlDeviceGetPciInfoExt absent; nvmlDeviceGetPciInfo_v2 bound; nvmlDeviceGetPciInfo_v3 bound;
            nvmlDeviceGetPcieLinkMaxSpeed absent; nvmlDeviceGetPcieReplayCounter absent;
            nvmlDeviceGetPcieSpeed absent; nvmlDeviceGetPcieThroughput absent; nvmlDeviceGetPdi absent;
            nvmlDeviceGetPerformanceModes absent; nvmlDeviceGetPerformanceState absent;
            nvmlDeviceGetPersistenceMode absent; nvmlDeviceGetPgpuMetadataString absent;
            nvmlDeviceGetPlatformInfo absent; nvmlDeviceGetPowerManagementDefaultLimit absent;
            nvmlDeviceGetPowerManagementLimit absent; nvmlDeviceGetPowerManagementLimitConstraints absent;
            nvmlDeviceGetPowerManagementMode absent; nvmlDeviceGetPowerMizerMode_v1 absent;
            nvmlDeviceGetPowerSource absent; nvmlDeviceGetPowerState absent; nvmlDeviceGetPowerUsage absent;
            nvmlDeviceGetProcessUtilization absent; nvmlDeviceGetProcessesUtilizationInfo absent;
            nvmlDeviceGetRemappedRows absent; nvmlDeviceGetRemappedRows_v2 absent;
            nvmlDeviceGetRepairStatus absent; nvmlDeviceGetRetiredPages absent;
            nvmlDeviceGetRetiredPagesPendingStatus absent; nvmlDeviceGetRetiredPages_v2 absent;
            nvmlDeviceGetRowRemapperHistogram absent; nvmlDeviceGetRunningProcessDetailList absent;
            nvmlDeviceGetSamples absent; nvmlDeviceGetSerial absent; nvmlDeviceGetSramEccErrorStatus absent;
            nvmlDeviceGetSramUniqueUncorrectedEccErrorCounts absent;
            nvmlDeviceGetSupportedClocksEventReasons absent; nvmlDeviceGetSupportedClocksThrottleReasons absent;
            nvmlDeviceGetSupportedEventTypes absent; nvmlDeviceGetSupportedGraphicsClocks absent;
            nvmlDeviceGetSupportedMemoryClocks absent; nvmlDeviceGetSupportedPerformanceStates absent;
            nvmlDeviceGetSupportedVgpus absent; nvmlDeviceGetTargetFanSpeed absent;
            nvmlDeviceGetTemperature absent; nvmlDeviceGetTemperatureThreshold absent;
            nvmlDeviceGetTemperatureV absent; nvmlDeviceGetThermalSettings absent;
            nvmlDeviceGetTopologyCommonAncestor absent; nvmlDeviceGetTopologyNearestGpus absent;
            nvmlDeviceGetTotalEccErrors absent; nvmlDeviceGetTotalEnergyConsumption absent;
            nvmlDeviceGetUUID bound; nvmlDeviceGetUnrepairableMemoryFlag_v1 absent;
            nvmlDeviceGetUtilizationRates absent; nvmlDeviceGetVbiosVersion absent;
            nvmlDeviceGetVgpuCapabilities absent; nvmlDeviceGetVgpuHeterogeneousMode absent;
            nvmlDeviceGetVgpuInstancesUtilizationInfo absent; nvmlDeviceGetVgpuMetadata absent;
            nvmlDeviceGetVgpuProcessUtilization absent; nvmlDeviceGetVgpuProcessesUtilizationInfo absent;
            nvmlDeviceGetVgpuSchedulerCapabilities absent; nvmlDeviceGetVgpuSchedulerLog absent;
            nvmlDeviceGetVgpuSchedulerLog_v2 absent; nvmlDeviceGetVgpuSchedulerState absent;
            nvmlDeviceGetVgpuSchedulerState_v2 absent; nvmlDeviceGetVgpuTypeCreatablePlacements absent;
            nvmlDeviceGetVgpuTypeSupportedPlacements absent; nvmlDeviceGetVgpuUtilization absent;
            nvmlDeviceGetViolationStatus absent; nvmlDeviceGetVirtualizationMode bound;
            nvmlDeviceIsMigDeviceHandle unknown; nvmlDeviceModifyDrainState unknown;
            nvmlDeviceOnSameBoard unknown; nvmlDevicePerfMetricsGetSamples_v1 unknown;
            nvmlDevicePowerSmoothingActivatePresetProfile unknown; nvmlDevicePowerSmoothingSetState unknown;
            nvmlDevicePowerSmoothingUpdatePresetProfileParam unknown; nvmlDeviceQueryDrainState unknown;
            nvmlDeviceReadPRMCounters_v1 unknown; nvmlDeviceReadWritePRM_v1 unknown;
            nvmlDeviceRegisterEvents unknown; nvmlDeviceRemoveGpu unknown; nvmlDeviceRemoveGpu_v2 unknown;
            nvmlDeviceResetApplicationsClocks unknown; nvmlDeviceResetGpuLockedClocks unknown;
            nvmlDeviceResetMemoryLockedClocks unknown; nvmlDeviceResetNvLinkErrorCounters unknown;
            nvmlDeviceResetNvLinkUtilizationCounter unknown; nvmlDeviceSetAPIRestriction unknown;
            nvmlDeviceSetAccountingMode unknown; nvmlDeviceSetAdaptiveTgpMode_v1 unknown;
            nvmlDeviceSetApplicationsClocks unknown; nvmlDeviceSetAutoBoostedClocksEnabled unknown;
            nvmlDeviceSetClockOffsets unknown; nvmlDeviceSetComputeMode unknown;
            nvmlDeviceSetConfComputeUnprotectedMemSize unknown; nvmlDeviceSetCpuAffinity unknown;
            nvmlDeviceSetDefaultAutoBoostedClocksEnabled unknown; nvmlDeviceSetDefaultFanSpeed_v2 unknown;
            nvmlDeviceSetDramEncryptionMode unknown; nvmlDeviceSetDriverModel unknown;
            nvmlDeviceSetEccMode unknown; nvmlDeviceSetFanControlPolicy unknown;
            nvmlDeviceSetFanSpeed_v2 unknown; nvmlDeviceSetGpcClkVfOffset unknown;
            nvmlDeviceSetGpuLockedClocks unknown; nvmlDeviceSetGpuOperationMode unknown;
            nvmlDeviceSetHostname_v1 unknown; nvmlDeviceSetMemClkVfOffset unknown;
            nvmlDeviceSetMemoryLimits_v1 unknown; nvmlDeviceSetMemoryLockedClocks unknown;
            nvmlDeviceSetMigMode unknown; nvmlDeviceSetNvLinkDeviceLowPowerThreshold unknown;
            nvmlDeviceSetNvLinkUtilizationControl unknown; nvmlDeviceSetNvlinkBwMode unknown;
            nvmlDeviceSetNvlinkBwModeAsync_v1 unknown; nvmlDeviceSetPersistenceMode unknown;
            nvmlDeviceSetPowerManagementLimit unknown; nvmlDeviceSetPowerManagementLimit_v2 unknown;
            nvmlDeviceSetPowerMizerMode_v1 unknown; nvmlDeviceSetRusdSettings_v1 unknown;
            nvmlDeviceSetTemperatureThreshold unknown; nvmlDeviceSetVgpuCapabilities unknown;
            nvmlDeviceSetVgpuHeterogeneousMode unknown; nvmlDeviceSetVgpuSchedulerState unknown;
            nvmlDeviceSetVgpuSchedulerState_v2 unknown; nvmlDeviceSetVirtualizationMode unknown;
            nvmlDeviceValidateInforom unknown; nvmlDeviceVgpuForceGspUnload unknown;
            nvmlDeviceWorkloadPowerProfileClearRequestedProfiles unknown;
            nvmlDeviceWorkloadPowerProfileGetCurrentProfiles unknown;
            nvmlDeviceWorkloadPowerProfileGetProfilesInfo unknown;
            nvmlDeviceWorkloadPowerProfileSetRequestedProfiles unknown;
            nvmlDeviceWorkloadPowerProfileUpdateProfiles_v1 unknown; nvmlErrorString bound;
            nvmlEventSetCreate unknown; nvmlEventSetFree unknown; nvmlEventSetGetContextCount_v1 unknown;
            nvmlEventSetGetContextData_v1 unknown; nvmlEventSetGetContextInfo_v1 unknown;
            nvmlEventSetGetGpuOperationalEventContextLegacyXid_v1 unknown;
            nvmlEventSetRegisterGpuOperationalEvents_v1 unknown; nvmlEventSetWait unknown;
            nvmlEventSetWait_v2 unknown; nvmlEventSetWait_v3 unknown; nvmlGetExcludedDeviceCount unknown;
            nvmlGetExcludedDeviceInfoByIndex unknown; nvmlGetVgpuCompatibility unknown;
            nvmlGetVgpuDriverCapabilities unknown; nvmlGetVgpuVersion unknown; nvmlGpmMetricsGet unknown;
            nvmlGpmMigSampleGet unknown; nvmlGpmQueryDeviceSupport unknown;
            nvmlGpmQueryIfStreamingEnabled unknown; nvmlGpmSampleAlloc unknown; nvmlGpmSampleFree unknown;
            nvmlGpmSampleGet unknown; nvmlGpmSetStreamingEnabled unknown;
            nvmlGpuInstanceCreateComputeInstance unknown;
            nvmlGpuInstanceCreateComputeInstanceWithPlacement unknown; nvmlGpuInstanceDestroy unknown;
            nvmlGpuInstanceGetActiveVgpus unknown; nvmlGpuInstanceGetComputeInstanceById unknown;
            nvmlGpuInstanceGetComputeInstancePossiblePlacements unknown;
            nvmlGpuInstanceGetComputeInstanceProfileInfo unknown;
            nvmlGpuInstanceGetComputeInstanceProfileInfoV unknown;
            nvmlGpuInstanceGetComputeInstanceRemainingCapacity unknown;
            nvmlGpuInstanceGetComputeInstances unknown; nvmlGpuInstanceGetCreatableVgpus unknown;
            nvmlGpuInstanceGetInfo unknown; nvmlGpuInstanceGetVgpuHeterogeneousMode unknown;
            nvmlGpuInstanceGetVgpuSchedulerLog unknown; nvmlGpuInstanceGetVgpuSchedulerLog_v2 unknown;
            nvmlGpuInstanceGetVgpuSchedulerState unknown; nvmlGpuInstanceGetVgpuSchedulerState_v2 unknown;
            nvmlGpuInstanceGetVgpuTypeCreatablePlacements unknown;
            nvmlGpuInstanceSetVgpuHeterogeneousMode unknown; nvmlGpuInstanceSetVgpuSchedulerState unknown;
            nvmlGpuInstanceSetVgpuSchedulerState_v2 unknown; nvmlInit bound; nvmlInitWithFlags bound;
            nvmlInit_v2 bound; nvmlSetVgpuVersion unknown; nvmlShutdown bound; nvmlSystemEventSetCreate unknown;
            nvmlSystemEventSetFree unknown; nvmlSystemEventSetWait unknown; nvmlSystemGetCPER_v1 absent;
            nvmlSystemGetConfComputeCapabilities absent; nvmlSystemGetConfComputeGpusReadyState absent;
            nvmlSystemGetConfComputeKeyRotationThresholdInfo absent; nvmlSystemGetConfComputeSettings absent;
            nvmlSystemGetConfComputeState absent; nvmlSystemGetCudaDriverVersion bound;
            nvmlSystemGetCudaDriverVersion_v2 bound; nvmlSystemGetDriverBranch absent;
            nvmlSystemGetDriverVersion bound; nvmlSystemGetHicVersion absent; nvmlSystemGetNVMLVersion bound;
            nvmlSystemGetNvlinkBwMode absent; nvmlSystemGetProcessName bound;
            nvmlSystemGetTopologyGpuSet absent; nvmlSystemRegisterEvents unknown;
            nvmlSystemSetConfComputeGpusReadyState unknown;
            nvmlSystemSetConfComputeKeyRotationThresholdInfo unknown; nvmlSystemSetNvlinkBwMode unknown;
            nvmlUnitGetCount unknown; nvmlUnitGetDevices unknown; nvmlUnitGetFanSpeedInfo unknown;
            nvmlUnitGetHandleByIndex unknown; nvmlUnitGetLedState unknown; nvmlUnitGetPsuInfo unknown;
            nvmlUnitGetTemperature unknown; nvmlUnitGetUnitInfo unknown; nvmlUnitSetLedState unknown;
            nvmlVgpuInstanceClearAccountingPids unknown; nvmlVgpuInstanceGetAccountingMode unknown;
            nvmlVgpuInstanceGetAccountingPids unknown; nvmlVgpuInstanceGetAccountingStats unknown;
            nvmlVgpuInstanceGetEccMode unknown; nvmlVgpuInstanceGetEncoderCapacity unknown;
            nvmlVgpuInstanceGetEncoderSessions unknown; nvmlVgpuInstanceGetEncoderStats unknown;
            nvmlVgpuInstanceGetFBCSessions unknown; nvmlVgpuInstanceGetFBCStats unknown;
            nvmlVgpuInstanceGetFbUsage unknown; nvmlVgpuInstanceGetFrameRateLimit unknown;
            nvmlVgpuInstanceGetGpuInstanceId unknown; nvmlVgpuInstanceGetGpuPciId unknown;
            nvmlVgpuInstanceGetLicenseInfo unknown; nvmlVgpuInstanceGetLicenseInfo_v2 unknown;
            nvmlVgpuInstanceGetLicenseStatus unknown; nvmlVgpuInstanceGetMdevUUID unknown;
            nvmlVgpuInstanceGetMetadata unknown; nvmlVgpuInstanceGetPlacementId unknown;
            nvmlVgpuInstanceGetRuntimeStateSize unknown; nvmlVgpuInstanceGetType unknown;
            nvmlVgpuInstanceGetUUID unknown; nvmlVgpuInstanceGetVmDriverVersion unknown;
            nvmlVgpuInstanceGetVmID unknown; nvmlVgpuInstanceSetEncoderCapacity unknown;
            nvmlVgpuTypeGetBAR1Info unknown; nvmlVgpuTypeGetCapabilities unknown; nvmlVgpuTypeGetClass unknown;
            nvmlVgpuTypeGetDeviceID unknown; nvmlVgpuTypeGetFbReservation unknown;
            nvmlVgpuTypeGetFrameRateLimit unknown; nvmlVgpuTypeGetFramebufferSize unknown;
            nvmlVgpuTypeGetGpuInstanceProfileId unknown; nvmlVgpuTypeGetGspHeapSize unknown;
            nvmlVgpuTypeGetLicense unknown; nvmlVgpuTypeGetMaxInstances unknown;
            nvmlVgpuTypeGetMaxInstancesPerGpuInstance unknown; nvmlVgpuTypeGetMaxInstancesPerVm unknown;
            nvmlVgpuTypeGetName unknown; nvmlVgpuTypeGetNumDisplayHeads unknown;
            nvmlVgpuTypeGetResolution unknown;
        }
    };
}

macro_rules! define_exports {
    ($($name:ident $state:ident;)*) => {
        $(define_exports!(@function $state $name);)*

        /// Addresses of all functions: what is named here stays in the library.
        #[used]
        static KEEP: &[Keep] = &[$(Keep($name as *const ())),*];

        #[cfg(test)]
        pub(crate) const NAMES: &[(&str, &str)] = &[$((stringify!($name), stringify!($state))),*];
    };
    (@function bound $name:ident) => {};
    (@function absent $name:ident) => {
        #[unsafe(no_mangle)]
        extern "C" fn $name() -> u32 {
            crate::entry::refuse(stringify!($name), NOT_SUPPORTED)
        }
    };
    (@function unknown $name:ident) => {
        #[unsafe(no_mangle)]
        extern "C" fn $name() -> u32 {
            crate::entry::refuse(stringify!($name), FUNCTION_NOT_FOUND)
        }
    };
}

struct Keep(#[expect(dead_code, reason = "only its being there matters")] *const ());

// SAFETY: the pointer is the address of a function, which any thread may call.
unsafe impl Sync for Keep {}

for_each_export!(define_exports);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_each_name_once() {
        assert!(NAMES.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }
}
