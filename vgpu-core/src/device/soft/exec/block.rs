//! A block: its warps and its shared memory, as a value that can be put aside and taken up again.

use super::barrier::{BARRIERS, release_complete};
use super::fault::{Fault, FaultKind, Trap};
use super::launch::{LaunchState, position};
use super::memory::{Lookup, SharedMemory};
use super::warp::{Pause, Surroundings, TrapAt, Warp};

/// Longest turn of one warp while others of its block wait, in instructions.
const WARP_TURN: u32 = 4096;

/// A started block.
#[derive(Debug, Default)]
pub(super) struct Block {
    position: [u32; 3],
    warps: Vec<Warp>,
    /// Why each warp last stopped.
    pauses: Vec<Pause>,
    shared: SharedMemory,
    arrivals: [u32; BARRIERS],
    /// Warp whose turn is next.
    next: usize,
    /// Turns in a row in which a warp did little but look for something to change.
    polls: usize,
}

/// How a slice of a block ended.
pub(super) enum Slice {
    Finished,
    /// The budget is used up.
    More,
    /// All warps that can run wait in loops for something outside.
    Waiting,
    Fault(Box<Fault>),
}

impl Block {
    /// Begins block number `index`, in the memory of one that has ended.
    pub(super) fn start(&mut self, launch: &LaunchState, index: u64) {
        self.position = position(index, launch.grid);
        self.warps.resize_with(launch.warps as usize, Warp::default);
        for (warp, number) in self.warps.iter_mut().zip(0..) {
            warp.start(launch, self.position, number);
        }
        self.pauses.clear();
        self.pauses.resize(self.warps.len(), Pause::Budget);
        self.shared.clear();
        self.shared.grow(u64::from(launch.kernel.dynamic_base) + u64::from(launch.dynamic_shared_bytes));
        self.arrivals = [0; BARRIERS];
        self.next = 0;
        self.polls = 0;
    }

    /// Instructions executed times active lanes since the last call.
    pub(super) fn take_executed(&mut self) -> u64 {
        self.warps.iter_mut().map(|warp| std::mem::take(&mut warp.executed)).sum()
    }

    /// Runs the block for about `budget` instructions, and takes what it used.
    pub(super) fn run(&mut self, launch: &LaunchState, lookup: &mut Lookup, budget: &mut u32) -> Slice {
        loop {
            while let Some(at) = self.next_ready() {
                if *budget == 0 {
                    return Slice::More;
                }
                let mut turn = WARP_TURN.min(*budget);
                let before = turn;
                let mut around =
                    Surroundings { launch, shared: &mut self.shared, arrivals: &mut self.arrivals, lookup };
                match self.warps[at].run(&mut around, &mut turn) {
                    Ok(pause) => self.pauses[at] = pause,
                    Err(trap) => return Slice::Fault(Box::new(self.fault(launch, at, trap))),
                }
                // A warp that only waits still used a look.
                let used = (before - turn).max(1);
                *budget = budget.saturating_sub(used);
                let polled = std::mem::take(&mut self.warps[at].polled);
                self.polls = if polled > used / 2 { self.polls + 1 } else { 0 };
                self.next = (at + 1) % self.warps.len();
                self.release_early(launch);
                if self.polls > self.warps.len() {
                    self.polls = 0;
                    return Slice::Waiting;
                }
            }
            if self.pauses.iter().all(|&pause| pause == Pause::Finished) {
                return Slice::Finished;
            }
            if !self.release(launch) {
                return Slice::Fault(Box::new(self.deadlock(launch)));
            }
        }
    }

    fn next_ready(&self) -> Option<usize> {
        let count = self.pauses.len();
        (0..count).map(|step| (self.next + step) % count).find(|&at| self.pauses[at] == Pause::Budget)
    }

    /// Completes barriers while other warps still run, which matters only where those wait for it in a loop.
    fn release_early(&mut self, launch: &LaunchState) {
        if self.next == 0 && self.pauses.contains(&Pause::Budget) && self.pauses.contains(&Pause::Blocked) {
            self.release(launch);
        }
    }

    fn release(&mut self, launch: &LaunchState) -> bool {
        let any = release_complete(launch, &mut self.warps, &mut self.arrivals);
        if any {
            for pause in &mut self.pauses {
                if *pause == Pause::Blocked {
                    *pause = Pause::Budget;
                }
            }
        }
        any
    }

    fn fault(&self, launch: &LaunchState, warp: usize, at: TrapAt) -> Fault {
        let code = &launch.kernel.code;
        Fault {
            kind: at.trap.kind,
            kernel: launch.kernel.name().to_owned(),
            line: code.insts.get(at.pc as usize).map_or(0, |inst| inst.line),
            block: self.position,
            thread: self.warps[warp].thread(launch, at.trap.lane),
            address: at.trap.address,
        }
    }

    /// The fault of a block in which everyone waits for someone who never comes.
    fn deadlock(&self, launch: &LaunchState) -> Fault {
        let stuck = self.warps.iter().enumerate().find_map(|(at, warp)| Some((at, warp.groups.first()?)));
        let (warp, pc, lane) =
            stuck.map_or((0, 0, 0), |(at, group)| (at, group.pc, group.mask.trailing_zeros() as usize));
        self.fault(launch, warp, TrapAt { trap: Trap::new(FaultKind::BarrierDeadlock, lane, 0), pc })
    }
}
