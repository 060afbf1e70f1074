//! Memory that one process writes and others can only read: a notice board.
//!
//! The writer has an ordinary [`Region`]. Its file is sealed against every later mapping for writing, so a reader that
//! counts as hostile can have the descriptor, and even pass it on.

use std::fmt;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, AtomicU64};

use rustix::mm::{MapFlags, ProtFlags};

use crate::map::{unmap, whole_pages};
use crate::{OutOfRange, Region, WindowError, memfd};

/// The reader's side of a [`Region`] that another process made with [`Region::create_published`].
///
/// Its words change at any moment. A store would end the process, so no reference to a word is given out: this type loads
/// them, or sleeps on them. Unmapped on drop.
pub struct Bulletin {
    start: NonNull<u8>,
    mapped: usize,
    len: u64,
}

impl Region {
    /// Makes a zero-filled memory file of `bytes` bytes whose size can no longer change and which nobody else can map for
    /// writing, and maps it. The descriptor is for [`Bulletin::map`]; the region does not need it.
    ///
    /// # Errors
    ///
    /// Those of [`create_shared`](Region::create_shared).
    pub fn create_published(name: &str, bytes: u64) -> Result<(Region, OwnedFd), WindowError> {
        whole_pages(bytes)?;
        memfd::create_published(name, bytes, |file| Region::of_file(file.as_fd(), bytes))
    }
}

impl Bulletin {
    /// Maps the `bytes` bytes of a published file for reading.
    ///
    /// # Errors
    ///
    /// [`NotMemfd`](WindowError::NotMemfd), [`NotSealed`](WindowError::NotSealed) or
    /// [`SizeMismatch`](WindowError::SizeMismatch) where it is another file; [`Empty`](WindowError::Empty);
    /// [`Os`](WindowError::Os) when the kernel has no room.
    pub fn map(file: BorrowedFd<'_>, bytes: u64) -> Result<Self, WindowError> {
        memfd::check_published(file, bytes)?;
        let mapped = whole_pages(bytes)?;
        let (at, protection, flags) = (ptr::null_mut(), ProtFlags::READ, MapFlags::SHARED);
        // SAFETY: the address is only a hint and null, so the kernel picks addresses that are not in use.
        let start = unsafe { rustix::mm::mmap(at, mapped, protection, flags, file, 0) };
        let start = start.map_err(WindowError::os("mmap"))?;
        let start = NonNull::new(start.cast()).expect("mmap returns no null address unless asked for");
        Ok(Self { start, mapped, len: bytes })
    }

    /// The 32-bit word at `offset`, a multiple of 4, as [`Ordering::Acquire`](std::sync::atomic::Ordering) finds it.
    ///
    /// # Errors
    ///
    /// [`OutOfRange`], also if the offset is not aligned.
    pub fn load_u32(&self, offset: u64) -> Result<u32, OutOfRange> {
        Ok(self.word32(offset)?.load(std::sync::atomic::Ordering::Acquire))
    }

    /// The 64-bit word at `offset`, a multiple of 8, as [`Ordering::Acquire`](std::sync::atomic::Ordering) finds it.
    ///
    /// # Errors
    ///
    /// [`OutOfRange`], also if the offset is not aligned.
    #[inline]
    pub fn load_u64(&self, offset: u64) -> Result<u64, OutOfRange> {
        let at = self.pointer(offset, 8)?.cast::<AtomicU64>();
        // SAFETY: `pointer` checked range and alignment; the memory is mapped readable and initialised while `self` lives,
        // others may change it, which an atomic allows, and this function only loads.
        Ok(unsafe { &*at }.load(std::sync::atomic::Ordering::Acquire))
    }

    /// Sleeps while the word at `offset` holds `expected`, as [`crate::futex::wait`] does.
    ///
    /// # Errors
    ///
    /// [`OutOfRange`], also if the offset is not aligned.
    pub fn wait(
        &self,
        offset: u64,
        expected: u32,
        timeout: Option<std::time::Duration>,
    ) -> Result<crate::futex::WaitResult, OutOfRange> {
        Ok(crate::futex::wait(self.word32(offset)?, expected, timeout))
    }

