//! Warp-wide instructions: shuffles, votes, matches, reductions; and how lanes come together for those on matrices.
//!
//! They run once every live lane that the instruction's member mask names has reached one of the same kind
//! with the same members, wherever it stands: compilers may have copied the instruction into both ways of a
//! branch.

use super::inst::{Collective, Inst, Reduction, Run, ShuffleMode, Vote};
use super::lanes::{BIT, FULL, LANES, NO_ROW, lanes_of, read, write};
use super::launch::LaunchState;
use super::matrix::{Matrix, matrix_at};
use super::warp::{State, Surroundings, TrapAt, Warp};

/// What the lanes bring along.
struct Inputs {
    /// First source.
    a: [u64; LANES],
    /// Lane operand of a shuffle.
    b: [u32; LANES],
    /// Clamp operand of a shuffle.
    c: [u32; LANES],
    /// Predicate source of a vote.
    holds: u32,
}

/// What the lanes get.
struct Outputs {
    values: [u64; LANES],
    predicate: u32,
}

impl Warp {
    /// Group `at` reaches a warp-wide instruction, and runs it if it was the last to come.
    pub(super) fn join_collective(&mut self, around: &mut Surroundings<'_>, at: usize) -> Result<(), TrapAt> {
        let group = self.groups[at];
        let inst = &around.launch.kernel.code.insts[group.pc as usize];
        let named = match inst.run {
            Run::Collective(Collective::Matrix) => FULL,
            _ => {
                let first = group.mask.trailing_zeros() as usize;
                read::<u32>(&self.frames[group.depth as usize], inst.target)[first]
            }
        };
        // A lane that does not name itself takes part all the same; PTX leaves that open.
        self.groups[at].state = State::Collective { members: named | group.mask };
        self.try_complete(around, at).map(|_| ())
    }

