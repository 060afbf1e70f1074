//! Device attributes (`CU_DEVICE_ATTRIBUTE_*`).
//!
//! What the host's description says is passed on. What is not supported through vgpu is 0, so that programs keep away
//! from it. The rest are figures of the compute capabilities 8 and 9 in the CUDA programming guide.

use crate::device::{PCI_BUS, PCI_DEVICE, PCI_DOMAIN};
use crate::driver::Driver;

/// The last attribute of CUDA 13.0. Unknown ones beyond are refused, as the driver refuses them.
const LAST: u32 = 147;

/// Clock rates in kHz. The host does not tell them; programs divide by them.
const CLOCK_KHZ: i32 = 1_000_000;

/// Largest pitch of a 2D copy in bytes: 2^31 - 1.
const PITCH_MAX: i32 = i32::MAX;

/// Alignment of pitches and of linear textures, in bytes.
const TEXTURE_ALIGN: i32 = 512;

/// Shared memory that the system takes of each block since compute capability 8.0, in bytes.
const RESERVED_SHARED_BYTES: i32 = 1_024;

/// The attribute's value; `None` where there is no such attribute.
pub(crate) fn get(driver: &Driver, attribute: u32) -> Option<i32> {
    let device = driver.device();
    let value = match attribute {
        1 => device.threads_per_block_max,
        2..=4 => device.block_dim_max[attribute as usize - 2],
        5..=7 => device.grid_dim_max[attribute as usize - 5],
        8 => device.shared_bytes_per_block_max,
        9 => device.constant_bytes,
        10 => device.warp_size,
        12 => device.registers_per_block_max,
        16 => device.multiprocessor_count,
        39 => device.threads_per_multiprocessor_max,
        75 => device.compute_major,
        76 => device.compute_minor,
        81 => device.shared_bytes_per_multiprocessor,
        82 => device.registers_per_block_max,
        97 => device.shared_bytes_per_block_optin_max,
        106 => device.blocks_per_multiprocessor_max,
        0 => return None,
        _ if attribute <= LAST => return Some(fixed(attribute)),
        _ => return None,
    };
    Some(i32::try_from(value).unwrap_or(i32::MAX))
}

/// Attributes that are the same for every device behind a vgpu host. Those that are not listed are 0: textures,
/// surfaces, arrays, memory pools, virtual memory, clusters, tensor maps, IPC, and what only hardware has.
fn fixed(attribute: u32) -> i32 {
    match attribute {
        // MAX_PITCH
        11 => PITCH_MAX,
        // CLOCK_RATE, MEMORY_CLOCK_RATE
        13 | 36 => CLOCK_KHZ,
        // TEXTURE_ALIGNMENT, SURFACE_ALIGNMENT
        14 | 30 => TEXTURE_ALIGN,
        // TEXTURE_PITCH_ALIGNMENT
        51 => 32,
        // PCI_BUS_ID, PCI_DEVICE_ID, PCI_DOMAIN_ID
        33 => PCI_BUS,
        34 => PCI_DEVICE,
        50 => PCI_DOMAIN,
        // GPU_OVERLAP, CAN_MAP_HOST_MEMORY, CONCURRENT_KERNELS, UNIFIED_ADDRESSING, STREAM_PRIORITIES_SUPPORTED,
        // GLOBAL_L1_CACHE_SUPPORTED, LOCAL_L1_CACHE_SUPPORTED, MANAGED_MEMORY, COMPUTE_PREEMPTION_SUPPORTED,
        // COOPERATIVE_LAUNCH
        15 | 19 | 31 | 41 | 78 | 79 | 80 | 83 | 90 | 95 => 1,
        // CAN_USE_STREAM_WAIT_VALUE_NOR_V1, CAN_USE_STREAM_WAIT_VALUE_NOR
        94 | 123 => 1,
        // GLOBAL_MEMORY_BUS_WIDTH in bits
        37 => 5_120,
        // L2_CACHE_SIZE in bytes
        38 => 4 << 20,
        // ASYNC_ENGINE_COUNT: one for each direction
        40 => 2,
        // SINGLE_TO_DOUBLE_PRECISION_PERF_RATIO
        87 => 2,
        // RESERVED_SHARED_MEMORY_PER_BLOCK
        111 => RESERVED_SHARED_BYTES,
        // MEM_SYNC_DOMAIN_COUNT
        126 => 1,
        // NUMA_ID, HOST_NUMA_ID: none
        131 | 134 => -1,
        _ => 0,
    }
}

/// Shared memory that the system takes of each block, in bytes.
pub(crate) const fn reserved_shared_bytes() -> u32 {
    RESERVED_SHARED_BYTES.cast_unsigned()
}
