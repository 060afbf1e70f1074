//! Attributes of launches and streams (`CUlaunchAttribute`), read from a caller and checked.

use vgpu_client::{AccessPolicyWindow, LaunchAttribute};

use crate::fail::{Call, INVALID_VALUE, NOT_SUPPORTED};
use crate::pointers::In;

/// Attributes of a launch, at most. CUDA has 17 kinds.
const ATTRIBUTES_MAX: u32 = 64;

/// `CU_LAUNCH_ATTRIBUTE_*`.
pub(crate) mod id {
    pub(crate) const IGNORE: u32 = 0;
    pub(crate) const ACCESS_POLICY_WINDOW: u32 = 1;
    pub(crate) const COOPERATIVE: u32 = 2;
    pub(crate) const SYNCHRONIZATION_POLICY: u32 = 3;
    pub(crate) const CLUSTER_DIMENSION: u32 = 4;
    pub(crate) const CLUSTER_SCHEDULING_POLICY_PREFERENCE: u32 = 5;
    pub(crate) const PROGRAMMATIC_STREAM_SERIALIZATION: u32 = 6;
    pub(crate) const PROGRAMMATIC_EVENT: u32 = 7;
    pub(crate) const PRIORITY: u32 = 8;
    pub(crate) const MEM_SYNC_DOMAIN_MAP: u32 = 9;
    pub(crate) const MEM_SYNC_DOMAIN: u32 = 10;
    pub(crate) const PREFERRED_CLUSTER_DIMENSION: u32 = 11;
    pub(crate) const LAUNCH_COMPLETION_EVENT: u32 = 12;
    pub(crate) const DEVICE_UPDATABLE_KERNEL_NODE: u32 = 13;
    pub(crate) const PREFERRED_SHARED_MEMORY_CARVEOUT: u32 = 14;
    pub(crate) const NVLINK_UTIL_CENTRIC_SCHEDULING: u32 = 16;
}

/// `CUlaunchAttribute`: which, padding, and a value of 64 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawAttribute {
    pub(crate) which: u32,
    padding: u32,
    pub(crate) value: Value,
}

/// `CUlaunchAttributeValue`, as words. The union's members are read by their offsets in `cuda.h`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Value(pub(crate) [u32; 16]);

/// An attribute, with the handle of the event that it may name.
pub(crate) type Attribute = LaunchAttribute<u64>;

impl Value {
    fn long(&self, word: usize) -> u64 {
        u64::from(self.0[word]) | u64::from(self.0[word + 1]) << 32
    }

    const fn size(&self) -> [u32; 3] {
        [self.0[0], self.0[1], self.0[2]]
    }

    /// `CUaccessPolicyWindow`: base, length, hit ratio, and how hits and misses are treated.
    fn window(&self) -> Call<AccessPolicyWindow> {
        let window = AccessPolicyWindow {
            base: self.long(0),
            bytes: self.long(2),
            hit_ratio_bits: self.0[4],
            hit: self.0[5],
            miss: self.0[6],
        };
        let ratio = f32::from_bits(window.hit_ratio_bits);
        // What misses may not persist.
        let is_sound = (0.0..=1.0).contains(&ratio) && window.hit <= 2 && window.miss <= 1;
        if is_sound { Ok(window) } else { Err(INVALID_VALUE) }
    }
}

/// What the attributes of a launch ask for.
#[derive(Debug, Default)]
pub(crate) struct Attributes {
    /// All blocks resident at once.
    pub(crate) cooperative: bool,
    /// All others that reach the device.
    pub(crate) others: Vec<Attribute>,
}

impl Attributes {
    /// Reads `count` attributes. Those that are not known, or cannot be kept, are refused.
    pub(crate) fn read(attributes: In<RawAttribute>, count: u32) -> Call<Self> {
        if count > ATTRIBUTES_MAX {
            return Err(INVALID_VALUE);
        }
        let mut read = Self::default();
        for at in 0..count as usize {
            let RawAttribute { which, value, .. } = attributes.at(at)?;
            match which {
                id::COOPERATIVE => read.cooperative = value.0[0] != 0,
                id::IGNORE => {}
                // Says how a thread waits for a stream, which a launch does not.
                id::SYNCHRONIZATION_POLICY => return Err(INVALID_VALUE),
                // A node of a graph becomes one that kernels can change.
                id::DEVICE_UPDATABLE_KERNEL_NODE if value.0[0] != 0 => return Err(NOT_SUPPORTED),
                id::DEVICE_UPDATABLE_KERNEL_NODE => {}
                _ => read.others.push(attribute(which, &value)?),
            }
        }
        Ok(read)
    }
}

