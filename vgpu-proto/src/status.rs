//! CUDA's result codes, as the driver API numbers them (`CUresult`).

use core::fmt;

/// A `CUresult`. Numbers that this build does not know pass through unchanged.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Status(pub u32);

macro_rules! statuses {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $text:literal;)*) => {
        impl Status {
            $($(#[$doc])* #[doc = concat!("`CUDA_", stringify!($name), "`: ", $text, ".")]
            pub const $name: Self = Self($code);)*

            /// The name that the driver gives to the code, without its prefix `CUDA_`; empty for unknown numbers.
            pub const fn name(self) -> &'static str {
                match self.0 {
                    $($code => stringify!($name),)*
                    _ => "",
                }
            }

            /// What the code means, in a few words; empty for unknown numbers.
            pub const fn text(self) -> &'static str {
                match self.0 {
                    $($code => $text,)*
                    _ => "",
                }
            }
        }
    };
}

statuses! {
    SUCCESS = 0, "no error";
    ERROR_INVALID_VALUE = 1, "an argument is out of its range";
    ERROR_OUT_OF_MEMORY = 2, "out of memory, or the tenant's quota is reached";
    ERROR_NOT_INITIALIZED = 3, "the driver is not initialised";
    ERROR_DEINITIALIZED = 4, "the driver is shutting down";
    ERROR_DEVICE_UNAVAILABLE = 46, "the device is quarantined or the session limit is reached";
    ERROR_NO_DEVICE = 100, "no host or device can be reached";
    ERROR_INVALID_DEVICE = 101, "no such device";
    ERROR_INVALID_IMAGE = 200, "the module image is invalid";
    ERROR_INVALID_CONTEXT = 201, "no such context";
    ERROR_NO_BINARY_FOR_GPU = 209, "the image holds no code that this device can run";
    ERROR_UNSUPPORTED_LIMIT = 215, "the device does not have that limit";
    ERROR_INVALID_PTX = 218, "the PTX does not compile";
    ERROR_UNSUPPORTED_PTX_VERSION = 222, "the PTX is newer than this device understands";
    ERROR_INVALID_SOURCE = 300, "the kernel source is invalid";
    ERROR_INVALID_HANDLE = 400, "no such stream, event, module or function, or it was freed";
    ERROR_ILLEGAL_STATE = 401, "the object is in the wrong state";
    ERROR_NOT_FOUND = 500, "no symbol of that name";
    ERROR_NOT_READY = 600, "earlier work has not finished";
    ERROR_ILLEGAL_ADDRESS = 700, "a kernel accessed memory that it does not own";
    ERROR_LAUNCH_OUT_OF_RESOURCES = 701, "the launch needs more resources than a multiprocessor has";
    ERROR_LAUNCH_TIMEOUT = 702, "a kernel ran too long and was stopped";
    ERROR_CONTEXT_IS_DESTROYED = 709, "the context is gone, or the worker was lost";
    ERROR_ASSERT = 710, "an assertion failed in a kernel";
    ERROR_HOST_MEMORY_ALREADY_REGISTERED = 712, "part of the memory is pinned already";
    ERROR_HOST_MEMORY_NOT_REGISTERED = 713, "the memory was not registered";
    ERROR_HARDWARE_STACK_ERROR = 714, "a kernel overran its call stack";
    ERROR_ILLEGAL_INSTRUCTION = 715, "a kernel executed an illegal instruction";
    ERROR_MISALIGNED_ADDRESS = 716, "a kernel accessed memory at an address that is not aligned";
    ERROR_INVALID_ADDRESS_SPACE = 717, "a kernel accessed the wrong kind of memory";
    ERROR_INVALID_PC = 718, "a kernel jumped outside its code";
    ERROR_LAUNCH_FAILED = 719, "a kernel failed";
    ERROR_COOPERATIVE_LAUNCH_TOO_LARGE = 720, "a cooperative launch has more blocks than can be resident";
    ERROR_NOT_PERMITTED = 800, "not permitted";
    ERROR_NOT_SUPPORTED = 801, "not supported";
    ERROR_SYSTEM_NOT_READY = 802, "the host is draining";
    ERROR_SYSTEM_DRIVER_MISMATCH = 803, "guest and host speak different versions";
    ERROR_GRAPH_EXEC_UPDATE_FAILURE = 910, "the graph's shape differs too much for an update";
    ERROR_UNKNOWN = 999, "an internal or protocol error";
}

impl Status {
    /// Whether the code is [`Status::SUCCESS`].
    pub const fn is_success(self) -> bool {
        self.0 == 0
    }

    /// Whether the code, once it happened in a context, stays: every later call on that context answers it.
    pub const fn is_sticky(self) -> bool {
        matches!(self.0, 46 | 700 | 702 | 709 | 710 | 714..=719)
    }

    /// `Ok` for success, the code itself otherwise.
    ///
    /// # Errors
    /// The code, where it is not success.
    pub const fn ok(self) -> Result<(), Self> {
        if self.is_success() { Ok(()) } else { Err(self) }
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.0, self.name())
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            "" => write!(f, "CUDA error {}", self.0),
            name => write!(f, "CUDA_{name} ({}): {}", self.0, self.text()),
        }
    }
}

impl core::error::Error for Status {}
