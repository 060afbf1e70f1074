//! How a session begins: the guest greets, the host welcomes or refuses.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};

use crate::codec::Message;
use crate::limits;
use crate::status::Status;

/// Oldest protocol version that this build speaks.
pub const VERSION_MIN: u16 = 1;
/// Newest protocol version that this build speaks.
pub const VERSION_MAX: u16 = 1;

/// Feature bit: both ends see each other's writes to the window (shared memory rather than a byte stream).
pub const FEATURE_COHERENT: u64 = 1 << 0;

/// Feature bit: the host keeps images for later sessions, so that asking for one by its digest is worth the hashing.
pub const FEATURE_IMAGES: u64 = 1 << 1;

/// CUDA variables of the guest that its worker may see. Everything else stays in the guest. `CUDA_FORCE_PTX_JIT` is the
/// guest's: it chooses the code, and a worker's driver with it would refuse what was compiled.
pub const ALLOWED_VARIABLES: &[&str] = &[
    "CUDA_DEVICE_MAX_CONNECTIONS",
    "CUDA_DEVICE_WAITS_ON_EXCEPTION",
    "CUDA_DISABLE_PTX_JIT",
    "CUDA_LAUNCH_BLOCKING",
    "CUDA_MODULE_DATA_LOADING",
    "CUDA_MODULE_LOADING",
    "CUDA_SCALE_LAUNCH_QUEUES",
];

/// First message of a guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "a message of the protocol")]
pub struct Hello {
    /// Oldest version that the guest speaks.
    pub version_min: u16,
    /// Newest version that the guest speaks.
    pub version_max: u16,
    /// `FEATURE_*` bits that the guest offers.
    pub features: u64,
    /// Address plans that the guest has reserved, best first; at most [`limits::PLANS_MAX`].
    pub plans: Vec<AddressPlan>,
    /// CUDA variables; at most [`limits::VARIABLES_MAX`], each of [`ALLOWED_VARIABLES`].
    pub variables: Vec<Variable>,
    /// Who asks. For logs only: a guest may say what it likes.
    pub process: GuestProcess,
}

impl Message for Hello {}

/// The two address ranges that both ends hold free, so that an address means the same on both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "a message of the protocol")]
pub struct AddressPlan {
    /// Base of the pinned heap, [`limits::HEAP_RANGE_BYTES`] long: regions are mapped there by both ends.
    pub heap_base: u64,
    /// Base of the device arena, [`limits::ARENA_RANGE_BYTES`] long: unreadable in the guest. Allocations lie
    /// in it; of a module's variables a GPU's driver chooses the addresses, though never in the pinned heap.
    pub arena_base: u64,
}

impl AddressPlan {
    /// The plans that a guest tries, in this order, until it holds enough of them to offer. They lie from 16 to 80 TiB:
    /// above sanitizers' shadows, below the usual places of programs and libraries in x86-64 Linux processes. So many,
    /// because each session of a process takes one.
    pub const CANDIDATES: [Self; 32] = {
        let mut plans = [Self { heap_base: 0, arena_base: 0 }; 32];
        let mut at = 0;
        while at < plans.len() {
            let base = (1 << 44) + at as u64 * (2 << 40);
            plans[at] = Self { heap_base: base, arena_base: base + (1 << 39) };
            at += 1;
        }
        plans
    };

    /// Whether both ranges are page aligned, in the lower half of the address space, and apart from one another.
    pub const fn is_sound(&self) -> bool {
        const TOP: u64 = 1 << 47;
        const PAGE: u64 = 4096;
        let (heap, arena) = (self.heap_base, self.arena_base);
        heap >= 1 << 32
            && arena >= 1 << 32
            && heap % PAGE == 0
            && arena % PAGE == 0
            && heap <= TOP - limits::HEAP_RANGE_BYTES
            && arena <= TOP - limits::ARENA_RANGE_BYTES
            && (heap + limits::HEAP_RANGE_BYTES <= arena || arena + limits::ARENA_RANGE_BYTES <= heap)
    }
}

