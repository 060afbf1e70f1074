//! Memory of a program that becomes a memory file without moving: the same addresses, the same bytes.
//!
//! A program that pins memory which it already has (`cuMemHostRegister`) expects host and device to share it from then
//! on. So its pages are replaced by those of a file that another process maps too, while the program runs: the pages are
//! protected against writing, copied, and replaced in one step. A thread that writes in between waits in a handler of
//! `SIGSEGV` ([`guard`]) and then writes to the new pages; one that reads sees either, which are equal. The way back is the
//! same with private pages.
//!
//! # What cannot be told
//! - A system call that writes into the pages during those moments fails with `EFAULT` instead of waiting.
//! - The pages of another thread's stack look like any others. Whoever has them moved loses that thread: the signal finds
//!   no stack. The caller's own stack and the main thread's are refused.
//! - A thread that blocks `SIGSEGV` and writes there in those moments ends the process: Linux forces the signal on it.
//! - A child of `fork` shares the pages with its parent instead of having its own. Pages at the edges, which hold other
//!   objects too, are its own (`forked`) once the program has called [`fork::watch`](crate::fork::watch).
//! - The stay of the handler: it remains the process's handler of `SIGSEGV`, and gives every other fault to the handler that
//!   was there before.

mod forked;
mod guard;
mod maps;

use std::ffi::c_void;
use std::os::fd::BorrowedFd;
use std::ptr;
use std::sync::{Mutex, PoisonError};

use rustix::io::Errno;
use rustix::mm::{MapFlags, MprotectFlags, MremapFlags};

use crate::map::{self, Backing};
use crate::{WindowError, memfd};

use self::forked::Edges;
pub(crate) use self::forked::in_child;
pub use self::maps::Unmovable;

/// A range of whole pages of the program that this library is part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProgramPages {
    start: u64,
    bytes: u64,
    /// The first and the last page, where they hold other bytes too.
    edges: [Option<u64>; 2],
}

impl ProgramPages {
    /// The pages that hold `bytes` bytes at `address`.
    ///
    /// # Errors
    /// [`WindowError::Empty`] and [`WindowError::TooLarge`].
    ///
    /// # Safety
    /// The bytes are memory that the caller was given for this use, and that stays mapped until the [`Moved`] of these pages
    /// is dropped. No system call writes into the pages while they are moved, neither then nor at the end.
    pub unsafe fn new(address: u64, bytes: u64) -> Result<Self, WindowError> {
        if bytes == 0 {
            return Err(WindowError::Empty);
        }
        let page = map::page_bytes();
        let start = address - address % page;
        let too_large = WindowError::TooLarge { bytes };
        let last = address.checked_add(bytes).ok_or(WindowError::TooLarge { bytes })?;
        let end = last.checked_next_multiple_of(page);
        let end = end.filter(|end| isize::try_from(*end).is_ok()).ok_or(too_large)?;
        let (first_page, last_page) = (start, end - page);
        let first_edge = (address != start).then_some(first_page);
        let last_edge = (last != end && first_edge != Some(last_page)).then_some(last_page);
        Ok(Self { start, bytes: end - start, edges: [first_edge, last_edge] })
    }

    /// The first address.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// The length in bytes, whole pages; never zero.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    fn end(&self) -> u64 {
        self.start + self.bytes
    }

    fn pointer(&self) -> *mut c_void {
        ptr::with_exposed_provenance_mut(self.start as usize)
    }

    /// Checks that the pages can be moved: ordinary private memory that nobody locked.
    ///
    /// # Errors
    /// [`Unmovable`] with the cause.
    pub fn check(&self) -> Result<(), Unmovable> {
        maps::check_private(self.start, self.end())?;
        if guard::is_own_stack(self.start, self.end()) {
            return Err(Unmovable::Stack);
        }
        Ok(())
    }
}

/// Moves are one at a time: the guard knows one mover.
static TURN: Mutex<()> = Mutex::new(());

/// Pages of the program that are a memory file now. Dropping this makes them private again, with the bytes they have.
#[derive(Debug)]
pub struct Moved {
    pages: ProgramPages,
    file: maps::FileId,
    _edges: Edges,
}

impl Moved {
    /// Makes `pages` those of `file`, a memory file of as many bytes, whose bytes are overwritten.
    ///
    /// # Errors
    /// [`Unmovable`], and what is wrong with the file. The pages are as they were then.
    pub fn new(pages: ProgramPages, file: BorrowedFd<'_>) -> Result<Self, Unmovable> {
        memfd::check(file, pages.bytes)?;
        let id = maps::FileId::of(file)?;
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        pages.check()?;
        // Before the move, so that no child comes in between; to have its own copy of what is private harms none.
        let edges = Edges::new(pages.edges)?;
        guard::while_moving(pages.start, pages.end(), || replace_by_file(pages, file))?;
        Ok(Self { pages, file: id, _edges: edges })
    }
}

