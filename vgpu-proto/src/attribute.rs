//! Attributes of a launch: the records that lie behind a launch's parameters.
//!
//! A record is `id` u32 (`CUlaunchAttributeID`), `bytes` u32, and a value of that many bytes, padded with zeros to a
//! multiple of 8. Cooperative launches are a flag of the launch itself, so that attribute has no record; what a device
//! cannot be told, or what says nothing to it, has none either. `SPEC.md` lists the values.

use alloc::vec::Vec;
use core::fmt;

use crate::ids::EventId;
use crate::limits::LAUNCH_ATTRIBUTES_MAX;

/// `CUlaunchAttributeID` of the attributes that travel.
mod id {
    pub(super) const ACCESS_POLICY_WINDOW: u32 = 1;
    pub(super) const CLUSTER_DIMENSION: u32 = 4;
    pub(super) const CLUSTER_SCHEDULING_POLICY_PREFERENCE: u32 = 5;
    pub(super) const PROGRAMMATIC_STREAM_SERIALIZATION: u32 = 6;
    pub(super) const PROGRAMMATIC_EVENT: u32 = 7;
    pub(super) const PRIORITY: u32 = 8;
    pub(super) const MEM_SYNC_DOMAIN_MAP: u32 = 9;
    pub(super) const MEM_SYNC_DOMAIN: u32 = 10;
    pub(super) const PREFERRED_CLUSTER_DIMENSION: u32 = 11;
    pub(super) const LAUNCH_COMPLETION_EVENT: u32 = 12;
    pub(super) const PREFERRED_SHARED_MEMORY_CARVEOUT: u32 = 14;
    pub(super) const NVLINK_UTIL_CENTRIC_SCHEDULING: u32 = 16;
}

/// Bytes of a record in front of its value.
const RECORD_BYTES: usize = 8;

/// Alignment of records, in bytes.
const ALIGN_BYTES: usize = 8;

/// Values of `CUclusterSchedulingPolicy`: default, spread, load balancing.
const SCHEDULING_POLICIES: u32 = 3;

/// Values of `CUaccessProperty`: normal, streaming, persisting.
const ACCESS_PROPERTIES: u32 = 3;

/// An attribute of a launch (`CU_LAUNCH_ATTRIBUTE_*`). `E` is what names an event: on the wire an [`EventId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "both ends handle each attribute")]
pub enum LaunchAttribute<E = EventId> {
    /// Which memory the second-level cache should keep, for the kernel's accesses.
    AccessPolicyWindow(AccessPolicyWindow),
    /// Blocks of a cluster in x, y, z.
    ClusterDimension([u32; 3]),
    /// `CUclusterSchedulingPolicy`.
    ClusterSchedulingPolicy(u32),
    /// The kernel may start before the one in front of it has ended, and waits for it by itself.
    ProgrammaticStreamSerialization(bool),
    /// Records an event once all blocks have triggered it.
    ProgrammaticEvent {
        /// The event.
        event: E,
        /// `CU_EVENT_RECORD_*`.
        flags: u32,
        /// Each block triggers it when it starts.
        at_block_start: bool,
    },
    /// Lower is more urgent, 0 the default.
    Priority(i32),
    /// Which domains of memory synchronisation the two logical ones stand for.
    MemSyncDomainMap {
        /// For `CU_LAUNCH_MEM_SYNC_DOMAIN_DEFAULT`.
        default: u8,
        /// For `CU_LAUNCH_MEM_SYNC_DOMAIN_REMOTE`.
        remote: u8,
    },
    /// `CUlaunchMemSyncDomain`: 0 default, 1 remote.
    MemSyncDomain(u32),
    /// Larger clusters that the device may form instead, in x, y, z.
    PreferredClusterDimension([u32; 3]),
    /// Records an event once all blocks have started, as well as the device can tell.
    LaunchCompletionEvent {
        /// The event.
        event: E,
        /// `CU_EVENT_RECORD_*`.
        flags: u32,
    },
    /// Share of shared memory in the cache, in per cent.
    PreferredSharedMemoryCarveout(u32),
    /// The device may place blocks so that links between GPUs are used well.
    NvlinkUtilCentricScheduling(bool),
}

