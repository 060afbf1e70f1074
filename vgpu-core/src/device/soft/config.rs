//! What a software GPU is told when it is made.

use std::fmt;
use std::str::FromStr;

use vgpu_proto::handshake::DeviceDescription;
use vgpu_proto::limits::ARENA_HOST_BYTES;

use super::attributes;
use super::context::PRIORITIES;
use super::faults::FaultPlan;

/// Least memory of a software GPU, in bytes: one 2 MiB granule, below which no real program starts.
pub const MEMORY_BYTES_MIN: u64 = 2 << 20;

/// Most memory of a software GPU, in bytes: half of its address range, so that freed addresses can rest before
/// they are used again.
pub const MEMORY_BYTES_MAX: u64 = ARENA_HOST_BYTES / 2;

/// Most threads of a software GPU: more than any machine it runs on has cores to give.
pub const THREADS_MAX: u32 = 256;

/// Oldest compute capability whose PTX the interpreter's execution model fits: lanes that diverge and still progress.
pub const COMPUTE_CAPABILITY_MIN: ComputeCapability = ComputeCapability { major: 7, minor: 0 };

/// Newest compute capability that CUDA 13 knows.
pub const COMPUTE_CAPABILITY_MAX: ComputeCapability = ComputeCapability { major: 12, minor: 1 };

/// Settings of a software GPU.
///
/// The default is an sm_80 card with 4 GiB and two threads that runs as fast as it can and never fails.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "configuration, built by field")]
pub struct SoftConfig {
    /// Memory of the card, in bytes; 4 GiB by default, [`MEMORY_BYTES_MIN`] to [`MEMORY_BYTES_MAX`]. Low: allocations
    /// fail early. High: costs nothing until guests touch it, and then the machine's own memory.
    pub memory_bytes: u64,
    /// Compute capability that the card reports; 8.0 by default, [`COMPUTE_CAPABILITY_MIN`] to
    /// [`COMPUTE_CAPABILITY_MAX`]. Low: programs pick older code paths, and PTX for newer targets is refused. High:
    /// programs may pick instructions that the interpreter lacks, and the load names the first one.
    pub compute_capability: ComputeCapability,
    /// Threads that run kernels and copies, each shown as a multiprocessor; 2 by default, 1 to [`THREADS_MAX`]. One:
    /// all work in turns, still without deadlock. More than the machine has cores: no faster.
    pub threads: u32,
    /// Seed of random delays between the commands of a stream, and of random choice among streams; off by default. A
    /// device with a seed is slow, and shows orderings that a program forgot to ask for.
    pub delay_seed: Option<u64>,
    /// Faults on order; none by default.
    pub faults: FaultPlan,
}

impl Default for SoftConfig {
    fn default() -> Self {
        Self {
            memory_bytes: 4 << 30,
            compute_capability: ComputeCapability { major: 8, minor: 0 },
            threads: 2,
            delay_seed: None,
            faults: FaultPlan::default(),
        }
    }
}

impl SoftConfig {
    /// Checks every setting against its range.
    ///
    /// # Errors
    /// The first setting that is out of its range.
    pub fn check(&self) -> Result<(), ConfigError> {
        if !(MEMORY_BYTES_MIN..=MEMORY_BYTES_MAX).contains(&self.memory_bytes) {
            return Err(ConfigError::MemoryBytes { given: self.memory_bytes });
        }
        if !(1..=THREADS_MAX).contains(&self.threads) {
            return Err(ConfigError::Threads { given: self.threads });
        }
        if !(COMPUTE_CAPABILITY_MIN..=COMPUTE_CAPABILITY_MAX).contains(&self.compute_capability) {
            return Err(ConfigError::ComputeCapability { given: self.compute_capability });
        }
        Ok(())
    }

