//! A piece of mapped memory that others may change at any moment.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64};

use crate::map::{Backing, Pages};
use crate::{OutOfRange, ReadOnce, Reservation, WindowError, memfd, raw};

/// A piece of mapped memory that others may change at any moment: another process that maps the same memory file,
/// or another thread of this one.
///
/// Offsets and lengths are in bytes, and every access is checked against [`len`](Region::len). Plain references to
/// the bytes are never given out. Copies are not synchronised with anything; what one side publishes by an atomic
/// store with `Release`, the other finds after an atomic load with `Acquire`. Unmapped on drop.
pub struct Region {
    pages: Pages,
    len: u64,
}

impl Region {
    /// Maps `bytes` zero bytes of this process's own. They cost memory only where they are touched.
    ///
    /// # Errors
    ///
    /// [`Empty`](WindowError::Empty), [`TooLarge`](WindowError::TooLarge), or [`Os`](WindowError::Os) if the kernel
    /// has no room.
    pub fn anonymous(bytes: u64) -> Result<Region, WindowError> {
        Ok(Region { pages: Pages::anywhere(bytes, Backing::Zeros)?, len: bytes })
    }

    /// As [`anonymous`](Region::anonymous), at `offset` (a multiple of the page size) in `reservation`.
    ///
    /// # Errors
    ///
    /// Also [`Misaligned`](WindowError::Misaligned), [`OutsideReservation`](WindowError::OutsideReservation),
    /// [`Overlap`](WindowError::Overlap) and [`TooManyRegions`](WindowError::TooManyRegions).
    pub fn anonymous_at(
        reservation: &Arc<Reservation>,
        offset: u64,
        bytes: u64,
    ) -> Result<Region, WindowError> {
        Ok(Region { pages: Pages::reserved(reservation, offset, bytes, Backing::Zeros)?, len: bytes })
    }

    /// Makes a zero-filled memory file of `bytes` bytes whose size can no longer change, and maps it. The
    /// descriptor is what the other end passes to [`map_shared`](Region::map_shared); the region does not need it.
    ///
    /// `name` (at most 249 bytes) appears in `/proc/PID/maps` and has no other meaning.
    ///
    /// # Errors
    ///
    /// [`BadName`](WindowError::BadName) and those of [`anonymous`](Region::anonymous).
    pub fn create_shared(name: &str, bytes: u64) -> Result<(Region, OwnedFd), WindowError> {
        let file = create_file(name, bytes)?;
        let pages = Pages::anywhere(bytes, Backing::File(file.as_fd()))?;
        Ok((Region { pages, len: bytes }, file))
    }

    /// As [`create_shared`](Region::create_shared), at `offset` (a multiple of the page size) in `reservation`.
    ///
    /// # Errors
    ///
    /// [`BadName`](WindowError::BadName) and those of [`anonymous_at`](Region::anonymous_at).
    pub fn create_shared_at(
        name: &str,
        reservation: &Arc<Reservation>,
        offset: u64,
        bytes: u64,
    ) -> Result<(Region, OwnedFd), WindowError> {
        let file = create_file(name, bytes)?;
        let pages = Pages::reserved(reservation, offset, bytes, Backing::File(file.as_fd()))?;
        Ok((Region { pages, len: bytes }, file))
    }

    /// As [`create_shared`](Region::create_shared), at `address`, a multiple of the page size, where nothing may be yet.
    ///
    /// # Errors
    ///
    /// [`AddressTaken`](WindowError::AddressTaken), [`Misaligned`](WindowError::Misaligned) and those of
    /// [`create_shared`](Region::create_shared).
    pub fn create_shared_alone(
        name: &str,
        address: u64,
        bytes: u64,
    ) -> Result<(Region, OwnedFd), WindowError> {
        let file = create_file(name, bytes)?;
        let pages = Pages::alone(address, bytes, Backing::File(file.as_fd()))?;
        Ok((Region { pages, len: bytes }, file))
    }