/// The attribute that a value of that kind is.
pub(crate) fn attribute(which: u32, value: &Value) -> Call<Attribute> {
    let words = &value.0;
    Ok(match which {
        id::ACCESS_POLICY_WINDOW => LaunchAttribute::AccessPolicyWindow(value.window()?),
        id::CLUSTER_DIMENSION => LaunchAttribute::ClusterDimension(value.size()),
        id::CLUSTER_SCHEDULING_POLICY_PREFERENCE if words[0] <= 2 => {
            LaunchAttribute::ClusterSchedulingPolicy(words[0])
        }
        id::PROGRAMMATIC_STREAM_SERIALIZATION => {
            LaunchAttribute::ProgrammaticStreamSerialization(words[0] != 0)
        }
        id::PROGRAMMATIC_EVENT => LaunchAttribute::ProgrammaticEvent {
            event: value.long(0),
            flags: words[2],
            at_block_start: words[3] != 0,
        },
        id::PRIORITY => LaunchAttribute::Priority(words[0].cast_signed()),
        id::MEM_SYNC_DOMAIN_MAP => {
            let [default, remote, ..] = words[0].to_le_bytes();
            LaunchAttribute::MemSyncDomainMap { default, remote }
        }
        id::MEM_SYNC_DOMAIN if words[0] <= 1 => LaunchAttribute::MemSyncDomain(words[0]),
        id::PREFERRED_CLUSTER_DIMENSION => LaunchAttribute::PreferredClusterDimension(value.size()),
        id::LAUNCH_COMPLETION_EVENT => {
            LaunchAttribute::LaunchCompletionEvent { event: value.long(0), flags: words[2] }
        }
        id::PREFERRED_SHARED_MEMORY_CARVEOUT => LaunchAttribute::PreferredSharedMemoryCarveout(words[0]),
        id::NVLINK_UTIL_CENTRIC_SCHEDULING => LaunchAttribute::NvlinkUtilCentricScheduling(words[0] != 0),
        id::CLUSTER_SCHEDULING_POLICY_PREFERENCE | id::MEM_SYNC_DOMAIN => return Err(INVALID_VALUE),
        _ => return Err(NOT_SUPPORTED),
    })
}

/// The value of an attribute, as [`attribute`] reads it.
pub(crate) fn value(attribute: &Attribute) -> Value {
    let halves = |long: u64| [long as u32, (long >> 32) as u32];
    let mut words = [0; 16];
    let mut put = |given: &[u32]| words[..given.len()].copy_from_slice(given);
    match *attribute {
        LaunchAttribute::AccessPolicyWindow(window) => {
            let ([base, base_high], [bytes, bytes_high]) = (halves(window.base), halves(window.bytes));
            put(&[base, base_high, bytes, bytes_high, window.hit_ratio_bits, window.hit, window.miss]);
        }
        LaunchAttribute::ClusterDimension(size) | LaunchAttribute::PreferredClusterDimension(size) => {
            put(&size);
        }
        LaunchAttribute::ClusterSchedulingPolicy(word)
        | LaunchAttribute::MemSyncDomain(word)
        | LaunchAttribute::PreferredSharedMemoryCarveout(word) => put(&[word]),
        LaunchAttribute::ProgrammaticStreamSerialization(on)
        | LaunchAttribute::NvlinkUtilCentricScheduling(on) => put(&[on.into()]),
        LaunchAttribute::ProgrammaticEvent { event, flags, at_block_start } => {
            let [low, high] = halves(event);
            put(&[low, high, flags, at_block_start.into()]);
        }
        LaunchAttribute::LaunchCompletionEvent { event, flags } => {
            let [low, high] = halves(event);
            put(&[low, high, flags]);
        }
        LaunchAttribute::Priority(priority) => put(&[priority.cast_unsigned()]),
        LaunchAttribute::MemSyncDomainMap { default, remote } => {
            put(&[u32::from_le_bytes([default, remote, 0, 0])]);
        }
    }
    Value(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_as_they_were() {
        let mut words = [0; 16];
        words[..7].copy_from_slice(&[1, 0, 2, 0, 0x3f00_0000, 1, 1]);
        for which in 1..=id::NVLINK_UTIL_CENTRIC_SCHEDULING {
            if let Ok(known) = attribute(which, &Value(words)) {
                assert_eq!(attribute(which, &value(&known)), Ok(known), "{which}");
            }
        }
    }
}
