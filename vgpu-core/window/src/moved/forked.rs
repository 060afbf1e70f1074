//! Moved memory in a child of `fork`: its edges, and a move that was under way.
//!
//! A page that is not all of the moved memory's holds other objects of the program too, the allocator's own notes among
//! them. The file makes parent and child share it, and the two would spoil one another's heap. So a child takes private
//! copies of such pages before anything else of it runs. Pages that are all of the moved memory's stay shared.

use std::sync::atomic::{AtomicU64, Ordering};

use rustix::mm::MprotectFlags;

use super::{ProgramPages, guard, protect, replace_by_private};
use crate::{WindowError, map};

/// Edges of all moved memory, at most: two for each piece, and more pieces than sessions have regions.
const EDGES_MAX: usize = 16_384;

/// Addresses of the pages; 0 for none. Atomics, as a child looks at them without a lock.
static EDGES: [AtomicU64; EDGES_MAX] = [const { AtomicU64::new(0) }; EDGES_MAX];

/// The edges of one piece, in the list until this is dropped.
#[derive(Debug)]
pub(super) struct Edges([Option<usize>; 2]);

impl Edges {
    /// # Errors
    /// [`WindowError::TooManyRegions`].
    pub(super) fn new(pages: [Option<u64>; 2]) -> Result<Self, WindowError> {
        // Dropped with what it has, where the second finds no room.
        let mut edges = Self([None; 2]);
        for (place, page) in edges.0.iter_mut().zip(pages) {
            if let Some(page) = page {
                *place = Some(add(page).ok_or(WindowError::TooManyRegions { max: EDGES_MAX })?);
            }
        }
        Ok(edges)
    }
}

impl Drop for Edges {
    fn drop(&mut self) {
        for at in self.0.into_iter().flatten() {
            EDGES[at].store(0, Ordering::SeqCst);
        }
    }
}

fn add(page: u64) -> Option<usize> {
    EDGES.iter().position(|edge| edge.compare_exchange(0, page, Ordering::SeqCst, Ordering::SeqCst).is_ok())
}

/// Ends what the parent was moving, and makes the edges private. Runs in the child, between `fork` and whatever follows:
/// nothing here allocates. What cannot be made private stays shared.
pub(crate) fn in_child() {
    guard::abandon(|start, end| {
        let pages = ProgramPages { start, bytes: end - start, edges: [None; 2] };
        // SAFETY: the range is the program's, from which writing was taken for the move.
        let _ = unsafe { protect(pages, MprotectFlags::READ | MprotectFlags::WRITE) };
    });
    for start in EDGES.iter().map(|edge| edge.load(Ordering::SeqCst)).filter(|start| *start != 0) {
        let _ = replace_by_private(ProgramPages { start, bytes: map::page_bytes(), edges: [None; 2] });
    }
}