    /// Maps a memory file that another process made and that has `bytes` bytes. Both may be a hostile peer's: the
    /// file is checked first, so that nothing the peer does to it later makes an access here fault.
    ///
    /// # Errors
    ///
    /// [`NotMemfd`](WindowError::NotMemfd), [`NotSealed`](WindowError::NotSealed),
    /// [`NotWritable`](WindowError::NotWritable), [`SizeMismatch`](WindowError::SizeMismatch) and those of
    /// [`anonymous`](Region::anonymous).
    pub fn map_shared(file: BorrowedFd<'_>, bytes: u64) -> Result<Region, WindowError> {
        memfd::check(file, bytes)?;
        Ok(Region { pages: Pages::anywhere(bytes, Backing::File(file))?, len: bytes })
    }

    /// As [`map_shared`](Region::map_shared), at `offset` (a multiple of the page size) in `reservation`.
    ///
    /// # Errors
    ///
    /// Those of [`map_shared`](Region::map_shared) and [`anonymous_at`](Region::anonymous_at).
    pub fn map_shared_at(
        file: BorrowedFd<'_>,
        reservation: &Arc<Reservation>,
        offset: u64,
        bytes: u64,
    ) -> Result<Region, WindowError> {
        memfd::check(file, bytes)?;
        Ok(Region { pages: Pages::reserved(reservation, offset, bytes, Backing::File(file))?, len: bytes })
    }

    /// Maps a memory file of `bytes` bytes that this process has just made.
    pub(crate) fn of_file(file: BorrowedFd<'_>, bytes: u64) -> Result<Region, WindowError> {
        Ok(Region { pages: Pages::anywhere(bytes, Backing::File(file))?, len: bytes })
    }

    /// The length in bytes, as asked for; never zero.
    #[expect(clippy::len_without_is_empty, reason = "an empty region cannot be made")]
    #[inline]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Where the first byte is mapped in this process.
    #[inline]
    pub fn address(&self) -> u64 {
        self.pages.start().as_ptr().expose_provenance() as u64
    }

    /// Copies the bytes at `offset` to `out`. Each is read exactly once, so `out` is what to check and use.
    ///
    /// # Errors
    ///
    /// [`OutOfRange`]; `out` is unchanged then.
    #[inline]
    pub fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), OutOfRange> {
        let from = self.pointer(offset, out.len() as u64)?;
        // SAFETY: `pointer` checked that the bytes lie in the region, which is mapped readable while `self` lives
        // and to which no reference exists but to atomics. `out` is a reference, so it lies elsewhere.
        unsafe { raw::read(from, out) };
        Ok(())
    }

    /// Copies `bytes` to `offset`.
    ///
    /// # Errors
    ///
    /// [`OutOfRange`]; nothing is written then.
    #[inline]
    pub fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), OutOfRange> {
        let to = self.pointer(offset, bytes.len() as u64)?;
        // SAFETY: `pointer` checked that the bytes lie in the region, which is mapped writable while `self` lives
        // and to which no reference exists but to atomics.
        unsafe { raw::write(to, bytes) };
        Ok(())
    }

    /// Copies `bytes` bytes from `offset` here to `to_offset` in `to`, as if all were read before any is written if
    /// `to` is this region. Two regions that map the same file are not recognised as such: if the ranges overlap in
    /// the file, the bytes are a mixture.
    ///
    /// # Errors
    ///
    /// [`OutOfRange`] for whichever region is too short, this one first; nothing is written then.
    pub fn copy_to(&self, offset: u64, to: &Region, to_offset: u64, bytes: u64) -> Result<(), OutOfRange> {
        let from = self.pointer(offset, bytes)?;
        let to = to.pointer(to_offset, bytes)?;
        // SAFETY: `pointer` checked both ranges, which are mapped while the regions live and to which no reference
        // exists but to atomics. A length that lies in a region fits `usize`.
        unsafe { raw::copy(from, to, bytes as usize) };
        Ok(())
    }

    /// Writes `pattern`, which has 1, 2, 4 or 8 bytes, `count` times from `offset` on. The offset need not be
    /// aligned.
    ///
    /// # Errors
    ///
    /// [`OutOfRange`], also for a pattern of another length; nothing is written then.
    pub fn fill(&self, offset: u64, pattern: &[u8], count: u64) -> Result<(), OutOfRange> {
        let pattern_bytes = pattern.len() as u64;
        if !matches!(pattern_bytes, 1 | 2 | 4 | 8) {
            return Err(self.out_of_range(offset, pattern_bytes));
        }
        let bytes = count.checked_mul(pattern_bytes).ok_or(self.out_of_range(offset, u64::MAX))?;
        let to = self.pointer(offset, bytes)?;
        let word = std::array::from_fn(|at| pattern[at % pattern.len()]);
        // SAFETY: `pointer` checked that the bytes lie in the region, which is mapped writable while `self` lives
        // and to which no reference exists but to atomics. A length that lies in a region fits `usize`.
        unsafe { raw::fill(to, word, bytes as usize) };
        Ok(())
    }

    /// The address of the byte at `offset`, from which `bytes` bytes lie inside the region.
    #[inline]
    fn pointer(&self, offset: u64, bytes: u64) -> Result<*mut u8, OutOfRange> {
        // Written so that nothing can overflow.
        if offset <= self.len && bytes <= self.len - offset {
            Ok(self.pages.start().as_ptr().wrapping_add(offset as usize))
        } else {
            Err(self.out_of_range(offset, bytes))
        }
    }

    /// As [`pointer`](Region::pointer), for `count` values of type `T`, at a multiple of their alignment.
    #[inline]
    fn pointer_to<T>(&self, offset: u64, count: u64) -> Result<*mut T, OutOfRange> {
        let bytes = count.checked_mul(size_of::<T>() as u64).ok_or(self.out_of_range(offset, u64::MAX))?;
        let pointer = self.pointer(offset, bytes)?.cast::<T>();
        if pointer.is_aligned() { Ok(pointer) } else { Err(self.out_of_range(offset, bytes)) }
    }

    fn out_of_range(&self, offset: u64, bytes: u64) -> OutOfRange {
        OutOfRange { offset, bytes, len: self.len }
    }
}

