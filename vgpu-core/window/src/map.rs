//! The pages behind a region, mapped when made and gone when dropped.

use std::ffi::c_void;
use std::os::fd::BorrowedFd;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};

use crate::{Reservation, WindowError};

/// What mapped pages hold.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Backing<'fd> {
    /// Zeros of this process's own.
    Zeros,
    /// A memory file, from its start; it passed the checks of `memfd`.
    File(BorrowedFd<'fd>),
}

/// Readable and writable pages that this value alone maps and unmaps.
#[derive(Debug)]
pub(crate) struct Pages {
    start: NonNull<u8>,
    bytes: usize,
    place: Place,
}

/// Where pages lie, and so what becomes of the addresses afterwards.
#[derive(Debug)]
enum Place {
    /// Wherever the kernel found room.
    Anywhere,
    /// `offset` bytes into a reservation, which takes the addresses back.
    Reserved { reservation: Arc<Reservation>, offset: u64 },
}

impl Pages {
    /// Maps enough pages for `bytes` bytes where the kernel likes.
    pub(crate) fn anywhere(bytes: u64, backing: Backing<'_>) -> Result<Pages, WindowError> {
        let bytes = whole_pages(bytes)?;
        // SAFETY: the address is only a hint and null, so the kernel picks addresses that are not in use.
        let start = unsafe { map(ptr::null_mut(), bytes, MapFlags::empty(), backing) };
        Ok(Pages { start: start.map_err(WindowError::os("mmap"))?, bytes, place: Place::Anywhere })
    }

    /// Maps enough pages for `bytes` bytes at `address`, outside of all reservations, if nothing is there.
    pub(crate) fn alone(address: u64, bytes: u64, backing: Backing<'_>) -> Result<Pages, WindowError> {
        let whole = whole_pages(bytes)?;
        check_aligned(address)?;
        let taken = WindowError::AddressTaken { base: address, bytes };
        if address == 0 {
            return Err(taken);
        }
        let at = ptr::without_provenance_mut(address as usize);
        // SAFETY: NOREPLACE makes the kernel refuse instead of replacing what is there; kernels before 4.17 take the
        // address as a hint only.
        let start = match unsafe { map(at, whole, MapFlags::FIXED_NOREPLACE, backing) } {
            Ok(start) => start,
            // Addresses that the kernel has for nobody are as good as taken.
            Err(Errno::EXIST | Errno::PERM | Errno::INVAL) => return Err(taken),
            Err(errno) => return Err(WindowError::os("mmap")(errno)),
        };
        // Pages that an old kernel put elsewhere are unmapped by their drop.
        let pages = Pages { start, bytes: whole, place: Place::Anywhere };
        if start.as_ptr().expose_provenance() as u64 == address { Ok(pages) } else { Err(taken) }
    }

    /// Maps enough pages for `bytes` bytes at `offset` bytes into `reservation`.
    pub(crate) fn reserved(
        reservation: &Arc<Reservation>,
        offset: u64,
        bytes: u64,
        backing: Backing<'_>,
    ) -> Result<Pages, WindowError> {
        let bytes = whole_pages(bytes)?;
        let start = reservation.occupy(offset, bytes, backing)?;
        Ok(Pages { start, bytes, place: Place::Reserved { reservation: Arc::clone(reservation), offset } })
    }

    /// The first byte. All bytes of the pages may be reached from this pointer while the pages live.
    pub(crate) fn start(&self) -> NonNull<u8> {
        self.start
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        match &self.place {
            Place::Anywhere => {
                // The kernel may refuse to split a mapping when it has too many; then the pages stay mapped, which
                // costs memory and harms nobody.
                // SAFETY: the range is exactly what `anywhere` mapped and was not unmapped before. Pointers to it
                // are only given out as borrows of this value, which have ended.
                let _ = unsafe { unmap(self.start, self.bytes) };
            }
            // SAFETY: `reserved` occupied this place and it was not vacated before. Pointers to it are only given
            // out as borrows of this value, which have ended.
            Place::Reserved { reservation, offset } => unsafe { reservation.vacate(*offset) },
        }
    }
}