/// `CUaccessPolicyWindow`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_structs, reason = "a value of the protocol")]
pub struct AccessPolicyWindow {
    /// Where the window begins.
    pub base: u64,
    /// Its length in bytes; 0 for no window.
    pub bytes: u64,
    /// Bits of an `f32`: the share of accesses that are treated as `hit`.
    pub hit_ratio_bits: u32,
    /// `CUaccessProperty` of those.
    pub hit: u32,
    /// `CUaccessProperty` of the others.
    pub miss: u32,
}

/// What is wrong with the attributes of a launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AttributeError {
    /// The records do not fill their bytes, a value has another size than its attribute, or there are more than
    /// [`LAUNCH_ATTRIBUTES_MAX`]: a breach of the protocol.
    Malformed,
    /// An attribute that does not travel.
    Unknown {
        /// Its `CUlaunchAttributeID`.
        id: u32,
    },
    /// A value outside its attribute's range.
    Value {
        /// The attribute's `CUlaunchAttributeID`.
        id: u32,
    },
}

impl fmt::Display for AttributeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => f.write_str("the launch attributes are no records"),
            Self::Unknown { id } => write!(f, "launch attribute {id} is not supported"),
            Self::Value { id } => write!(f, "launch attribute {id} has a value outside its range"),
        }
    }
}

impl core::error::Error for AttributeError {}

impl<E> LaunchAttribute<E> {
    /// Its `CUlaunchAttributeID`.
    pub const fn id(&self) -> u32 {
        match self {
            Self::AccessPolicyWindow(_) => id::ACCESS_POLICY_WINDOW,
            Self::ClusterDimension(_) => id::CLUSTER_DIMENSION,
            Self::ClusterSchedulingPolicy(_) => id::CLUSTER_SCHEDULING_POLICY_PREFERENCE,
            Self::ProgrammaticStreamSerialization(_) => id::PROGRAMMATIC_STREAM_SERIALIZATION,
            Self::ProgrammaticEvent { .. } => id::PROGRAMMATIC_EVENT,
            Self::Priority(_) => id::PRIORITY,
            Self::MemSyncDomainMap { .. } => id::MEM_SYNC_DOMAIN_MAP,
            Self::MemSyncDomain(_) => id::MEM_SYNC_DOMAIN,
            Self::PreferredClusterDimension(_) => id::PREFERRED_CLUSTER_DIMENSION,
            Self::LaunchCompletionEvent { .. } => id::LAUNCH_COMPLETION_EVENT,
            Self::PreferredSharedMemoryCarveout(_) => id::PREFERRED_SHARED_MEMORY_CARVEOUT,
            Self::NvlinkUtilCentricScheduling(_) => id::NVLINK_UTIL_CENTRIC_SCHEDULING,
        }
    }

    /// Whether the kernel may overlap the work in front of it.
    pub const fn is_programmatic(&self) -> bool {
        matches!(self, Self::ProgrammaticStreamSerialization(true))
    }

    /// The event that it names.
    pub const fn event(&self) -> Option<&E> {
        match self {
            Self::ProgrammaticEvent { event, .. } | Self::LaunchCompletionEvent { event, .. } => Some(event),
            _ => None,
        }
    }

