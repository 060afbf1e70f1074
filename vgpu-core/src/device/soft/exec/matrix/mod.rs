//! Matrix instructions: `mma`, `ldmatrix`, `movmatrix`, `wmma`.
//!
//! All 32 lanes of a warp run them together. PTX leaves open what they do when a lane has ended or never existed:
//! here that is the fault of an instruction that must not run where it stands.

mod fragment;
mod memory;
mod multiply;
mod tiles;

pub(super) use fragment::{Fragment, Layout, Role, Scalar};
pub(super) use memory::Transfer;
pub(super) use multiply::{Multiply, Pairing};

use super::fault::{FaultKind, Trap};
use super::inst::{Inst, Run};
use super::lanes::FULL;
use super::launch::LaunchState;
use super::machine::Machine;
use super::warp::{State, Surroundings, TrapAt, Warp};

/// What a matrix instruction costs of a warp's turn, in instructions: m16n8k16 multiplies and adds 2,048 times, as 64
/// instructions of a warp do.
pub(super) const MATRIX_COST: u32 = 64;

/// Where matrices in memory lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the state spaces of PTX")]
pub(super) enum MatrixSpace {
    Generic,
    Global,
    Shared,
}

/// What a matrix instruction does. Lanes run it together where this is the same for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Matrix {
    /// `mma`, `wmma.mma`.
    Multiply(Multiply),
    /// `ldmatrix`, of as many matrices as there are destinations.
    LoadTiles { space: MatrixSpace, count: usize, transposed: bool },
    /// `movmatrix`.
    TransposeTile,
    /// `wmma.load`.
    Load(Transfer),
    /// `wmma.store`.
    Store(Transfer),
}

/// A matrix instruction: more registers than an [`Inst`] has room for.
#[derive(Debug, Clone)]
pub(super) struct MatrixSite {
    pub(super) matrix: Matrix,
    /// Rows of `A`, `B` and `C`, or the only source.
    pub(super) sources: [Vec<u32>; 3],
    pub(super) targets: Vec<u32>,
}

impl MatrixSite {
    /// Host memory that it takes, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let sources: usize = self.sources.iter().map(|rows| size_of_val(&rows[..])).sum();
        size_of::<Self>() + sources + size_of_val(&self.targets[..])
    }
}

/// Lanes that run a matrix instruction, with the copy of it at which they stand.
#[derive(Debug, Clone, Copy)]
struct Party<'a> {
    inst: &'a Inst,
    site: &'a MatrixSite,
    /// Index of their frame.
    depth: usize,
    mask: u32,
}

impl Warp {
    /// Runs `matrix` for the groups `together`, which are all of the warp that still run.
    pub(super) fn run_matrix(
        &mut self,
        around: &mut Surroundings<'_>,
        together: &[usize],
        matrix: Matrix,
    ) -> Result<(), TrapAt> {
        let launch: &LaunchState = around.launch;
        let code = &launch.kernel.code;
        let parties = together.iter().map(|&at| {
            let group = self.groups[at];
            let inst = &code.insts[group.pc as usize];
            let site = &code.matrices[inst.target as usize];
            Party { inst, site, depth: group.depth as usize, mask: group.mask }
        });
        let parties: Vec<Party<'_>> = parties.collect();
        let present = parties.iter().fold(0, |all, party| all | party.mask);
        let pc = together.first().map_or(0, |&at| self.groups[at].pc);
        let blame = |trap: Trap| TrapAt { trap, pc };
        if present != FULL {
            let lane = present.trailing_zeros() as usize;
            return Err(blame(Trap::new(FaultKind::IllegalInstruction, lane, 0)));
        }
        let mut machine = Machine {
            launch,
            block: self.block,
            warp: self.index,
            frames: &mut self.frames,
            depth: 0,
            local: &mut self.local,
            shared: around.shared,
            lookup: around.lookup,
            cost: 0,
        };
        match matrix {
            Matrix::Multiply(multiply) => run_multiply(&mut machine, &parties, multiply),
            Matrix::LoadTiles { space, count, transposed } => {
                tiles::load(&mut machine, &parties, space, count, transposed).map_err(blame)?;
            }
            Matrix::TransposeTile => tiles::transpose(&mut machine, &parties),
            Matrix::Load(transfer) => memory::load(&mut machine, &parties, transfer).map_err(blame)?,
            Matrix::Store(transfer) => memory::store(&mut machine, &parties, transfer).map_err(blame)?,
        }
        for &at in together {
            self.groups[at].state = State::Ready;
            self.groups[at].pc += 1;
        }
        Ok(())
    }
}

/// The matrix operation at `pc`, if it is one.
pub(super) fn matrix_at(launch: &LaunchState, pc: u32) -> Option<Matrix> {
    let code = &launch.kernel.code;
    let inst = &code.insts[pc as usize];
    matches!(inst.run, Run::Collective(super::inst::Collective::Matrix))
        .then(|| code.matrices[inst.target as usize].matrix)
}

fn run_multiply(machine: &mut Machine<'_>, parties: &[Party<'_>], multiply: Multiply) {
    let fragments = [multiply.a, multiply.b, multiply.c];
    let mut matrices = fragments.map(|fragment| vec![0; fragment.elements()]);
    for party in parties {
        let frame = &machine.frames[party.depth];
        for ((fragment, registers), matrix) in fragments.iter().zip(&party.site.sources).zip(&mut matrices) {
            fragment.gather(frame, registers, party.mask, matrix);
        }
    }
    let [a, b, c] = matrices;
    let d = multiply.compute(&a, &b, &c);
    for party in parties {
        multiply.d.scatter(&mut machine.frames[party.depth], &party.site.targets, party.mask, &d);
    }
}