/// A CUDA variable of the guest's environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "a message of the protocol")]
pub struct Variable {
    /// Name, one of [`ALLOWED_VARIABLES`].
    pub name: String,
    /// Value, at most [`limits::VARIABLE_BYTES_MAX`] bytes.
    pub value: String,
}

/// What a guest says of its process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "a message of the protocol")]
pub struct GuestProcess {
    /// Process id inside the guest.
    pub pid: u32,
    /// Program name, at most [`limits::TEXT_BYTES_MAX`] bytes.
    pub name: String,
}

/// The host's answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_enums, reason = "a message of the protocol")]
#[expect(clippy::large_enum_variant, reason = "there is one for each session")]
pub enum Answer {
    /// The session is open. The message carries a descriptor for each region, in their order.
    Welcome(Welcome),
    /// It is not; the host closes after this.
    Refused(Refusal),
}

impl Message for Answer {}

/// An open session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "a message of the protocol")]
pub struct Welcome {
    /// Version that both ends use.
    pub version: u16,
    /// `FEATURE_*` bits that both ends use.
    pub features: u64,
    /// Index of the chosen plan among those that the guest offered.
    pub plan: u8,
    /// The host's name for the session; for logs and the operator's `ctl`.
    pub session: u64,
    /// Regions at the start: control, then staging.
    pub regions: Vec<RegionDescription>,
    /// What the session may use.
    pub limits: Limits,
    /// The device.
    pub device: DeviceDescription,
}

/// A region of the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "a message of the protocol")]
pub struct RegionDescription {
    /// [`crate::RegionId`].
    pub id: u32,
    /// Size in bytes.
    pub bytes: u64,
    /// Where it must be mapped, or 0 for anywhere.
    pub address: u64,
}

/// Limits of a session, as its host sets them. None is above the bound of the same name in [`crate::limits`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "a message of the protocol")]
pub struct Limits {
    /// Contexts.
    pub contexts: u32,
    /// Streams.
    pub streams: u32,
    /// Events.
    pub events: u32,
    /// Modules.
    pub modules: u32,
    /// Functions.
    pub functions: u32,
    /// Regions.
    pub regions: u32,
    /// Device memory of the tenant, over all its sessions, in bytes.
    pub memory_bytes: u64,
    /// Pinned memory of the tenant, over all its sessions, in bytes.
    pub pinned_bytes: u64,
}

impl Limits {
    /// As many objects as the protocol has room for, and so much memory, in bytes.
    pub const fn largest(memory_bytes: u64, pinned_bytes: u64) -> Self {
        Self {
            contexts: limits::CONTEXTS_MAX,
            streams: limits::STREAMS_MAX,
            events: limits::EVENTS_MAX,
            modules: limits::MODULES_MAX,
            functions: limits::FUNCTIONS_MAX,
            regions: limits::REGIONS_MAX,
            memory_bytes,
            pinned_bytes,
        }
    }
}

/// A GPU as a guest sees it. Counts and sizes are CUDA's device attributes of the same name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "a message of the protocol")]
pub struct DeviceDescription {
    /// Marketing name.
    pub name: String,
    /// The card's UUID.
    pub uuid: [u8; 16],
    /// Compute capability, major.
    pub compute_major: u32,
    /// Compute capability, minor.
    pub compute_minor: u32,
    /// Memory of the card, in bytes. A guest reports its quota instead.
    pub memory_bytes: u64,
    /// Multiprocessors.
    pub multiprocessor_count: u32,
    /// Threads of a warp.
    pub warp_size: u32,
    /// Threads of a block, at most.
    pub threads_per_block_max: u32,
    /// Threads of a multiprocessor, at most.
    pub threads_per_multiprocessor_max: u32,
    /// Blocks of a multiprocessor, at most.
    pub blocks_per_multiprocessor_max: u32,
    /// Threads of a block in x, y, z, at most.
    pub block_dim_max: [u32; 3],
    /// Blocks of a grid in x, y, z, at most.
    pub grid_dim_max: [u32; 3],
    /// Shared memory of a block without opting in, in bytes.
    pub shared_bytes_per_block_max: u32,
    /// Shared memory of a block after `CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES`, in bytes.
    pub shared_bytes_per_block_optin_max: u32,
    /// Shared memory of a multiprocessor, in bytes.
    pub shared_bytes_per_multiprocessor: u32,
    /// 32-bit registers of a block, at most.
    pub registers_per_block_max: u32,
    /// Constant memory, in bytes.
    pub constant_bytes: u32,
    /// The most urgent priority of a stream, 0 or below (`cuCtxGetStreamPriorityRange`); 0 is the least urgent.
    pub stream_priority_greatest: i32,
    /// Every `CU_DEVICE_ATTRIBUTE_*` by its number, from 0, which is none; at most [`limits::DEVICE_ATTRIBUTES_MAX`]. A
    /// number that the device's driver does not know is 0.
    pub attributes: Vec<i32>,
    /// For each texture processing cluster (two multiprocessors): its graphics processing cluster, and its number in
    /// there. Libraries of NVIDIA's lay out work by it. Empty where the device does not tell; at most
    /// [`limits::DEVICE_CLUSTERS_MAX`].
    pub clusters: Vec<(u8, u8)>,
}