    fn word32(&self, offset: u64) -> Result<&AtomicU32, OutOfRange> {
        let at = self.pointer(offset, 4)?.cast::<AtomicU32>();
        // SAFETY: `pointer` checked range and alignment; the memory is mapped readable and initialised while `self` lives,
        // and others may change it, which an atomic allows. It stays in this file, which loads it and waits for it only.
        Ok(unsafe { &*at })
    }

    /// The address of a word of `bytes` bytes, a power of two, that lies in the page at a multiple of its size.
    fn pointer(&self, offset: u64, bytes: u64) -> Result<*mut u8, OutOfRange> {
        let inside = offset <= self.len && bytes <= self.len - offset && offset.is_multiple_of(bytes);
        let out = OutOfRange { offset, bytes, len: self.len };
        if inside { Ok(self.start.as_ptr().wrapping_add(offset as usize)) } else { Err(out) }
    }
}

impl Drop for Bulletin {
    fn drop(&mut self) {
        // Should the kernel refuse, the pages stay mapped, which harms nobody.
        // SAFETY: the range is what `map` mapped and was not unmapped before. References to it are only given out as
        // borrows of this value, which have ended.
        let _ = unsafe { unmap(self.start, self.mapped) };
    }
}

// SAFETY: the pages belong to the process and not to a thread, and unmapping works from any thread.
unsafe impl Send for Bulletin {}

// SAFETY: a shared reference gives nothing but loads of atomics and waits.
unsafe impl Sync for Bulletin {}

impl fmt::Debug for Bulletin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bulletin").field("bytes", &self.len).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    #[test]
    fn readers_see_what_is_written_and_can_map_nothing_for_writing() {
        let (region, file) = Region::create_published("board", 4096).unwrap();
        let board = Bulletin::map(file.as_fd(), 4096).unwrap();
        region.atomic_u64(8).unwrap().store(7, Ordering::Release);
        region.atomic_u32(16).unwrap().store(9, Ordering::Release);
        assert_eq!((board.load_u64(8), board.load_u32(16)), (Ok(7), Ok(9)));
        assert!(matches!(Region::map_shared(file.as_fd(), 4096), Err(WindowError::NotWritable)));
        // Nor is there a way round: the kernel refuses the mapping itself.
        let writable = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the kernel picks the address, and refuses.
        let mapped = unsafe { rustix::mm::mmap(ptr::null_mut(), 4096, writable, MapFlags::SHARED, &file, 0) };
        assert_eq!(mapped, Err(rustix::io::Errno::PERM));
        assert_eq!(rustix::io::write(&file, b"x"), Err(rustix::io::Errno::PERM));
    }

    #[test]
    fn words_outside_and_between_are_errors() {
        let (_region, file) = Region::create_published("board", 4096).unwrap();
        let board = Bulletin::map(file.as_fd(), 4096).unwrap();
        for offset in [4, 4090, 4096, u64::MAX, u64::MAX - 7] {
            assert!(board.load_u64(offset).is_err(), "{offset}");
        }
        assert!(board.load_u32(2).is_err() && board.load_u32(4096).is_err());
    }

    #[test]
    fn another_file_is_refused() {
        let (_region, file) = Region::create_shared("window", 4096).unwrap();
        assert!(matches!(Bulletin::map(file.as_fd(), 4096), Err(WindowError::NotSealed { .. })));
        let (_region, file) = Region::create_published("board", 4096).unwrap();
        assert!(matches!(Bulletin::map(file.as_fd(), 8192), Err(WindowError::SizeMismatch { .. })));
    }

    #[test]
    fn a_reader_sleeps_until_the_writer_wakes_it() {
        let (region, file) = Region::create_published("board", 4096).unwrap();
        let board = Bulletin::map(file.as_fd(), 4096).unwrap();
        let deadline = std::time::Duration::from_secs(20);
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| board.wait(0, 0, Some(deadline)).unwrap());
            while !reader.is_finished() {
                crate::futex::wake_all(region.atomic_u32(0).unwrap());
                std::thread::yield_now();
            }
            assert_eq!(reader.join().unwrap(), crate::futex::WaitResult::Woken);
        });
    }
}
