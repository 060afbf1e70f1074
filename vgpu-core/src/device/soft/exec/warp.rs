//! A warp: 32 lanes, each with its own program counter.
//!
//! Lanes that stand at the same instruction of the same call depth form a group and run together. A warp that
//! never diverges is one group, and then nothing here costs time.

use super::fault::{FaultKind, Trap};
use super::inst::{Code, Collective, Fill, Run, Special};
use super::lanes::{BIT, FULL, Frame, LANES, NO_ROW, write};
use super::launch::{LaunchState, SM_COUNT, WORKSPACE_ADDRESS, thread_of};
use super::machine::Machine;
use super::matrix::MATRIX_COST;
use super::memory::{LocalMemory, Lookup, SharedMemory};
use super::schedule::Turn;

/// Lanes that run together.
#[derive(Debug, Clone, Copy)]
pub(super) struct Group {
    pub(super) pc: u32,
    /// Call depth, which is the index of their frame.
    pub(super) depth: u32,
    pub(super) mask: u32,
    pub(super) state: State,
    /// When they last ran, in the warp's turns.
    pub(super) ran_at: u64,
}

/// Whether a group can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Ready,
    /// At a block barrier; `expected` threads complete it, or all live ones if 0. `votes` are the lanes whose
    /// predicate held.
    Barrier {
        id: u32,
        expected: u32,
        votes: u32,
    },
    /// At a warp-wide instruction, for lanes `members`.
    Collective {
        members: u32,
    },
}

/// Why a warp stopped running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pause {
    /// Its turn is over.
    Budget,
    /// All its lanes wait.
    Blocked,
    /// All its lanes have ended.
    Finished,
}

/// A fault with the program counter where it happened.
#[derive(Debug, Clone, Copy)]
pub(super) struct TrapAt {
    pub(super) trap: Trap,
    pub(super) pc: u32,
}

/// What the warps of a block share.
#[derive(Debug)]
pub(super) struct Surroundings<'a> {
    pub(super) launch: &'a LaunchState,
    pub(super) shared: &'a mut SharedMemory,
    /// Threads that `bar.arrive` has counted, by barrier.
    pub(super) arrivals: &'a mut [u32; super::barrier::BARRIERS],
    pub(super) lookup: &'a mut Lookup,
}

/// A warp of a block.
#[derive(Debug, Default)]
pub(super) struct Warp {
    pub(super) frames: Vec<Frame>,
    pub(super) local: LocalMemory,
    pub(super) groups: Vec<Group>,
    /// Lanes that have not ended.
    pub(super) live: u32,
    pub(super) turn: Turn,
    /// Instructions executed times active lanes.
    pub(super) executed: u64,
    /// Cost of accesses that may be part of a wait, since this was last taken.
    pub(super) polled: u32,
    pub(super) index: u32,
    pub(super) block: [u32; 3],
}

/// How the inner loop ended.
enum Event {
    /// Budget or stop reached, or a jump while other groups are ready.
    Paused,
    /// A branch that only `taken` take.
    Split { taken: u32, target: u32 },
    /// An instruction that is not for the inner loop, by lanes `active`.
    Special { run: Run, active: u32 },
}

impl Warp {
    /// Begins a block at `block` with warp `index` of it, keeping the memory of an earlier one.
    pub(super) fn start(&mut self, launch: &LaunchState, block: [u32; 3], index: u32) {
        let first = index * LANES as u32;
        let count = launch.threads.saturating_sub(first).min(LANES as u32);
        self.live = if count == LANES as u32 { FULL } else { (1 << count) - 1 };
        self.index = index;
        self.block = block;
        self.turn = Turn::default();
        for frame in &mut self.frames {
            frame.clear();
        }
        self.local.clear();
        let code = &launch.kernel.code;
        let entry = code.functions[launch.kernel.function].entry;
        self.groups.clear();
        self.groups.push(Group { pc: entry, depth: 0, mask: self.live, state: State::Ready, ran_at: 0 });
        self.local.grow(code.functions[launch.kernel.function].local_bytes.into());
        self.enter(launch, launch.kernel.function, 0, FULL);
    }