impl DeviceDescription {
    /// The device attribute of that number; `None` where there is none.
    pub fn attribute(&self, number: u32) -> Option<i32> {
        let at = usize::try_from(number).ok().filter(|at| *at > 0)?;
        self.attributes.get(at).copied()
    }
}

/// Why a session was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "a message of the protocol")]
pub struct Refusal {
    /// The cause.
    pub cause: RefusalCause,
    /// Oldest version that the host speaks.
    pub version_min: u16,
    /// Newest version that the host speaks.
    pub version_max: u16,
    /// Cause and remedy in a sentence.
    pub text: String,
}

/// Causes of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum RefusalCause {
    /// No version in common.
    Version,
    /// The peer may not use this tenant's socket.
    Permission,
    /// The host shuts down.
    Draining,
    /// The tenant or the host has as many sessions as it may.
    SessionLimit,
    /// The tenant is quarantined.
    Quarantined,
    /// No offered address plan is free in the worker.
    Addresses,
    /// The device cannot be used.
    Device,
    /// The greeting breaks the protocol.
    Protocol,
}

impl RefusalCause {
    /// The CUDA error that a guest's program sees.
    pub const fn status(self) -> Status {
        match self {
            Self::Version => Status::ERROR_SYSTEM_DRIVER_MISMATCH,
            Self::Permission => Status::ERROR_NOT_PERMITTED,
            Self::Draining => Status::ERROR_SYSTEM_NOT_READY,
            Self::SessionLimit | Self::Quarantined => Status::ERROR_DEVICE_UNAVAILABLE,
            Self::Addresses | Self::Device => Status::ERROR_NO_DEVICE,
            Self::Protocol => Status::ERROR_UNKNOWN,
        }
    }
}

/// What is wrong with a greeting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HelloError {
    /// No version in common.
    Version {
        /// What the guest speaks.
        guest: (u16, u16),
    },
    /// No plan, more than [`limits::PLANS_MAX`], or one that is not sound.
    Plans,
    /// Too many variables, one too long, or one that is not allowed.
    Variables,
    /// The process name is too long.
    ProcessName,
}

impl fmt::Display for HelloError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version { guest: (min, max) } => write!(
                f,
                "the guest speaks protocol versions {min} to {max}, the host {VERSION_MIN} to {VERSION_MAX}; \
                 update the older of the two"
            ),
            Self::Plans => f.write_str("the greeting offers no sound address plan"),
            Self::Variables => f.write_str("the greeting passes a variable that is not allowed or too long"),
            Self::ProcessName => f.write_str("the greeting's process name is too long"),
        }
    }
}

impl core::error::Error for HelloError {}

impl HelloError {
    /// The cause that the guest is told.
    pub const fn cause(&self) -> RefusalCause {
        match self {
            Self::Version { .. } => RefusalCause::Version,
            Self::Plans | Self::Variables | Self::ProcessName => RefusalCause::Protocol,
        }
    }
}

