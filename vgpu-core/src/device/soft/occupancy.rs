//! How much of a kernel a multiprocessor of the card that is shown would hold.
//!
//! The limits are those of the CUDA occupancy calculator: block slots, threads, registers (given out to warps in units)
//! and shared memory (given out to blocks in units, after what the system takes).

use vgpu_proto::Status;
use vgpu_proto::control::FunctionDescription;
use vgpu_proto::handshake::DeviceDescription;

use super::attributes::RESERVED_SHARED_BYTES;
use crate::device::{DeviceError, Occupancy};

/// Registers are given to a warp in units of 256, shared memory to a block in units of 128 bytes, since compute
/// capability 8.0.
const REGISTER_UNIT: u32 = 256;
const SHARED_UNIT_BYTES: u32 = 128;

/// Flags of the question about blocks: `CU_OCCUPANCY_DISABLE_CACHING_OVERRIDE` only, for caches that this card lacks.
const FLAGS_KNOWN: u32 = 1;

fn invalid(text: String) -> DeviceError {
    DeviceError::new(Status::ERROR_INVALID_VALUE, text)
}

/// Answers a question about a kernel.
pub(super) fn of(
    function: &FunctionDescription,
    device: &DeviceDescription,
    query: &Occupancy,
) -> Result<u64, DeviceError> {
    match query {
        Occupancy::ActiveBlocks { flags, .. } if flags & !FLAGS_KNOWN != 0 => {
            Err(invalid(format!("occupancy flags {flags:#x}")))
        }
        Occupancy::ActiveBlocks { threads, dynamic_shared_bytes, .. } => {
            active_blocks(function, device, *threads, *dynamic_shared_bytes).map(u64::from)
        }
        Occupancy::DynamicShared { blocks, threads } => {
            dynamic_shared(function, device, *blocks, *threads).map(u64::from)
        }
        Occupancy::ActiveClusters(_) | Occupancy::ClusterSize(_) => {
            let text = "the software GPU has no clusters";
            Err(DeviceError::new(Status::ERROR_NOT_SUPPORTED, text))
        }
    }
}

fn active_blocks(
    function: &FunctionDescription,
    device: &DeviceDescription,
    threads: u32,
    dynamic_bytes: u64,
) -> Result<u32, DeviceError> {
    if threads == 0 {
        return Err(invalid("blocks of no threads".to_owned()));
    }
    if threads > function.threads_per_block_max {
        return Ok(0);
    }
    let warp = device.warp_size;
    let warps = threads.div_ceil(warp);
    let by_threads = device.threads_per_multiprocessor_max / (warps * warp);
    let warp_registers = (function.registers * warp).next_multiple_of(REGISTER_UNIT);
    let by_registers =
        device.registers_per_block_max.checked_div(warp_registers).map_or(u32::MAX, |all| all / warps);
    let asked = u64::from(function.shared_bytes).saturating_add(dynamic_bytes);
    if asked > u64::from(device.shared_bytes_per_block_optin_max) {
        return Ok(0);
    }
    // Checked above: far below 2^32.
    let shared = (asked as u32 + RESERVED_SHARED_BYTES).next_multiple_of(SHARED_UNIT_BYTES);
    let by_shared = device.shared_bytes_per_multiprocessor / shared;
    Ok(device.blocks_per_multiprocessor_max.min(by_threads).min(by_registers).min(by_shared))
}

/// Dynamic shared memory that each of `blocks` blocks may use, where so many are to fit on a multiprocessor.
fn dynamic_shared(
    function: &FunctionDescription,
    device: &DeviceDescription,
    blocks: u32,
    threads: u32,
) -> Result<u32, DeviceError> {
    if blocks == 0 || active_blocks(function, device, threads, 0)? < blocks {
        return Err(invalid(format!("{blocks} blocks of {threads} threads do not fit on a multiprocessor")));
    }
    let each = device.shared_bytes_per_multiprocessor / blocks / SHARED_UNIT_BYTES * SHARED_UNIT_BYTES;
    let each = each.saturating_sub(RESERVED_SHARED_BYTES).min(device.shared_bytes_per_block_optin_max);
    Ok(each.saturating_sub(function.shared_bytes))
}
