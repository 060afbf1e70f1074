//! Loads, stores, atomics and fences.

use std::sync::atomic::{Ordering, fence};

use super::super::super::ptx::{Operand, PtxError, Space, Type};
use super::super::inst::{Base, Inst, Outer, Run};
use super::super::lanes::NO_ROW;
use super::super::memory::{
    ACQUIRES, AtomicOp, Generic, Global, Local, POLLS, Params, RELEASES, Shared, load, store, update,
};
use super::super::opcode::Opcode;
use super::operands::Symbol;
use super::{Decoder, is_long};

/// Where an access really goes: `.param` means two things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Generic,
    Global,
    Shared,
    Local,
    Params,
}

/// Caching and similar advice, which changes no result here.
const ADVICE: [&str; 14] =
    ["weak", "ca", "cg", "cs", "lu", "cv", "wb", "wt", "nc", "cta", "cluster", "gpu", "sys", "unified"];

impl Decoder<'_> {
    /// Space, vector length, element type and ordering of an access.
    fn access(&self, opcode: &Opcode<'_>) -> Result<(Place, usize, Type, u8), PtxError> {
        opcode.ignore(&ADVICE);
        opcode.ignore_prefix("L1::");
        opcode.ignore_prefix("L2::");
        let lanes = opcode.one_of(&[("v2", 2), ("v4", 4)]).unwrap_or(1);
        let ty = opcode.ty().ok_or_else(|| self.unsupported())?;
        let mut order = 0;
        if opcode.flag("volatile") || opcode.flag("relaxed") || opcode.flag("mmio") {
            order |= POLLS;
        }
        if opcode.flag("acquire") {
            order |= POLLS | ACQUIRES;
        }
        if opcode.flag("release") {
            order |= RELEASES;
        }
        Ok((self.place(opcode), lanes, ty, order))
    }

    pub(super) fn place(&self, opcode: &Opcode<'_>) -> Place {
        let spaces = [
            ("global", Place::Global),
            ("const", Place::Global),
            ("shared", Place::Shared),
            ("shared::cta", Place::Shared),
            ("shared::cluster", Place::Shared),
            ("local", Place::Local),
            // A device function finds its parameters, and a caller its arguments, in local memory.
            ("param", if self.function.is_kernel { Place::Params } else { Place::Local }),
            ("param::entry", Place::Params),
            ("param::func", Place::Local),
        ];
        opcode.one_of(&spaces).unwrap_or(Place::Generic)
    }

    pub(super) fn ld(&mut self, opcode: &Opcode<'_>, operands: &[Operand]) -> Result<(), PtxError> {
        let (place, lanes, ty, order) = self.access(opcode)?;
        let [target, address, ..] = operands else {
            return Err(self.bad("takes a destination and an address"));
        };
        let mut inst = Inst::new(Run::Return);
        let place = self.address(&mut inst, address, place)?;
        let parts = self.parts(target, lanes)?;
        let mut targets = Vec::with_capacity(lanes);
        for part in parts {
            targets.push(self.target(part, ty)?);
        }
        let rows = |at: usize| targets.get(at).map_or(NO_ROW, |target| target.row);
        [inst.dst, inst.b, inst.c, inst.d] = [rows(0), rows(1), rows(2), rows(3)];
        inst.run = Run::Outer(load_function(place, ty, lanes).ok_or_else(|| self.unsupported())?);
        inst.mode.selector = order;
        self.emit(inst);
        for target in targets {
            self.finish_target(target);
        }
        Ok(())
    }

    pub(super) fn st(&mut self, opcode: &Opcode<'_>, operands: &[Operand]) -> Result<(), PtxError> {
        let (place, lanes, ty, order) = self.access(opcode)?;
        let [address, value, ..] = operands else {
            return Err(self.bad("takes an address and a value"));
        };
        let mut inst = Inst::new(Run::Return);
        let place = self.address(&mut inst, address, place)?;
        let mut rows = [NO_ROW; 4];
        for (row, part) in rows.iter_mut().zip(self.parts(value, lanes)?) {
            *row = self.source(part, ty)?;
        }
        [inst.dst, inst.b, inst.c, inst.d] = rows;
        inst.run = Run::Outer(store_function(place, ty, lanes).ok_or_else(|| self.unsupported())?);
        inst.mode.selector = order;
        self.emit(inst);
        Ok(())
    }

    /// The elements of a vector operand, or the operand itself.
    pub(super) fn parts<'o>(&self, operand: &'o Operand, lanes: usize) -> Result<Vec<&'o Operand>, PtxError> {
        match operand {
            Operand::Vector(parts) if parts.len() == lanes => Ok(parts.iter().collect()),
            single if lanes == 1 && !matches!(single, Operand::Vector(_)) => Ok(vec![single]),
            _ => Err(self.bad(format!("a vector of {lanes} is expected"))),
        }
    }

    /// Puts an address into `inst`; tells where it really leads.
    pub(super) fn address(
        &mut self,
        inst: &mut Inst,
        operand: &Operand,
        place: Place,
    ) -> Result<Place, PtxError> {
        let Operand::Address(base, offset) = operand else {
            return Err(self.bad("an address in brackets is expected"));
        };
        inst.imm = offset.cast_unsigned();
        let mut at = |base: Base, row: u32, fixed: u64| {
            inst.mode.base = base;
            inst.a = row;
            inst.imm = inst.imm.wrapping_add(fixed);
        };
        match &**base {
            Operand::Register(id) => {
                let row = self.rows.register(*id);
                match self.rows.ty(*id) {
                    Type::Pred => return Err(self.bad("a predicate is no address")),
                    ty if is_long(ty) => at(Base::Long, row, 0),
                    ty if ty.bits() == 32 => at(Base::Word, row, 0),
                    _ => return Err(self.bad("an address register has 32 or 64 bits")),
                }
            }
            Operand::Integer(value) => at(Base::None, NO_ROW, *value),
            Operand::Local(id) => {
                let offset = u64::from(self.places.variables[*id as usize]);
                if self.body.variables[*id as usize].space == Space::Shared {
                    at(Base::None, NO_ROW, offset);
                    return Ok(Place::Shared);
                }
                at(Base::Frame, NO_ROW, offset);
                return Ok(Place::Local);
            }
            Operand::Param(index) if self.function.is_kernel => {
                at(Base::None, NO_ROW, self.places.params[*index as usize].0.into());
            }
            Operand::Param(index) => at(Base::Frame, NO_ROW, self.param_offset(*index).into()),
            Operand::Symbol(name) => match self.symbol(name)? {
                Symbol::Fixed(address) => {
                    at(Base::None, NO_ROW, address);
                    let shared = self.linker.shared.contains_key(name);
                    return Ok(if shared { Place::Shared } else { place });
                }
                Symbol::DynamicShared(row) => {
                    at(Base::Word, row, 0);
                    return Ok(Place::Shared);
                }
            },
            _ => return Err(self.bad("this is no address")),
        }
        Ok(place)
    }

    pub(super) fn atomic(&mut self, opcode: &Opcode<'_>, operands: &[Operand]) -> Result<(), PtxError> {
        opcode.ignore(&["relaxed", "acquire", "release", "acq_rel", "cta", "cluster", "gpu", "sys", "noftz"]);
        opcode.ignore_prefix("L2::");
        let place = self.place(opcode);
        let ty = opcode.ty().ok_or_else(|| self.unsupported())?;
        let op = atomic_op(opcode, ty).ok_or_else(|| self.unsupported())?;
        let has_result = opcode.name == "atom";
        let sources = if op == AtomicOp::CompareAndSwap { 2 } else { 1 };
        let expected = 1 + usize::from(has_result) + sources;
        if operands.len() != expected {
            return Err(self.bad(format!("takes {expected} operands, not {}", operands.len())));
        }
        let (target, rest) = if has_result { operands.split_at(1) } else { (&operands[..0], operands) };
        let mut inst = Inst::new(Run::Return);
        let place = self.address(&mut inst, &rest[0], place)?;
        inst.b = self.source(&rest[1], ty)?;
        if sources == 2 {
            inst.c = self.source(&rest[2], ty)?;
        }
        inst.mode.atomic = op;
        inst.run = Run::Outer(update_function(place, ty).ok_or_else(|| self.unsupported())?);
        let Some(target) = target.first().filter(|&target| *target != Operand::Sink) else {
            self.emit(inst);
            return Ok(());
        };
        let target = self.target(target, ty)?;
        inst.dst = target.row;
        self.emit(inst);
        self.finish_target(target);
        Ok(())
    }

    pub(super) fn fence(&mut self, opcode: &Opcode<'_>, operands: &[Operand]) -> Result<(), PtxError> {
        opcode.ignore(&["cta", "gl", "sys", "gpu", "cluster", "sc", "acq_rel", "acquire", "release"]);
        if !operands.is_empty() {
            return Err(self.unsupported());
        }
        self.emit(Inst::new(Run::Outer(|_, _, _| {
            fence(Ordering::SeqCst);
            Ok(())
        })));
        Ok(())
    }
}