impl Hello {
    /// Checks a greeting and returns the newest version in common.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<u16, HelloError> {
        let version = self.version_max.min(VERSION_MAX);
        if version < self.version_min.max(VERSION_MIN) {
            return Err(HelloError::Version { guest: (self.version_min, self.version_max) });
        }
        let plans = &self.plans;
        if plans.is_empty() || plans.len() > limits::PLANS_MAX || !plans.iter().all(AddressPlan::is_sound) {
            return Err(HelloError::Plans);
        }
        let allowed = |variable: &Variable| {
            ALLOWED_VARIABLES.contains(&variable.name.as_str())
                && variable.value.len() <= limits::VARIABLE_BYTES_MAX
        };
        if self.variables.len() > limits::VARIABLES_MAX || !self.variables.iter().all(allowed) {
            return Err(HelloError::Variables);
        }
        if self.process.name.len() > limits::TEXT_BYTES_MAX {
            return Err(HelloError::ProcessName);
        }
        Ok(version)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    fn hello() -> Hello {
        Hello {
            version_min: 1,
            version_max: 1,
            features: FEATURE_COHERENT,
            plans: AddressPlan::CANDIDATES[..limits::PLANS_MAX].to_vec(),
            variables: vec![],
            process: GuestProcess::default(),
        }
    }

    #[test]
    fn the_candidates_are_sound_and_apart() {
        assert_eq!(hello().check(), Ok(1));
        let candidates = AddressPlan::CANDIDATES;
        assert!(candidates.iter().all(AddressPlan::is_sound));
        for pair in candidates.windows(2) {
            assert!(pair[0].arena_base + limits::ARENA_RANGE_BYTES <= pair[1].heap_base);
        }
    }

    #[test]
    fn versions_without_overlap_are_refused_with_both_ranges() {
        let newer = Hello { version_min: 7, version_max: 9, ..hello() };
        let error = newer.check().unwrap_err();
        assert_eq!(error, HelloError::Version { guest: (7, 9) });
        let text = alloc::format!("{error}");
        assert!(text.contains("7 to 9") && text.contains("1 to 1"), "{text}");
        assert_eq!(error.cause().status(), Status::ERROR_SYSTEM_DRIVER_MISMATCH);
    }

    #[test]
    fn plans_are_checked() {
        assert_eq!(Hello { plans: vec![], ..hello() }.check(), Err(HelloError::Plans));
        let many = vec![AddressPlan::CANDIDATES[0]; limits::PLANS_MAX + 1];
        assert_eq!(Hello { plans: many, ..hello() }.check(), Err(HelloError::Plans));
        for (heap_base, arena_base) in
            [(0, 1 << 44), (0x1000_0000_0001, 1 << 45), (1 << 44, (1 << 44) + 4096), (!4095, 1 << 44)]
        {
            let plans = vec![AddressPlan { heap_base, arena_base }];
            assert_eq!(
                Hello { plans, ..hello() }.check(),
                Err(HelloError::Plans),
                "{heap_base:#x} {arena_base:#x}"
            );
        }
    }

    #[test]
    fn only_allowed_variables_pass() {
        let variable = |name: &str, value: &str| vec![Variable { name: name.into(), value: value.into() }];
        let fine = variable("CUDA_LAUNCH_BLOCKING", "1");
        assert_eq!(Hello { variables: fine.clone(), ..hello() }.check(), Ok(1));
        let preload = variable("LD_PRELOAD", "/tmp/x.so");
        assert_eq!(Hello { variables: preload, ..hello() }.check(), Err(HelloError::Variables));
        let long = variable("CUDA_LAUNCH_BLOCKING", &"1".repeat(limits::VARIABLE_BYTES_MAX + 1));
        assert_eq!(Hello { variables: long, ..hello() }.check(), Err(HelloError::Variables));
        let many = vec![fine[0].clone(); limits::VARIABLES_MAX + 1];
        assert_eq!(Hello { variables: many, ..hello() }.check(), Err(HelloError::Variables));
    }

    #[test]
    fn a_long_process_name_is_refused() {
        let process = GuestProcess { pid: 1, name: "x".repeat(limits::TEXT_BYTES_MAX + 1) };
        assert_eq!(Hello { process, ..hello() }.check(), Err(HelloError::ProcessName));
    }
}
