//! Attributes of a launch in the driver's form.

use std::ffi::c_void;
use std::ptr;

use cudarc::driver::sys;
use vgpu_proto::LaunchAttribute;
use vgpu_proto::attribute::AccessPolicyWindow;

use super::event::Event;

/// An attribute of a launch that the driver is told.
#[derive(Clone, Copy, Debug)]
pub(in crate::device::cuda) enum DriverAttribute<'a> {
    /// All blocks are resident at once.
    Cooperative,
    /// One of the protocol's, its event found.
    Other(LaunchAttribute<&'a Event>),
}

impl DriverAttribute<'_> {
    /// The driver's form. It names the event, which it must not outlive.
    pub(super) fn raw(&self) -> sys::CUlaunchAttribute {
        use sys::CUlaunchAttributeID_enum as Id;
        // What a value does not use stays zero, as the driver asks of what it does not know yet.
        let mut value = sys::CUlaunchAttributeValue { pad: [0; 64] };
        let id = match self {
            Self::Cooperative => {
                value.cooperative = 1;
                Id::CU_LAUNCH_ATTRIBUTE_COOPERATIVE
            }
            Self::Other(attribute) => fill(&mut value, attribute),
        };
        sys::CUlaunchAttribute { id, pad: [0; 4], value }
    }
}

/// Writes an attribute's value, and tells its id.
fn fill(
    value: &mut sys::CUlaunchAttributeValue,
    attribute: &LaunchAttribute<&Event>,
) -> sys::CUlaunchAttributeID {
    use LaunchAttribute as A;
    use sys::CUlaunchAttributeID_enum as Id;
    match *attribute {
        A::AccessPolicyWindow(window) => {
            value.accessPolicyWindow = access_policy(window);
            Id::CU_LAUNCH_ATTRIBUTE_ACCESS_POLICY_WINDOW
        }
        A::ClusterDimension([x, y, z]) => {
            value.clusterDim = sys::CUlaunchAttributeValue_union__bindgen_ty_1 { x, y, z };
            Id::CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION
        }
        A::ClusterSchedulingPolicy(policy) => {
            value.clusterSchedulingPolicyPreference = scheduling(policy);
            Id::CU_LAUNCH_ATTRIBUTE_CLUSTER_SCHEDULING_POLICY_PREFERENCE
        }
        A::ProgrammaticStreamSerialization(on) => {
            value.programmaticStreamSerializationAllowed = on.into();
            Id::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION
        }
        A::ProgrammaticEvent { event, flags, at_block_start } => {
            value.programmaticEvent = sys::CUlaunchAttributeValue_union__bindgen_ty_2 {
                event: event.raw(),
                flags: flags.cast_signed(),
                triggerAtBlockStart: at_block_start.into(),
            };
            Id::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_EVENT
        }
        A::Priority(priority) => {
            value.priority = priority;
            Id::CU_LAUNCH_ATTRIBUTE_PRIORITY
        }
        A::MemSyncDomainMap { default, remote } => {
            value.memSyncDomainMap = sys::CUlaunchMemSyncDomainMap { default_: default, remote };
            Id::CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN_MAP
        }
        A::MemSyncDomain(domain) => {
            value.memSyncDomain = match domain {
                0 => sys::CUlaunchMemSyncDomain::CU_LAUNCH_MEM_SYNC_DOMAIN_DEFAULT,
                _ => sys::CUlaunchMemSyncDomain::CU_LAUNCH_MEM_SYNC_DOMAIN_REMOTE,
            };
            Id::CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN
        }
        A::PreferredClusterDimension([x, y, z]) => {
            value.preferredClusterDim = sys::CUlaunchAttributeValue_union__bindgen_ty_4 { x, y, z };
            Id::CU_LAUNCH_ATTRIBUTE_PREFERRED_CLUSTER_DIMENSION
        }
        A::LaunchCompletionEvent { event, flags } => {
            value.launchCompletionEvent = sys::CUlaunchAttributeValue_union__bindgen_ty_3 {
                event: event.raw(),
                flags: flags.cast_signed(),
            };
            Id::CU_LAUNCH_ATTRIBUTE_LAUNCH_COMPLETION_EVENT
        }
        A::PreferredSharedMemoryCarveout(percent) => {
            value.sharedMemCarveout = percent;
            Id::CU_LAUNCH_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT
        }
        A::NvlinkUtilCentricScheduling(on) => {
            value.nvlinkUtilCentricScheduling = on.into();
            Id::CU_LAUNCH_ATTRIBUTE_NVLINK_UTIL_CENTRIC_SCHEDULING
        }
    }
}

fn access_policy(window: AccessPolicyWindow) -> sys::CUaccessPolicyWindow {
    let AccessPolicyWindow { base, bytes, hit_ratio_bits, hit, miss } = window;
    sys::CUaccessPolicyWindow {
        base_ptr: ptr::without_provenance_mut::<c_void>(base as usize),
        num_bytes: bytes as usize,
        hitRatio: f32::from_bits(hit_ratio_bits),
        hitProp: access(hit),
        missProp: access(miss),
    }
}

/// The decoder lets only known values through.
const fn access(property: u32) -> sys::CUaccessProperty {
    match property {
        1 => sys::CUaccessProperty::CU_ACCESS_PROPERTY_STREAMING,
        2 => sys::CUaccessProperty::CU_ACCESS_PROPERTY_PERSISTING,
        _ => sys::CUaccessProperty::CU_ACCESS_PROPERTY_NORMAL,
    }
}

/// The decoder lets only known values through.
const fn scheduling(policy: u32) -> sys::CUclusterSchedulingPolicy {
    match policy {
        1 => sys::CUclusterSchedulingPolicy::CU_CLUSTER_SCHEDULING_POLICY_SPREAD,
        2 => sys::CUclusterSchedulingPolicy::CU_CLUSTER_SCHEDULING_POLICY_LOAD_BALANCING,
        _ => sys::CUclusterSchedulingPolicy::CU_CLUSTER_SCHEDULING_POLICY_DEFAULT,
    }
}
