//! Matrix instructions.

use super::super::super::num::Rounding;
use super::super::super::ptx::{Operand, PtxError, Type};
use super::super::inst::{Collective, Inst, Run};
use super::super::matrix::{
    Fragment, Layout, Matrix, MatrixSite, MatrixSpace, Multiply, Pairing, Role, Scalar, Transfer,
};
use super::super::opcode::Opcode;
use super::Decoder;
use super::memory::Place;
use super::operands::Target;

/// Rows of `A`, columns of `B`, and what they have in common: `.m16n8k16`.
type Shape = [usize; 3];

impl Decoder<'_> {
    pub(super) fn matrix(&mut self, opcode: &Opcode<'_>, operands: &[Operand]) -> Result<(), PtxError> {
        if !(opcode.flag("sync") & opcode.flag("aligned")) {
            return Err(self.unsupported());
        }
        match opcode.name {
            "mma" => self.multiply(opcode, operands, Layout::Tiles),
            "ldmatrix" => self.load_tiles(opcode, operands),
            "movmatrix" => self.transpose_tile(opcode, operands),
            _ if opcode.flag("mma") => self.multiply(opcode, operands, Layout::Linear),
            _ => self.transfer(opcode, operands),
        }
    }

    /// `mma` and `wmma.mma`.
    fn multiply(
        &mut self,
        opcode: &Opcode<'_>,
        operands: &[Operand],
        layout: Layout,
    ) -> Result<(), PtxError> {
        let [d, a, b, c] = operands else {
            return Err(self.bad("takes 4 operands"));
        };
        let multiply = multiplication(opcode, layout).ok_or_else(|| self.unsupported())?;
        let sources =
            [self.fragment(a, multiply.a)?, self.fragment(b, multiply.b)?, self.fragment(c, multiply.c)?];
        let targets = self.fragment_targets(d, multiply.d)?;
        self.emit_matrix(Inst::new(RUN), Matrix::Multiply(multiply), sources, targets);
        Ok(())
    }

    fn load_tiles(&mut self, opcode: &Opcode<'_>, operands: &[Operand]) -> Result<(), PtxError> {
        let [target, address] = operands else {
            return Err(self.bad("takes a destination and an address"));
        };
        let is_known = opcode.flag("m8n8") & (opcode.ty() == Some(Type::B16));
        let count = opcode.one_of(&[("x1", 1), ("x2", 2), ("x4", 4)]).filter(|_| is_known);
        let count = count.ok_or_else(|| self.unsupported())?;
        let transposed = opcode.flag("trans");
        let mut inst = Inst::new(RUN);
        let place = self.place(opcode);
        let space = match self.address(&mut inst, address, place)? {
            Place::Shared => MatrixSpace::Shared,
            Place::Generic => MatrixSpace::Generic,
            _ => return Err(self.bad("the address is in shared memory")),
        };
        let mut targets = Vec::with_capacity(count);
        for part in self.parts(target, count)? {
            targets.push(self.target(part, Type::B32)?);
        }
        self.emit_matrix(inst, Matrix::LoadTiles { space, count, transposed }, Default::default(), targets);
        Ok(())
    }

    fn transpose_tile(&mut self, opcode: &Opcode<'_>, operands: &[Operand]) -> Result<(), PtxError> {
        let [target, source] = operands else {
            return Err(self.bad("takes a destination and a source"));
        };
        if !(opcode.flag("m8n8") & opcode.flag("trans") & (opcode.ty() == Some(Type::B16))) {
            return Err(self.unsupported());
        }
        let sources = [vec![self.source(source, Type::B32)?], Vec::new(), Vec::new()];
        let target = self.target(target, Type::B32)?;
        self.emit_matrix(Inst::new(RUN), Matrix::TransposeTile, sources, vec![target]);
        Ok(())
    }

    /// `wmma.load.{a,b,c} r, [p], stride` and `wmma.store.d [p], r, stride`.
    fn transfer(&mut self, opcode: &Opcode<'_>, operands: &[Operand]) -> Result<(), PtxError> {
        let is_store =
            opcode.one_of(&[("load", false), ("store", true)]).ok_or_else(|| self.unsupported())?;
        let roles = [("a", Role::A), ("b", Role::B), ("c", Role::C)];
        let role = if is_store { opcode.flag("d").then_some(Role::C) } else { opcode.one_of(&roles) };
        let fragment = role.and_then(|role| transferred(opcode, role)).ok_or_else(|| self.unsupported())?;
        let by_rows = opcode.one_of(&[("row", true), ("col", false)]).ok_or_else(|| self.unsupported())?;
        let (([registers, address, stride @ ..], false) | ([address, registers, stride @ ..], true)) =
            (operands, is_store)
        else {
            return Err(self.bad("takes a fragment and an address"));
        };
        let mut inst = Inst::new(RUN);
        let place = self.place(opcode);
        let space = match self.address(&mut inst, address, place)? {
            Place::Generic => MatrixSpace::Generic,
            Place::Global => MatrixSpace::Global,
            Place::Shared => MatrixSpace::Shared,
            _ => return Err(self.bad("the address is in global or shared memory")),
        };
        inst.b = match stride {
            // Without one, the matrix lies densely.
            [] => {
                let elements = if by_rows { fragment.columns } else { fragment.rows };
                self.rows.word(u32::try_from(elements).unwrap_or(u32::MAX))
            }
            [stride] => self.source(stride, Type::U32)?,
            _ => return Err(self.bad("takes 3 operands")),
        };
        let transfer = Transfer { fragment, space, by_rows };
        if is_store {
            let sources = [self.fragment(registers, fragment)?, Vec::new(), Vec::new()];
            self.emit_matrix(inst, Matrix::Store(transfer), sources, Vec::new());
        } else {
            let targets = self.fragment_targets(registers, fragment)?;
            self.emit_matrix(inst, Matrix::Load(transfer), Default::default(), targets);
        }
        Ok(())
    }

    fn fragment(&mut self, operand: &Operand, fragment: Fragment) -> Result<Vec<u32>, PtxError> {
        let parts = self.parts(operand, fragment.registers())?;
        parts.into_iter().map(|part| self.source(part, register_type(fragment))).collect()
    }

    fn fragment_targets(&mut self, operand: &Operand, fragment: Fragment) -> Result<Vec<Target>, PtxError> {
        let parts = self.parts(operand, fragment.registers())?;
        parts.into_iter().map(|part| self.target(part, register_type(fragment))).collect()
    }

    fn emit_matrix(&mut self, mut inst: Inst, matrix: Matrix, sources: [Vec<u32>; 3], targets: Vec<Target>) {
        inst.target = u32::try_from(self.matrices.len()).unwrap_or(u32::MAX);
        let rows = targets.iter().map(|target| target.row).collect();
        self.matrices.push(MatrixSite { matrix, sources, targets: rows });
        self.emit(inst);
        targets.into_iter().for_each(|target| self.finish_target(target));
    }
}