    /// The card that a guest sees: the sizes of an A100 (CUDA C++ Programming Guide, "Technical Specifications per
    /// Compute Capability"), with as many multiprocessors as threads.
    pub fn description(&self) -> DeviceDescription {
        let mut description = DeviceDescription {
            name: "vgpu software GPU".to_owned(),
            uuid: *b"vgpu-software-00",
            compute_major: self.compute_capability.major,
            compute_minor: self.compute_capability.minor,
            memory_bytes: self.memory_bytes,
            multiprocessor_count: self.threads,
            warp_size: 32,
            threads_per_block_max: 1_024,
            threads_per_multiprocessor_max: 2_048,
            blocks_per_multiprocessor_max: 32,
            block_dim_max: [1_024, 1_024, 64],
            grid_dim_max: [0x7fff_ffff, 65_535, 65_535],
            shared_bytes_per_block_max: 48 << 10,
            shared_bytes_per_block_optin_max: 163 << 10,
            shared_bytes_per_multiprocessor: 164 << 10,
            registers_per_block_max: 65_536,
            constant_bytes: 64 << 10,
            stream_priority_greatest: *PRIORITIES.start(),
            attributes: Vec::new(),
            clusters: Vec::new(),
        };
        description.attributes = attributes::of(&description);
        description
    }
}

/// A setting of [`SoftConfig`] that is out of its range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// [`SoftConfig::memory_bytes`].
    #[error("memory_bytes is {given}: give {MEMORY_BYTES_MIN} to {MEMORY_BYTES_MAX}")]
    MemoryBytes {
        /// What was given.
        given: u64,
    },
    /// [`SoftConfig::threads`].
    #[error("threads is {given}: give 1 to {THREADS_MAX}")]
    Threads {
        /// What was given.
        given: u32,
    },
    /// [`SoftConfig::compute_capability`].
    #[error("compute_capability is {given}: give {COMPUTE_CAPABILITY_MIN} to {COMPUTE_CAPABILITY_MAX}")]
    ComputeCapability {
        /// What was given.
        given: ComputeCapability,
    },
}

/// A compute capability, such as 8.0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(clippy::exhaustive_structs, reason = "two numbers, as CUDA has them")]
pub struct ComputeCapability {
    /// Generation.
    pub major: u32,
    /// Step within the generation, below 10.
    pub minor: u32,
}

impl ComputeCapability {
    /// The number behind `sm_`: 80 for 8.0.
    pub const fn target(self) -> u32 {
        self.major * 10 + self.minor
    }
}

impl fmt::Display for ComputeCapability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl FromStr for ComputeCapability {
    type Err = ComputeCapabilityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ComputeCapabilityError { given: text.to_owned() };
        let (major, minor) = text.split_once('.').ok_or_else(error)?;
        let major: u32 = major.parse().map_err(|_| error())?;
        let minor: u32 = minor.parse().map_err(|_| error())?;
        if major > 99 || minor > 9 {
            return Err(error());
        }
        Ok(Self { major, minor })
    }
}

/// Text that is no compute capability.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is no compute capability: write it as \"8.0\"")]
#[non_exhaustive]
pub struct ComputeCapabilityError {
    /// What was given.
    pub given: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_in_range() {
        assert_eq!(SoftConfig::default().check(), Ok(()));
    }

    #[test]
    fn each_range_has_its_own_error() {
        let config = SoftConfig { memory_bytes: MEMORY_BYTES_MAX + 1, ..SoftConfig::default() };
        assert_eq!(config.check(), Err(ConfigError::MemoryBytes { given: MEMORY_BYTES_MAX + 1 }));
        let config = SoftConfig { threads: 0, ..SoftConfig::default() };
        assert_eq!(config.check(), Err(ConfigError::Threads { given: 0 }));
        let old = ComputeCapability { major: 6, minor: 1 };
        let config = SoftConfig { compute_capability: old, ..SoftConfig::default() };
        assert_eq!(config.check(), Err(ConfigError::ComputeCapability { given: old }));
    }

    #[test]
    fn compute_capabilities_are_read() {
        assert_eq!("8.0".parse(), Ok(ComputeCapability { major: 8, minor: 0 }));
        for bad in ["", "8", "8.", ".0", "8.10", "100.0", "a.b", "8.0.0"] {
            assert!(bad.parse::<ComputeCapability>().is_err(), "{bad:?}");
        }
    }
}