/// Defines the accessors of one width.
macro_rules! atomics {
    ($one:ident, $many:ident, $atomic:ty, $width:literal) => {
        #[doc = concat!("The ", $width, "-bit word at `offset`, which is a multiple of its size.")]
        ///
        /// # Errors
        ///
        /// [`OutOfRange`], also if the offset is not aligned.
        #[inline]
        pub fn $one(&self, offset: u64) -> Result<&$atomic, OutOfRange> {
            let pointer = self.pointer_to::<$atomic>(offset, 1)?;
            // SAFETY: `pointer_to` checked range and alignment; the memory is mapped and initialised while `self`
            // lives, and an atomic may be changed by others.
            Ok(unsafe { &*pointer })
        }

        #[doc = concat!("The `count` ", $width, "-bit words from `offset` on, a multiple of their size.")]
        ///
        /// # Errors
        ///
        /// [`OutOfRange`], also if the offset is not aligned.
        #[inline]
        pub fn $many(&self, offset: u64, count: u64) -> Result<&[$atomic], OutOfRange> {
            let pointer = self.pointer_to::<$atomic>(offset, count)?;
            // SAFETY: `pointer_to` checked range and alignment; the memory is mapped and initialised while `self`
            // lives, and atomics may be changed by others. A count that lies in a region fits `usize`.
            Ok(unsafe { std::slice::from_raw_parts(pointer, count as usize) })
        }
    };
}

impl Region {
    atomics!(atomic_u8, atomics_u8, AtomicU8, "8");
    atomics!(atomic_u16, atomics_u16, AtomicU16, "16");
    atomics!(atomic_u32, atomics_u32, AtomicU32, "32");
    atomics!(atomic_u64, atomics_u64, AtomicU64, "64");
}

impl ReadOnce for Region {
    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), OutOfRange> {
        Region::read(self, offset, out)
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Region")
            .field("address", &format_args!("{:#x}", self.address()))
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

/// Makes the file for a region, with the region's own errors for lengths that no region has.
fn create_file(name: &str, bytes: u64) -> Result<OwnedFd, WindowError> {
    crate::map::whole_pages(bytes)?;
    memfd::create(name, bytes)
}

#[cfg(test)]
mod tests;