const RUN: Run = Run::Collective(Collective::Matrix);

/// Type of the registers that hold a fragment.
fn register_type(fragment: Fragment) -> Type {
    if fragment.scalar == Scalar::F64 { Type::B64 } else { Type::B32 }
}

fn shape(opcode: &Opcode<'_>) -> Option<Shape> {
    let parse = |part: &str| {
        let (m, rest) = part.strip_prefix('m')?.split_once('n')?;
        let (n, k) = rest.split_once('k')?;
        Some([m.parse().ok()?, n.parse().ok()?, k.parse().ok()?])
    };
    match opcode.all(parse)[..] {
        [shape] => Some(shape),
        _ => None,
    }
}

/// The shapes of compute capability 8.0 for multiplicands of type `scalar`, but for m8n8k4 of `.f16`, which is that
/// of compute capability 7.0 with fragments unlike all others.
fn has_shape(layout: Layout, scalar: Scalar, shape: Shape) -> bool {
    use Scalar as S;
    match (layout, scalar) {
        (Layout::Tiles, S::F16 | S::Bf16) => matches!(shape, [16, 8, 8 | 16]),
        (Layout::Tiles, S::Tf32) => matches!(shape, [16, 8, 4 | 8]),
        (_, S::F64) => shape == [8, 8, 4],
        (Layout::Tiles, S::S8 | S::U8) => matches!(shape, [8, 8, 16] | [16, 8, 16 | 32]),
        (Layout::Tiles, S::S4 | S::U4) => matches!(shape, [8, 8, 32] | [16, 8, 32 | 64]),
        (Layout::Tiles, S::B1) => matches!(shape, [8, 8, 128] | [16, 8, 128 | 256]),
        (Layout::Linear, S::F16 | S::Bf16 | S::S8 | S::U8) => {
            matches!(shape, [16, 16, 16] | [8, 32, 16] | [32, 8, 16])
        }
        (Layout::Linear, S::Tf32) => shape == [16, 16, 8],
        (Layout::Linear, S::S4 | S::U4) => shape == [8, 8, 32],
        (Layout::Linear, S::B1) => shape == [8, 8, 128],
        (_, S::F32 | S::S32) => false,
    }
}

