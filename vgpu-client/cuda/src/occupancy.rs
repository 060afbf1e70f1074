//! Occupancy: how many blocks of a kernel a multiprocessor holds.
//!
//! The limits are those of the CUDA occupancy calculator: block slots, threads, registers (given out to warps in units)
//! and shared memory (given out to blocks in units, after what the system takes).

use crate::attributes::reserved_shared_bytes;
use crate::driver::{Driver, driver};
use crate::fail::{Call, INVALID_VALUE};
use crate::function;
use crate::pointers::Out;

/// Registers are given to a warp in units of 256, shared memory to a block in units of 128 bytes, since compute
/// capability 8.0.
const REGISTER_UNIT: u32 = 256;
const SHARED_UNIT_BYTES: u32 = 128;

/// Blocks of `threads` threads and `dynamic_bytes` of dynamic shared memory that a multiprocessor holds at once.
fn active_blocks(driver: &Driver, function: u64, threads: i32, dynamic_bytes: u64) -> Call<u32> {
    let device = driver.device();
    let attributes = function::find(driver, function)?.function.attributes();
    let threads = u32::try_from(threads).ok().filter(|threads| *threads > 0).ok_or(INVALID_VALUE)?;
    if threads > attributes.threads_per_block_max {
        return Ok(0);
    }
    let warp = device.warp_size.max(1);
    let warps = threads.div_ceil(warp);
    let by_threads = device.threads_per_multiprocessor_max / (warps * warp);
    let warp_registers = (attributes.registers * warp).next_multiple_of(REGISTER_UNIT);
    let by_registers =
        device.registers_per_block_max.checked_div(warp_registers).map_or(u32::MAX, |all| all / warps);
    let asked = u64::from(attributes.shared_bytes).saturating_add(dynamic_bytes);
    if asked > u64::from(device.shared_bytes_per_block_optin_max) {
        return Ok(0);
    }
    // Checked above: far below 2^32.
    let shared = (asked as u32 + reserved_shared_bytes(driver)).next_multiple_of(SHARED_UNIT_BYTES);
    let by_shared = device.shared_bytes_per_multiprocessor / shared;
    Ok(device.blocks_per_multiprocessor_max.min(by_threads).min(by_registers).min(by_shared))
}

fn max_active_blocks(out: Out<i32>, function: u64, threads: i32, dynamic_bytes: u64) -> Call {
    let blocks = active_blocks(driver()?, function, threads, dynamic_bytes)?;
    out.required()?.set(i32::try_from(blocks).unwrap_or(i32::MAX));
    Ok(())
}

/// Dynamic shared memory that each of `blocks` blocks may use, where so many are to fit on a multiprocessor.
fn available_dynamic(out: Out<u64>, function: u64, blocks: i32, threads: i32) -> Call {
    let driver = driver()?;
    let device = driver.device();
    out.required()?;
    let wanted = u32::try_from(blocks).ok().filter(|blocks| *blocks > 0).ok_or(INVALID_VALUE)?;
    if active_blocks(driver, function, threads, 0)? < wanted {
        return Err(INVALID_VALUE);
    }
    let fixed = function::find(driver, function)?.function.attributes().shared_bytes;
    let each = device.shared_bytes_per_multiprocessor / wanted / SHARED_UNIT_BYTES * SHARED_UNIT_BYTES;
    let each =
        each.saturating_sub(reserved_shared_bytes(driver)).min(device.shared_bytes_per_block_optin_max);
    out.set(each.saturating_sub(fixed).into());
    Ok(())
}

driver_calls! {
    fn cuOccupancyMaxActiveBlocksPerMultiprocessor(out: Out<i32>, function: u64, threads: i32, dynamic_bytes: u64) {
        max_active_blocks(out, function, threads, dynamic_bytes)
    }
    fn cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
        out: Out<i32>, function: u64, threads: i32, dynamic_bytes: u64, flags: u32
    ) {
        // 1: without what cached global memory may need, of which there is no such need here.
        if flags > 1 { Err(INVALID_VALUE) } else { max_active_blocks(out, function, threads, dynamic_bytes) }
    }
    fn cuOccupancyAvailableDynamicSMemPerBlock(out: Out<u64>, function: u64, blocks: i32, threads: i32) {
        available_dynamic(out, function, blocks, threads)
    }
}
