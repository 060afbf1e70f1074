//! What a launch asks for, and what it may use.

use std::sync::Arc;

use vgpu_proto::control::OutputStream;
use vgpu_window::Region;

use super::super::memory::{ADDRESS_END, AddressSpace};
use super::budget::{Budget, KERNEL_BYTES_MAX, Share};
use super::kernel::Kernel;
use super::lanes::LANES;

/// Most threads of a block, as on every NVIDIA GPU.
pub const BLOCK_THREADS_MAX: u32 = 1024;
/// Most threads of a block along each axis.
pub const BLOCK_EXTENT_MAX: [u32; 3] = [1024, 1024, 64];
/// Most blocks of a grid along each axis.
pub const GRID_EXTENT_MAX: [u32; 3] = [0x7fff_ffff, 0xffff, 0xffff];
/// Most shared memory of a block, in bytes: that of compute capability 8.0.
pub const SHARED_BYTES_MAX: u32 = 163 << 10;
/// Most blocks of a cooperative grid. All of them hold their state at once, so this bounds memory.
pub const COOPERATIVE_BLOCKS_MAX: u64 = 1024;
/// Most memory that the blocks of a cooperative grid may hold at once, in bytes.
pub const COOPERATIVE_BYTES_MAX: u64 = 1 << 30;
/// Multiprocessors that the software GPU reports; `%smid` is below it.
pub const SM_COUNT: u32 = 16;
/// Where the work space of a cooperative grid lies: no region can.
pub(super) const WORKSPACE_ADDRESS: u64 = ADDRESS_END;
/// Bytes of that work space; the grid barrier uses 8.
const WORKSPACE_BYTES: u64 = 4096;

/// Where text from kernels goes.
pub type Output = Arc<dyn Fn(OutputStream, &[u8]) + Send + Sync>;
/// A clock, in nanoseconds from any start.
pub type ClockNs = Arc<dyn Fn() -> u64 + Send + Sync>;

/// What a kernel can reach outside itself.
#[derive(Clone)]
pub struct Env {
    /// Global memory.
    pub memory: Arc<AddressSpace>,
    /// Takes what `printf` and failed assertions say.
    pub output: Output,
    /// Host memory for the state of kernels.
    pub budget: Arc<Budget>,
    /// `%globaltimer`, in nanoseconds; also `%clock`, which counts at 1 GHz.
    pub clock_ns: ClockNs,
}

impl std::fmt::Debug for Env {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Env").field("memory", &self.memory).finish_non_exhaustive()
    }
}

/// A kernel launch.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The kernel.
    pub kernel: Arc<Kernel>,
    /// Blocks along each axis.
    pub grid: [u32; 3],
    /// Threads of a block along each axis.
    pub block: [u32; 3],
    /// Shared memory beyond the kernel's own variables, in bytes.
    pub dynamic_shared_bytes: u32,
    /// Parameters, laid out as [`Kernel::params`] says.
    pub params: Arc<[u8]>,
    /// Whether blocks may wait for one another (`cuLaunchCooperativeKernel`).
    pub cooperative: bool,
}

/// Why a launch was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LaunchError {
    /// A block or grid without threads, or beyond the limits.
    #[error("grid {grid:?} of blocks {block:?} is empty or beyond the limits of the device")]
    Shape {
        /// Blocks along each axis.
        grid: [u32; 3],
        /// Threads along each axis.
        block: [u32; 3],
    },
    /// The kernel was compiled for smaller blocks, or for others.
    #[error("kernel `{kernel}` was compiled for blocks of at most {max} threads")]
    ThreadsPerBlock {
        /// The kernel.
        kernel: String,
        /// What it was compiled for.
        max: u32,
    },
    /// More shared memory than a block can have.
    #[error("{bytes} bytes of shared memory are more than {SHARED_BYTES_MAX}")]
    SharedMemory {
        /// Static and dynamic bytes together.
        bytes: u64,
    },
    /// Parameters of another size than the kernel has.
    #[error("{found} bytes of parameters where the kernel has {expected}")]
    Params {
        /// Bytes the kernel has.
        expected: u32,
        /// Bytes given.
        found: usize,
    },
    /// More blocks than can be resident at once.
    #[error("a cooperative grid of {blocks} blocks; at most {max} of this kernel can be resident")]
    CooperativeTooLarge {
        /// Blocks asked for.
        blocks: u64,
        /// Blocks that would be accepted.
        max: u64,
    },
    /// The host has no memory for the grid's work space.
    #[error("no memory for the grid's work space")]
    OutOfMemory,
    /// The kernel's registers, local and shared memory take more than any kernel may have.
    #[error("{bytes} bytes of registers, local and shared memory are more than {KERNEL_BYTES_MAX}")]
    BlockTooLarge {
        /// Bytes of the blocks that must be resident together.
        bytes: u64,
    },
    /// Other kernels hold too much memory now; the launch may be tried again.
    #[error("the memory for running kernels is taken")]
    Busy,
}

