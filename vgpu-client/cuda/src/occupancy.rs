//! Occupancy: how much of a kernel a multiprocessor, or the device, holds. The host says; the guest library remembers.

use std::sync::Arc;

use vgpu_client::{EventId, LaunchAttribute, Occupancy};

use crate::driver::{Driver, driver};
use crate::fail::{Call, INVALID_VALUE};
use crate::function::{self, FunctionEntry};
use crate::launch::ExtensibleConfig;
use crate::pointers::{In, Out};

/// `CU_OCCUPANCY_DISABLE_CACHING_OVERRIDE`, the only flag.
const FLAGS_KNOWN: u32 = 1;

/// `blocks to dynamic shared bytes`: a function of the program, which says how much a block of so many threads needs.
type SharedOf = Option<extern "C" fn(i32) -> usize>;

fn count(value: i32) -> Call<u32> {
    u32::try_from(value).ok().filter(|count| *count > 0).ok_or(INVALID_VALUE)
}

fn active_blocks(function: &FunctionEntry, threads: u32, dynamic_bytes: u64, flags: u32) -> Call<u64> {
    if flags & !FLAGS_KNOWN != 0 {
        return Err(INVALID_VALUE);
    }
    let query = Occupancy::ActiveBlocks { threads, dynamic_shared_bytes: dynamic_bytes, flags };
    Ok(function.function.occupancy(&query)?)
}

fn max_active_blocks(out: Out<i32>, function: u64, threads: i32, dynamic_bytes: u64, flags: u32) -> Call {
    let function = function::find(driver()?, function)?;
    out.required()?;
    out.set(figure(active_blocks(&function, count(threads)?, dynamic_bytes, flags)?));
    Ok(())
}

fn figure(value: u64) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

/// Where a suggested launch goes: blocks of a grid that fills the device, and threads of a block.
#[derive(Clone, Copy, Debug)]
struct Suggestion {
    grid: Out<i32>,
    threads: Out<i32>,
}

/// Suggests the block with which most threads are resident: sizes are tried from the largest down, in whole warps.
fn suggest(out: Suggestion, function: u64, shared: (SharedOf, u64), threads_max: i32, flags: u32) -> Call {
    let driver = driver()?;
    let function = function::find(driver, function)?;
    let (grid, threads) = (out.grid.required()?, out.threads.required()?);
    let (blocks, block) = best(driver, &function, shared, threads_max, flags)?;
    grid.set(figure(blocks * u64::from(driver.device().multiprocessor_count)));
    threads.set(figure(block.into()));
    Ok(())
}

/// Blocks of a multiprocessor and threads of a block.
fn best(
    driver: &Driver,
    function: &Arc<FunctionEntry>,
    (shared_of, shared_bytes): (SharedOf, u64),
    threads_max: i32,
    flags: u32,
) -> Call<(u64, u32)> {
    let device = driver.device();
    let most = device.threads_per_block_max.min(function.function.attributes().threads_per_block_max);
    // 0, or less, is no limit.
    let most =
        u32::try_from(threads_max).ok().filter(|limit| *limit > 0).map_or(most, |limit| limit.min(most));
    let warp = device.warp_size.max(1);
    let (mut resident, mut found) = (0, (0, 0));
    let mut rounded = most.next_multiple_of(warp);
    while rounded > 0 {
        let threads = rounded.min(most);
        let dynamic = match shared_of {
            Some(shared_of) => shared_of(figure(threads.into())) as u64,
            None => shared_bytes,
        };
        let blocks = active_blocks(function, threads, dynamic, flags)?;
        let together = blocks.saturating_mul(threads.into());
        if together > resident {
            (resident, found) = (together, (blocks, threads));
        }
        // Nothing smaller is better.
        if resident >= u64::from(device.threads_per_multiprocessor_max) {
            break;
        }
        rounded -= warp;
    }
    Ok(found)
}

/// Dynamic shared memory that each of `blocks` blocks may use, where so many are to fit on a multiprocessor.
fn available_dynamic(out: Out<u64>, function: u64, blocks: i32, threads: i32) -> Call {
    let function = function::find(driver()?, function)?;
    out.required()?;
    let query = Occupancy::DynamicShared { blocks: count(blocks)?, threads: count(threads)? };
    out.set(function.function.occupancy(&query)?);
    Ok(())
}

/// A question about a launch with clusters.
fn clusters(
    out: Out<i32>,
    function: u64,
    config: In<ExtensibleConfig>,
    question: fn(vgpu_client::LaunchConfig, &[LaunchAttribute<EventId>]) -> Occupancy<'_>,
) -> Call {
    let function = function::find(driver()?, function)?;
    out.required()?;
    let (config, attributes) = config.read()?.parts()?;
    // An event says nothing about what fits.
    let told = attributes.into_iter().filter_map(|attribute| attribute.try_map_event(Err::<EventId, _>).ok());
    let told: Vec<_> = told.collect();
    out.set(figure(function.function.occupancy(&question(config, &told))?));
    Ok(())
}

driver_calls! {
    fn cuOccupancyMaxActiveBlocksPerMultiprocessor(out: Out<i32>, function: u64, threads: i32, dynamic_bytes: u64) {
        max_active_blocks(out, function, threads, dynamic_bytes, 0)
    }
    fn cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
        out: Out<i32>, function: u64, threads: i32, dynamic_bytes: u64, flags: u32
    ) {
        max_active_blocks(out, function, threads, dynamic_bytes, flags)
    }
    fn cuOccupancyMaxPotentialBlockSize(
        grid: Out<i32>, threads: Out<i32>, function: u64, shared_of: SharedOf, shared_bytes: u64, threads_max: i32
    ) {
        suggest(Suggestion { grid, threads }, function, (shared_of, shared_bytes), threads_max, 0)
    }
    fn cuOccupancyMaxPotentialBlockSizeWithFlags(
        grid: Out<i32>, threads: Out<i32>, function: u64, shared_of: SharedOf, shared_bytes: u64, threads_max: i32,
        flags: u32
    ) {
        suggest(Suggestion { grid, threads }, function, (shared_of, shared_bytes), threads_max, flags)
    }
    fn cuOccupancyAvailableDynamicSMemPerBlock(out: Out<u64>, function: u64, blocks: i32, threads: i32) {
        available_dynamic(out, function, blocks, threads)
    }
    fn cuOccupancyMaxActiveClusters(out: Out<i32>, function: u64, config: In<ExtensibleConfig>) {
        clusters(out, function, config, |config, attributes| Occupancy::ActiveClusters(config, attributes))
    }
    fn cuOccupancyMaxPotentialClusterSize(out: Out<i32>, function: u64, config: In<ExtensibleConfig>) {
        clusters(out, function, config, |config, attributes| Occupancy::ClusterSize(config, attributes))
    }
}
