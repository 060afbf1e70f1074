//! Device attributes (`CU_DEVICE_ATTRIBUTE_*`).
//!
//! The host's description carries all of them, as the card's driver tells them. A guest is answered the card's truth,
//! except for what is not the card's but vgpu's: [`OWN`] has each such attribute with its reason.

use crate::device::{PCI_BUS, PCI_DEVICE, PCI_DOMAIN};
use crate::driver::Driver;

/// The last attribute of CUDA 13.0, the version that is implemented. Later ones are refused, as its driver refuses them.
const LAST: u32 = 147;

/// Attributes that do not have the card's value. Those that say 0 keep programs away from what is not supported.
const OWN: &[(u32, i32)] = &[
    // COMPUTE_MODE: the mode bounds processes of the host; any number of a guest's may use its device.
    (20, 0),
    // PCI_BUS_ID, PCI_DEVICE_ID, PCI_DOMAIN_ID: the guest's own bus has no such card. The runtime's integrity check
    // covers what is answered here.
    (33, PCI_BUS),
    (34, PCI_DEVICE),
    (50, PCI_DOMAIN),
    // MANAGED_MEMORY: it lies in pinned memory, on every card.
    (83, 1),
    // MULTI_GPU_BOARD, MULTI_GPU_BOARD_GROUP_ID: a guest has one GPU.
    (84, 0),
    (85, 0),
    // PAGEABLE_MEMORY_ACCESS, CONCURRENT_MANAGED_ACCESS, PAGEABLE_MEMORY_ACCESS_USES_HOST_PAGE_TABLES,
    // DIRECT_MANAGED_MEM_ACCESS_FROM_HOST: the guest's pages are not the worker's.
    (88, 0),
    (89, 0),
    (100, 0),
    (101, 0),
    // CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM, HOST_REGISTER_SUPPORTED: memory that a guest has already is pinned where it
    // is. READ_ONLY_HOST_REGISTER_SUPPORTED: kernels may write to it.
    (91, 1),
    (99, 1),
    (113, 0),
    // CAN_USE_STREAM_MEM_OPS_V1, CAN_USE_64_BIT_STREAM_MEM_OPS_V1: the functions of the first version are not there.
    (92, 0),
    (93, 0),
    // COOPERATIVE_MULTI_DEVICE_LAUNCH: a guest has one GPU.
    (96, 0),
    // CAN_FLUSH_REMOTE_WRITES: no third device writes to a guest's memory.
    (98, 0),
    // HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, WIN32, WIN32_KMT, FABRIC: memory is not shared between sessions.
    (103, 0),
    (104, 0),
    (105, 0),
    (128, 0),
    // GENERIC_COMPRESSION_SUPPORTED, SPARSE_CUDA_ARRAY_SUPPORTED, DEFERRED_MAPPING_CUDA_ARRAY_SUPPORTED: cuMemCreate
    // compresses nothing, and arrays are not there.
    (107, 0),
    (112, 0),
    (121, 0),
    // GPU_DIRECT_RDMA_WITH_CUDA_VMM_SUPPORTED, GPU_DIRECT_RDMA_SUPPORTED, ..._FLUSH_WRITES_OPTIONS,
    // ..._WRITES_ORDERING, DMA_BUF_SUPPORTED, HOST_ALLOC_DMA_BUF_SUPPORTED: a guest's network card does not reach the
    // host's GPU.
    (110, 0),
    (116, 0),
    (117, 0),
    (118, 0),
    (124, 0),
    (146, 0),
    // TIMELINE_SEMAPHORE_INTEROP_SUPPORTED, D3D12_CIG_SUPPORTED, VULKAN_CIG_SUPPORTED: no graphics API is there.
    (114, 0),
    (135, 0),
    (138, 0),
    // MEMORY_POOLS_SUPPORTED: pools are the guest's own. MEMPOOL_SUPPORTED_HANDLE_TYPES: so nobody else can have them.
    (115, 1),
    (119, 0),
    // IPC_EVENT_SUPPORTED: events are not shared between sessions.
    (125, 0),
    // UNIFIED_FUNCTION_POINTERS: cuLibraryGetUnifiedFunction is not there.
    (129, 0),
    // NUMA_CONFIG, NUMA_ID, HOST_NUMA_ID: the nodes are the host's.
    (130, 0),
    (131, -1),
    (134, -1),
    // MULTICAST_SUPPORTED: a guest has one GPU.
    (132, 0),
    // MPS_ENABLED: the host's affair; a guest cannot reach its server.
    (133, 0),
    // MEM_DECOMPRESS_ALGORITHM_MASK, MEM_DECOMPRESS_MAXIMUM_LENGTH: cuMemBatchDecompressAsync is not there.
    (136, 0),
    (137, 0),
    // HOST_NUMA_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED, HOST_NUMA_MEMORY_POOLS_SUPPORTED,
    // HOST_NUMA_MULTINODE_IPC_SUPPORTED, HOST_MEMORY_POOLS_SUPPORTED, HOST_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED: the
    // host's memory is not placed by a guest.
    (141, 0),
    (142, 0),
    (143, 0),
    (144, 0),
    (145, 0),
];

/// The attribute's value; `None` where there is no such attribute.
pub(crate) fn get(driver: &Driver, attribute: u32) -> Option<i32> {
    if attribute == 0 || attribute > LAST {
        return None;
    }
    let own = OWN.iter().find(|(number, _)| *number == attribute).map(|(_, value)| *value);
    own.or_else(|| driver.device().attribute(attribute))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_attribute_of_our_own_has_one_value() {
        let mut numbers: Vec<u32> = OWN.iter().map(|(number, _)| *number).collect();
        numbers.sort_unstable();
        assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "{numbers:?}");
        assert!(numbers.iter().all(|number| (1..=LAST).contains(number)));
    }
}