/// Whether sums of elements of type `a` can be of type `c`.
fn sums_as(a: Scalar, c: Scalar) -> bool {
    match a {
        Scalar::F16 => matches!(c, Scalar::F16 | Scalar::F32),
        Scalar::Bf16 | Scalar::Tf32 => c == Scalar::F32,
        Scalar::F64 => c == Scalar::F64,
        _ => c == Scalar::S32,
    }
}

fn fragment(scalar: Scalar, role: Role, [m, n, k]: Shape, layout: Layout) -> Fragment {
    let (rows, columns) = match role {
        Role::A => (m, k),
        Role::B => (k, n),
        Role::C => (m, n),
    };
    Fragment { scalar, role, rows, columns, layout }
}

fn multiplication(opcode: &Opcode<'_>, layout: Layout) -> Option<Multiply> {
    let shape = shape(opcode)?;
    let [d, a, b, c] = match opcode.all(Scalar::parse)[..] {
        [d, a, b, c] => [d, a, b, c],
        // `wmma.mma` of `.f16` names the types of the accumulators alone.
        [d, c] if layout == Layout::Linear => [d, Scalar::F16, Scalar::F16, c],
        _ => return None,
    };
    let is_integer = sums_as(a, Scalar::S32);
    let agree = a == b || is_integer && a.bits() == b.bits();
    // PTX asks m16n8k8 for accumulators of one type.
    let accumulators = sums_as(a, c) && sums_as(a, d) && (c == d || shape != [16, 8, 8]);
    if !(agree && accumulators && has_shape(layout, a, shape)) {
        return None;
    }
    let (by_rows, by_columns) = (opcode.flag("row"), opcode.flag("col"));
    if layout == Layout::Tiles && !(by_rows && by_columns) {
        return None;
    }
    let pairing = if a == Scalar::B1 {
        let pairing = opcode.one_of(&[("xor", Pairing::Xor), ("and", Pairing::Product)])?;
        opcode.flag("popc").then_some(pairing)?
    } else {
        Pairing::Product
    };
    let rounding = if a == Scalar::F64 { opcode.rounding() } else { None };
    Some(Multiply {
        a: fragment(a, Role::A, shape, layout),
        b: fragment(b, Role::B, shape, layout),
        c: fragment(c, Role::C, shape, layout),
        d: fragment(d, Role::C, shape, layout),
        pairing,
        saturate: is_integer && a != Scalar::B1 && opcode.flag("satfinite"),
        rounding: rounding.unwrap_or(Rounding::Rn),
    })
}

/// The fragment that `wmma.load` or `wmma.store` moves.
fn transferred(opcode: &Opcode<'_>, role: Role) -> Option<Fragment> {
    let shape = shape(opcode)?;
    let [scalar] = opcode.all(Scalar::parse)[..] else {
        return None;
    };
    let multiplicands = [
        Scalar::F16,
        Scalar::Bf16,
        Scalar::Tf32,
        Scalar::F64,
        Scalar::S8,
        Scalar::U8,
        Scalar::S4,
        Scalar::U4,
        Scalar::B1,
    ];
    let is_known = |&a: &Scalar| {
        let fits = if role == Role::C { sums_as(a, scalar) } else { a == scalar };
        fits && has_shape(Layout::Linear, a, shape)
    };
    // Elements of less than a byte lie in one order only: along what A and B have in common.
    let order = match role {
        _ if scalar.bits() >= 8 => true,
        Role::A => opcode.flag("row"),
        _ => opcode.flag("col"),
    };
    (order && multiplicands.iter().any(is_known)).then(|| fragment(scalar, role, shape, Layout::Linear))
}
