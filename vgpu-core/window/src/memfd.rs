//! Memory files whose size nobody can change any more.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{MemfdFlags, OFlags, SealFlags};

use crate::WindowError;

/// memfd_create(2) accepts 249 bytes, as it puts `memfd:` before them.
const NAME_BYTES_MAX: usize = 249;

/// `f_type` of the kernel's tmpfs, where memory files live that were made without `MFD_HUGETLB`
/// (`TMPFS_MAGIC` in linux/magic.h).
const TMPFS_MAGIC: u64 = 0x0102_1994;

/// Without the first two, the other end could shrink the file under a mapping, and the next access would raise
/// SIGBUS; without the last, nothing says that the seals were meant to be complete.
const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::SEAL);

/// Either of these makes a writable shared mapping impossible.
const WRITE_SEALS: SealFlags = SealFlags::WRITE.union(SealFlags::FUTURE_WRITE);

/// Makes a zero-filled memory file of `bytes` bytes and seals its size.
pub(crate) fn create(name: &str, bytes: u64) -> Result<OwnedFd, WindowError> {
    let file = create_empty(name)?;
    rustix::fs::ftruncate(&file, bytes).map_err(WindowError::os("ftruncate"))?;
    add_seals(&file, SEALS)?;
    Ok(file)
}

/// Makes an empty memory file that can be sealed.
pub(crate) fn create_empty(name: &str) -> Result<OwnedFd, WindowError> {
    if name.len() > NAME_BYTES_MAX || name.contains('\0') {
        return Err(WindowError::BadName { max_bytes: NAME_BYTES_MAX });
    }
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    rustix::fs::memfd_create(name, flags).map_err(WindowError::os("memfd_create"))
}

/// Seals size and bytes for ever. Fails while a writable mapping is there.
pub(crate) fn freeze(file: &OwnedFd) -> Result<(), WindowError> {
    add_seals(file, SEALS | SealFlags::WRITE)
}