/// Blocks of an ordinary grid that may be started and not finished, so that blocks which wait for one another
/// meet as they do on a GPU, while memory stays bounded.
const RESIDENT_BLOCKS_MAX: u64 = 256;
/// Fewest such blocks, however much memory they take, where that much is left.
const RESIDENT_BLOCKS_MIN: u64 = 8;
/// Host memory that such blocks may take together, in bytes, above the fewest.
const RESIDENT_BYTES_MAX: u64 = 256 << 20;

/// A checked launch.
#[derive(Debug)]
pub(super) struct LaunchState {
    pub(super) kernel: Arc<Kernel>,
    pub(super) grid: [u32; 3],
    pub(super) block: [u32; 3],
    pub(super) threads: u32,
    pub(super) warps: u32,
    pub(super) dynamic_shared_bytes: u32,
    pub(super) params: Arc<[u8]>,
    /// Blocks that may be started and not finished.
    pub(super) resident_max: u64,
    /// Memory of all started blocks.
    pub(super) share: Share,
    /// Memory of the grid barrier, for cooperative launches.
    pub(super) workspace: Option<Arc<Region>>,
    pub(super) env: Env,
    pub(super) grid_id: u64,
}

impl LaunchState {
    /// Checks a launch against the kernel and the device.
    pub(super) fn new(launch: Launch, env: Env, grid_id: u64) -> Result<Self, LaunchError> {
        let Launch { kernel, grid, block, dynamic_shared_bytes, params, cooperative } = launch;
        let threads = product(block);
        let within =
            |shape: [u32; 3], max: [u32; 3]| shape.iter().zip(max).all(|(&n, max)| n >= 1 && n <= max);
        if !within(grid, GRID_EXTENT_MAX)
            || !within(block, BLOCK_EXTENT_MAX)
            || threads > BLOCK_THREADS_MAX.into()
        {
            return Err(LaunchError::Shape { grid, block });
        }
        let attributes = kernel.attributes;
        let threads = u32::try_from(threads).unwrap_or(u32::MAX);
        let other_shape = attributes.block_required.is_some_and(|required| required != block);
        if threads > attributes.threads_per_block_max || other_shape {
            let max = attributes.threads_per_block_max;
            return Err(LaunchError::ThreadsPerBlock { kernel: kernel.name.clone(), max });
        }
        let shared = u64::from(kernel.dynamic_base) + u64::from(dynamic_shared_bytes);
        if shared > SHARED_BYTES_MAX.into() {
            return Err(LaunchError::SharedMemory { bytes: shared });
        }
        if params.len() != kernel.params_bytes as usize {
            return Err(LaunchError::Params { expected: kernel.params_bytes, found: params.len() });
        }
        let blocks = product(grid);
        let max = kernel.cooperative_blocks_max(threads, dynamic_shared_bytes);
        if cooperative && blocks > max {
            return Err(LaunchError::CooperativeTooLarge { blocks, max });
        }
        let (share, resident_max) =
            share(&env.budget, kernel.block_bytes(threads, dynamic_shared_bytes), blocks, cooperative)?;
        let workspace = if cooperative {
            Some(Arc::new(Region::anonymous(WORKSPACE_BYTES).map_err(|_| LaunchError::OutOfMemory)?))
        } else {
            None
        };
        let warps = threads.div_ceil(LANES as u32);
        Ok(Self {
            kernel,
            grid,
            block,
            threads,
            warps,
            dynamic_shared_bytes,
            params,
            resident_max,
            share,
            workspace,
            env,
            grid_id,
        })
    }

    /// Number of blocks.
    pub(super) fn blocks(&self) -> u64 {
        product(self.grid)
    }
}

/// Memory for the started blocks of a grid, and how many may be started: all of a cooperative one.
fn share(
    budget: &Arc<Budget>,
    block_bytes: u64,
    blocks: u64,
    cooperative: bool,
) -> Result<(Share, u64), LaunchError> {
    let resident = (RESIDENT_BYTES_MAX / block_bytes.max(1)).clamp(RESIDENT_BLOCKS_MIN, RESIDENT_BLOCKS_MAX);
    let (least, most) = if cooperative { (blocks, blocks) } else { (1, resident.min(blocks)) };
    let bytes = block_bytes.saturating_mul(least);
    if bytes > KERNEL_BYTES_MAX {
        return Err(LaunchError::BlockTooLarge { bytes });
    }
    Share::of(budget, block_bytes, least, most).ok_or(LaunchError::Busy)
}

fn product(shape: [u32; 3]) -> u64 {
    shape.iter().fold(1, |all, &one| all.saturating_mul(one.into()))
}

/// The position of element `index` in a box of `shape`, x fastest.
#[allow(clippy::cast_possible_truncation, reason = "each coordinate is below an extent of 32 bits")]
pub(super) fn position(index: u64, shape: [u32; 3]) -> [u32; 3] {
    let [x, y, _] = shape.map(u64::from);
    [(index % x) as u32, (index / x % y) as u32, (index / x / y) as u32]
}

/// `%tid` of a lane of a warp of a block.
pub(super) fn thread_of(warp: u32, lane: usize, launch: &LaunchState) -> [u32; 3] {
    position(u64::from(warp) * LANES as u64 + lane as u64, launch.block)
}
