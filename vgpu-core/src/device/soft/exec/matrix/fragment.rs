//! Fragments: how the elements of a matrix lie in the registers of a warp's lanes.

use super::super::lanes::{Frame, LANES, lanes_of, read, write};

/// Type of a matrix's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "each variant is the PTX type of its name")]
pub(in super::super) enum Scalar {
    B1,
    S4,
    U4,
    S8,
    U8,
    F16,
    Bf16,
    Tf32,
    F32,
    S32,
    F64,
}

impl Scalar {
    /// The type called `name` (without the dot).
    pub(in super::super) fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "b1" => Self::B1,
            "s4" => Self::S4,
            "u4" => Self::U4,
            "s8" => Self::S8,
            "u8" => Self::U8,
            "f16" => Self::F16,
            "bf16" => Self::Bf16,
            "tf32" => Self::Tf32,
            "f32" => Self::F32,
            "s32" => Self::S32,
            "f64" => Self::F64,
            _ => return None,
        })
    }

    /// Bits that an element takes of a register, and of memory.
    pub(in super::super) fn bits(self) -> usize {
        match self {
            Self::B1 => 1,
            Self::S4 | Self::U4 => 4,
            Self::S8 | Self::U8 => 8,
            Self::F16 | Self::Bf16 => 16,
            Self::Tf32 | Self::F32 | Self::S32 => 32,
            Self::F64 => 64,
        }
    }

    /// Elements in a register.
    pub(super) fn per_register(self) -> usize {
        (32 / self.bits()).max(1)
    }
}

/// Which matrix of `D = A * B + C` it is; `D` lies as `C` does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the matrices as PTX names them")]
pub(in super::super) enum Role {
    A,
    B,
    C,
}

/// How the elements are spread over the lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Layout {
    /// As `mma` defines it (PTX ISA, "Matrix Fragments for mma"): programs rely on it.
    Tiles,
    /// Our own for `wmma`, whose layout PTX leaves open: row by row through the elements of lane 0, then of lane 1;
    /// registers that are left over repeat the matrix from its start.
    Linear,
}

/// A matrix in registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Fragment {
    pub(in super::super) scalar: Scalar,
    pub(in super::super) role: Role,
    pub(in super::super) rows: usize,
    pub(in super::super) columns: usize,
    pub(in super::super) layout: Layout,
}

impl Fragment {
    /// Elements of the matrix.
    pub(in super::super) fn elements(self) -> usize {
        self.rows * self.columns
    }

    /// Registers that each lane holds of it.
    pub(in super::super) fn registers(self) -> usize {
        match (self.layout, self.scalar, self.role) {
            // Twice or more what the matrix needs, in every shape: PTX ISA, "Matrix Fragments for WMMA".
            (Layout::Linear, Scalar::F16, Role::A | Role::B) => 8,
            _ => self.elements() / LANES / self.scalar.per_register(),
        }
    }

    /// Row and column of element `at` of `lane`, counted through its registers from the low bits up.
    ///
    /// In [`Layout::Tiles`] one rule covers every shape and type of the ISA's tables: 4 lanes share a row of `A` and
    /// `C` (a column of `B`), each with a run of neighbours; the next run lies 8 rows below while there are such rows,
    /// and then 4 runs to the right.
    pub(super) fn place(self, lane: usize, at: usize) -> (usize, usize) {
        if self.layout == Layout::Linear {
            let count = self.registers() * self.scalar.per_register();
            let index = (lane * count + at) % self.elements();
            return (index / self.columns, index % self.columns);
        }
        let run = if self.role == Role::C { 2 } else { self.scalar.per_register() };
        let blocks = if self.role == Role::B { self.columns } else { self.rows } / 8;
        let (group, within) = (at / run, at % run);
        let along = lane / 4 + 8 * (group % blocks);
        let across = lane % 4 * run + 4 * run * (group / blocks) + within;
        if self.role == Role::B { (across, along) } else { (along, across) }
    }

    /// Takes what the lanes of `mask` hold in `registers` into `matrix`: the bits of its elements, row by row.
    pub(super) fn gather(self, frame: &Frame, registers: &[u32], mask: u32, matrix: &mut [u64]) {
        let (bits, per_register) = (self.scalar.bits(), self.scalar.per_register());
        for (number, &register) in registers.iter().enumerate() {
            for lane in lanes_of(mask) {
                let held = match self.scalar {
                    Scalar::F64 => read::<u64>(frame, register)[lane],
                    _ => read::<u32>(frame, register)[lane].into(),
                };
                for part in 0..per_register {
                    let (row, column) = self.place(lane, number * per_register + part);
                    matrix[row * self.columns + column] = held >> (part * bits) & (u64::MAX >> (64 - bits));
                }
            }
        }
    }

    /// Puts `matrix` into `registers` of the lanes of `mask`.
    pub(super) fn scatter(self, frame: &mut Frame, registers: &[u32], mask: u32, matrix: &[u64]) {
        let (bits, per_register) = (self.scalar.bits(), self.scalar.per_register());
        for (number, &register) in registers.iter().enumerate() {
            let held: [u64; LANES] = std::array::from_fn(|lane| {
                (0..per_register).fold(0, |held, part| {
                    let (row, column) = self.place(lane, number * per_register + part);
                    held | matrix[row * self.columns + column] << (part * bits)
                })
            });
            if self.scalar == Scalar::F64 {
                write(frame, register, mask, &held);
            } else {
                #[allow(
                    clippy::cast_possible_truncation,
                    reason = "elements of 32 bits at most fill 32 bits"
                )]
                write(frame, register, mask, &held.map(|held| held as u32));
            }
        }
    }
}