fn atomic_op(opcode: &Opcode<'_>, ty: Type) -> Option<AtomicOp> {
    use AtomicOp as A;
    let op = opcode.one_of(&[
        ("add", A::Add),
        ("min", A::MinUnsigned),
        ("max", A::MaxUnsigned),
        ("inc", A::Increment),
        ("dec", A::Decrement),
        ("and", A::And),
        ("or", A::Or),
        ("xor", A::Xor),
        ("exch", A::Exchange),
        ("cas", A::CompareAndSwap),
    ])?;
    let bits = ty.bits();
    Some(match (op, ty) {
        (A::Add, Type::F32 | Type::F64) => A::AddFloat,
        (A::Add, Type::F16) => A::AddHalf,
        (A::Add, Type::Bf16) => A::AddBf16,
        (A::Add, Type::F16x2) => A::AddHalfPair,
        (A::Add, Type::Bf16x2) => A::AddBf16Pair,
        (A::MinUnsigned, Type::S32 | Type::S64) => A::MinSigned,
        (A::MaxUnsigned, Type::S32 | Type::S64) => A::MaxSigned,
        (A::Increment | A::Decrement, Type::U32) => op,
        (A::Increment | A::Decrement, _) => return None,
        (A::CompareAndSwap | A::Exchange, _) if ty.is_integer() && (bits >= 16 || ty == Type::B16) => op,
        (_, ty) if ty.is_integer() && (bits == 32 || bits == 64) => op,
        _ => return None,
    })
}

