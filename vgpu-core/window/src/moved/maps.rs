//! What the kernel says of a range of addresses (`/proc/self/maps`).

use std::os::fd::BorrowedFd;

use crate::WindowError;

/// Why memory of a program stays where it is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unmovable {
    /// Part of the range is not mapped.
    #[error("nothing is mapped at {address:#x}")]
    Unmapped {
        /// The first address that is not mapped.
        address: u64,
    },
    /// Part of it is a file, is shared with other processes, or may not be read and written.
    #[error("the memory at {address:#x} is not private, readable and writable memory of the program: {what}")]
    Other {
        /// Where that part begins.
        address: u64,
        /// The kernel's line about it, without the addresses.
        what: String,
    },
    /// It is part of a stack, on which the move itself may run.
    #[error("the memory is part of a stack")]
    Stack,
    /// The program locked memory, and this may be part of it: the lock would not move along.
    #[error("the memory at {address:#x} is locked: unlock it first")]
    Locked {
        /// Where the locked part begins.
        address: u64,
    },
    /// The kernel refused a step, or the file is none.
    #[error(transparent)]
    Window(#[from] WindowError),
}

/// One mapping of this process.
#[derive(Debug, PartialEq, Eq)]
struct Mapping<'a> {
    start: u64,
    end: u64,
    permissions: &'a str,
    file: FileId,
    offset: u64,
    name: &'a str,
}

/// A file by device and inode, as the kernel writes the device; no file is inode 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileId {
    device: (u32, u32),
    inode: u64,
}

impl FileId {
    pub(super) fn of(file: BorrowedFd<'_>) -> Result<Self, WindowError> {
        let stat = rustix::fs::fstat(file).map_err(WindowError::os("fstat"))?;
        let device = (rustix::fs::major(stat.st_dev), rustix::fs::minor(stat.st_dev));
        Ok(Self { device, inode: stat.st_ino })
    }
}

/// Reads a line: `start-end permissions offset major:minor inode name`, numbers but the inode in hexadecimal.
fn parse(line: &str) -> Option<Mapping<'_>> {
    let mut rest = line;
    let mut word = || {
        let (word, behind) = rest.split_once(' ').unwrap_or((rest, ""));
        rest = behind;
        word
    };
    let (start, end) = word().split_once('-')?;
    let permissions = word();
    let offset = word();
    let (major, minor) = word().split_once(':')?;
    let inode = word();
    Some(Mapping {
        start: u64::from_str_radix(start, 16).ok()?,
        end: u64::from_str_radix(end, 16).ok()?,
        permissions,
        file: FileId {
            device: (u32::from_str_radix(major, 16).ok()?, u32::from_str_radix(minor, 16).ok()?),
            inode: inode.parse().ok()?,
        },
        offset: u64::from_str_radix(offset, 16).ok()?,
        name: rest.trim_start(),
    })
}

fn read(path: &'static str) -> Result<String, WindowError> {
    let bytes = std::fs::read(path).map_err(|source| WindowError::Os { call: path, source })?;
    // Names of files may be any bytes; they are not looked at.
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The mappings that have bytes in `start..end`, in their order.
fn within(maps: &str, start: u64, end: u64) -> impl Iterator<Item = Mapping<'_>> {
    maps.lines().filter_map(parse).filter(move |mapping| mapping.start < end && mapping.end > start)
}

/// Checks that all of `start..end` is private memory without a file, readable and writable, no stack, and not locked.
pub(super) fn check_private(start: u64, end: u64) -> Result<(), Unmovable> {
    check_lines(&read("/proc/self/maps")?, start, end)?;
    let locks_something = |status: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix("VmLck:"));
        line.is_some_and(|line| line.trim() != "0 kB")
    };
    // Asking what is locked makes the kernel walk all pages of the process, so it is only asked where something is.
    if locks_something(&read("/proc/self/status")?)
        && let Some(address) = first_locked(&read("/proc/self/smaps")?, start, end)
    {
        return Err(Unmovable::Locked { address });
    }
    Ok(())
}

