//! Which addresses a session may name: its allocations, its modules' variables, its pinned regions.
//!
//! The driver takes any address of this process for a copy, private memory too. So an address that is not in this list
//! never gets to the driver.

use std::collections::BTreeMap;

use parking_lot::RwLock;
use vgpu_proto::Status;

use crate::device::DeviceError;

/// Whose a range is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// A context, by its number.
    Context(u64),
    /// The device's pinned regions.
    Host,
}

#[derive(Clone, Copy, Debug)]
struct Range {
    bytes: u64,
    owner: Owner,
}

/// The ranges of a device.
#[derive(Debug, Default)]
pub(super) struct Space {
    ranges: RwLock<BTreeMap<u64, Range>>,
}

impl Space {
    /// Adds a range; `false` if it overlaps another.
    pub(super) fn add(&self, address: u64, bytes: u64, owner: Owner) -> bool {
        let Some(end) = address.checked_add(bytes) else { return false };
        let mut ranges = self.ranges.write();
        let free =
            ranges.range(..end).next_back().is_none_or(|(start, range)| start + range.bytes <= address);
        if free {
            ranges.insert(address, Range { bytes, owner });
        }
        free
    }

    pub(super) fn remove(&self, address: u64) {
        self.ranges.write().remove(&address);
    }

    /// Whether a pinned region begins there.
    pub(super) fn is_host(&self, address: u64) -> bool {
        self.ranges.read().get(&address).is_some_and(|range| range.owner == Owner::Host)
    }

    /// Removes what a context owns.
    pub(super) fn remove_all(&self, context: u64) {
        self.ranges.write().retain(|_, range| range.owner != Owner::Context(context));
    }

    /// Checks that one range holds all of `bytes` at `address`.
    ///
    /// # Errors
    /// `INVALID_VALUE`.
    pub(super) fn check(&self, address: u64, bytes: u64) -> Result<(), DeviceError> {
        let ranges = self.ranges.read();
        let inside = ranges.range(..=address).next_back().is_some_and(|(start, range)| {
            let offset = address - start;
            offset < range.bytes && bytes <= range.bytes - offset
        });
        if inside { Ok(()) } else { Err(outside(address, bytes)) }
    }
}

fn outside(address: u64, bytes: u64) -> DeviceError {
    let text = format!("{bytes} bytes at {address:#x} are outside all memory of the session");
    DeviceError::new(Status::ERROR_INVALID_VALUE, text)
}
