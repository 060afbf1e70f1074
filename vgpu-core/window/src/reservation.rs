//! Address ranges that are kept free of everything but the regions placed in them.

use std::collections::BTreeMap;
use std::fmt;
use std::ptr::{self, NonNull};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;
use rustix::mm::MapFlags;

use crate::WindowError;
use crate::map::{self, Backing, check_aligned, whole_pages};

/// How many regions one [`Reservation`] holds at most.
///
/// Each may cost two of the process's memory mappings, of which Linux allows 65,530 by default
/// (`vm.max_map_count`). Half of them are left for the program that the reservation lives in.
pub const RESERVATION_REGIONS_MAX: usize = 16_384;

/// A range of addresses in which nothing can be accessed and nothing else lands, until regions are placed in it.
///
/// Guest and worker reserve the same range each, so that a region can lie at the same address in both. The range
/// is given back to the system when the reservation and all regions in it are gone.
pub struct Reservation {
    start: NonNull<u8>,
    bytes: usize,
    occupied: Mutex<Occupied>,
}

/// Which parts of a reservation have pages in them, or were ceded.
#[derive(Debug, Default)]
struct Occupied {
    /// Length of each part in bytes, by its offset; in whole pages, without overlap.
    parts: BTreeMap<u64, usize>,
    /// Whether the kernel failed halfway through a replacement, so that there may be a gap in the range, in which
    /// somebody else's mapping may have landed. Then the range is never unmapped.
    torn: bool,
}

impl Reservation {
    /// Reserves `bytes` bytes at the address `base`, both multiples of the page size.
    ///
    /// # Errors
    ///
    /// [`AddressTaken`](WindowError::AddressTaken) if any of it is in use; [`Misaligned`](WindowError::Misaligned),
    /// [`Empty`](WindowError::Empty), [`TooLarge`](WindowError::TooLarge), or [`Os`](WindowError::Os).
    pub fn new_at(base: u64, bytes: u64) -> Result<Reservation, WindowError> {
        check_aligned(base)?;
        check_aligned(bytes)?;
        let whole = whole_pages(bytes)?;
        if base == 0 {
            return Err(WindowError::AddressTaken { base, bytes });
        }
        base.checked_add(bytes).ok_or(WindowError::TooLarge { bytes })?;
        let at = ptr::without_provenance_mut(base as usize);
        // SAFETY: NOREPLACE makes the kernel refuse instead of replacing what is there; kernels before 4.17
        // take the address as a hint only.
        let start = match unsafe { map::bar(at, whole, MapFlags::FIXED_NOREPLACE) } {
            Ok(start) => start,
            Err(Errno::EXIST) => return Err(WindowError::AddressTaken { base, bytes }),
            Err(errno) => return Err(WindowError::os("mmap")(errno)),
        };
        let reservation = Reservation { start, bytes: whole, occupied: Mutex::default() };
        // A kernel that took the address as a hint put the range elsewhere; dropping it unmaps it.
        if reservation.base() == base {
            Ok(reservation)
        } else {
            Err(WindowError::AddressTaken { base, bytes })
        }
    }

    /// Reserves `bytes` bytes, a multiple of the page size, wherever the kernel finds room. What it returns can be
    /// proposed to the other end.
    ///
    /// # Errors
    ///
    /// [`Misaligned`](WindowError::Misaligned), [`Empty`](WindowError::Empty),
    /// [`TooLarge`](WindowError::TooLarge), or [`Os`](WindowError::Os).
    pub fn new_anywhere(bytes: u64) -> Result<Reservation, WindowError> {
        check_aligned(bytes)?;
        let bytes = whole_pages(bytes)?;
        // SAFETY: the address is only a hint and null, so the kernel picks addresses that are not in use.
        let start = unsafe { map::bar(ptr::null_mut(), bytes, MapFlags::empty()) };
        let start = start.map_err(WindowError::os("mmap"))?;
        Ok(Reservation { start, bytes, occupied: Mutex::default() })
    }

    /// The first address.
    pub fn base(&self) -> u64 {
        self.start.as_ptr().expose_provenance() as u64
    }

    /// The length in bytes, which is never zero.
    #[expect(clippy::len_without_is_empty, reason = "an empty reservation cannot be made")]
    pub fn len(&self) -> u64 {
        self.bytes as u64
    }

    /// Maps `backing` over `bytes` bytes (whole pages) at `offset`, which stay occupied until they are vacated.
    ///
    /// If the kernel itself refuses, they stay occupied for good, as it may have half replaced what was there.
    pub(crate) fn occupy(
        &self,
        offset: u64,
        bytes: usize,
        backing: Backing<'_>,
    ) -> Result<NonNull<u8>, WindowError> {
        let mut occupied = self.take_part(offset, bytes)?;
        // SAFETY: the range lies inside this reservation and no live part overlaps it, so all that is replaced is
        // inaccessible memory that this reservation mapped. The lock is held, so that stays so.
        let mapped = unsafe { map::map(self.at(offset), bytes, MapFlags::FIXED, backing) };
        occupied.torn |= mapped.is_err();
        mapped.map_err(WindowError::os("mmap"))
    }

    /// Removes the pages of the part at `offset` and makes its addresses inaccessible again.
    ///
    /// # Safety
    ///
    /// A call of `occupy` with this offset succeeded, the part was not vacated since, and nobody uses its memory
    /// from now on.
    pub(crate) unsafe fn vacate(&self, offset: u64) {
        let mut occupied = self.lock();
        let Some(bytes) = occupied.parts.get(&offset).copied() else { return };
        // SAFETY: the part is in the table, so its range lies inside this reservation, and nobody uses it.
        match unsafe { map::bar(self.at(offset), bytes, MapFlags::FIXED) } {
            Ok(_) => drop(occupied.parts.remove(&offset)),
            // The part stays occupied, so no region is ever placed in what may be a gap.
            Err(_) => occupied.torn = true,
        }
    }

