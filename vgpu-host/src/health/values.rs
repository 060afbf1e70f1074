//! What a card says of itself.

use std::collections::BTreeSet;

use vgpu_sched::{CardSigns, Recovery};

use super::PciAddress;

/// How a card is. What it has no sensor for, or does not tell, is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "programs that bring a monitor build it")]
pub struct CardHealth {
    /// Where it sits, which is how the kernel's log names it.
    pub pci: Option<PciAddress>,
    /// Temperature of the GPU, in degrees Celsius.
    pub temperature_celsius: Option<u32>,
    /// Power that the whole card draws, in milliwatts.
    pub power_milliwatts: Option<u32>,
    /// Power at which it slows down, in milliwatts.
    pub power_limit_milliwatts: Option<u32>,
    /// Share of the last sample period in which some kernel ran, in percent.
    pub gpu_percent: Option<u32>,
    /// Share of it in which memory was read or written, in percent.
    pub memory_percent: Option<u32>,
    /// Memory in use by all processes, in bytes.
    pub memory_used_bytes: Option<u64>,
    /// Memory of the card, in bytes.
    pub memory_total_bytes: Option<u64>,
    /// Memory errors; `None` where error correction is off.
    pub ecc: Option<EccCounts>,
    /// Rows of memory that were put aside.
    pub rows: Option<RemappedRows>,
    /// Why it runs slower than it could.
    pub throttle: BTreeSet<ThrottleReason>,
    /// What the driver says the card needs.
    pub recovery: Option<Recovery>,
}

impl CardHealth {
    /// What of it decides whether the card may be used.
    pub fn signs(&self) -> CardSigns {
        let rows = self.rows.unwrap_or_default();
        CardSigns {
            remap_pending: rows.pending,
            remap_failed: rows.failed,
            recovery: self.recovery.unwrap_or_default(),
            lost: false,
        }
    }
}

/// Counts of memory errors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "programs that bring a monitor build it")]
pub struct EccCounts {
    /// Corrected since the driver was loaded.
    pub volatile_corrected: u64,
    /// Not corrected since then.
    pub volatile_uncorrected: u64,
    /// Corrected in the card's life.
    pub aggregate_corrected: u64,
    /// Not corrected in the card's life.
    pub aggregate_uncorrected: u64,
}

/// Rows of memory that were, or are to be, replaced by spare ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "programs that bring a monitor build it")]
pub struct RemappedRows {
    /// After errors that were corrected.
    pub correctable: u32,
    /// After errors that were not.
    pub uncorrectable: u32,
    /// Some are replaced at the next reset only.
    pub pending: bool,
    /// One could not be replaced.
    pub failed: bool,
}

/// Why a card runs slower than it could.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ThrottleReason {
    /// Nothing runs.
    Idle,
    /// An operator set its clocks.
    ClocksSetting,
    /// It would draw more power than its limit.
    PowerCap,
    /// Hardware slows it to half or less: heat, or power.
    HardwareSlowdown,
    /// It waits for the slowest card of its group.
    SyncBoost,
    /// It, or its memory, is hotter than it should be.
    ThermalSlowdown,
    /// It is so hot that hardware slows it to half or less.
    HardwareThermal,
    /// The power supply asks for it.
    PowerBrake,
    /// A display is connected.
    Display,
}

impl ThrottleReason {
    /// Stable name, for scripts.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::ClocksSetting => "clocks-setting",
            Self::PowerCap => "power-cap",
            Self::HardwareSlowdown => "hardware-slowdown",
            Self::SyncBoost => "sync-boost",
            Self::ThermalSlowdown => "thermal-slowdown",
            Self::HardwareThermal => "hardware-thermal",
            Self::PowerBrake => "power-brake",
            Self::Display => "display",
        }
    }

    /// Whether it says that the machine around the card has to be looked at.
    pub const fn is_trouble(self) -> bool {
        matches!(
            self,
            Self::HardwareSlowdown | Self::ThermalSlowdown | Self::HardwareThermal | Self::PowerBrake
        )
    }
}

/// What a process uses of a card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "programs that bring a monitor build it")]
pub struct ProcessUse {
    /// Its process id, as this process would see it.
    pub pid: u32,
    /// Memory that it holds, context and code included, in bytes.
    pub memory_bytes: Option<u64>,
    /// Time that it had.
    pub sm: Option<SmUse>,
}

/// For how much of a time some kernel of a process ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "programs that bring a monitor build it")]
pub struct SmUse {
    /// In percent.
    pub percent: u32,
    /// Of the time that ends then, on the driver's clock, in microseconds; it began with the sample before.
    pub until_us: u64,
}
