//! How much of a kernel fits onto the GPU.

use std::ptr;

use cudarc::driver::sys;
use vgpu_proto::Status;

use super::error::check;
use super::function::Function;
use super::launch::Dimensions;
use super::launch_attribute::DriverAttribute;
use crate::device::DeviceError;

/// A number as the driver takes it, which divides by it.
fn int(value: u32, what: &str) -> Result<i32, DeviceError> {
    let number = i32::try_from(value).ok().filter(|number| *number > 0);
    number
        .ok_or_else(|| DeviceError::new(Status::ERROR_INVALID_VALUE, format!("{value} {what} are no launch")))
}

/// A figure as the driver tells it.
fn figure(value: i32) -> u64 {
    u64::from(value.max(0).unsigned_abs())
}

impl Function {
    /// Blocks that a multiprocessor holds at once.
    pub(in crate::device::cuda) fn active_blocks(
        &self,
        threads: u32,
        dynamic_bytes: u64,
        flags: u32,
    ) -> Result<u64, DeviceError> {
        self.handle().bind()?;
        let (threads, dynamic_bytes) = (int(threads, "threads")?, dynamic_bytes as usize);
        let mut blocks = 0;
        // SAFETY: `blocks` is a place for a number; the function lives as long as its module, which `self` keeps.
        let result = unsafe {
            sys::cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
                &raw mut blocks,
                self.raw(),
                threads,
                dynamic_bytes,
                flags,
            )
        };
        check(result, "cuOccupancyMaxActiveBlocksPerMultiprocessor")?;
        Ok(figure(blocks))
    }

    /// Dynamic shared memory that each of so many blocks of a multiprocessor may use, in bytes.
    pub(in crate::device::cuda) fn dynamic_shared_bytes(
        &self,
        blocks: u32,
        threads: u32,
    ) -> Result<u64, DeviceError> {
        self.handle().bind()?;
        let (blocks, threads) = (int(blocks, "blocks")?, int(threads, "threads")?);
        let mut bytes = 0;
        // SAFETY: as for `active_blocks`.
        let result = unsafe {
            sys::cuOccupancyAvailableDynamicSMemPerBlock(&raw mut bytes, self.raw(), blocks, threads)
        };
        check(result, "cuOccupancyAvailableDynamicSMemPerBlock")?;
        Ok(bytes as u64)
    }

    /// Clusters of a launch that the GPU holds at once.
    pub(in crate::device::cuda) fn active_clusters(
        &self,
        dimensions: Dimensions,
        attributes: &[DriverAttribute<'_>],
    ) -> Result<u64, DeviceError> {
        self.handle().bind()?;
        let mut raw: Vec<_> = attributes.iter().map(DriverAttribute::raw).collect();
        let config = dimensions.config(ptr::null_mut(), &mut raw);
        let mut clusters = 0;
        // SAFETY: as for `active_blocks`; `config` and its attributes live through the call.
        let result =
            unsafe { sys::cuOccupancyMaxActiveClusters(&raw mut clusters, self.raw(), &raw const config) };
        check(result, "cuOccupancyMaxActiveClusters")?;
        Ok(figure(clusters))
    }

    /// Blocks of the largest cluster that a launch may have.
    pub(in crate::device::cuda) fn cluster_size(
        &self,
        dimensions: Dimensions,
        attributes: &[DriverAttribute<'_>],
    ) -> Result<u64, DeviceError> {
        self.handle().bind()?;
        let mut raw: Vec<_> = attributes.iter().map(DriverAttribute::raw).collect();
        let config = dimensions.config(ptr::null_mut(), &mut raw);
        let mut blocks = 0;
        // SAFETY: as for `active_clusters`.
        let result = unsafe {
            sys::cuOccupancyMaxPotentialClusterSize(&raw mut blocks, self.raw(), &raw const config)
        };
        check(result, "cuOccupancyMaxPotentialClusterSize")?;
        Ok(figure(blocks))
    }
}
