//! Block barriers.
//!
//! A barrier without a count completes when every live thread of the block waits at it. With a count, threads
//! are counted as the hardware does, by warps: a warp's lanes that have ended or never existed count with it.

use super::fault::{FaultKind, Trap};
use super::inst::BarrierKind;
use super::inst::Run;
use super::lanes::{LANES, NO_ROW, read, write};
use super::launch::LaunchState;
use super::warp::{State, Surroundings, Warp};

/// Barriers of a block.
pub(super) const BARRIERS: usize = 16;

impl Warp {
    /// Group `at` reaches a barrier.
    pub(super) fn arrive(
        &mut self,
        around: &mut Surroundings<'_>,
        at: usize,
        kind: BarrierKind,
    ) -> Result<(), Trap> {
        let group = self.groups[at];
        let inst = &around.launch.kernel.code.insts[group.pc as usize];
        let frame = &self.frames[group.depth as usize];
        let first = group.mask.trailing_zeros() as usize;
        let id = read::<u32>(frame, inst.a)[first];
        let expected = if inst.b == NO_ROW { 0 } else { read::<u32>(frame, inst.b)[first] };
        // PTX: a count is a multiple of the warp size, and not zero; a barrier is one of 16.
        let bad_count = inst.b != NO_ROW && (expected == 0 || !expected.is_multiple_of(LANES as u32));
        if id as usize >= BARRIERS || bad_count {
            return Err(Trap::new(FaultKind::IllegalInstruction, first, id.into()));
        }
        if kind == BarrierKind::Arrive {
            // A kernel may arrive without end at a barrier that nobody waits at.
            let arrived = &mut around.arrivals[id as usize];
            *arrived = arrived.saturating_add(group.mask.count_ones() + self.missing(group.mask));
            self.groups[at].pc += 1;
            return Ok(());
        }
        let votes = if inst.c == NO_ROW { 0 } else { frame.predicates[inst.c as usize] & group.mask };
        self.groups[at].state = State::Barrier { id, expected, votes };
        Ok(())
    }

    /// Lanes that have ended, to be counted with `mask` if it is all that is left of the warp.
    fn missing(&self, mask: u32) -> u32 {
        if mask == self.live { LANES as u32 - self.live.count_ones() } else { 0 }
    }

    fn waiting(&self, barrier: u32) -> impl Iterator<Item = (usize, u32, u32)> + '_ {
        self.groups.iter().enumerate().filter_map(move |(at, group)| match group.state {
            State::Barrier { id, expected, votes } if id == barrier => Some((at, expected, votes)),
            _ => None,
        })
    }

    fn release(&mut self, launch: &LaunchState, barrier: u32, result: &Outcome) {
        let released: Vec<usize> = self.waiting(barrier).map(|(at, ..)| at).collect();
        for at in released {
            let group = &mut self.groups[at];
            let inst = &launch.kernel.code.insts[group.pc as usize];
            group.state = State::Ready;
            group.pc += 1;
            let (mask, frame) = (group.mask, &mut self.frames[group.depth as usize]);
            match inst.run {
                Run::Barrier(BarrierKind::Count) => write(frame, inst.dst, mask, &[result.votes; LANES]),
                Run::Barrier(BarrierKind::And) => {
                    frame.set_predicate(inst.dst, mask, all_bits(result.votes == result.threads));
                }
                Run::Barrier(BarrierKind::Or) => {
                    frame.set_predicate(inst.dst, mask, all_bits(result.votes > 0));
                }
                _ => {}
            }
        }
    }
}

/// What the threads at a completed barrier said.
struct Outcome {
    threads: u32,
    votes: u32,
}

fn all_bits(holds: bool) -> u32 {
    if holds { u32::MAX } else { 0 }
}

/// Lets go on whoever waits at a barrier that is complete; tells whether one was.
pub(super) fn release_complete(
    launch: &LaunchState,
    warps: &mut [Warp],
    arrivals: &mut [u32; BARRIERS],
) -> bool {
    let mut used = 0u32;
    for group in warps.iter().flat_map(|warp| &warp.groups) {
        if let State::Barrier { id, .. } = group.state {
            used |= 1 << id;
        }
    }
    let live: u32 = warps.iter().map(|warp| warp.live.count_ones()).sum();
    let mut any = false;
    for barrier in super::lanes::lanes_of(used) {
        let arrived = &mut arrivals[barrier];
        let barrier = barrier as u32;
        let (mut threads, mut by_warps, mut votes, mut expected) = (0, *arrived, 0, 0);
        for warp in warps.iter() {
            let mut mask = 0;
            for (at, count, yes) in warp.waiting(barrier) {
                mask |= warp.groups[at].mask;
                votes += yes.count_ones();
                expected = count.max(expected);
            }
            threads += mask.count_ones();
            if mask != 0 {
                by_warps = u32::saturating_add(by_warps, mask.count_ones() + warp.missing(mask));
            }
        }
        if if expected == 0 { threads == live } else { by_warps >= expected } {
            *arrived = 0;
            any = true;
            for warp in warps.iter_mut() {
                warp.release(launch, barrier, &Outcome { threads, votes });
            }
        }
    }
    any
}
