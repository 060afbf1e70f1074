//! Bytes that nobody can change any more: memory files that are sealed against writing too.
//!
//! Who makes such a file writes a [`Draft`] and freezes it; whoever has the descriptor may then read the bytes in place
//! ([`Sealed`]), even one that trusts no other holder of it. What lies in a file that is not sealed is copied out
//! ([`read_file`]).

use std::fmt;
use std::ops::Deref;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::ptr::{self, NonNull};

use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};

use crate::map::{unmap, whole_pages};
use crate::{WindowError, memfd};

/// Bytes of a file that are read at a time: few enough that they stay in a processor's cache between two uses.
const CHUNK_BYTES: usize = 128 << 10;

/// The bytes of a frozen memory file, mapped for reading. Unmapped on drop.
pub struct Sealed {
    start: NonNull<u8>,
    len: usize,
}

impl Sealed {
    /// Maps the `bytes` bytes of a memory file that is frozen.
    ///
    /// # Errors
    ///
    /// [`NotMemfd`](WindowError::NotMemfd), [`NotSealed`](WindowError::NotSealed) or
    /// [`SizeMismatch`](WindowError::SizeMismatch) where it is another file; [`Empty`](WindowError::Empty);
    /// [`Os`](WindowError::Os) when the kernel has no room.
    pub fn map(file: BorrowedFd<'_>, bytes: u64) -> Result<Self, WindowError> {
        memfd::check_frozen(file, bytes)?;
        let whole = whole_pages(bytes)?;
        let (at, protection, flags) = (ptr::null_mut(), ProtFlags::READ, MapFlags::PRIVATE);
        // SAFETY: the address is only a hint and null, so the kernel picks addresses that are not in use.
        let start = unsafe { rustix::mm::mmap(at, whole, protection, flags, file, 0) };
        let start = start.map_err(WindowError::os("mmap"))?;
        let start = NonNull::new(start.cast()).expect("mmap returns no null address unless asked for");
        // Not above `whole`, which is a length.
        Ok(Self { start, len: bytes as usize })
    }
}

impl Deref for Sealed {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `map` mapped `len` readable bytes there, which stay until the drop. They never change and never
        // fault: the seals were checked, the kernel sets that against writing only while nobody has a writable mapping,
        // nobody can take them off, and the file is of ordinary pages.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl Drop for Sealed {
    fn drop(&mut self) {
        // The kernel counts whole pages by itself. Should it refuse, the pages stay mapped, which harms nobody.
        // SAFETY: the range is what `map` mapped and was not unmapped before. References to it are only given out as
        // borrows of this value, which have ended.
        let _ = unsafe { unmap(self.start, self.len) };
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealed").field("bytes", &self.len).finish_non_exhaustive()
    }
}

// SAFETY: the pages belong to the process and not to a thread, and unmapping works from any thread.
unsafe impl Send for Sealed {}

// SAFETY: the bytes never change, so any number of threads may read them.
unsafe impl Sync for Sealed {}

/// A memory file that is being written.
#[derive(Debug)]
pub struct Draft {
    file: OwnedFd,
}

impl Draft {
    /// Begins an empty one. `name` (at most 249 bytes) appears in `/proc/PID/maps` and has no other meaning.
    ///
    /// # Errors
    ///
    /// [`BadName`](WindowError::BadName), or [`Os`](WindowError::Os) when the kernel has no room.
    pub fn new(name: &str) -> Result<Self, WindowError> {
        Ok(Self { file: memfd::create_empty(name)? })
    }

    /// Adds bytes to its end.
    ///
    /// # Errors
    ///
    /// [`Os`](WindowError::Os) when the kernel has no room.
    pub fn append(&self, mut bytes: &[u8]) -> Result<(), WindowError> {
        while !bytes.is_empty() {
            match rustix::io::write(&self.file, bytes) {
                Ok(written) => bytes = &bytes[written..],
                Err(Errno::INTR) => {}
                Err(errno) => return Err(WindowError::os("write")(errno)),
            }
        }
        Ok(())
    }

    /// The file, whose bytes nobody can change from now on.
    ///
    /// # Errors
    ///
    /// [`Os`](WindowError::Os) when the kernel refuses the seals.
    pub fn freeze(self) -> Result<OwnedFd, WindowError> {
        memfd::freeze(&self.file)?;
        Ok(self.file)
    }
}

