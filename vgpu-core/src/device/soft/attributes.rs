//! Device attributes of the software GPU (`CU_DEVICE_ATTRIBUTE_*`).

use vgpu_proto::handshake::DeviceDescription;

/// The last attribute of CUDA 13.0.
const LAST: usize = 147;

/// Clock rates in kHz. An interpreter has none; programs divide by them.
const CLOCK_KHZ: i32 = 1_000_000;

/// Alignment of pitches and of linear textures, in bytes.
const TEXTURE_ALIGN: i32 = 512;

/// Shared memory that the system takes of each block since compute capability 8.0, in bytes.
pub(super) const RESERVED_SHARED_BYTES: u32 = 1_024;

/// Attributes that are not in the description's own fields. Those that are not listed are 0: what the card does not have,
/// and what takes hardware.
const FIXED: &[(usize, i32)] = &[
    // MAX_PITCH: 2^31 - 1 bytes.
    (11, i32::MAX),
    // CLOCK_RATE, MEMORY_CLOCK_RATE.
    (13, CLOCK_KHZ),
    (36, CLOCK_KHZ),
    // TEXTURE_ALIGNMENT, SURFACE_ALIGNMENT, TEXTURE_PITCH_ALIGNMENT in bytes.
    (14, TEXTURE_ALIGN),
    (30, TEXTURE_ALIGN),
    (51, 32),
    // GPU_OVERLAP, CAN_MAP_HOST_MEMORY, CONCURRENT_KERNELS, UNIFIED_ADDRESSING.
    (15, 1),
    (19, 1),
    (31, 1),
    (41, 1),
    // GLOBAL_MEMORY_BUS_WIDTH in bits, L2_CACHE_SIZE in bytes.
    (37, 5_120),
    (38, 4 << 20),
    // ASYNC_ENGINE_COUNT: one for each direction.
    (40, 2),
    // STREAM_PRIORITIES_SUPPORTED, GLOBAL_L1_CACHE_SUPPORTED, LOCAL_L1_CACHE_SUPPORTED.
    (78, 1),
    (79, 1),
    (80, 1),
    // MANAGED_MEMORY.
    (83, 1),
    // SINGLE_TO_DOUBLE_PRECISION_PERF_RATIO.
    (87, 2),
    // COMPUTE_PREEMPTION_SUPPORTED, CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM.
    (90, 1),
    (91, 1),
    // CAN_USE_STREAM_WAIT_VALUE_NOR_V1, COOPERATIVE_LAUNCH, HOST_REGISTER_SUPPORTED.
    (94, 1),
    (95, 1),
    (99, 1),
    // VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED.
    (102, 1),
    // CAN_USE_64_BIT_STREAM_MEM_OPS, CAN_USE_STREAM_WAIT_VALUE_NOR.
    (122, 1),
    (123, 1),
    // MEM_SYNC_DOMAIN_COUNT.
    (126, 1),
    // NUMA_ID, HOST_NUMA_ID: none.
    (131, -1),
    (134, -1),
];

/// All attributes by their numbers, 0 included, which is none.
pub(super) fn of(device: &DeviceDescription) -> Vec<i32> {
    let mut values = vec![0; LAST + 1];
    for (number, value) in FIXED {
        values[*number] = *value;
    }
    let [block_x, block_y, block_z] = device.block_dim_max;
    let [grid_x, grid_y, grid_z] = device.grid_dim_max;
    let figures = [
        (1, device.threads_per_block_max),
        (2, block_x),
        (3, block_y),
        (4, block_z),
        (5, grid_x),
        (6, grid_y),
        (7, grid_z),
        (8, device.shared_bytes_per_block_max),
        (9, device.constant_bytes),
        (10, device.warp_size),
        (12, device.registers_per_block_max),
        (16, device.multiprocessor_count),
        (39, device.threads_per_multiprocessor_max),
        (75, device.compute_major),
        (76, device.compute_minor),
        (81, device.shared_bytes_per_multiprocessor),
        (82, device.registers_per_block_max),
        (97, device.shared_bytes_per_block_optin_max),
        (106, device.blocks_per_multiprocessor_max),
        // RESERVED_SHARED_MEMORY_PER_BLOCK.
        (111, RESERVED_SHARED_BYTES),
    ];
    for (number, figure) in figures {
        values[number] = i32::try_from(figure).unwrap_or(i32::MAX);
    }
    values
}