/// Copies the pages to the file and maps it in their place. Called by the mover only: nothing here allocates or touches
/// the program's memory in any other way, as this thread would wait for itself.
fn replace_by_file(pages: ProgramPages, file: BorrowedFd<'_>) -> Result<(), WindowError> {
    // SAFETY: the range is memory that the program gave for this, checked to be its own; only writing is taken from it, and
    // writers wait.
    unsafe { protect(pages, MprotectFlags::READ) }.map_err(WindowError::os("mprotect"))?;
    let undo = |error: WindowError| {
        // SAFETY: gives back what the line above took.
        let _ = unsafe { protect(pages, MprotectFlags::READ | MprotectFlags::WRITE) };
        error
    };
    copy_to_file(pages, file).map_err(WindowError::os("pwrite")).map_err(undo)?;
    let bytes = pages.bytes as usize;
    // SAFETY: replaces the range, whose bytes the file holds, so nobody sees a difference.
    let mapped = unsafe { map::map(pages.pointer(), bytes, MapFlags::FIXED, Backing::File(file)) };
    mapped.map(drop).map_err(WindowError::os("mmap")).map_err(undo)
}

fn copy_to_file(pages: ProgramPages, file: BorrowedFd<'_>) -> Result<(), Errno> {
    let start = pages.pointer().cast::<u8>();
    // SAFETY: mapped and readable, as was checked; nobody writes while it is protected.
    let bytes = unsafe { std::slice::from_raw_parts(start, pages.bytes as usize) };
    let mut done = 0;
    while done < bytes.len() {
        match rustix::io::pwrite(file, &bytes[done..], done as u64) {
            Ok(0) => return Err(Errno::NOSPC),
            Ok(written) => done += written,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

impl Drop for Moved {
    fn drop(&mut self) {
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        // A program may have unmapped parts, or mapped something else there, against its promise: those are its own.
        // What cannot be made private stays the file's, which only this process still has mapped.
        for (start, end) in maps::parts_of(self.file, self.pages.start, self.pages.end()) {
            let part = ProgramPages { start, bytes: end - start, edges: [None; 2] };
            let _ = guard::while_moving(start, end, || replace_by_private(part));
        }
    }
}

/// Puts private pages with the same bytes in the place of `pages`. As [`replace_by_file`], it must not touch them.
fn replace_by_private(pages: ProgramPages) -> Result<(), WindowError> {
    let bytes = pages.bytes as usize;
    // SAFETY: a new mapping wherever there is room.
    let fresh = unsafe { map::map(ptr::null_mut(), bytes, MapFlags::empty(), Backing::Zeros) };
    let fresh = fresh.map_err(WindowError::os("mmap"))?;
    // SAFETY: the range is the file's mapping that this module made; only writing is taken from it, and writers wait.
    let outcome = unsafe { protect(pages, MprotectFlags::READ) }.and_then(|()| {
        // SAFETY: both ranges are mapped and as long, and do not overlap; nobody writes to the first while it is protected,
        // and nobody knows of the second.
        unsafe { ptr::copy_nonoverlapping(pages.pointer().cast::<u8>(), fresh.as_ptr(), bytes) };
        // SAFETY: moves the fresh pages, which nobody else has, over the range, whose bytes they hold.
        let moved = unsafe {
            rustix::mm::mremap_fixed(
                fresh.as_ptr().cast(),
                bytes,
                bytes,
                MremapFlags::MAYMOVE,
                pages.pointer(),
            )
        };
        moved.map(drop).inspect_err(|_| {
            // SAFETY: gives back what was taken above.
            let _ = unsafe { protect(pages, MprotectFlags::READ | MprotectFlags::WRITE) };
        })
    });
    if outcome.is_err() {
        // SAFETY: the fresh pages are this function's own.
        let _ = unsafe { map::unmap(fresh, bytes) };
    }
    outcome.map_err(WindowError::os("mremap"))
}

/// # Safety
/// The range is mapped, and whoever needs another protection can wait.
unsafe fn protect(pages: ProgramPages, flags: MprotectFlags) -> Result<(), Errno> {
    // SAFETY: the caller vouches for the range.
    unsafe { rustix::mm::mprotect(pages.pointer(), pages.bytes as usize, flags) }
}

#[cfg(test)]
mod tests;
