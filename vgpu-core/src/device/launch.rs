//! A kernel launch, as sessions hand it to a device.

use std::sync::Arc;

use vgpu_proto::LaunchAttribute;

use super::{EventKey, FunctionKey};

/// A kernel launch.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "sessions build it, devices take it apart")]
pub struct LaunchConfig {
    /// The kernel.
    pub function: FunctionKey,
    /// Blocks in x, y, z.
    pub grid: [u32; 3],
    /// Threads of a block in x, y, z.
    pub block: [u32; 3],
    /// Dynamic shared memory of a block, in bytes.
    pub shared_bytes: u32,
    /// All blocks resident at once.
    pub cooperative: bool,
    /// Further attributes, in the order in which the guest named them.
    pub attributes: Vec<LaunchAttribute<EventKey>>,
    /// The parameter block.
    pub params: Arc<[u8]>,
}

impl LaunchConfig {
    /// Whether the kernel may overlap the work in front of it (programmatic stream serialization). Nothing that the guest
    /// did not ask for may come between the two.
    pub fn is_programmatic(&self) -> bool {
        self.attributes.iter().any(LaunchAttribute::is_programmatic)
    }

    /// Memory that the launch takes while it waits, in bytes, beside what every launch takes.
    pub(crate) fn queued_bytes(&self) -> u64 {
        (self.params.len() + size_of_val(self.attributes.as_slice())) as u64
    }

    /// Events that the launch records.
    pub fn events(&self) -> impl Iterator<Item = EventKey> {
        self.attributes.iter().filter_map(|attribute| attribute.event().copied())
    }
}