    /// The same attribute with its event named in another way.
    ///
    /// # Errors
    /// What `map` answers.
    pub fn try_map_event<F, X>(self, map: impl FnOnce(E) -> Result<F, X>) -> Result<LaunchAttribute<F>, X> {
        Ok(match self {
            Self::ProgrammaticEvent { event, flags, at_block_start } => {
                LaunchAttribute::ProgrammaticEvent { event: map(event)?, flags, at_block_start }
            }
            Self::LaunchCompletionEvent { event, flags } => {
                LaunchAttribute::LaunchCompletionEvent { event: map(event)?, flags }
            }
            Self::AccessPolicyWindow(window) => LaunchAttribute::AccessPolicyWindow(window),
            Self::ClusterDimension(size) => LaunchAttribute::ClusterDimension(size),
            Self::ClusterSchedulingPolicy(policy) => LaunchAttribute::ClusterSchedulingPolicy(policy),
            Self::ProgrammaticStreamSerialization(on) => LaunchAttribute::ProgrammaticStreamSerialization(on),
            Self::Priority(priority) => LaunchAttribute::Priority(priority),
            Self::MemSyncDomainMap { default, remote } => {
                LaunchAttribute::MemSyncDomainMap { default, remote }
            }
            Self::MemSyncDomain(domain) => LaunchAttribute::MemSyncDomain(domain),
            Self::PreferredClusterDimension(size) => LaunchAttribute::PreferredClusterDimension(size),
            Self::PreferredSharedMemoryCarveout(percent) => {
                LaunchAttribute::PreferredSharedMemoryCarveout(percent)
            }
            Self::NvlinkUtilCentricScheduling(on) => LaunchAttribute::NvlinkUtilCentricScheduling(on),
        })
    }
}

