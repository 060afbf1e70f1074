//! What a GPU is.

use std::ffi::{CStr, c_char};

use cudarc::driver::sys;
use vgpu_proto::handshake::DeviceDescription;
use vgpu_proto::limits::DEVICE_ATTRIBUTES_MAX;

use super::error::{CudaError, check};
use super::load::{Driver, symbol};
use crate::device::DeviceError;

/// Longest name of a GPU, in bytes, with its final zero. The longest in use have some 50.
const NAME_BYTES: usize = 256;

/// A property that decides whether, and how, a GPU is used.
#[derive(Clone, Copy, Debug)]
pub(in crate::device::cuda) enum Property {
    RegisteredAddresses,
    StreamWrites,
    PageableAccess,
    VirtualMemory,
}

/// A GPU's number as the driver knows it.
fn device(_driver: Driver, ordinal: u32) -> Result<sys::CUdevice, CudaError> {
    let mut count = 0;
    // SAFETY: `count` is a place for a number.
    let result = unsafe { sys::cuDeviceGetCount(&raw mut count) };
    check(result, "cuDeviceGetCount")?;
    let none = CudaError::NoDevice { ordinal, count: count.max(0).unsigned_abs() };
    let wanted = i32::try_from(ordinal).map_err(|_| none.clone())?;
    if wanted >= count {
        return Err(none);
    }
    let mut device = 0;
    // SAFETY: `device` is a place for a number.
    let result = unsafe { sys::cuDeviceGet(&raw mut device, wanted) };
    check(result, "cuDeviceGet")?;
    Ok(device)
}

fn attribute(device: sys::CUdevice, attribute: sys::CUdevice_attribute) -> Result<u32, DeviceError> {
    let mut value = 0;
    // SAFETY: `value` is a place for a number.
    let result = unsafe { sys::cuDeviceGetAttribute(&raw mut value, attribute, device) };
    check(result, "cuDeviceGetAttribute")?;
    Ok(value.max(0).unsigned_abs())
}

impl Property {
    /// Whether the GPU has it.
    pub(in crate::device::cuda) fn of(self, driver: Driver, ordinal: u32) -> Result<bool, CudaError> {
        use sys::CUdevice_attribute as A;
        let wanted = match self {
            Self::RegisteredAddresses => A::CU_DEVICE_ATTRIBUTE_CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM,
            Self::StreamWrites => A::CU_DEVICE_ATTRIBUTE_CAN_USE_64_BIT_STREAM_MEM_OPS,
            Self::PageableAccess => A::CU_DEVICE_ATTRIBUTE_PAGEABLE_MEMORY_ACCESS,
            Self::VirtualMemory => A::CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED,
        };
        Ok(attribute(device(driver, ordinal)?, wanted)? != 0)
    }
}

fn name(device: sys::CUdevice) -> Result<String, DeviceError> {
    let mut bytes = [0u8; NAME_BYTES];
    let most = NAME_BYTES as i32;
    // SAFETY: the driver writes at most `most` bytes, a final zero among them.
    let result = unsafe { sys::cuDeviceGetName(bytes.as_mut_ptr().cast::<c_char>(), most, device) };
    check(result, "cuDeviceGetName")?;
    let name = CStr::from_bytes_until_nul(&bytes).unwrap_or_default();
    Ok(name.to_string_lossy().into_owned())
}

fn uuid(device: sys::CUdevice) -> Result<[u8; 16], DeviceError> {
    let mut uuid = sys::CUuuid { bytes: [0; 16] };
    // SAFETY: `uuid` is a place for one.
    let result = unsafe { sys::cuDeviceGetUuid_v2(&raw mut uuid, device) };
    check(result, "cuDeviceGetUuid")?;
    Ok(uuid.bytes.map(|byte| byte as u8))
}

/// `cuDeviceGetAttribute` with plain numbers: the binding's enums hold the attributes of one CUDA version only, and a
/// driver may know more.
type GetAttribute = unsafe extern "C" fn(*mut i32, u32, sys::CUdevice) -> u32;

/// All attributes by their numbers, up to the last that the driver knows.
fn attributes(_driver: Driver, device: sys::CUdevice) -> Result<Vec<i32>, CudaError> {
    const NAME: &str = "cuDeviceGetAttribute";
    // SAFETY: the function takes a place for a number, an enum of 32 bits and a device, and answers an enum of 32 bits.
    let get = unsafe { symbol::<GetAttribute>(NAME) }.ok_or(CudaError::MissingSymbol { name: NAME })?;
    let mut values = vec![0];
    let mut known = 1;
    for number in 1..DEVICE_ATTRIBUTES_MAX {
        let mut value = 0;
        // SAFETY: `value` is a place for a number; the driver refuses attributes that it does not know.
        let result = unsafe { get(&raw mut value, number as u32, device) };
        let is_known = result == sys::CUresult::CUDA_SUCCESS as u32;
        values.push(if is_known { value } else { 0 });
        if is_known {
            known = values.len();
        }
    }
    values.truncate(known);
    Ok(values)
}

/// What the GPU is, from the driver's attributes of the same names.
pub(in crate::device::cuda) fn describe(
    driver: Driver,
    ordinal: u32,
) -> Result<DeviceDescription, CudaError> {
    use sys::CUdevice_attribute as A;
    let device = device(driver, ordinal)?;
    let get = |wanted| attribute(device, wanted);
    let mut memory = 0;
    // SAFETY: `memory` is a place for a number.
    let result = unsafe { sys::cuDeviceTotalMem_v2(&raw mut memory, device) };
    check(result, "cuDeviceTotalMem")?;
    Ok(DeviceDescription {
        name: name(device)?,
        uuid: uuid(device)?,
        compute_major: get(A::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
        compute_minor: get(A::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
        memory_bytes: memory as u64,
        multiprocessor_count: get(A::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
        warp_size: get(A::CU_DEVICE_ATTRIBUTE_WARP_SIZE)?,
        threads_per_block_max: get(A::CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK)?,
        threads_per_multiprocessor_max: get(A::CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR)?,
        blocks_per_multiprocessor_max: get(A::CU_DEVICE_ATTRIBUTE_MAX_BLOCKS_PER_MULTIPROCESSOR)?,
        block_dim_max: [
            get(A::CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X)?,
            get(A::CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y)?,
            get(A::CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z)?,
        ],
        grid_dim_max: [
            get(A::CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X)?,
            get(A::CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y)?,
            get(A::CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z)?,
        ],
        shared_bytes_per_block_max: get(A::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK)?,
        shared_bytes_per_block_optin_max: get(A::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?,
        shared_bytes_per_multiprocessor: get(A::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR)?,
        registers_per_block_max: get(A::CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK)?,
        constant_bytes: get(A::CU_DEVICE_ATTRIBUTE_TOTAL_CONSTANT_MEMORY)?,
        // Only a context tells it.
        stream_priority_greatest: 0,
        attributes: attributes(driver, device)?,
        clusters: Vec::new(),
    })
}
