//! Questions about how much of a kernel fits onto a card.

use super::LaunchConfig;

/// A question about a kernel. The figures are those of the driver's `cuOccupancy*` functions.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_enums, reason = "every device answers each")]
pub enum Occupancy {
    /// Blocks that a multiprocessor holds at once.
    ActiveBlocks {
        /// Threads of a block.
        threads: u32,
        /// Dynamic shared memory of a block, in bytes.
        dynamic_shared_bytes: u64,
        /// `CU_OCCUPANCY_*`.
        flags: u32,
    },
    /// Dynamic shared memory that each block may use, in bytes, where so many are to fit on a multiprocessor.
    DynamicShared {
        /// Blocks of a multiprocessor.
        blocks: u32,
        /// Threads of a block.
        threads: u32,
    },
    /// Clusters of such a launch that the device holds at once.
    ActiveClusters(LaunchConfig),
    /// Blocks of the largest cluster that such a launch may have.
    ClusterSize(LaunchConfig),
}
