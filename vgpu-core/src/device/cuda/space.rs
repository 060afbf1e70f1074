//! Which addresses a session may name: its allocations, its modules' variables, its pinned regions, what it has mapped.
//!
//! The driver takes any address of this process for a copy, private memory too. So an address that is not in this list
//! never gets to the driver.
//!
//! What holds at the driver's call is all that this can promise of memory that the guest maps itself: it may unmap it while
//! work is under way, as natively. From the call on only the GPU touches the addresses, through the page tables of this
//! process, in which no other process has anything; a kernel may name any address there, too. The arena is reserved with the
//! driver for as long as the process lives (`arena`), so that late work finds memory of the session at its addresses or none,
//! which is a fault of its context, and never what the driver or this process has put there meanwhile.

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
    /// Ranges that were added up to this one.
    number: u64,
}

/// The ranges of a device.
#[derive(Debug, Default)]
pub(super) struct Space {
    ranges: RwLock<BTreeMap<u64, Range>>,
    /// Counts removals and changes of access, so that who found a range knows when to look again.
    generation: AtomicU64,
    /// Ranges added so far. Changes with `ranges` locked.
    added: AtomicU64,
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
        self.insert(address, bytes, owner, true)
    }

    /// Adds a mapping of the guest, without access; `false` if it overlaps another range.
    pub(super) fn map(&self, address: u64, bytes: u64) -> bool {
        self.insert(address, bytes, Owner::Guest, false)
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

    fn insert(&self, address: u64, bytes: u64, owner: Owner, open: bool) -> bool {
        // One without a byte would be in nobody's way, and take the place of one that begins there.
        if bytes == 0 {
            return false;
        }
        let Some(end) = address.checked_add(bytes) else { return false };
        let mut ranges = self.ranges.write();
        let free =
            ranges.range(..end).next_back().is_none_or(|(start, range)| start + range.bytes <= address);
        if free {
            let number = self.added.fetch_add(1, Ordering::AcqRel) + 1;
            ranges.insert(address, Range { bytes, owner, open, number });
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

    /// Ranges added so far.
    pub(super) fn added(&self) -> u64 {
        self.added.load(Ordering::Acquire)
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
        self.check_older(address, bytes, u64::MAX)
    }

    /// As [`Space::check`], of ranges that were there when `added` had been added. Tells who found them then whether they
    /// were there all the time since: they may have gone and come again.
    ///
    /// # Errors
    /// `INVALID_VALUE`.
    pub(super) fn check_older(&self, address: u64, bytes: u64, added: u64) -> Result<(), DeviceError> {
        let end = address.checked_add(bytes).ok_or_else(|| outside(address, bytes))?;
        let ranges = self.ranges.read();
        let mut found = ranges.range(..=address).next_back();
        let mut at = address;
        while let Some((start, range)) = found {
            let range_end = start + range.bytes;
            if !range.open || range.number > added || at >= range_end {
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