// SAFETY: the pages belong to the process and not to a thread, and unmapping works from any thread.
unsafe impl Send for Pages {}

// SAFETY: through a shared reference one gets nothing but the start address.
unsafe impl Sync for Pages {}

/// `bytes` rounded up to whole pages.
pub(crate) fn whole_pages(bytes: u64) -> Result<usize, WindowError> {
    if bytes == 0 {
        return Err(WindowError::Empty);
    }
    bytes
        .checked_next_multiple_of(page_bytes())
        // No object may be larger than `isize::MAX`: pointer arithmetic relies on it.
        .and_then(|rounded| isize::try_from(rounded).ok())
        .map(isize::cast_unsigned)
        .ok_or(WindowError::TooLarge { bytes })
}

/// Checks that an address, offset or length is a multiple of the page size.
pub(crate) fn check_aligned(value: u64) -> Result<(), WindowError> {
    let page_bytes = page_bytes();
    if value.is_multiple_of(page_bytes) { Ok(()) } else { Err(WindowError::Misaligned { value, page_bytes }) }
}

/// The size of a page of memory in bytes, which the kernel may choose at boot.
pub fn page_bytes() -> u64 {
    rustix::param::page_size() as u64
}

/// Maps `bytes` bytes, readable and writable, at `at` or, without further flags, anywhere.
///
/// # Safety
///
/// With `MapFlags::FIXED`, whatever is mapped in the range is replaced: nobody may rely on it any more.
pub(crate) unsafe fn map(
    at: *mut c_void,
    bytes: usize,
    flags: MapFlags,
    backing: Backing<'_>,
) -> Result<NonNull<u8>, Errno> {
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    // Device memory is mapped in full and used in part: pages are paid for when they are touched.
    let flags = flags | MapFlags::NORESERVE;
    let start = match backing {
        Backing::Zeros => {
            // SAFETY: a new mapping touches no memory that Rust knows of, except under FIXED, where the caller
            // vouches for the range.
            unsafe { rustix::mm::mmap_anonymous(at, bytes, protection, flags | MapFlags::PRIVATE) }
        }
        Backing::File(file) => {
            // SAFETY: as above.
            unsafe { rustix::mm::mmap(at, bytes, protection, flags | MapFlags::SHARED, file, 0) }
        }
    }?;
    Ok(non_null(start))
}

/// Maps `bytes` bytes without any access at `at`, so that nothing else gets the addresses.
///
/// # Safety
///
/// With `MapFlags::FIXED`, whatever is mapped in the range is replaced: nobody may rely on it any more.
pub(crate) unsafe fn bar(at: *mut c_void, bytes: usize, flags: MapFlags) -> Result<NonNull<u8>, Errno> {
    let flags = flags | MapFlags::PRIVATE | MapFlags::NORESERVE;
    // SAFETY: a new mapping touches no memory that Rust knows of, except under FIXED, where the caller vouches
    // for the range.
    let start = unsafe { rustix::mm::mmap_anonymous(at, bytes, ProtFlags::empty(), flags) }?;
    Ok(non_null(start))
}

/// Unmaps `bytes` bytes from `start` on.
///
/// # Safety
///
/// The caller owns the mappings in this range, and nobody uses them from now on.
pub(crate) unsafe fn unmap(start: NonNull<u8>, bytes: usize) -> Result<(), Errno> {
    // SAFETY: the caller owns the range and has given it up.
    unsafe { rustix::mm::munmap(start.as_ptr().cast(), bytes) }
}

fn non_null(start: *mut c_void) -> NonNull<u8> {
    // The kernel maps page zero for nobody who did not ask for it by a fixed address, and reservations refuse it.
    NonNull::new(start.cast()).expect("mmap returns no null address unless asked for")
}