/// Reads the `bytes` bytes of a memory file that may come from a hostile peer, piece by piece into private memory. Each
/// piece is read once, whatever the peer does to the file meanwhile.
///
/// # Errors
///
/// [`NotMemfd`](WindowError::NotMemfd) for any other file, which could make the reader wait;
/// [`SizeMismatch`](WindowError::SizeMismatch) where it is longer or shorter, or becomes so; [`Os`](WindowError::Os); or what
/// `each` answers.
pub fn read_file(
    file: BorrowedFd<'_>,
    bytes: u64,
    mut each: impl FnMut(&[u8]) -> Result<(), WindowError>,
) -> Result<(), WindowError> {
    memfd::seals(file)?;
    memfd::check_size(file, bytes)?;
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut at = 0;
    while at < bytes {
        let most = usize::try_from(bytes - at).unwrap_or(usize::MAX).min(CHUNK_BYTES);
        match rustix::io::pread(file.as_fd(), &mut chunk[..most], at) {
            Ok(0) => return Err(WindowError::SizeMismatch { expected: bytes, actual: at }),
            Ok(read) => {
                each(&chunk[..read])?;
                at += read as u64;
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(WindowError::os("pread")(errno)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;
    use crate::Region;

    fn frozen(bytes: &[u8]) -> OwnedFd {
        let draft = Draft::new("frozen").unwrap();
        draft.append(bytes).unwrap();
        draft.freeze().unwrap()
    }

    #[test]
    fn frozen_bytes_are_read_in_place_and_never_change() {
        let bytes: Vec<u8> = (0..10_000_u32).map(|at| at as u8).collect();
        let file = frozen(&bytes);
        let mapped = Sealed::map(file.as_fd(), bytes.len() as u64).unwrap();
        assert_eq!(rustix::io::pwrite(&file, b"x", 0), Err(Errno::PERM));
        assert_eq!(rustix::fs::ftruncate(&file, 0), Err(Errno::PERM));
        assert!(Region::map_shared(file.as_fd(), bytes.len() as u64).is_err(), "nobody maps it for writing");
        drop(file);
        assert_eq!(&*mapped, &bytes[..], "the mapping outlives the descriptor");
    }

    #[test]
    fn what_may_still_change_is_not_mapped() {
        let (_region, writable) = Region::create_shared("writable", 4096).unwrap();
        match Sealed::map(writable.as_fd(), 4096) {
            Err(WindowError::NotSealed { missing }) => assert_eq!(missing, "F_SEAL_WRITE"),
            other => panic!("{other:?}"),
        }
        let file = frozen(b"four");
        assert!(matches!(Sealed::map(file.as_fd(), 5), Err(WindowError::SizeMismatch { actual: 4, .. })));
        assert!(matches!(Sealed::map(frozen(b"").as_fd(), 0), Err(WindowError::Empty)));
        let null = File::open("/dev/null").unwrap();
        assert!(matches!(Sealed::map(null.as_fd(), 4), Err(WindowError::NotMemfd)));
    }

    #[test]
    fn a_file_is_read_whole_or_not_at_all() {
        let bytes: Vec<u8> = (0..CHUNK_BYTES + 7).map(|at| at as u8).collect();
        let file = frozen(&bytes);
        let read = |file: BorrowedFd<'_>, length: usize| {
            let mut found = Vec::new();
            let each = |part: &[u8]| {
                found.extend_from_slice(part);
                Ok(())
            };
            read_file(file, length as u64, each).map(|()| found)
        };
        assert_eq!(read(file.as_fd(), bytes.len()).unwrap(), bytes);
        for wrong in [0, bytes.len() - 1, bytes.len() + 1] {
            assert!(matches!(read(file.as_fd(), wrong), Err(WindowError::SizeMismatch { .. })), "{wrong}");
        }
        let null = File::open("/dev/null").unwrap();
        assert!(matches!(read(null.as_fd(), 1), Err(WindowError::NotMemfd)));
    }

    #[test]
    fn a_file_that_shrinks_while_it_is_read_is_told() {
        let draft = Draft::new("shrinking").unwrap();
        draft.append(&vec![1; 2 * CHUNK_BYTES]).unwrap();
        let shrunk = read_file(draft.file.as_fd(), 2 * CHUNK_BYTES as u64, |_| {
            rustix::fs::ftruncate(&draft.file, 1).map_err(WindowError::os("ftruncate"))
        });
        assert!(matches!(shrunk, Err(WindowError::SizeMismatch { .. })), "{shrunk:?}");
    }
}
