//! Which group of a warp runs next.
//!
//! Normally the deepest call first, then the lowest program counter: so lanes that left a loop wait for those
//! still in it, and meet again. But a group may spin for something that another group of its warp must do.
//! Hence after [`QUANTUM`] instructions the group that has waited longest gets a turn of the same length.

use std::cmp::Reverse;

use super::warp::{Group, State, Warp};

/// Length of a turn while several groups could run, in instructions.
const QUANTUM: u32 = 1024;

/// Whose turn it is in a diverged warp.
#[derive(Debug, Clone, Copy)]
pub(super) struct Turn {
    /// The group with this lane runs, out of order.
    leader: Option<u32>,
    /// Instructions left.
    left: u32,
    /// Counts turns.
    now: u64,
}

impl Default for Turn {
    fn default() -> Self {
        Self { leader: None, left: QUANTUM, now: 0 }
    }
}

impl Turn {
    /// Ends the turn: another group runs next, if there is one.
    pub(super) fn end(&mut self) {
        self.left = 0;
    }
}

impl Warp {
    /// Joins groups that stand at the same place.
    pub(super) fn merge(&mut self) {
        let mut first = 0;
        while first < self.groups.len() {
            let mut second = first + 1;
            while second < self.groups.len() {
                let (a, b) = (self.groups[first], self.groups[second]);
                if (a.pc, a.depth, a.state) == (b.pc, b.depth, State::Ready) && a.state == State::Ready {
                    self.groups[first].mask |= b.mask;
                    self.groups[first].ran_at = a.ran_at.max(b.ran_at);
                    self.groups.swap_remove(second);
                } else {
                    second += 1;
                }
            }
            first += 1;
        }
    }

    /// The group to run, if any is ready.
    pub(super) fn pick(&mut self) -> Option<usize> {
        if let [only] = &self.groups[..] {
            return (only.state == State::Ready).then_some(0);
        }
        let groups = &self.groups;
        let ready = || groups.iter().enumerate().filter(|(_, group)| group.state == State::Ready);
        if self.turn.left == 0 {
            // The turn of an out-of-order group is followed by the normal order, and the other way round.
            let next =
                if self.turn.leader.is_none() { ready().min_by_key(|(_, group)| group.ran_at) } else { None };
            self.turn.leader = next.map(|(_, group)| group.mask.trailing_zeros());
            self.turn.left = QUANTUM;
        }
        if let Some(leader) = self.turn.leader {
            if let Some((at, _)) = ready().find(|(_, group)| group.mask >> leader & 1 != 0) {
                return Some(at);
            }
            // It waits or has ended.
            self.turn.leader = None;
            self.turn.left = QUANTUM;
        }
        ready().min_by_key(|(_, group)| (Reverse(group.depth), group.pc)).map(|(at, _)| at)
    }

    /// Where group `at` must stop because another may join it, and how many instructions it may run.
    pub(super) fn bounds(&self, at: usize, budget: u32) -> (u32, u32) {
        if self.groups.len() == 1 {
            return (u32::MAX, budget);
        }
        let Group { pc, depth, .. } = self.groups[at];
        let ahead = self.groups.iter().filter(|group| group.depth == depth && group.pc > pc);
        let stop = ahead.map(|group| group.pc).min().unwrap_or(u32::MAX);
        (stop, budget.min(self.turn.left.max(1)))
    }

    /// Notes that group `at` ran for `spent` instructions.
    pub(super) fn account(&mut self, at: usize, spent: u32) {
        if self.groups.len() > 1 {
            self.turn.left = self.turn.left.saturating_sub(spent);
            self.turn.now += 1;
            self.groups[at].ran_at = self.turn.now;
        }
    }
}