impl LaunchAttribute {
    /// Appends the attribute's record.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.id().to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        let mut word = |value: u32| out.extend_from_slice(&value.to_le_bytes());
        match *self {
            Self::AccessPolicyWindow(window) => {
                let AccessPolicyWindow { base, bytes, hit_ratio_bits, hit, miss } = window;
                for half in [base, base >> 32, bytes, bytes >> 32] {
                    #[expect(clippy::cast_possible_truncation, reason = "the lower half is meant")]
                    word(half as u32);
                }
                [hit_ratio_bits, hit, miss].into_iter().for_each(word);
            }
            Self::ClusterDimension(size) | Self::PreferredClusterDimension(size) => {
                size.into_iter().for_each(word);
            }
            Self::ClusterSchedulingPolicy(value)
            | Self::MemSyncDomain(value)
            | Self::PreferredSharedMemoryCarveout(value) => word(value),
            Self::ProgrammaticStreamSerialization(on) | Self::NvlinkUtilCentricScheduling(on) => {
                word(on.into());
            }
            Self::ProgrammaticEvent { event, flags, at_block_start } => {
                out.extend_from_slice(&event.raw().to_le_bytes());
                out.extend_from_slice(&flags.to_le_bytes());
                out.extend_from_slice(&u32::from(at_block_start).to_le_bytes());
            }
            Self::LaunchCompletionEvent { event, flags } => {
                out.extend_from_slice(&event.raw().to_le_bytes());
                out.extend_from_slice(&flags.to_le_bytes());
            }
            Self::Priority(priority) => word(priority.cast_unsigned()),
            Self::MemSyncDomainMap { default, remote } => {
                word(u32::from(default) | u32::from(remote) << 8);
            }
        }
        #[expect(clippy::cast_possible_truncation, reason = "a value has at most 28 bytes")]
        let bytes = (out.len() - start - RECORD_BYTES) as u32;
        out[start + 4..start + RECORD_BYTES].copy_from_slice(&bytes.to_le_bytes());
        out.resize(start + (out.len() - start).next_multiple_of(ALIGN_BYTES), 0);
    }

    /// The attributes in `bytes`, in their order.
    ///
    /// # Errors
    /// [`AttributeError`]: a breach, or the first attribute that is not supported or out of its range.
    pub fn decode_all(bytes: &[u8]) -> Result<Vec<Self>, AttributeError> {
        let mut attributes = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            if attributes.len() >= LAUNCH_ATTRIBUTES_MAX {
                return Err(AttributeError::Malformed);
            }
            let (id, value, behind) = record(rest).ok_or(AttributeError::Malformed)?;
            attributes.push(Self::decode(id, value)?);
            rest = behind;
        }
        Ok(attributes)
    }

    fn decode(id: u32, value: &[u8]) -> Result<Self, AttributeError> {
        let mut fields = Fields(value);
        let within = |value: u32, count: u32| {
            if value < count { Ok(value) } else { Err(AttributeError::Value { id }) }
        };
        let attribute = match id {
            id::ACCESS_POLICY_WINDOW => Self::AccessPolicyWindow(AccessPolicyWindow {
                base: fields.long()?,
                bytes: fields.long()?,
                hit_ratio_bits: fields.word()?,
                hit: within(fields.word()?, ACCESS_PROPERTIES)?,
                miss: within(fields.word()?, ACCESS_PROPERTIES)?,
            }),
            id::CLUSTER_DIMENSION => Self::ClusterDimension(fields.size()?),
            id::CLUSTER_SCHEDULING_POLICY_PREFERENCE => {
                Self::ClusterSchedulingPolicy(within(fields.word()?, SCHEDULING_POLICIES)?)
            }
            id::PROGRAMMATIC_STREAM_SERIALIZATION => {
                Self::ProgrammaticStreamSerialization(fields.word()? != 0)
            }
            id::PROGRAMMATIC_EVENT => Self::ProgrammaticEvent {
                event: EventId::from_raw(fields.long()?),
                flags: fields.word()?,
                at_block_start: fields.word()? != 0,
            },
            id::PRIORITY => Self::Priority(fields.word()?.cast_signed()),
            id::MEM_SYNC_DOMAIN_MAP => {
                let [default, remote, ..] = fields.word()?.to_le_bytes();
                Self::MemSyncDomainMap { default, remote }
            }
            id::MEM_SYNC_DOMAIN => Self::MemSyncDomain(within(fields.word()?, 2)?),
            id::PREFERRED_CLUSTER_DIMENSION => Self::PreferredClusterDimension(fields.size()?),
            id::LAUNCH_COMPLETION_EVENT => {
                let event = EventId::from_raw(fields.long()?);
                Self::LaunchCompletionEvent { event, flags: fields.word()? }
            }
            id::PREFERRED_SHARED_MEMORY_CARVEOUT => Self::PreferredSharedMemoryCarveout(fields.word()?),
            id::NVLINK_UTIL_CENTRIC_SCHEDULING => Self::NvlinkUtilCentricScheduling(fields.word()? != 0),
            _ => return Err(AttributeError::Unknown { id }),
        };
        if fields.0.is_empty() { Ok(attribute) } else { Err(AttributeError::Malformed) }
    }
}

/// The first record of `bytes`: id, value, and what follows it.
fn record(bytes: &[u8]) -> Option<(u32, &[u8], &[u8])> {
    let (id, rest) = bytes.split_first_chunk()?;
    let (length, rest) = rest.split_first_chunk()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let padded = length.checked_next_multiple_of(ALIGN_BYTES)?;
    let (padded, behind) = rest.split_at_checked(padded)?;
    let (value, padding) = padded.split_at_checked(length)?;
    padding.iter().all(|byte| *byte == 0).then_some((u32::from_le_bytes(*id), value, behind))
}