/// Makes a zero-filled memory file of `bytes` bytes, and lets `map` map it for writing; after that nobody can any more.
pub(crate) fn create_published<T>(
    name: &str,
    bytes: u64,
    map: impl FnOnce(BorrowedFd<'_>) -> Result<T, WindowError>,
) -> Result<(T, OwnedFd), WindowError> {
    let file = create_empty(name)?;
    rustix::fs::ftruncate(&file, bytes).map_err(WindowError::os("ftruncate"))?;
    let mapped = map(file.as_fd())?;
    add_seals(&file, SEALS | SealFlags::FUTURE_WRITE)?;
    Ok((mapped, file))
}

/// Checks that reading a mapping of `file` never faults, and that nobody who gets it can map it for writing.
pub(crate) fn check_published(file: BorrowedFd<'_>, bytes: u64) -> Result<(), WindowError> {
    check_seals(seals(file)?, SEALS | SealFlags::FUTURE_WRITE)?;
    check_size(file, bytes)
}

fn add_seals(file: &OwnedFd, seals: SealFlags) -> Result<(), WindowError> {
    rustix::fs::fcntl_add_seals(file, seals).map_err(WindowError::os("fcntl(F_ADD_SEALS)"))
}

/// Checks that accesses to a mapping of `file`, which may come from a hostile peer, can never fault: it is a
/// memory file of ordinary pages, its size is sealed, and it has the `bytes` bytes that were announced.
pub(crate) fn check(file: BorrowedFd<'_>, bytes: u64) -> Result<(), WindowError> {
    let seals = seals(file)?;
    check_seals(seals, SEALS)?;
    // Mapping it would fail as well, but inside a reservation old kernels unmap what was there before they say so.
    let flags = rustix::fs::fcntl_getfl(file).map_err(WindowError::os("fcntl(F_GETFL)"))?;
    if flags & OFlags::RWMODE != OFlags::RDWR || seals.intersects(WRITE_SEALS) {
        return Err(WindowError::NotWritable);
    }
    // The order matters: only once the size is sealed does it say anything about the future.
    check_size(file, bytes)
}

/// Checks that neither the `bytes` bytes of `file` nor their number can ever change, and that reading them through a
/// mapping never faults.
pub(crate) fn check_frozen(file: BorrowedFd<'_>, bytes: u64) -> Result<(), WindowError> {
    check_seals(seals(file)?, SEALS | SealFlags::WRITE)?;
    check_size(file, bytes)
}

/// The seals of a memory file of ordinary pages.
pub(crate) fn seals(file: BorrowedFd<'_>) -> Result<SealFlags, WindowError> {
    // Only memory files have seals to ask for.
    let seals = rustix::fs::fcntl_get_seals(file).map_err(|_| WindowError::NotMemfd)?;
    // Pages of hugetlbfs run out while a file is in use, and then an access raises SIGBUS.
    let system = rustix::fs::fstatfs(file.as_fd()).map_err(WindowError::os("fstatfs"))?;
    if u64::try_from(system.f_type) != Ok(TMPFS_MAGIC) {
        return Err(WindowError::NotMemfd);
    }
    Ok(seals)
}

fn check_seals(seals: SealFlags, wanted: SealFlags) -> Result<(), WindowError> {
    let missing = wanted.difference(seals);
    if missing.is_empty() { Ok(()) } else { Err(WindowError::NotSealed { missing: seal_names(missing) }) }
}

/// Checks how long a file is now.
pub(crate) fn check_size(file: BorrowedFd<'_>, bytes: u64) -> Result<(), WindowError> {
    let stat = rustix::fs::fstat(file).map_err(WindowError::os("fstat"))?;
    let actual = u64::try_from(stat.st_size).unwrap_or(0);
    if actual == bytes { Ok(()) } else { Err(WindowError::SizeMismatch { expected: bytes, actual }) }
}

/// The kernel's names of `seals`, separated by commas.
fn seal_names(seals: SealFlags) -> String {
    let names = [
        (SealFlags::SHRINK, "F_SEAL_SHRINK"),
        (SealFlags::GROW, "F_SEAL_GROW"),
        (SealFlags::SEAL, "F_SEAL_SEAL"),
        (SealFlags::WRITE, "F_SEAL_WRITE"),
        (SealFlags::FUTURE_WRITE, "F_SEAL_FUTURE_WRITE"),
    ];
    let present: Vec<&str> =
        names.iter().filter(|(seal, _)| seals.contains(*seal)).map(|(_, name)| *name).collect();
    present.join(", ")
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsRawFd;

    use rustix::io::Errno;

    use super::*;

    fn unsealed(bytes: u64) -> OwnedFd {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = rustix::fs::memfd_create("unsealed", flags).unwrap();
        rustix::fs::ftruncate(&file, bytes).unwrap();
        file
    }

    #[test]
    fn the_size_is_fixed_and_the_seals_too() {
        let file = create("sealed", 4096).unwrap();
        assert_eq!(rustix::fs::ftruncate(&file, 0), Err(Errno::PERM));
        assert_eq!(rustix::fs::ftruncate(&file, 8192), Err(Errno::PERM));
        assert_eq!(rustix::fs::fcntl_add_seals(&file, SealFlags::WRITE), Err(Errno::PERM));
        check(file.as_fd(), 4096).unwrap();
    }

    #[test]
    fn each_missing_seal_is_named() {
        let cases = [
            (SealFlags::GROW | SealFlags::SEAL, "F_SEAL_SHRINK"),
            (SealFlags::SHRINK | SealFlags::SEAL, "F_SEAL_GROW"),
            (SealFlags::SHRINK | SealFlags::GROW, "F_SEAL_SEAL"),
            (SealFlags::empty(), "F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_SEAL"),
        ];
        for (seals, expected) in cases {
            let file = unsealed(4096);
            rustix::fs::fcntl_add_seals(&file, seals).unwrap();
            match check(file.as_fd(), 4096) {
                Err(WindowError::NotSealed { missing }) => assert_eq!(missing, expected),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_file_that_cannot_be_written_is_refused() {
        for seal in [SealFlags::WRITE, SealFlags::FUTURE_WRITE] {
            let file = unsealed(4096);
            rustix::fs::fcntl_add_seals(&file, SEALS | seal).unwrap();
            assert!(matches!(check(file.as_fd(), 4096), Err(WindowError::NotWritable)));
        }
        let file = create("read-only", 4096).unwrap();
        let path = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
        let read_only = File::open(path).unwrap();
        assert!(matches!(check(read_only.as_fd(), 4096), Err(WindowError::NotWritable)));
    }

    #[test]
    fn another_size_is_refused() {
        let file = create("size", 4096).unwrap();
        for expected in [0, 1, 4095, 4097, u64::MAX] {
            assert!(matches!(
                check(file.as_fd(), expected),
                Err(WindowError::SizeMismatch { expected: e, actual: 4096 }) if e == expected
            ));
        }
    }

    #[test]
    fn other_files_are_refused() {
        let device = File::open("/dev/zero").unwrap();
        assert!(matches!(check(device.as_fd(), 4096), Err(WindowError::NotMemfd)));
        let huge = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING | MemfdFlags::HUGETLB;
        // Where the kernel has no huge pages there is nothing to refuse.
        if let Ok(file) = rustix::fs::memfd_create("huge", huge) {
            rustix::fs::fcntl_add_seals(&file, SEALS).unwrap();
            assert!(matches!(check(file.as_fd(), 0), Err(WindowError::NotMemfd)));
        }
    }

    #[test]
    fn a_name_the_kernel_would_not_take_is_refused() {
        for name in ["a\0b".to_owned(), "x".repeat(NAME_BYTES_MAX + 1)] {
            assert!(matches!(create(&name, 1), Err(WindowError::BadName { .. })));
        }
        create(&"x".repeat(NAME_BYTES_MAX), 1).unwrap();
    }
}
