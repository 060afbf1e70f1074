//! Which addresses a session may name: its allocations, its modules' variables, its pinned regions, what it has mapped.
//!
//! The driver takes any address of this process for a copy, private memory too. So an address that is not in this list
//! never gets to the driver.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{RwLock, RwLockReadGuard};
use vgpu_proto::Status;

use crate::device::DeviceError;

/// Whose a range is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// A context, by its number.
    Context(u64),
    /// The device's pinned regions.
    Host,
    /// The guest, who maps memory itself, piece by piece.
    Guest,
}

#[derive(Clone, Copy, Debug)]
struct Range {
    bytes: u64,
    owner: Owner,
    /// Whether it may be accessed.
    open: bool,
}

/// The ranges of a device.
#[derive(Debug, Default)]
pub(super) struct Space {
    ranges: RwLock<BTreeMap<u64, Range>>,
    /// Counts removals and changes of access, so that who found a range knows when to look again.
    generation: AtomicU64,
    /// Shared while work goes from its check to the driver.
    submitting: RwLock<()>,
}

impl Space {
    /// Keeps what is found from now on where it is, for as long as the guard is held: a removal waits for it. Held while
    /// work is checked and submitted, which never blocks; whoever holds it removes nothing.
    pub(super) fn hold(&self) -> RwLockReadGuard<'_, ()> {
        self.submitting.read()
    }

    /// Notes that ranges went or changed, and waits for the work that may have found them before.
    fn changed(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        drop(self.submitting.write());
    }

    /// Adds a range; `false` if it overlaps another.
    pub(super) fn add(&self, address: u64, bytes: u64, owner: Owner) -> bool {
        self.insert(address, Range { bytes, owner, open: true })
    }

    /// Adds a mapping of the guest, without access; `false` if it overlaps another range.
    pub(super) fn map(&self, address: u64, bytes: u64) -> bool {
        self.insert(address, Range { bytes, owner: Owner::Guest, open: false })
    }

    /// Opens or closes the guest's mappings that begin in a range.
    pub(super) fn open(&self, address: u64, bytes: u64, open: bool) {
        let mut ranges = self.ranges.write();
        for (_, range) in ranges.range_mut(address..address.saturating_add(bytes)) {
            if range.owner == Owner::Guest {
                range.open = open;
            }
        }
        // Who submits holds off changes first and looks at the ranges then: waiting for it with them locked would never end.
        drop(ranges);
        self.changed();
    }

    /// Removes the guest's mappings that begin in a range.
    pub(super) fn unmap(&self, address: u64, bytes: u64) {
        let guests = |_: &u64, range: &mut Range| range.owner == Owner::Guest;
        let range = address..address.saturating_add(bytes);
        self.ranges.write().extract_if(range, guests).for_each(drop);
        self.changed();
    }

    fn insert(&self, address: u64, new: Range) -> bool {
        let bytes = new.bytes;
        // One without a byte would be in nobody's way, and take the place of one that begins there.
        if bytes == 0 {
            return false;
        }
        let Some(end) = address.checked_add(bytes) else { return false };
        let mut ranges = self.ranges.write();
        let free =
            ranges.range(..end).next_back().is_none_or(|(start, range)| start + range.bytes <= address);
        if free {
            ranges.insert(address, new);
        }
        free
    }

    pub(super) fn remove(&self, address: u64) {
        self.ranges.write().remove(&address);
        self.changed();
    }

    /// Removals and changes of access so far.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Whether a pinned region begins there.
    pub(super) fn is_host(&self, address: u64) -> bool {
        self.ranges.read().get(&address).is_some_and(|range| range.owner == Owner::Host)
    }

    /// Removes what a context owns.
    pub(super) fn remove_all(&self, context: u64) {
        self.ranges.write().retain(|_, range| range.owner != Owner::Context(context));
        self.changed();
    }

    /// Checks that one range holds all of `bytes` at `address`, or mappings of the guest that follow one another closely.
    ///
    /// # Errors
    /// `INVALID_VALUE`.
    pub(super) fn check(&self, address: u64, bytes: u64) -> Result<(), DeviceError> {
        let end = address.checked_add(bytes).ok_or_else(|| outside(address, bytes))?;
        let ranges = self.ranges.read();
        let mut found = ranges.range(..=address).next_back();
        let mut at = address;
        while let Some((start, range)) = found {
            let range_end = start + range.bytes;
            if !range.open || at >= range_end {
                break;
            }
            if end <= range_end {
                return Ok(());
            }
            if range.owner != Owner::Guest {
                break;
            }
            at = range_end;
            found = ranges.get_key_value(&at).filter(|(_, next)| next.owner == Owner::Guest);
        }
        Err(outside(address, bytes))
    }
}

fn outside(address: u64, bytes: u64) -> DeviceError {
    let text = format!("{bytes} bytes at {address:#x} are outside all memory of the session");
    DeviceError::new(Status::ERROR_INVALID_VALUE, text)
}