fn check_lines(maps: &str, start: u64, end: u64) -> Result<(), Unmovable> {
    let mut reached = start;
    for mapping in within(maps, start, end) {
        if mapping.start > reached {
            break;
        }
        if mapping.name == "[stack]" {
            return Err(Unmovable::Stack);
        }
        // Programs and the kernel give private memory names of two kinds: the heap's, and those of prctl(2).
        let nameless =
            mapping.name.is_empty() || mapping.name == "[heap]" || mapping.name.starts_with("[anon:");
        if mapping.permissions != "rw-p" || mapping.file.inode != 0 || !nameless {
            let what = format!("{} {}", mapping.permissions, mapping.name).trim_end().to_owned();
            return Err(Unmovable::Other { address: mapping.start.max(start), what });
        }
        reached = mapping.end;
    }
    if reached < end { Err(Unmovable::Unmapped { address: reached }) } else { Ok(()) }
}

/// The first locked mapping in `start..end`: one whose `VmFlags` name `lo`.
fn first_locked(smaps: &str, start: u64, end: u64) -> Option<u64> {
    let mut current = None;
    for line in smaps.lines() {
        if let Some(flags) = line.strip_prefix("VmFlags:") {
            if let Some(address) = current
                && flags.split_whitespace().any(|flag| flag == "lo")
            {
                return Some(address);
            }
        } else if let Some(mapping) = parse(line) {
            let inside = mapping.start < end && mapping.end > start;
            current = inside.then_some(mapping.start.max(start));
        }
    }
    None
}

/// The parts of `start..end` that still are `file`, mapped shared and writable from the offset that belongs there.
pub(super) fn parts_of(file: FileId, start: u64, end: u64) -> Vec<(u64, u64)> {
    let Ok(maps) = read("/proc/self/maps") else { return Vec::new() };
    within(&maps, start, end)
        .filter(|mapping| {
            mapping.file == file
                && mapping.permissions == "rw-s"
                && mapping.start.checked_sub(start) == Some(mapping.offset)
        })
        .map(|mapping| (mapping.start, mapping.end.min(end)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: &str = "\
1000-3000 rw-p 00000000 00:00 0 \n\
3000-5000 rw-p 00000000 00:00 0                          [heap]\n\
5000-6000 rw-p 00000000 00:00 0                          [anon:arena]\n\
6000-7000 r--p 00000000 00:00 0 \n\
7000-8000 rw-p 00001000 fe:01 1234                       /usr/lib/a name.so\n\
8000-9000 rw-s 00000000 00:01 77                         /memfd:x (deleted)\n\
a000-b000 rw-p 00000000 00:00 0 \n\
7ffd000-7fff000 rw-p 00000000 00:00 0                    [stack]\n";

    #[test]
    fn private_memory_is_told_from_the_rest() {
        check_lines(MAPS, 0x1000, 0x6000).unwrap();
        check_lines(MAPS, 0x2000, 0x4000).unwrap();
        let other = |start, end| match check_lines(MAPS, start, end) {
            Err(Unmovable::Other { address, .. }) => address,
            answer => panic!("{answer:?}"),
        };
        assert_eq!(other(0x5000, 0x7000), 0x6000);
        assert_eq!(other(0x7000, 0x8000), 0x7000);
        assert_eq!(other(0x8000, 0x9000), 0x8000);
        let unmapped = |start, end| match check_lines(MAPS, start, end) {
            Err(Unmovable::Unmapped { address }) => address,
            answer => panic!("{answer:?}"),
        };
        assert_eq!(unmapped(0x9000, 0xb000), 0x9000);
        assert_eq!(unmapped(0xa000, 0xc000), 0xb000);
        assert_eq!(unmapped(0x0, 0x2000), 0x0);
        assert!(matches!(check_lines(MAPS, 0x7ffd000, 0x7ffe000), Err(Unmovable::Stack)));
    }

    #[test]
    fn locked_memory_is_found() {
        let smaps = "1000-3000 rw-p 00000000 00:00 0 \nSize: 8 kB\nVmFlags: rd wr mr mw me ac sd\n\
            3000-5000 rw-p 00000000 00:00 0 [heap]\nVmFlags: rd wr lo\n";
        assert_eq!(first_locked(smaps, 0x1000, 0x3000), None);
        assert_eq!(first_locked(smaps, 0x2000, 0x5000), Some(0x3000));
    }
}
