//! Launch attributes on a card without clusters, whose kernels never overlap and whose caches take no advice.

use vgpu_proto::{LaunchAttribute, Status};

use super::memory::AddressSpace;
use crate::device::{DeviceError, LaunchConfig};

/// Checks what the card can be asked. What only advises passes and changes nothing.
///
/// # Errors
/// `NOT_SUPPORTED` for clusters of several blocks, as cards below compute capability 9.0 answer; `INVALID_VALUE` for an
/// access policy window outside the session's memory.
pub(super) fn check(launch: &LaunchConfig, memory: &AddressSpace) -> Result<(), DeviceError> {
    for attribute in &launch.attributes {
        match attribute {
            LaunchAttribute::ClusterDimension([0..=1, 0..=1, 0..=1]) => {}
            LaunchAttribute::ClusterDimension(size) => {
                let text = format!("a cluster of {size:?} blocks: the software GPU has no clusters");
                return Err(DeviceError::new(Status::ERROR_NOT_SUPPORTED, text));
            }
            LaunchAttribute::AccessPolicyWindow(window)
                if window.bytes > 0 && memory.find(window.base, window.bytes).is_none() =>
            {
                let text = format!("no memory for an access policy window at {:#x}", window.base);
                return Err(DeviceError::new(Status::ERROR_INVALID_VALUE, text));
            }
            _ => {}
        }
    }
    Ok(())
}
