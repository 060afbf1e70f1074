//! The symbols that `cuda-gdb` looks for, with the kind and size that driver 580 gives them. No debugger is supported:
//! the variables stay 0, which says that none is attached, and the functions answer `CUDBG_ERROR_UNINITIALIZED` or do
//! nothing.

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64};

/// `CUDBG_ERROR_UNINITIALIZED`.
const UNINITIALIZED: u32 = 5;

macro_rules! variables {
    ($($name:ident: $type:ident;)*) => {
        $(
            // Atomic, so that it lies in memory that a debugger can write.
            #[unsafe(no_mangle)]
            static $name: $type = $type::new(0);
        )*
    };
}

/// Room for a path, as large as the driver's.
#[repr(transparent)]
struct InjectionPath([AtomicU8; 4096]);

impl InjectionPath {
    const fn new(_: u8) -> Self {
        Self([const { AtomicU8::new(0) }; 4096])
    }
}

variables! {
    cudbgApiClientPid: AtomicU32;
    cudbgApiClientRevision: AtomicU32;
    cudbgAttachHandlerAvailable: AtomicU32;
    cudbgDebuggerCapabilities: AtomicU32;
    cudbgDebuggerInitialized: AtomicU32;
    cudbgDetachSuspendedDevicesMask: AtomicU32;
    cudbgEnableIntegratedMemcheck: AtomicU32;
    cudbgEnableLaunchBlocking: AtomicU32;
    cudbgEnablePreemptionDebugging: AtomicU32;
    cudbgInjectionPath: InjectionPath;
    cudbgIpcFlag: AtomicU32;
    cudbgReportDriverApiErrorFlags: AtomicU32;
    cudbgReportedDriverApiErrorCode: AtomicU64;
    cudbgReportedDriverApiErrorFuncNameAddr: AtomicU64;
    cudbgReportedDriverApiErrorFuncNameSize: AtomicU64;
    cudbgReportedDriverApiErrorNameAddr: AtomicU64;
    cudbgReportedDriverApiErrorNameSize: AtomicU64;
    cudbgReportedDriverApiErrorSource: AtomicU32;
    cudbgReportedDriverApiErrorStringAddr: AtomicU64;
    cudbgReportedDriverApiErrorStringSize: AtomicU64;
    cudbgReportedDriverInternalErrorCode: AtomicU64;
    cudbgResumeForAttachDetach: AtomicU32;
    cudbgRpcEnabled: AtomicU32;
    cudbgSessionId: AtomicU32;
    cudbgUseExternalDebugger: AtomicU32;
}

macro_rules! functions {
    ($($name:ident)*) => {
        $(
            #[unsafe(no_mangle)]
            extern "C" fn $name() -> u32 {
                UNINITIALIZED
            }
        )*
    };
}

functions! {
    cudbgApiAttach cudbgApiDetach cudbgApiInit cudbgGetAPI cudbgGetAPIVersion cudbgMain cudbgReportDriverApiError
    cudbgReportDriverInternalError
}