    /// Runs those instructions for which lanes wait that have since ended; tells whether there was one.
    pub(super) fn complete_collectives(&mut self, around: &mut Surroundings<'_>) -> Result<bool, TrapAt> {
        for at in 0..self.groups.len() {
            if self.try_complete(around, at)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn try_complete(&mut self, around: &mut Surroundings<'_>, at: usize) -> Result<bool, TrapAt> {
        let State::Collective { members } = self.groups[at].state else {
            return Ok(false);
        };
        let launch = around.launch;
        let kind = collective(launch, self.groups[at].pc);
        let together: Vec<usize> = (0..self.groups.len())
            .filter(|&other| {
                let group = &self.groups[other];
                let same = matches!(group.state, State::Collective { members: m } if m == members);
                same && collective(launch, group.pc) == kind
            })
            .collect();
        let present = together.iter().fold(0, |mask, &other| mask | self.groups[other].mask);
        if members & self.live & !present != 0 {
            return Ok(false);
        }
        let Some((kind, matrix)) = kind else {
            return Ok(false);
        };
        if let Some(matrix) = matrix {
            self.run_matrix(around, &together, matrix)?;
            return Ok(true);
        }
        let inputs = self.gather(launch, &together);
        let outputs = compute(kind, &inputs, present);
        for other in together {
            self.scatter(launch, other, kind, &outputs);
        }
        Ok(true)
    }

    fn gather(&self, launch: &LaunchState, together: &[usize]) -> Inputs {
        let mut inputs = Inputs { a: [0; LANES], b: [0; LANES], c: [0; LANES], holds: 0 };
        for &at in together {
            let group = self.groups[at];
            let inst = &launch.kernel.code.insts[group.pc as usize];
            let frame = &self.frames[group.depth as usize];
            match inst.run {
                Run::Collective(Collective::Vote(_)) => {
                    inputs.holds |= frame.predicates[inst.a as usize] & group.mask;
                }
                Run::Collective(Collective::MatchAny(true) | Collective::MatchAll(true)) => {
                    let a = read::<u64>(frame, inst.a);
                    lanes_of(group.mask).for_each(|lane| inputs.a[lane] = a[lane]);
                }
                Run::Collective(Collective::Sync | Collective::Elect) => {}
                _ => {
                    let a = read::<u32>(frame, inst.a);
                    lanes_of(group.mask).for_each(|lane| inputs.a[lane] = a[lane].into());
                }
            }
            if let Run::Collective(Collective::Shuffle(_)) = inst.run {
                let (b, c) = (read::<u32>(frame, inst.b), read::<u32>(frame, inst.c));
                lanes_of(group.mask).for_each(|lane| (inputs.b[lane], inputs.c[lane]) = (b[lane], c[lane]));
            }
        }
        inputs
    }

    #[allow(clippy::cast_possible_truncation, reason = "every result of a warp-wide instruction has 32 bits")]
    fn scatter(&mut self, launch: &LaunchState, at: usize, kind: Collective, outputs: &Outputs) {
        let group = &mut self.groups[at];
        group.state = State::Ready;
        let inst: &Inst = &launch.kernel.code.insts[group.pc as usize];
        group.pc += 1;
        let (mask, frame) = (group.mask, &mut self.frames[group.depth as usize]);
        if inst.dst != NO_ROW && kind != Collective::Sync {
            write(frame, inst.dst, mask, &outputs.values.map(|value| value as u32));
        }
        if inst.d != NO_ROW {
            frame.set_predicate(inst.d, mask, outputs.predicate);
        }
    }
}

fn collective(launch: &LaunchState, pc: u32) -> Option<(Collective, Option<Matrix>)> {
    match launch.kernel.code.insts[pc as usize].run {
        Run::Collective(kind) => Some((kind, matrix_at(launch, pc))),
        _ => None,
    }
}

fn compute(kind: Collective, inputs: &Inputs, present: u32) -> Outputs {
    let all = |holds: bool| if holds { u32::MAX } else { 0 };
    let same = |value: u32, predicate: u32| Outputs { values: [value.into(); LANES], predicate };
    match kind {
        // Matrices are not for this function.
        Collective::Sync | Collective::Matrix => same(0, 0),
        Collective::Shuffle(mode) => shuffle(mode, inputs, present),
        Collective::Vote(vote) => match vote {
            Vote::All => same(0, all(inputs.holds == present)),
            Vote::Any => same(0, all(inputs.holds != 0)),
            Vote::Uniform => same(0, all(inputs.holds == present || inputs.holds == 0)),
            Vote::Ballot => same(inputs.holds, 0),
        },
        Collective::MatchAny(_) => {
            let values = std::array::from_fn(|lane| matching(inputs, present, lane).into());
            Outputs { values, predicate: 0 }
        }
        Collective::MatchAll(_) => {
            let first = present.trailing_zeros() as usize % LANES;
            let agree = matching(inputs, present, first) == present;
            same(if agree { present } else { 0 }, all(agree))
        }
        Collective::Reduce(reduction) => same(reduce(reduction, inputs, present), 0),
        Collective::Elect => same(present.trailing_zeros(), present & present.wrapping_neg()),
    }
}

/// The lanes whose value is that of `lane`.
fn matching(inputs: &Inputs, present: u32, lane: usize) -> u32 {
    lanes_of(present)
        .filter(|&other| inputs.a[other] == inputs.a[lane])
        .fold(0, |mask, other| mask | BIT[other])
}

/// `shfl.sync`, as the PTX ISA gives it in pseudocode.
fn shuffle(mode: ShuffleMode, inputs: &Inputs, present: u32) -> Outputs {
    let mut out = Outputs { values: inputs.a, predicate: 0 };
    for lane in lanes_of(present) {
        let (b, c) = (inputs.b[lane] & 31, inputs.c[lane]);
        let (clamp, segment, own) = (c & 31, c >> 8 & 31, lane as u32);
        let highest = (own & segment) | (clamp & !segment);
        let lowest = own & segment;
        let (source, inside) = match mode {
            // The clamp is the lower bound here, and the difference may be negative.
            ShuffleMode::Up => {
                (own.wrapping_sub(b), own.cast_signed() - b.cast_signed() >= highest.cast_signed())
            }
            ShuffleMode::Down => (own + b, own + b <= highest),
            ShuffleMode::Butterfly => (own ^ b, (own ^ b) <= highest),
            ShuffleMode::Index => {
                let source = lowest | (b & !segment);
                (source, source <= highest)
            }
        };
        if inside {
            out.predicate |= BIT[lane];
            // Reading a lane that does not take part gives no particular value.
            out.values[lane] = inputs.a[source as usize % LANES];
        }
    }
    out
}

#[allow(clippy::cast_possible_truncation, reason = "reductions are of 32-bit values")]
fn reduce(reduction: Reduction, inputs: &Inputs, present: u32) -> u32 {
    let values = lanes_of(present).map(|lane| inputs.a[lane] as u32);
    let signed = |value: u32| value.cast_signed();
    let combine = |x: u32, y: u32| match reduction {
        Reduction::Add => x.wrapping_add(y),
        Reduction::MinUnsigned => x.min(y),
        Reduction::MaxUnsigned => x.max(y),
        Reduction::MinSigned => signed(x).min(signed(y)).cast_unsigned(),
        Reduction::MaxSigned => signed(x).max(signed(y)).cast_unsigned(),
        Reduction::And => x & y,
        Reduction::Or => x | y,
        Reduction::Xor => x ^ y,
    };
    values.reduce(combine).unwrap_or(0)
}