    /// Prepares the registers of a call of `function` at `depth` for the lanes of `mask`.
    pub(super) fn enter(&mut self, launch: &LaunchState, function: usize, depth: usize, mask: u32) {
        let code = &launch.kernel.code.functions[function];
        if self.frames.len() <= depth {
            self.frames.resize_with(depth + 1, Frame::default);
        }
        self.frames[depth].fit(code.shape);
        for fill in &code.fills {
            match *fill {
                Fill::Word(row, bits) => write(&mut self.frames[depth], row, mask, &[bits; LANES]),
                Fill::Long(row, bits) => write(&mut self.frames[depth], row, mask, &[bits; LANES]),
                Fill::Special(row, special) => {
                    let values = self.special(launch, special);
                    write(&mut self.frames[depth], row, mask, &values);
                }
            }
        }
    }

    /// `%tid` of a lane.
    pub(super) fn thread(&self, launch: &LaunchState, lane: usize) -> [u32; 3] {
        thread_of(self.index, lane, launch)
    }

    #[allow(clippy::cast_possible_truncation, reason = "low and high words of a 64-bit address")]
    fn special(&self, launch: &LaunchState, special: Special) -> [u32; LANES] {
        let workspace = if launch.workspace.is_some() { WORKSPACE_ADDRESS } else { 0 };
        let axis = |shape: [u32; 3], axis: u8| shape[usize::from(axis) % 3];
        let uniform = match special {
            Special::Tid(at) => return std::array::from_fn(|lane| axis(self.thread(launch, lane), at)),
            Special::Lane => return std::array::from_fn(|lane| lane as u32),
            Special::LaneMask(equal, less, greater) => {
                return std::array::from_fn(|lane| {
                    let (below, above) = (BIT[lane] - 1, !(BIT[lane] | (BIT[lane] - 1)));
                    let pick = |wanted: bool, mask: u32| if wanted { mask } else { 0 };
                    pick(equal, BIT[lane]) | pick(less, below) | pick(greater, above)
                });
            }
            Special::Ntid(at) => axis(launch.block, at),
            Special::Ctaid(at) => axis(self.block, at),
            Special::Nctaid(at) => axis(launch.grid, at),
            Special::Warp => self.index,
            Special::Warps => launch.warps,
            Special::Sm => self.block[0] % SM_COUNT,
            Special::Sms => SM_COUNT,
            Special::Grid => launch.grid_id as u32,
            Special::DynamicShared => launch.dynamic_shared_bytes,
            Special::TotalShared => launch.kernel.dynamic_base + launch.dynamic_shared_bytes,
            Special::DynamicBase => launch.kernel.dynamic_base,
            // The pointer to the grid barrier's work space, as the driver hands it to cooperative kernels.
            Special::Environment(1) => (workspace >> 32) as u32,
            Special::Environment(2) => workspace as u32,
            Special::Environment(_) => 0,
        };
        [uniform; LANES]
    }

    /// Runs until the budget is used up, or nothing can run; takes what it used from `budget`.
    pub(super) fn run(&mut self, around: &mut Surroundings<'_>, budget: &mut u32) -> Result<Pause, TrapAt> {
        loop {
            if self.groups.is_empty() {
                return Ok(Pause::Finished);
            }
            self.merge();
            let Some(at) = self.pick() else {
                if self.complete_collectives(around)? {
                    continue;
                }
                return Ok(Pause::Blocked);
            };
            if *budget == 0 {
                return Ok(Pause::Budget);
            }
            let (stop, limit) = self.bounds(at, *budget);
            let (event, spent) = self.advance(around, at, stop, limit)?;
            self.account(at, spent);
            *budget = budget.saturating_sub(spent);
            match event {
                Event::Paused => {}
                Event::Split { taken, target } => self.split(at, taken, target),
                Event::Special { run, active } => {
                    self.leave_loop(around, at, run, active)?;
                    if matches!(run, Run::Collective(Collective::Matrix)) {
                        *budget = budget.saturating_sub(MATRIX_COST);
                    }
                }
            }
        }
    }

