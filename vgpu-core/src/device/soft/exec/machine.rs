//! What an instruction that reaches beyond the registers can touch.

use super::lanes::Frame;
use super::launch::{LaunchState, thread_of};
use super::memory::{LocalMemory, Lookup, SharedMemory};

/// What an access that may be part of a wait costs of a warp's turn, in instructions, so that a spinning warp
/// gives way soon.
pub(super) const POLL_COST: u32 = 16;

/// A warp while it runs, with the memory it can reach.
#[derive(Debug)]
pub(super) struct Machine<'a> {
    pub(super) launch: &'a LaunchState,
    /// `%ctaid`.
    pub(super) block: [u32; 3],
    /// Number of the warp in its block.
    pub(super) warp: u32,
    pub(super) frames: &'a mut Vec<Frame>,
    /// Call depth of the running lanes.
    pub(super) depth: usize,
    pub(super) local: &'a mut LocalMemory,
    pub(super) shared: &'a mut SharedMemory,
    pub(super) lookup: &'a mut Lookup,
    /// Instructions to count besides those executed.
    pub(super) cost: u32,
}

impl Machine<'_> {
    /// The registers of the running lanes.
    #[inline(always)]
    pub(super) fn frame(&mut self) -> &mut Frame {
        &mut self.frames[self.depth]
    }

    /// `%tid` of a lane.
    pub(super) fn thread(&self, lane: usize) -> [u32; 3] {
        thread_of(self.warp, lane, self.launch)
    }
}