    /// Gives `bytes` bytes at `offset`, both multiples of the page size, back to the system, so that somebody who maps for
    /// itself, as a GPU's driver does, can have the addresses. Until [`Reservation::reclaim`] nothing is placed there, and
    /// the reservation unmaps nothing of its range while a part is ceded, at its end neither.
    ///
    /// # Errors
    ///
    /// [`Misaligned`](WindowError::Misaligned), [`Empty`](WindowError::Empty),
    /// [`OutsideReservation`](WindowError::OutsideReservation), [`Overlap`](WindowError::Overlap) with what lies or was
    /// ceded there, [`TooManyRegions`](WindowError::TooManyRegions), or [`Os`](WindowError::Os).
    pub fn cede(&self, offset: u64, bytes: u64) -> Result<(), WindowError> {
        check_aligned(bytes)?;
        let bytes = whole_pages(bytes)?;
        let mut occupied = self.take_part(offset, bytes)?;
        let start =
            NonNull::new(self.at(offset).cast::<u8>()).expect("a part of a range is not at address zero");
        // SAFETY: the part lies inside this reservation and no live part overlaps it, so it is inaccessible memory that
        // this reservation mapped. The lock is held, so that stays so.
        let unmapped = unsafe { map::unmap(start, bytes) };
        if unmapped.is_err() {
            occupied.parts.remove(&offset);
        }
        unmapped.map_err(WindowError::os("munmap"))
    }

    /// Takes back what was ceded at `offset`, once its user has unmapped it.
    ///
    /// # Errors
    ///
    /// [`AddressTaken`](WindowError::AddressTaken) if somebody has mapped there since: the part stays ceded;
    /// [`Os`](WindowError::Os).
    pub fn reclaim(&self, offset: u64) -> Result<(), WindowError> {
        let mut occupied = self.lock();
        let Some(bytes) = occupied.parts.get(&offset).copied() else { return Ok(()) };
        // SAFETY: NOREPLACE makes the kernel refuse instead of replacing what is there.
        match unsafe { map::bar(self.at(offset), bytes, MapFlags::FIXED_NOREPLACE) } {
            Ok(start) if start.as_ptr().cast() == self.at(offset) => {
                occupied.parts.remove(&offset);
                Ok(())
            }
            Ok(elsewhere) => {
                // A kernel before 4.17 took the address as a hint only.
                // SAFETY: the mapping was made here and nobody knows of it.
                let _ = unsafe { map::unmap(elsewhere, bytes) };
                Err(WindowError::AddressTaken { base: self.base() + offset, bytes: bytes as u64 })
            }
            Err(Errno::EXIST) => {
                Err(WindowError::AddressTaken { base: self.base() + offset, bytes: bytes as u64 })
            }
            Err(errno) => Err(WindowError::os("mmap")(errno)),
        }
    }

    /// Notes a part as occupied, and keeps the table locked.
    fn take_part(&self, offset: u64, bytes: usize) -> Result<MutexGuard<'_, Occupied>, WindowError> {
        check_aligned(offset)?;
        let end = offset.checked_add(bytes as u64).filter(|end| *end <= self.len());
        let Some(end) = end else {
            return Err(WindowError::OutsideReservation { offset, bytes: bytes as u64, len: self.len() });
        };
        let mut occupied = self.lock();
        if let Some(live_offset) = occupied.overlap(offset, end) {
            return Err(WindowError::Overlap { offset, bytes: bytes as u64, live_offset });
        }
        if occupied.parts.len() >= RESERVATION_REGIONS_MAX {
            return Err(WindowError::TooManyRegions { max: RESERVATION_REGIONS_MAX });
        }
        occupied.parts.insert(offset, bytes);
        Ok(occupied)
    }

    /// The address `offset` bytes into the range, as mmap wants it.
    fn at(&self, offset: u64) -> *mut std::ffi::c_void {
        self.start.as_ptr().wrapping_add(offset as usize).cast()
    }

    fn lock(&self) -> MutexGuard<'_, Occupied> {
        // Nothing panics while the lock is held, and the table is changed in single steps.
        self.occupied.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Occupied {
    /// The offset of a part that has bytes in `start..end`, if there is one.
    fn overlap(&self, start: u64, end: u64) -> Option<u64> {
        // Parts do not overlap each other, so only the last that begins before `end` can reach into the range.
        let (&offset, &bytes) = self.parts.range(..end).next_back()?;
        (offset + bytes as u64 > start).then_some(offset)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        // What is not unmapped costs addresses and harms nobody; the same goes for an error of the kernel.
        let occupied = self.lock();
        if !occupied.torn && occupied.parts.is_empty() {
            // SAFETY: the range is what was mapped at the start, without gaps: no part is ceded. Each region in it holds
            // an `Arc` of this reservation, so none is left.
            let _ = unsafe { map::unmap(self.start, self.bytes) };
        }
    }
}

impl fmt::Debug for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reservation")
            .field("base", &format_args!("{:#x}", self.base()))
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

// SAFETY: the range belongs to the process and not to a thread, and mapping works from any thread.
unsafe impl Send for Reservation {}

// SAFETY: the range is changed only under the lock.
unsafe impl Sync for Reservation {}

#[cfg(test)]
mod tests;