    /// The inner loop: runs group `at` up to `stop` or for `limit` instructions.
    fn advance(
        &mut self,
        around: &mut Surroundings<'_>,
        at: usize,
        stop: u32,
        limit: u32,
    ) -> Result<(Event, u32), TrapAt> {
        let Group { mut pc, depth, mask, .. } = self.groups[at];
        let alone = self.groups.len() == 1;
        let (live, lanes) = (self.live, mask.count_ones());
        let code: &Code = &around.launch.kernel.code;
        let insts = &code.insts[..];
        let mut machine = Machine {
            launch: around.launch,
            block: self.block,
            warp: self.index,
            frames: &mut self.frames,
            depth: depth as usize,
            local: &mut self.local,
            shared: around.shared,
            lookup: around.lookup,
            cost: 0,
        };
        let mut executed = 0;
        let mut steps = 0;
        let event = loop {
            if pc == stop || steps + machine.cost >= limit {
                break Event::Paused;
            }
            let Some(inst) = insts.get(pc as usize) else {
                let lane = mask.trailing_zeros() as usize;
                return Err(TrapAt { trap: Trap::new(FaultKind::InvalidPc, lane, 0), pc });
            };
            steps += 1;
            let mut active = mask;
            if inst.guard != NO_ROW {
                let bits = machine.frame().predicates[(inst.guard >> 1) as usize];
                active &= if inst.guard & 1 == 0 { bits } else { !bits };
                if active == 0 {
                    pc += 1;
                    continue;
                }
            }
            match inst.run {
                Run::Alu(run) => {
                    // Lanes that have ended may be overwritten: a full row is written faster.
                    run(machine.frame(), inst, if active == live { FULL } else { active });
                    pc += 1;
                }
                Run::Outer(run) => {
                    run(&mut machine, inst, active).map_err(|trap| TrapAt { trap, pc })?;
                    pc += 1;
                }
                Run::Branch if active == mask => {
                    pc = inst.target;
                    if !alone {
                        executed += u64::from(lanes);
                        break Event::Paused;
                    }
                }
                Run::Branch => {
                    executed += u64::from(lanes);
                    break Event::Split { taken: active, target: inst.target };
                }
                run => {
                    executed += u64::from(active.count_ones());
                    break Event::Special { run, active };
                }
            }
            executed += u64::from(if active == mask { lanes } else { active.count_ones() });
        };
        let cost = machine.cost;
        let spent = steps + cost;
        self.polled = self.polled.saturating_add(cost);
        self.executed += executed;
        self.groups[at].pc = pc;
        Ok((event, spent))
    }

    /// Lanes `taken` of group `at` go to `target`, the others to the next instruction.
    pub(super) fn split(&mut self, at: usize, taken: u32, target: u32) {
        let group = &mut self.groups[at];
        let mut rest = *group;
        rest.mask &= !taken;
        rest.pc += 1;
        group.mask = taken;
        group.pc = target;
        self.groups.push(rest);
    }

    /// Keeps only lanes `active` in group `at`; the others, whose guard did not hold, go to the next instruction.
    pub(super) fn only(&mut self, at: usize, active: u32) {
        if self.groups[at].mask != active {
            let pc = self.groups[at].pc;
            self.split(at, active, pc);
        }
    }

    /// Lanes of group `at` end.
    pub(super) fn exit(&mut self, at: usize) {
        let group = self.groups.swap_remove(at);
        self.live &= !group.mask;
    }

    fn leave_loop(
        &mut self,
        around: &mut Surroundings<'_>,
        at: usize,
        run: Run,
        active: u32,
    ) -> Result<(), TrapAt> {
        self.only(at, active);
        let pc = self.groups[at].pc;
        let launch = around.launch;
        match run {
            Run::Exit => self.exit(at),
            Run::Return => self.leave_function(launch, at),
            Run::Call => return self.call(launch, at).map_err(|trap| TrapAt { trap, pc }),
            Run::BranchIndexed => return self.branch_indexed(launch, at).map_err(|trap| TrapAt { trap, pc }),
            Run::Barrier(kind) => return self.arrive(around, at, kind).map_err(|trap| TrapAt { trap, pc }),
            Run::Collective(_) => return self.join_collective(around, at),
            Run::Yield => {
                self.groups[at].pc += 1;
                self.turn.end();
            }
            // The inner loop runs these itself.
            Run::Alu(_) | Run::Outer(_) | Run::Branch => {}
        }
        Ok(())
    }
}
