//! How a card is, for operators.

use serde::{Deserialize, Serialize};

/// How a card is; null what it does not tell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct HealthBody {
    /// What it may be used for: `good`, `reset-at-drain`, `closed`, `reset` or `fenced`.
    pub standing: String,
    /// Why; null when good.
    pub reason: Option<String>,
    /// Milliseconds since what follows was read; null when it never was.
    pub age_ms: Option<u64>,
    /// Temperature of the GPU, in degrees Celsius.
    pub temperature_celsius: Option<u32>,
    /// Power that the card draws, in milliwatts.
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
    /// Memory errors.
    pub ecc: Option<EccBody>,
    /// Rows of memory that were put aside.
    pub rows: Option<RowsBody>,
    /// Why it runs slower than it could.
    pub throttle: Vec<String>,
    /// What the driver says it needs.
    pub recovery: Option<String>,
    /// Errors (Xids) since the host started.
    pub xids: u64,
    /// The latest of them.
    pub last_xid: Option<u32>,
}

/// Counts of memory errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EccBody {
    /// Corrected since the driver was loaded.
    pub volatile_corrected: u64,
    /// Not corrected since then.
    pub volatile_uncorrected: u64,
    /// Corrected in the card's life.
    pub aggregate_corrected: u64,
    /// Not corrected in the card's life.
    pub aggregate_uncorrected: u64,
}

/// Rows of memory that were, or are to be, replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RowsBody {
    /// After errors that were corrected.
    pub correctable: u32,
    /// After errors that were not.
    pub uncorrectable: u32,
    /// Some are replaced at the next reset only.
    pub pending: bool,
    /// One could not be replaced.
    pub failed: bool,
}