/// What is left of a value.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn word(&mut self) -> Result<u32, AttributeError> {
        let (word, rest) = self.0.split_first_chunk().ok_or(AttributeError::Malformed)?;
        self.0 = rest;
        Ok(u32::from_le_bytes(*word))
    }

    fn long(&mut self) -> Result<u64, AttributeError> {
        let (long, rest) = self.0.split_first_chunk().ok_or(AttributeError::Malformed)?;
        self.0 = rest;
        Ok(u64::from_le_bytes(*long))
    }

    fn size(&mut self) -> Result<[u32; 3], AttributeError> {
        Ok([self.word()?, self.word()?, self.word()?])
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::limits::LAUNCH_ATTRIBUTE_BYTES_MAX;

    fn all() -> Vec<LaunchAttribute> {
        let window = AccessPolicyWindow { base: 1 << 40, bytes: 7, hit_ratio_bits: 9, hit: 2, miss: 1 };
        let event = EventId::new(3, 1);
        vec![
            LaunchAttribute::AccessPolicyWindow(window),
            LaunchAttribute::ClusterDimension([2, 1, 4]),
            LaunchAttribute::ClusterSchedulingPolicy(2),
            LaunchAttribute::ProgrammaticStreamSerialization(true),
            LaunchAttribute::ProgrammaticEvent { event, flags: 1, at_block_start: true },
            LaunchAttribute::Priority(-3),
            LaunchAttribute::MemSyncDomainMap { default: 1, remote: 3 },
            LaunchAttribute::MemSyncDomain(1),
            LaunchAttribute::PreferredClusterDimension([4, 1, 4]),
            LaunchAttribute::LaunchCompletionEvent { event, flags: 0 },
            LaunchAttribute::PreferredSharedMemoryCarveout(50),
            LaunchAttribute::NvlinkUtilCentricScheduling(false),
        ]
    }

    fn encoded(attributes: &[LaunchAttribute]) -> Vec<u8> {
        let mut bytes = Vec::new();
        attributes.iter().for_each(|attribute| attribute.encode(&mut bytes));
        bytes
    }

    #[test]
    fn each_attribute_comes_back() {
        assert_eq!(LaunchAttribute::decode_all(&encoded(&all())), Ok(all()));
        assert_eq!(LaunchAttribute::decode_all(&[]), Ok(vec![]));
    }

    #[test]
    fn the_most_and_largest_attributes_fit_their_limit() {
        let bytes = encoded(&vec![all()[0]; LAUNCH_ATTRIBUTES_MAX]);
        assert_eq!(bytes.len(), LAUNCH_ATTRIBUTE_BYTES_MAX as usize);
        assert!(LaunchAttribute::decode_all(&bytes).is_ok());
        let bytes = encoded(&vec![all()[0]; LAUNCH_ATTRIBUTES_MAX + 1]);
        assert_eq!(LaunchAttribute::decode_all(&bytes), Err(AttributeError::Malformed));
    }

    #[test]
    fn broken_records_are_found() {
        let bytes = encoded(&all());
        for cut in 1..bytes.len() {
            // Cut between records, fewer attributes are left; cut anywhere else, the record is broken.
            if let Ok(left) = LaunchAttribute::decode_all(&bytes[..cut]) {
                assert_eq!(left[..], all()[..left.len()]);
            }
        }
        let mut padded = encoded(&[LaunchAttribute::Priority(0)]);
        padded[15] = 1;
        assert_eq!(LaunchAttribute::decode_all(&padded), Err(AttributeError::Malformed), "padding is zero");
        let mut huge = encoded(&[LaunchAttribute::Priority(0)]);
        huge[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(LaunchAttribute::decode_all(&huge), Err(AttributeError::Malformed));
        let mut long = encoded(&[LaunchAttribute::Priority(0)]);
        long[4] = 8;
        assert_eq!(LaunchAttribute::decode_all(&long), Err(AttributeError::Malformed));
    }

    #[test]
    fn what_is_unknown_or_out_of_range_is_named() {
        for id in [0_u32, 2, 3, 13, 15, 17, u32::MAX] {
            let mut bytes = encoded(&[LaunchAttribute::Priority(0)]);
            bytes[..4].copy_from_slice(&id.to_le_bytes());
            assert_eq!(LaunchAttribute::decode_all(&bytes), Err(AttributeError::Unknown { id }));
        }
        let bytes = encoded(&[LaunchAttribute::ClusterSchedulingPolicy(3)]);
        assert_eq!(LaunchAttribute::decode_all(&bytes), Err(AttributeError::Value { id: 5 }));
    }
}