macro_rules! in_place {
    ($place:expr, $function:ident, $($rest:ty),+ $(; $lanes:literal)?) => {
        match $place {
            Place::Generic => $function::<Generic, $($rest),+ $(, $lanes)?> as Outer,
            Place::Global => $function::<Global, $($rest),+ $(, $lanes)?>,
            Place::Shared => $function::<Shared, $($rest),+ $(, $lanes)?>,
            Place::Local => $function::<Local, $($rest),+ $(, $lanes)?>,
            Place::Params => $function::<Params, $($rest),+ $(, $lanes)?>,
        }
    };
}

macro_rules! by_size {
    ($place:expr, $ty:expr, $lanes:expr, $function:ident) => {
        match ($ty.bytes(), $lanes) {
            (1, 1) => in_place!($place, $function, u8; 1),
            (1, 2) => in_place!($place, $function, u8; 2),
            (1, 4) => in_place!($place, $function, u8; 4),
            (2, 1) => in_place!($place, $function, u16; 1),
            (2, 2) => in_place!($place, $function, u16; 2),
            (2, 4) => in_place!($place, $function, u16; 4),
            (4, 1) => in_place!($place, $function, u32; 1),
            (4, 2) => in_place!($place, $function, u32; 2),
            (4, 4) => in_place!($place, $function, u32; 4),
            (8, 1) => in_place!($place, $function, u64; 1),
            (8, 2) => in_place!($place, $function, u64; 2),
            _ => return None,
        }
    };
}

fn load_function(place: Place, ty: Type, lanes: usize) -> Option<Outer> {
    (ty != Type::Pred).then_some(())?;
    Some(by_size!(place, ty, lanes, load))
}

fn store_function(place: Place, ty: Type, lanes: usize) -> Option<Outer> {
    (ty != Type::Pred).then_some(())?;
    Some(by_size!(place, ty, lanes, store))
}

fn update_function(place: Place, ty: Type) -> Option<Outer> {
    Some(match ty.bytes() {
        2 => in_place!(place, update, u16),
        4 => in_place!(place, update, u32),
        8 => in_place!(place, update, u64),
        _ => return None,
    })
}
